//! Registered memory, as the device reaches it: by a key, and not any more once it is shut.

use std::{
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use pegaflow_core::{
    Op,
    backend::{Memory, Move},
};

/// One registration. Its address is its key.
#[derive(Debug)]
pub(crate) struct Registration {
    base: u64,
    bytes: u64,
    /// Copies that are at the memory now, and [`SHUT`].
    users: AtomicU64,
}

const SHUT: u64 = 1 << 63;

impl Registration {
    pub(crate) fn new(memory: &Memory<'_>) -> Self {
        Self { base: memory.base as u64, bytes: memory.bytes, users: AtomicU64::new(0) }
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn key(&self) -> u64 {
        ptr::from_ref(self) as u64
    }

    /// Turns away who comes, and waits for who is there: one piece of work of a device at most.
    pub(crate) fn shut(&self) {
        self.users.fetch_or(SHUT, Ordering::SeqCst);
        // SYNC POINT: users. Acquire: what was copied was copied before the memory goes.
        while self.users.load(Ordering::Acquire) != SHUT {
            std::thread::yield_now();
        }
    }

    fn enter(&self) -> bool {
        if self.users.fetch_add(1, Ordering::SeqCst) & SHUT == 0 {
            return true;
        }
        self.leave();
        false
    }

    fn leave(&self) {
        // SYNC POINT: users. Release: pairs with the Acquire in `shut`.
        self.users.fetch_sub(1, Ordering::Release);
    }
}

/// A move with both its registrations entered: the memory stays until this is dropped.
pub(crate) struct Entered<'a> {
    one: &'a Move,
    here: &'a Registration,
    there: &'a Registration,
}

impl<'a> Entered<'a> {
    /// `None` where one of the two is shut.
    ///
    /// # Safety
    /// - Both keys are those of registrations that live for `'a`.
    /// - Both ranges lie inside their registrations.
    pub(crate) unsafe fn new(one: &'a Move) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, reason = "a key is an address of this process")]
        let at = |key: u64| key as usize as *const Registration;
        // SAFETY: the caller's word: keys are addresses of registrations that live.
        let (here, there) = unsafe { (&*at(one.here_key), &*at(one.there_key)) };
        if !here.enter() {
            return None;
        }
        if !there.enter() {
            here.leave();
            return None;
        }
        Some(Self { one, here, there })
    }

    /// Copies the first `bytes` of the move.
    pub(crate) fn copy(&self, op: Op, bytes: u64) {
        #[expect(clippy::cast_possible_truncation, reason = "addresses and lengths of memory of this process")]
        let (here, there, bytes) =
            (self.one.here as usize as *mut u8, self.one.there as usize as *mut u8, bytes.min(self.one.bytes) as usize);
        let (from, to) = match op {
            Op::Write => (here, there),
            Op::Read => (there, here),
        };
        // SAFETY: both ranges are inside registrations (`new`) that are entered, so `deregister` has not returned and
        // the memory is mapped. `copy`, since a node that dials itself may name the same bytes on both sides.
        unsafe { ptr::copy(from, to, bytes) };
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.there.leave();
        self.here.leave();
    }
}
