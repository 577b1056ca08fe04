//! The engine: posts, polls, arms; one thread's links over one rail.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use pegaflow_core::{
    Armed, BackendError, Bounds, Class, CounterTable, Link as LinkId, Work,
    backend::{Engine, Parcel, Posted, Raw, Reaper, Run},
};
use rustix::{event::epoll, io::Errno};

use crate::{
    channel::{Link, Tools},
    device::Shared,
    error::{NAME, failed},
    sys::Channel,
    watch::Alarm,
};

/// Facts that `arm` may find: as many as it looks at.
const FOUND: usize = 64;

#[derive(Debug)]
pub(crate) struct RdmaEngine {
    links: Box<[Option<Link>]>,
    events: Arc<Channel>,
    /// Rung where the device says what no completion does.
    alarm: Arc<Alarm>,
    /// Over both.
    epoll: OwnedFd,
    shared: Arc<Shared>,
    reaper: Reaper,
    tools: Tools,
    /// Links that are joined, in the order in which they came.
    open: Vec<LinkId>,
    /// Links that are being taken down.
    closing: Vec<LinkId>,
    /// Which of `open` is looked at first.
    turn: usize,
    /// What `arm` found, for the next poll, and which of it waits: from where on, and how many.
    found: Box<[Raw; FOUND]>,
    waiting: (usize, usize),
}

impl RdmaEngine {
    pub(crate) fn new(shared: &Arc<Shared>, reaper: &Reaper) -> Result<Self, BackendError> {
        let most = shared.config.max_channels;
        let (events, alarm) = (Arc::new(Channel::new(&shared.rail.device)?), Arc::new(Alarm::new()?));
        let failed = |call: &'static str| move |errno: Errno| failed(call, "for an engine", errno.into());
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed("epoll_create"))?;
        for fd in [events.as_fd(), alarm.as_fd()] {
            let none = epoll::EventData::new_u64(0);
            epoll::add(&epoll, fd, none, epoll::EventFlags::IN).map_err(failed("epoll_ctl"))?;
        }
        Ok(Self {
            links: (0..most).map(|_| None).collect(),
            events,
            alarm,
            epoll,
            shared: Arc::clone(shared),
            reaper: reaper.clone(),
            tools: Tools::new(&shared.config),
            open: Vec::with_capacity(most.into()),
            closing: Vec::with_capacity(most.into()),
            turn: 0,
            found: Box::new([Raw::Credit { link: LinkId(0), messages: 0 }; FOUND]),
            waiting: (0, 0),
        })
    }

    fn link(&self, link: LinkId) -> Option<&Link> {
        self.links.get(link.index())?.as_ref()
    }

    /// Tells of the links that are down by now.
    fn take_closed(&mut self, raw: &mut [Raw]) -> usize {
        let (mut made, links) = (0, &mut self.links);
        self.closing.retain(|&link| {
            let Some(known) = links[link.index()].as_mut().filter(|_| made < raw.len()) else { return true };
            let Some(quiet) = known.is_down() else { return true };
            if !quiet {
                known.keep();
            }
            raw[made] = Raw::Closed { link, quiet };
            made += 1;
            false
        });
        made
    }
}

/// Looks at every open link, beginning with another each time.
fn gather(
    links: &mut [Option<Link>],
    tools: &mut Tools,
    (open, turn): (&[LinkId], &mut usize),
    raw: &mut [Raw],
) -> usize {
    let count = open.len();
    *turn = if *turn + 1 < count { *turn + 1 } else { 0 };
    let mut made = 0;
    for at in 0..count {
        if made == raw.len() {
            break;
        }
        let id = open[(*turn + at) % count];
        if let Some(link) = &mut links[id.index()] {
            made += link.poll(id, tools, &mut raw[made..]);
        }
    }
    made
}

impl Engine for RdmaEngine {
    fn open(&mut self, link: LinkId, class: Class, bounds: &Bounds) -> Result<Parcel, BackendError> {
        let Some(place) = self.links.get_mut(link.index()) else {
            return Err(BackendError::new(NAME, format!("link {} is beyond the table", link.0)));
        };
        let wakes = (&self.events, &self.alarm);
        let (made, parcel) = Link::open(&self.shared, wakes, &mut self.tools, (class, bounds))?;
        *place = Some(made);
        Ok(parcel)
    }

