//! The figures of one port, written by its thread and read by any: no lock, no locked instruction.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use pegaflow_core::{Cause, Class, DeviceEvent, Op, Outcome, Short};

use crate::{
    catalogue::{self as is, Metric},
    histogram::{Count, Histogram, seconds},
    snapshot::Value,
};

/// Most pairs of peer and class that a port tells apart. Others are counted without a peer's name.
const MOST_SERIES: usize = 1024;
/// What a peer is called that has not said its name, or is one too many.
pub(crate) const NO_PEER: &str = "";

/// Outcomes that are no failure, then the causes of failures, then one for causes of a later version.
const OUTCOMES: [&str; 18] = [
    "done",
    "cancelled",
    "deadline_passed",
    "peer_gone",
    "peer_silent",
    "peer_closed",
    "closed_here",
    "fenced",
    "peer_fenced",
    "revoked",
    "corrupt",
    "unreachable",
    "refused",
    "garbage",
    "transport",
    "not_joined",
    "device",
    "other",
];
const OTHER: usize = OUTCOMES.len() - 1;
/// A channel that ended in order, among the causes.
const CLOSED: &str = "closed";
const REVOKED: [&str; 3] = ["acknowledged", "fenced", "unproven"];
const RAILS: usize = 8;
const DEVICE_EVENTS: [&str; 8] = [
    "port_down",
    "port_up",
    "queue_pair_failed",
    "completion_queue_failed",
    "device_failed",
    "gids_changed",
    "request_refused",
    "other",
];

/// Called with each figure, its labels in the order of [`Metric::labels`], and its value.
pub(crate) type Visit<'a> = dyn FnMut(&'static Metric, &[&str], Value) + 'a;

/// The figures of one peer and class.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) peer: String,
    pub(crate) class: Class,
    ops: [PerOp; 3],
    unquiet: Count,
    quiet: Count,
    /// Received, sent.
    pub(crate) messages: [Count; 2],
    pub(crate) message_bytes: [Count; 2],
    pub(crate) counts: [Count; 2],
    pub(crate) aborts: Count,
    full: [Count; 3],
    pub(crate) held: Histogram,
    connected: Count,
    /// Ends of channels that had been up.
    downs: Count,
    closed: Count,
    broken: [Count; OUTCOMES.len()],
    revokes: [Count; REVOKED.len()],
}

/// Index into [`Series::messages`] and its like.
pub(crate) const IN: usize = 0;
pub(crate) const OUT: usize = 1;

/// Of writes, reads, or messages alone.
#[derive(Debug)]
pub(crate) struct PerOp {
    pub(crate) accepted: Count,
    ended: [Count; OUTCOMES.len()],
    pub(crate) bytes: Count,
    pub(crate) blocks: Count,
    pub(crate) moves: Count,
    pub(crate) merged: Count,
    pub(crate) queued: Histogram,
    pub(crate) posted: Histogram,
}

const OPS: [(&str, Option<Op>); 3] = [("write", Some(Op::Write)), ("read", Some(Op::Read)), ("message", None)];

impl PerOp {
    fn new() -> Self {
        let count = Count::default;
        Self {
            accepted: count(),
            ended: Default::default(),
            bytes: count(),
            blocks: count(),
            moves: count(),
            merged: count(),
            queued: Histogram::new(),
            posted: Histogram::new(),
        }
    }

    #[inline]
    pub(crate) fn ended(&self, outcome: Outcome) {
        let at = match outcome {
            Outcome::Done => 0,
            Outcome::Cancelled => 1,
            Outcome::DeadlinePassed => 2,
            Outcome::Failed(cause) => cause_index(cause),
        };
        self.ended[at].add(1);
    }

    fn add(&self, other: &Self) {
        self.accepted.add(other.accepted.get());
        add_each(&self.ended, &other.ended);
        self.bytes.add(other.bytes.get());
        self.blocks.add(other.blocks.get());
        self.moves.add(other.moves.get());
        self.merged.add(other.merged.get());
        self.queued.add(&other.queued);
        self.posted.add(&other.posted);
    }
}

