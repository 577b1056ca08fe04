//! The recorder.

use std::time::Duration;

use hdrhistogram::Histogram;
use pegaflow_core::{
    Class, Outcome, Short, State, Subscriber,
    observe::{Accepted, Ended, On},
};

use crate::snapshot::{ClassFigures, Failures, Latency, Snapshot};

/// The unit of the histograms. A coarser one would cost digits at the short end: they count in powers of two of it, so
/// with 100 ns every time below 64 µs would be known to 64 ns only.
const UNIT_NS: u64 = 1;
/// What takes longer counts as this.
const LONGEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// Counts what one port does, by class of traffic.
///
/// Give it to [`Node::port`](pegaflow_core::Node::port), read it with
/// [`Poller::subscriber`](pegaflow_core::Poller::subscriber). Latencies are kept to 3 significant digits from 100 ns to
/// 60 s, shorter ones to the nanosecond; what takes longer counts as 60 s. Messages alone are counted and not timed:
/// among batches they would hide what a batch takes.
#[derive(Debug)]
pub struct Recorder {
    classes: [PerClass; 3],
}

#[derive(Debug)]
struct PerClass {
    in_flight: u64,
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
    failures: Failures,
    bytes: u64,
    blocks: u64,
    moves: u64,
    merged: u64,
    messages_in: u64,
    message_bytes_in: u64,
    messages_out: u64,
    increments_in: u64,
    full_transfers: u64,
    full_blocks: u64,
    full_messages: u64,
    up: u64,
    broken: u64,
    closed: u64,
}

impl Recorder {
    /// A recorder with everything at zero. Allocates its six histograms, some 1.3 MiB, and nothing later.
    #[must_use]
    pub fn new() -> Self {
        Self { classes: Class::ALL.map(|_| PerClass::new()) }
    }

    /// Puts every count and histogram back to zero. What is in flight stays known, and is counted when it ends.
    pub fn reset(&mut self) {
        for class in &mut self.classes {
            class.counts = Counts::default();
            class.queued.reset();
            class.posted.reset();
        }
    }

    /// Nanoseconds from `submit` to the first move handed to the backend, of batches that ended `Done`.
    #[must_use]
    pub fn queued_to_posted(&self, class: Class) -> &Histogram<u64> {
        &self.classes[class as usize].queued
    }

    /// Nanoseconds from the first move handed to the backend to the end, of batches that ended `Done`.
    #[must_use]
    pub fn posted_to_done(&self, class: Class) -> &Histogram<u64> {
        &self.classes[class as usize].posted
    }

    /// The figures as they stand. Walks the histograms: for a report, not for every poll.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { classes: Class::ALL.map(|class| self.classes[class as usize].figures(class)) }
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

impl Subscriber for Recorder {
    fn accepted(&mut self, on: On, _what: Accepted) {
        let class = self.of(on);
        class.in_flight += 1;
        class.counts.accepted += 1;
    }

    fn full(&mut self, on: On, bound: Short) {
        let counts = &mut self.of(on).counts;
        match bound {
            Short::Transfers => counts.full_transfers += 1,
            Short::Blocks => counts.full_blocks += 1,
            Short::Messages => counts.full_messages += 1,
        }
    }

    fn ended(&mut self, on: On, what: Ended) {
        let class = self.of(on);
        // One accepted before this recorder listened would go below zero.
        class.in_flight = class.in_flight.saturating_sub(1);
        let counts = &mut class.counts;
        counts.bytes += what.bytes;
        match what.outcome {
            Outcome::Done if what.op.is_none() => {
                counts.done += 1;
                counts.messages_out += 1;
            }
            Outcome::Done => {
                counts.done += 1;
                counts.blocks += what.blocks;
                counts.moves += what.moves;
                counts.merged += what.blocks.saturating_sub(what.moves);
                if let (Some(queued), Some(posted)) = (what.queued, what.posted) {
                    record(&mut class.queued, queued);
                    record(&mut class.posted, posted);
                }
            }
            Outcome::Cancelled => counts.cancelled += 1,
            Outcome::DeadlinePassed => counts.deadline_passed += 1,
            Outcome::Failed(cause) => *counts.failures.of(cause) += 1,
        }
    }

