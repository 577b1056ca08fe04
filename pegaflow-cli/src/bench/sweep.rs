//! `pegaflow bench sweep`: a grid of runs, and plots of it.

use std::process::ExitCode;

use clap::Args;

use crate::Failure;

#[derive(Debug, Args)]
pub(crate) struct SweepArgs {}

pub(super) fn run(_arguments: &SweepArgs, _verbose: u8) -> Result<ExitCode, Failure> {
    Err("not built yet".into())
}
