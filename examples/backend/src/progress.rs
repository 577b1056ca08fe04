//! The engine: queues work in `post`, reaps completions in `poll`. It copies nothing but messages.

use std::{os::fd::BorrowedFd, sync::Arc};

use pegaflow_core::{
    Armed, BackendError, Bounds, Class, CounterTable, Link as LinkId,
    backend::{Engine, Follow, Parcel, Posted, Raw, Run},
};

use crate::{
    Fault, InprocConfig,
    channel::{Facts, Link, Outgoing},
    error::error,
    sys::{Device, MAX_LINKS, Waker, Work},
};

#[derive(Debug)]
pub(crate) struct InprocEngine {
    config: InprocConfig,
    /// Before the links, so that it ends before they go.
    device: Device,
    links: Box<[Option<Link>]>,
    /// Links that are joined, in the order in which they came.
    open: Vec<LinkId>,
    /// Links that are down, and of which that was not told.
    closed: Vec<LinkId>,
    /// Which of `open` is looked at first.
    turn: usize,
    waker: Arc<Waker>,
    fault: Fault,
}

impl InprocEngine {
    pub(crate) fn new(config: InprocConfig, fault: Fault) -> Result<Self, BackendError> {
        let waker = Arc::new(Waker::new()?);
        let device = Device::start(Arc::clone(&waker), fault)?;
        let links = (0..MAX_LINKS).map(|_| None).collect();
        let [open, closed] = [(); 2].map(|()| Vec::with_capacity(MAX_LINKS.into()));
        Ok(Self { config, device, links, open, closed, turn: 0, waker, fault })
    }

    fn link(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(link.index())?.as_mut()
    }
}

/// Queues as much of a run as there is room for.
fn queue(to: &mut Outgoing, run: &mut Run<'_>, work_bytes: u64, fault: Fault) -> Posted {
    let (op, cookie) = (run.op(), run.cookie());
    let mut place = run.cursor();
    while let Some(one) = run.next_move(work_bytes) {
        if !to.push(Work::Move(op, one, cookie)) {
            // The move was taken from the run and not queued: the next `post` begins with it.
            run.seek(place);
            return Posted::Part;
        }
        place = run.cursor();
    }
    let queued = match run.follow() {
        Follow::Nothing => true,
        Follow::Count(id) if fault == Fault::CountBeforeData => {
            to.count_now(id);
            run.finished(1);
            true
        }
        Follow::Count(id) => to.push(Work::Count(id, cookie)),
        Follow::Abort(id) => to.push(Work::Abort(id, cookie)),
        Follow::Message(bytes) => to.push_message(bytes, cookie),
    };
    if queued { Posted::All } else { Posted::Part }
}

impl Engine for InprocEngine {
    fn open(&mut self, link: LinkId, _class: Class, bounds: &Bounds) -> Result<Parcel, BackendError> {
        let Some(place) = self.links.get_mut(link.index()) else {
            return Err(error(format!("link {} is beyond the table", link.0)));
        };
        let (made, parcel) = Link::open(bounds, &self.waker, self.fault);
        *place = Some(made);
        Ok(parcel)
    }

    fn join(&mut self, link: LinkId, parcel: Parcel, _bounds: &Bounds) -> Result<(), BackendError> {
        let depth = self.config.queue_depth;
        let known = self.link(link).ok_or_else(|| error(format!("link {} was not opened", link.0)))?;
        let lane = known.join(&parcel, depth)?;
        self.device.attach(link, lane);
        self.open.push(link);
        Ok(())
    }

    fn counters(&self, link: LinkId) -> Option<CounterTable> {
        self.links.get(link.index())?.as_ref().map(Link::counters)
    }

    unsafe fn post(&mut self, link: LinkId, run: &mut Run<'_>) -> Posted {
        let (work_bytes, fault) = (self.config.work_bytes, self.fault);
        let Some(to) = self.link(link).and_then(Link::outgoing) else {
            return Posted::Part;
        };
        let before = to.under_way();
        let posted = queue(to, run, work_bytes, fault);
        if to.under_way() > before {
            self.device.ring(link);
        }
        posted
    }

    fn poll(&mut self, raw: &mut [Raw]) -> usize {
        let mut facts = Facts::new(raw);
        while facts.room()
            && let Some(link) = self.closed.pop()
        {
            facts.put(Raw::Closed { link, quiet: true });
        }
        let count = self.open.len();
        self.turn = if self.turn + 1 < count { self.turn + 1 } else { 0 };
        for at in 0..count {
            let link = self.open[(self.turn + at) % count];
            if let Some(known) = self.links.get_mut(link.index()).and_then(Option::as_mut) {
                known.take(link, &mut facts);
            }
        }
        facts.made()
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
        self.waker.sleep();
        let links = &mut self.links;
        let news = self.open.iter().any(|link| links[link.index()].as_mut().is_some_and(Link::has_news));
        if (news || !self.closed.is_empty()) && self.fault != Fault::LostWakeUp {
            Armed::Ready
        } else {
            Armed::Sleep { until: None }
        }
    }

    fn disarm(&mut self) {
        self.waker.awake();
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.waker.fd()
    }

    fn close(&mut self, link: LinkId) {
        self.open.retain(|other| *other != link);
        // First the device: once it has let go, nothing of this side is touched any more.
        self.device.detach(link);
        if let Some(known) = self.link(link) {
            known.close();
        }
        self.closed.push(link);
    }

    fn forget(&mut self, link: LinkId) {
        if let Some(place) = self.links.get_mut(link.index()) {
            *place = None;
        }
    }
}
