//! Every raw access of this backend: mappings of files, the shared segment of a link, the copy.

mod copy;
mod mapped;
mod segment;

pub(crate) use copy::copy;
pub(crate) use mapped::Mapped;
pub(crate) use segment::{Segment, Shape};
