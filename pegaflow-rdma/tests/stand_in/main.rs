//! The backend over devices that are late, short of room, broken or dishonest: all that Soft-RoCE never is.

mod devices;
mod errors;
mod pieces;
mod provider;
mod refusals;
mod rig;

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
    let plain = [refusals::TESTS, errors::TESTS, pieces::TESTS];
    let plain = plain.into_iter().flatten().map(|&(name, run): &Test| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    });
    let all = plain.chain(pieces::trials()).collect();
    libtest_mimic::run(&Arguments::from_args(), all).exit_code()
}
