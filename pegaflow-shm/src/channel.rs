//! One link: this side's segment, the peer's, and what was seen of both.

use std::{
    os::fd::OwnedFd,
    sync::atomic::{Ordering, fence},
};

use pegaflow_core::{BackendError, Bounds, Cause, CounterId, CounterTable, backend::Parcel};
use rustix::fs::{FileType, OFlags};

use crate::{
    error::{NAME, failed},
    sys::{Segment, Shape},
};

/// Where garbage was seen: the ring's tail, a message's length, the credits, the number of increments.
const BAD_TAIL: Cause = Cause::Garbage(10);
const BAD_LENGTH: Cause = Cause::Garbage(11);
const BAD_CREDIT: Cause = Cause::Garbage(12);
const BAD_COUNT: Cause = Cause::Garbage(13);
/// No channel lives to see as many: what seems to be more has gone backwards.
const MAX_INCREMENTS: u64 = 1 << 52;

#[derive(Debug)]
pub(crate) struct Link {
    /// What the peer writes.
    incoming: Segment,
    shape: Shape,
    /// What this side writes; `None` before `join` and after `close`.
    outgoing: Option<Outgoing>,
    seen_tail: u64,
    seen_counted: u64,
    seen_aborted: u64,
    /// Messages copied out of the ring, by slot: the peer can't change them any more.
    copies: Box<[u8]>,
    free: Vec<u32>,
    released: u64,
}

#[derive(Debug)]
struct Outgoing {
    segment: Segment,
    counters: CounterTable,
    wake: OwnedFd,
    sent: u64,
    credited: u64,
}

impl Link {
    pub(crate) fn open(bounds: &Bounds, wake: &OwnedFd) -> Result<(Self, Parcel), BackendError> {
        let shape = Shape::of(bounds);
        let (incoming, file) = Segment::create(shape)?;
        let wake = wake.try_clone().map_err(failed("dup of an eventfd"))?;
        let link = Self {
            incoming,
            shape,
            outgoing: None,
            seen_tail: 0,
            seen_counted: 0,
            seen_aborted: 0,
            copies: vec![0; shape.messages as usize * shape.message_bytes as usize].into(),
            free: (0..shape.messages).rev().collect(),
            released: 0,
        };
        Ok((link, Parcel { bytes: Vec::new(), files: vec![file, wake] }))
    }

    pub(crate) fn join(&mut self, parcel: Parcel, bounds: &Bounds) -> Result<(), BackendError> {
        let Ok([file, wake]) = <[OwnedFd; 2]>::try_from(parcel.files) else {
            return Err(BackendError::new(NAME, "the peer's end came without its segment and eventfd"));
        };
        let (segment, wake) = (Segment::of_peer(file, Shape::of(bounds))?, eventfd_of_peer(wake)?);
        let counters = segment.counters();
        self.outgoing = Some(Outgoing { segment, counters, wake, sent: 0, credited: 0 });
        Ok(())
    }

    pub(crate) fn counters(&self) -> CounterTable {
        self.incoming.counters()
    }

    /// The peer's memory is let go; received messages stay.
    pub(crate) fn close(&mut self) {
        self.outgoing = None;
    }

    /// Adds one to a counter of the peer's. One that was retired is not touched.
    pub(crate) fn count(&mut self, id: CounterId) {
        if let Some(to) = &self.outgoing
            && to.counters.increment(id, 0)
        {
            // SYNC POINT: counted. Release: who sees it finds the counter moved.
            to.segment.counted().fetch_add(1, Ordering::Release);
            to.wake();
        }
    }

    /// The same for a transfer that will not be counted.
    pub(crate) fn abort(&mut self, id: CounterId) {
        if let Some(to) = &self.outgoing
            && to.counters.abort(id, 0)
        {
            // SYNC POINT: aborted. Release: as in `count`.
            to.segment.aborted().fetch_add(1, Ordering::Release);
            to.wake();
        }
    }

    /// Writes a message into the peer's ring. Core has taken a credit, so there is room.
    pub(crate) fn send(&mut self, message: &[u8]) {
        if let Some(to) = &mut self.outgoing {
            let fits = to.segment.write_message(to.sent, message);
            debug_assert!(fits, "core checks the length");
            to.sent += 1;
            // SYNC POINT: tail. Release: who sees it finds the message, and all that was written before it.
            to.segment.tail().store(to.sent, Ordering::Release);
            to.wake();
        }
    }

    /// Increments that came since the last call.
    pub(crate) fn take_counted(&mut self) -> Result<u64, Cause> {
        // SYNC POINT: counted. Acquire: pairs with the Release in `count`.
        let now = self.incoming.counted().load(Ordering::Acquire);
        let new = now.wrapping_sub(self.seen_counted);
        if new >= MAX_INCREMENTS {
            return Err(BAD_COUNT);
        }
        self.seen_counted = now;
        Ok(new)
    }

