//! Pegaflow's C bindings: the front door's and the port's calls over a C ABI, as `include/pegaflow.h` shows them.
//!
//! The names are those of the header, so that one search finds both. A call checks what can be checked of its
//! pointers, does one call of the library, and gives a status; a panic ends at the boundary as `PF_PANIC`.
#![expect(non_camel_case_types, reason = "the names are those of the header")]

mod ffi;
mod status;
mod twins;

pub use ffi::*;
pub use status::pf_status;
pub use twins::*;
