//! The send queue: which requests are taken, and what becomes of each.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::abi::*;
use crate::execute::{Outcome, carry_out, quick_write, segments};
use crate::lies::Lies;
use crate::numbers::*;
use crate::pending::Pending;
use crate::queue_pair::Qp;
use crate::schedule::{Counts, happens};
use crate::states::reach;
use crate::world::{self, Aftermath};

/// The other end of a connection.
pub(crate) struct Peer {
    pub(crate) qp: Arc<Qp>,
    pub(crate) epoch: u64,
    /// Whether our packets are no longer than he takes.
    pub(crate) fits: bool,
    /// Reads that may be on their way: ours, and as many as he takes.
    pub(crate) reads: u8,
    pub(crate) reads_taken: u8,
    pub(crate) rnr_retry: u8,
}

/// What a queue pair sends.
pub(crate) struct SendQueue {
    posted: u64,
    pub(crate) counts: Counts,
    pub(crate) peer: Option<Peer>,
    /// What is not carried out yet, in order.
    pub(crate) pending: VecDeque<Pending>,
    pub(crate) lies: Lies,
    listed: bool,
}

// SAFETY: the pointers inside are to buffers that the same entry owns.
unsafe impl Send for SendQueue {}

/// What becomes of a request that was tried.
pub(crate) enum Verdict {
    Done(u64),
    Wait,
    Failed { status: u32, peer: Option<u32> },
}

