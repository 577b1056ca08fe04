//! What a peer writes and this crate reads, as functions of bytes: each returns, whatever the bytes are, and asserts
//! what core relies on. `fuzz` drives them, and the tests below do with its corpus.

use pegaflow_core::backend::Parcel;

pub use crate::channel::receiver::garbage::immediates;
use crate::{
    channel::hand_shake::End,
    region::{self, PIECE_BYTES},
    sys::Address,
};

fn parcel(bytes: &[u8]) -> Parcel {
    Parcel { bytes: bytes.to_vec(), files: Vec::new() }
}

/// The peer's end: what was read is written so that it is read again, and can be asked what it reaches.
pub fn end(data: &[u8]) {
    let Ok(end) = End::decode(&parcel(data)) else { return };
    let Address { number, first_packet, mtu, reads, .. } = end.address;
    assert!((1..=5).contains(&mtu) && reads > 0 && number.max(first_packet) < 1 << 24, "{end:?}");
    assert_eq!(End::decode(&end.encode()).expect("written by this build"), end);
    for ethernet in [false, true] {
        let _ = end.check_reach(ethernet, &[0xfe; 16]);
    }
}

/// `[bytes of the region: 8, parcel..]`: every address of what was imported has a key.
pub fn import(data: &[u8]) {
    let Some((bytes, rest)) = data.split_first_chunk() else { return };
    let bytes = u64::from_le_bytes(*bytes);
    let Ok(imported) = region::import(&parcel(rest), bytes) else { return };
    assert!(imported.base.checked_add(bytes).is_some(), "{imported:?}");
    let pieces = bytes.div_ceil(PIECE_BYTES);
    for offset in (0..pieces).flat_map(|piece| [piece * PIECE_BYTES, (piece * PIECE_BYTES).saturating_sub(1)]) {
        let (_, left) = region::resolve_of(&imported, imported.base + offset);
        assert!(left > 0, "{left} bytes at offset {offset:#x}");
    }
}

#[cfg(test)]
#[path = "../../fuzz/replay.rs"]
mod replay;

#[cfg(test)]
mod tests {
    use super::{replay::replay, *};
    use crate::channel::immediate::Immediate;

    #[test]
    fn ends() {
        let gid = std::array::from_fn(|at| u8::try_from(at).unwrap());
        let address = Address { number: 0xab_cdef, first_packet: 0x12_3456, lid: 0x789a, gid, mtu: 5, reads: 16 };
        let end = |ethernet| End { address, ethernet, ring: 0x1234_5678_9abc_def0, ring_key: 7 }.encode().bytes;
        replay("rdma_end", vec![("roce", end(true)), ("infiniband", end(false))], 10_000, super::end);
    }

    #[test]
    fn imports() {
        let region = |bytes: u64, keys: &[u32]| {
            let mut all = bytes.to_le_bytes().to_vec();
            all.extend([1, 0, 0, 0]);
            all.extend(u32::try_from(keys.len()).unwrap().to_le_bytes());
            all.extend(0x7000_0000_1000_u64.to_le_bytes());
            all.extend(keys.iter().flat_map(|key| key.to_le_bytes()));
            all
        };
        let examples = vec![
            ("one_piece", region(4096, &[7])),
            ("three_pieces", region(2 * PIECE_BYTES + 1, &[7, 8, u32::MAX])),
            ("none", region(0, &[])),
        ];
        replay("rdma_import", examples, 20_000, super::import);
    }

    #[test]
    fn immediates_of_any_kind() {
        let step = |operation: u8, word: u32| [&[operation][..], &word.to_le_bytes()].concat();
        let message = |number, bytes| step(0, Immediate::message(number, bytes).to_bits());
        let examples = vec![
            ("in_order", [message(0, 3), message(1, 300), step(2, 0xff00_0000), step(3, 0), step(4, 0)].concat()),
            ("too_many", (0..5).flat_map(|number| message(number, 1)).collect()),
            ("too_long", message(0, 301)),
            ("out_of_order", [message(0, 1), message(2, 1)].concat()),
            ("counts", [step(0, 7), step(0, 8), step(0, 1 << 20)].concat()),
            ("credits", step(0, Immediate::Credits(4096).to_bits())),
            ("round", [step(1, 10), step(3, 0)].concat().repeat(9)),
        ];
        replay("rdma_immediate", examples, 20_000, immediates);
    }
}
