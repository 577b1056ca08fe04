//! One run of `pegaflow bench`.

use pegaflow_bench::Record;

use super::args::RunArgs;
use crate::Failure;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Write,
    Read,
    Count,
    Message,
}

/// Runs once, and gives what was measured. Shows nothing but a progress bar, and that only where `bar` says so.
pub(super) fn run(_op: Op, _arguments: &RunArgs, _verbose: u8, _bar: bool) -> Result<Record, Failure> {
    Err("not built yet".into())
}
