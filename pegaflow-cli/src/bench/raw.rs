//! Memory by its address: what a bench registers itself, and what its rivals copy. The only room of the bench with `unsafe`.

use std::{io, net::TcpStream, ptr::NonNull, time::Duration};

use pegaflow::{Kind, Region, Remote, Session};
use pegaflow_bench::{
    memcpy::{self, Sides},
    stream,
};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::{
    job::{Job, Op},
    pool::Pool,
};
use crate::Failure;

/// Memory of this process's own, not Pegaflow's.
struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it only says where memory lies, and gives it back; any thread may do that.
unsafe impl Send for Mapping {}
// SAFETY: a shared one can't be used for anything.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `register_own`, and the region that it backs is gone: the node drops this after it.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "{unmapped:?}");
    }
}

/// Memory that this process allocates itself, every page touched, registered with the node.
pub(super) fn register_own(session: &Session, bytes: u64) -> Result<Region, Failure> {
    let length = usize::try_from(bytes)?;
    let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
    // SAFETY: a fresh mapping at an address that the kernel chooses.
    let base = unsafe { mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, flags) }
        .map_err(|errno| format!("mmap of {bytes} bytes: {errno}"))?;
    let base = NonNull::new(base.cast::<u8>()).ok_or("mmap gave address 0")?;
    let mapping = Mapping { base, bytes: length };
    // SAFETY: `mapping` keeps the memory mapped until the node lets go of it, and nobody holds a reference into it.
    let region = unsafe { session.node().register(base, bytes, Kind::Host, Box::new(mapping)) };
    Ok(region.map_err(|error| format!("--regions foreign: {error}"))?)
}

/// Copies block by block what `op` would move; `None` where the peer's memory is not mapped.
pub(super) fn copy(job: &Job, pool: &Pool, remote: &Remote, here: &[u32], there: &[u32]) -> Option<Duration> {
    assert!(here.iter().chain(there).all(|&id| id < job.pool_blocks), "ids of the pool");
    let (ours, theirs) = (pool.region.as_ptr(), remote.mapped(0)?);
    let (from, to, sources, targets) = match job.op {
        Op::Read => (theirs, ours, there, here),
        _ => (ours, theirs, here, there),
    };
    // SAFETY: both pools are `pool_blocks` blocks long and different memory, kept mapped by `pool` and `remote`; every id
    // was just found below that number; what is read from or written to was granted for it; nobody holds a reference into a
    // region.
    Some(unsafe { memcpy::copy(&[Sides { from, to }], job.block_bytes as usize, sources, targets) })
}

/// Sends blocks of the pool.
pub(super) fn send(stream: &TcpStream, job: &Job, pool: &Pool, ids: &[u32]) -> io::Result<()> {
    assert!(ids.iter().all(|&id| id < job.pool_blocks), "ids of the pool");
    // SAFETY: the pool is `pool_blocks` blocks long, and every id was just found below that; a rival's slice is the only
    // thing that touches either pool while it runs, and it writes the other one.
    unsafe { stream::send(stream, pool.region.as_ptr(), job.block_bytes as usize, ids) }
}

/// Receives blocks into a pool, and sees to it that no list names one twice.
pub(super) struct Receiver {
    /// By id, the last list that named it.
    named: Vec<u64>,
    list: u64,
}

impl Receiver {
    pub(super) fn new(job: &Job) -> Self {
        Self { named: vec![0; job.pool_blocks as usize], list: 0 }
    }

    pub(super) fn receive(&mut self, stream: &TcpStream, job: &Job, pool: &Pool, ids: &[u32]) -> Result<(), Failure> {
        self.list += 1;
        for &id in ids {
            match self.named.get_mut(id as usize) {
                Some(list) if *list < self.list => *list = self.list,
                _ => return Err(format!("block {id}: of {}, and each once", job.pool_blocks).into()),
            }
        }
        // SAFETY: as in `send`, and no id is there twice.
        Ok(unsafe { stream::receive(stream, pool.region.as_ptr(), job.block_bytes as usize, ids) }?)
    }
}
