//! The rival of this backend's software: the least loop over the same device that writes scattered blocks.

use std::{ptr, sync::Arc};

use pegaflow_core::BackendError;

use super::{Address, Channel, CompletionQueue, Device, QueuePair, Staging, Timing, abi::*};
use crate::{RdmaConfig, channel::random_packet_number, device::Rail, error::NAME};

/// Two queue pairs that are connected to each other, and memory on both sides.
#[derive(Debug)]
pub(crate) struct RawLoop {
    // Pairs before queues before memory, as in `channel::Link`.
    from: QueuePair,
    _to: QueuePair,
    queue: CompletionQueue,
    _other_queue: CompletionQueue,

    here: Staging,
    there: Staging,
    requests: Vec<ibv_send_wr>,
    ranges: Vec<ibv_sge>,
    signal_every: usize,
    bytes: u64,
}

impl RawLoop {
    pub(crate) fn new(config: &RdmaConfig, rail: &Rail, bytes: usize) -> Result<Self, BackendError> {
        let device: &Arc<Device> = &rail.device;
        let events = Arc::new(Channel::new(device)?);
        let queue = CompletionQueue::new(device, &events, config.send_depth)?;
        let other_queue = CompletionQueue::new(device, &events, 1)?;
        let capacity = ibv_qp_cap {
            max_send_wr: config.send_depth,
            max_recv_wr: 1,
            max_send_sge: 1,
            max_recv_sge: 1,
            max_inline_data: 0,
        };
        let mut from = QueuePair::new(device, &queue, capacity, rail.port)?;
        let mut to = QueuePair::new(device, &other_queue, capacity, rail.port)?;
        let timing = Timing {
            port: rail.port,
            gid_index: rail.gid.index,
            global: rail.attributes.ethernet,
            service_level: 0,
            traffic_class: 0,
            ack_timeout: config.ack_timeout,
            retries: config.retries,
            rnr_retries: config.rnr_retries,
            rnr_timer: config.rnr_timer,
        };
        let address = |pair: &QueuePair, first_packet| Address {
            number: pair.number(),
            first_packet,
            lid: rail.attributes.lid,
            gid: rail.gid.raw,
            mtu: rail.attributes.active_mtu,
            reads: 1,
        };
        let (one, other) = (address(&from, random_packet_number()?), address(&to, random_packet_number()?));
        to.connect(&other, &one, &timing)?;
        from.connect(&one, &other, &timing)?;
        let chain = config.chain as usize;
        Ok(Self {
            from,
            _to: to,
            queue,
            _other_queue: other_queue,
            here: Staging::new(device, bytes)?,
            there: Staging::new(device, bytes)?,
            requests: vec![ibv_send_wr::NONE; chain],
            ranges: vec![ibv_sge::default(); chain],
            signal_every: config.signal_every as usize,
            bytes: bytes as u64,
        })
    }

    /// Writes block `here[i]` to block `there[i]` for every `i`, and waits for the last completion.
    pub(crate) fn write(
        &mut self,
        here: &[u32],
        there: &[u32],
        block_bytes: u32,
        stride: u64,
    ) -> Result<(), BackendError> {
        let last = here.iter().chain(there).max().map_or(0, |&id| u64::from(id) * stride + u64::from(block_bytes));
        if last > self.bytes {
            return Err(BackendError::new(NAME, format!("a block ends at byte {last} of {}", self.bytes)));
        }
        let (from, lkey) = (self.here.address(), self.here.local_key());
        let (to, rkey) = (self.there.address(), self.there.remote_key());
        let (mut silent, mut signalled) = (0, 0);
        let chain = self.requests.len();
        let mut pairs = here.iter().zip(there);
        let mut left = here.len();
        while left > 0 {
            let count = left.min(chain);
            for (at, (&here, &there)) in pairs.by_ref().take(count).enumerate() {
                self.ranges[at] = ibv_sge { addr: from + u64::from(here) * stride, length: block_bytes, lkey };
                let request = &mut self.requests[at];
                request.sg_list = &raw mut self.ranges[at];
                request.num_sge = 1;
                request.opcode = IBV_WR_RDMA_WRITE;
                request.send_flags = 0;
                (request.remote_addr, request.rkey) = (to + u64::from(there) * stride, rkey);
                request.next = ptr::null_mut();
                if at > 0 {
                    let this = &raw mut self.requests[at];
                    self.requests[at - 1].next = this;
                }
            }
            left -= count;
            silent += count;
            if silent >= self.signal_every || left == 0 {
                self.requests[count - 1].send_flags = IBV_SEND_SIGNALED;
                (silent, signalled) = (0, signalled + 1);
            }
            // SAFETY: `count` requests of this loop's own, over its own memory, which outlives the pair.
            unsafe { self.from.post_send(self.requests.as_mut_ptr()) }
                .map_err(|(errno, _)| BackendError::new(NAME, format!("ibv_post_send: errno {errno}")))?;
            // Two intervals under way at most: the queue has room.
            while signalled > usize::from(left > 0) {
                let mut one = [ibv_wc::default(); 1];
                match self.queue.poll(&mut one) {
                    Some(1) if one[0].status == IBV_WC_SUCCESS => signalled -= 1,
                    Some(0) => {}
                    _ => return Err(BackendError::new(NAME, format!("completion status {}", one[0].status))),
                }
            }
        }
        Ok(())
    }
}
