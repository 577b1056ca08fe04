//! Registered memory, and what a key of core's stands for.

use std::{
    ffi::c_uint,
    fmt, io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    slice,
    sync::Arc,
};

use pegaflow_core::{BackendError, backend::Origin};
use rustix::mm::{Advice, MapFlags, ProtFlags};

use super::{Device, abi::*};
use crate::error::{failed, failed_so};

/// One registration with the device.
pub(crate) struct MemoryRegion {
    device: Arc<Device>,
    raw: NonNull<ibv_mr>,
    given_back: bool,
}

// SAFETY: an immutable handle; deregistration may run on any thread.
unsafe impl Send for MemoryRegion {}
// SAFETY: as above.
unsafe impl Sync for MemoryRegion {}

impl MemoryRegion {
    /// Registers `bytes` bytes at `base` for this side's requests and the peer's.
    ///
    /// # Safety
    /// - The memory stays mapped until the value is dropped.
    pub(crate) unsafe fn new(
        device: &Arc<Device>,
        base: *mut u8,
        bytes: usize,
        relaxed_ordering: bool,
    ) -> Result<Self, BackendError> {
        let domain = device.domain.as_ptr();
        // SAFETY: mapped, by the caller's word.
        let raw = unsafe {
            (device.verbs.reg_mr_iova2)(domain, base.cast(), bytes, base.addr() as u64, access(relaxed_ordering))
        };
        Self::made(device, raw, bytes, "ibv_reg_mr_iova2")
    }

    /// Registers `bytes` bytes of a device's memory, `offset` bytes into its dmabuf; requests name them from `base` on.
    pub(crate) fn of_dmabuf(
        device: &Arc<Device>,
        file: BorrowedFd<'_>,
        offset: u64,
        (base, bytes): (u64, usize),
        relaxed_ordering: bool,
    ) -> Result<Self, BackendError> {
        let unsupported = || failed("ibv_reg_dmabuf_mr", "is not in this library", io::ErrorKind::Unsupported.into());
        let register = device.verbs.reg_dmabuf_mr.ok_or_else(unsupported)?;
        #[expect(clippy::cast_possible_wrap, reason = "a set of bits")]
        let access = access(relaxed_ordering) as i32;
        // SAFETY: the descriptor is open; the kernel keeps the buffer while it is registered.
        let raw = unsafe { register(device.domain.as_ptr(), offset, bytes, base, file.as_raw_fd(), access) };
        Self::made(device, raw, bytes, "ibv_reg_dmabuf_mr")
    }

    fn made(device: &Arc<Device>, raw: *mut ibv_mr, bytes: usize, call: &str) -> Result<Self, BackendError> {
        if let Some(raw) = NonNull::new(raw) {
            return Ok(Self { device: Arc::clone(device), raw, given_back: false });
        }
        let error = io::Error::last_os_error();
        let limit = memlock_limit();
        let what = format!("{call} of {bytes} bytes with device {}", device.name());
        match (error.raw_os_error().map(rustix::io::Errno::from_raw_os_error), limit) {
            (Some(rustix::io::Errno::NOMEM | rustix::io::Errno::AGAIN), Some(limit)) => {
                let remedy = format!(
                    "this process may lock {limit} bytes: raise it with `ulimit -l unlimited`, LimitMEMLOCK=infinity \
                     in its systemd unit, or --ulimit memlock=-1 for its container"
                );
                Err(failed_so(&what, error, remedy))
            }
            (Some(rustix::io::Errno::NOMEM), None) => {
                Err(failed_so(&what, error, "the device has no room for another region: use fewer and larger ones"))
            }
            _ => Err(failed(call, format_args!("of {bytes} bytes with device {}", device.name()), error)),
        }
    }

    pub(crate) fn local_key(&self) -> u32 {
        // SAFETY: registered, until the drop.
        unsafe { self.raw.as_ref() }.lkey
    }

    pub(crate) fn remote_key(&self) -> u32 {
        // SAFETY: as above.
        unsafe { self.raw.as_ref() }.rkey
    }

    /// Deregisters it.
    ///
    /// # Errors
    /// Where the device does not let go: the memory must stay then.
    pub(crate) fn release(mut self) -> Result<(), BackendError> {
        self.give_back()
    }

    /// Deregisters it once: what is tried again is given back already, or for good the device's. In a child of a fork it is
    /// the parent's.
    fn give_back(&mut self) -> Result<(), BackendError> {
        if std::mem::replace(&mut self.given_back, true) || !self.device.origin().is_here() {
            return Ok(());
        }
        // SAFETY: registered with this device, and given back once.
        match unsafe { (self.device.verbs.dereg_mr)(self.raw.as_ptr()) } {
            0 => Ok(()),
            code => {
                let what = format_args!("with device {}", self.device.name());
                Err(failed("ibv_dereg_mr", what, io::Error::from_raw_os_error(code.abs())))
            }
        }
    }
}

