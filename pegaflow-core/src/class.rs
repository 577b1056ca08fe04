//! Classes of traffic and the bounds of a channel.

use std::{fmt, str::FromStr};

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
    /// Transfers in flight from this end, messages included; `1..=65536`.
    pub transfers: u32,
    /// Pairs of block ids held by this end's transfers in flight (8 bytes each); `1..=16777216`.
    pub blocks: u32,
    /// Messages that this end has room for before it releases one: the peer's credits; `1..=4096`.
    pub messages: u32,
    /// Longest message that this end receives, in bytes; `256..=65536` (the lower bound is promised to every caller).
    pub message_bytes: u32,
    /// Counters of this end that live at once (8 bytes a lane each); `1..=1048576`.
    pub counters: u32,
}

impl Bounds {
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
    fn ranges(&self) -> [(&'static str, u32, u32, u32); 5] {
        [
            ("transfers", self.transfers, 1, 65_536),
            ("blocks", self.blocks, 1, 1 << 24),
            ("messages", self.messages, 1, 4096),
            ("message_bytes", self.message_bytes, 256, 65_536),
            ("counters", self.counters, 1, 1 << crate::CounterId::INDEX_BITS),
        ]
    }

    /// Checks every bound against its range.
    ///
    /// # Errors
    /// [`OutOfRange`] names the first bound that does not fit.
    pub fn check(&self) -> Result<(), OutOfRange> {
        match self.ranges().into_iter().find(|(_, got, low, high)| got < low || got > high) {
            Some((bound, got, low, high)) => Err(OutOfRange { bound, got, low, high }),
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
