//! `pegaflow bench`: how fast, beside what it could be.

pub(crate) mod args;
mod compare;
mod run;
mod sweep;

use std::process::ExitCode;

use self::{
    args::{BenchArgs, BenchCommand, RunArgs},
    run::Op,
};
use pegaflow::Session;
use serde::{Deserialize, Serialize};

use crate::Failure;

pub(crate) fn run(arguments: &BenchArgs, verbose: u8) -> Result<ExitCode, Failure> {
    match &arguments.what {
        BenchCommand::Write(one) => show(Op::Write, one, verbose),
        BenchCommand::Read(one) => show(Op::Read, one, verbose),
        BenchCommand::Count(one) => show(Op::Count, one, verbose),
        BenchCommand::Message(one) => show(Op::Message, one, verbose),
        BenchCommand::Sweep(sweep) => sweep::run(sweep, verbose),
        BenchCommand::Compare(compare) => compare::run(compare),
    }
}

fn show(op: Op, arguments: &RunArgs, verbose: u8) -> Result<ExitCode, Failure> {
    let record = run::run(op, arguments, verbose, !arguments.json)?;
    println!("{}", serde_json::to_string(&record)?);
    Ok(ExitCode::SUCCESS)
}

/// What both nodes of a bench are told to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Names this run on the boards.
    pub(crate) id: String,
}

/// One node's side of a bench.
pub(crate) fn serve(_session: &Session, _job: &Job) -> Result<serde_json::Value, Failure> {
    Err("not built yet".into())
}
