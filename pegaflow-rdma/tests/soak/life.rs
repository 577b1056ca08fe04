//! One life: its seed, and what of its actions is left out.

use std::{
    collections::BTreeSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{model::Tally, mutant::Mutant, world::World};

/// Actions of a life.
pub(crate) const ACTIONS: u32 = 1500;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) seed: u64,
    /// Actions that are left out.
    without: BTreeSet<u32>,
}

impl Life {
    pub(crate) fn of(seed: u64) -> Self {
        Self { seed, without: BTreeSet::new() }
    }

    /// Reads what [`fmt::Display`] has written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (seed, only) = text.split_once(' ').map_or((text, None), |(seed, only)| (seed, Some(only)));
        let seed = seed.parse().map_err(|error| format!("PEGAFLOW_LIFE begins with {seed:?}: {error}"))?;
        let Some(only) = only else { return Ok(Self::of(seed)) };
        let number = |text: &str| text.parse::<u32>().map_err(|error| format!("an action {text:?}: {error}"));
        let only: BTreeSet<u32> =
            only.split(',').filter(|one| !one.is_empty()).map(number).collect::<Result<_, _>>()?;
        Ok(Self { seed, without: (0..ACTIONS).filter(|at| !only.contains(at)).collect() })
    }

    fn actions(&self) -> impl Iterator<Item = u32> + '_ {
        (0..ACTIONS).filter(|at| !self.without.contains(at))
    }

    /// Lives it; what a check says comes back as the error.
    pub(crate) fn run(&self, mutant: Mutant) -> Result<Tally, String> {
        let lived = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(self.seed, mutant);
            for at in self.actions() {
                world.act(at);
            }
            world.end()
        }));
        lived.map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            text.unwrap_or("a panic without words").to_owned()
        })
    }

    /// What failed, with as few actions as it fails with, and how to run it again.
    pub(crate) fn shrunk(&self, said: String, mutant: Mutant) -> String {
        let (mut least, mut said, mut tries) = (self.clone(), said, 0);
        let mut piece = ACTIONS / 2;
        while piece > 0 {
            let mut at = 0;
            while at < ACTIONS && tries < 400 {
                let mut fewer = least.clone();
                fewer.without.extend(at..(at + piece).min(ACTIONS));
                at += piece;
                if fewer != least {
                    tries += 1;
                    if let Err(again) = fewer.run(mutant) {
                        (least, said) = (fewer, again);
                    }
                }
            }
            piece /= 2;
        }
        format!(
            "{said}\nin the life of seed {} with {} of its {ACTIONS} actions; again:\n\
             PEGAFLOW_LIFE='{least}' cargo test -p pegaflow-rdma --test soak -- --exact soak --nocapture",
            self.seed,
            least.actions().count()
        )
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions: Vec<String> = self.actions().map(|at| at.to_string()).collect();
        write!(f, "{} {}", self.seed, actions.join(","))
    }
}

/// A life that fails is made smaller, and its text is the life.
pub(crate) fn shown_small() -> Result<(), String> {
    let life = Life::of(1);
    let mutant = Mutant::CreditTwice;
    let said = (1..20).map(Life::of).find_map(|life| Some((life.run(mutant).err()?, life)));
    let (said, found) = said.ok_or("nothing failed")?;
    let shown = found.shrunk(said, mutant);
    println!("{shown}");
    let text = shown.split('\'').nth(1).ok_or("no line to run it again")?;
    let small = Life::parse(text)?;
    if small.actions().count() >= life.actions().count() / 2 {
        return Err(format!("{} actions are left", small.actions().count()));
    }
    match small.run(mutant) {
        Err(_) => Ok(()),
        Ok(_) => Err("what was left does not fail".to_owned()),
    }
}
