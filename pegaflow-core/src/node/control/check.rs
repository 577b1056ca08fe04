//! The owner's half of the integrity mode: sums of what lies in granted regions, compared on the reaper, since it takes long.

use std::sync::Arc;

use super::frame::Piece;
use crate::region::RegionInner;

/// Compares pieces with the sums that the peer gave, and gives the first that differs. A piece that is not in what the peer
/// has imported is wrong.
pub(super) fn first_wrong(regions: &[(usize, Arc<RegionInner>)], pieces: &[Piece], node: &str) -> Option<u32> {
    let wrong = pieces.iter().position(|piece| {
        let region =
            regions.iter().find(|(place, _)| u32::try_from(*place) == Ok(piece.region)).map(|(_, region)| region);
        let sum = region.and_then(|region| region.sum(piece.offset, piece.bytes.into()));
        if sum == Some(piece.sum) {
            return false;
        }
        let Piece { region: place, offset, bytes, sum: expected } = *piece;
        let at = region.map_or(0, |region| region.base() + offset);
        tracing::error!(
            node,
            region = place,
            offset,
            bytes,
            address = format_args!("{at:#x}"),
            expected = format_args!("{expected:#010x}"),
            got = ?sum.map(|sum| format!("{sum:#010x}")),
            "the bytes that a peer has moved are not those that lie here"
        );
        true
    });
    wrong.and_then(|at| u32::try_from(at).ok())
}
