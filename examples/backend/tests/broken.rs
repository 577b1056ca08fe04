//! Backends that are broken on purpose: for each mistake the conformance suite has a case that goes red, for the reason
//! that it is there for; and the whole backend holds the same case.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use pegaflow_conformance::{Backend, holds};
use pegaflow_example_backend::{Fault, InprocConfig, open_broken};

/// Work is as long as moves are: what is wrong with one piece of it is not mended by the next.
const CONFIG: InprocConfig = InprocConfig { queue_depth: 64, work_bytes: u64::MAX };
const WHOLE: Backend = Backend::new("inproc", || open_broken(&CONFIG, Fault::None));

/// `said` is a part of what the case's panic must say.
#[track_caller]
fn seen(broken: Backend, case: &str, said: &str) {
    // One at a time: most mistakes show in a race, and need a processor for each of its two sides.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What waits for something that never comes need not wait for long.
    let red = holds(broken.patience(Duration::from_secs(1)), case);
    assert!(red.as_ref().is_err_and(|text| text.contains(said)), "{case} does not see it: {red:?}");
    assert_eq!(holds(WHOLE, case), Ok(()), "{case}, of the whole backend");
}

#[test]
fn count_before_data() {
    let broken = Backend::new("inproc", || open_broken(&CONFIG, Fault::CountBeforeData));
    seen(broken, "counter_after_data", "of its data was not there yet");
}

#[test]
fn lost_increment() {
    let broken = Backend::new("inproc", || open_broken(&CONFIG, Fault::LostIncrement));
    seen(broken, "counts_are_exact", "for a counter to be 334");
}

#[test]
fn completed_early() {
    let broken = Backend::new("inproc", || open_broken(&CONFIG, Fault::CompletedEarly));
    seen(broken, "source_is_free_once_quiet", "at the peer is not what was written");
}

#[test]
fn slot_reused() {
    let broken = Backend::new("inproc", || open_broken(&CONFIG, Fault::SlotReused));
    seen(broken, "messages_are_released_in_any_order", "Garbage(2)");
}

#[test]
fn half_of_a_long_move() {
    let broken = Backend::new("inproc", || open_broken(&CONFIG, Fault::HalfOfALongMove));
    seen(broken, "random_blocks_written_as_the_model_says", "at the peer is not what was written");
}

#[test]
fn credit_twice() {
    let broken = Backend::new("inproc", || open_broken(&CONFIG, Fault::CreditTwice));
    seen(broken, "full_of_messages", "Some(Full(Messages))");
}

#[test]
fn lost_wake_up() {
    let broken = Backend::new("inproc", || open_broken(&CONFIG, Fault::LostWakeUp));
    seen(broken, "no_wake_up_is_lost", "and nothing woke the port");
}
