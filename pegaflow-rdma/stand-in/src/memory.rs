//! Protection domains and memory regions. A region's key names its slot in one table of the process, so a request finds
//! it without a lock. Requests are carried out with a send queue held: who takes a region away empties its slot, then
//! passes every send queue once, and nobody uses the region any more.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fd::BorrowedFd;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::abi::*;
use crate::context::Context;
use crate::numbers::*;
use crate::queue_pair;

/// One bit of a key is for the side, 15 are the slot, 16 the generation.
const SLOTS: usize = 1 << 15;
/// Set in remote keys: a local key in the place of a remote one is noticed.
const REMOTE: u32 = 1 << 31;

struct Slot {
    /// The local key; 0 while the slot is empty.
    key: AtomicU32,
    generation: AtomicU32,
    access: AtomicU32,
    domain: AtomicUsize,
    /// The address that requests call its first byte.
    begin: AtomicU64,
    length: AtomicU64,
    /// Where its first byte lies.
    place: AtomicUsize,
}

static TABLE: [Slot; SLOTS] = [const {
    Slot {
        key: AtomicU32::new(0),
        generation: AtomicU32::new(0),
        access: AtomicU32::new(0),
        domain: AtomicUsize::new(0),
        begin: AtomicU64::new(0),
        length: AtomicU64::new(0),
        place: AtomicUsize::new(0),
    }
}; SLOTS];
/// Slots that were used and are empty again, and how many were never used.
static FREE: Mutex<(VecDeque<usize>, usize)> = Mutex::new((VecDeque::new(), SLOTS));

/// A protection domain.
#[repr(C)]
pub(crate) struct Pd {
    base: ibv_pd,
    pub(crate) users: AtomicUsize,
}

/// A region, and the pages that were mapped for it.
#[repr(C)]
struct Mr {
    base: ibv_mr,
    mapped: usize,
}

impl Pd {
    /// # Safety
    /// - `pd` was not deallocated.
    pub(crate) unsafe fn of<'a>(pd: *mut ibv_pd) -> &'a Self {
        // SAFETY: domains are made in `ibv_alloc_pd`, as this type.
        unsafe { &*pd.cast::<Self>() }
    }
}

/// Where a range of this side lies, if `key` allows it to requests of `domain`.
#[inline]
pub(crate) fn local(key: u32, domain: usize, at: u64, length: u64, access: u32) -> Option<*mut u8> {
    let slot = &TABLE[(key >> 16) as usize & (SLOTS - 1)];
    // SYNC POINT: region.
    if slot.key.load(Ordering::Acquire) != key || slot.domain.load(Ordering::Relaxed) != domain {
        return None;
    }
    let offset = at.wrapping_sub(slot.begin.load(Ordering::Relaxed));
    let whole = slot.length.load(Ordering::Relaxed);
    if offset > whole || length > whole - offset || slot.access.load(Ordering::Relaxed) & access != access {
        return None;
    }
    let place = slot.place.load(Ordering::Relaxed) + usize::try_from(offset).ok()?;
    Some(std::ptr::with_exposed_provenance_mut(place))
}

/// Where a range of the peer's lies, if his `key` allows this `access`.
#[inline]
pub(crate) fn remote(key: u32, domain: usize, at: u64, length: u64, access: u32) -> Option<*mut u8> {
    local(key ^ REMOTE, domain, at, length, access)
}

/// Makes a protection domain.
///
/// # Safety
/// - `context` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_alloc_pd(context: *mut ibv_context) -> *mut ibv_pd {
    // SAFETY: the caller's promise.
    unsafe { Context::of(context) }.shared.children.fetch_add(1, Ordering::AcqRel);
    let pd = Pd { base: ibv_pd { context, handle: 0 }, users: AtomicUsize::new(0) };
    Box::into_raw(Box::new(pd)).cast()
}

/// Frees a domain. Returns 0, or EBUSY where it has regions or queue pairs.
///
/// # Safety
/// - `pd` was not deallocated, and is not used again once 0 was returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_dealloc_pd(pd: *mut ibv_pd) -> c_int {
    // SAFETY: the caller's promise.
    if unsafe { Pd::of(pd) }.users.load(Ordering::Acquire) != 0 {
        return EBUSY;
    }
    // SAFETY: made by a box, unused, and the caller gives it up.
    let pd = unsafe { Box::from_raw(pd.cast::<Pd>()) };
    // SAFETY: a context with a domain can't be closed.
    unsafe { Context::of(pd.base.context) }.shared.children.fetch_sub(1, Ordering::AcqRel);
    0
}

/// Registers memory.
///
/// # Safety
/// - `pd` is alive; the memory stays mapped until the region is deregistered.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr(pd: *mut ibv_pd, place: *mut c_void, length: usize, access: c_int) -> *mut ibv_mr {
    // SAFETY: the caller's promises.
    unsafe { register(pd, place, length, place.addr() as u64, access.cast_unsigned(), 0) }
}

/// Registers memory that requests call by another address.
///
/// # Safety
/// - As [`ibv_reg_mr`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr_iova2(
    pd: *mut ibv_pd,
    place: *mut c_void,
    length: usize,
    begin: u64,
    access: u32,
) -> *mut ibv_mr {
    // SAFETY: the caller's promises.
    unsafe { register(pd, place, length, begin, access, 0) }
}

