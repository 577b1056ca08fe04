//! Completion channels: where completion events come out.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fd::AsRawFd;

use crate::abi::*;
use crate::completion::Cq;
use crate::context::Context;
use crate::events::Signalled;
use crate::numbers::*;

/// A completion channel.
#[repr(C)]
pub(crate) struct Channel {
    base: UnsafeCell<ibv_comp_channel>,
    /// Addresses of completion queues.
    events: Signalled<usize>,
    queues: AtomicUsize,
}

// SAFETY: `base` is written when it is made, and only read after.
unsafe impl Sync for Channel {}
// SAFETY: its pointers are numbers to it.
unsafe impl Send for Channel {}

impl Channel {
    /// A further reference to the caller's channel, for a queue that uses it.
    ///
    /// # Safety
    /// - `channel` is null or was not destroyed.
    pub(crate) unsafe fn share(channel: *mut ibv_comp_channel) -> Option<Arc<Self>> {
        let channel = channel.cast_const().cast::<Self>();
        if channel.is_null() {
            return None;
        }
        // SAFETY: made by `Arc::into_raw`, whose reference the caller still has.
        let shared = unsafe {
            Arc::increment_strong_count(channel);
            Arc::from_raw(channel)
        };
        shared.queues.fetch_add(1, Ordering::AcqRel);
        Some(shared)
    }

    /// A queue uses the channel no more; its events that nobody got are gone.
    pub(crate) fn part(&self, cq: usize) {
        self.events.keep(|about| *about != cq);
        self.queues.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn put(&self, cq: usize) {
        self.events.put(cq);
    }
}

/// Makes a completion channel.
///
/// # Safety
/// - `context` is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_create_comp_channel(context: *mut ibv_context) -> *mut ibv_comp_channel {
    let Ok(events) = Signalled::new() else { return null(ENOMEM) };
    let fd = events.descriptor().as_raw_fd();
    // SAFETY: the caller's promise.
    unsafe { Context::of(context) }.shared.children.fetch_add(1, Ordering::AcqRel);
    let base = UnsafeCell::new(ibv_comp_channel { context, fd, refcnt: 0 });
    Arc::into_raw(Arc::new(Channel { base, events, queues: AtomicUsize::new(0) })).cast_mut().cast()
}

/// Destroys a channel. Returns 0, or EBUSY where completion queues use it.
///
/// # Safety
/// - `channel` was not destroyed, and is not used again once 0 was returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_comp_channel(channel: *mut ibv_comp_channel) -> c_int {
    let raw = channel.cast_const().cast::<Channel>();
    // SAFETY: the caller's promise.
    if unsafe { &*raw }.queues.load(Ordering::Acquire) != 0 {
        return EBUSY;
    }
    // SAFETY: made by `Arc::into_raw`, and the caller gives it up; its context can't be closed before.
    unsafe {
        Context::of((*channel).context).shared.children.fetch_sub(1, Ordering::AcqRel);
        drop(Arc::from_raw(raw));
    }
    0
}

/// Takes the next completion event: 0, or -1 with errno. Waits for one, unless the descriptor was made not to.
///
/// # Safety
/// - `channel` is alive; `cq` and `mark` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_get_cq_event(
    channel: *mut ibv_comp_channel,
    cq: *mut *mut ibv_cq,
    mark: *mut *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise.
    let events = &unsafe { &*channel.cast_const().cast::<Channel>() }.events;
    let counts = |about: &usize| {
        // SAFETY: a queue's events leave the channel before it is destroyed.
        unsafe { Cq::of(*about as *mut ibv_cq) }.unacknowledged.fetch_add(1, Ordering::AcqRel);
    };
    match events.take(counts) {
        Ok(about) => {
            let queue = about as *mut ibv_cq;
            // SAFETY: it is not destroyed before the acknowledgement.
            unsafe {
                mark.write((*queue).cq_context);
                cq.write(queue);
            }
            0
        }
        Err(errno) => {
            set_errno(errno.raw_os_error());
            -1
        }
    }
}

/// Acknowledges completion events. More than were got show when the queue is destroyed.
///
/// # Safety
/// - `cq` is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_ack_cq_events(cq: *mut ibv_cq, count: c_uint) {
    // SAFETY: the caller's promise.
    unsafe { Cq::of(cq) }.unacknowledged.fetch_sub(count, Ordering::AcqRel);
}
