//! Completion queues, and the channel that wakes for them.

use std::{
    ffi::{c_int, c_void},
    fmt, io,
    os::fd::{AsFd, BorrowedFd},
    ptr::{self, NonNull},
    sync::Arc,
};

use pegaflow_core::BackendError;

use super::{Device, abi::*};
use crate::error::failed;

/// One descriptor that wakes for any number of completion queues.
pub(crate) struct Channel {
    device: Arc<Device>,
    raw: NonNull<ibv_comp_channel>,
}

// SAFETY: used by one thread at a time, which its engine's `&mut self` sees to.
unsafe impl Send for Channel {}
// SAFETY: taking and acknowledging events is the library's to order, which any thread may do.
unsafe impl Sync for Channel {}

impl Channel {
    pub(crate) fn new(device: &Arc<Device>) -> Result<Self, BackendError> {
        // SAFETY: an open context.
        let raw = NonNull::new(unsafe { (device.verbs.create_comp_channel)(device.context.as_ptr()) });
        let raw = raw.ok_or_else(|| {
            failed("ibv_create_comp_channel", format_args!("of device {}", device.name()), io::Error::last_os_error())
        })?;
        let made = Self { device: Arc::clone(device), raw };
        rustix::io::ioctl_fionbio(made.as_fd(), true)
            .map_err(|errno| failed("ioctl(FIONBIO)", "on a completion channel", errno.into()))?;
        Ok(made)
    }

    /// Takes every event that is there and acknowledges it.
    pub(crate) fn drain(&self) {
        loop {
            let (mut queue, mut mark) = (ptr::null_mut::<ibv_cq>(), ptr::null_mut::<c_void>());
            // SAFETY: the channel is open and does not block; both are written on success.
            if unsafe { (self.device.verbs.get_cq_event)(self.raw.as_ptr(), &raw mut queue, &raw mut mark) } != 0 {
                return;
            }
            // SAFETY: an event of this queue was just taken, and a queue with such an event can't be gone.
            unsafe { (self.device.verbs.ack_cq_events)(queue, 1) };
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel's own descriptor, open as long as it.
        unsafe { BorrowedFd::borrow_raw(self.raw.as_ref().fd) }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if !self.device.origin().is_here() {
            return;
        }
        // SAFETY: made by this device's library; queues that use it hold an `Arc` of it.
        let code = unsafe { (self.device.verbs.destroy_comp_channel)(self.raw.as_ptr()) };
        if code != 0 {
            tracing::error!(device = self.device.name(), code, "ibv_destroy_comp_channel failed");
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({:?})", self.device)
    }
}

/// A completion queue of one link.
pub(crate) struct CompletionQueue {
    pub(super) device: Arc<Device>,
    pub(super) raw: NonNull<ibv_cq>,
    /// Its events come through it.
    _events: Arc<Channel>,
}

// SAFETY: used by one thread at a time, which its engine's `&mut self` sees to.
unsafe impl Send for CompletionQueue {}

impl CompletionQueue {
    /// A queue of at least `entries` entries, whose events come through `channel`.
    pub(crate) fn new(device: &Arc<Device>, channel: &Arc<Channel>, entries: u32) -> Result<Self, BackendError> {
        let entries = c_int::try_from(entries).unwrap_or(c_int::MAX);
        let (context, none, events) = (device.context.as_ptr(), ptr::null_mut(), channel.raw.as_ptr());
        // SAFETY: all are of this device; vector 0 is always there.
        let raw = NonNull::new(unsafe { (device.verbs.create_cq)(context, entries, none, events, 0) });
        match raw {
            Some(raw) => Ok(Self { device: Arc::clone(device), raw, _events: Arc::clone(channel) }),
            None => Err(failed(
                "ibv_create_cq",
                format_args!("of {entries} entries with device {}", device.name()),
                io::Error::last_os_error(),
            )),
        }
    }

    /// What an asynchronous event about it names.
    pub(crate) fn address(&self) -> u64 {
        self.raw.as_ptr().addr() as u64
    }

    /// Takes completions, at most as many as fit; gives how many, or `None` where the queue itself failed.
    #[inline]
    pub(crate) fn poll(&mut self, into: &mut [ibv_wc]) -> Option<usize> {
        let room = c_int::try_from(into.len()).unwrap_or(c_int::MAX);
        // SAFETY: an open queue; `room` entries may be written.
        let count = unsafe {
            let call = (*(*self.raw.as_ptr()).context).ops.poll_cq?;
            call(self.raw.as_ptr(), room, into.as_mut_ptr())
        };
        usize::try_from(count).ok()
    }

    /// The next completion makes an event.
    pub(crate) fn arm(&mut self) -> bool {
        // SAFETY: an open queue.
        unsafe {
            match (*(*self.raw.as_ptr()).context).ops.req_notify_cq {
                Some(call) => call(self.raw.as_ptr(), 0) == 0,
                None => false,
            }
        }
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        if !self.device.origin().is_here() {
            return;
        }
        // SAFETY: its queue pair is gone, see `channel::Link`; every event that was taken is acknowledged.
        let code = unsafe { (self.device.verbs.destroy_cq)(self.raw.as_ptr()) };
        if code != 0 {
            tracing::error!(device = self.device.name(), code, "ibv_destroy_cq failed");
        }
    }
}

impl fmt::Debug for CompletionQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CompletionQueue({:?})", self.device)
    }
}
