//! One link: what this side made for the peer to write, and, between `join` and `close`, the way to the peer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use pegaflow_core::{
    BackendError, Bounds, Cause, CounterId, CounterTable, Link as LinkId,
    backend::{Parcel, Raw},
};

use crate::{
    Fault,
    error::{NO_SLOT, error, named, number_in},
    sys::{Delivery, Done, Lane, Waker, Work},
};

/// What a receiver makes, and the sender's side writes.
#[derive(Debug)]
pub(crate) struct Inbox {
    counters: CounterTable,
    /// Increments, ever.
    counted: AtomicU64,
    /// Aborts, ever.
    aborted: AtomicU64,
    /// Messages that the receiver has released, ever.
    released: AtomicU64,
    /// The receiver's.
    waker: Arc<Waker>,
}

impl Inbox {
    /// Adds one to a counter. One that was retired is not touched.
    pub(crate) fn count(&self, id: CounterId) {
        if self.counters.increment(id, 0) {
            // SYNC POINT: counted. Release: who sees it finds the counter moved.
            self.counted.fetch_add(1, Ordering::Release);
            self.waker.wake();
        }
    }

    /// The same for a transfer that will not be counted.
    pub(crate) fn abort(&self, id: CounterId) {
        if self.counters.abort(id, 0) {
            // SYNC POINT: aborted. Release: who sees it finds the counter moved.
            self.aborted.fetch_add(1, Ordering::Release);
            self.waker.wake();
        }
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}

/// The sender's half of a link, until its `join` takes it.
#[derive(Debug)]
struct Offer {
    inbox: Arc<Inbox>,
    deliver: SyncSender<Delivery>,
    slots: Receiver<Delivery>,
}

/// Where peers find each other: the number travels in the parcel.
static OFFERS: Mutex<BTreeMap<u64, Offer>> = Mutex::new(BTreeMap::new());
static NUMBERS: AtomicU64 = AtomicU64::new(1);

#[derive(Debug)]
pub(crate) struct Link {
    number: u64,
    inbox: Arc<Inbox>,
    seen_counted: u64,
    seen_aborted: u64,
    arrivals: Mail<Delivery>,
    /// The way of free slots to the sender.
    slots: SyncSender<Delivery>,
    /// Messages that were reported and not released, by slot.
    held: Box<[Option<Delivery>]>,
    outgoing: Option<Outgoing>,
    fault: Fault,
}

/// The way to the peer.
#[derive(Debug)]
pub(crate) struct Outgoing {
    work: SyncSender<Work>,
    done: Mail<Done>,
    /// Work that was queued and not reaped: never more than `depth`, so that completions always have room.
    under_way: u32,
    depth: u32,
    /// Free slots of the peer's.
    slots: Receiver<Delivery>,
    inbox: Arc<Inbox>,
    credited: u64,
    failed: Option<Cause>,
}

impl Link {
    pub(crate) fn open(bounds: &Bounds, waker: &Arc<Waker>, fault: Fault) -> (Self, Parcel) {
        let inbox = Arc::new(Inbox {
            counters: CounterTable::in_process(1, bounds.counters),
            counted: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
            released: AtomicU64::new(0),
            waker: Arc::clone(waker),
        });
        let count = bounds.messages as usize;
        let (deliver, arrivals) = sync_channel(count);
        let (slots, free) = sync_channel(count);
        for slot in 0..bounds.messages {
            let bytes = vec![0; bounds.message_bytes as usize].into();
            let sent = slots.try_send(Delivery { slot, length: 0, bytes });
            debug_assert!(sent.is_ok(), "as many as the channel is deep");
        }
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let offer = Offer { inbox: Arc::clone(&inbox), deliver, slots: free };
        OFFERS.lock().unwrap_or_else(PoisonError::into_inner).insert(number, offer);
        let link = Self {
            number,
            inbox,
            seen_counted: 0,
            seen_aborted: 0,
            arrivals: Mail::new(arrivals),
            slots,
            held: (0..count).map(|_| None).collect(),
            outgoing: None,
            fault,
        };
        (link, named(number))
    }

    /// Takes what the peer has made; gives what the device needs.
    pub(crate) fn join(&mut self, parcel: &Parcel, depth: u32) -> Result<Lane, BackendError> {
        let number = number_in(parcel)?;
        let offer = OFFERS.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        let Offer { inbox, deliver, slots } = offer.ok_or_else(|| error(format!("no link has the number {number}")))?;
        let (work, queued) = sync_channel(depth as usize);
        let (report, done) = sync_channel(depth as usize);
        let lane = Lane { work: queued, done: report, deliver, to: Arc::clone(&inbox) };
        let done = Mail::new(done);
        self.outgoing = Some(Outgoing { work, done, under_way: 0, depth, slots, inbox, credited: 0, failed: None });
        Ok(lane)
    }

    pub(crate) fn counters(&self) -> CounterTable {
        self.inbox.counters.clone()
    }

    pub(crate) fn outgoing(&mut self) -> Option<&mut Outgoing> {
        self.outgoing.as_mut()
    }

    /// The way to the peer is given up; received messages stay.
    pub(crate) fn close(&mut self) {
        self.outgoing = None;
    }

    pub(crate) fn message(&self, slot: u32, bytes: u32) -> &[u8] {
        match self.held.get(slot as usize) {
            Some(Some(delivery)) => &delivery.bytes[..bytes as usize],
            _ => &[],
        }
    }

    pub(crate) fn release(&mut self, slot: u32) {
        let Some(delivery) = self.held.get_mut(slot as usize).and_then(Option::take) else { return };
        if self.fault != Fault::SlotReused {
            // Fails only where the peer has gone, who needs no slot any more.
            let _ = self.slots.try_send(delivery);
        }
        // SYNC POINT: released. Release: who sees the credit finds the slot.
        self.inbox.released.fetch_add(1, Ordering::Release);
        if let Some(to) = &self.outgoing {
            to.inbox.wake();
        }
    }

