//! `pegaflow bench`: how fast, beside what it could be.
//!
//! `run.rs` checks what is asked for, has two nodes do it, and makes a record of it. `near.rs` is the node that moves and
//! measures, `far.rs` the other; `moving.rs` and `ping.rs` are what is timed, `rival.rs` what it is compared with.

pub(crate) mod args;
mod cells;
mod compare;
mod contents;
mod end;
mod far;
mod job;
mod moving;
mod near;
mod ping;
mod plot;
mod pool;
mod raw;
mod report;
mod results;
mod rival;
mod run;
mod sweep;

use std::process::ExitCode;

use pegaflow::Session;

pub(crate) use self::job::Job;
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
        BenchCommand::Plot(plot) => plot::run(plot),
    }
}

fn show(op: Op, arguments: &RunArgs, verbose: u8) -> Result<ExitCode, Failure> {
    let record = run::run(op, arguments, verbose, !arguments.json)?;
    if arguments.json {
        println!("{}", serde_json::to_string(&record)?);
    } else {
        println!("{}", report::table(&record));
    }
    Ok(if record.errors == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// One node's side of a bench.
pub(crate) fn serve(session: &Session, job: &Job) -> Result<serde_json::Value, Failure> {
    if session.name() == job.near {
        Ok(serde_json::to_value(near::run(session, job)?)?)
    } else {
        far::run(session, job)?;
        Ok(serde_json::Value::Null)
    }
}