impl SendQueue {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            posted: 0,
            counts: Counts::default(),
            peer: None,
            pending: VecDeque::new(),
            lies: Lies::new(seed),
            listed: false,
        }
    }

    /// Forgets everything: the queue pair is reset, or goes.
    pub(crate) fn clear(&mut self, qp: &Qp) {
        self.posted = 0;
        self.peer = None;
        self.pending.clear();
        self.lies.clear();
        self.note(qp);
    }

    /// Completes all that waits as flushed.
    pub(crate) fn flush(&mut self, qp: &Qp, aftermath: &mut Aftermath) {
        while let Some(pending) = self.pending.pop_front() {
            if qp.shared.schedule.lost_flushes != 0 {
                continue;
            }
            qp.complete_send(qp.failed(pending.request().wr_id, IBV_WC_WR_FLUSH_ERR), pending.index, aftermath);
        }
        self.note(qp);
    }

    /// Has the world call [`tick`](Self::tick) while something waits.
    pub(crate) fn note(&mut self, qp: &Qp) {
        let waits = !self.pending.is_empty() || self.lies.wait();
        if waits != self.listed {
            self.listed = waits;
            if waits { world::enlist(qp) } else { world::unlist(qp.number) }
        }
    }

    /// Whether the peer can be reached. Once connected, a queue pair has this peer until it is reset.
    #[inline]
    pub(crate) fn reaches(&mut self, qp: &Qp) -> bool {
        if self.peer.is_none() {
            self.peer = reach(qp);
        }
        self.peer.as_ref().is_some_and(|peer| peer.qp.takes(peer.epoch))
    }

    /// Tries a request.
    #[inline]
    pub(crate) fn attempt(
        &mut self,
        qp: &Qp,
        request: &ibv_send_wr,
        attempts: &mut u32,
        aftermath: &mut Aftermath,
    ) -> Verdict {
        let outcome = if self.reaches(qp)
            && let Some(peer) = &self.peer
        {
            carry_out(qp, peer, request, &mut self.lies, aftermath)
        } else {
            Outcome::Unreachable
        };
        match outcome {
            Outcome::Done(bytes) => Verdict::Done(bytes),
            outcome => judge(qp, self.peer.as_ref(), &outcome, attempts),
        }
    }

    /// Completes a request that failed, and the queue pair with it.
    #[cold]
    pub(crate) fn fail(
        &mut self,
        qp: &Qp,
        (wr_id, index): (u64, u64),
        (status, peer_event): (u32, Option<u32>),
        aftermath: &mut Aftermath,
    ) {
        qp.complete_send(qp.failed(wr_id, status), index, aftermath);
        if let (Some(event), Some(peer)) = (peer_event, &self.peer) {
            aftermath.fail(peer.qp.number, Some(event));
        }
        qp.fail_held(self, aftermath);
    }

    /// How many of the chain are taken at most: the room, or less where the schedule wants so.
    fn room(&mut self, qp: &Qp, chain: *const ibv_send_wr) -> u64 {
        // SYNC POINT: slots.
        let room = u64::from(qp.cap.max_send_wr) - (self.posted - qp.sent.load(Ordering::Acquire));
        let chance = qp.shared.schedule.partial_posts;
        if chance == 0 || !happens(chance, &mut self.lies.random) {
            return room;
        }
        let (mut length, mut next) = (0, chain);
        while !next.is_null() {
            length += 1;
            // SAFETY: whoever posts gives a chain that ends with null.
            next = unsafe { (*next).next };
        }
        if length == 0 { room } else { room.min(self.lies.random.u64(0..length)) }
    }

    fn post(
        &mut self,
        qp: &Qp,
        chain: *mut ibv_send_wr,
        aftermath: &mut Aftermath,
    ) -> Result<(), (c_int, *mut ibv_send_wr)> {
        if !matches!(qp.state(), IBV_QPS_RTS | IBV_QPS_ERR) {
            return Err((EINVAL, chain));
        }
        self.counts.chains += 1;
        if happens(qp.shared.schedule.refused_posts, &mut self.lies.random) {
            return Err((EINVAL, chain));
        }
        let mut room = self.room(qp, chain);
        let mut next = chain;
        while !next.is_null() {
            // SAFETY: whoever posts gives a chain that ends with null.
            let request = unsafe { &*next };
            if room > 0
                && let Some(bytes) = self.quick(qp, request)
            {
                room -= 1;
                self.posted += 1;
                self.counts.requests += 1;
                self.counts.bytes += bytes;
                if signals(qp, request) {
                    self.counts.signalled += 1;
                    complete(qp, request, self.posted - 1, bytes, aftermath);
                }
                next = request.next;
                continue;
            }
            if !admits(qp, request) {
                return Err((EINVAL, next));
            }
            if room == 0 {
                return Err((ENOMEM, next));
            }
            room -= 1;
            self.take(qp, request, aftermath);
            next = request.next;
        }
        Ok(())
    }

    #[inline]
    fn quick(&self, qp: &Qp, request: &ibv_send_wr) -> Option<u64> {
        let plain = qp.prompt && qp.honest && self.pending.is_empty() && qp.state() == IBV_QPS_RTS;
        let peer = self.peer.as_ref().filter(|peer| plain && peer.qp.takes(peer.epoch))?;
        quick_write(qp, peer, request)
    }

    fn take(&mut self, qp: &Qp, request: &ibv_send_wr, aftermath: &mut Aftermath) {
        let index = self.posted;
        self.posted += 1;
        self.counts.requests += 1;
        self.counts.signalled += u64::from(signals(qp, request));
        if qp.state() == IBV_QPS_ERR {
            if qp.shared.schedule.lost_flushes == 0 {
                qp.complete_send(qp.failed(request.wr_id, IBV_WC_WR_FLUSH_ERR), index, aftermath);
            }
            return;
        }
        let mut attempts = 0;
        if qp.prompt && self.pending.is_empty() {
            match self.attempt(qp, request, &mut attempts, aftermath) {
                Verdict::Done(bytes) => return self.succeed(qp, request, index, bytes, aftermath),
                Verdict::Failed { status, peer } => {
                    return self.fail(qp, (request.wr_id, index), (status, peer), aftermath);
                }
                Verdict::Wait => {}
            }
        }
        let late = qp.shared.schedule.late_calls;
        self.pending.push_back(Pending::copy(request, index, attempts, late, &mut self.lies.random));
    }

    /// A request was carried out: completes it where it is signalled.
    #[inline]
    pub(crate) fn succeed(
        &mut self,
        qp: &Qp,
        request: &ibv_send_wr,
        index: u64,
        bytes: u64,
        aftermath: &mut Aftermath,
    ) {
        self.counts.bytes += bytes;
        if signals(qp, request) {
            complete(qp, request, index, bytes, aftermath);
        }
    }
}

