//! What a device said, on its way to every port that is on it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, Weak},
};

use super::{inbox::Inbox, registry::lock};
use crate::{DeviceEvent, backend::Domain};

/// Most events that wait for a port which does not poll. A device has few kinds; what has no name could be many.
const MAX_WAITING: usize = 64;

/// One event, and the rail that it is about.
pub(crate) type News = (u8, DeviceEvent);

/// What waits for one port: each event once, in the order in which each happened last. So a port that looks late still
/// learns of every kind, and whether down or up came last.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    events: VecDeque<News>,
    /// Those that found no room since the last was taken.
    left_out: u64,
}

impl Waiting {
    /// Whether anything waits.
    pub(crate) fn any(&self) -> bool {
        !self.events.is_empty()
    }

    pub(crate) fn put(&mut self, news: News) {
        self.events.retain(|waiting| *waiting != news);
        if self.events.len() < MAX_WAITING {
            self.events.push_back(news);
        } else {
            self.left_out += 1;
        }
    }

    pub(crate) fn take(&mut self) -> Option<News> {
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            tracing::warn!(left_out, MAX_WAITING, "events of the device found no room while the port did not poll");
        }
        self.events.pop_front()
    }
}

/// The ports of this process, each with the domain of its node. A domain may have several nodes, and what it says is
/// taken by the control thread of whichever comes first: so he tells the others' ports too.
static PORTS: Mutex<Vec<(usize, Weak<Inbox>)>> = Mutex::new(Vec::new());

fn mark(domain: &Arc<dyn Domain>) -> usize {
    Arc::as_ptr(domain).addr()
}

/// From here on the port hears what its domain's device says, as long as it lives.
pub(crate) fn subscribe(domain: &Arc<dyn Domain>, inbox: &Arc<Inbox>) {
    let mut ports = lock(&PORTS);
    ports.retain(|(_, port)| port.strong_count() > 0);
    ports.push((mark(domain), Arc::downgrade(inbox)));
}

/// Takes what the domain has to say, and tells every port on it. One at a time: of two control threads one would take
/// *down*, the other *up*, and tell it first.
pub(crate) fn attend(domain: &Arc<dyn Domain>) {
    let ports = lock(&PORTS);
    domain.attend(&mut |rail, what| {
        for (_, port) in ports.iter().filter(|(of, _)| *of == mark(domain)) {
            if let Some(inbox) = port.upgrade() {
                inbox.tell((rail, what));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_waits_once_and_the_last_word_comes_last() {
        let mut waiting = Waiting::default();
        for _ in 0..1000 {
            for what in [DeviceEvent::PortDown, DeviceEvent::GidsChanged, DeviceEvent::PortUp, DeviceEvent::PortDown] {
                waiting.put((0, what));
            }
        }
        let all: Vec<_> = std::iter::from_fn(|| waiting.take()).collect();
        assert_eq!(all, [(0, DeviceEvent::GidsChanged), (0, DeviceEvent::PortUp), (0, DeviceEvent::PortDown)]);
    }

    #[test]
    fn a_flood_of_what_has_no_name_is_bounded_and_the_oldest_stay() {
        let mut waiting = Waiting::default();
        (0..10_000).for_each(|number| waiting.put((0, DeviceEvent::Other(number))));
        assert_eq!(waiting.left_out, 10_000 - 64);
        let all: Vec<_> = std::iter::from_fn(|| waiting.take()).collect();
        assert_eq!(all, (0..64).map(|number| (0, DeviceEvent::Other(number))).collect::<Vec<_>>());
        assert_eq!(waiting.left_out, 0, "told once");
    }
}
