//! What a broken device does turns a case red, for the reason that it is there for; the honest device holds the same
//! case. So the suite, through this backend, would see it.

use std::time::Duration;

use crate::{Test, devices::ALWAYS, scenario::Scenario, tests};

pub(crate) const TESTS: &[Test] = tests!["lies":
    counter_before_data,
    message_before_data,
    lost_immediate,
    completion_before_the_source_was_read,
    long_write_displaced,
    long_write_displaced_and_checked,
    lost_event,
];

/// So late that whoever looks looks before.
const LATE: &[(&str, u32)] = &[("late_landings", ALWAYS), ("lie_calls", 1 << 20)];

/// `said` is a part of what the case's panic must say.
#[track_caller]
fn seen(lie: &[(&'static str, u32)], case: &str, said: &str) {
    let red = Scenario { seed: 1, ..Scenario::new(lie) }.holds(case, Duration::from_secs(1));
    assert!(red.as_ref().is_err_and(|text| text.contains(said)), "{case} does not see it: {red:?}");
    assert_eq!(Scenario::default().holds(case, Duration::from_secs(10)), Ok(()), "{case}, over the honest device");
}

fn counter_before_data() {
    seen(LATE, "counter_after_data", "of its data was not there yet");
}

fn message_before_data() {
    // Who looks stops at the first one; whoever sends waits for room from then on.
    seen(LATE, "message_after_data", "for room for a message");
}

fn lost_immediate() {
    seen(&[("lost_immediates", ALWAYS / 16)], "counts_are_exact", "for a counter to be 334");
}

fn completion_before_the_source_was_read() {
    seen(
        &[("late_sources", ALWAYS), ("lie_calls", 256)],
        "source_is_free_once_quiet",
        "at the peer is not what was written",
    );
}

fn long_write_displaced() {
    seen(&[("displaced_over", 65_536)], "sizes_and_unaligned_offsets", "at the peer is not what was written");
}

/// The integrity mode says it of itself, where the case above compares the memory.
fn long_write_displaced_and_checked() {
    seen(&[("displaced_over", 1024)], "checked_batches_end_as_others_do", "Corrupt");
}

fn lost_event() {
    seen(&[("lost_events", ALWAYS / 4)], "no_wake_up_is_lost", "and nothing woke the port");
}
