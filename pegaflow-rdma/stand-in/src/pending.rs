//! Requests that were taken and not carried out yet.

use fastrand::Rng;

use crate::abi::*;
use crate::execute::{fetch, scatter, segments, source_bytes};
use crate::numbers::*;
use crate::queue_pair::Qp;
use crate::schedule::up_to;
use crate::send::{SendQueue, Verdict};
use crate::world::Aftermath;

/// A copy of a request, for later.
pub(crate) struct Pending {
    /// Its ranges are those of `ranges`.
    request: ibv_send_wr,
    /// How many were posted before it.
    pub(crate) index: u64,
    /// Calls that it still waits for, once it is its turn.
    wait: u32,
    attempts: u32,
    phase: Phase,
    _ranges: Vec<ibv_sge>,
    _inline: Vec<u8>,
}

enum Phase {
    Queued,
    /// The peer's memory was read, and the bytes are on their way.
    Answered(Vec<u8>),
    Done(u64),
}

impl Pending {
    pub(crate) fn copy(request: &ibv_send_wr, index: u64, attempts: u32, late_calls: u32, random: &mut Rng) -> Self {
        // SAFETY: the request is being posted, so its list is there.
        let mut ranges = unsafe { segments(request.sg_list, request.num_sge) }.unwrap_or_default().to_vec();
        let mut inline = Vec::new();
        let mut request = *request;
        if request.send_flags & IBV_SEND_INLINE != 0 {
            // SAFETY: what is inline is readable while it is posted.
            inline = unsafe { source_bytes(&ranges) };
            let length = u32::try_from(inline.len()).unwrap_or(0);
            ranges = vec![ibv_sge { addr: inline.as_ptr().expose_provenance() as u64, length, lkey: 0 }];
            request.num_sge = 1;
        }
        request.sg_list = ranges.as_mut_ptr();
        request.next = std::ptr::null_mut();
        let wait = up_to(late_calls, random);
        Self { request, index, wait, attempts, phase: Phase::Queued, _ranges: ranges, _inline: inline }
    }

    pub(crate) fn request(&self) -> &ibv_send_wr {
        &self.request
    }
}

impl SendQueue {
    /// Moves on what waits, by one call.
    #[cold]
    pub(crate) fn tick(&mut self, qp: &Qp, aftermath: &mut Aftermath) {
        self.lies.land();
        self.land_reads(qp, false, aftermath);
        self.execute(qp, aftermath);
        self.retire(qp, aftermath);
        self.note(qp);
    }

    /// Carries out what is next, until something has to wait.
    fn execute(&mut self, qp: &Qp, aftermath: &mut Aftermath) {
        while let Some(at) = self.pending.iter().position(|pending| matches!(pending.phase, Phase::Queued)) {
            let on_their_way = self.reads_on_their_way();
            let pending = &mut self.pending[at];
            if pending.wait > 0 {
                pending.wait -= 1;
                return;
            }
            let (request, mut attempts) = (pending.request, pending.attempts);
            let is_read = request.opcode == IBV_WR_RDMA_READ;
            let most = self.peer.as_ref().map_or(1, |peer| usize::from(peer.reads.min(peer.reads_taken).max(1)));
            if on_their_way > 0 && (request.send_flags & IBV_SEND_FENCE != 0 || is_read && on_their_way >= most) {
                return;
            }
            let late = qp.shared.schedule.late_reads;
            let answer = if is_read && late > 0 { self.answer(qp, &request) } else { None };
            let verdict = match answer {
                Some(bytes) => {
                    let pending = &mut self.pending[at];
                    pending.wait = up_to(late, &mut self.lies.random);
                    pending.phase = Phase::Answered(bytes);
                    continue;
                }
                None => self.attempt(qp, &request, &mut attempts, aftermath),
            };
            match verdict {
                Verdict::Done(bytes) => self.pending[at].phase = Phase::Done(bytes),
                Verdict::Wait => {
                    self.pending[at].attempts = attempts;
                    return;
                }
                Verdict::Failed { status, peer } => {
                    // What was before it ends first.
                    self.land_reads(qp, true, aftermath);
                    self.retire(qp, aftermath);
                    if let Some(failed) = self.pending.pop_front() {
                        self.fail(qp, (failed.request.wr_id, failed.index), (status, peer), aftermath);
                    }
                }
            }
        }
    }

    /// The bytes of a read, if it succeeds at the peer.
    fn answer(&mut self, qp: &Qp, request: &ibv_send_wr) -> Option<Vec<u8>> {
        if !self.reaches(qp) {
            return None;
        }
        let (from, length) = fetch(qp, self.peer.as_ref()?, request).ok()?;
        let mut bytes = vec![0; length];
        if length > 0 {
            // SAFETY: the range was checked, and its region stays while the send queue is held.
            unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), length) };
        }
        Some(bytes)
    }

    fn reads_on_their_way(&self) -> usize {
        self.pending.iter().filter(|pending| matches!(pending.phase, Phase::Answered(_))).count()
    }

    /// Lets reads arrive, in order: those that have waited long enough, or all.
    fn land_reads(&mut self, qp: &Qp, all: bool, aftermath: &mut Aftermath) {
        for at in 0..self.pending.len() {
            let pending = &mut self.pending[at];
            let Phase::Answered(bytes) = &pending.phase else { continue };
            if pending.wait > 0 && !all {
                pending.wait -= 1;
                return;
            }
            // SAFETY: the ranges are the entry's own.
            let ranges = unsafe { segments(pending.request.sg_list, pending.request.num_sge) }.unwrap_or_default();
            // SAFETY: the bytes are as many as the ranges have room for.
            if unsafe { scatter(qp.domain, ranges, bytes.as_ptr()) } {
                pending.phase = Phase::Done(bytes.len() as u64);
                continue;
            }
            // Its region is gone. All before it is done.
            self.retire(qp, aftermath);
            if let Some(failed) = self.pending.pop_front() {
                let who = (failed.request.wr_id, failed.index);
                self.fail(qp, who, (IBV_WC_LOC_PROT_ERR, None), aftermath);
            }
            return;
        }
    }

    /// Completes what is done, in order.
    fn retire(&mut self, qp: &Qp, aftermath: &mut Aftermath) {
        while let Some(Phase::Done(bytes)) = self.pending.front().map(|pending| &pending.phase) {
            let bytes = *bytes;
            if let Some(done) = self.pending.pop_front() {
                self.succeed(qp, &done.request, done.index, bytes, aftermath);
            }
        }
    }
}
