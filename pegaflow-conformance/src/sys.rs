//! The few places that need `unsafe`, and what is asked of the system.

mod allocator;
mod foreign;
mod process;

pub(crate) use allocator::allocations;
pub(crate) use foreign::{lend, lend_as};
pub(crate) use process::{Child, in_a_child, start_child, start_shadow, take_place};

/// Limits the descriptors of this process to so many, or for 0 to those that are open; gives the limit before.
pub(crate) fn limit_descriptors(to: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // The lowest number that is free is the next one given: the limit stands at it.
    let next = || {
        let probe = std::fs::File::open("/dev/null").expect("a descriptor, so far");
        u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&probe)).expect("a number")
    };
    let current = Some(if to == 0 { next() } else { to });
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum }).expect("a limit below the hard one");
    limit.current.unwrap_or(u64::MAX)
}

/// Raises the soft limit of open descriptors to the hard one: a channel holds a few.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where it fails the cases that need many say so themselves.
    let _ = setrlimit(Resource::Nofile, raised);
}
