//! The promises over devices that behave as real ones may and Soft-RoCE does not, and over configs in which everything
//! runs out all the time.
//!
//! What has chances runs with a seed that is always the same and with one that is not, the rest with the latter alone;
//! `PEGAFLOW_SEED` takes the place of both. What fails is made smaller, and shown with how to run it again.

use std::{sync::OnceLock, time::Duration};

use libtest_mimic::{Failed, Trial};

use crate::{
    Test,
    devices::ALWAYS,
    scenario::{Scenario, shrink},
    tests,
};

pub(crate) const TESTS: &[Test] = tests!["schedules": a_failure_is_shown_small];

/// One kind of device or config, and the cases that it is held to.
struct Kind {
    name: &'static str,
    numbers: &'static [(&'static str, u32)],
    cases: &'static [&'static [&'static str]],
}

impl Kind {
    /// Whether two seeds make two runs of the device.
    fn has_chances(&self) -> bool {
        let chances = ["late_calls", "late_reads", "partial_posts", "lost_events", "duplicate_events"];
        self.numbers.iter().any(|(name, _)| chances.contains(name))
    }
}

/// Bytes, order, counts, messages, ends: whatever the device does, they hold.
const DATA: &[&str] = &[
    "sizes_and_unaligned_offsets",
    "spans_of_unequal_lengths",
    "empty_batch_is_counted",
    "read_equals_written",
    "source_is_free_once_quiet",
    "messages_of_every_length",
    "longest_message_of_the_backend",
    "random_blocks_written_as_the_model_says",
    "random_blocks_read_as_the_model_says",
    "counter_after_data",
    "message_after_data",
    "message_alone_follows_what_was_submitted_before",
    "counts_are_exact",
    "nothing_late_hits_a_recycled_counter",
    "counts_both_ways",
    "facts_equal_the_work",
];
/// Bounds and what runs out.
const BOUNDS: &[&str] = &[
    "full_of_transfers",
    "full_of_blocks",
    "full_of_messages",
    "messages_are_released_in_any_order",
    "ends_wait_for_room_in_the_event_buffer",
];
/// What ends early, and what is dropped while it is in flight.
const ENDS: &[&str] = &[
    "cancelled_before_and_amid",
    "cancelled_messages_give_their_credit_back",
    "deadline_that_has_passed",
    "deadline_is_never_early",
    "a_cancelled_count_is_aborted",
    "a_count_past_its_deadline_is_aborted",
    "counts_and_aborts_add_up",
    "a_fence_makes_everything_quiet",
    "revoke_in_a_storm_of_writes",
    "revoke_withdraws_what_is_queued",
    "revoke_of_a_peer_that_does_not_poll",
    "revoke_after_the_end_of_the_channel",
    "everything_dropped_in_flight",
    "port_dropped_in_flight",
    "peers_port_and_memory_dropped_in_flight",
    "close_waits_for_what_was_accepted",
    "messages_before_the_close_are_delivered",
    "both_close_with_transfers_in_flight",
    "one_channel_closes_and_its_neighbour_lives",
    "dial_again_after_the_end",
];
/// Where somebody sleeps. An event that the device loses is a fault that no backend can see, so these are not asked of
/// such a device; see `errors::lost_event_and_a_deadline` for what holds all the same.
const SLEEP: &[&str] =
    &["steady_state_allocates_nothing", "no_wake_up_is_lost", "the_descriptor_wakes_for_the_end_of_a_channel"];
/// Beneath a sleeper a late device does a thing each millisecond: long transfers are not asked of it.
const SLEEP_LONG: &[&str] = &["a_sender_that_sleeps_ends_a_long_transfer"];

const EVERYTHING: &[&[&str]] = &[DATA, BOUNDS, ENDS, SLEEP, SLEEP_LONG];
const ALL_BUT_LONG: &[&[&str]] = &[DATA, BOUNDS, ENDS, SLEEP];

const KINDS: &[Kind] = &[
    // Requests late, and completions across queue pairs in any order.
    Kind { name: "late", numbers: &[("late_calls", 6)], cases: ALL_BUT_LONG },
    // Reads that arrive late, with few of them allowed under way.
    Kind { name: "late_reads", numbers: &[("late_reads", 8), ("outstanding_reads", 2)], cases: EVERYTHING },
    // Some of a chain is taken, or none of it.
    Kind { name: "partial_posts", numbers: &[("partial_posts", ALWAYS / 3)], cases: EVERYTHING },
    Kind { name: "duplicate_events", numbers: &[("duplicate_events", ALWAYS / 2)], cases: &[SLEEP, SLEEP_LONG] },
    Kind { name: "lost_events", numbers: &[("lost_events", ALWAYS / 2)], cases: &[DATA, BOUNDS, ENDS] },
    // Places and receives run out all the time.
    Kind { name: "small_queues", numbers: SMALL_QUEUES, cases: EVERYTHING },
    // Nothing, or nearly nothing, travels inside a request.
    Kind {
        name: "tiny_inline",
        numbers: &[("inline_max", 8), ("inline_bytes", 8)],
        cases: &[&["messages_of_every_length", "message_after_data", "full_of_messages"], SLEEP],
    },
    // A long move is many requests.
    Kind { name: "short_requests", numbers: &[("max_request_bytes", 4096), ("signal_every", 1)], cases: EVERYTHING },
    // The receiver is never ready: it has a receive for each 64th request, and looks at one completion a time.
    Kind {
        name: "not_ready",
        numbers: &[("receive_depth", 64), ("poll_batch", 1), ("rnr_attempts", 1)],
        cases: EVERYTHING,
    },
    Kind { name: "mixed", numbers: MIXED, cases: ALL_BUT_LONG },
];

