//! `pegaflow`: the demo, a node that serves it, and the config.

// First: its `println!` is the one of all that follow.
#[macro_use]
mod output;

mod args;
mod bench;
mod config;
mod demo;
mod duration;
mod line;
mod machine;
mod mix;
mod node;
mod nodes;
mod shell;
mod stats;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_tracing(arguments.verbose);
    let done = match arguments.command {
        Command::Demo(demo) => demo::run(&demo, arguments.verbose),
        Command::Bench(bench) => bench::run(&bench, arguments.verbose),
        Command::Node(node) => node::run(&node).map(|()| ExitCode::SUCCESS),
        Command::Stats(stats) => stats::run(&stats).map(|()| ExitCode::SUCCESS),
        Command::Config(config) => config::run(&config).map(|()| ExitCode::SUCCESS),
        Command::Completions(completions) => {
            shell::completions(&completions);
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(man) => shell::man(&man).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        if let Some(misuse) = error.downcast_ref::<clap::Error>() {
            misuse.exit();
        }
        tell(&format!("error: {error}"));
        ExitCode::from(1)
    })
}

/// Writes a line to standard error at once: the demo's nodes write to the same one, and lines are not to be mixed.
fn tell(line: &str) {
    // Nobody is left to be told where it fails.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}

/// What a command ends with when it can't do its work; told on standard error, exit status 1.
type Failure = Box<dyn std::error::Error>;

fn start_tracing(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    // As clap does for help and errors, and indicatif for progress bars. See no-color.org.
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let ansi = colour && std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_writer(std::io::stderr)
        .with_ansi(ansi)
        // It would tell them on standard error, with a macro that panics where nobody reads it.
        .log_internal_errors(false)
        .init();
}
