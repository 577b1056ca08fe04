//! Figures begin here: plain facts handed to a subscriber, with empty inline methods, so that nobody pays for what
//! nobody asked. Subscribers compose as tuples.

use std::time::Duration;

use crate::{ChannelId, Class, DeviceEvent, Op, Outcome, Short, State};

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

/// A transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// `None` for a message alone.
    pub op: Option<Op>,
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
    /// A message arrived.
    #[inline]
    fn message(&mut self, on: On, bytes: u32) {}
    /// So many increments arrived since the last call.
    #[inline]
    fn counted(&mut self, on: On, increments: u64) {}
    /// A channel changed its state.
    #[inline]
    fn channel(&mut self, on: On, state: State) {}
    /// The device said something of itself; handed out as an event at the same time.
    #[inline]
    fn device(&mut self, rail: u8, what: DeviceEvent) {}
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
    fn message(&mut self, on: On, bytes: u32) {
        self.0.message(on, bytes);
        self.1.message(on, bytes);
    }
    #[inline]
    fn counted(&mut self, on: On, increments: u64) {
        self.0.counted(on, increments);
        self.1.counted(on, increments);
    }
    #[inline]
    fn channel(&mut self, on: On, state: State) {
        self.0.channel(on, state);
        self.1.channel(on, state);
    }
    #[inline]
    fn device(&mut self, rail: u8, what: DeviceEvent) {
        self.0.device(rail, what);
        self.1.device(rail, what);
    }
}
