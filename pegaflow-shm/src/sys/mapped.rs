//! A file mapped whole.

use std::{
    io,
    os::fd::OwnedFd,
    ptr::{self, NonNull},
};

use pegaflow_core::{BackendError, backend::Origin};
use rustix::{
    fs::{MemfdFlags, SealFlags},
    mm::{Advice, MapFlags, ProtFlags},
};

use crate::error::{NAME, failed};

/// Shared memory that stays mapped until this value is dropped.
#[derive(Debug)]
pub(crate) struct Mapped {
    base: NonNull<u8>,
    bytes: usize,
    origin: Origin,
}

// SAFETY: an address range of this process; whoever accesses it does so by raw copies or atomics.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    /// New zeroed memory, with the file by which a peer can map it too; it can't be resized.
    pub(crate) fn create(bytes: usize) -> Result<(Self, OwnedFd), BackendError> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("pegaflow-link", flags).map_err(errno("memfd_create"))?;
        rustix::fs::ftruncate(&file, bytes as u64).map_err(errno("ftruncate"))?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).map_err(errno("fcntl(F_ADD_SEALS)"))?;
        Ok((Self::map(&file, bytes)?, file))
    }

    /// The first `bytes` of a peer's file.
    pub(crate) fn of_peer(file: OwnedFd, bytes: u64) -> Result<Self, BackendError> {
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(errno("fcntl(F_GET_SEALS)"))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(BackendError::new(NAME, "the peer's memfd is not sealed against shrinking"));
        }
        let length = rustix::fs::fstat(&file).map_err(errno("fstat"))?.st_size;
        let expected = usize::try_from(bytes).ok().filter(|_| u64::try_from(length).is_ok_and(|all| all >= bytes));
        match expected {
            Some(bytes) if bytes > 0 => Self::map(&file, bytes),
            _ => {
                Err(BackendError::new(NAME, format!("the peer's memfd has {length} bytes: expected at least {bytes}")))
            }
        }
    }

    fn map(file: &OwnedFd, bytes: usize) -> Result<Self, BackendError> {
        // Memory of huge pages is mapped in whole ones; rounding up stays inside the file, which consists of them.
        let page = rustix::fs::fstat(file).map_err(errno("fstat"))?.st_blksize;
        let bytes = usize::try_from(page).ok().and_then(|page| bytes.checked_next_multiple_of(page)).unwrap_or(bytes);
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // Every page is entered now: a page fault in the middle of a transfer costs more than its copy.
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a fresh mapping at an address of the kernel's choice; nothing of ours is replaced.
        let base =
            unsafe { rustix::mm::mmap(ptr::null_mut(), bytes, access, flags, file, 0) }.map_err(errno("mmap"))?;
        let Some(base) = NonNull::new(base.cast()) else {
            return Err(BackendError::new(NAME, "mmap gave address 0"));
        };
        let mapped = Self { base, bytes, origin: Origin::here() };
        // SAFETY: exactly the range that was mapped above.
        unsafe { rustix::mm::madvise(base.as_ptr().cast(), bytes, Advice::LinuxDontFork) }
            .map_err(errno("madvise(MADV_DONTFORK)"))?;
        Ok(mapped)
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            // A child of a fork does not have it; by now there may be something else.
            return;
        }
        // SAFETY: mapped by `map` with this length, and nobody can reach it after this value.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping: {unmapped:?}");
    }
}

fn errno(call: &'static str) -> impl Fn(rustix::io::Errno) -> BackendError {
    move |errno| failed(call)(io::Error::from(errno))
}
