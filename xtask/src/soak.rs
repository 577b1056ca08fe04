//! `cargo xtask soak`: the seeded soak over the stand-in, for as many faults as one has time for.

use std::process::Command;

use clap::Args;

use crate::command::{self, cargo};
use crate::error::Error;

pub(crate) const HELP: &str = "\
Random work with random faults over the stand-in provider, in one process, against a model that knows which bytes may be \
where and when: no byte outside a grant, none after a revoke that was proven, no reuse before quiet, one end for each \
transfer, counters never ahead of data, each count counted or aborted, credits conserved, nothing left behind.

`cargo test` does 100,000 faults; this does as many as it is told, some thousands a second, and shows how far it is. Seeds \
follow each other from --seed on. What fails is made smaller, action by action, and shown with the line that runs what is \
left of it again. At the end a table says how many faults of each kind there were.

Examples:
  cargo xtask soak --faults 1000000
  cargo xtask soak --faults 1000000 --seed 7      the same again
  cargo xtask soak --release --faults 100000000   a night of it";

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Faults to do
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    faults: u64,
    /// The first life's seed [default: a new one, printed]
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// With optimizations
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    command::run(&mut soak(options))
}

fn soak(options: &Options) -> Command {
    let mut command = cargo(&["test", "--package=pegaflow-rdma", "--test=soak", "--locked"]);
    if options.release {
        command.arg("--release");
    }
    command.args(["--", "--exact", "soak", "--nocapture"]);
    command.env("PEGAFLOW_FAULTS", options.faults.to_string());
    let seed = options.seed.unwrap_or_else(|| {
        // Of the clock: another one each time, and told.
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_secs() << 16)
    });
    command.env("PEGAFLOW_SEED", seed.to_string()).env_remove("PEGAFLOW_LIFE");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_and_seed_go_to_the_test() {
        let command = soak(&Options { faults: 12, seed: Some(7), release: true });
        let told: Vec<_> =
            command.get_envs().filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?))).collect();
        assert!(told.contains(&("PEGAFLOW_FAULTS", "12")) && told.contains(&("PEGAFLOW_SEED", "7")), "{told:?}");
        assert!(command.get_args().any(|argument| argument == "--release"));
    }
}
