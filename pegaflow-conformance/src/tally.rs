//! A subscriber that sums.

use pegaflow_core::{
    Outcome, Short, State, Subscriber,
    observe::{Accepted, Ended, On},
};
use serde::{Deserialize, Serialize};

/// What one port was told of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) accepted: u64,
    pub(crate) accepted_bytes: u64,
    pub(crate) accepted_blocks: u64,
    pub(crate) ended: u64,
    pub(crate) ended_bytes: u64,
    pub(crate) ended_blocks: u64,
    pub(crate) done: u64,
    pub(crate) cancelled: u64,
    pub(crate) failed: u64,
    /// In the order of `Short::ALL`.
    pub(crate) full: [u64; 3],
    pub(crate) messages: u64,
    pub(crate) message_bytes: u64,
    pub(crate) increments: u64,
    pub(crate) ups: u64,
    pub(crate) closed: u64,
    pub(crate) broken: u64,
}

impl Subscriber for Tally {
    fn accepted(&mut self, _on: On, what: Accepted) {
        self.accepted += 1;
        self.accepted_bytes += what.bytes;
        self.accepted_blocks += what.blocks;
    }

    fn full(&mut self, _on: On, bound: Short) {
        for (count, _) in self.full.iter_mut().zip(Short::ALL).filter(|(_, one)| *one == bound) {
            *count += 1;
        }
    }

    fn ended(&mut self, _on: On, what: Ended) {
        self.ended += 1;
        self.ended_bytes += what.bytes;
        self.ended_blocks += what.blocks;
        match what.outcome {
            Outcome::Done => self.done += 1,
            Outcome::Cancelled => self.cancelled += 1,
            _ => self.failed += 1,
        }
    }

    fn message(&mut self, _on: On, bytes: u32) {
        self.messages += 1;
        self.message_bytes += u64::from(bytes);
    }

    fn counted(&mut self, _on: On, increments: u64) {
        self.increments += increments;
    }

    fn channel(&mut self, _on: On, state: State) {
        match state {
            State::Up { .. } => self.ups += 1,
            State::Closed => self.closed += 1,
            State::Broken(_) => self.broken += 1,
            State::Connecting => {}
        }
    }
}
