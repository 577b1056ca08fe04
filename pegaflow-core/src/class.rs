//! Classes of traffic and the bounds of a channel.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use crate::Capabilities;

/// What a channel is for. Each class has channels, lanes, depth and service level of its own, so that a long push of
/// one class never stands before a short write of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Paged KV-cache blocks, prefill to decode.
    Kv,
    /// Few huge tensors: weights to replicas.
    Bulk,
    /// Small, steady, latency-bound: activations from stage to stage.
    Activation,
}

impl Class {
    /// Every class, in the order of the config file.
    pub const ALL: [Self; 3] = [Self::Kv, Self::Bulk, Self::Activation];

    /// The name used in config, on the wire, in labels and in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kv => "kv",
            Self::Bulk => "bulk",
            Self::Activation => "activation",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(name: &str) -> Result<Self, UnknownClass> {
        Self::ALL.into_iter().find(|class| class.name() == name).ok_or_else(|| UnknownClass(name.to_owned()))
    }
}

/// A name that is no class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown class of traffic `{0}`: expected kv, bulk or activation")]
pub struct UnknownClass(pub String);

/// How much one end of a channel holds at most. All of it is allocated when the channel is made; nothing grows later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Transfers in flight from this end, messages included; in [`TRANSFERS`](Self::TRANSFERS).
    pub transfers: u32,
    /// Pairs of block ids held by this end's transfers in flight (8 bytes each); in [`BLOCKS`](Self::BLOCKS).
    pub blocks: u32,
    /// Messages that this end has room for before it releases one: the peer's credits; in
    /// [`MESSAGES`](Self::MESSAGES).
    pub messages: u32,
    /// Longest message that this end receives, in bytes; in [`MESSAGE_BYTES`](Self::MESSAGE_BYTES).
    pub message_bytes: u32,
    /// Counters of this end that live at once (8 bytes a lane each); in [`COUNTERS`](Self::COUNTERS).
    pub counters: u32,
}

impl Bounds {
    /// What [`transfers`](Self::transfers) may be.
    pub const TRANSFERS: RangeInclusive<u32> = 1..=65_536;
    /// What [`blocks`](Self::blocks) may be.
    pub const BLOCKS: RangeInclusive<u32> = 1..=1 << 24;
    /// What [`messages`](Self::messages) may be.
    pub const MESSAGES: RangeInclusive<u32> = 1..=4096;
    /// What [`message_bytes`](Self::message_bytes) may be; the lower end is promised to every caller.
    pub const MESSAGE_BYTES: RangeInclusive<u32> = 256..=65_536;
    /// What [`counters`](Self::counters) may be.
    pub const COUNTERS: RangeInclusive<u32> = 1..=1 << crate::CounterId::INDEX_BITS;

    /// The documented defaults of a class.
    #[must_use]
    pub const fn of(class: Class) -> Self {
        let base = Self { transfers: 64, blocks: 65_536, messages: 64, message_bytes: 1024, counters: 256 };
        match class {
            Class::Kv => Self { transfers: 256, counters: 1024, ..base },
            Class::Bulk => base,
            Class::Activation => Self { blocks: 4096, ..base },
        }
    }

    /// Each bound with its name and the range it must lie in.
    fn ranges(&self) -> [(&'static str, u32, RangeInclusive<u32>); 5] {
        [
            ("transfers", self.transfers, Self::TRANSFERS),
            ("blocks", self.blocks, Self::BLOCKS),
            ("messages", self.messages, Self::MESSAGES),
            ("message_bytes", self.message_bytes, Self::MESSAGE_BYTES),
            ("counters", self.counters, Self::COUNTERS),
        ]
    }

    /// Checks every bound against its range.
    ///
    /// # Errors
    /// [`OutOfRange`] names the first bound that does not fit.
    pub fn check(&self) -> Result<(), OutOfRange> {
        match self.ranges().into_iter().find(|(_, got, range)| !range.contains(got)) {
            Some((bound, got, range)) => Err(OutOfRange { bound, got, low: *range.start(), high: *range.end() }),
            None => Ok(()),
        }
    }

    /// Checks what a backend has a limit of its own for: nothing is cut silently.
    pub(crate) fn check_against(&self, backend: &Capabilities) -> Result<(), OutOfRange> {
        let limits = [
            ("message_bytes", self.message_bytes, Self::MESSAGE_BYTES, backend.max_message_bytes),
            ("counters", self.counters, Self::COUNTERS, backend.max_counters),
        ];
        match limits.into_iter().find(|(_, got, _, high)| got > high) {
            Some((bound, got, range, high)) => Err(OutOfRange { bound, got, low: *range.start(), high }),
            None => Ok(()),
        }
    }
}

/// A bound outside its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bound `{bound}` is {got}: expected {low} to {high}")]
pub struct OutOfRange {
    /// Which field of [`Bounds`].
    pub bound: &'static str,
    /// What it is.
    pub got: u32,
    /// Least value.
    pub low: u32,
    /// Greatest value.
    pub high: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_defaults_are_in_range() {
        for class in Class::ALL {
            assert_eq!(class.name().parse(), Ok(class));
            assert_eq!(Bounds::of(class).check(), Ok(()));
        }
        assert!("KV".parse::<Class>().is_err());
    }

    #[test]
    fn a_bound_out_of_range_is_named() {
        let short = Bounds { message_bytes: 255, ..Bounds::of(Class::Kv) };
        let said = short.check().unwrap_err().to_string();
        assert_eq!(said, "bound `message_bytes` is 255: expected 256 to 65536");
    }
}