fn cause_index(cause: Cause) -> usize {
    OUTCOMES.iter().position(|kind| *kind == cause.kind()).unwrap_or(OTHER)
}

fn add_each(mine: &[Count], others: &[Count]) {
    for (mine, other) in mine.iter().zip(others) {
        mine.add(other.get());
    }
}

impl Series {
    pub(crate) fn new(peer: &str, class: Class) -> Self {
        let count = Count::default;
        Self {
            peer: peer.to_owned(),
            class,
            ops: std::array::from_fn(|_| PerOp::new()),
            unquiet: count(),
            quiet: count(),
            messages: Default::default(),
            message_bytes: Default::default(),
            counts: Default::default(),
            aborts: count(),
            full: Default::default(),
            held: Histogram::new(),
            connected: count(),
            downs: count(),
            closed: count(),
            broken: Default::default(),
            revokes: Default::default(),
        }
    }

    #[inline]
    pub(crate) fn op(&self, op: Option<Op>) -> &PerOp {
        match op {
            Some(Op::Write) => &self.ops[0],
            Some(Op::Read) => &self.ops[1],
            None => &self.ops[2],
        }
    }

    pub(crate) fn full(&self, bound: Short) {
        for (count, _) in self.full.iter().zip(Short::ALL).filter(|(_, one)| *one == bound) {
            count.add(1);
        }
    }

    pub(crate) fn unquiet(&self) {
        self.unquiet.add(1);
    }

    pub(crate) fn quiet(&self) {
        self.quiet.add(1);
    }

    pub(crate) fn up(&self) {
        self.connected.add(1);
    }

    /// A channel ended; `None` for one that was closed in order.
    pub(crate) fn down(&self, was_up: bool, cause: Option<Cause>) {
        self.downs.add(u64::from(was_up));
        match cause {
            None => self.closed.add(1),
            Some(cause) => self.broken[cause_index(cause)].add(1),
        }
    }

    pub(crate) fn revoked(&self, result: &str) {
        for (count, _) in self.revokes.iter().zip(REVOKED).filter(|(_, one)| *one == result) {
            count.add(1);
        }
    }

    pub(crate) fn add(&self, other: &Self) {
        for (mine, other) in self.ops.iter().zip(&other.ops) {
            mine.add(other);
        }
        self.unquiet.add(other.unquiet.get());
        self.quiet.add(other.quiet.get());
        add_each(&self.messages, &other.messages);
        add_each(&self.message_bytes, &other.message_bytes);
        add_each(&self.counts, &other.counts);
        self.aborts.add(other.aborts.get());
        add_each(&self.full, &other.full);
        self.held.add(&other.held);
        self.connected.add(other.connected.get());
        self.downs.add(other.downs.get());
        self.closed.add(other.closed.get());
        add_each(&self.broken, &other.broken);
        add_each(&self.revokes, &other.revokes);
    }

