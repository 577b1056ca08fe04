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

#[cfg(test)]
mod tests {
    use super::*;

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