impl Drop for MemoryRegion {
    fn drop(&mut self) {
        if let Err(error) = self.give_back() {
            tracing::error!(%error, "memory stays registered");
        }
    }
}

impl fmt::Debug for MemoryRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryRegion(lkey {:#x}, rkey {:#x})", self.local_key(), self.remote_key())
    }
}

fn access(relaxed_ordering: bool) -> c_uint {
    let relaxed = if relaxed_ordering { IBV_ACCESS_RELAXED_ORDERING } else { 0 };
    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | relaxed
}

/// Most bytes that this process may lock, which registration does; `None` without a bound.
pub(crate) fn memlock_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Memlock).current
}

/// The keys of memory that is registered in several pieces.
#[derive(Debug)]
pub(crate) struct KeyTable {
    pub(crate) base: u64,
    /// `[piece]`
    pub(crate) keys: Box<[u32]>,
}

/// The table that a key of core's stands for, see [`crate::region`].
///
/// # Safety
/// - `key` is the address of a [`KeyTable`] that lives as long as `'a`.
pub(crate) unsafe fn key_table<'a>(key: u64) -> &'a KeyTable {
    #[expect(clippy::cast_possible_truncation, reason = "an address of this process")]
    let address = key as usize as *const KeyTable;
    // SAFETY: the caller's word.
    unsafe { &*address }
}

/// Zeroed memory of this process, registered: where messages come and go. A child of a fork does not have it.
#[derive(Debug)]
pub(crate) struct Staging {
    /// Taken when this value is dropped.
    region: Option<MemoryRegion>,
    origin: Origin,
    base: NonNull<u8>,
    bytes: usize,
    /// It is never given back.
    kept: bool,
}

// SAFETY: owned memory; the NIC and this side's one engine touch it.
unsafe impl Send for Staging {}

impl Staging {
    pub(crate) fn new(device: &Arc<Device>, bytes: usize) -> Result<Self, BackendError> {
        // Whole pages, so that registering does not pin a neighbour's.
        let bytes = bytes.max(1).next_multiple_of(rustix::param::page_size());
        let refused = |call, errno: rustix::io::Errno| failed(call, format_args!("of {bytes} bytes"), errno.into());
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice; nothing of ours is replaced.
        let base = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), bytes, access, MapFlags::PRIVATE) }
            .map_err(|errno| refused("mmap", errno))?;
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            return Err(refused("mmap", rustix::io::Errno::FAULT));
        };
        let mut made = Self { region: None, origin: device.origin(), base, bytes, kept: false };
        // A fork may give the parent new pages, and the NIC would go on with the old ones.
        // SAFETY: exactly the range that was mapped above.
        unsafe { rustix::mm::madvise(base.as_ptr().cast(), bytes, Advice::LinuxDontFork) }
            .map_err(|errno| refused("madvise(MADV_DONTFORK)", errno))?;
        // No relaxed ordering: a message is read when its immediate is seen, by this processor.
        // SAFETY: unmapped only after the region, see the drop.
        made.region = Some(unsafe { MemoryRegion::new(device, base.as_ptr(), bytes, false) }?);
        Ok(made)
    }

    /// The device may reach it for ever.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    pub(crate) fn address(&self) -> u64 {
        self.base.as_ptr().addr() as u64
    }

    pub(crate) fn local_key(&self) -> u32 {
        self.region.as_ref().map_or(0, MemoryRegion::local_key)
    }

    pub(crate) fn remote_key(&self) -> u32 {
        self.region.as_ref().map_or(0, MemoryRegion::remote_key)
    }

    /// Copies out; the peer may write meanwhile, so what it gives is to be checked.
    pub(crate) fn read(&self, at: usize, to: &mut [u8]) {
        assert!(at.checked_add(to.len()).is_some_and(|end| end <= self.bytes), "inside");
        // SAFETY: inside, by the assertion; `to` is other memory.
        unsafe { std::ptr::copy_nonoverlapping(self.base.as_ptr().add(at), to.as_mut_ptr(), to.len()) };
    }

    /// Copies in.
    pub(crate) fn write(&mut self, at: usize, from: &[u8]) {
        assert!(at.checked_add(from.len()).is_some_and(|end| end <= self.bytes), "inside");
        // SAFETY: inside, by the assertion. The NIC reads this place only after it is posted, and no request that
        // names it is under way: the caller has seen its completion.
        unsafe { slice::from_raw_parts_mut(self.base.as_ptr().add(at), from.len()) }.copy_from_slice(from);
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.kept || !self.origin.is_here() {
            std::mem::forget(self.region.take());
            return;
        }
        if let Some(Err(error)) = self.region.take().map(MemoryRegion::release) {
            tracing::error!(%error, bytes = self.bytes, "memory for messages is kept: the device may still reach it");
            return;
        }
        // SAFETY: mapped with this length, no longer registered, and nobody can reach it after this value.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping: {unmapped:?}");
    }
}
