//! The copy.

use std::ptr;

use pegaflow_core::{Op, backend::Move};

/// Moves the bytes of one move.
///
/// # Safety
/// - `here..here + bytes` is mapped and writable here, and so is `there..there + bytes`.
/// - No reference into either exists.
pub(crate) unsafe fn copy(op: Op, one: &Move) {
    #[expect(clippy::cast_possible_truncation, reason = "addresses and lengths of mappings of this process")]
    let (here, there, bytes) = (one.here as usize as *mut u8, one.there as usize as *mut u8, one.bytes as usize);
    let (from, to) = match op {
        Op::Write => (here, there),
        Op::Read => (there, here),
    };
    // SAFETY: mapped by the caller's word. `copy` and not `copy_nonoverlapping`: a node that dials itself may name the
    // same bytes on both sides.
    unsafe { ptr::copy(from, to, bytes) };
}
