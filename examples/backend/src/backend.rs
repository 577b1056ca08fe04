//! The domain: capabilities, and memory as peers in this process can reach it.

use std::sync::Arc;

use pegaflow_core::{
    BackendError, Capabilities, ForeignMemory, Kind,
    backend::{Domain, Engine, Imported, LocalKey, Memory, Parcel, Reaper},
};

use crate::{
    Fault, InprocConfig,
    error::{NAME, error},
    progress::InprocEngine,
    region,
    sys::MAX_LINKS,
};

/// Opens the backend.
///
/// # Errors
/// A config value out of range.
pub fn open(config: &InprocConfig) -> Result<Arc<dyn Domain>, BackendError> {
    open_broken(config, Fault::None)
}

/// Opens the backend with something broken, for tests of the conformance suite.
///
/// # Errors
/// As [`open`].
#[doc(hidden)]
pub fn open_broken(config: &InprocConfig, fault: Fault) -> Result<Arc<dyn Domain>, BackendError> {
    config.check()?;
    Ok(Arc::new(InprocDomain { config: *config, fault }))
}

const CAPABILITIES: Capabilities = Capabilities {
    write: true,
    read: true,
    foreign_memory: ForeignMemory::Whole,
    max_channels: MAX_LINKS,
    max_message_bytes: 65_536,
    max_counters: 1 << 20,
    // The rest is as little as can be: no device memory, no copies in `poll`, one lane, peers of this host.
    ..Capabilities::none(NAME)
};

struct InprocDomain {
    config: InprocConfig,
    fault: Fault,
}

impl Domain for InprocDomain {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    unsafe fn register(&self, memory: &Memory<'_>) -> Result<LocalKey, BackendError> {
        match memory.kind {
            Kind::Host => Ok(region::register(memory)),
            Kind::Device { ordinal } => Err(error(format!("memory of device {ordinal} can't be copied by a thread"))),
        }
    }

    fn deregister(&self, key: LocalKey) -> Result<(), BackendError> {
        region::deregister(key);
        Ok(())
    }

    fn export(&self, key: LocalKey) -> Result<Parcel, BackendError> {
        Ok(crate::error::named(key.0))
    }

    fn import(&self, parcel: Parcel, bytes: u64) -> Result<Imported, BackendError> {
        region::import(&parcel, bytes)
    }

    fn engine(&self, _reaper: &Reaper) -> Result<Box<dyn Engine>, BackendError> {
        Ok(Box::new(InprocEngine::new(self.config, self.fault)?))
    }
}
