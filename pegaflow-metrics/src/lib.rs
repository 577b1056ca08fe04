//! Pegaflow's figures: a recorder on core's events, and snapshots of it.
//!
//! A [`Recorder`] is the subscriber of one port and lives on that port's thread: no lock, no atomic, and after it is
//! made no allocation. A [`Snapshot`] is plain data, to be shown or serialised.
#![forbid(unsafe_code)]

mod recorder;
mod snapshot;

pub use hdrhistogram::Histogram;
pub use recorder::Recorder;
pub use snapshot::{ClassFigures, Failures, Latency, Snapshot};
