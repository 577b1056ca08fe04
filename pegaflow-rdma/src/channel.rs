//! One link: a queue pair, its completion queue, and its two halves.

mod drain;
pub(crate) mod hand_shake;
pub(crate) mod immediate;
pub(crate) mod receiver;
mod sender;

use std::sync::Arc;

use pegaflow_core::{
    BackendError, Bounds, Cause, Class, CounterTable, Link as LinkId,
    backend::{Parcel, Posted, Raw, Reaper, Run},
};

use self::{
    drain::{Down, drain},
    hand_shake::End,
    immediate::{MAX_COUNTERS, MAX_MESSAGE_BYTES},
    receiver::{Arrival, Receiver},
    sender::Sender,
};
use crate::{
    RdmaConfig,
    config::path_mtu,
    device::{Rail, Shared},
    error::NAME,
    sys::{Address, Chain, Channel, CompletionQueue, QueuePair, RECEIVE, Receives, Timing, abi::*},
    watch::{Alarm, Watched},
};

/// The peer gave back more credits than it had taken.
const BAD_CREDITS: Cause = Cause::Garbage(23);

/// The completion queue failed, or the device: nothing completes any more.
const QUEUE_FAILED: Cause = Cause::Device { errno: rustix::io::Errno::IO.raw_os_error() };

/// A place of a ring of messages: whole cache lines.
fn place_bytes(message_bytes: u32) -> usize {
    (message_bytes as usize).next_multiple_of(64)
}

#[derive(Debug)]
pub(crate) struct Link {
    /// `None` once closed. What is dropped with it goes in this order: the pair, then the queue.
    wire: Option<Wire>,
    sender: Sender,
    receiver: Receiver,
    joined: bool,
    /// Seen and not told yet.
    failure: Option<Cause>,
    told: bool,
    /// Once closed: how far it is.
    down: Option<Arc<Down>>,
}

#[derive(Debug)]
struct Wire {
    pair: QueuePair,
    queue: CompletionQueue,
    watched: Arc<Watched>,
    here: Address,
    timing: Timing,
}

/// What the links of an engine share: made once, used by one at a time.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) chain: Chain,
    pub(crate) receives: Receives,
    pub(crate) completions: Box<[ibv_wc]>,
}

impl Tools {
    pub(crate) fn new(config: &RdmaConfig) -> Self {
        // A sixteenth of what is posted: the sender never sees the queue run dry.
        let refill = (config.receive_depth / 16).clamp(1, 256);
        Self {
            chain: Chain::new(config.chain),
            receives: Receives::new(refill),
            completions: vec![ibv_wc::default(); config.poll_batch as usize].into(),
        }
    }
}

impl Link {
    /// Makes this side: receives are posted before the peer can know of it.
    pub(crate) fn open(
        shared: &Shared,
        (events, alarm): (&Arc<Channel>, &Arc<Alarm>),
        tools: &mut Tools,
        (class, bounds): (Class, &Bounds),
    ) -> Result<(Self, Parcel), BackendError> {
        let Shared { rail, config, .. } = shared;
        // On an error every request that is posted completes, signalled or not; and the last one of all.
        let entries = config.send_depth + config.receive_depth + 1;
        let most = u32::try_from(rail.limits.max_cqe).unwrap_or(0);
        if entries > most {
            return Err(BackendError::new(
                NAME,
                format!(
                    "transport.rdma.send_depth {} + receive_depth {} + 1 is {entries} completions: device {} holds {most} in \
                     a queue, lower one of them",
                    config.send_depth,
                    config.receive_depth,
                    rail.device.name()
                ),
            ));
        }
        let most = u32::try_from(rail.limits.max_qp_wr).unwrap_or(0);
        for (key, depth) in [("send_depth", config.send_depth), ("receive_depth", config.receive_depth)] {
            if depth > most {
                let device = rail.device.name();
                let why = format!(
                    "transport.rdma.{key} is {depth}: device {device} takes at most {most} requests in a queue, lower it"
                );
                return Err(BackendError::new(NAME, why));
            }
        }
        let queue = CompletionQueue::new(&rail.device, events, entries)?;
        let capacity = ibv_qp_cap {
            max_send_wr: config.send_depth,
            max_recv_wr: config.receive_depth,
            max_send_sge: 1,
            max_recv_sge: 1,
            max_inline_data: config.inline_bytes,
        };
        let mut pair = QueuePair::new(&rail.device, &queue, capacity, rail.port)?;
        let mut left = config.receive_depth;
        while left > 0 {
            let count = left.min(tools.receives.len());
            tools.receives.post(&mut pair, count).map_err(|errno| {
                let why = std::io::Error::from_raw_os_error(errno);
                BackendError::new(NAME, format!("ibv_post_recv of {} receives: {why}", config.receive_depth))
            })?;
            left -= count;
        }
        let receiver = Receiver::new(rail, bounds)?;
        let sender = Sender::new(config, rail);
        let service = config.classes[class as usize];
        let here = Address {
            number: pair.number(),
            first_packet: random_packet_number()?,
            lid: rail.attributes.lid,
            gid: rail.gid.raw,
            mtu: rail.attributes.active_mtu.min(path_mtu(config.mtu).unwrap_or(IBV_MTU_256)),
            reads: limited(rail.limits.max_qp_rd_atom.min(rail.limits.max_qp_init_rd_atom), config.outstanding_reads),
        };
        let timing = Timing {
            port: rail.port,
            gid_index: rail.gid.index,
            global: rail.attributes.ethernet,
            service_level: service.service_level,
            traffic_class: service.traffic_class,
            ack_timeout: config.ack_timeout,
            retries: config.retries,
            rnr_retries: config.rnr_retries,
            rnr_timer: config.rnr_timer,
        };
        let (ring, ring_key) = receiver.ring();
        let parcel = End { address: here, ethernet: rail.attributes.ethernet, ring, ring_key }.encode();
        let watched = shared.watch.enter(queue.address(), alarm);
        let wire = Some(Wire { pair, queue, watched, here, timing });
        Ok((Self { wire, sender, receiver, joined: false, failure: None, told: false, down: None }, parcel))
    }

