//! How this backend's failures are told.

use std::io;

use pegaflow_core::BackendError;

/// The backend's name.
pub(crate) const NAME: &str = "shm";

/// A system call that failed.
pub(crate) fn failed(call: &'static str) -> impl Fn(io::Error) -> BackendError {
    move |source| BackendError {
        backend: NAME,
        message: format!("{call} failed: {source}"),
        source: Some(Box::new(source)),
    }
}