    fn message(&mut self, on: On, bytes: u32) {
        let counts = &mut self.of(on).counts;
        counts.messages_in += 1;
        counts.message_bytes_in += u64::from(bytes);
    }

    fn counted(&mut self, on: On, increments: u64) {
        // The peer's word, over shared memory: one that lies must not stop whoever counts.
        let counts = &mut self.of(on).counts;
        counts.increments_in = counts.increments_in.saturating_add(increments);
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

impl PerClass {
    fn new() -> Self {
        Self { in_flight: 0, counts: Counts::default(), queued: histogram(), posted: histogram() }
    }

    fn figures(&self, class: Class) -> ClassFigures {
        let counts = &self.counts;
        ClassFigures {
            class: class.name(),
            accepted: counts.accepted,
            done: counts.done,
            cancelled: counts.cancelled,
            deadline_passed: counts.deadline_passed,
            failed: counts.failures.total(),
            failures: counts.failures,
            in_flight: self.in_flight,
            bytes: counts.bytes,
            blocks: counts.blocks,
            moves: counts.moves,
            merged: counts.merged,
            messages_in: counts.messages_in,
            message_bytes_in: counts.message_bytes_in,
            messages_out: counts.messages_out,
            increments_in: counts.increments_in,
            full_transfers: counts.full_transfers,
            full_blocks: counts.full_blocks,
            full_messages: counts.full_messages,
            channels_up: counts.up,
            channels_broken: counts.broken,
            channels_closed: counts.closed,
            queued_to_posted: Latency::of(&self.queued),
            posted_to_done: Latency::of(&self.posted),
        }
    }
}

#[expect(clippy::expect_used, reason = "the bounds are constants, and a test makes one")]
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(UNIT_NS, LONGEST_NS, DIGITS).expect("the bounds are in order")
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(LONGEST_NS);
    // Clamped here too: the histogram's last bucket reaches beyond its bound.
    histogram.saturating_record(nanos.min(LONGEST_NS));
}

#[cfg(test)]
mod tests {
    use pegaflow_core::{Cause, ChannelId, Event, Op};

    use super::*;

    fn on(class: Class) -> On {
        On { channel: any(), class }
    }

    /// Only core makes channel ids; this one stands in an event that it gives to all.
    fn any() -> ChannelId {
        match Event::NONE {
            Event::Counters { channel } => channel,
            other => panic!("{other:?} names no channel"),
        }
    }

    const ACCEPTED: Accepted = Accepted { op: Some(Op::Write), bytes: 4096, blocks: 4 };

    const DONE: Ended = Ended {
        op: Some(Op::Write),
        outcome: Outcome::Done,
        bytes: 4096,
        blocks: 4,
        moves: 3,
        queued: Some(Duration::from_nanos(250)),
        posted: Some(Duration::from_micros(40)),
    };

    fn figures(recorder: &Recorder, class: Class) -> ClassFigures {
        recorder.snapshot().classes[class as usize].clone()
    }

    #[test]
    fn increments_that_no_peer_made_do_not_overflow() {
        let mut recorder = Recorder::new();
        (0..3).for_each(|_| recorder.counted(on(Class::Kv), u64::MAX / 2));
        assert_eq!(figures(&recorder, Class::Kv).increments_in, u64::MAX);
    }

