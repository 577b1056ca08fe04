//! Mistakes that a backend could make. `tests/broken.rs` shows that the conformance suite sees each of them.

/// What is broken on purpose; for tests only.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The increment does not wait for the data that was queued before it.
    CountBeforeData,
    /// Now and then an increment is not made.
    LostIncrement,
    /// A move is reported before it is made: the sender writes its source again while it is read.
    CompletedEarly,
    /// A message's slot goes back to the sender when the message arrives, not when it is released.
    SlotReused,
    /// A move longer than any one block of the suite's random cases lacks its second half.
    HalfOfALongMove,
    /// Each credit is given twice.
    CreditTwice,
    /// `arm` does not look again once it has said that it sleeps.
    LostWakeUp,
}

impl Fault {
    /// How much of a move is made.
    pub(crate) fn bytes_of(self, bytes: u64) -> u64 {
        if self == Self::HalfOfALongMove && bytes > 1024 { bytes / 2 } else { bytes }
    }

    /// Whether the increment of this run is lost: one of 16, by the number that core counts its transfers with.
    pub(crate) fn loses(self, cookie: u64) -> bool {
        self == Self::LostIncrement && (cookie >> 32) % 16 == 15
    }
}