    /// Shows each figure. Of an operation that was never asked for, and of causes and results that never came, nothing is
    /// shown.
    pub(crate) fn visit(&self, see: &mut Visit<'_>) {
        let (peer, class) = (self.peer.as_str(), self.class.name());
        let of = |count: &Count| Value::Count(count.get());
        for ((op, _), per) in OPS.iter().zip(&self.ops).filter(|(_, per)| per.accepted.get() > 0) {
            let labels = [peer, class, op];
            let mut ended = 0;
            for (outcome, count) in OUTCOMES.iter().zip(&per.ended).filter(|(_, count)| count.get() > 0) {
                ended += count.get();
                see(&is::ENDED, &[peer, class, op, outcome], of(count));
            }
            see(&is::ACCEPTED, &labels, of(&per.accepted));
            see(&is::IN_FLIGHT, &labels, Value::Count(per.accepted.get().saturating_sub(ended)));
            see(&is::QUEUED, &labels, Value::Times(per.queued.read()));
            see(&is::POSTED, &labels, Value::Times(per.posted.read()));
            if *op == "message" {
                continue;
            }
            see(&is::BYTES, &labels, of(&per.bytes));
            see(&is::BLOCKS, &labels, of(&per.blocks));
            see(&is::MOVES, &labels, of(&per.moves));
            see(&is::MERGED, &labels, of(&per.merged));
        }
        see(&is::UNQUIET, &[peer, class], Value::Count(self.unquiet.get().saturating_sub(self.quiet.get())));
        for (at, direction) in [(IN, "in"), (OUT, "out")] {
            see(&is::MESSAGES, &[peer, class, direction], of(&self.messages[at]));
            see(&is::MESSAGE_BYTES, &[peer, class, direction], of(&self.message_bytes[at]));
            see(&is::COUNTS, &[peer, class, direction], of(&self.counts[at]));
        }
        see(&is::ABORTS, &[peer, class], of(&self.aborts));
        for (bound, count) in Short::ALL.iter().zip(&self.full) {
            see(&is::FULL, &[peer, class, bound.name()], of(count));
        }
        see(&is::HELD, &[peer, class], Value::Times(self.held.read()));
        see(&is::CHANNELS, &[peer, class], Value::Count(self.connected.get().saturating_sub(self.downs.get())));
        see(&is::CONNECTED, &[peer, class], of(&self.connected));
        let causes = OUTCOMES.iter().copied().zip(&self.broken);
        for (reason, count) in causes.chain([(CLOSED, &self.closed)]).filter(|(_, count)| count.get() > 0) {
            see(&is::CHANNEL_ENDS, &[peer, class, reason], of(count));
        }
        for (result, count) in REVOKED.iter().zip(&self.revokes).filter(|(_, count)| count.get() > 0) {
            see(&is::REVOKES, &[peer, class, result], of(count));
        }
    }
}

/// The figures of one port: a series for each peer and class, and what is the port's own.
#[derive(Debug)]
pub(crate) struct PortFigures {
    /// Entered in order, and never taken out: a reader goes on to the first that is not there.
    series: Box<[OnceLock<Arc<Series>>]>,
    pub(crate) own: Own,
}

impl PortFigures {
    pub(crate) fn new() -> Self {
        Self { series: (0..MOST_SERIES).map(|_| OnceLock::new()).collect(), own: Own::new() }
    }

    /// The series of a peer and class, made where there is none: for set-up, for it allocates.
    pub(crate) fn enter(&self, peer: &str, class: Class) -> Arc<Series> {
        // The last three are kept for those without a name.
        let (named, nameless) = self.series.split_at(MOST_SERIES - Class::ALL.len());
        for place in named {
            let made = place.get_or_init(|| Arc::new(Series::new(peer, class)));
            if made.peer == peer && made.class == class {
                return Arc::clone(made);
            }
        }
        Arc::clone(nameless[class as usize].get_or_init(|| Arc::new(Series::new(NO_PEER, class))))
    }

    /// Adds what this port has to the sums of a node.
    pub(crate) fn add_to(&self, sums: &mut Sums) {
        self.series.iter().filter_map(OnceLock::get).for_each(|series| sums.add_series(series));
        sums.own.add(&self.own);
    }
}

/// The figures of several ports together.
#[derive(Debug)]
pub(crate) struct Sums {
    series: BTreeMap<(String, Class), Series>,
    own: Own,
}

impl Sums {
    pub(crate) fn new() -> Self {
        Self { series: BTreeMap::new(), own: Own::new() }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        other.series.values().for_each(|series| self.add_series(series));
        self.own.add(&other.own);
    }

    fn add_series(&mut self, series: &Series) {
        let key = (series.peer.clone(), series.class);
        self.series.entry(key).or_insert_with(|| Series::new(&series.peer, series.class)).add(series);
    }

    pub(crate) fn visit(&self, rail: &dyn Fn(usize) -> String, see: &mut Visit<'_>) {
        for series in self.series.values() {
            series.visit(see);
        }
        self.own.visit(rail, see);
    }
}

