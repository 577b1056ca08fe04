//! Block lists as an engine's allocator leaves them after a while: no order at all.

/// `count` different ids below `pool`, in random order; `None` where there are not as many.
///
/// A fresh list for every transfer: one that is used again fits a cache, and flatters.
#[must_use]
pub fn scattered(pool: u32, count: u32, random: &mut fastrand::Rng) -> Option<Vec<u32>> {
    if count > pool {
        return None;
    }
    let mut ids: Vec<u32> = (0..pool).collect();
    // The first `count` steps of a Fisher-Yates shuffle.
    for at in 0..count {
        let other = random.u32(at..pool);
        ids.swap(at as usize, other as usize);
    }
    ids.truncate(count as usize);
    Some(ids)
}

/// Ids of one pool in an order that gets mixed further with every list that is taken: what [`scattered`] gives, without
/// its walk over the whole pool.
#[derive(Debug, Clone)]
pub struct Shuffle {
    ids: Vec<u32>,
    random: fastrand::Rng,
}

impl Shuffle {
    /// All ids below `pool`; the same seed gives the same lists.
    #[must_use]
    pub fn new(pool: u32, seed: u64) -> Self {
        Self { ids: (0..pool).collect(), random: fastrand::Rng::with_seed(seed) }
    }

    /// `count` different ids in random order; as many as there are where there are not as many. Whatever was taken before,
    /// every choice and every order is as likely.
    pub fn take(&mut self, count: usize) -> &[u32] {
        let count = count.min(self.ids.len());
        // The first `count` steps of a Fisher-Yates shuffle, which may begin with any order.
        for at in 0..count {
            let other = self.random.usize(at..self.ids.len());
            self.ids.swap(at, other);
        }
        &self.ids[..count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_gives_fresh_lists_of_different_ids() {
        let mut shuffle = Shuffle::new(1000, 7);
        let first = shuffle.take(500).to_vec();
        let second = shuffle.take(500).to_vec();
        for ids in [&first, &second] {
            let set: std::collections::BTreeSet<u32> = ids.iter().copied().collect();
            assert_eq!(set.len(), 500);
            assert!(ids.iter().all(|&id| id < 1000));
            assert!(!ids.is_sorted());
        }
        assert_ne!(first, second);
        assert_eq!(Shuffle::new(1000, 7).take(500), first);
        assert_eq!(shuffle.take(2000).len(), 1000);
        assert!(Shuffle::new(0, 1).take(3).is_empty());
    }

    #[test]
    fn ids_are_different_within_the_pool_and_in_no_order() {
        let mut random = fastrand::Rng::with_seed(7);
        let ids = scattered(1000, 500, &mut random).unwrap();
        let set: std::collections::BTreeSet<u32> = ids.iter().copied().collect();
        assert_eq!(set.len(), 500);
        assert!(ids.iter().all(|&id| id < 1000));
        assert!(!ids.is_sorted());
        assert!(scattered(3, 4, &mut random).is_none());
        assert_eq!(scattered(3, 3, &mut random).map(|ids| ids.len()), Some(3));
    }
}
