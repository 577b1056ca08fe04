//! How an engine that sleeps is woken: one system call, and only then.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering, fence},
};

use pegaflow_core::BackendError;
use rustix::event::{EventfdFlags, eventfd};

use crate::error::NAME;

#[derive(Debug)]
pub(crate) struct Waker {
    sleeping: AtomicBool,
    event: OwnedFd,
}

impl Waker {
    pub(crate) fn new() -> Result<Self, BackendError> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|errno| BackendError {
            backend: NAME,
            message: format!("eventfd failed: {errno}"),
            source: Some(Box::new(io::Error::from(errno))),
        })?;
        Ok(Self { sleeping: AtomicBool::new(false), event })
    }

    /// Says that this side may sleep: who has news from here on wakes it. What came before is to be looked for *after*
    /// this call.
    pub(crate) fn sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        // SYNC POINT: sleeping. Between the flag and the look at the news; the other fence stands between the news and
        // the look at the flag: one of the two sees the other.
        fence(Ordering::SeqCst);
    }

    /// Says that something new is there.
    pub(crate) fn wake(&self) {
        // SYNC POINT: sleeping. Pairs with the fence in `sleep`.
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::Relaxed) {
            // Fails only where the count is full, and then it is awake already.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// Awake again; what made the descriptor readable is taken.
    pub(crate) fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
        let _ = rustix::io::read(&self.event, &mut [0_u8; 8]);
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
