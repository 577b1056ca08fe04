//! Counters: +1 after data, in fixed memory, never full.
//!
//! A counter lives at the receiver, two cells per lane, one for what was counted and one for what was aborted: 12 bits of
//! generation above 52 bits of count. Whoever carries the increment (the peer over shared memory, or this side's engine
//! when the immediate arrives) adds to the cell of its lane; the value is the minimum over the lanes.

use std::{
    collections::VecDeque,
    fmt,
    ptr::NonNull,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{ChannelId, CounterId, fork::Origin};

const COUNT_BITS: u32 = 52;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const GENERATION_MASK: u16 = (1 << CounterId::GENERATION_BITS) - 1;

/// The counters of one channel in one direction: `[counted|aborted][lane][index]` cells in memory that a backend provides
/// (shared with the peer, or this process's own).
#[derive(Clone)]
pub struct CounterTable {
    cells: NonNull<AtomicU64>,
    lanes: u8,
    counters: u32,
    _keep: Arc<dyn Send + Sync>,
}

// SAFETY: the cells are atomics, and `_keep` holds their memory for as long as any clone lives.
unsafe impl Send for CounterTable {}
// SAFETY: as above.
unsafe impl Sync for CounterTable {}

/// Which of a counter's two cells.
#[derive(Debug, Clone, Copy)]
enum What {
    Counted,
    Aborted,
}

impl CounterTable {
    /// Cells of a table of this shape.
    #[must_use]
    pub const fn cells(lanes: u8, counters: u32) -> usize {
        2 * lanes as usize * counters as usize
    }

    /// A table in this process's own memory, for a backend whose engine counts on arrival.
    #[must_use]
    pub fn in_process(lanes: u8, counters: u32) -> Self {
        let cells: Arc<[AtomicU64]> = (0..Self::cells(lanes, counters)).map(|_| AtomicU64::new(0)).collect();
        let base = NonNull::from(&cells[..]).cast();
        Self { cells: base, lanes, counters, _keep: Arc::new(cells) }
    }

    /// A table in memory that the backend shares with the peer.
    ///
    /// # Safety
    /// - `cells` points to [`CounterTable::cells`] cells, aligned to 8 bytes, mapped until `keep` is dropped.
    /// - Whoever else reaches them does so by atomic 8-byte accesses only.
    #[must_use]
    pub unsafe fn shared(cells: NonNull<AtomicU64>, lanes: u8, counters: u32, keep: Arc<dyn Send + Sync>) -> Self {
        Self { cells, lanes, counters, _keep: keep }
    }

    /// Counters of the table.
    #[must_use]
    pub fn counters(&self) -> u32 {
        self.counters
    }

    fn cell(&self, what: What, lane: u8, index: u32) -> Option<&AtomicU64> {
        if lane >= self.lanes || index >= self.counters {
            return None;
        }
        let lane = what as usize * usize::from(self.lanes) + usize::from(lane);
        let at = lane * self.counters as usize + index as usize;
        // SAFETY: `at` is below 2 * lanes * counters, which the constructor vouches for; `_keep` is borrowed with `self`.
        Some(unsafe { self.cells.add(at).as_ref() })
    }

    /// Adds one to the lane's cell. Returns `false`, having changed nothing, where the id is out of range or of a
    /// generation that has passed: nothing late hits a recycled counter.
    pub fn increment(&self, id: CounterId, lane: u8) -> bool {
        self.add(What::Counted, id, lane)
    }

    /// The same for a transfer that was to be counted and will not be.
    pub fn abort(&self, id: CounterId, lane: u8) -> bool {
        self.add(What::Aborted, id, lane)
    }

    #[inline]
    fn add(&self, what: What, id: CounterId, lane: u8) -> bool {
        let Some(cell) = self.cell(what, lane, id.index()) else {
            return false;
        };
        let mut seen = cell.load(Ordering::Relaxed);
        while seen >> COUNT_BITS == u64::from(id.generation()) {
            let next = (seen & !COUNT_MASK) | ((seen + 1) & COUNT_MASK);
            // SYNC POINT: counter. Release: what was written before the increment is visible to who sees the value.
            match cell.compare_exchange_weak(seen, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// The value: the minimum over the lanes.
    fn value(&self, what: What, index: u32) -> u64 {
        (0..self.lanes)
            .filter_map(|lane| self.cell(what, lane, index))
            // SYNC POINT: counter. Acquire: pairs with the Release in `add`.
            .map(|cell| cell.load(Ordering::Acquire) & COUNT_MASK)
            .min()
            .unwrap_or(0)
    }

    /// Begins a generation: every lane's cell at zero. Only the receiver calls this.
    fn begin(&self, index: u32, generation: u16) {
        for what in [What::Counted, What::Aborted] {
            for lane in 0..self.lanes {
                if let Some(cell) = self.cell(what, lane, index) {
                    cell.store(u64::from(generation) << COUNT_BITS, Ordering::Release);
                }
            }
        }
    }
}

impl fmt::Debug for CounterTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CounterTable").field("lanes", &self.lanes).field("counters", &self.counters).finish()
    }
}

/// Hands out the counters of one channel's table.
#[derive(Debug)]
pub(crate) struct CounterPool {
    channel: ChannelId,
    origin: Origin,
    table: CounterTable,
    /// Free positions with the generation that their next use gets, used longest ago first: a position comes back
    /// after as many retirements as there are free ones, and its generation after 4096 of its own.
    free: Mutex<VecDeque<(u32, u16)>>,
}

impl CounterPool {
    pub(crate) fn new(channel: ChannelId, table: CounterTable) -> Arc<Self> {
        let free = (0..table.counters()).map(|index| (index, 1)).collect();
        Arc::new(Self { channel, origin: Origin::here(), table, free: Mutex::new(free) })
    }

    /// Takes a counter, at zero. `None` where all are taken.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Counter> {
        let (index, generation) = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        self.table.begin(index, generation);
        Some(Counter { pool: Arc::clone(self), id: CounterId::new(index, generation) })
    }
}

/// A counter of this node's, incremented by the peer of one channel. Any thread may read it, without a call into the
/// port. Dropping it retires it: what comes late finds no counter and changes nothing.
#[derive(Debug)]
pub struct Counter {
    pool: Arc<CounterPool>,
    id: CounterId,
}

impl Counter {
    /// The id that the sender names in [`Then::Count`](crate::Then::Count).
    #[must_use]
    pub fn id(&self) -> CounterId {
        self.id
    }

    /// The channel whose peer counts here. When that channel breaks or closes, the value stays as it is: a wait ends
    /// with the channel's event.
    #[must_use]
    pub fn channel(&self) -> ChannelId {
        self.pool.channel
    }

    /// How many counted transfers have landed: the minimum over the channel's lanes. All bytes of those transfers are
    /// visible to this thread. Never blocks, allocates or calls the system. 0 in a child of a fork, for ever.
    #[must_use]
    pub fn value(&self) -> u64 {
        if !self.pool.origin.is_here() {
            return 0;
        }
        self.pool.table.value(What::Counted, self.id.index())
    }

    /// How many transfers that were to be counted here will not be: their sender cancelled them, or their deadline passed,
    /// before the count was posted. None of their bytes lands any more; which of them had landed is not known. As cheap as
    /// [`value`](Self::value).
    #[must_use]
    pub fn aborted(&self) -> u64 {
        if !self.pool.origin.is_here() {
            return 0;
        }
        self.pool.table.value(What::Aborted, self.id.index())
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if !self.pool.origin.is_here() {
            return;
        }
        let next = (self.id.generation() + 1) & GENERATION_MASK;
        // The cell moves on at once, so that late increments miss it even while nobody holds the position.
        self.pool.table.begin(self.id.index(), next);
        self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push_back((self.id.index(), next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(lanes: u8, counters: u32) -> Arc<CounterPool> {
        CounterPool::new(ChannelId { index: 0, serial: 1 }, CounterTable::in_process(lanes, counters))
    }

    #[test]
    fn the_value_is_the_minimum_over_the_lanes() {
        let pool = pool(2, 4);
        let counter = pool.take().unwrap();
        assert!(pool.table.increment(counter.id(), 0));
        assert_eq!(counter.value(), 0);
        assert!(pool.table.increment(counter.id(), 1));
        assert_eq!(counter.value(), 1);
    }

    #[test]
    fn aborts_are_told_apart_and_recycled_alike() {
        let pool = pool(2, 1);
        let first = pool.take().unwrap();
        for lane in [0, 1] {
            assert_eq!((first.value(), first.aborted()), (0, 0));
            assert!(pool.table.abort(first.id(), lane));
        }
        assert_eq!((first.value(), first.aborted()), (0, 1));
        let late = first.id();
        drop(first);
        let second = pool.take().unwrap();
        assert!(!pool.table.abort(late, 0));
        assert_eq!((second.value(), second.aborted()), (0, 0));
    }

    #[test]
    fn nothing_late_hits_a_recycled_counter() {
        let pool = pool(1, 1);
        let first = pool.take().unwrap();
        assert!(pool.take().is_none());
        let late = first.id();
        drop(first);
        let second = pool.take().unwrap();
        assert_eq!(second.id().index(), late.index());
        assert!(!pool.table.increment(late, 0));
        assert_eq!(second.value(), 0);
    }

    #[test]
    fn generations_wrap_within_their_bits() {
        let pool = pool(1, 1);
        for _ in 0..5000 {
            let counter = pool.take().unwrap();
            assert!(pool.table.increment(counter.id(), 0));
            assert_eq!(counter.value(), 1);
        }
    }

    #[test]
    fn ids_out_of_range_change_nothing() {
        let pool = pool(1, 2);
        assert!(!pool.table.increment(CounterId::new(2, 1), 0));
        assert!(!pool.table.increment(CounterId::new(0, 1), 1));
    }
}
