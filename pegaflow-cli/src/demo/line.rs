//! What the demo's sides say to each other.

use serde::{Deserialize, Serialize};

pub(crate) use crate::line::{PATIENCE, cpu_seconds};

/// The demo's channel.
pub(crate) type Line = crate::line::Line<Word>;

/// What the sides say to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Word {
    /// Decode: grant and counters are published.
    Open,
    /// Decode: this round's page numbers are published.
    Pages,
    /// Prefill: its pages hold this round's contents.
    Filled,
    /// Decode: its pages are poisoned, go.
    Ready,
    /// Prefill: the plain copy is done.
    Copied,
    /// Decode: all rounds are verified, or one was not.
    Over,
}
