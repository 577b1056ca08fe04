//! Completion queues.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use fastrand::Rng;

use crate::abi::*;
use crate::channel::Channel;
use crate::context::{Context, Shared};
use crate::events::wait_for_acknowledgement;
use crate::lock::Lock;
use crate::numbers::*;
use crate::schedule::{Counts, happens};
use crate::world::{self, Aftermath};

/// A completion, and the slots that polling it gives back.
pub(crate) struct Entry {
    pub(crate) wc: ibv_wc,
    /// The count of slots that the queue got back. The queue pair takes its entries away before it goes.
    pub(crate) freed: *const AtomicU64,
    /// What the count is then.
    pub(crate) to: u64,
    pub(crate) solicited: bool,
}

// SAFETY: the count is an atomic, and lives as long as the entry is in a queue.
unsafe impl Send for Entry {}

/// A completion queue.
#[repr(C)]
pub(crate) struct Cq {
    base: UnsafeCell<ibv_cq>,
    /// Entries there, read before the lock is taken.
    waiting: AtomicUsize,
    empty_polls: AtomicU64,
    inside: Lock<Inside>,
    pub(crate) shared: Arc<Shared>,
    channel: Option<Arc<Channel>>,
    /// Events got and not acknowledged.
    pub(crate) unacknowledged: AtomicU32,
    pub(crate) async_unacknowledged: AtomicU32,
}

struct Inside {
    ring: VecDeque<Entry>,
    room: usize,
    armed: Armed,
    overrun: bool,
    /// The numbers of the queue pairs that use it, twice where they do both ways.
    users: Vec<u32>,
    polls: u64,
    random: Rng,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Armed {
    No,
    Solicited,
    Any,
}

// SAFETY: `base` is written when it is made, and only read after; the rest is atomics and locks.
unsafe impl Sync for Cq {}
// SAFETY: the pointers in `base` are never followed here, but to the context, which outlives the queue.
unsafe impl Send for Cq {}

impl Cq {
    /// # Safety
    /// - `cq` was not destroyed.
    pub(crate) unsafe fn of<'a>(cq: *mut ibv_cq) -> &'a Self {
        // SAFETY: queues are made in `ibv_create_cq`, as this type.
        unsafe { &*cq.cast_const().cast::<Self>() }
    }

    /// A further reference, for a queue pair of this number that uses it.
    ///
    /// # Safety
    /// - `cq` was not destroyed.
    pub(crate) unsafe fn join(cq: *mut ibv_cq, user: u32) -> Arc<Self> {
        let raw = cq.cast_const().cast::<Self>();
        // SAFETY: made by `Arc::into_raw`, whose reference the caller still has.
        let shared = unsafe {
            Arc::increment_strong_count(raw);
            Arc::from_raw(raw)
        };
        shared.inside.hold().users.push(user);
        shared
    }

    /// A queue pair uses the queue no more, one way.
    pub(crate) fn part(&self, user: u32) {
        self.purge(user);
        let users = &mut self.inside.hold().users;
        if let Some(at) = users.iter().position(|number| *number == user) {
            users.swap_remove(at);
        }
    }

    /// Takes away a queue pair's entries.
    pub(crate) fn purge(&self, user: u32) {
        let mut inside = self.inside.hold();
        inside.ring.retain(|entry| entry.wc.qp_num != user);
        self.waiting.store(inside.ring.len(), Ordering::Release);
    }

    pub(crate) fn counts(&self) -> Counts {
        let empty_polls = self.empty_polls.load(Ordering::Relaxed);
        Counts { polls: self.inside.hold().polls + empty_polls, empty_polls, ..Counts::default() }
    }

    fn about(&self) -> usize {
        std::ptr::from_ref(self).expose_provenance()
    }

    /// Adds a completion. Beyond its room the queue is lost, and its queue pairs with it.
    #[inline]
    pub(crate) fn push(&self, entry: Entry, aftermath: &mut Aftermath) {
        let mut inside = self.inside.hold();
        if inside.ring.len() >= inside.room || inside.overrun {
            self.overrun(&mut inside, aftermath);
            return;
        }
        let notable = entry.solicited || entry.wc.status != IBV_WC_SUCCESS;
        inside.ring.push_back(entry);
        // SYNC POINT: completion.
        self.waiting.store(inside.ring.len(), Ordering::Release);
        if inside.armed != Armed::No && (inside.armed == Armed::Any || notable) {
            self.wake(&mut inside);
        }
    }

    /// Is lost, as by an overrun.
    pub(crate) fn fail(&self, aftermath: &mut Aftermath) {
        self.overrun(&mut self.inside.hold(), aftermath);
    }

    #[cold]
    fn overrun(&self, inside: &mut Inside, aftermath: &mut Aftermath) {
        if inside.overrun {
            return;
        }
        inside.overrun = true;
        self.shared.events.raise(IBV_EVENT_CQ_ERR, self.about());
        for user in &inside.users {
            aftermath.fail(*user, Some(IBV_EVENT_QP_FATAL));
        }
    }

