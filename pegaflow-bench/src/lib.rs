//! What Pegaflow is measured against, and how figures are made of measurements.

mod counters;
mod lists;
pub mod program;
mod record;
pub mod stats;
mod sys;

pub use counters::PortCounters;
pub use lists::{Shuffle, scattered};
pub use record::Record;
pub use sys::{memcpy, stream};
