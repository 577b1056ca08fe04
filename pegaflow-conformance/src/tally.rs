//! A subscriber that sums.

use pegaflow_core::{
    Bounds, Outcome, Short, Slot, State, Subscriber,
    observe::{Accepted, Ended, Followed, On},
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
    pub(crate) released: u64,
    pub(crate) increments: u64,
    pub(crate) aborts: u64,
    /// Of transfers that ended done: what followed them.
    pub(crate) counts_out: u64,
    pub(crate) messages_out: u64,
    pub(crate) message_bytes_out: u64,
    /// Ended not quiet less what became so.
    pub(crate) unquiet: i64,
    pub(crate) met: u64,
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
            Outcome::Done => {
                self.done += 1;
                match what.then {
                    Followed::Nothing => {}
                    Followed::Count => self.counts_out += 1,
                    Followed::Message { bytes } => {
                        self.messages_out += 1;
                        self.message_bytes_out += u64::from(bytes);
                    }
                }
            }
            Outcome::Cancelled => self.cancelled += 1,
            _ => self.failed += 1,
        }
    }

    fn unquiet(&mut self, _on: On) {
        self.unquiet += 1;
    }

    fn quiet(&mut self, _on: On) {
        self.unquiet -= 1;
    }

    fn message(&mut self, _on: On, _slot: Slot, bytes: u32) {
        self.messages += 1;
        self.message_bytes += u64::from(bytes);
    }

    fn released(&mut self, _on: On, _slot: Slot) {
        self.released += 1;
    }

    fn met(&mut self, _on: On, peer: &str, bounds: &Bounds) {
        assert!(!peer.is_empty() && bounds.messages > 0, "{peer:?} {bounds:?}");
        self.met += 1;
    }

    fn aborted(&mut self, _on: On, aborts: u64) {
        self.aborts += aborts;
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