    #[cold]
    fn wake(&self, inside: &mut Inside) {
        inside.armed = Armed::No;
        self.shared.device.armed.fetch_sub(1, Ordering::SeqCst);
        let Some(channel) = &self.channel else { return };
        let schedule = &self.shared.schedule;
        if happens(schedule.lost_events, &mut inside.random) {
            return;
        }
        channel.put(self.about());
        if happens(schedule.duplicate_events, &mut inside.random) {
            channel.put(self.about());
        }
    }
}

/// Makes a completion queue, with exactly the room that was asked for.
///
/// # Safety
/// - `context` is open; `channel` is null or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_create_cq(
    context: *mut ibv_context,
    cqe: c_int,
    mark: *mut c_void,
    channel: *mut ibv_comp_channel,
    vector: c_int,
) -> *mut ibv_cq {
    // SAFETY: the caller's promise.
    let shared = &unsafe { Context::of(context) }.shared;
    let room = usize::try_from(cqe).unwrap_or(0);
    if room == 0 || room > shared.schedule.completions_max() as usize || vector != 0 {
        return null(EINVAL);
    }
    let cq = Arc::new(Cq {
        base: UnsafeCell::new(ibv_cq { context, channel, cq_context: mark, handle: 0, cqe }),
        waiting: AtomicUsize::new(0),
        empty_polls: AtomicU64::new(0),
        inside: Lock::new(Inside {
            ring: VecDeque::with_capacity(room),
            room,
            armed: Armed::No,
            overrun: false,
            users: Vec::new(),
            polls: 0,
            random: Rng::with_seed(shared.next_seed()),
        }),
        shared: Arc::clone(shared),
        // SAFETY: the caller's promise.
        channel: unsafe { Channel::share(channel) },
        unacknowledged: AtomicU32::new(0),
        async_unacknowledged: AtomicU32::new(0),
    });
    shared.children.fetch_add(1, Ordering::AcqRel);
    shared.add_cq(&cq);
    Arc::into_raw(cq).cast_mut().cast()
}

/// Destroys a completion queue. Returns 0, or EBUSY where queue pairs use it, or events were got and not acknowledged
/// within a second; a real library would wait for the acknowledgement, for ever.
///
/// # Safety
/// - `cq` was not destroyed, and is not used again once 0 was returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_cq(cq: *mut ibv_cq) -> c_int {
    // SAFETY: the caller's promise.
    let queue = unsafe { Cq::of(cq) };
    if !queue.inside.hold().users.is_empty() {
        return EBUSY;
    }
    let unacknowledged = [&queue.unacknowledged, &queue.async_unacknowledged];
    if !wait_for_acknowledgement(&unacknowledged) {
        return EBUSY;
    }
    {
        let mut inside = queue.inside.hold();
        if std::mem::replace(&mut inside.armed, Armed::No) != Armed::No {
            queue.shared.device.armed.fetch_sub(1, Ordering::SeqCst);
        }
    }
    if let Some(channel) = &queue.channel {
        channel.part(queue.about());
    }
    // In this order: nothing is raised about it any more.
    queue.shared.remove_cq(queue);
    queue.shared.events.forget(queue.about());
    queue.shared.children.fetch_sub(1, Ordering::AcqRel);
    // One that was got meanwhile is acknowledged first; else the memory stays.
    if wait_for_acknowledgement(&unacknowledged) {
        // SAFETY: made by `Arc::into_raw`, and the caller gives it up.
        drop(unsafe { Arc::from_raw(cq.cast_const().cast::<Cq>()) });
    }
    0
}

/// Takes up to `count` completions, and gives back the slots of their queues.
pub(crate) unsafe extern "C" fn poll_cq(cq: *mut ibv_cq, count: c_int, into: *mut ibv_wc) -> c_int {
    // SAFETY: the caller of a verb gives what is alive.
    let queue = unsafe { Cq::of(cq) };
    world::step(queue.shared.device);
    // SYNC POINT: completion.
    if queue.waiting.load(Ordering::Acquire) == 0 || count <= 0 {
        queue.empty_polls.fetch_add(1, Ordering::Relaxed);
        return 0;
    }
    let mut inside = queue.inside.hold();
    inside.polls += 1;
    let mut taken = 0;
    while taken < count {
        let Some(entry) = inside.ring.pop_front() else { break };
        // SAFETY: the caller gives room for `count`; `taken` is not negative. The counted queue is alive while its
        // entries are here.
        unsafe {
            into.offset(taken as isize).write(entry.wc);
            // SYNC POINT: slots.
            (*entry.freed).store(entry.to, Ordering::Release);
        }
        taken += 1;
    }
    queue.waiting.store(inside.ring.len(), Ordering::Release);
    taken
}

/// Asks for one event with the next completion, or the next solicited one.
pub(crate) unsafe extern "C" fn req_notify_cq(cq: *mut ibv_cq, solicited_only: c_int) -> c_int {
    // SAFETY: the caller of a verb gives what is alive.
    let queue = unsafe { Cq::of(cq) };
    if queue.channel.is_none() {
        return EINVAL;
    }
    let mut inside = queue.inside.hold();
    if inside.armed == Armed::No {
        queue.shared.device.armed.fetch_add(1, Ordering::SeqCst);
    }
    // Armed for any stays so.
    if solicited_only == 0 || inside.armed == Armed::No {
        inside.armed = if solicited_only == 0 { Armed::Any } else { Armed::Solicited };
    }
    0
}