    #[test]
    fn figures_equal_what_was_fed() {
        let mut recorder = Recorder::new();
        let kv = on(Class::Kv);
        recorder.channel(kv, State::Connecting);
        recorder.channel(kv, State::Up { epoch: 1 });
        for _ in 0..7 {
            recorder.accepted(kv, ACCEPTED);
        }
        recorder.full(kv, Short::Transfers);
        recorder.full(kv, Short::Blocks);
        recorder.full(kv, Short::Blocks);
        for _ in 0..3 {
            recorder.full(kv, Short::Messages);
        }
        recorder.ended(kv, DONE);
        // Cut into more moves than blocks: nothing was merged, and nothing is taken from what was.
        recorder.ended(kv, Ended { moves: 9, ..DONE });
        let early = Ended { bytes: 1000, moves: 1, ..DONE };
        for outcome in [Outcome::Cancelled, Outcome::DeadlinePassed, Outcome::Failed(Cause::PeerGone)] {
            recorder.ended(kv, Ended { outcome, ..early });
        }
        let alone = Ended { op: None, bytes: 0, blocks: 0, moves: 0, ..DONE };
        recorder.ended(kv, alone);
        recorder.message(kv, 5);
        recorder.message(kv, 256);
        recorder.counted(kv, 11);
        recorder.channel(kv, State::Broken(Cause::PeerGone));
        recorder.channel(kv, State::Closed);

        let latency = |nanos: u32| Latency {
            count: 2,
            p50_us: f64::from(nanos) / 1e3,
            p99_us: f64::from(nanos) / 1e3,
            p999_us: f64::from(nanos) / 1e3,
            max_us: f64::from(nanos) / 1e3,
        };
        let got = figures(&recorder, Class::Kv);
        let expected = ClassFigures {
            class: "kv",
            accepted: 7,
            done: 3,
            cancelled: 1,
            deadline_passed: 1,
            failed: 1,
            failures: Failures { peer_gone: 1, ..Failures::default() },
            in_flight: 1,
            bytes: 2 * 4096 + 3 * 1000,
            blocks: 8,
            moves: 12,
            merged: 1,
            messages_in: 2,
            message_bytes_in: 261,
            messages_out: 1,
            increments_in: 11,
            full_transfers: 1,
            full_blocks: 2,
            full_messages: 3,
            channels_up: 1,
            channels_broken: 1,
            channels_closed: 1,
            queued_to_posted: latency(250),
            // The upper end of the bucket of 40 000 ns, which is 32 ns wide there.
            posted_to_done: latency(40_031),
        };
        assert_eq!(got, expected);
        let untouched = Recorder::new();
        assert_eq!(figures(&recorder, Class::Bulk), figures(&untouched, Class::Bulk), "classes do not mix");
    }

    #[test]
    fn quantiles_are_right_to_three_digits() {
        let mut recorder = Recorder::new();
        for micros in 1..=10_000 {
            let posted = Some(Duration::from_micros(micros));
            recorder.ended(on(Class::Bulk), Ended { posted, ..DONE });
        }
        let got = figures(&recorder, Class::Bulk).posted_to_done;
        assert_eq!(got.count, 10_000);
        for (got, expected) in
            [(got.p50_us, 5000.0), (got.p99_us, 9900.0), (got.p999_us, 9990.0), (got.max_us, 10_000.0)]
        {
            assert!((0.0..=0.001).contains(&(got / expected - 1.0)), "{got} µs, expected {expected}");
        }
        assert_eq!(recorder.posted_to_done(Class::Bulk).len(), 10_000);
        assert_eq!(recorder.queued_to_posted(Class::Bulk).len(), 10_000);
        assert!(recorder.posted_to_done(Class::Kv).is_empty());
    }

    #[test]
    fn the_ends_of_the_range_are_kept() {
        let mut recorder = Recorder::new();
        let ended = |queued, posted| Ended { queued: Some(queued), posted: Some(posted), ..DONE };
        recorder.ended(on(Class::Kv), ended(Duration::from_nanos(101), Duration::MAX));
        let got = figures(&recorder, Class::Kv);
        assert_eq!(got.queued_to_posted.p50_us, 0.101);
        assert!((got.posted_to_done.max_us / 60e6 - 1.0).abs() < 0.001, "{got:?}");
        assert!(!recorder.posted_to_done(Class::Kv).is_auto_resize());
    }

    #[test]
    fn a_reset_forgets_all_but_what_is_in_flight() {
        let mut recorder = Recorder::new();
        let at = on(Class::Activation);
        recorder.accepted(at, ACCEPTED);
        recorder.accepted(at, ACCEPTED);
        recorder.ended(at, DONE);
        recorder.reset();
        let got = figures(&recorder, Class::Activation);
        assert_eq!((got.accepted, got.done, got.bytes, got.in_flight), (0, 0, 0, 1));
        assert_eq!(got.posted_to_done.count, 0);
        recorder.ended(at, DONE);
        let got = figures(&recorder, Class::Activation);
        assert_eq!((got.accepted, got.done, got.bytes, got.in_flight), (0, 1, 4096, 0));
    }
}
