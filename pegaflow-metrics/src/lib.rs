//! Pegaflow's figures: a recorder on core's events, the figures of a node, and an exporter.
//!
//! A [`Recorder`] is the subscriber of one port and lives on that port's thread: no lock, no locked instruction, and no
//! allocation while data moves. [`Metrics`] are the figures of a node over all its recorders, for any thread to read as a
//! [`Snapshot`]. An [`Exporter`] serves them over HTTP, to Prometheus and as JSON. [`METRICS`] is the table of every figure;
//! [`documentation`] has it with examples, and what the figures cost.
#![forbid(unsafe_code)]

mod catalogue;
mod exporter;
mod histogram;
mod metrics;
mod open_metrics;
mod recorder;
mod series;
mod snapshot;

#[doc = include_str!("../../docs/metrics.md")]
pub mod documentation {}

pub use catalogue::{METRICS, Metric, MetricKind};
pub use exporter::{CONNECTION_LIMIT, Exporter, MOST_CONNECTIONS};
pub use histogram::Times;
pub use metrics::Metrics;
pub use recorder::Recorder;
pub use snapshot::{Sample, Snapshot, Value};