/// Completes a request that succeeded.
fn complete(qp: &Qp, request: &ibv_send_wr, index: u64, bytes: u64, aftermath: &mut Aftermath) {
    let opcode = match request.opcode {
        IBV_WR_RDMA_READ => IBV_WC_RDMA_READ,
        IBV_WR_SEND | IBV_WR_SEND_WITH_IMM => IBV_WC_SEND,
        _ => IBV_WC_RDMA_WRITE,
    };
    let byte_len = u32::try_from(bytes).unwrap_or(u32::MAX);
    let wc = ibv_wc { wr_id: request.wr_id, opcode, byte_len, qp_num: qp.number, ..ibv_wc::default() };
    qp.complete_send(wc, index, aftermath);
}

#[cold]
fn judge(qp: &Qp, peer: Option<&Peer>, outcome: &Outcome, attempts: &mut u32) -> Verdict {
    let schedule = &qp.shared.schedule;
    *attempts = attempts.saturating_add(1);
    match *outcome {
        Outcome::Failed { status, peer } => Verdict::Failed { status, peer },
        Outcome::Unreachable if *attempts > schedule.retry_calls => {
            Verdict::Failed { status: IBV_WC_RETRY_EXC_ERR, peer: None }
        }
        Outcome::NotReady => {
            let address = || qp.address.lock().unwrap_or_else(PoisonError::into_inner).rnr_retry;
            let retry = u32::from(peer.map_or_else(address, |peer| peer.rnr_retry));
            let most = if schedule.rnr_attempts == 0 { retry + 1 } else { schedule.rnr_attempts };
            if retry < 7 && *attempts >= most {
                Verdict::Failed { status: IBV_WC_RNR_RETRY_EXC_ERR, peer: None }
            } else {
                Verdict::Wait
            }
        }
        Outcome::Done(bytes) => Verdict::Done(bytes),
        Outcome::Unreachable => Verdict::Wait,
    }
}

#[inline]
pub(crate) fn signals(qp: &Qp, request: &ibv_send_wr) -> bool {
    qp.signals_all || request.send_flags & IBV_SEND_SIGNALED != 0
}

/// Whether a request can be posted at all.
#[inline]
fn admits(qp: &Qp, request: &ibv_send_wr) -> bool {
    // SAFETY: whoever posts gives a list of this length.
    let Some(ranges) = (unsafe { segments(request.sg_list, request.num_sge) }) else { return false };
    if ranges.len() > qp.cap.max_send_sge as usize || request.opcode > IBV_WR_RDMA_READ {
        return false;
    }
    if request.send_flags & IBV_SEND_INLINE == 0 {
        return true;
    }
    let bytes: u64 = ranges.iter().map(|range| u64::from(range.length)).sum();
    request.opcode != IBV_WR_RDMA_READ && bytes <= u64::from(qp.cap.max_inline_data)
}

/// Posts a chain of send requests.
pub(crate) unsafe extern "C" fn post_send(
    qp: *mut ibv_qp,
    chain: *mut ibv_send_wr,
    bad: *mut *mut ibv_send_wr,
) -> c_int {
    // SAFETY: the caller of a verb gives what is alive.
    let qp = unsafe { Qp::of(qp) };
    let mut aftermath = Aftermath::default();
    let posted = {
        let mut send = qp.send.hold();
        let posted = send.post(qp, chain, &mut aftermath);
        send.note(qp);
        posted
    };
    aftermath.settle();
    world::step(qp.shared.device);
    match posted {
        Ok(()) => 0,
        Err((errno, at)) => {
            // SAFETY: the caller gives a place for it.
            unsafe { bad.write(at) };
            errno
        }
    }
}
