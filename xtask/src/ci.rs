//! `cargo xtask ci`: the checks in order, with their times, up to the first failure.

use std::time::{Duration, Instant};

use crate::error::Error;
use crate::{CiOptions, TestOptions, command, test};

/// The cargo-deny that `deny.toml` was checked with.
const CARGO_DENY_VERSION: &str = "0.20.2";

struct Step {
    name: &'static str,
    run: fn(&CiOptions) -> Result<(), Error>,
}

const STEPS: [Step; 5] = [
    Step { name: "format", run: format },
    Step { name: "lints", run: lints },
    Step { name: "docs", run: docs },
    Step { name: "dependencies", run: dependencies },
    Step { name: "tests", run: tests },
];

/// Runs the steps, and shows at the end how each went.
pub(crate) fn run(options: &CiOptions) -> Result<(), Error> {
    components()?;
    let mut times = Vec::with_capacity(STEPS.len());
    let mut outcome = Ok(());
    for (index, step) in STEPS.iter().enumerate() {
        println!("\n==== {} of {}: {} ====", index + 1, STEPS.len(), step.name);
        let start = Instant::now();
        outcome = (step.run)(options);
        let taken = start.elapsed();
        times.push(taken);
        let word = if outcome.is_ok() { "passed" } else { "FAILED" };
        println!("==== {} {word} after {} ====", step.name, seconds(taken));
        if outcome.is_err() {
            break;
        }
    }
    summary(&times, outcome.is_ok());
    outcome
}

/// rustfmt and clippy are parts of the toolchain that a small installation lacks.
fn components() -> Result<(), Error> {
    let missing: Vec<&str> = [("rustfmt", "fmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(_, subcommand)| !command::succeeds(&mut command::cargo(&[subcommand, "--version"])))
        .map(|(component, _)| component)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let remedy = format!("run: rustup component add {}", missing.join(" "));
    Err(Error::Missing { what: missing.join(", "), remedy })
}

fn format(_: &CiOptions) -> Result<(), Error> {
    command::run(&mut command::cargo(&["fmt", "--all", "--check"]))
}

fn lints(_: &CiOptions) -> Result<(), Error> {
    let all = ["clippy", "--workspace", "--all-targets", "--all-features", "--locked", "--", "-D", "warnings"];
    command::run(&mut command::cargo(&all))?;
    // A program that names its backends builds the front door with fewer.
    let bare = ["clippy", "--package", "pegaflow", "--no-default-features", "--locked", "--", "-D", "warnings"];
    command::run(&mut command::cargo(&bare))
}

fn docs(_: &CiOptions) -> Result<(), Error> {
    let mut doc = command::cargo(&["doc", "--workspace", "--no-deps", "--all-features", "--locked"]);
    command::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

fn dependencies(options: &CiOptions) -> Result<(), Error> {
    if !command::succeeds(&mut command::cargo(&["deny", "--version"])) {
        let install = ["install", "cargo-deny", "--locked", "--version", CARGO_DENY_VERSION];
        if options.no_install {
            let remedy = format!("nothing is installed with --no-install; run: cargo {}", install.join(" "));
            return Err(Error::Missing { what: "cargo-deny".to_owned(), remedy });
        }
        command::run(&mut command::cargo(&install))?;
    }
    command::run(&mut command::cargo(&["deny", "check", "bans", "licenses", "sources"]))
}

fn tests(options: &CiOptions) -> Result<(), Error> {
    test::run(&TestOptions { quick: false, no_install: options.no_install })
}

/// `times` has one entry for each step that ran; `all_passed` tells how the last of them ended.
fn summary(times: &[Duration], all_passed: bool) {
    println!();
    for (index, step) in STEPS.iter().enumerate() {
        let failed = !all_passed && index + 1 == times.len();
        match times.get(index) {
            Some(taken) if failed => println!("{:<14} FAILED  {:>9}", step.name, seconds(*taken)),
            Some(taken) => println!("{:<14} passed  {:>9}", step.name, seconds(*taken)),
            None => println!("{:<14} not run", step.name),
        }
    }
}

fn seconds(taken: Duration) -> String {
    format!("{:.1} s", taken.as_secs_f64())
}
