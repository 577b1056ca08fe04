//! Pegaflow between processes of one host: regions in memfds that peers map, rings and counters in shared segments,
//! and copies by the processor of whoever submits. No library, no NIC, no root.
//!
//! Progress is the caller's: bytes are copied inside [`Port::poll`](pegaflow_core::Port::poll), at most
//! [`ShmConfig::copy_chunk_bytes`] a channel and call. The peer need not do anything for a write, a read or a count
//! to complete.

mod backend;
mod channel;
mod config;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod progress;
mod region;
mod sys;

pub use backend::open;
pub use config::{BadChunk, ShmConfig};