    pub(crate) fn join(&mut self, rail: &Rail, parcel: &Parcel, bounds: &Bounds) -> Result<(), BackendError> {
        let Some(wire) = &mut self.wire else {
            return Err(BackendError::new(NAME, "the link is closed"));
        };
        let peer = End::decode(parcel)?;
        if bounds.counters > MAX_COUNTERS || bounds.message_bytes > MAX_MESSAGE_BYTES {
            let Bounds { counters, message_bytes, .. } = bounds;
            let why = format!(
                "the peer has {counters} counters and messages of {message_bytes} bytes: expected at most {MAX_COUNTERS} \
                 and {MAX_MESSAGE_BYTES}, which its immediates have room for"
            );
            return Err(BackendError::new(NAME, why));
        }
        peer.check_reach(rail.attributes.ethernet, &wire.here.gid)?;
        let mut here = wire.here;
        here.mtu = here.mtu.min(peer.address.mtu);
        here.reads = here.reads.min(peer.address.reads);
        wire.pair.connect(&here, &peer.address, &wire.timing)?;
        self.sender.join(rail, &peer, bounds)?;
        self.joined = true;
        Ok(())
    }

    pub(crate) fn counters(&self) -> CounterTable {
        self.receiver.counters()
    }

    /// Begins to take the pair down, which the reaper does; messages stay.
    pub(crate) fn close(&mut self, reaper: &Reaper, alarm: &Arc<Alarm>) {
        let Some(wire) = self.wire.take() else { return };
        let (down, alarm, joined) = (Arc::new(Down::default()), Arc::clone(alarm), self.joined);
        self.down = Some(Arc::clone(&down));
        reaper.take(move || {
            down.set(drain(wire.pair, wire.queue, joined));
            alarm.ring();
        });
    }

    /// Once closed and down: whether the device has let go of everything.
    pub(crate) fn is_down(&self) -> Option<bool> {
        self.down.as_ref()?.get()
    }

    /// The device has not let go: what it may reach stays.
    pub(crate) fn keep(&mut self) {
        self.sender.keep();
        self.receiver.keep();
    }

    /// # Safety
    /// - As [`Engine::post`](pegaflow_core::backend::Engine::post).
    pub(crate) unsafe fn post(&mut self, tools: &mut Tools, run: &mut Run<'_>) -> Posted {
        let (Some(wire), None) = (&mut self.wire, self.failure) else { return Posted::Part };
        // SAFETY: the caller's word.
        unsafe { self.sender.post(&mut wire.pair, &mut tools.chain, run) }.unwrap_or_else(|cause| {
            self.failure = Some(cause);
            Posted::Part
        })
    }

