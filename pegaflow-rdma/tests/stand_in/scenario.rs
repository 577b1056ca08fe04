//! A device and a config by their numbers, so that a scenario that fails can be made smaller, shown, and run again.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pegaflow_conformance::Backend;
use pegaflow_core::{BackendError, backend::Domain};
use pegaflow_rdma::{RdmaConfig, testing};

use crate::{
    Test,
    devices::{ALWAYS, Schedule, counts, device},
    provider::config,
    tests,
};

pub(crate) const TESTS: &[Test] = tests!["scenario": texts_are_read_back, shrinking_leaves_what_is_needed];

type Set = fn(&mut Schedule, &mut RdmaConfig, u32);

macro_rules! knobs {
    (schedule: $($number:ident),*; config: $($key:ident),* $(,)?) => {
        &[
            $((stringify!($number), |schedule, _, value| schedule.$number = value),)*
            $((stringify!($key), |_, config, value| config.$key = value.try_into().expect("it fits the key"))),*
        ]
    };
}

/// What a scenario can set.
const KNOBS: &[(&str, Set)] = knobs![
    schedule: inline_max, late_calls, late_reads, rnr_attempts, partial_posts, lost_events, duplicate_events, late_landings,
        late_sources, lost_immediates, garbled_immediates, displaced_over, lie_calls;
    config: send_depth, receive_depth, signal_every, chain, inline_bytes, poll_batch, outstanding_reads,
        max_request_bytes,
];

/// Numbers by name; what is not named is as usual.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) numbers: Vec<(&'static str, u32)>,
}

impl Scenario {
    pub(crate) fn new(numbers: &[(&'static str, u32)]) -> Self {
        Self { seed: 0, numbers: numbers.to_vec() }
    }

    /// Reads what [`fmt::Display`] has written.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut made = Self::default();
        for word in text.split_whitespace() {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?}: expected NAME=NUMBER"))?;
            let wrong = |error| format!("{word:?}: {error}");
            if name == "seed" {
                made.seed = value.parse().map_err(wrong)?;
                continue;
            }
            let known = KNOBS.iter().find(|(known, _)| *known == name);
            let (name, _) = known.ok_or_else(|| format!("{name:?} is no number of a schedule or config"))?;
            made.numbers.push((name, value.parse().map_err(wrong)?));
        }
        Ok(made)
    }

    fn build(&self) -> (String, RdmaConfig) {
        // A device asks for half a second whether its peer is there: what a peer that closes says over TCP comes first.
        let mut schedule = Schedule { seed: self.seed, retry_calls: 1 << 20, ..Schedule::default() };
        let mut made = config("");
        for (name, value) in &self.numbers {
            let (_, set) = KNOBS.iter().find(|(known, _)| known == name).expect("a number that is known");
            set(&mut schedule, &mut made, *value);
        }
        let name = device(&schedule);
        made.rails[0].device = Some(name.clone());
        (name, made)
    }

    /// Runs one case of the conformance suite over a new device, and looks for what it left behind.
    ///
    /// One at a time: most mistakes show in a race, which needs a processor for each of its two sides.
    pub(crate) fn holds(&self, case: &str, patience: Duration) -> Result<(), String> {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, config) = self.build();
        *now() = Some(config);
        let backend = Backend::new("rdma", || open(now().as_ref()));
        pegaflow_conformance::holds(backend.patience(patience), case)?;
        // The reaper gives them back in its own time.
        let begin = Instant::now();
        loop {
            match counts(&name).regions {
                0 => return Ok(()),
                left if begin.elapsed() > patience => return Err(format!("{left} regions are still registered")),
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// The config of the scenario that runs: what opens a backend for the suite takes no argument.
fn now() -> MutexGuard<'static, Option<RdmaConfig>> {
    static NOW: Mutex<Option<RdmaConfig>> = Mutex::new(None);
    NOW.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(config: Option<&RdmaConfig>) -> Result<Arc<dyn Domain>, BackendError> {
    testing::open(config.expect("a scenario runs"))
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed={}", self.seed)?;
        self.numbers.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// Makes a scenario that fails smaller: takes its numbers away, one after another, while it still fails. `fails` gives
/// what was said. Bounded: what is random may fail again and again by another cause.
pub(crate) fn shrink(
    scenario: Scenario,
    said: String,
    mut fails: impl FnMut(&Scenario) -> Option<String>,
) -> (Scenario, String) {
    const TRIES: u32 = 40;
    let until = Instant::now() + Duration::from_secs(60);
    let (mut least, mut said, mut tries, mut at) = (scenario, said, 0, 0);
    while at < least.numbers.len() && tries < TRIES && Instant::now() < until {
        let mut smaller = least.clone();
        smaller.numbers.remove(at);
        tries += 1;
        match fails(&smaller) {
            // From the front again: what was needed beside this one may not be any more.
            Some(text) => (least, said, at) = (smaller, text, 0),
            None => at += 1,
        }
    }
    (least, said)
}

fn texts_are_read_back() {
    let scenario = Scenario { seed: u64::MAX, numbers: vec![("late_calls", 3), ("send_depth", 8)] };
    assert_eq!(Scenario::parse(&scenario.to_string()), Ok(scenario));
    assert!(Scenario::parse("late_call=3").is_err_and(|said| said.contains("\"late_call\" is no number")));
    for (name, _) in KNOBS {
        let one = Scenario::parse(&format!("{name}=64")).expect("a name that is known");
        let (_, config) = one.build();
        assert!(!name.ends_with("depth") || config != self::config("x"), "{name}");
    }
}

/// A mix in which one lie is enough: it is what is left.
fn shrinking_leaves_what_is_needed() {
    let mix =
        [("late_calls", 2), ("lost_immediates", ALWAYS / 8), ("send_depth", 8), ("signal_every", 4), ("chain", 4)];
    let (case, patience) = ("counts_are_exact", Duration::from_millis(500));
    let fails = |scenario: &Scenario| scenario.holds(case, patience).err();
    let mix = Scenario { seed: 1, ..Scenario::new(&mix) };
    let said = fails(&mix).expect("immediates get lost");
    let (least, said) = shrink(mix, said, fails);
    assert_eq!(least.to_string(), format!("seed=1 lost_immediates={}", ALWAYS / 8));
    assert!(said.contains("for a counter to be 334"), "{said}");
}
