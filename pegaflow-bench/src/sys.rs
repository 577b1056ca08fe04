//! Where raw memory is touched, and a child is spoken to before it is another program.

pub(crate) mod child;
pub mod memcpy;
pub mod stream;
