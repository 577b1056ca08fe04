//! The calls, and the one room in which pointers from C are followed.

mod memory;
mod node;
mod plan;
mod port;
mod raw;

use std::{
    ffi::{CString, c_char},
    time::{Duration, Instant},
};

pub use memory::*;
pub use node::*;
pub use plan::*;
pub use port::*;

use crate::status;

/// The text of this thread's last failure, in UTF-8 and NUL-terminated; empty where nothing has failed. It is good
/// until the next failure in this thread, and is not freed.
#[unsafe(no_mangle)]
pub extern "C" fn pf_last_error() -> *const c_char {
    status::last(|text: &CString| text.as_ptr()).unwrap_or(c"".as_ptr())
}

/// Nanoseconds of CLOCK_MONOTONIC now, to make deadlines of.
#[unsafe(no_mangle)]
pub extern "C" fn pf_now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds * 1_000_000_000 + nanos
}

/// A deadline of C's as the contract has it. Both clocks are read: an `Instant` can't be made of a number.
fn instant(deadline_ns: u64) -> Instant {
    Instant::now() + Duration::from_nanos(deadline_ns.saturating_sub(pf_now_ns()))
}

/// The way back, for a time to sleep until.
fn nanoseconds(until: Instant) -> u64 {
    let left = until.saturating_duration_since(Instant::now());
    pf_now_ns().saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX))
}
