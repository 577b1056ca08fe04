//! What `poll` hands out.

use crate::{Cause, ChannelId, DeviceEvent, Slot, TransferId};

/// Something that happened, handed out once by [`Port::poll`](crate::Port::poll).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A transfer ended. Exactly one per accepted batch or message.
    Ended {
        /// The caller's tag.
        tag: u64,
        /// Which transfer; the id is dead after this event, or after its `Quiet`.
        id: TransferId,
        /// How.
        outcome: Outcome,
        /// Whether this side's NIC or copier has let go of the bytes on this side.
        quiet: bool,
        /// Payload bytes that moved, in both halves of a partial one.
        bytes: u64,
    },
    /// This side's bytes of an ended transfer are free now. Exactly one, and only after `Ended` with `quiet: false`.
    Quiet {
        /// The caller's tag.
        tag: u64,
        /// Which transfer.
        id: TransferId,
    },
    /// A message arrived, and all bytes of the transfer that it followed are visible. Read it with
    /// [`Port::message`](crate::Port::message), give its credit back with [`Port::release`](crate::Port::release).
    Message {
        /// Over which channel.
        channel: ChannelId,
        /// Where it lies until it is released.
        slot: Slot,
        /// Its length.
        bytes: u32,
    },
    /// At least one counter of this channel moved since the last such event, by a count or by an abort: look at those you
    /// wait for.
    Counters {
        /// Which channel.
        channel: ChannelId,
    },
    /// The channel's state changed.
    Channel {
        /// Which channel.
        channel: ChannelId,
        /// The state now; states passed in between are not handed out.
        state: State,
    },
    /// What a [`revoke`](crate::Port::revoke) proved. One for each, and after [`Revoked::Unproven`] one more when the proof
    /// comes.
    Revoked {
        /// From whom.
        channel: ChannelId,
        /// The grant's epoch.
        epoch: u64,
        /// What is proven.
        how: Revoked,
    },
    /// The device said something of itself. Every port of every node on it is told; what came again before this port
    /// polled is told once, in the place of the last.
    Device {
        /// Which of the node's rails; 0 where there is one.
        rail: u8,
        /// What happened.
        what: DeviceEvent,
    },
}

impl Event {
    /// What a fresh buffer for [`poll`](crate::Port::poll) is filled with; never handed out.
    pub const NONE: Self = Self::Counters { channel: ChannelId { index: u16::MAX, serial: 0 } };
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its bytes are where they belong. It says nothing about the peer being alive.
    Done,
    /// `cancel` withdrew it. What was posted before may still land at the peer.
    Cancelled,
    /// Its deadline passed. What was posted before may still land at the peer.
    DeadlinePassed,
    /// The channel broke, or the transport reported an error.
    Failed(Cause),
}

impl Outcome {
    /// The label of this outcome in figures.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::DeadlinePassed => "deadline_passed",
            Self::Failed(cause) => cause.kind(),
        }
    }
}

/// The life of a channel. `Broken` and `Closed` are final: the way on is a new `dial`, a new channel, a new epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The hand-shake is under way.
    Connecting,
    /// Data flows. The epoch tells one life of a connection from the next.
    Up {
        /// Chosen by the side that was dialled; the same number on both sides.
        epoch: u64,
    },
    /// It failed; every transfer in flight ends with this cause.
    Broken(Cause),
    /// It was closed in order, here or there.
    Closed,
}

impl State {
    /// The state's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up { .. } => "up",
            Self::Broken(_) => "broken",
            Self::Closed => "closed",
        }
    }
}

/// What is known of a grant that was taken back from the peer of one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// The peer's library has said that it uses the grant no more, and that what was in flight has ended. The channel lives.
    /// No later byte of this peer's lands; the memory may be used again.
    Acknowledged,
    /// The channel is down, and with it whatever the peer had on its way. No later byte of this peer's lands; the memory
    /// may be used again.
    Fenced,
    /// The channel is down, and the peer's processor may still write: it is stopped in the middle of a copy, say. The memory
    /// is not to be used; it is kept and counted ([`Node::quarantined`](crate::Node::quarantined)) until the peer's process
    /// has let go or is dead, which a second event says as [`Fenced`](Self::Fenced).
    Unproven,
}

impl Revoked {
    /// The label in figures.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Fenced => "fenced",
            Self::Unproven => "unproven",
        }
    }
}

/// What `revoke` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what was not asked will not be answered"]
pub enum Revoking {
    /// The peer is asked; an [`Event::Revoked`] will say what came of it.
    Asked,
    /// As many revokes are under way on the channel as it holds; nothing was done. Poll, and ask again.
    Full,
}

/// What `submit` did with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a batch that was not accepted will not move"]
pub enum Submitted {
    /// It will end once, with an event that carries its tag. The caller's slices are free.
    Accepted(TransferId),
    /// A bound is reached; nothing was taken. Poll, and submit again.
    Full(Short),
    /// The peer has taken the plan's grant back; nothing was taken. Another grant is the only way on.
    Revoked,
}

/// Which bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Short {
    /// Transfers in flight on the channel.
    Transfers,
    /// Block ids held by transfers in flight on the channel.
    Blocks,
    /// The peer's room for messages: it must release one.
    Messages,
}

impl Short {
    /// Every bound.
    pub const ALL: [Self; 3] = [Self::Transfers, Self::Blocks, Self::Messages];

    /// The bound's name, as in [`Bounds`](crate::Bounds).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transfers => "transfers",
            Self::Blocks => "blocks",
            Self::Messages => "messages",
        }
    }
}
