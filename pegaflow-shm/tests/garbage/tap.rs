//! Shared memory whose links show the files under their segments: whoever has one writes what he likes.

use std::{
    fs::File,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex},
};

use pegaflow_core::{
    Armed, BackendError, Bounds, Capabilities, Class, CounterTable, Link,
    backend::{Domain, Engine, Imported, LocalKey, Memory, Parcel, Posted, Raw, Reaper, Run},
};

/// The segments that this side's links were opened with, in that order.
pub(crate) type Segments = Arc<Mutex<Vec<(Class, File)>>>;

pub(crate) struct Tapped {
    inner: Arc<dyn Domain>,
    segments: Segments,
}

impl Tapped {
    pub(crate) fn open() -> (Arc<dyn Domain>, Segments) {
        let segments = Segments::default();
        let inner = pegaflow_shm::open(&pegaflow_shm::ShmConfig::default()).unwrap();
        (Arc::new(Self { inner, segments: Arc::clone(&segments) }), segments)
    }
}

impl Domain for Tapped {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    unsafe fn register(&self, memory: &Memory<'_>) -> Result<LocalKey, BackendError> {
        // SAFETY: the caller's word, passed on.
        unsafe { self.inner.register(memory) }
    }

    fn deregister(&self, key: LocalKey) -> Result<(), BackendError> {
        self.inner.deregister(key)
    }

    fn export(&self, key: LocalKey) -> Result<Parcel, BackendError> {
        self.inner.export(key)
    }

    fn import(&self, parcel: Parcel, bytes: u64) -> Result<Imported, BackendError> {
        self.inner.import(parcel, bytes)
    }

    fn engine(&self, reaper: &Reaper) -> Result<Box<dyn Engine>, BackendError> {
        Ok(Box::new(TappedEngine { inner: self.inner.engine(reaper)?, segments: Arc::clone(&self.segments) }))
    }
}

struct TappedEngine {
    inner: Box<dyn Engine>,
    segments: Segments,
}

impl Engine for TappedEngine {
    fn open(&mut self, link: Link, class: Class, bounds: &Bounds) -> Result<Parcel, BackendError> {
        let parcel = self.inner.open(link, class, bounds)?;
        let file = File::from(parcel.files[0].try_clone().unwrap());
        self.segments.lock().unwrap().push((class, file));
        Ok(parcel)
    }

    fn join(&mut self, link: Link, parcel: Parcel, bounds: &Bounds) -> Result<(), BackendError> {
        self.inner.join(link, parcel, bounds)
    }

    fn counters(&self, link: Link) -> Option<CounterTable> {
        self.inner.counters(link)
    }

    unsafe fn post(&mut self, link: Link, run: &mut Run<'_>) -> Posted {
        // SAFETY: the caller's word, passed on.
        unsafe { self.inner.post(link, run) }
    }

    fn poll(&mut self, raw: &mut [Raw]) -> usize {
        self.inner.poll(raw)
    }

    fn message(&self, link: Link, slot: u32, bytes: u32) -> &[u8] {
        self.inner.message(link, slot, bytes)
    }

    fn release(&mut self, link: Link, slot: u32) {
        self.inner.release(link, slot);
    }

    fn arm(&mut self) -> Armed {
        self.inner.arm()
    }

    fn disarm(&mut self) {
        self.inner.disarm();
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.inner.fd()
    }

    fn close(&mut self, link: Link) {
        self.inner.close(link);
    }

    fn forget(&mut self, link: Link) {
        self.inner.forget(link);
    }
}
