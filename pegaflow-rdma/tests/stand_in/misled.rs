//! A domain that is told lies about its peer's memory.

use std::{
    os::fd::BorrowedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use pegaflow_core::{
    BackendError, Capabilities, DeviceEvent,
    backend::{Domain, Engine, Imported, LocalKey, Memory, Parcel, Reaper},
};

/// A domain whose imports name a key that nobody has, while it is told so.
pub(crate) struct Misled {
    pub(crate) inside: Arc<dyn Domain>,
    pub(crate) now: AtomicBool,
    /// What the last import brought.
    pub(crate) last: Mutex<Vec<u8>>,
    /// What comes in the place of an import, once.
    pub(crate) instead: Mutex<Option<Vec<u8>>>,
}

impl Misled {
    pub(crate) fn new(inside: Arc<dyn Domain>) -> Arc<Self> {
        Arc::new(Self { inside, now: AtomicBool::new(false), last: Mutex::default(), instead: Mutex::default() })
    }
}

impl Domain for Misled {
    fn capabilities(&self) -> &Capabilities {
        self.inside.capabilities()
    }

    unsafe fn register(&self, memory: &Memory<'_>) -> Result<LocalKey, BackendError> {
        // SAFETY: the caller's word.
        unsafe { self.inside.register(memory) }
    }

    fn deregister(&self, key: LocalKey) -> Result<(), BackendError> {
        self.inside.deregister(key)
    }

    fn export(&self, key: LocalKey) -> Result<Parcel, BackendError> {
        self.inside.export(key)
    }

    fn import(&self, mut parcel: Parcel, bytes: u64) -> Result<Imported, BackendError> {
        if self.now.load(Ordering::Relaxed) {
            // Behind the header, see `region`: the part of a key that its owner changes with each registration.
            parcel.bytes[16] ^= 1;
        }
        if let Some(instead) = self.instead.lock().expect("one thread").take() {
            parcel.bytes = instead;
        }
        parcel.bytes.clone_into(&mut self.last.lock().expect("one thread"));
        self.inside.import(parcel, bytes)
    }

    fn engine(&self, reaper: &Reaper) -> Result<Box<dyn Engine>, BackendError> {
        self.inside.engine(reaper)
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        self.inside.events()
    }

    fn attend(&self, tell: &mut dyn FnMut(u8, DeviceEvent)) {
        self.inside.attend(tell);
    }
}
