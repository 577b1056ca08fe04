//! Bytes made of (seed, transfer, block), as fast as memory takes them.

use crate::mix::{STEP, mix};

/// Fills `to` with the block's bytes: no two transfers, blocks or seeds have the same, and no two words of a block.
pub(super) fn fill(seed: u64, transfer: u64, block: u64, to: &mut [u8]) {
    let mut word = stepped(seed ^ stepped(transfer ^ stepped(block)));
    for chunk in to.chunks_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        word = word.wrapping_add(STEP);
    }
}

fn stepped(z: u64) -> u64 {
    mix(z.wrapping_add(STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coordinate_changes_the_bytes() {
        let all: std::collections::BTreeSet<Vec<u8>> =
            [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1)]
                .into_iter()
                .map(|(seed, transfer, block)| {
                    let mut bytes = vec![0; 21];
                    fill(seed, transfer, block, &mut bytes);
                    bytes
                })
                .collect();
        assert_eq!(all.len(), 6);
    }
}
