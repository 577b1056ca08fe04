//! Bytes made of (seed, transfer, block), as fast as memory takes them.

/// Fills `to` with the block's bytes: no two transfers, blocks or seeds have the same, and no two words of a block.
pub(super) fn fill(seed: u64, transfer: u64, block: u64, to: &mut [u8]) {
    let first = mix(seed ^ mix(transfer ^ mix(block)));
    let mut word = first;
    for chunk in to.chunks_mut(8) {
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        word = word.wrapping_add(STEP);
    }
}

/// Odd, so that 2^64 words differ.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn mix(z: u64) -> u64 {
    let mut z = z.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
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
