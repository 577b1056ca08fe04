//! Pegaflow's front door: a config file in, a connected node out.
//!
//! - [`Session`] opens the backend that the config names and brings up its channels; everything after that is
//!   [`pegaflow_core`]'s contract, re-exported here.
//! - [`config`] is the typed TOML file: which backend, which nodes, which channels, and every bound with its default.
//!   [`config::Config::effective`] lists each value with where it came from.
//! - [`rendezvous`] is where nodes exchange the few bytes they need to find each other: a board per node, over TCP,
//!   used while things are set up and never on the data path.
//! - [`Waiter`] waits for events: spin, then sleep.
#![forbid(unsafe_code)]

pub mod config;
mod error;
#[cfg(feature = "metrics")]
mod figures;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod rendezvous;
mod session;
mod transport;
mod wait;

pub use error::Error;
pub use pegaflow_core as core;
pub use pegaflow_core::*;
#[cfg(feature = "metrics")]
pub use pegaflow_metrics as metrics;
pub use session::Session;
pub use transport::built;
#[cfg(feature = "rdma")]
pub use transport::{ChosenRail, rdma_rail};
pub use wait::Waiter;
