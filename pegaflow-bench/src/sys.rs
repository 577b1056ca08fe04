//! Where raw memory is touched.

pub mod memcpy;
pub mod stream;
