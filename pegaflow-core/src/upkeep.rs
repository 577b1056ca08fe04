//! What a node's memory needs beside a domain: the reaper that gives it back, and the count of what can't be given back.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::backend::Reaper;

/// Memory that is kept because it is not proven that nothing touches it any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quarantined {
    /// Regions; one that is kept for two reasons counts twice.
    pub regions: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Memory that is registered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registered {
    /// Regions.
    pub regions: u64,
    /// Their bytes, as they were asked for.
    pub bytes: u64,
}

/// A node's figures of its memory, to be read on any thread and without a lock, also after the node is gone:
/// [`Node::memory`](crate::Node::memory).
#[derive(Debug, Clone)]
pub struct MemoryFigures(pub(crate) Arc<Upkeep>);

impl MemoryFigures {
    /// What is registered now, with what is kept and what waits to be given back.
    #[must_use]
    pub fn registered(&self) -> Registered {
        let (regions, bytes) = self.0.registered.get();
        Registered { regions, bytes }
    }

    /// As [`Node::quarantined`](crate::Node::quarantined).
    #[must_use]
    pub fn quarantined(&self) -> Quarantined {
        self.0.quarantined()
    }
}

/// Shared by a node, its ports and its regions.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) reaper: Reaper,
    quarantined: Amount,
    registered: Amount,
}

/// Regions and bytes.
#[derive(Debug, Default)]
struct Amount {
    regions: AtomicU64,
    bytes: AtomicU64,
}

impl Amount {
    fn add(&self, regions: u64, bytes: u64) {
        self.regions.fetch_add(regions, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn subtract(&self, regions: u64, bytes: u64) {
        self.regions.fetch_sub(regions, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn get(&self) -> (u64, u64) {
        (self.regions.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl Upkeep {
    pub(crate) fn new(reaper: Reaper) -> Self {
        Self { reaper, quarantined: Amount::default(), registered: Amount::default() }
    }

    /// A region of so many bytes is registered from now on.
    pub(crate) fn registered(&self, bytes: u64) {
        self.registered.add(1, bytes);
    }

    /// It is not any more.
    pub(crate) fn deregistered(&self, bytes: u64) {
        self.registered.subtract(1, bytes);
    }

    /// So many regions of so many bytes in all are kept from now on.
    pub(crate) fn keep(&self, kept: Quarantined) {
        self.quarantined.add(kept.regions, kept.bytes);
    }

    /// They are free after all.
    pub(crate) fn free(&self, kept: Quarantined) {
        self.quarantined.subtract(kept.regions, kept.bytes);
    }

    pub(crate) fn quarantined(&self) -> Quarantined {
        let (regions, bytes) = self.quarantined.get();
        Quarantined { regions, bytes }
    }
}
