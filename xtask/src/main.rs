//! Pegaflow's chores, run as `cargo xtask <command>`: the tests with their set-up, and what CI checks.

#![forbid(unsafe_code)]

mod bench;
mod ci;
mod command;
mod debian;
mod error;
mod needs;
mod prometheus;
mod rdma_suite;
mod require;
mod soak;
mod soft_roce;
mod test;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  everything that ran passed
  1  a step failed, something needed is missing, or PEGAFLOW_REQUIRE names what is not there
  2  the command line was not understood";

const TEST_HELP: &str = "\
Runs the tests, after showing what they need and whether it is there.

In order: the list of needs, each with what was found; `apt-get` for what is missing (with sudo unless root); \
the host tests (`cargo test --workspace --all-features --locked`, doctests included); where virtual hosts can be booted \
(see `cargo xtask soft-roce --help`), their own tests and the RDMA suite in one; then the suites that could not run, \
each with its reason, and what each suite counted.

--no-install installs no packages; where the virtual hosts lack one, their suites are skipped. Their kernel is no \
installed package: it is unpacked into the cache.

Environment:
  PEGAFLOW_REQUIRE  backends that must be tested, comma separated, of: shm, rdma, ucx. Where one of them can't be \
tested the command fails instead of skipping it.

Examples:
  cargo xtask test                         everything that can run here
  cargo xtask test --quick                 while writing code
  PEGAFLOW_REQUIRE=shm cargo xtask test    fail rather than skip the shared-memory suite";

const CI_HELP: &str = "\
Runs what CI runs, and stops at the first failure.

In order: formatting, clippy, rustdoc (warnings are errors in both), cargo-deny (bans, licences, sources), and the \
tests as `cargo xtask test` runs them. Each step is shown with its time, and a table closes the run.

rustfmt and clippy must be in the toolchain; where one is missing the rustup command that adds it is shown. \
cargo-deny is built and installed where it is missing, at the version this repository was checked with.";

/// Pegaflow's chores: tests, checks and their set-up.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Run the tests, after showing what they need and whether it is there
    #[command(long_about = TEST_HELP, after_help = EXIT_CODES)]
    Test(TestOptions),
    /// Run what CI runs: format, lints, docs, dependencies, tests
    #[command(long_about = CI_HELP, after_help = EXIT_CODES)]
    Ci(CiOptions),
    /// Measure what Pegaflow costs, beside a rival
    #[command(long_about = bench::HELP, after_help = EXIT_CODES, subcommand)]
    Bench(bench::Mode),
    /// Soak the verbs backend in random faults, over the stand-in
    #[command(long_about = soak::HELP, after_help = EXIT_CODES)]
    Soak(soak::Options),
    /// Run a command in virtual hosts that have a verbs device
    #[command(long_about = soft_roce::HELP, subcommand)]
    SoftRoce(soft_roce::Mode),
}

#[derive(Debug, Args)]
struct TestOptions {
    /// Run the host tests only: nothing is looked for, nothing is installed
    #[arg(long)]
    quick: bool,
    /// Install nothing: where something is missing, say the command that installs it and exit with 1
    #[arg(long)]
    no_install: bool,
}

#[derive(Debug, Args)]
struct CiOptions {
    /// Install nothing, neither packages nor cargo-deny: say the command that installs it and exit with 1
    #[arg(long)]
    no_install: bool,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Test(options) => test::run(&options),
        Chore::Ci(options) => ci::run(&options),
        Chore::Bench(mode) => bench::run(&mode),
        Chore::Soak(options) => soak::run(&options),
        Chore::SoftRoce(mode) => return soft_roce::run(&mode),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