    /// Takes what the completion queue has, at most `raw.len()` facts; gives how many.
    pub(crate) fn poll(&mut self, id: LinkId, tools: &mut Tools, raw: &mut [Raw]) -> usize {
        let Some(wire) = &mut self.wire else { return 0 };
        if !self.joined || self.told {
            return 0;
        }
        let (mut made, mut counted, mut aborted) = (0, 0, 0);
        loop {
            // Each completion makes one fact at most, the counts make one together, and so do the aborts.
            let room = raw.len() - made - usize::from(counted > 0) - usize::from(aborted > 0);
            let asked = room.min(tools.completions.len());
            if asked == 0 {
                break;
            }
            let Some(count) = wire.queue.poll(&mut tools.completions[..asked]) else {
                self.failure.get_or_insert(QUEUE_FAILED);
                break;
            };
            for one in &tools.completions[..count] {
                let fact = match one.status {
                    IBV_WC_SUCCESS if one.wr_id == RECEIVE => match self.receiver.arrived(u32::from_be(one.imm_data)) {
                        Ok(Arrival::Counted) => {
                            counted += 1;
                            None
                        }
                        Ok(Arrival::Aborted) => {
                            aborted += 1;
                            None
                        }
                        Ok(Arrival::Late) => None,
                        Ok(Arrival::Message { slot, bytes }) => Some(Raw::Arrived { link: id, slot, bytes }),
                        Ok(Arrival::Credits(messages)) if self.sender.credited(messages) => {
                            Some(Raw::Credit { link: id, messages })
                        }
                        Ok(Arrival::Credits(_)) => {
                            self.failure.get_or_insert(BAD_CREDITS);
                            None
                        }
                        Err(cause) => {
                            self.failure.get_or_insert(cause);
                            None
                        }
                    },
                    IBV_WC_SUCCESS => self.sender.completed(),
                    status => {
                        // Of an error only number and status are valid. Flushes follow the one that tells why.
                        let cause = Cause::Transport { status, vendor: one.vendor_err };
                        let flushed =
                            |cause| matches!(cause, Some(Cause::Transport { status: IBV_WC_WR_FLUSH_ERR, .. }));
                        if self.failure.is_none() || flushed(self.failure) {
                            self.failure = Some(cause);
                        }
                        None
                    }
                };
                if let Some(fact) = fact {
                    raw[made] = fact;
                    made += 1;
                }
            }
            if count < asked {
                break;
            }
        }
        if counted > 0 {
            raw[made] = Raw::Counted { link: id, increments: counted };
            made += 1;
        }
        if aborted > 0 {
            raw[made] = Raw::Aborted { link: id, aborts: aborted };
            made += 1;
        }
        if wire.watched.failed() {
            self.failure.get_or_insert(QUEUE_FAILED);
        }
        if self.failure.is_none() {
            let settled = self.receiver.refill(&mut wire.pair, &mut tools.receives);
            self.failure = settled.and_then(|()| self.sender.settle(&mut wire.pair, &mut tools.chain)).err();
        }
        if let Some(cause) = self.failure
            && made < raw.len()
        {
            self.told = true;
            raw[made] = Raw::Failed { link: id, cause };
            made += 1;
        }
        made
    }

    pub(crate) fn message(&self, slot: u32, bytes: u32) -> &[u8] {
        self.receiver.message(slot, bytes)
    }

    /// Frees a slot, and gives the peer its credit, now or as soon as the queue has a place.
    pub(crate) fn release(&mut self, tools: &mut Tools, slot: u32) {
        self.receiver.release(slot);
        self.sender.owe();
        if let (Some(wire), None) = (&mut self.wire, self.failure) {
            self.failure = self.sender.settle(&mut wire.pair, &mut tools.chain).err();
        }
    }

    /// The next completion makes an event. `false` where the device does not take it.
    pub(crate) fn arm(&mut self) -> bool {
        self.sender.arm();
        match &mut self.wire {
            Some(wire) if self.joined && !self.told => wire.queue.arm(),
            _ => true,
        }
    }

    /// Whether there is something to poll for that makes no event.
    pub(crate) fn take_restless(&mut self) -> bool {
        match &self.wire {
            Some(wire) if self.joined && !self.told => {
                self.sender.take_restless() || self.failure.is_some() || wire.watched.failed()
            }
            _ => false,
        }
    }
}

fn limited(device: i32, wanted: u8) -> u8 {
    u8::try_from(device.clamp(1, 255)).unwrap_or(1).min(wanted)
}

/// 24 bits that the last connection between these two ports did not begin with.
pub(crate) fn random_packet_number() -> Result<u32, BackendError> {
    let mut bytes = [0; 4];
    match rustix::rand::getrandom(&mut bytes[..3], rustix::rand::GetRandomFlags::empty()) {
        Ok(3) => Ok(u32::from_le_bytes(bytes)),
        Ok(count) => Err(BackendError::new(NAME, format!("getrandom gave {count} of 3 bytes"))),
        Err(errno) => Err(crate::error::failed("getrandom", "for a packet number", errno.into())),
    }
}
