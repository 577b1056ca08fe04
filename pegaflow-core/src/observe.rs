//! Figures begin here: plain facts handed to a subscriber, with empty inline methods, so that nobody pays for what
//! nobody asked. Subscribers compose as tuples.

use std::{fmt, time::Duration};

use crate::{
    Bounds, ChannelId, Class, DeviceEvent, Op, Outcome, Revoked, Short, Slot, State,
    backend::{Engine, Work},
};

/// Which channel a fact is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct On {
    /// The channel's id on this node.
    pub channel: ChannelId,
    /// Its class.
    pub class: Class,
}

/// A transfer was accepted by `submit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// `None` for a message alone.
    pub op: Option<Op>,
    /// Payload bytes that it will move; 0 for a message alone.
    pub bytes: u64,
    /// Blocks or spans.
    pub blocks: u64,
}

/// What was to follow a transfer's data, or went alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// Nothing.
    Nothing,
    /// One count.
    Count,
    /// A message.
    Message {
        /// Its length.
        bytes: u32,
    },
}

/// A transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// `None` for a message alone.
    pub op: Option<Op>,
    /// What follows its data. Where it ended [`Outcome::Done`] the peer has it, otherwise he may.
    pub then: Followed,
    /// How it ended.
    pub outcome: Outcome,
    /// Payload bytes that moved.
    pub bytes: u64,
    /// Blocks or spans of the transfer.
    pub blocks: u64,
    /// Moves handed to the backend: blocks less those merged with a neighbour, plus those cut.
    pub moves: u64,
    /// From `submit` to the first move handed to the backend; `None` if none was.
    pub queued: Option<Duration>,
    /// From there to the end.
    pub posted: Option<Duration>,
}

/// One call of `poll` is over.
#[derive(Clone, Copy)]
pub struct Polled<'a> {
    /// Facts that the engine reported: completions, arrivals, credits.
    pub facts: usize,
    /// Of those, arrivals: messages, and increments of counters.
    pub arrivals: usize,
    /// Moves handed to the engine.
    pub moves: u64,
    /// Events handed out.
    pub events: usize,
    pub(crate) engine: &'a dyn Engine,
}

impl Polled<'_> {
    /// What the port has asked of its device so far.
    #[must_use]
    pub fn work(&self) -> Work {
        self.engine.work()
    }
}

impl fmt::Debug for Polled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { facts, arrivals, moves, events, .. } = self;
        write!(f, "Polled({facts} facts, {arrivals} arrivals, {moves} moves, {events} events)")
    }
}

/// Receives the facts of one port, on the port's thread, inside `submit` and `poll`. A method must not block.
#[expect(unused_variables, reason = "empty default methods")]
pub trait Subscriber: Send {
    /// `submit` or `send` accepted something.
    #[inline]
    fn accepted(&mut self, on: On, what: Accepted) {}
    /// `submit` or `send` returned `Full`.
    #[inline]
    fn full(&mut self, on: On, bound: Short) {}
    /// A transfer ended.
    #[inline]
    fn ended(&mut self, on: On, what: Ended) {}
    /// A transfer's end was handed out, and this side's bytes are not free yet.
    #[inline]
    fn unquiet(&mut self, on: On) {}
    /// This side's bytes of such a transfer are free; handed out as an event at the same time.
    #[inline]
    fn quiet(&mut self, on: On) {}
    /// A message arrived, and lies in `slot` until it is released.
    #[inline]
    fn message(&mut self, on: On, slot: Slot, bytes: u32) {}
    /// The application gave a message back.
    #[inline]
    fn released(&mut self, on: On, slot: Slot) {}
    /// So many increments arrived since the last call.
    #[inline]
    fn counted(&mut self, on: On, increments: u64) {}
    /// So many transfers that were to be counted here will not be.
    #[inline]
    fn aborted(&mut self, on: On, aborts: u64) {}
    /// Both sides have met; [`channel`](Self::channel) with [`State::Up`] follows. `bounds` are this side's.
    #[inline]
    fn met(&mut self, on: On, peer: &str, bounds: &Bounds) {}
    /// A channel changed its state.
    #[inline]
    fn channel(&mut self, on: On, state: State) {}
    /// A revoke was answered: a grant of this side's, taken back from this channel's peer.
    #[inline]
    fn revoked(&mut self, on: On, how: Revoked) {}
    /// The device said something of itself; handed out as an event at the same time.
    #[inline]
    fn device(&mut self, rail: u8, what: DeviceEvent) {}
    /// A call of `poll` is about to return. Called for every one, so its price is every poll's.
    #[inline]
    fn polled(&mut self, what: Polled<'_>) {}
    /// The port was armed, and whoever polls it is about to sleep.
    #[inline]
    fn sleeps(&mut self) {}
}

impl Subscriber for () {}

impl<A: Subscriber, B: Subscriber> Subscriber for (A, B) {
    #[inline]
    fn accepted(&mut self, on: On, what: Accepted) {
        self.0.accepted(on, what);
        self.1.accepted(on, what);
    }
    #[inline]
    fn full(&mut self, on: On, bound: Short) {
        self.0.full(on, bound);
        self.1.full(on, bound);
    }
    #[inline]
    fn ended(&mut self, on: On, what: Ended) {
        self.0.ended(on, what);
        self.1.ended(on, what);
    }
    #[inline]
    fn unquiet(&mut self, on: On) {
        self.0.unquiet(on);
        self.1.unquiet(on);
    }
    #[inline]
    fn quiet(&mut self, on: On) {
        self.0.quiet(on);
        self.1.quiet(on);
    }
    #[inline]
    fn message(&mut self, on: On, slot: Slot, bytes: u32) {
        self.0.message(on, slot, bytes);
        self.1.message(on, slot, bytes);
    }
    #[inline]
    fn released(&mut self, on: On, slot: Slot) {
        self.0.released(on, slot);
        self.1.released(on, slot);
    }
    #[inline]
    fn counted(&mut self, on: On, increments: u64) {
        self.0.counted(on, increments);
        self.1.counted(on, increments);
    }
    #[inline]
    fn aborted(&mut self, on: On, aborts: u64) {
        self.0.aborted(on, aborts);
        self.1.aborted(on, aborts);
    }
    #[inline]
    fn met(&mut self, on: On, peer: &str, bounds: &Bounds) {
        self.0.met(on, peer, bounds);
        self.1.met(on, peer, bounds);
    }
    #[inline]
    fn channel(&mut self, on: On, state: State) {
        self.0.channel(on, state);
        self.1.channel(on, state);
    }
    #[inline]
    fn revoked(&mut self, on: On, how: Revoked) {
        self.0.revoked(on, how);
        self.1.revoked(on, how);
    }
    #[inline]
    fn device(&mut self, rail: u8, what: DeviceEvent) {
        self.0.device(rail, what);
        self.1.device(rail, what);
    }
    #[inline]
    fn polled(&mut self, what: Polled<'_>) {
        self.0.polled(what);
        self.1.polled(what);
    }
    #[inline]
    fn sleeps(&mut self) {
        self.0.sleeps();
        self.1.sleeps();
    }
}
