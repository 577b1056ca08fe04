//! What Pegaflow is measured against, and how figures are made of measurements.

mod counters;
mod lists;
pub mod stats;
mod sys;

pub use counters::PortCounters;
pub use lists::scattered;
pub use sys::memcpy;
