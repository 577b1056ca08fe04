//! Asynchronous events: of the port, of completion queues and queue pairs.

use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, read, write};

use crate::abi::*;
use crate::completion::Cq;
use crate::context::Context;
use crate::device;
use crate::numbers::{EINVAL, ENODEV, IBV_PORT_DOWN, set_errno};
use crate::queue_pair::Qp;

/// A queue with a descriptor that is readable while something is in it.
pub(crate) struct Signalled<T> {
    queue: Mutex<VecDeque<T>>,
    descriptor: OwnedFd,
}

impl<T> Signalled<T> {
    pub(crate) fn new() -> Result<Self, Errno> {
        let descriptor = eventfd(0, EventfdFlags::SEMAPHORE | EventfdFlags::CLOEXEC)?;
        Ok(Self { queue: Mutex::default(), descriptor })
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    pub(crate) fn put(&self, value: T) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(value);
        // Fails only at 2^64 - 1 events.
        let _ = write(&self.descriptor, &1_u64.to_ne_bytes());
    }

    /// The next one; waits for it, unless the descriptor was made not to. `counts` sees it while nobody can forget it:
    /// what it is about is still there.
    pub(crate) fn take(&self, counts: impl Fn(&T)) -> Result<T, Errno> {
        loop {
            read(&self.descriptor, &mut [0_u8; 8])?;
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            // One that was dropped after its signal leaves nothing.
            if let Some(value) = queue.pop_front() {
                counts(&value);
                return Ok(value);
            }
        }
    }

    /// Drops those that are not to be kept, and their signals.
    pub(crate) fn keep(&self, keep: impl FnMut(&T) -> bool) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let before = queue.len();
        queue.retain(keep);
        let mut readable = [rustix::event::PollFd::new(&self.descriptor, rustix::event::PollFlags::IN)];
        for _ in queue.len()..before {
            let now = rustix::event::Timespec::default();
            if rustix::event::poll(&mut readable, Some(&now)) == Ok(1) {
                let _ = read(&self.descriptor, &mut [0_u8; 8]);
            }
        }
    }
}

/// An event: which, and the address of the queue (pair) or the number of the port that it is about.
struct Event {
    about: usize,
    kind: c_uint,
}

/// A context's events.
pub(crate) struct Events(Signalled<Event>);

impl Events {
    pub(crate) fn new() -> Result<Self, Errno> {
        Signalled::new().map(Self)
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }

    pub(crate) fn raise(&self, kind: c_uint, about: usize) {
        self.0.put(Event { about, kind });
    }

    /// Forgets what was raised about something that goes, and not yet got.
    pub(crate) fn forget(&self, about: usize) {
        self.0.keep(|event| event.about != about);
    }
}

/// Waits until events that were got are acknowledged; `false` where they still are not after so long. A real library
/// waits for ever.
pub(crate) fn wait_for_acknowledgement(counts: &[&AtomicU32]) -> bool {
    const PATIENCE: Duration = Duration::from_secs(1);
    let begin = Instant::now();
    while counts.iter().any(|count| count.load(Ordering::Acquire) != 0) {
        if begin.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_micros(20));
    }
    true
}

/// The count of events got and not yet acknowledged, of what an event is about.
unsafe fn unacknowledged<'a>(event: &ibv_async_event) -> Option<&'a AtomicU32> {
    match event.event_type {
        // SAFETY: this event is about a completion queue, which can't be destroyed before the acknowledgement.
        IBV_EVENT_CQ_ERR => Some(unsafe { &(*event.element.cast::<Cq>()).async_unacknowledged }),
        IBV_EVENT_QP_FATAL | IBV_EVENT_QP_REQ_ERR | IBV_EVENT_QP_ACCESS_ERR => {
            // SAFETY: this event is about a queue pair, which can't be destroyed before the acknowledgement.
            Some(unsafe { &(*event.element.cast::<Qp>()).async_unacknowledged })
        }
        _ => None,
    }
}

/// Takes the next event: 0, or -1 with errno.
///
/// # Safety
/// - `context` is open, `event` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_get_async_event(context: *mut ibv_context, event: *mut ibv_async_event) -> c_int {
    // SAFETY: the caller's promise.
    let events = &unsafe { Context::of(context) }.shared.events.0;
    let got = |of: &Event| ibv_async_event { element: of.about as *mut c_void, event_type: of.kind };
    let counts = |of: &Event| {
        // SAFETY: destroying what the event is about forgets the event first, so it is still there.
        if let Some(count) = unsafe { unacknowledged(&got(of)) } {
            count.fetch_add(1, Ordering::AcqRel);
        }
    };
    match events.take(counts) {
        Ok(taken) => {
            // SAFETY: the caller's promise.
            unsafe { event.write(got(&taken)) };
            0
        }
        Err(errno) => {
            set_errno(errno.raw_os_error());
            -1
        }
    }
}

/// Acknowledges an event.
///
/// # Safety
/// - `event` is from [`ibv_get_async_event`], and not acknowledged before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_ack_async_event(event: *mut ibv_async_event) {
    // SAFETY: the caller's promise.
    if let Some(count) = unsafe { unacknowledged(&*event) } {
        count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Raises an event on all open contexts of the device of this name, and makes it true: `IBV_EVENT_PORT_ERR` and
/// `IBV_EVENT_PORT_ACTIVE` change the port's state, `IBV_EVENT_QP_FATAL` fails every queue pair, `IBV_EVENT_CQ_ERR`
/// every completion queue; all else is only told, whatever its number. Returns 0, ENODEV, or EINVAL for what only a
/// request can cause.
///
/// # Safety
/// - `name` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pegaflow_stand_in_raise(name: *const c_char, event: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    let Some(device) = (unsafe { device::find(name) }) else { return ENODEV };
    let port_state = match event {
        IBV_EVENT_PORT_ERR => Some(IBV_PORT_DOWN),
        IBV_EVENT_PORT_ACTIVE => Some(IBV_PORT_ACTIVE),
        IBV_EVENT_QP_REQ_ERR | IBV_EVENT_QP_ACCESS_ERR => return EINVAL,
        _ => None,
    };
    if let Some(state) = port_state {
        device.port_state.store(state, Ordering::Release);
    }
    for shared in device.contexts().iter() {
        if matches!(event, IBV_EVENT_QP_FATAL | IBV_EVENT_CQ_ERR) {
            shared.fail_all(event);
        } else {
            shared.events.raise(event, 1);
        }
    }
    0
}