const SMALL_QUEUES: &[(&str, u32)] =
    &[("send_depth", 8), ("signal_every", 4), ("chain", 4), ("receive_depth", 64), ("poll_batch", 1)];

const MIXED: &[(&str, u32)] = &[
    ("late_calls", 4),
    ("late_reads", 4),
    ("partial_posts", ALWAYS / 4),
    ("duplicate_events", ALWAYS / 4),
    ("inline_max", 32),
    ("inline_bytes", 16),
    ("send_depth", 8),
    ("signal_every", 4),
    ("chain", 4),
    ("receive_depth", 64),
    ("poll_batch", 1),
    ("outstanding_reads", 3),
    ("max_request_bytes", 65_536),
];

/// A seed of every run.
const ALWAYS_RUN: u64 = 1;

/// That of this run, and that of every run.
fn seeds() -> Vec<u64> {
    static SEEDS: OnceLock<Vec<u64>> = OnceLock::new();
    let made = || match std::env::var("PEGAFLOW_SEED") {
        Ok(text) => vec![text.parse().expect("PEGAFLOW_SEED is a number")],
        Err(_) => {
            let mut bytes = [0; 8];
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).expect("random bytes");
            let random = u64::from_le_bytes(bytes);
            println!("PEGAFLOW_SEED={random}");
            vec![random, ALWAYS_RUN]
        }
    };
    SEEDS.get_or_init(made).clone()
}

pub(crate) fn trials() -> Vec<Trial> {
    let named = |kind: &'static Kind| kind.cases.iter().copied().flatten().map(move |&case| (kind, case));
    let given = std::env::var("PEGAFLOW_SCHEDULE").ok();
    let given = given.map(|text| Scenario::parse(&text).expect("PEGAFLOW_SCHEDULE"));
    let trial = |(kind, case): (&'static Kind, &'static str)| {
        let name = format!("schedules::{}::{case}", kind.name);
        let given = given.clone();
        Trial::test(name.clone(), move || match given {
            Some(scenario) => held(&name, case, scenario),
            None => {
                let scenario = |seed| Scenario { seed, ..Scenario::new(kind.numbers) };
                let count = if kind.has_chances() { usize::MAX } else { 1 };
                seeds().into_iter().take(count).try_for_each(|seed| held(&name, case, scenario(seed)))
            }
        })
    };
    KINDS.iter().flat_map(named).map(trial).collect()
}

fn held(trial: &str, case: &str, scenario: Scenario) -> Result<(), Failed> {
    let patience = Duration::from_secs(10);
    match scenario.holds(case, patience) {
        Ok(()) => Ok(()),
        Err(said) => Err(Failed::from(small(trial, case, scenario, said))),
    }
}

/// What failed, made small, and how to run it again.
fn small(trial: &str, case: &str, scenario: Scenario, said: String) -> String {
    let whole = scenario.clone();
    // What waits for something that never comes need not wait for long; what is random is tried twice.
    let patience = Duration::from_secs(2);
    let once = |scenario: &Scenario| scenario.holds(case, patience).err();
    let (least, said) = shrink(scenario, said, |scenario| once(scenario).or_else(|| once(scenario)));
    format!(
        "{said}\nunder {whole}\nas under {least}; again:\n\
         PEGAFLOW_SCHEDULE='{least}' cargo test -p pegaflow-rdma --test stand_in -- --exact {trial}"
    )
}

fn a_failure_is_shown_small() {
    let numbers = [("late_calls", 1), ("lost_immediates", ALWAYS), ("poll_batch", 1)];
    let scenario = Scenario { seed: 7, ..Scenario::new(&numbers) };
    let said = small("schedules::one", "empty_batch_is_counted", scenario, "red".to_owned());
    let end = format!(
        "under seed=7 late_calls=1 lost_immediates={ALWAYS} poll_batch=1\nas under seed=7 lost_immediates={ALWAYS}; again:\n\
         PEGAFLOW_SCHEDULE='seed=7 lost_immediates={ALWAYS}' cargo test -p pegaflow-rdma --test stand_in -- --exact \
         schedules::one"
    );
    assert!(said.ends_with(&end), "{said}");
}