/// Registers memory behind a descriptor: anything that can be mapped, where the schedule says so.
///
/// # Safety
/// - `pd` is alive and `descriptor` open; the file stays as long as the region.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_dmabuf_mr(
    pd: *mut ibv_pd,
    offset: u64,
    length: usize,
    begin: u64,
    descriptor: c_int,
    access: c_int,
) -> *mut ibv_mr {
    // SAFETY: the caller's promise; a context with a domain can't be closed.
    let shared = &unsafe { Context::of((*pd).context) }.shared;
    if shared.schedule.dmabuf == 0 {
        return null(EOPNOTSUPP);
    }
    if length == 0 {
        return null(EINVAL);
    }
    if descriptor < 0 {
        return null(EBADF);
    }
    // SAFETY: the caller's promise.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let prot = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses a place that is free.
    let place = unsafe { mmap(std::ptr::null_mut(), length, prot, MapFlags::SHARED, descriptor, offset) };
    match place {
        // SAFETY: mapped just now, and unmapped when the region goes.
        Ok(place) => unsafe { register(pd, place, length, begin, access.cast_unsigned(), length) },
        Err(errno) => null(errno.raw_os_error()),
    }
}

/// # Safety
/// - As [`ibv_reg_mr`]; `mapped` bytes from `place` are the region's own.
unsafe fn register(
    pd: *mut ibv_pd,
    place: *mut c_void,
    length: usize,
    begin: u64,
    access: u32,
    mapped: usize,
) -> *mut ibv_mr {
    // SAFETY: the caller's promise.
    let (domain, context) = unsafe { (Pd::of(pd), (*pd).context) };
    // SAFETY: a context with a domain can't be closed.
    let shared = &unsafe { Context::of(context) }.shared;
    let remote_write_alone = access & IBV_ACCESS_REMOTE_WRITE != 0 && access & IBV_ACCESS_LOCAL_WRITE == 0;
    let refused = if place.is_null() || length == 0 || remote_write_alone || begin.checked_add(length as u64).is_none()
    {
        EINVAL
    } else if shared.regions.load(Ordering::Relaxed) >= shared.schedule.regions_max() {
        ENOMEM
    } else {
        0
    };
    let free = if refused == 0 { take_slot() } else { None };
    let Some(at) = free else {
        if mapped > 0 {
            // SAFETY: mapped by the caller for this region, which there is not.
            let _ = unsafe { munmap(place, mapped) };
        }
        return null(if refused == 0 { ENOMEM } else { refused });
    };
    shared.regions.fetch_add(1, Ordering::Relaxed);
    domain.users.fetch_add(1, Ordering::AcqRel);
    let slot = &TABLE[at];
    let generation = slot.generation.load(Ordering::Relaxed) % 0xffff + 1;
    slot.generation.store(generation, Ordering::Relaxed);
    slot.access.store(access, Ordering::Relaxed);
    slot.domain.store(pd.addr(), Ordering::Relaxed);
    slot.begin.store(begin, Ordering::Relaxed);
    slot.length.store(length as u64, Ordering::Relaxed);
    slot.place.store(place.expose_provenance(), Ordering::Relaxed);
    let key = u32::try_from(at).unwrap_or(0) << 16 | generation;
    // SYNC POINT: region.
    slot.key.store(key, Ordering::Release);
    let base = ibv_mr { context, pd, addr: place, length, handle: key, lkey: key, rkey: key | REMOTE };
    Box::into_raw(Box::new(Mr { base, mapped })).cast()
}

/// An empty slot, the one that was used last coming last: old keys stay wrong for long.
fn take_slot() -> Option<usize> {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    if free.1 > 0 {
        free.1 -= 1;
        return Some(free.1);
    }
    free.0.pop_front()
}

/// Takes a region away; when it returns 0, no request reads or writes it any more. EBUSY where its device keeps it.
///
/// # Safety
/// - `mr` is registered, and not used again once 0 was returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_dereg_mr(mr: *mut ibv_mr) -> c_int {
    // SAFETY: the caller's promise; a context with a region in a domain can't be closed.
    if unsafe { Context::of((*mr).context) }.shared.schedule.kept_regions != 0 {
        return EBUSY;
    }
    // SAFETY: made by a box, and the caller gives it up.
    let mr = unsafe { Box::from_raw(mr.cast::<Mr>()) };
    let at = (mr.base.lkey >> 16) as usize & (SLOTS - 1);
    TABLE[at].key.store(0, Ordering::SeqCst);
    // No domain has this address, so no key fits an empty slot.
    TABLE[at].domain.store(0, Ordering::SeqCst);
    queue_pair::pass_every_send_queue();
    FREE.lock().unwrap_or_else(PoisonError::into_inner).0.push_back(at);
    if let Some(place) = NonNull::new(mr.base.addr).filter(|_| mr.mapped > 0) {
        // SAFETY: mapped for this region, which nobody uses any more.
        let _ = unsafe { munmap(place.as_ptr(), mr.mapped) };
    }
    // SAFETY: a domain with regions can't be deallocated, a context with a domain not closed.
    let (domain, context) = unsafe { (Pd::of(mr.base.pd), Context::of(mr.base.context)) };
    context.shared.regions.fetch_sub(1, Ordering::Relaxed);
    domain.users.fetch_sub(1, Ordering::AcqRel);
    0
}
