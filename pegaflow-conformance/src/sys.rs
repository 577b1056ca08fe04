//! The few places that need `unsafe`, and what is asked of the system.

mod allocator;
mod foreign;
mod process;

pub(crate) use allocator::allocations;
pub(crate) use foreign::{lend, lend_as};
pub(crate) use process::{Child, in_a_child, start_child, start_shadow, take_place};

/// Raises the soft limit of open descriptors to the hard one: a channel holds a few.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where it fails the cases that need many say so themselves.
    let _ = setrlimit(Resource::Nofile, raised);
}
