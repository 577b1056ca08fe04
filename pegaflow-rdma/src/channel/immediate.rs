//! The 32 bits behind a write: a count, an abort, a message, or credits.
//!
//! A counter's id has its index in the lower 20 bits ([`CounterId`]). This backend's counters leave the highest three of
//! these free, which tell a count from the others:
//!
//! ```text
//! count    generation (12) | 0 0 0 | index (17)
//! abort    generation (12) | 0 1 0 | index (17)
//! message  sequence   (12) | 1 0 0 | length (17)
//! credits  0          (12) | 1 1 0 | messages (17)
//! ```

use pegaflow_core::CounterId;

/// Most counters of one channel and direction.
pub(crate) const MAX_COUNTERS: u32 = 1 << 17;
/// Most bytes of a message.
pub(crate) const MAX_MESSAGE_BYTES: u32 = 1 << 16;

const NO_COUNT: u32 = 1 << 19;
/// Of those with `NO_COUNT`.
const CREDITS: u32 = 1 << 18;
/// Of those without.
const ABORT: u32 = 1 << 18;
const VALUE: u32 = (1 << 17) - 1;
const SEQUENCE_SHIFT: u32 = 20;
/// Messages are numbered modulo this.
const SEQUENCE: u32 = 1 << 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Immediate {
    Count(CounterId),
    Abort(CounterId),
    /// The `sequence`th message, modulo 4096, lies in its place of the ring.
    Message {
        sequence: u32,
        bytes: u32,
    },
    Credits(u32),
}

impl Immediate {
    pub(crate) fn message(number: u64, bytes: usize) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "core has checked the length; the number is taken modulo")]
        let (bytes, sequence) = (bytes as u32, (number % u64::from(SEQUENCE)) as u32);
        Self::Message { sequence, bytes }
    }

    #[inline]
    pub(crate) fn to_bits(self) -> u32 {
        match self {
            Self::Count(id) => id.to_bits(),
            Self::Abort(id) => id.to_bits() | ABORT,
            Self::Message { sequence, bytes } => sequence << SEQUENCE_SHIFT | NO_COUNT | bytes & VALUE,
            Self::Credits(messages) => NO_COUNT | CREDITS | messages & VALUE,
        }
    }

    #[inline]
    pub(crate) fn from_bits(bits: u32) -> Self {
        if bits & (NO_COUNT | ABORT) == 0 {
            Self::Count(CounterId::from_bits(bits))
        } else if bits & NO_COUNT == 0 {
            Self::Abort(CounterId::from_bits(bits & !ABORT))
        } else if bits & CREDITS == 0 {
            Self::Message { sequence: bits >> SEQUENCE_SHIFT, bytes: bits & VALUE }
        } else {
            Self::Credits(bits & VALUE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_back_to_its_last_value() {
        let last_counter = CounterId::from_bits(0xfff << 20 | (MAX_COUNTERS - 1));
        for immediate in [
            Immediate::Count(CounterId::from_bits(0)),
            Immediate::Count(last_counter),
            Immediate::Abort(CounterId::from_bits(0)),
            Immediate::Abort(last_counter),
            Immediate::message(0, 0),
            Immediate::message(u64::MAX, MAX_MESSAGE_BYTES as usize),
            Immediate::Credits(1),
            Immediate::Credits(4096),
        ] {
            assert_eq!(Immediate::from_bits(immediate.to_bits()), immediate);
        }
    }
}
