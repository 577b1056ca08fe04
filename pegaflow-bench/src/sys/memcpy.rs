//! The rival of every copy on one host: one thread, one `memcpy` a block, the same lists over the same mappings.

use std::{
    ptr,
    time::{Duration, Instant},
};

/// Where one plane's block 0 lies on both sides.
#[derive(Debug, Clone, Copy)]
pub struct Sides {
    /// In memory that is read.
    pub from: *const u8,
    /// In memory that is written.
    pub to: *mut u8,
}

/// Copies, for each plane and each position `i`, block `here[i]` to block `there[i]`; blocks lie `block_bytes` apart.
/// Adjacent blocks are not merged. Gives how long it took.
///
/// # Panics
/// Where the lists differ in length.
///
/// # Safety
/// - For every plane, `block_bytes` bytes at `from + id * block_bytes` are readable for each id of `here`, and at
///   `to + id * block_bytes` writable for each id of `there`, and no reference into them exists.
/// - No block of `from` overlaps one of `to`.
#[must_use]
pub unsafe fn copy(planes: &[Sides], block_bytes: usize, here: &[u32], there: &[u32]) -> Duration {
    assert_eq!(here.len(), there.len(), "a block there for each block here");
    let start = Instant::now();
    for plane in planes {
        for (&from, &to) in here.iter().zip(there) {
            // SAFETY: both blocks lie where the caller says that memory may be read and written, and apart.
            unsafe {
                let from = plane.from.add(from as usize * block_bytes);
                let to = plane.to.add(to as usize * block_bytes);
                ptr::copy_nonoverlapping(from, to, block_bytes);
            }
        }
    }
    start.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_land_where_the_lists_say() {
        let from: Vec<u8> = (0..40).collect();
        let mut to = vec![0; 40];
        let planes = [Sides { from: from.as_ptr(), to: to.as_mut_ptr() }];
        // SAFETY: ten blocks of 4 bytes on both sides, in different vectors.
        let _ = unsafe { copy(&planes, 4, &[9, 0], &[1, 8]) };
        assert_eq!(to[4..8], from[36..40]);
        assert_eq!(to[32..36], from[0..4]);
        assert!(to[..4].iter().chain(&to[8..32]).chain(&to[36..]).all(|&byte| byte == 0));
    }

    #[test]
    fn each_plane_has_its_own_place() {
        let from: Vec<u8> = (0..60).collect();
        let mut to = vec![0; 60];
        let base = to.as_mut_ptr();
        let planes = [0, 30].map(|offset| Sides { from: from[offset..].as_ptr(), to: base.wrapping_add(offset) });
        // SAFETY: in each half of 30 bytes, blocks of 3 bytes at 6 and 0 are read, and at 3 and 18 written, in different
        // vectors.
        let _ = unsafe { copy(&planes, 3, &[2, 0], &[1, 6]) };
        let mut expected = vec![0; 60];
        for half in [0, 30] {
            expected[half + 3..half + 6].copy_from_slice(&from[half + 6..half + 9]);
            expected[half + 18..half + 21].copy_from_slice(&from[half..half + 3]);
        }
        assert_eq!(to, expected);
    }

    #[test]
    #[should_panic(expected = "a block there for each block here")]
    fn lists_of_different_length_are_refused() {
        // SAFETY: no plane, so nothing is touched.
        let _ = unsafe { copy(&[], 4, &[0], &[]) };
    }
}
