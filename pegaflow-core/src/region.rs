//! Regions: memory that is allocated and registered ahead, and stays as long as anything may touch it.

mod mapping;

use std::{
    fmt,
    mem::ManuallyDrop,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

pub(crate) use mapping::Mapping;

use crate::{
    MemoryError,
    backend::{Domain, LocalKey, Memory},
    fork::Origin,
    node::control::ConnectionId,
    upkeep::{Quarantined, Upkeep},
};

/// Where memory lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Memory of the host.
    Host,
    /// Memory of an accelerator: core never touches its bytes.
    Device {
        /// The device's number as its driver counts.
        ordinal: u32,
    },
}

/// Size of the pages under an owned region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PageSize {
    /// The system's base pages (4 KiB on x86-64).
    #[default]
    Base,
    /// 2 MiB pages from the system's pool (`vm.nr_hugepages`).
    Huge2MiB,
    /// 1 GiB pages from the system's pool.
    Huge1GiB,
}

impl PageSize {
    /// Bytes of one page.
    #[must_use]
    pub fn bytes(self) -> u64 {
        match self {
            Self::Base => rustix::param::page_size() as u64,
            Self::Huge2MiB => 2 << 20,
            Self::Huge1GiB => 1 << 30,
        }
    }
}

/// How `Node::allocate` makes memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllocateOptions {
    /// Page size; the region's length is rounded up to whole pages inside, and stays as asked outside.
    pub page: PageSize,
    /// Touch every page now, so that no page fault comes later. Costs the time to zero the region.
    pub touch: bool,
}

/// A handle to registered memory of this node. Clones are handles to the same memory.
///
/// The memory goes when the last handle is dropped **and** nothing else holds it: plans, transfers that are not quiet,
/// live grants, and channels whose peer has imported a grant over it all do. Then the node's reaper deregisters and unmaps
/// it, in its own time.
#[derive(Clone)]
pub struct Region(pub(crate) Arc<RegionInner>);

impl Region {
    /// Its length in bytes, as asked.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.mapping.bytes()
    }

    /// Its first byte. A peer may write the memory at any time between a grant and its revoke, so no reference into
    /// it is ever handed out: use volatile or atomic accesses, or bytes whose transfer has ended. A child of a fork does
    /// not have memory that Pegaflow allocated: there is nothing at that address, or something else.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.mapping.base()
    }

    /// Copies bytes into the region.
    ///
    /// # Errors
    /// [`MemoryError::BeyondRegion`] where the range leaves the region; [`MemoryError::Refused`] for memory of an
    /// accelerator, whose bytes this process can't touch; [`ApiMisuse::Forked`](crate::ApiMisuse::Forked) in a child of a
    /// fork.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        self.check(offset, bytes.len() as u64)?;
        self.0.mapping.write(offset, bytes);
        Ok(())
    }

    /// Copies bytes out of the region.
    ///
    /// # Errors
    /// As [`Region::write`].
    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        self.check(offset, bytes.len() as u64)?;
        self.0.mapping.read(offset, bytes);
        Ok(())
    }

    fn check(&self, offset: u64, length: u64) -> Result<(), MemoryError> {
        self.0.origin.check()?;
        if let Kind::Device { ordinal } = self.0.kind {
            let backend = self.0.domain.capabilities().backend;
            let why = format!("the bytes lie in device {ordinal}: copy them with its own library");
            return Err(MemoryError::Refused { backend, why });
        }
        let end = offset.saturating_add(length);
        check_range(&(offset..end), self.bytes())
    }

    pub(crate) fn same_node(&self, domain: &Arc<dyn Domain>) -> bool {
        Arc::ptr_eq(&self.0.domain, domain)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({:p}, {} bytes)", self.as_ptr(), self.bytes())
    }
}

pub(crate) fn check_range(range: &Range<u64>, bytes: u64) -> Result<(), MemoryError> {
    if range.start <= range.end && range.end <= bytes {
        Ok(())
    } else {
        Err(MemoryError::BeyondRegion { start: range.start, end: range.end, bytes })
    }
}

