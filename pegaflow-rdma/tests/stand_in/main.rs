//! The backend over devices that are late, short of room, broken or dishonest: all that Soft-RoCE never is.
//!
//! `PEGAFLOW_SEED` repeats a run; `PEGAFLOW_SCHEDULE` replaces the schedule of the cases that have one, see `scenario`.

mod devices;
mod ends;
mod errors;
mod garbage;
mod keys;
mod lies;
mod misled;
mod news;
mod order;
mod pieces;
mod provider;
mod refusals;
mod restarts;
mod rig;
mod scenario;
mod schedules;
mod shortages;
mod stuck;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

/// A test of this binary: its name and what it does.
type Test = (&'static str, fn());

/// Tests by their paths.
#[macro_export]
macro_rules! tests {
    ($room:literal: $($name:ident),* $(,)?) => { &[$((concat!($room, "::", stringify!($name)), $name as fn())),*] };
}

fn main() -> ExitCode {
    if std::env::var_os("PEGAFLOW_SECONDS").is_none() {
        // Many runs of a short look see more than a few of a long one.
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("PEGAFLOW_SECONDS", "0.2") };
    }
    let plain = [
        refusals::TESTS,
        ends::TESTS,
        errors::TESTS,
        garbage::TESTS,
        order::TESTS,
        pieces::TESTS,
        lies::TESTS,
        keys::TESTS,
        restarts::TESTS,
        shortages::TESTS,
        stuck::TESTS,
        news::TESTS,
        scenario::TESTS,
        schedules::TESTS,
    ];
    let plain = plain.into_iter().flatten().map(|&(name, run): &Test| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    });
    let all = plain.chain(pieces::trials()).chain(schedules::trials()).collect();
    libtest_mimic::run(&Arguments::from_args(), all).exit_code()
}
