//! The names that calls and events carry: small, `Copy`, and checked where they come in.
//!
//! An id that can be recycled carries a generation, so a late one is refused and never hits its successor.

use std::fmt;

/// A channel of this node: the long-lived connection to one peer for one class of traffic.
///
/// Unique for the life of the node: a re-dialled channel has another id. Ids of different nodes have nothing to do
/// with each other, and the two ends of one channel have different ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId {
    pub(crate) index: u16,
    /// Counts the node's channels, over all its ports.
    pub(crate) serial: u32,
}

impl ChannelId {
    /// The link that a backend's engine knows this channel by.
    #[must_use]
    pub const fn link(self) -> Link {
        Link(self.index)
    }

    /// The id as a number, for callers in another language. It means nothing in another process.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        (self.index as u64) << 32 | self.serial as u64
    }

    /// The id from [`to_bits`](Self::to_bits). Any number is taken: the calls refuse one that no channel has.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the parts are taken apart on purpose")]
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: (bits >> 32) as u16, serial: bits as u32 }
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}", self.serial)
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What an engine calls a channel: a dense number below [`Capabilities::max_channels`](crate::Capabilities), used
/// again once [`Engine::forget`](crate::backend::Engine::forget) has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link(pub u16);

impl Link {
    /// The link as an index into a table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One submitted batch or message. Dead once its [`Event::Ended`](crate::Event::Ended) was handed out and, where that
/// said `quiet: false`, its [`Event::Quiet`](crate::Event::Quiet) too.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransferId {
    pub(crate) channel: u16,
    pub(crate) slot: u16,
    pub(crate) generation: u32,
}

impl TransferId {
    /// The id as the cookie that engines give back in [`Raw::Completed`](crate::backend::Raw::Completed).
    pub(crate) const fn to_cookie(self) -> u64 {
        (self.generation as u64) << 32 | (self.channel as u64) << 16 | self.slot as u64
    }

    #[expect(clippy::cast_possible_truncation, reason = "the parts are taken apart on purpose")]
    pub(crate) const fn from_cookie(cookie: u64) -> Self {
        Self { slot: cookie as u16, channel: (cookie >> 16) as u16, generation: (cookie >> 32) as u32 }
    }

    /// The id as a number, for callers in another language. It means nothing in another process.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.to_cookie()
    }

    /// The id from [`to_bits`](Self::to_bits). Any number is taken: `cancel` finds nothing in flight under one that is
    /// no transfer's.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self::from_cookie(bits)
    }
}

impl fmt::Debug for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transfer {}.{}.{}", self.channel, self.slot, self.generation)
    }
}

/// Names a counter at its receiver: 20 bits of index and 12 bits of generation, so that it fits into the 32 bits of
/// immediate data that an RDMA write carries (InfiniBand Architecture Specification, volume 1, section 9.4.1).
///
/// The receiver makes it with [`Port::counter`](crate::Port::counter) and tells it to the sender, who names it in
/// [`Then::Count`](crate::Then::Count).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CounterId(u32);

impl CounterId {
    /// Bits of the index: at most 2^20 counters live in one channel and direction.
    pub const INDEX_BITS: u32 = 20;
    /// Bits of the generation.
    pub const GENERATION_BITS: u32 = 12;
    const INDEX_MASK: u32 = (1 << Self::INDEX_BITS) - 1;

    pub(crate) const fn new(index: u32, generation: u16) -> Self {
        Self(((generation as u32) << Self::INDEX_BITS) | (index & Self::INDEX_MASK))
    }

    /// The id as a number, to be sent to the peer by whatever means the caller has.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The id from the number that the peer sent. Any number is taken: `submit` refuses one that can't be.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Position in the receiver's table.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0 & Self::INDEX_MASK
    }

    /// Which use of that position is meant.
    #[must_use]
    pub const fn generation(self) -> u16 {
        (self.0 >> Self::INDEX_BITS) as u16
    }
}

impl fmt::Debug for CounterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "counter {}.{}", self.index(), self.generation())
    }
}

/// A received message that the caller holds; its credit goes back to the sender with
/// [`Port::release`](crate::Port::release).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    pub(crate) channel: ChannelId,
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Slot {
    /// A dense number below the bound on messages: no two messages that are held on one channel have the same.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// The slot as two numbers, for callers in another language. They mean nothing in another process.
    #[must_use]
    pub const fn to_bits(self) -> [u64; 2] {
        [self.channel.to_bits(), (self.generation as u64) << 32 | self.index as u64]
    }

    /// The slot from [`to_bits`](Self::to_bits). Any numbers are taken: the calls refuse what is not held.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the parts are taken apart on purpose")]
    pub const fn from_bits(bits: [u64; 2]) -> Self {
        Self { channel: ChannelId::from_bits(bits[0]), index: bits[1] as u32, generation: (bits[1] >> 32) as u32 }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message slot {}.{} of {}", self.index, self.generation, self.channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_id_keeps_both_parts_to_their_last_value() {
        let id = CounterId::new((1 << 20) - 1, (1 << 12) - 1);
        assert_eq!((id.index(), id.generation()), ((1 << 20) - 1, (1 << 12) - 1));
        assert_eq!(CounterId::from_bits(id.to_bits()), id);
    }

    #[test]
    fn ids_come_back_from_their_numbers() {
        let channel = ChannelId { index: u16::MAX - 1, serial: u32::MAX };
        assert_eq!(ChannelId::from_bits(channel.to_bits()), channel);
        let transfer = TransferId { slot: u16::MAX, channel: 3, generation: u32::MAX };
        assert_eq!(TransferId::from_bits(transfer.to_bits()), transfer);
        let slot = Slot { channel, index: u32::MAX, generation: 7 };
        assert_eq!(Slot::from_bits(slot.to_bits()), slot);
    }

    #[test]
    fn a_transfer_id_survives_its_cookie() {
        let id = TransferId { slot: u16::MAX, channel: 3, generation: 7 };
        assert_eq!(TransferId::from_cookie(id.to_cookie()), id);
    }
}
