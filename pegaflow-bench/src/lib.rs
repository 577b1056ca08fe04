//! What Pegaflow is measured against, and how figures are made of measurements.

mod lists;
pub mod stats;
mod sys;

pub use lists::scattered;
pub use sys::memcpy;
