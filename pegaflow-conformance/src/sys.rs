//! The few places that need `unsafe`, and what is asked of the system.

mod allocator;
mod foreign;
mod process;

pub(crate) use allocator::allocations;
pub(crate) use foreign::{lend, lend_as};
pub(crate) use process::{Child, in_a_child, start_child, start_shadow, take_place};

/// Limits the descriptors of this process to so many, or below 64 to so many more than are open; gives the limit before.
pub(crate) fn limit_descriptors(to: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // The lowest number that is free is the next one given: the limit stands at it.
    let next = || {
        let probe = std::fs::File::open("/dev/null").expect("a descriptor, so far");
        u64::try_from(std::os::fd::AsRawFd::as_raw_fd(&probe)).expect("a number")
    };
    let current = Some(if to < 64 { next() + to } else { to });
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum }).expect("a limit below the hard one");
    limit.current.unwrap_or(u64::MAX)
}

/// Limits the address space of this process to so much beyond what it has, or to nothing.
pub(crate) fn limit_memory(beyond: Option<u64>) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::As).maximum;
    let has = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("of this process");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().strip_suffix(" kB"));
        1024 * kib.expect("a process with memory").parse::<u64>().expect("a number")
    };
    let current = beyond.map(|beyond| has() + beyond).or(maximum);
    setrlimit(Resource::As, Rlimit { current, maximum }).expect("a limit below the hard one");
}

/// The processor's time of this process, in user and kernel. Wants no descriptor.
pub(crate) fn processor_time_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec * 1000 + time.tv_nsec / 1_000_000).expect("it grows from 0")
}

/// Raises the soft limit of open descriptors to the hard one: a channel holds a few.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Where it fails the cases that need many say so themselves.
    let _ = setrlimit(Resource::Nofile, raised);
}
