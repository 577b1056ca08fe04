//! For tests and for counting instructions: the backend over the stand-in provider, which is no device.

use std::sync::Arc;

use pegaflow_core::{BackendError, backend::Domain};

#[doc(hidden)]
pub use crate::sys::abi;
use crate::{RdmaConfig, backend, sys::StandIn};

/// Opens the backend over the provider at `config.library`, be it the stand-in or a real one. Programs use
/// [`open`](crate::open), which refuses the stand-in.
///
/// # Errors
/// As [`open`](crate::open).
pub fn open(config: &RdmaConfig) -> Result<Arc<dyn Domain>, BackendError> {
    backend::open_with(config, StandIn::Allowed)
}
