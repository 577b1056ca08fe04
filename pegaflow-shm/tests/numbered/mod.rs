//! Shared memory whose nodes meet over TCP: the backend itself, with descriptors sent as numbers that the peer's process
//! takes them by (`pidfd_getfd`). For tests of meeting without a network card; on one host only, all the same.

#![allow(dead_code, reason = "two test binaries share this file, and neither needs all of it")]

use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex},
};

use pegaflow_core::{
    Armed, BackendError, Bounds, Capabilities, Class, CounterTable, DeviceEvent, Link, Meets,
    backend::{Domain, Engine, Imported, LocalKey, Memory, Parcel, Posted, Raw, Reaper, Run},
};
use rustix::process::{PTracer, Pid, PidfdFlags, PidfdGetfdFlags};

pub(crate) const NAME: &str = "shm-over-tcp";

/// The backend, where this system lets one process take another's descriptor.
pub(crate) fn open() -> Result<Arc<dyn Domain>, BackendError> {
    // The agent of the suite takes from its parent; refused where there is no Yama, which would have to allow it.
    let _ = rustix::process::set_ptracer(PTracer::Any);
    let null = std::fs::File::open("/dev/null").expect("/dev/null");
    let kept = Kept::default();
    kept.take(kept.number(Parcel { bytes: Vec::new(), files: vec![null.into()] }))?;
    Ok(lenient())
}

/// The backend, wherever: its channels can't be joined where a process may not take another's descriptor.
pub(crate) fn lenient() -> Arc<dyn Domain> {
    Arc::new(Numbered::with(|parcel, kept| kept.number(parcel)))
}

/// The backend as it would be if it had not read the contract: its parcels have descriptors over TCP too.
pub(crate) fn stubborn() -> Arc<dyn Domain> {
    Arc::new(Numbered::with(|parcel, _| parcel))
}

/// The backend, with a device that speaks by `events`.
pub(crate) fn speaking(
    events: OwnedFd,
    attend: impl Fn(BorrowedFd<'_>, &mut dyn FnMut(u8, DeviceEvent)) + Send + Sync + 'static,
) -> Arc<dyn Domain> {
    Arc::new(Numbered { device: Some((events, Box::new(attend))), ..Numbered::with(|parcel, _| parcel) })
}

/// Descriptors that are on their way by number; the last so many are kept.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<OwnedFd>>>);

impl Kept {
    fn number(&self, Parcel { mut bytes, files }: Parcel) -> Parcel {
        assert!(bytes.is_empty(), "this backend says all by descriptors");
        bytes.extend(std::process::id().to_le_bytes());
        for file in files {
            bytes.extend(file.as_raw_fd().to_le_bytes());
            let mut kept = self.0.lock().expect("no panic under it");
            kept.push(file);
            // More than are on their way at once.
            if kept.len() > 36 {
                kept.remove(0);
            }
        }
        Parcel { bytes, files: Vec::new() }
    }

    fn take(&self, Parcel { bytes, files }: Parcel) -> Result<Parcel, BackendError> {
        assert!(files.is_empty(), "descriptors came over TCP");
        let failed = |what: &str| BackendError::new(NAME, format!("{what}: {bytes:?}"));
        let numbers = bytes.chunks_exact(4).map(|four| i32::from_le_bytes(four.try_into().expect("four")));
        // Of a negative one rustix would make a panic.
        let mut numbers = numbers.map(|number| number.max(0));
        let pid = numbers.next().and_then(Pid::from_raw).ok_or_else(|| failed("no process"))?;
        let refused =
            |call: &str, errno: rustix::io::Errno| failed(&format!("{call}: {:?}", std::io::Error::from(errno)));
        let process =
            rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| refused("pidfd_open", errno))?;
        let take = |number| rustix::process::pidfd_getfd(&process, number, PidfdGetfdFlags::empty());
        let files = numbers.map(take).collect::<Result<_, _>>().map_err(|errno| refused("pidfd_getfd", errno))?;
        Ok(Parcel { bytes: Vec::new(), files })
    }
}

type Attend = Box<dyn Fn(BorrowedFd<'_>, &mut dyn FnMut(u8, DeviceEvent)) + Send + Sync>;
type Way = fn(Parcel, &Kept) -> Parcel;

struct Numbered {
    inner: Arc<dyn Domain>,
    capabilities: Capabilities,
    kept: Kept,
    send: Way,
    device: Option<(OwnedFd, Attend)>,
}

impl Numbered {
    fn with(send: Way) -> Self {
        let inner = pegaflow_shm::open(&pegaflow_shm::ShmConfig::default()).expect("shared memory");
        let capabilities = Capabilities { backend: NAME, meets: Meets::AnyHost, ..inner.capabilities().clone() };
        Self { inner, capabilities, kept: Kept::default(), send, device: None }
    }
}

impl Domain for Numbered {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    unsafe fn register(&self, memory: &Memory<'_>) -> Result<LocalKey, BackendError> {
        // SAFETY: the caller's word, passed on.
        unsafe { self.inner.register(memory) }
    }

    fn deregister(&self, key: LocalKey) -> Result<(), BackendError> {
        self.inner.deregister(key)
    }

    fn export(&self, key: LocalKey) -> Result<Parcel, BackendError> {
        self.inner.export(key).map(|parcel| (self.send)(parcel, &self.kept))
    }

    fn import(&self, parcel: Parcel, bytes: u64) -> Result<Imported, BackendError> {
        self.inner.import(self.kept.take(parcel)?, bytes)
    }

    unsafe fn swap(&self, key: LocalKey, memory: &Memory<'_>) -> Result<(), BackendError> {
        // SAFETY: the caller's word, passed on.
        unsafe { self.inner.swap(key, memory) }
    }

    fn engine(&self, reaper: &Reaper) -> Result<Box<dyn Engine>, BackendError> {
        Ok(Box::new(NumberedEngine { inner: self.inner.engine(reaper)?, kept: self.kept.clone(), send: self.send }))
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        self.device.as_ref().map(|(events, _)| events.as_fd())
    }

    fn attend(&self, tell: &mut dyn FnMut(u8, DeviceEvent)) {
        if let Some((events, attend)) = &self.device {
            attend(events.as_fd(), tell);
        }
    }
}

struct NumberedEngine {
    inner: Box<dyn Engine>,
    kept: Kept,
    send: Way,
}

impl Engine for NumberedEngine {
    fn open(&mut self, link: Link, class: Class, bounds: &Bounds) -> Result<Parcel, BackendError> {
        self.inner.open(link, class, bounds).map(|parcel| (self.send)(parcel, &self.kept))
    }

    fn join(&mut self, link: Link, parcel: Parcel, bounds: &Bounds) -> Result<(), BackendError> {
        self.inner.join(link, self.kept.take(parcel)?, bounds)
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
