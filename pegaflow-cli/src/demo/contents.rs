//! Bytes made from (seed, round, layer, plane, block), and their checksum.

use twox_hash::XxHash3_64;

use crate::mix::{STEP, mix};

/// Which block's bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Which {
    pub(crate) seed: u64,
    pub(crate) round: u32,
    pub(crate) layer: u32,
    /// 0 for K, 1 for V; MLA has 0 only.
    pub(crate) plane: u32,
    /// Position in the prompt, not the page it lies in.
    pub(crate) block: u32,
}

impl Which {
    /// Fills `to` with this block's bytes: no two blocks, rounds or seeds have the same.
    pub(crate) fn fill(self, to: &mut [u8]) {
        let place = u64::from(self.layer) << 33 | u64::from(self.plane) << 32 | u64::from(self.block);
        let mut state = mix(self.seed ^ mix(place ^ mix(u64::from(self.round) + 1)));
        for chunk in to.chunks_mut(8) {
            state = state.wrapping_add(STEP);
            chunk.copy_from_slice(&mix(state).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// XXH3, 64 bits.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coordinate_changes_the_bytes() {
        let base = Which { seed: 1, round: 0, layer: 0, plane: 0, block: 0 };
        let others = [
            base,
            Which { seed: 2, ..base },
            Which { round: 1, ..base },
            Which { layer: 1, ..base },
            Which { plane: 1, ..base },
            Which { block: 1, ..base },
        ];
        let sums: std::collections::HashSet<u64> = others
            .iter()
            .map(|which| {
                let mut bytes = [0; 100];
                which.fill(&mut bytes);
                checksum(&bytes)
            })
            .collect();
        assert_eq!(sums.len(), others.len());
    }
}
