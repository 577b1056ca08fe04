//! The block ids of a channel's transfers in flight: a fixed ring of pairs, taken in order, given back in any order.

use std::collections::VecDeque;

use crate::run::Ids;

#[derive(Debug)]
pub(crate) struct IdsRing {
    /// A power of two, at least `bound`.
    pairs: Box<[(u32, u32)]>,
    bound: u64,
    head: u64,
    tail: u64,
    /// Ranges taken and not all given back, oldest first: (end, given back). Never longer than the channel's
    /// transfers.
    taken: VecDeque<(u64, bool)>,
    /// The ticket of the first entry of `taken`.
    first: u64,
}

/// A range of the ring that a transfer holds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Range {
    start: u64,
    count: u32,
    ticket: u64,
}

impl IdsRing {
    pub(crate) fn new(bound: u32, transfers: u32) -> Self {
        Self {
            pairs: vec![(0, 0); (bound as usize).next_power_of_two()].into(),
            bound: bound.into(),
            head: 0,
            tail: 0,
            taken: VecDeque::with_capacity(transfers as usize),
            first: 0,
        }
    }

    pub(crate) fn has_room(&self, count: usize) -> bool {
        self.head - self.tail + count as u64 <= self.bound
    }

    /// Copies the ids; the caller has checked that there is room and that both are as long.
    pub(crate) fn take(&mut self, here: &[u32], there: &[u32]) -> Range {
        let (start, mask) = (self.head, self.pairs.len() - 1);
        #[expect(clippy::cast_possible_truncation, reason = "masked; and no batch is longer than the bound, a u32")]
        let (first, count) = (start as usize & mask, here.len() as u32);
        let ids = || here.iter().copied().zip(there.iter().copied());
        let straight = here.len().min(self.pairs.len() - first);
        for (to, pair) in self.pairs[first..first + straight].iter_mut().zip(ids()) {
            *to = pair;
        }
        for (to, pair) in self.pairs[..here.len() - straight].iter_mut().zip(ids().skip(straight)) {
            *to = pair;
        }
        self.head += u64::from(count);
        self.taken.push_back((self.head, false));
        Range { start, count, ticket: self.first + self.taken.len() as u64 - 1 }
    }

    pub(crate) fn give_back(&mut self, range: Range) {
        #[expect(clippy::cast_possible_truncation, reason = "an index into `taken`")]
        let at = (range.ticket - self.first) as usize;
        if let Some(entry) = self.taken.get_mut(at) {
            entry.1 = true;
        }
        while let Some(&(end, true)) = self.taken.front() {
            self.tail = end;
            self.taken.pop_front();
            self.first += 1;
        }
    }

    pub(crate) fn ids(&self, range: Range) -> Ids<'_> {
        Ids { ring: &self.pairs, start: range.start, count: range.count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_given_back_in_any_order_make_room_and_keep_their_ids() {
        let mut ring = IdsRing::new(10, 8);
        let ids = |from: u32, count: u32| (from..from + count).collect::<Vec<_>>();
        let mut next = 0;
        for round in 0..1000_u32 {
            let (a, b) = (ids(next, 3 + round % 3), ids(next + 100, 3 + round % 3));
            assert!(ring.has_room(a.len() + 4));
            let first = ring.take(&a, &b);
            let second = ring.take(&b[..3], &a[..3]);
            assert!(!ring.has_room(11 - a.len() - 3));
            let seen = ring.ids(first);
            let start = usize::try_from(first.start).unwrap();
            let at = |position: usize| (start + position) & (seen.ring.len() - 1);
            assert!((0..a.len()).all(|i| seen.ring[at(i)] == (a[i], b[i])));
            let (early, late) = if round % 2 == 0 { (first, second) } else { (second, first) };
            ring.give_back(early);
            ring.give_back(late);
            assert!(ring.has_room(10) && ring.taken.is_empty());
            next += 7;
        }
    }
}
