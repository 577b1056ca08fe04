//! Pegaflow over verbs: **not built yet**. This crate holds the backend's place, with its config, and says so when it is
//! opened; nothing is pretended.
#![forbid(unsafe_code)]

mod config;

use std::sync::Arc;

use pegaflow_core::{BackendError, backend::Domain};

pub use config::{BadValue, RailConfig, RdmaConfig, ServiceConfig};

/// Opens the backend.
///
/// # Errors
/// Always: it is not built yet.
pub fn open(_config: &RdmaConfig) -> Result<Arc<dyn Domain>, BackendError> {
    Err(BackendError::new(
        "rdma",
        "not built yet: this version has no path over verbs; use `shm`, for two processes of one host",
    ))
}

#[cfg(test)]
mod tests {
    use super::RdmaConfig;

    #[test]
    fn it_says_that_it_is_not_built_yet() {
        let error = super::open(&RdmaConfig::default()).err().unwrap();
        assert_eq!(error.backend, "rdma");
        assert!(error.to_string().contains("not built yet"), "{error}");
    }

    #[test]
    fn defaults_are_in_range() {
        assert_eq!(RdmaConfig::default().check(), Ok(()));
    }
}