    fn join(&mut self, link: LinkId, parcel: Parcel, bounds: &Bounds) -> Result<(), BackendError> {
        match self.links.get_mut(link.index()) {
            Some(Some(known)) => known.join(&self.shared.rail, &parcel, bounds)?,
            _ => return Err(BackendError::new(NAME, format!("link {} was not opened", link.0))),
        }
        self.open.push(link);
        Ok(())
    }

    fn counters(&self, link: LinkId) -> Option<CounterTable> {
        self.link(link).map(Link::counters)
    }

    unsafe fn post(&mut self, link: LinkId, run: &mut Run<'_>) -> Posted {
        match self.links.get_mut(link.index()) {
            // SAFETY: the caller's word.
            Some(Some(known)) => unsafe { known.post(&mut self.tools, run) },
            _ => Posted::Part,
        }
    }

    fn poll(&mut self, raw: &mut [Raw]) -> usize {
        let (from, count) = self.waiting;
        let taken = count.min(raw.len());
        if taken > 0 {
            raw[..taken].copy_from_slice(&self.found[from..from + taken]);
            self.waiting = (from + taken, count - taken);
        }
        let taken = taken + self.take_closed(&mut raw[taken..]);
        taken + gather(&mut self.links, &mut self.tools, (&self.open, &mut self.turn), &mut raw[taken..])
    }

    fn message(&self, link: LinkId, slot: u32, bytes: u32) -> &[u8] {
        self.link(link).map_or(&[], |known| known.message(slot, bytes))
    }

    fn release(&mut self, link: LinkId, slot: u32) {
        if let Some(Some(known)) = self.links.get_mut(link.index()) {
            known.release(&mut self.tools, slot);
        }
    }

    fn arm(&mut self) -> Armed {
        let is_down = |link: &LinkId| self.links[link.index()].as_ref().is_some_and(|known| known.is_down().is_some());
        let mut idle = self.waiting.1 == 0 && !self.closing.iter().any(is_down);
        for id in &self.open {
            if let Some(link) = &mut self.links[id.index()] {
                idle &= link.arm();
            }
        }
        if idle {
            // What came before a queue was armed makes no event: look once more.
            let count = gather(&mut self.links, &mut self.tools, (&self.open, &mut self.turn), &mut self.found[..]);
            self.waiting = (0, count);
            // It may have made room, or found what is no fact yet: then one poll more is due.
            idle = count == 0;
            for id in &self.open {
                idle &= !self.links[id.index()].as_mut().is_some_and(Link::take_restless);
            }
        }
        if idle { Armed::Sleep { until: None } } else { Armed::Ready }
    }

    fn disarm(&mut self) {
        self.events.drain();
        self.alarm.silence();
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    fn work(&self) -> Work {
        self.tools.chain.work()
    }

    fn close(&mut self, link: LinkId) {
        self.open.retain(|other| *other != link);
        // What was found and not handed out is not to be reported of it any more.
        let (from, count) = self.waiting;
        let mut kept = 0;
        for at in from..from + count {
            if link_of(&self.found[at]) != Some(link) {
                self.found[from + kept] = self.found[at];
                kept += 1;
            }
        }
        self.waiting = (from, kept);
        if let Some(Some(known)) = self.links.get_mut(link.index()) {
            known.close(&self.reaper, &self.alarm);
            self.closing.push(link);
        }
    }

    fn forget(&mut self, link: LinkId) {
        if let Some(gone) = self.links.get_mut(link.index()).and_then(Option::take) {
            // With it goes memory that is registered.
            self.reaper.take(move || drop(gone));
        }
    }
}

/// Completions name a transfer, which core knows to be over.
fn link_of(raw: &Raw) -> Option<LinkId> {
    match *raw {
        Raw::Completed { .. } => None,
        Raw::Failed { link, .. }
        | Raw::Counted { link, .. }
        | Raw::Aborted { link, .. }
        | Raw::Arrived { link, .. }
        | Raw::Credit { link, .. }
        | Raw::Closed { link, .. } => Some(link),
    }
}
