//! The engine: copies in `post`, which core calls from `poll`; looks at every link's segment in `poll`.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod garbage;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{Ordering, fence},
};

use pegaflow_core::{
    Armed, BackendError, Bounds, Class, CounterTable, Link as LinkId,
    backend::{Engine, Follow, Parcel, Posted, Raw, Run},
};
use rustix::event::EventfdFlags;

use crate::{
    channel::Link,
    error::{NAME, failed},
    sys,
};

#[derive(Debug)]
pub(crate) struct ShmEngine {
    links: Box<[Option<Link>]>,
    /// Links that are open, in the order in which they came.
    open: Vec<LinkId>,
    /// Links that were closed, and of which that was not said.
    closing: Vec<LinkId>,
    /// Which of `open` is looked at first.
    turn: usize,
    chunk_bytes: u64,
    wake: OwnedFd,
}

impl ShmEngine {
    pub(crate) fn new(max_links: u16, chunk_bytes: u64) -> Result<Self, BackendError> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| failed("eventfd")(io::Error::from(errno)))?;
        Ok(Self {
            links: (0..max_links).map(|_| None).collect(),
            open: Vec::with_capacity(max_links.into()),
            closing: Vec::with_capacity(max_links.into()),
            turn: 0,
            chunk_bytes,
            wake,
        })
    }

    fn link(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(link.index())?.as_mut()
    }

    /// Takes what one link has, as long as there is room; gives how many.
    fn take(&mut self, id: LinkId, raw: &mut [Raw]) -> usize {
        let Some(link) = self.links.get_mut(id.index()).and_then(Option::as_mut) else {
            return 0;
        };
        let mut made = 0;
        let mut put = |one: Raw| {
            raw[made] = one;
            made += 1;
            made < raw.len()
        };
        let mut failed = None;
        match link.take_credit() {
            Ok(0) => {}
            Ok(messages) => {
                if !put(Raw::Credit { link: id, messages }) {
                    return made;
                }
            }
            Err(cause) => failed = Some(cause),
        }
        match link.take_counted() {
            Ok(0) => {}
            Ok(increments) => {
                if !put(Raw::Counted { link: id, increments }) {
                    return made;
                }
            }
            Err(cause) => failed = failed.or(Some(cause)),
        }
        match link.take_aborted() {
            Ok(0) => {}
            Ok(aborts) => {
                if !put(Raw::Aborted { link: id, aborts }) {
                    return made;
                }
            }
            Err(cause) => failed = failed.or(Some(cause)),
        }
        while failed.is_none() {
            match link.take_message() {
                Ok(None) => break,
                Ok(Some((slot, bytes))) => {
                    if !put(Raw::Arrived { link: id, slot, bytes }) {
                        return made;
                    }
                }
                Err(cause) => failed = Some(cause),
            }
        }
        if let Some(cause) = failed {
            put(Raw::Failed { link: id, cause });
        }
        made
    }
}

impl Engine for ShmEngine {
    fn open(&mut self, link: LinkId, _class: Class, bounds: &Bounds) -> Result<Parcel, BackendError> {
        let (made, parcel) = Link::open(bounds, &self.wake)?;
        match self.links.get_mut(link.index()) {
            Some(place) => *place = Some(made),
            None => return Err(BackendError::new(NAME, format!("link {} is beyond the table", link.0))),
        }
        Ok(parcel)
    }

    fn join(&mut self, link: LinkId, parcel: Parcel, bounds: &Bounds) -> Result<(), BackendError> {
        match self.link(link) {
            Some(known) => known.join(parcel, bounds)?,
            None => return Err(BackendError::new(NAME, format!("link {} was not opened", link.0))),
        }
        self.open.push(link);
        Ok(())
    }

    fn counters(&self, link: LinkId) -> Option<CounterTable> {
        self.links.get(link.index())?.as_ref().map(Link::counters)
    }

    unsafe fn post(&mut self, link: LinkId, run: &mut Run<'_>) -> Posted {
        let mut left = self.chunk_bytes;
        let op = run.op();
        while let Some(one) = run.next_move(left) {
            // SAFETY: core's word for what a run yields: mapped here, and imported (so mapped) from the peer.
            unsafe { sys::copy(op, &one) };
            run.finished(1);
            left -= one.bytes;
            if left == 0 {
                return Posted::Part;
            }
        }
        let follow = run.follow();
        if let Some(known) = self.link(link) {
            match follow {
                Follow::Nothing => return Posted::All,
                Follow::Count(id) => known.count(id),
                Follow::Message(bytes) => known.send(bytes),
                Follow::Abort(id) => known.abort(id),
            }
            run.finished(1);
        }
        Posted::All
    }

    fn poll(&mut self, raw: &mut [Raw]) -> usize {
        let mut made = 0;
        while made < raw.len()
            && let Some(link) = self.closing.pop()
        {
            // Copies were made in `post`, and none is made any more.
            raw[made] = Raw::Closed { link, quiet: true };
            made += 1;
        }
        let count = self.open.len();
        self.turn = if self.turn + 1 < count { self.turn + 1 } else { 0 };
        for at in 0..count {
            if made == raw.len() {
                break;
            }
            let link = self.open[(self.turn + at) % count];
            made += self.take(link, &mut raw[made..]);
        }
        made
    }

    fn message(&self, link: LinkId, slot: u32, bytes: u32) -> &[u8] {
        match self.links.get(link.index()) {
            Some(Some(known)) => known.message(slot, bytes),
            _ => &[],
        }
    }

    fn release(&mut self, link: LinkId, slot: u32) {
        if let Some(known) = self.link(link) {
            known.release(slot);
        }
    }

    fn arm(&mut self) -> Armed {
        let links = || self.open.iter().filter_map(|link| self.links[link.index()].as_ref());
        links().for_each(|link| link.sleep(true));
        // SYNC POINT: sleeping. Pairs with the fence in `Outgoing::wake`.
        fence(Ordering::SeqCst);
        if !self.closing.is_empty() || links().any(Link::has_news) {
            Armed::Ready
        } else {
            Armed::Sleep { until: None }
        }
    }

    fn disarm(&mut self) {
        for link in self.open.iter().filter_map(|link| self.links[link.index()].as_ref()) {
            link.sleep(false);
        }
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    fn close(&mut self, link: LinkId) {
        self.open.retain(|other| *other != link);
        if let Some(known) = self.link(link) {
            known.close();
            self.closing.push(link);
        }
    }

    fn forget(&mut self, link: LinkId) {
        if let Some(place) = self.links.get_mut(link.index()) {
            *place = None;
        }
    }
}
