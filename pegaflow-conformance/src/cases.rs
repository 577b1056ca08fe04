//! The cases, by theme. Each says which promise it holds.

mod aborting;
mod after_data;
mod back_pressure;
mod capabilities;
mod checking;
mod closing;
mod connecting;
mod counters;
mod drops;
mod ends;
mod fencing;
mod figures;
mod memory_misuse;
mod misuse;
mod model;
mod revoking;
mod sizes;
mod steady;

pub(crate) use steady::dawdle;

use crate::{pair::Context, placement::Placement};

/// One case: a name that says what is held, and a function that fails where it is not.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    places: &'static [Placement],
    pub(crate) run: fn(&Context),
}

impl Case {
    /// A case that is run with its peer in this process, and again with it in another.
    const fn both(name: &'static str, run: fn(&Context)) -> Self {
        Self { name, places: &[Placement::OneProcess, Placement::TwoProcesses], run }
    }

    /// A case that needs no peer, or only one in this process.
    const fn alone(name: &'static str, run: fn(&Context)) -> Self {
        Self { name, places: &[Placement::OneProcess], run }
    }

    /// A case whose peer is stopped or killed.
    const fn apart(name: &'static str, run: fn(&Context)) -> Self {
        Self { name, places: &[Placement::TwoProcesses], run }
    }

    pub(crate) fn places(&self) -> &'static [Placement] {
        self.places
    }
}

/// Every case, by theme.
pub(crate) const CASES: &[&[Case]] = &[
    sizes::CASES,
    model::CASES,
    after_data::CASES,
    back_pressure::CASES,
    misuse::CASES,
    memory_misuse::CASES,
    drops::CASES,
    ends::CASES,
    aborting::CASES,
    fencing::CASES,
    revoking::CASES,
    checking::CASES,
    connecting::CASES,
    closing::CASES,
    counters::CASES,
    figures::CASES,
    steady::CASES,
    capabilities::CASES,
];
