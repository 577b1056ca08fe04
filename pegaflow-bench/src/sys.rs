//! Where raw memory is touched.

pub mod memcpy;