/// Registered memory. Its last owner has the reaper deregister, then unmap, in that order.
pub(crate) struct RegionInner {
    pub(crate) key: LocalKey,
    origin: Origin,
    kind: Kind,
    domain: Arc<dyn Domain>,
    upkeep: Arc<Upkeep>,
    /// Taken once, by the drop.
    mapping: ManuallyDrop<Mapping>,
    /// Connections whose peers have imported it, one entry for each grant.
    importers: Mutex<Vec<ConnectionId>>,
}

impl RegionInner {
    /// Registers `mapping` with the domain.
    pub(crate) fn register(
        domain: &Arc<dyn Domain>,
        upkeep: &Arc<Upkeep>,
        mapping: Mapping,
        kind: Kind,
    ) -> Result<Region, MemoryError> {
        let register = |memory: &Memory<'_>| {
            // SAFETY: the mapping lives in the region that is made of it, which deregisters before it lets go.
            unsafe { domain.register(memory) }
        };
        let key = mapping.describe(kind, register)?;
        upkeep.registered(mapping.bytes());
        Ok(Region(Arc::new(Self {
            key,
            origin: Origin::here(),
            kind,
            domain: Arc::clone(domain),
            upkeep: Arc::clone(upkeep),
            mapping: ManuallyDrop::new(mapping),
            importers: Mutex::default(),
        })))
    }

    pub(crate) fn base(&self) -> u64 {
        self.mapping.base() as u64
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.mapping.bytes()
    }

    /// The sum of some of its bytes as they are now; `None` where they lie outside, or in an accelerator.
    pub(crate) fn sum(&self, offset: u64, bytes: u64) -> Option<u32> {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.bytes());
        (inside && self.kind == Kind::Host).then(|| self.mapping.sum(offset, bytes))
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a peer at the end of another connection has imported it.
    pub(crate) fn has_other_importers(&self, than: ConnectionId) -> bool {
        self.importers().iter().any(|one| *one != than)
    }

    /// Puts fresh zeroed memory in the place of what is there, at the same address: whoever has mapped the old keeps it for
    /// himself.
    pub(crate) fn swap(&self) -> Result<(), MemoryError> {
        let swap = |memory: &Memory<'_>| {
            // SAFETY: the fresh memory lies in the mapping from here on, which lives as long as the registration.
            unsafe { self.domain.swap(self.key, memory) }
        };
        self.mapping.swap(self.kind, swap)
    }

    fn importers(&self) -> std::sync::MutexGuard<'_, Vec<ConnectionId>> {
        self.importers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RegionInner {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            // The registration is the parent's, and so is the memory, or it is somebody else's by now.
            return;
        }
        // SAFETY: taken once, here; nobody reaches it after this value.
        let mapping = ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut self.mapping) });
        let (domain, key, upkeep) = (Arc::clone(&self.domain), self.key, Arc::clone(&self.upkeep));
        self.upkeep.reaper.take(move || match domain.deregister(key) {
            Ok(()) => {
                upkeep.deregistered(mapping.bytes());
                drop(ManuallyDrop::into_inner(mapping));
            }
            Err(error) => {
                let bytes = mapping.bytes();
                upkeep.keep(Quarantined { regions: 1, bytes });
                tracing::error!(%error, bytes, "memory is kept for good: it can't be proven that nothing touches it");
            }
        });
    }
}

/// A peer's import of a region, over one connection and by one grant: it keeps the region.
pub(crate) struct Imported {
    pub(crate) region: Arc<RegionInner>,
    pub(crate) epoch: u64,
    /// Which of the grant's regions it is.
    pub(crate) place: usize,
    connection: ConnectionId,
}

impl Imported {
    pub(crate) fn new(region: Arc<RegionInner>, (epoch, place): (u64, usize), connection: ConnectionId) -> Self {
        region.importers().push(connection);
        Self { region, epoch, place, connection }
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        let mut importers = self.region.importers();
        if let Some(at) = importers.iter().position(|one| *one == self.connection) {
            importers.swap_remove(at);
        }
    }
}
