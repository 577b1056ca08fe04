//! What a node's memory needs beside a domain: the reaper that gives it back, and the count of what can't be given back.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::Reaper;

/// Memory that is kept because it is not proven that nothing touches it any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// Regions; one that is kept for two reasons counts twice.
    pub regions: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Shared by a node, its ports and its regions.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) reaper: Reaper,
    regions: AtomicU64,
    bytes: AtomicU64,
}

impl Upkeep {
    pub(crate) fn new(reaper: Reaper) -> Self {
        Self { reaper, regions: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// So many regions of so many bytes in all are kept from now on.
    pub(crate) fn keep(&self, kept: Quarantined) {
        self.regions.fetch_add(kept.regions, Ordering::Relaxed);
        self.bytes.fetch_add(kept.bytes, Ordering::Relaxed);
    }

    /// They are free after all.
    pub(crate) fn free(&self, kept: Quarantined) {
        self.regions.fetch_sub(kept.regions, Ordering::Relaxed);
        self.bytes.fetch_sub(kept.bytes, Ordering::Relaxed);
    }

    pub(crate) fn quarantined(&self) -> Quarantined {
        Quarantined { regions: self.regions.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}
