//! What a device says of itself, on its way from the control thread to the engine that it is about.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use pegaflow_core::BackendError;
use rustix::event::{EventfdFlags, eventfd};

use crate::error::failed;

/// Wakes one engine.
#[derive(Debug)]
pub(crate) struct Alarm {
    rung: AtomicBool,
    descriptor: OwnedFd,
}

impl Alarm {
    pub(crate) fn new() -> Result<Self, BackendError> {
        let descriptor = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| failed("eventfd", "for an engine", errno.into()))?;
        Ok(Self { rung: AtomicBool::new(false), descriptor })
    }

    pub(crate) fn ring(&self) {
        // Fails only at 2^64 - 1 events. Before the mark, so that who sees the mark takes the event.
        let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
        self.rung.store(true, Ordering::Release);
    }

    /// No longer readable, unless it rings again.
    pub(crate) fn silence(&self) {
        if self.rung.swap(false, Ordering::Acquire) {
            let _ = rustix::io::read(&self.descriptor, &mut [0_u8; 8]);
        }
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// One link, as a device's events name it.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The address of its completion queue.
    queue: u64,
    failed: AtomicBool,
    alarm: Arc<Alarm>,
}

impl Watched {
    /// Whether the device gave it up: no completion says so.
    #[inline]
    pub(crate) fn failed(&self) -> bool {
        // SYNC POINT: watch.
        self.failed.load(Ordering::Acquire)
    }
}

/// The links of a domain. The lock is taken where a link is made, and where a device fails.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Vec<Weak<Watched>>>);

impl Watch {
    /// A further link, watched as long as the value lives.
    pub(crate) fn enter(&self, queue: u64, alarm: &Arc<Alarm>) -> Arc<Watched> {
        let made = Arc::new(Watched { queue, failed: AtomicBool::new(false), alarm: Arc::clone(alarm) });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|link| link.strong_count() > 0);
        all.push(Arc::downgrade(&made));
        made
    }

    /// The link on this completion queue has failed, or all have.
    pub(crate) fn fail(&self, queue: Option<u64>) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for link in all.iter().filter_map(Weak::upgrade) {
            if queue.is_none_or(|queue| queue == link.queue) {
                // SYNC POINT: watch.
                link.failed.store(true, Ordering::Release);
                link.alarm.ring();
            }
        }
    }
}
