//! The recorder.

use std::time::Duration;

use hdrhistogram::Histogram;
use pegaflow_core::{
    Class, Outcome, Short, State, Subscriber,
    observe::{Accepted, Ended, On},
};

use crate::snapshot::{ClassFigures, Latency, Snapshot};

/// Latencies are kept from 100 ns on to 60 s, to 3 significant digits; what lies outside counts as the nearest end.
const SHORTEST_NS: u64 = 100;
const LONGEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// Counts what one port does, by class of traffic.
#[derive(Debug)]
pub struct Recorder {
    classes: [PerClass; 3],
}

#[derive(Debug)]
struct PerClass {
    counts: Counts,
    queued: Histogram<u64>,
    posted: Histogram<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    accepted: u64,
    done: u64,
    cancelled: u64,
    deadline_passed: u64,
    failed: u64,
    bytes: u64,
    blocks: u64,
    moves: u64,
    messages_in: u64,
    messages_out: u64,
    increments_in: u64,
    full: [u64; 3],
    up: u64,
    broken: u64,
    closed: u64,
}

impl Recorder {
    /// A recorder with everything at zero. Allocates its histograms, some 200 KiB, and nothing later.
    #[must_use]
    pub fn new() -> Self {
        Self {
            classes: Class::ALL.map(|_| PerClass::new()),
        }
    }

    /// Puts everything back to zero.
    pub fn reset(&mut self) {
        for class in &mut self.classes {
            class.counts = Counts::default();
            class.queued.reset();
            class.posted.reset();
        }
    }

    /// Nanoseconds from `submit` to the first move handed to the backend, of transfers that ended `Done`.
    #[must_use]
    pub fn queued_to_posted(&self, class: Class) -> &Histogram<u64> {
        &self.classes[class as usize].queued
    }

    /// Nanoseconds from the first move handed to the backend to the end, of transfers that ended `Done`.
    #[must_use]
    pub fn posted_to_done(&self, class: Class) -> &Histogram<u64> {
        &self.classes[class as usize].posted
    }

    /// The figures as they stand.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            classes: Class::ALL.map(|class| self.classes[class as usize].figures(class)),
        }
    }

    fn of(&mut self, on: On) -> &mut PerClass {
        &mut self.classes[on.class as usize]
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl PerClass {
    fn new() -> Self {
        Self {
            counts: Counts::default(),
            queued: histogram(),
            posted: histogram(),
        }
    }

    fn figures(&self, class: Class) -> ClassFigures {
        let Counts {
            accepted,
            done,
            cancelled,
            deadline_passed,
            failed,
            ..
        } = self.counts;
        let Counts {
            bytes,
            blocks,
            moves,
            messages_in,
            messages_out,
            increments_in,
            full,
            up,
            broken,
            closed,
            ..
        } = self.counts;
        ClassFigures {
            class: class.name(),
            accepted,
            done,
            cancelled,
            deadline_passed,
            failed,
            in_flight: accepted - done - cancelled - deadline_passed - failed,
            bytes,
            blocks,
            moves,
            messages_in,
            messages_out,
            increments_in,
            full_transfers: full[Short::Transfers as usize],
            full_blocks: full[Short::Blocks as usize],
            full_messages: full[Short::Messages as usize],
            channels_up: up,
            channels_broken: broken,
            channels_closed: closed,
            queued_to_posted: Latency::of(&self.queued),
            posted_to_done: Latency::of(&self.posted),
        }
    }
}

#[expect(clippy::expect_used, reason = "the bounds are constants, and a test makes one")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(SHORTEST_NS, LONGEST_NS, DIGITS).expect("the bounds are in order")
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(LONGEST_NS);
    histogram.saturating_record(nanos.clamp(SHORTEST_NS, LONGEST_NS));
}

impl Subscriber for Recorder {
    fn accepted(&mut self, on: On, _what: Accepted) {
        self.of(on).counts.accepted += 1;
    }

    fn full(&mut self, on: On, bound: Short) {
        self.of(on).counts.full[bound as usize] += 1;
    }

    fn ended(&mut self, on: On, what: Ended) {
        let class = self.of(on);
        let counts = &mut class.counts;
        counts.bytes += what.bytes;
        counts.moves += what.moves;
        match what.outcome {
            Outcome::Done => {
                counts.done += 1;
                counts.blocks += what.blocks;
                counts.messages_out += u64::from(what.op.is_none());
                if let (Some(queued), Some(posted)) = (what.queued, what.posted) {
                    record(&mut class.queued, queued);
                    record(&mut class.posted, posted);
                }
            }
            Outcome::Cancelled => counts.cancelled += 1,
            Outcome::DeadlinePassed => counts.deadline_passed += 1,
            Outcome::Failed(_) => counts.failed += 1,
        }
    }

    fn message(&mut self, on: On, _bytes: u32) {
        self.of(on).counts.messages_in += 1;
    }

    fn counted(&mut self, on: On, increments: u64) {
        self.of(on).counts.increments_in += increments;
    }

    fn channel(&mut self, on: On, state: State) {
        let counts = &mut self.of(on).counts;
        match state {
            State::Up { .. } => counts.up += 1,
            State::Broken(_) => counts.broken += 1,
            State::Closed => counts.closed += 1,
            State::Connecting => {}
        }
    }
}
