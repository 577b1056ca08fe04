//! Figures of two nodes over shared memory, as their ports count them, as they are exported, and as they are documented.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "figures/documented.rs"]
mod documented;
#[path = "figures/exact.rs"]
mod exact;
#[path = "figures/exporter.rs"]
mod exporter;
#[path = "figures/two_nodes.rs"]
mod two_nodes;
