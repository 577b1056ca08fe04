//! The thread that stands in for a NIC: a doorbell, a queue of work a link, completions.
//!
//! It does what hardware does: takes work in order, link by link in turn; moves bytes by keys; says what is complete.
//! It knows no transfer, no plan, no deadline.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender},
    },
    thread::JoinHandle,
};

use pegaflow_core::{BackendError, Cause, CounterId, Link, Op, backend::Move};

use super::{Waker, registration::Entered};
use crate::{
    Fault,
    channel::Inbox,
    error::{MEMORY_GONE, error},
};

/// Links of one device: the doorbell has a bit for each.
pub(crate) const MAX_LINKS: u16 = 64;

/// One piece of work, and the cookie of the run that it is a part of.
#[derive(Debug)]
pub(crate) enum Work {
    /// What a run yielded. Made in `post` only, which has core's word for both ranges.
    Move(Op, Move, u64),
    Count(CounterId, u64),
    Abort(CounterId, u64),
    Deliver(Delivery, u64),
}

/// A message in a slot of the receiver's. The slot travels: whoever has it is who may touch its bytes.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) slot: u32,
    pub(crate) length: u32,
    pub(crate) bytes: Box<[u8]>,
}

/// What the device says of a piece of work.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Done {
    /// The run with this cookie has one part less under way.
    Part(u64),
    /// Nothing more is done for this link.
    Failed(Cause),
}

/// The device's end of a link.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) work: Receiver<Work>,
    /// As deep as `work` may be: what is reported always has room.
    pub(crate) done: SyncSender<Done>,
    pub(crate) deliver: SyncSender<Delivery>,
    pub(crate) to: Arc<Inbox>,
}

/// The engine's handle; the thread ends with it.
#[derive(Debug)]
pub(crate) struct Device {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Links with new work, a bit each.
    doorbell: AtomicU64,
    stop: AtomicBool,
    /// A lock a link, so that whoever closes one waits for the piece of work that is under way, and for no other. The
    /// data path takes it on the device's side only: nobody contends but `close`.
    lanes: [Mutex<Option<Lane>>; MAX_LINKS as usize],
    /// The engine that reaps.
    waker: Arc<Waker>,
    fault: Fault,
}

impl Device {
    pub(crate) fn start(waker: Arc<Waker>, fault: Fault) -> Result<Self, BackendError> {
        let lanes = [const { Mutex::new(None) }; MAX_LINKS as usize];
        let shared = Shared { doorbell: AtomicU64::new(0), stop: AtomicBool::new(false), lanes, waker, fault };
        let shared = Arc::new(shared);
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("inproc-device".to_owned()).spawn(move || of_thread.run());
        let thread = thread.map_err(|source| error(format!("no thread for the device: {source}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn attach(&self, link: Link, lane: Lane) {
        *self.shared.lane(link.index()) = Some(lane);
    }

    /// When this returns the device has let go of the link: what was queued is dropped.
    pub(crate) fn detach(&self, link: Link) {
        self.shared.lane(link.index()).take();
    }

    /// Says that a link has new work. Calls the system only where the device sleeps.
    pub(crate) fn ring(&self, link: Link) {
        self.shared.doorbell.fetch_or(1 << link.index(), Ordering::Release);
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.unpark();
        if let Some(thread) = self.thread.take() {
            // A panic in it was told by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lane(&self, link: usize) -> MutexGuard<'_, Option<Lane>> {
        self.lanes[link].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut busy: u64 = 0;
        while !self.stop.load(Ordering::Acquire) {
            busy |= self.doorbell.swap(0, Ordering::Acquire);
            if busy == 0 {
                // `unpark` before `park` is not lost: `park` then returns at once.
                std::thread::park();
            }
            for link in 0..usize::from(MAX_LINKS) {
                let bit = 1 << link;
                if busy & bit != 0 && !self.serve(&mut self.lane(link)) {
                    busy &= !bit;
                }
            }
        }
    }

    /// Does one piece of work; `false` where there is none.
    fn serve(&self, place: &mut Option<Lane>) -> bool {
        let Some(lane) = place else { return false };
        let Ok(work) = lane.work.try_recv() else { return false };
        let done = match work {
            Work::Move(op, one, cookie) => {
                // SAFETY: `post` made it of what a run yielded. Core's word there: both sides are registered, and stay so
                // until this work is reported, or the link is closed, which waits for the lock that is held here.
                match unsafe { Entered::new(&one) } {
                    None => Done::Failed(MEMORY_GONE),
                    Some(entered) if self.fault == Fault::CompletedEarly => {
                        self.report(lane, Done::Part(cookie));
                        std::thread::yield_now();
                        entered.copy(op, one.bytes);
                        return true;
                    }
                    Some(entered) => {
                        entered.copy(op, self.fault.bytes_of(one.bytes));
                        Done::Part(cookie)
                    }
                }
            }
            Work::Count(_, cookie) if self.fault.loses(cookie) => Done::Part(cookie),
            Work::Count(id, cookie) => {
                lane.to.count(id);
                Done::Part(cookie)
            }
            Work::Abort(id, cookie) => {
                lane.to.abort(id);
                Done::Part(cookie)
            }
            Work::Deliver(delivery, cookie) => {
                lane.deliver(delivery);
                Done::Part(cookie)
            }
        };
        self.report(lane, done);
        if matches!(done, Done::Failed(_)) {
            *place = None;
        }
        true
    }

    fn report(&self, lane: &Lane, done: Done) {
        let reported = lane.done.try_send(done);
        debug_assert!(reported.is_ok(), "there is room for as much as was queued");
        self.waker.wake();
    }
}

impl Lane {
    fn deliver(&self, delivery: Delivery) {
        // A peer that has gone takes no message, and that is no failure: done never means alive.
        let _ = self.deliver.try_send(delivery);
        self.to.wake();
    }
}
