//! The recorder: the subscriber of one port.

use std::{process, sync::Arc, time::Instant};

use pegaflow_core::{
    Bounds, DeviceEvent, Outcome, Revoked, Short, Slot, State, Subscriber,
    observe::{Accepted, Ended, Followed, On, Polled},
};

use crate::{
    Snapshot,
    histogram::nanos,
    metrics::Ports,
    series::{IN, NO_PEER, OUT, PortFigures, Series, Sums},
};

/// Counts what one port does.
///
/// Give it to [`Node::port`](pegaflow_core::Node::port). It writes memory that no other thread writes, without locks or
/// locked instructions, and any thread may read it meanwhile: through the [`Metrics`](crate::Metrics) that it is of, or by
/// [`Recorder::snapshot`]. It allocates when a channel comes up (some 60 KiB for each peer and class), and never while data
/// moves. What it costs a transfer and a poll is in `docs/metrics.md`.
#[derive(Debug)]
pub struct Recorder {
    figures: Arc<PortFigures>,
    /// Where its figures go when it is dropped.
    home: Option<Arc<Ports>>,
    /// By link.
    lines: Vec<Option<Line>>,
    /// When the poll before ended; `None` after a sleep.
    last_poll: Option<Instant>,
    /// A child of a fork has its parent's figures, and no business with them.
    process: u32,
}

/// A channel that there is.
#[derive(Debug)]
struct Line {
    series: Arc<Series>,
    was_up: bool,
    /// When the message in each slot came.
    arrivals: Box<[Option<Instant>]>,
}

impl Recorder {
    /// A recorder of its own, with everything at zero; [`Metrics::recorder`](crate::Metrics::recorder) makes one whose
    /// figures are exported.
    #[must_use]
    pub fn new() -> Self {
        Self::of(None)
    }

    pub(crate) fn of(home: Option<Arc<Ports>>) -> Self {
        let figures = Arc::new(PortFigures::new());
        if let Some(home) = &home {
            home.enter(&figures);
        }
        Self { figures, home, lines: Vec::new(), last_poll: None, process: process::id() }
    }

