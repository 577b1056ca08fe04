//! What Pegaflow is measured against, and how figures are made of measurements.

mod lists;
pub mod memcpy;
pub mod stats;

pub use lists::scattered;