    /// Whether `take` would find something.
    pub(crate) fn has_news(&mut self) -> bool {
        self.arrivals.waits()
            || self.inbox.counted.load(Ordering::Relaxed) != self.seen_counted
            || self.inbox.aborted.load(Ordering::Relaxed) != self.seen_aborted
            || self.outgoing.as_mut().is_some_and(Outgoing::has_news)
    }

    /// Reports what there is, as far as there is room.
    pub(crate) fn take(&mut self, link: LinkId, facts: &mut Facts<'_>) {
        if let Some(to) = &mut self.outgoing {
            to.take(link, facts, self.fault);
        }
        // SYNC POINT: counted. Acquire: pairs with the Release in `count`.
        let counted = self.inbox.counted.load(Ordering::Acquire);
        if counted != self.seen_counted && facts.room() {
            facts.put(Raw::Counted { link, increments: counted - self.seen_counted });
            self.seen_counted = counted;
        }
        // SYNC POINT: aborted. Acquire: pairs with the Release in `abort`.
        let aborted = self.inbox.aborted.load(Ordering::Acquire);
        if aborted != self.seen_aborted && facts.room() {
            facts.put(Raw::Aborted { link, aborts: aborted - self.seen_aborted });
            self.seen_aborted = aborted;
        }
        while facts.room()
            && let Some(delivery) = self.arrivals.take()
        {
            let (slot, bytes) = (delivery.slot, delivery.length);
            if self.fault == Fault::SlotReused {
                let _ = self.slots.try_send(Delivery { slot, length: 0, bytes: delivery.bytes.clone() });
            }
            self.held[slot as usize] = Some(delivery);
            facts.put(Raw::Arrived { link, slot, bytes });
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Where nobody has joined it.
        OFFERS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

impl Outgoing {
    /// Queues a piece of work; `false` where the queue is full.
    pub(crate) fn push(&mut self, work: Work) -> bool {
        // The device has gone only after a failure, which the next poll reports.
        let pushed = self.under_way < self.depth && self.work.try_send(work).is_ok();
        self.under_way += u32::from(pushed);
        pushed
    }

    /// Queues a message. It is copied now: core's bytes are core's again when `post` returns.
    pub(crate) fn push_message(&mut self, message: &[u8], cookie: u64) -> bool {
        if self.under_way == self.depth {
            return false;
        }
        let Ok(mut delivery) = self.slots.try_recv() else {
            // Core takes a credit for each message, so this side or the peer has counted wrong.
            self.failed = Some(NO_SLOT);
            return false;
        };
        delivery.bytes[..message.len()].copy_from_slice(message);
        delivery.length = u32::try_from(message.len()).unwrap_or(0);
        self.push(Work::Deliver(delivery, cookie))
    }

    /// Adds to a counter of the peer's without a word to the device: see [`Fault::CountBeforeData`].
    pub(crate) fn count_now(&self, id: CounterId) {
        self.inbox.count(id);
    }

    pub(crate) fn under_way(&self) -> u32 {
        self.under_way
    }

    fn has_news(&mut self) -> bool {
        self.failed.is_some() || self.done.waits() || self.inbox.released.load(Ordering::Relaxed) != self.credited
    }

    fn take(&mut self, link: LinkId, facts: &mut Facts<'_>, fault: Fault) {
        while facts.room()
            && let Some(done) = self.done.take()
        {
            self.under_way -= 1;
            match done {
                Done::Part(cookie) => facts.part(cookie),
                Done::Failed(cause) => self.failed = Some(cause),
            }
        }
        // SYNC POINT: released. Acquire: pairs with the Release in `release`.
        let released = self.inbox.released.load(Ordering::Acquire);
        if released != self.credited && facts.room() {
            let messages = u32::try_from(released - self.credited).unwrap_or(u32::MAX);
            let messages = if fault == Fault::CreditTwice { 2 * messages } else { messages };
            facts.put(Raw::Credit { link, messages });
            self.credited = released;
        }
        if facts.room()
            && let Some(cause) = self.failed.take()
        {
            facts.put(Raw::Failed { link, cause });
        }
    }
}

/// The receiver's half of a channel, into which one can look.
#[derive(Debug)]
struct Mail<T> {
    receiver: Receiver<T>,
    next: Option<T>,
}

impl<T> Mail<T> {
    fn new(receiver: Receiver<T>) -> Self {
        Self { receiver, next: None }
    }

    fn take(&mut self) -> Option<T> {
        self.next.take().or_else(|| self.receiver.try_recv().ok())
    }

    fn waits(&mut self) -> bool {
        self.next = self.take();
        self.next.is_some()
    }
}

/// What one `poll` reports.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    raw: &'a mut [Raw],
    made: usize,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(raw: &'a mut [Raw]) -> Self {
        Self { raw, made: 0 }
    }

    pub(crate) fn made(&self) -> usize {
        self.made
    }

    pub(crate) fn room(&self) -> bool {
        self.made < self.raw.len()
    }

    pub(crate) fn put(&mut self, one: Raw) {
        self.raw[self.made] = one;
        self.made += 1;
    }

    /// One part of a run; parts of one run that follow each other are told as one fact.
    fn part(&mut self, cookie: u64) {
        match self.raw[..self.made].last_mut() {
            Some(Raw::Completed { cookie: last, parts }) if *last == cookie => *parts += 1,
            _ => self.put(Raw::Completed { cookie, parts: 1 }),
        }
    }
}