/// What belongs to a port and to none of its channels.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) arrived: Histogram,
    pub(crate) polls: Count,
    pub(crate) busy_polls: Count,
    pub(crate) facts: Count,
    pub(crate) events: Count,
    pub(crate) sleeps: Count,
    pub(crate) awake_ns: Count,
    pub(crate) busy_ns: Count,
    pub(crate) longest_gap_ns: Count,
    pub(crate) requests: Count,
    pub(crate) doorbells: Count,
    pub(crate) signalled: Count,
    device_events: Box<[[Count; DEVICE_EVENTS.len()]; RAILS]>,
}

impl Own {
    fn new() -> Self {
        let count = Count::default;
        Self {
            arrived: Histogram::new(),
            polls: count(),
            busy_polls: count(),
            facts: count(),
            events: count(),
            sleeps: count(),
            awake_ns: count(),
            busy_ns: count(),
            longest_gap_ns: count(),
            requests: count(),
            doorbells: count(),
            signalled: count(),
            device_events: Box::default(),
        }
    }

    pub(crate) fn device(&self, rail: u8, what: DeviceEvent) {
        let kind = DEVICE_EVENTS.iter().position(|kind| *kind == what.kind()).unwrap_or(DEVICE_EVENTS.len() - 1);
        if let Some(rail) = self.device_events.get(usize::from(rail)) {
            rail[kind].add(1);
        }
    }

    fn sums(&self) -> [&Count; 10] {
        [
            &self.polls,
            &self.busy_polls,
            &self.facts,
            &self.events,
            &self.sleeps,
            &self.awake_ns,
            &self.busy_ns,
            &self.requests,
            &self.doorbells,
            &self.signalled,
        ]
    }

    fn add(&self, other: &Self) {
        self.arrived.add(&other.arrived);
        for (mine, other) in self.sums().into_iter().zip(other.sums()) {
            mine.add(other.get());
        }
        self.longest_gap_ns.raise(other.longest_gap_ns.get());
        for (mine, other) in self.device_events.as_flattened().iter().zip(other.device_events.as_flattened()) {
            mine.raise(other.get());
        }
    }

    fn visit(&self, rail: &dyn Fn(usize) -> String, see: &mut Visit<'_>) {
        see(&is::ARRIVED, &[], Value::Times(self.arrived.read()));
        let counts = [
            (&is::POLLS, &self.polls),
            (&is::BUSY_POLLS, &self.busy_polls),
            (&is::FACTS, &self.facts),
            (&is::EVENTS, &self.events),
            (&is::SLEEPS, &self.sleeps),
            (&is::REQUESTS, &self.requests),
            (&is::DOORBELLS, &self.doorbells),
            (&is::SIGNALLED, &self.signalled),
        ];
        for (metric, count) in counts {
            see(metric, &[], Value::Count(count.get()));
        }
        let times =
            [(&is::AWAKE, &self.awake_ns), (&is::BUSY, &self.busy_ns), (&is::LONGEST_GAP, &self.longest_gap_ns)];
        for (metric, ns) in times {
            see(metric, &[], Value::Real(seconds(ns.get())));
        }
        for (number, events) in self.device_events.iter().enumerate() {
            for (event, count) in DEVICE_EVENTS.iter().zip(events).filter(|(_, count)| count.get() > 0) {
                see(&is::DEVICE_EVENTS, &[&rail(number), event], Value::Count(count.get()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/metrics.md says what a series and a port take.
    #[test]
    fn memory_is_what_is_documented() {
        let histogram = Histogram::BYTES;
        let series = size_of::<Series>() + 7 * histogram;
        assert!((56 << 10..=60 << 10).contains(&series), "{series} bytes for each peer and class");
        let port = size_of::<PortFigures>() + MOST_SERIES * size_of::<OnceLock<Arc<Series>>>() + histogram;
        assert!((22 << 10..=26 << 10).contains(&port), "{port} bytes for each port");
    }
}
