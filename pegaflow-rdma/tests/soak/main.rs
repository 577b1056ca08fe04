//! Random work with random faults over the stand-in, against a model that knows which bytes may be where and when.
//!
//! A *life* is two nodes of one thread, their devices, and a row of actions, all of it of one seed. `PEGAFLOW_FAULTS` says
//! for how many faults lives follow each other (100,000), `PEGAFLOW_SEED` where they begin; `PEGAFLOW_LIFE` runs one life
//! again, as a failure prints it, after leaving out whatever it fails without. `cargo xtask soak` sets these.

#[path = "../stand_in/devices.rs"]
#[allow(dead_code, reason = "shared with the tests of single faults")]
mod devices;
mod life;
mod model;
mod mutant;
#[path = "../stand_in/provider.rs"]
mod provider;
mod world;

use std::{process::ExitCode, time::Instant};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{life::Life, model::Tally, mutant::Mutant};

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}: expected a number")),
        Err(_) => default,
    }
}

/// A seed that no run before has had.
fn fresh() -> u64 {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).expect("random bytes");
    u64::from_le_bytes(bytes) >> 16
}

/// Lives until there were so many faults.
fn soak(faults: u64, first: u64) -> Result<Tally, String> {
    let (mut tally, begin, mut told) = (Tally::default(), Instant::now(), 0);
    println!("PEGAFLOW_SEED={first}: {faults} faults");
    for seed in first.. {
        let life = Life::of(seed);
        match life.run(Mutant::None) {
            Ok(lived) => tally.add(&lived),
            Err(said) => return Err(life.shrunk(said, Mutant::None)),
        }
        if tally.faults() >= faults {
            break;
        }
        let tenth = 10 * tally.faults() / faults;
        if tenth > told {
            told = tenth;
            println!(
                "{:>3} % of {faults} faults, {} lives, {:.0} s",
                10 * tenth,
                tally.lives,
                begin.elapsed().as_secs_f64()
            );
        }
    }
    println!("{tally}");
    Ok(tally)
}

fn whole() -> Result<(), Failed> {
    if let Ok(text) = std::env::var("PEGAFLOW_LIFE") {
        let life = Life::parse(&text).map_err(Failed::from)?;
        return life.run(Mutant::None).map(|lived| println!("{lived}")).map_err(Failed::from);
    }
    let faults = number("PEGAFLOW_FAULTS", 100_000);
    // Half of them are the same in every run, so that what fails is not chance alone; a seed that is given is all there is.
    let seeds = match std::env::var_os("PEGAFLOW_SEED") {
        Some(_) => vec![(faults, number("PEGAFLOW_SEED", 0))],
        None => vec![(faults.div_ceil(2), 1), (faults / 2, fresh())],
    };
    for (faults, first) in seeds {
        soak(faults, first).map_err(Failed::from)?;
    }
    Ok(())
}

/// A backend that is broken on purpose is found out.
fn found(mutant: Mutant) -> Result<(), Failed> {
    const LIVES: u64 = 60;
    for seed in 1..=LIVES {
        if let Err(said) = Life::of(seed).run(mutant) {
            println!("{mutant:?} is found in life {seed}: {said}");
            return Ok(());
        }
    }
    Err(Failed::from(format!("{mutant:?} lived {LIVES} lives, and nobody noticed")))
}

fn main() -> ExitCode {
    let mut trials = vec![Trial::test("soak", whole)];
    let mutants = Mutant::ALL.iter().map(|&mutant| Trial::test(format!("mutants::{mutant:?}"), move || found(mutant)));
    trials.extend(mutants);
    trials.push(Trial::test("a_failure_is_shown_small", || life::shown_small().map_err(Failed::from)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
