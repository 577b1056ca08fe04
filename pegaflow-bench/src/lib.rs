//! What Pegaflow is measured against, and how figures are made of measurements.

mod counters;
mod lists;
mod record;
pub mod stats;
mod sys;

pub use counters::PortCounters;
pub use lists::scattered;
pub use record::Record;
pub use sys::memcpy;
