//! The receive queue.

use std::collections::VecDeque;
use std::ffi::c_int;
use std::sync::atomic::Ordering;

use crate::abi::*;
use crate::completion::Entry;
use crate::execute::segments;
use crate::numbers::*;
use crate::queue_pair::Qp;
use crate::world::{self, Aftermath};

/// A posted receive request.
#[derive(Clone, Copy)]
pub(crate) struct Receive {
    pub(crate) wr_id: u64,
    /// How many were posted before it.
    pub(crate) index: u64,
    /// How many ranges it has, in the queue's table.
    count: usize,
}

/// The receive requests of a queue pair, the oldest first.
pub(crate) struct ReceiveQueue {
    waiting: VecDeque<Receive>,
    /// The ranges of all slots, one slot's beside each other.
    ranges: Vec<ibv_sge>,
    ranges_each: usize,
    room: u64,
    posted: u64,
    /// Since the queue pair was made.
    pub(crate) posted_ever: u64,
}

impl ReceiveQueue {
    pub(crate) fn new(cap: &ibv_qp_cap) -> Self {
        let (room, ranges_each) = (cap.max_recv_wr as usize, cap.max_recv_sge as usize);
        Self {
            waiting: VecDeque::with_capacity(room),
            ranges: vec![ibv_sge::default(); room * ranges_each],
            ranges_each,
            room: u64::from(cap.max_recv_wr),
            posted: 0,
            posted_ever: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn take(&mut self) -> Option<Receive> {
        self.waiting.pop_front()
    }

    pub(crate) fn ranges(&self, receive: &Receive) -> &[ibv_sge] {
        let first = self.first(receive.index);
        &self.ranges[first..first + receive.count]
    }

    fn first(&self, index: u64) -> usize {
        // Below the room, which is a u32.
        usize::try_from(index % self.room.max(1)).unwrap_or(0) * self.ranges_each
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.posted = 0;
    }

    pub(crate) fn flush(&mut self, qp: &Qp, aftermath: &mut Aftermath) {
        while let Some(receive) = self.take() {
            complete(qp, &receive, qp.failed(receive.wr_id, IBV_WC_WR_FLUSH_ERR), false, aftermath);
        }
    }

    fn post(&mut self, qp: &Qp, request: &ibv_recv_wr, aftermath: &mut Aftermath) -> c_int {
        // SYNC POINT: slots.
        let used = self.posted - qp.received.load(Ordering::Acquire);
        let state = qp.state();
        // SAFETY: whoever posts gives a list of this length.
        let ranges = unsafe { segments(request.sg_list, request.num_sge) };
        if state == IBV_QPS_RESET || ranges.is_none_or(|ranges| ranges.len() > self.ranges_each) {
            return EINVAL;
        }
        if used >= self.room {
            return ENOMEM;
        }
        let ranges = ranges.unwrap_or_default();
        let receive = Receive { wr_id: request.wr_id, index: self.posted, count: ranges.len() };
        self.posted += 1;
        self.posted_ever += 1;
        if state == IBV_QPS_ERR {
            complete(qp, &receive, qp.failed(receive.wr_id, IBV_WC_WR_FLUSH_ERR), false, aftermath);
        } else {
            let first = self.first(receive.index);
            self.ranges[first..first + ranges.len()].copy_from_slice(ranges);
            self.waiting.push_back(receive);
        }
        0
    }
}

/// Adds the completion of a receive request. The queue is held.
pub(crate) fn complete(qp: &Qp, receive: &Receive, wc: ibv_wc, solicited: bool, aftermath: &mut Aftermath) {
    let entry = Entry { wc, freed: &raw const qp.received, to: receive.index + 1, solicited };
    qp.recv_cq.push(entry, aftermath);
}

/// Posts a chain of receive requests.
pub(crate) unsafe extern "C" fn post_recv(
    qp: *mut ibv_qp,
    chain: *mut ibv_recv_wr,
    bad: *mut *mut ibv_recv_wr,
) -> c_int {
    // SAFETY: the caller of a verb gives what is alive.
    let qp = unsafe { Qp::of(qp) };
    let mut aftermath = Aftermath::default();
    let mut next = chain;
    let mut errno = 0;
    {
        let mut queue = qp.receive.hold();
        while !next.is_null() {
            // SAFETY: the caller gives a chain that ends with null.
            let request = unsafe { &*next };
            errno = queue.post(qp, request, &mut aftermath);
            if errno != 0 {
                // SAFETY: the caller gives a place for it.
                unsafe { bad.write(next) };
                break;
            }
            next = request.next;
        }
    }
    aftermath.settle();
    world::step(qp.shared.device);
    errno
}
