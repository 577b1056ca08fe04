//! For tests and benches: the backend over the stand-in provider, which is no device, and its rival.

use std::sync::Arc;

use pegaflow_core::{BackendError, backend::Domain};

#[doc(hidden)]
pub use crate::sys::abi;
use crate::{
    RailConfig, RdmaConfig, backend,
    device::Rail,
    sys::{self, StandIn},
};

/// Opens the backend over the provider at `config.library`, be it the stand-in or a real one. Programs use
/// [`open`](crate::open), which refuses the stand-in.
///
/// # Errors
/// As [`open`](crate::open).
pub fn open(config: &RdmaConfig) -> Result<Arc<dyn Domain>, BackendError> {
    backend::open_with(config, StandIn::Allowed)
}

/// The rival: the least loop over verbs that writes scattered blocks, without Pegaflow. Chains, signalling and depth are
/// those of the config.
#[derive(Debug)]
pub struct RawLoop(sys::RawLoop);

impl RawLoop {
    /// Two queue pairs of one device, connected to each other, with `bytes` bytes on either side.
    ///
    /// # Errors
    /// As [`open`](crate::open).
    pub fn new(config: &RdmaConfig, bytes: usize) -> Result<Self, BackendError> {
        let verbs = sys::load(config.library.as_deref(), StandIn::Allowed)?;
        let rail = Rail::open(verbs, config.rails.first().unwrap_or(&RailConfig::default()))?;
        sys::RawLoop::new(config, &rail, bytes).map(Self)
    }

    /// Writes block `here[i]` to block `there[i]` for every `i`, each `block_bytes` long, blocks `stride` bytes apart,
    /// and waits for the last completion.
    ///
    /// # Errors
    /// A device that refuses a request, or fails one.
    pub fn write(&mut self, here: &[u32], there: &[u32], block_bytes: u32, stride: u64) -> Result<(), BackendError> {
        self.0.write(here, there, block_bytes, stride)
    }
}
