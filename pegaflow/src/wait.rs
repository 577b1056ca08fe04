//! Waiting for events: spin a while, then sleep on the port's descriptor.

use std::time::{Duration, Instant};

use pegaflow_core::{Armed, Event, Port};
use rustix::event::{PollFd, PollFlags, Timespec};

/// How a blocking wait waits: `[wait]` of the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiter {
    /// How long it polls before it sleeps.
    pub spin: Duration,
}

impl Waiter {
    /// Polls until there is an event or `until` has come; gives how many events, 0 at the end of the time. It burns
    /// the processor for `spin`, then none: waking costs one system call, and so does sleeping.
    pub fn wait(&self, port: &mut dyn Port, events: &mut [Event], until: Instant) -> usize {
        let mut spin_until = None;
        loop {
            let count = port.poll(events);
            if count > 0 {
                return count;
            }
            let now = Instant::now();
            if now >= until {
                return 0;
            }
            if now < *spin_until.get_or_insert(now + self.spin) {
                std::hint::spin_loop();
            } else if sleep(port, until) {
                spin_until = None;
            }
        }
    }
}

/// Sleeps until the port has something, or `until`. Gives whether it slept.
pub(crate) fn sleep(port: &mut dyn Port, until: Instant) -> bool {
    let Armed::Sleep { until: due } = port.arm() else {
        return false;
    };
    let until = due.map_or(until, |due| due.min(until));
    let left = until.saturating_duration_since(Instant::now());
    // A time too long for the kernel's type is as good as for ever.
    let left = Timespec::try_from(left).ok();
    // An error (a signal) is a wake-up like any other: the caller polls.
    let _ = rustix::event::poll(&mut [PollFd::new(&port.fd(), PollFlags::IN)], left.as_ref());
    true
}