    /// Aborts that came since the last call.
    pub(crate) fn take_aborted(&mut self) -> Result<u64, Cause> {
        // SYNC POINT: aborted. Acquire: pairs with the Release in `abort`.
        let now = self.incoming.aborted().load(Ordering::Acquire);
        let new = now.wrapping_sub(self.seen_aborted);
        if new >= MAX_INCREMENTS {
            return Err(BAD_COUNT);
        }
        self.seen_aborted = now;
        Ok(new)
    }

    /// Credits that came since the last call.
    pub(crate) fn take_credit(&mut self) -> Result<u32, Cause> {
        let Some(to) = &mut self.outgoing else { return Ok(0) };
        // SYNC POINT: released. Acquire: pairs with the Release in `release`.
        let now = to.segment.released().load(Ordering::Acquire);
        if now == to.credited {
            return Ok(0);
        }
        if now < to.credited || now > to.sent {
            return Err(BAD_CREDIT);
        }
        let new = u32::try_from(now - to.credited).map_err(|_| BAD_CREDIT)?;
        to.credited = now;
        Ok(new)
    }

    /// Copies the next message out: its slot and its length.
    pub(crate) fn take_message(&mut self) -> Result<Option<(u32, u32)>, Cause> {
        // SYNC POINT: tail. Acquire: pairs with the Release in `send`.
        let tail = self.incoming.tail().load(Ordering::Acquire);
        if tail == self.seen_tail {
            return Ok(None);
        }
        if tail.wrapping_sub(self.seen_tail) > u64::from(self.shape.messages) {
            return Err(BAD_TAIL);
        }
        // A sender within his credits always finds a slot free.
        let slot = self.free.pop().ok_or(BAD_TAIL)?;
        let start = slot as usize * self.shape.message_bytes as usize;
        let to = &mut self.copies[start..start + self.shape.message_bytes as usize];
        let bytes = self.incoming.read_message(self.seen_tail, to).ok_or(BAD_LENGTH)?;
        self.seen_tail += 1;
        Ok(Some((slot, bytes)))
    }

    pub(crate) fn message(&self, slot: u32, bytes: u32) -> &[u8] {
        let start = slot as usize * self.shape.message_bytes as usize;
        &self.copies[start..start + bytes as usize]
    }

    pub(crate) fn release(&mut self, slot: u32) {
        self.free.push(slot);
        self.released += 1;
        // SYNC POINT: released. Release: the ring's place was read before it is written again.
        self.incoming.released().store(self.released, Ordering::Release);
        if let Some(to) = &self.outgoing {
            to.wake();
        }
    }

    /// Tells the peer to wake this side, or that it need not any more.
    pub(crate) fn sleep(&self, sleeping: bool) {
        self.incoming.sleeping().store(u32::from(sleeping), Ordering::SeqCst);
    }

    /// Whether a poll would find something; after `sleep(true)` and a SeqCst fence.
    pub(crate) fn has_news(&self) -> bool {
        self.incoming.tail().load(Ordering::Relaxed) != self.seen_tail
            || self.incoming.counted().load(Ordering::Relaxed) != self.seen_counted
            || self.incoming.aborted().load(Ordering::Relaxed) != self.seen_aborted
            || self.outgoing.as_ref().is_some_and(|to| to.segment.released().load(Ordering::Relaxed) != to.credited)
    }
}

/// A peer's eventfd, made sure to be one: a write to anything else could block for ever, or end the process by SIGPIPE.
fn eventfd_of_peer(file: OwnedFd) -> Result<OwnedFd, BackendError> {
    let failed = |call| move |errno: rustix::io::Errno| failed(call)(errno.into());
    let mode = rustix::fs::fstat(&file).map_err(failed("fstat of the peer's eventfd"))?.st_mode;
    let flags = rustix::fs::fcntl_getfl(&file).map_err(failed("fcntl(F_GETFL)"))?;
    rustix::fs::fcntl_setfl(&file, flags | OFlags::NONBLOCK).map_err(failed("fcntl(F_SETFL)"))?;
    // What is no file of the file system has no type in its mode; of these an eventfd alone takes eight zeros, which
    // change nothing.
    if FileType::from_raw_mode(mode) != FileType::Unknown || rustix::io::write(&file, &[0; 8]) != Ok(8) {
        return Err(BackendError::new(
            NAME,
            format!("the peer's end came with a file of mode {mode:o} in place of its eventfd"),
        ));
    }
    Ok(file)
}

impl Outgoing {
    /// Wakes the peer if he sleeps: one system call, and only then.
    fn wake(&self) {
        // SYNC POINT: sleeping. The fence stands between this side's news and its look at the flag; the peer's stands
        // between the flag and its look at the news: one of the two sees the other.
        fence(Ordering::SeqCst);
        let sleeping = self.segment.sleeping();
        if sleeping.load(Ordering::Relaxed) != 0 && sleeping.swap(0, Ordering::Relaxed) != 0 {
            // Fails only where the count is full, and then the peer is awake already.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }
}
