//! `pegaflow bench compare`: what changed between two files of results.

use std::process::ExitCode;

use clap::Args;

use crate::Failure;

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {}

pub(super) fn run(_arguments: &CompareArgs) -> Result<ExitCode, Failure> {
    Err("not built yet".into())
}
