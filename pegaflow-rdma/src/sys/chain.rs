//! Chains of requests, made once and patched in place: posting allocates nothing.

use pegaflow_core::Work;

use super::{QueuePair, abi::*};

/// Completions of receives carry this; those of sends carry 0. It is valid in a completion with an error too.
pub(crate) const RECEIVE: u64 = 1;

/// That of the last request of a link that is taken down.
pub(crate) const LAST: u64 = 2;

/// What a device made of a chain that it did not take whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) errno: i32,
    /// Requests that were posted all the same, the first of the chain.
    pub(crate) posted: u32,
}

/// A chain of send requests, each with a list of one range.
#[derive(Debug)]
pub(crate) struct Chain {
    requests: Box<[ibv_send_wr]>,
    ranges: Box<[ibv_sge]>,
    work: Work,
}

// SAFETY: the pointers inside lead to this value's own boxes.
unsafe impl Send for Chain {}

impl Chain {
    pub(crate) fn new(length: u32) -> Self {
        let length = length as usize;
        let mut ranges: Box<[ibv_sge]> = vec![ibv_sge::default(); length].into();
        let mut requests: Box<[ibv_send_wr]> = vec![ibv_send_wr::NONE; length].into();
        let (first_range, first) = (ranges.as_mut_ptr(), requests.as_mut_ptr());
        for at in 0..length {
            // `wrapping_add`: plain address arithmetic inside the two boxes.
            requests[at].sg_list = first_range.wrapping_add(at);
            requests[at].num_sge = 1;
            requests[at].next = if at + 1 < length { first.wrapping_add(at + 1) } else { std::ptr::null_mut() };
        }
        Self { requests, ranges, work: Work::default() }
    }

    pub(crate) fn length(&self) -> usize {
        self.requests.len()
    }

    /// All that was posted by this chain.
    pub(crate) fn work(&self) -> Work {
        self.work
    }

    /// Request `at`: `opcode` between `bytes` bytes at `here` and the same at `there`.
    #[inline]
    pub(crate) fn set(&mut self, at: usize, opcode: u32, here: (u64, u32), there: (u64, u32), bytes: u32) {
        self.ranges[at] = ibv_sge { addr: here.0, length: bytes, lkey: here.1 };
        let request = &mut self.requests[at];
        request.opcode = opcode;
        (request.remote_addr, request.rkey) = there;
    }

    /// Request `at`: a write of nothing to a place of the peer's.
    pub(crate) fn set_empty(&mut self, at: usize, there: (u64, u32)) {
        self.set(at, IBV_WR_RDMA_WRITE, (0, 0), there, 0);
        self.requests[at].num_sge = 0;
    }

    /// Puts an immediate behind the write of request `at`.
    pub(crate) fn immediate(&mut self, at: usize, bits: u32) {
        self.requests[at].opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
        self.requests[at].imm_data = bits.to_be();
    }

    pub(crate) fn flag(&mut self, at: usize, flags: u32) {
        self.requests[at].send_flags |= flags;
    }

    /// Posts the first `count` requests by one doorbell.
    ///
    /// # Safety
    /// - The memory that they name is registered, and stays so until they are complete; memory that is sent inline is
    ///   readable now.
    pub(crate) unsafe fn post(&mut self, pair: &mut QueuePair, count: usize) -> Result<(), Refused> {
        let Some(last) = count.checked_sub(1) else { return Ok(()) };
        let next = std::mem::replace(&mut self.requests[last].next, std::ptr::null_mut());
        // SAFETY: `count` requests of this chain, ended above; their memory by the caller's word.
        let outcome = unsafe { pair.post_send(self.requests.as_mut_ptr()) };
        let request = &mut self.requests[last];
        // No other request of a chain is signalled.
        let signalled = request.send_flags & IBV_SEND_SIGNALED != 0;
        (request.next, request.send_flags, request.num_sge) = (next, 0, 1);
        self.work.doorbells += 1;
        let Err((errno, bad)) = outcome else {
            self.work.requests += count as u64;
            self.work.signalled += u64::from(signalled);
            return Ok(());
        };
        let first = self.requests.as_ptr().addr();
        let at = bad.addr().checked_sub(first).map_or(0, |bytes| bytes / size_of::<ibv_send_wr>());
        // A device that names no request of ours is taken to have posted none.
        let posted = if at < count { u32::try_from(at).unwrap_or(0) } else { 0 };
        self.work.requests += u64::from(posted);
        Err(Refused { errno, posted })
    }
}

/// Posts one signalled write of nothing, marked [`LAST`]; gives whether the device took it.
pub(crate) fn post_last(pair: &mut QueuePair) -> bool {
    let mut last = ibv_send_wr::NONE;
    (last.wr_id, last.opcode, last.send_flags) = (LAST, IBV_WR_RDMA_WRITE, IBV_SEND_SIGNALED);
    // SAFETY: one request, which names no memory.
    unsafe { pair.post_send(&raw mut last) }.is_ok()
}

/// A chain of receives without memory, posted as it is whenever as many were used up.
#[derive(Debug)]
pub(crate) struct Receives(Box<[ibv_recv_wr]>);

// SAFETY: the pointers inside lead to this value's own box.
unsafe impl Send for Receives {}

impl Receives {
    pub(crate) fn new(length: u32) -> Self {
        let null = std::ptr::null_mut();
        let one = ibv_recv_wr { wr_id: RECEIVE, next: null, sg_list: std::ptr::null_mut(), num_sge: 0 };
        let mut requests: Box<[ibv_recv_wr]> = vec![one; length as usize].into();
        let first = requests.as_mut_ptr();
        for at in 1..requests.len() {
            requests[at - 1].next = first.wrapping_add(at);
        }
        Self(requests)
    }

    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// Posts the last `count` of the chain, at most all of it. An errno where the device does not take them.
    pub(crate) fn post(&mut self, pair: &mut QueuePair, count: u32) -> Result<(), i32> {
        let from = self.0.len().saturating_sub(count as usize);
        match self.0[from..].first_mut() {
            // SAFETY: requests of this chain, which ends by null; they name no memory.
            Some(first) => unsafe { pair.post_receive(first) }.map_err(|(errno, _)| errno),
            None => Ok(()),
        }
    }
}