    /// The figures of this port as they stand. Walks the histograms: for a report, not for every poll.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut sums = Sums::new();
        self.figures.add_to(&mut sums);
        Snapshot::of_port(&sums)
    }

    fn series(&self, on: On) -> Option<&Series> {
        self.lines.get(on.channel.link().index())?.as_ref().map(|line| &*line.series)
    }

    fn line(&mut self, on: On) -> Option<&mut Line> {
        self.lines.get_mut(on.channel.link().index())?.as_mut()
    }

    /// The place of a channel's line: for set-up and ends, for it may allocate.
    fn place(&mut self, on: On) -> &mut Option<Line> {
        let at = on.channel.link().index();
        if self.lines.len() <= at {
            self.lines.resize_with(at + 1, || None);
        }
        &mut self.lines[at]
    }

    fn enter(&mut self, on: On, peer: &str, messages: usize) {
        let series = self.figures.enter(peer, on.class);
        *self.place(on) = Some(Line { series, was_up: false, arrivals: vec![None; messages].into() });
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Subscriber for Recorder {
    fn accepted(&mut self, on: On, what: Accepted) {
        if let Some(series) = self.series(on) {
            series.op(what.op).accepted.add(1);
        }
    }

    fn full(&mut self, on: On, bound: Short) {
        if let Some(series) = self.series(on) {
            series.full(bound);
        }
    }

    fn ended(&mut self, on: On, what: Ended) {
        let Some(series) = self.series(on) else {
            return;
        };
        let op = series.op(what.op);
        op.ended(what.outcome);
        op.bytes.add(what.bytes);
        if what.outcome != Outcome::Done {
            return;
        }
        op.blocks.add(what.blocks);
        op.moves.add(what.moves);
        op.merged.add(what.blocks.saturating_sub(what.moves));
        if let (Some(queued), Some(posted)) = (what.queued, what.posted) {
            op.queued.record(queued);
            op.posted.record(posted);
        }
        match what.then {
            Followed::Nothing => {}
            Followed::Count => series.counts[OUT].add(1),
            Followed::Message { bytes } => {
                series.messages[OUT].add(1);
                series.message_bytes[OUT].add(bytes.into());
            }
        }
    }

    fn unquiet(&mut self, on: On) {
        if let Some(series) = self.series(on) {
            series.unquiet();
        }
    }

    fn quiet(&mut self, on: On) {
        if let Some(series) = self.series(on) {
            series.quiet();
        }
    }

    fn message(&mut self, on: On, slot: Slot, bytes: u32) {
        let Some(line) = self.line(on) else {
            return;
        };
        line.series.messages[IN].add(1);
        line.series.message_bytes[IN].add(bytes.into());
        if let Some(arrival) = line.arrivals.get_mut(slot.index()) {
            *arrival = Some(Instant::now());
        }
    }

    fn released(&mut self, on: On, slot: Slot) {
        let Some(line) = self.line(on) else {
            return;
        };
        if let Some(arrival) = line.arrivals.get_mut(slot.index()).and_then(Option::take) {
            line.series.held.record(arrival.elapsed());
        }
    }

    fn counted(&mut self, on: On, increments: u64) {
        if let Some(series) = self.series(on) {
            series.counts[IN].add(increments);
        }
    }

    fn aborted(&mut self, on: On, aborts: u64) {
        if let Some(series) = self.series(on) {
            series.aborts.add(aborts);
        }
    }

    fn met(&mut self, on: On, peer: &str, bounds: &Bounds) {
        self.enter(on, peer, bounds.messages as usize);
    }

    fn channel(&mut self, on: On, state: State) {
        let cause = match state {
            State::Connecting => return,
            State::Up { .. } => {
                if let Some(line) = self.place(on) {
                    line.was_up = true;
                    line.series.up();
                }
                return;
            }
            State::Broken(cause) => Some(cause),
            State::Closed => None,
        };
        // One that nobody met: its link may have had a channel before.
        if !self.place(on).as_ref().is_some_and(|line| line.was_up) {
            self.enter(on, NO_PEER, 0);
        }
        if let Some(line) = self.place(on) {
            line.series.down(std::mem::take(&mut line.was_up), cause);
        }
    }

    fn revoked(&mut self, on: On, how: Revoked) {
        if let Some(series) = self.series(on) {
            series.revoked(how.kind());
        }
    }

    fn device(&mut self, rail: u8, what: DeviceEvent) {
        self.figures.own.device(rail, what);
    }

    fn polled(&mut self, what: Polled<'_>) {
        let (now, own) = (Instant::now(), &self.figures.own);
        let gap = self.last_poll.replace(now).map(|last| now.saturating_duration_since(last));
        own.polls.add(1);
        let busy = what.facts > 0 || what.events > 0 || what.moves > 0;
        if let Some(gap) = gap {
            own.awake_ns.add(nanos(gap));
            own.longest_gap_ns.raise(nanos(gap));
            if busy {
                own.busy_ns.add(nanos(gap));
            }
        }
        if !busy {
            return;
        }
        own.busy_polls.add(1);
        own.facts.add(what.facts as u64);
        own.events.add(what.events as u64);
        if let (Some(gap), true) = (gap, what.arrivals > 0) {
            own.arrived.record_many(gap, what.arrivals as u64);
        }
        let work = what.work();
        own.requests.raise(work.requests);
        own.doorbells.raise(work.doorbells);
        own.signalled.raise(work.signalled);
    }

    fn sleeps(&mut self) {
        self.last_poll = None;
        self.figures.own.sleeps.add(1);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // In a child of a fork the lock may be held by a thread that is not there.
        if let (Some(home), true) = (&self.home, self.process == process::id()) {
            home.retire(&self.figures);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pegaflow_core::{Cause, ChannelId, Class, Op};

    use super::*;

    fn on(class: Class) -> On {
        On { channel: ChannelId::from_bits((class as u64) << 32 | 7), class }
    }

    const ACCEPTED: Accepted = Accepted { op: Some(Op::Write), bytes: 4096, blocks: 4 };

    const DONE: Ended = Ended {
        op: Some(Op::Write),
        then: Followed::Count,
        outcome: Outcome::Done,
        bytes: 4096,
        blocks: 4,
        moves: 3,
        queued: Some(Duration::from_nanos(250)),
        posted: Some(Duration::from_micros(40)),
    };

    fn meet(recorder: &mut Recorder, on: On) {
        recorder.met(on, "decode", &Bounds::of(on.class));
        recorder.channel(on, State::Up { epoch: 1 });
    }

    #[test]
    fn figures_equal_what_was_fed() {
        let mut recorder = Recorder::new();
        let kv = on(Class::Kv);
        meet(&mut recorder, kv);
        for _ in 0..7 {
            recorder.accepted(kv, ACCEPTED);
        }
        recorder.full(kv, Short::Transfers);
        (0..2).for_each(|_| recorder.full(kv, Short::Blocks));
        (0..3).for_each(|_| recorder.full(kv, Short::Messages));
        recorder.ended(kv, DONE);
        // Cut into more moves than blocks: nothing was merged, and nothing is taken from what was.
        recorder.ended(kv, Ended { moves: 9, ..DONE });
        let early = Ended { bytes: 1000, moves: 1, ..DONE };
        for outcome in [Outcome::Cancelled, Outcome::DeadlinePassed, Outcome::Failed(Cause::PeerGone)] {
            recorder.ended(kv, Ended { outcome, ..early });
        }
        recorder.accepted(kv, Accepted { op: None, bytes: 0, blocks: 0 });
        let then = Followed::Message { bytes: 33 };
        recorder.ended(kv, Ended { op: None, then, bytes: 0, blocks: 0, moves: 0, ..DONE });
        recorder.unquiet(kv);
        recorder.unquiet(kv);
        recorder.quiet(kv);
        recorder.counted(kv, 5);
        recorder.aborted(kv, 2);
        recorder.revoked(kv, Revoked::Fenced);
        recorder.channel(kv, State::Broken(Cause::Fenced));

        let got = recorder.snapshot();
        let sum = |name: &str, labels: &[(&str, &str)]| got.sum(&format!("pegaflow_{name}"), labels);
        let write = &[("op", "write"), ("peer", "decode"), ("class", "kv")][..];
        assert_eq!(sum("transfers_accepted_total", write), 7);
        assert_eq!(sum("transfers_in_flight", write), 2);
        for (outcome, count) in [("done", 2), ("cancelled", 1), ("deadline_passed", 1), ("peer_gone", 1)] {
            assert_eq!(sum("transfers_ended_total", &[("op", "write"), ("outcome", outcome)]), count, "{outcome}");
        }
        assert_eq!(sum("bytes_total", write), 2 * 4096 + 3 * 1000);
        assert_eq!((sum("blocks_total", write), sum("moves_total", write), sum("merged_total", write)), (8, 12, 1));
        assert_eq!(sum("messages_total", &[("direction", "out")]), 1);
        assert_eq!(sum("message_bytes_total", &[("direction", "out")]), 33);
        assert_eq!((sum("counts_total", &[("direction", "out")]), sum("counts_total", &[("direction", "in")])), (2, 5));
        assert_eq!(sum("aborts_received_total", &[]), 2);
        assert_eq!(sum("transfers_unquiet", &[]), 1);
        for (bound, count) in [("transfers", 1), ("blocks", 2), ("messages", 3)] {
            assert_eq!(sum("full_total", &[("bound", bound)]), count, "{bound}");
        }
        assert_eq!((sum("channels_connected_total", &[]), sum("channels_up", &[])), (1, 0));
        assert_eq!(sum("channel_ends_total", &[("reason", "fenced")]), 1);
        assert_eq!(sum("revokes_total", &[("result", "fenced")]), 1);
        let times = got.times("pegaflow_queued_to_posted_seconds", write).unwrap();
        assert_eq!(times.count, 2);
        assert!((0.25..0.26).contains(&times.p50_us), "{times:?}");
        assert!(got.times("pegaflow_posted_to_done_seconds", &[("op", "read")]).is_none(), "none was asked for");
    }

    #[test]
    fn a_message_is_held_from_its_arrival_to_its_release() {
        let mut recorder = Recorder::new();
        let at = on(Class::Activation);
        meet(&mut recorder, at);
        let slot = Slot::from_bits([at.channel.to_bits(), 1 << 32 | 3]);
        recorder.message(at, slot, 100);
        recorder.released(at, slot);
        // What was not seen to arrive has no time.
        recorder.released(at, slot);
        let got = recorder.snapshot();
        assert_eq!(got.sum("pegaflow_messages_total", &[("direction", "in")]), 1);
        assert_eq!(got.times("pegaflow_message_held_seconds", &[]).unwrap().count, 1);
    }

    #[test]
    fn a_peer_that_comes_back_goes_on_in_its_series_and_one_that_was_never_met_has_none() {
        let mut recorder = Recorder::new();
        let kv = on(Class::Kv);
        for _ in 0..3 {
            meet(&mut recorder, kv);
            recorder.channel(kv, State::Closed);
        }
        recorder.channel(kv, State::Broken(Cause::Unreachable));
        let got = recorder.snapshot();
        assert_eq!(got.sum("pegaflow_channels_connected_total", &[("peer", "decode")]), 3);
        assert_eq!(got.sum("pegaflow_channel_ends_total", &[("peer", "decode"), ("reason", "closed")]), 3);
        assert_eq!(got.sum("pegaflow_channel_ends_total", &[("peer", ""), ("reason", "unreachable")]), 1);
        assert_eq!(got.sum("pegaflow_channels_up", &[]), 0);
    }

    #[test]
    fn more_peers_than_are_told_apart_are_counted_together() {
        let mut recorder = Recorder::new();
        let at = on(Class::Bulk);
        for peer in 0..1100 {
            recorder.met(at, &format!("peer-{peer}"), &Bounds::of(at.class));
            recorder.channel(at, State::Up { epoch: 1 });
        }
        let got = recorder.snapshot();
        assert_eq!(got.sum("pegaflow_channels_connected_total", &[]), 1100);
        assert_eq!(got.sum("pegaflow_channels_connected_total", &[("peer", "")]), 1100 - 1021);
    }

    #[test]
    fn every_cause_is_counted_under_its_own_kind() {
        use pegaflow_core::Refusal;
        let causes = [
            Cause::PeerGone,
            Cause::PeerSilent,
            Cause::PeerClosed,
            Cause::ClosedHere,
            Cause::Fenced,
            Cause::PeerFenced,
            Cause::Revoked,
            Cause::Corrupt { position: 1 },
            Cause::Unreachable,
            Cause::Refused(Refusal::Full),
            Cause::Garbage(3),
            Cause::Transport { status: 12, vendor: 1 },
            Cause::NotJoined,
            Cause::Device { errno: 22 },
        ];
        let mut recorder = Recorder::new();
        meet(&mut recorder, on(Class::Kv));
        for cause in causes {
            recorder.accepted(on(Class::Kv), ACCEPTED);
            recorder.ended(on(Class::Kv), Ended { outcome: Outcome::Failed(cause), ..DONE });
        }
        let got = recorder.snapshot();
        for cause in causes {
            assert_eq!(got.sum("pegaflow_transfers_ended_total", &[("outcome", cause.kind())]), 1, "{cause:?}");
        }
    }

    #[test]
    fn every_event_of_a_device_is_counted_under_its_own_kind() {
        let mut recorder = Recorder::new();
        let all = [
            DeviceEvent::PortDown,
            DeviceEvent::PortUp,
            DeviceEvent::QueuePairFailed,
            DeviceEvent::CompletionQueueFailed,
            DeviceEvent::DeviceFailed,
            DeviceEvent::GidsChanged,
            DeviceEvent::RequestRefused,
            DeviceEvent::Other(99),
        ];
        all.iter().for_each(|&what| recorder.device(0, what));
        recorder.device(200, DeviceEvent::PortDown);
        let got = recorder.snapshot();
        for what in all {
            let labels = [("rail", "0"), ("event", what.kind())];
            assert_eq!(got.sum("pegaflow_device_events_total", &labels), 1, "{what:?}");
        }
    }
}
