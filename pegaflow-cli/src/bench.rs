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
