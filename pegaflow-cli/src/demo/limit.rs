//! The limit: the plain copy of the same lists over the same mappings. The only room of the demo with `unsafe`.

use std::time::Duration;

use pegaflow::Remote;
use pegaflow_bench::memcpy;

pub(crate) use pegaflow_bench::memcpy::Sides;

use super::pool::Pool;

/// Copies block `here[i]` of `pool` to block `there[i]` behind `remote`, in every plane.
pub(crate) fn copy(
    pool: &Pool,
    remote: &Remote,
    planes: &[Sides],
    block_bytes: usize,
    here: &[u32],
    there: &[u32],
) -> Duration {
    // Both hold what `planes` points into.
    let _ = (pool, remote);
    // SAFETY: both pools have the same planes and pages, and both lists hold page numbers of them: the plan over the
    // same tables and the batches over the same lists were checked by core. `pool` keeps this side's memory mapped and
    // `remote` the peer's; they are different memory. No reference into a region exists anywhere.
    unsafe { memcpy::copy(planes, block_bytes, here, there) }
}
