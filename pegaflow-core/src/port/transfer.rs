//! One transfer's life: queued, posting, posted, ended, handed out, quiet; and its abort, where a count was to follow.

use std::{ops::Range, time::Instant};

use super::{checking::Check, ids_ring, messages::Waiting};
use crate::{CounterId, Outcome, Plan, observe::Followed, run::Cursor};

/// A slot of a channel's fixed table.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    /// Holds the memory of both sides until the transfer is quiet. `None` for a message alone.
    pub(crate) plan: Option<Plan>,
    pub(crate) planes: Range<u32>,
    pub(crate) ids: Option<ids_ring::Range>,
    pub(crate) blocks: u64,
    pub(crate) cursor: Cursor,
    /// Parts handed to the engine, and of those complete.
    pub(crate) posted_parts: u64,
    pub(crate) finished_parts: u64,
    pub(crate) follow: Follows,
    pub(crate) deadline: Instant,
    pub(crate) tag: u64,
    pub(crate) submitted_at: Instant,
    pub(crate) posted_at: Option<Instant>,
    /// It counts among those that use the peer's grant.
    pub(crate) uses_grant: bool,
    /// The receiver waits for its count, and is to be told that none comes.
    pub(crate) to_abort: bool,
    /// Whether its bytes are compared before what follows them.
    pub(crate) check: Check,
    /// When the channel is fenced, should it not be quiet by then.
    pub(crate) fence_at: Option<Instant>,
}

/// What follows, as the transfer keeps it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Follows {
    Nothing,
    Count(CounterId),
    Message(Waiting),
}

impl Follows {
    /// As the subscriber is told.
    pub(crate) fn told(self) -> Followed {
        match self {
            Self::Nothing => Followed::Nothing,
            Self::Count(_) => Followed::Count,
            Self::Message(waiting) => Followed::Message { bytes: waiting.bytes() },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Free,
    /// In the channel's queue: not all is posted.
    Queued,
    /// All is posted; parts are under way.
    Posted,
    /// Ended; the event waits for a poll with room.
    Ended(Outcome),
    /// The event said `quiet: false`; parts are under way.
    Unquiet,
    /// Quiet; that event waits for a poll with room.
    Quiet,
    /// All was handed out; the abort is not posted.
    Aborting,
}

impl Transfer {
    pub(crate) fn free(now: Instant) -> Self {
        Self {
            generation: 0,
            phase: Phase::Free,
            plan: None,
            planes: 0..0,
            ids: None,
            blocks: 0,
            cursor: Cursor::default(),
            posted_parts: 0,
            finished_parts: 0,
            follow: Follows::Nothing,
            deadline: now,
            tag: 0,
            submitted_at: now,
            posted_at: None,
            uses_grant: false,
            to_abort: false,
            check: Check::None,
            fence_at: None,
        }
    }

    pub(crate) fn in_flight(&self) -> bool {
        matches!(self.phase, Phase::Queued | Phase::Posted)
    }

    pub(crate) fn quiet(&self) -> bool {
        self.posted_parts == self.finished_parts
    }

    /// When its channel is to be fenced for it: it has ended, and is not quiet.
    pub(crate) fn fence_due(&self) -> Option<Instant> {
        self.fence_at.filter(|_| !self.quiet() && matches!(self.phase, Phase::Ended(_) | Phase::Unquiet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/rdma.md and docs/semantics.md count with it: 280 bytes, and 10 in the queues.
    #[test]
    fn a_transfer_takes_what_is_documented() {
        assert_eq!(size_of::<Transfer>(), 280);
    }
}
