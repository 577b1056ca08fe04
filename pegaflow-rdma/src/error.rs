//! How this backend's failures are told.

use std::io;

use pegaflow_core::BackendError;

/// The backend's name.
pub(crate) const NAME: &str = "rdma";

/// A call that failed, and what to do about it.
pub(crate) fn failed_so(call: &str, source: io::Error, remedy: impl std::fmt::Display) -> BackendError {
    BackendError { backend: NAME, message: format!("{call}: {source}; {remedy}"), source: Some(Box::new(source)) }
}

/// A call that failed, with what it was about.
pub(crate) fn failed(call: &str, what: impl std::fmt::Display, source: io::Error) -> BackendError {
    BackendError { backend: NAME, message: format!("{call} {what}: {source}"), source: Some(Box::new(source)) }
}
