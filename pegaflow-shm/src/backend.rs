//! The domain: capabilities, and memory as peers of one host can reach it.

use std::sync::Arc;

use pegaflow_core::{
    BackendError, Capabilities, ForeignMemory, Kind,
    backend::{Domain, Engine, Imported, LocalKey, Memory, Origin, Parcel, Reaper},
};

use crate::{ShmConfig, error::NAME, progress::ShmEngine, region::Registrations};

/// Most channels of one port.
const MAX_CHANNELS: u16 = 256;

/// Opens the backend.
///
/// # Errors
/// A config value out of range.
pub fn open(config: &ShmConfig) -> Result<Arc<dyn Domain>, BackendError> {
    config.check().map_err(|error| BackendError::new(NAME, error.to_string()))?;
    let (origin, registrations) = (Origin::here(), Registrations::default());
    Ok(Arc::new(ShmDomain { capabilities: CAPABILITIES, origin, config: *config, registrations }))
}

const CAPABILITIES: Capabilities = Capabilities {
    write: true,
    read: true,
    foreign_memory: ForeignMemory::LocalSide,
    copies_in_poll: true,
    maps_peer_memory: true,
    // A peer's processor may be in the middle of a copy: it can't be shut out, only left with pages of his own.
    fence_is_proof: false,
    revoke_swap: true,
    max_channels: MAX_CHANNELS,
    max_message_bytes: 65_536,
    max_counters: 1 << 20,
    ..Capabilities::none(NAME)
};

struct ShmDomain {
    capabilities: Capabilities,
    origin: Origin,
    config: ShmConfig,
    registrations: Registrations,
}

impl Domain for ShmDomain {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn origin(&self) -> Option<Origin> {
        Some(self.origin)
    }

    unsafe fn register(&self, memory: &Memory<'_>) -> Result<LocalKey, BackendError> {
        match memory.kind {
            Kind::Host => self.registrations.enter(memory.file),
            Kind::Device { ordinal } => {
                Err(BackendError::new(NAME, format!("memory of device {ordinal} can't be shared between processes")))
            }
        }
    }

    fn deregister(&self, key: LocalKey) -> Result<(), BackendError> {
        self.registrations.remove(key);
        Ok(())
    }

    fn export(&self, key: LocalKey) -> Result<Parcel, BackendError> {
        self.registrations.export(key)
    }

    fn import(&self, parcel: Parcel, bytes: u64) -> Result<Imported, BackendError> {
        crate::region::import(parcel, bytes)
    }

    unsafe fn swap(&self, key: LocalKey, memory: &Memory<'_>) -> Result<(), BackendError> {
        self.registrations.swap(key, memory.file)
    }

    fn engine(&self, _reaper: &Reaper) -> Result<Box<dyn Engine>, BackendError> {
        Ok(Box::new(ShmEngine::new(MAX_CHANNELS, self.config.copy_chunk_bytes)?))
    }
}
