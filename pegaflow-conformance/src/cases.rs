//! The cases, by theme. Each says which promise it holds.

mod aborting;
mod after_data;
mod back_pressure;
mod cable;
mod capabilities;
mod checking;
mod closing;
mod connecting;
mod counters;
mod drops;
mod ends;
mod fencing;
mod figures;
mod flow;
mod fork;
mod interface;
mod memory_misuse;
mod misuse;
mod model;
mod neighbours;
mod peer_lost;
mod restarting;
mod revoking;
mod sender_lost;
mod shortage;
mod sizes;
mod starving;
mod steady;
pub(crate) mod weather;

pub(crate) use steady::dawdle;

use std::panic::Location;

use crate::{pair::Context, placement::Placement};

/// One case: a name that says what is held, and a function that fails where it is not.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    places: &'static [Placement],
    /// The file that it stands in.
    file: &'static str,
    /// Whether it harms the cable between two hosts.
    pub(crate) harms: bool,
    pub(crate) run: fn(&Context),
}

impl Case {
    /// A case that is run with its peer in this process, and again with it in another, of this host and of another one.
    #[track_caller]
    const fn both(name: &'static str, run: fn(&Context)) -> Self {
        Self::at(&[Placement::OneProcess, Placement::TwoProcesses, Placement::TwoHosts], name, run)
    }

    /// A case that needs no peer, or only one in this process.
    #[track_caller]
    const fn alone(name: &'static str, run: fn(&Context)) -> Self {
        Self::at(&[Placement::OneProcess], name, run)
    }

    /// A case whose peer is stopped or killed.
    #[track_caller]
    const fn apart(name: &'static str, run: fn(&Context)) -> Self {
        Self::at(&[Placement::TwoProcesses, Placement::TwoHosts], name, run)
    }

    /// A case whose peer is another process of this host: it is looked at from here.
    #[track_caller]
    const fn near(name: &'static str, run: fn(&Context)) -> Self {
        Self::at(&[Placement::TwoProcesses], name, run)
    }

    /// A case that harms the cable to a peer on another host.
    #[track_caller]
    const fn harming(name: &'static str, run: fn(&Context)) -> Self {
        Self { harms: true, ..Self::at(&[Placement::TwoHosts], name, run) }
    }

    #[track_caller]
    const fn at(places: &'static [Placement], name: &'static str, run: fn(&Context)) -> Self {
        Self { name, places, file: Location::caller().file(), harms: false, run }
    }

    pub(crate) fn places(&self) -> &'static [Placement] {
        self.places
    }

    /// What it is about: the name of the file that it stands in.
    pub(crate) fn theme(&self) -> &'static str {
        let name = self.file.rsplit('/').next().unwrap_or(self.file);
        name.strip_suffix(".rs").unwrap_or(name)
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
    fork::CASES,
    counters::CASES,
    figures::CASES,
    steady::CASES,
    capabilities::CASES,
    peer_lost::CASES,
    sender_lost::CASES,
    neighbours::CASES,
    restarting::CASES,
    starving::CASES,
    shortage::CASES,
    cable::CASES,
    interface::CASES,
];
