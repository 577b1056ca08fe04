//! The sending half of a link: places in the send queue, chains, completions.
//!
//! A request takes a place in the queue when it is posted, and gives it back when a *signalled* completion at or after
//! it is polled. The last request of each run is signalled, and besides every `signal_every`th or so: so the queue never
//! fills with silent ones. What a signalled one stands for is a [`Mark`], in the order of posting, which is the order in
//! which a queue pair completes.

use std::collections::VecDeque;

use pegaflow_core::{
    BackendError, Bounds, Cause, Op,
    backend::{Cursor, Follow, Posted, Raw, Run},
};
use rustix::io::Errno;

use super::{hand_shake::End, immediate::Immediate, place_bytes};
use crate::{
    RdmaConfig,
    device::Rail,
    region::resolve,
    sys::{Chain, QueuePair, Refused, Staging, abi::*},
};

/// What a signalled request completes: itself and the silent ones before it.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    cookie: u64,
    parts: u64,
    requests: u32,
    /// Of those, messages whose place in the staging memory is free again.
    messages: u32,
}

#[derive(Debug)]
pub(crate) struct Sender {
    /// Places of the send queue that are free.
    free: u32,
    signal_every: u32,
    inline_bytes: usize,
    max_request_bytes: u64,
    /// Posted since the last signalled request.
    silent: Mark,
    /// Signalled and not complete, oldest first; never longer than the send queue.
    under_way: VecDeque<Mark>,
    /// The device had no room for a run though there are free places: try again, without waiting for a completion.
    short: bool,
    /// Places came back, and no fact says so.
    freed: bool,
    /// Credits to be given to the peer.
    owed: u32,
    /// Reads were posted, and nothing that waits for them since.
    reads: bool,
    to: Option<To>,
}

/// The peer's ring of messages, and the memory that messages are sent from.
#[derive(Debug)]
struct To {
    ring: u64,
    ring_key: u32,
    place_bytes: u64,
    messages: u64,
    staging: Staging,
    sent: u64,
    /// Of those, given back as credits.
    credited: u64,
    /// Of those, not complete here.
    pending: u32,
}

impl Sender {
    pub(crate) fn new(config: &RdmaConfig, rail: &Rail) -> Self {
        Self {
            free: config.send_depth,
            signal_every: config.signal_every,
            inline_bytes: config.inline_bytes as usize,
            max_request_bytes: config.max_request_bytes.min(rail.attributes.max_message_bytes.into()),
            silent: Mark::default(),
            under_way: VecDeque::with_capacity(config.send_depth as usize),
            short: false,
            freed: false,
            owed: 0,
            reads: false,
            to: None,
        }
    }

    /// The device may read the staging memory for ever.
    pub(crate) fn keep(&mut self) {
        if let Some(to) = &mut self.to {
            to.staging.keep();
        }
    }

    /// The peer's end is known: its ring, of its bounds.
    pub(crate) fn join(&mut self, rail: &Rail, peer: &End, bounds: &Bounds) -> Result<(), BackendError> {
        let place_bytes = place_bytes(bounds.message_bytes);
        let staging = Staging::new(&rail.device, place_bytes * bounds.messages as usize)?;
        let (place_bytes, messages) = (place_bytes as u64, bounds.messages.into());
        let (ring, ring_key) = (peer.ring, peer.ring_key);
        self.to = Some(To { ring, ring_key, place_bytes, messages, staging, sent: 0, credited: 0, pending: 0 });
        Ok(())
    }

    pub(crate) fn owe(&mut self) {
        self.owed += 1;
    }

    /// The peer gave credits back; `false` where it never took as many.
    pub(crate) fn credited(&mut self, messages: u32) -> bool {
        self.to.as_mut().is_some_and(|to| {
            to.credited += u64::from(messages);
            to.credited <= to.sent
        })
    }

    /// From here on places that come back are noted.
    pub(crate) fn arm(&mut self) {
        self.freed = false;
    }

    /// Whether a poll may post what no completion will announce. A run that was refused is asked for once: it may have
    /// been withdrawn since.
    pub(crate) fn take_restless(&mut self) -> bool {
        let waits = std::mem::take(&mut self.short) || self.owed > 0 || self.silent.parts > 0;
        self.freed || (waits && self.under_way.is_empty())
    }

    /// Posts as much of a run as the queue has places for.
    ///
    /// # Safety
    /// - As [`Engine::post`](pegaflow_core::backend::Engine::post).
    pub(crate) unsafe fn post(
        &mut self,
        pair: &mut QueuePair,
        chain: &mut Chain,
        run: &mut Run<'_>,
    ) -> Result<Posted, Cause> {
        if self.silent.parts > 0 && self.silent.cookie != run.cookie() && !self.mark(pair, chain)? {
            return Ok(Posted::Part);
        }
        let opcode = match run.op() {
            Op::Write => IBV_WR_RDMA_WRITE,
            Op::Read => IBV_WR_RDMA_READ,
        };
        loop {
            let room = (self.free as usize).min(chain.length());
            if room == 0 {
                return Ok(Posted::Part);
            }
            // SAFETY: the caller's word.
            let built = unsafe { self.build(chain, run, opcode, room) };
            self.reads |= opcode == IBV_WR_RDMA_READ && built.requests > 0;
            let (cookie, requests) = (run.cookie(), built.requests);
            let mut mark = Mark { cookie, parts: requests.into(), requests, messages: 0 };
            let had_reads = self.reads;
            let ended = built.last_move && self.follow(chain, run, &mut mark, room);
            if mark.requests == 0 {
                return Ok(if ended { Posted::All } else { Posted::Part });
            }
            // SAFETY: the memory of the moves by the caller's word; that of a message is the staging memory, or is copied
            // now.
            match unsafe { self.ring_the_bell(pair, chain, mark, ended) } {
                Ok(()) if ended => return Ok(Posted::All),
                Ok(()) => {}
                Err(refused) => {
                    // Each move is one request, so what was posted of them is exact.
                    let moves = refused.posted.min(built.requests);
                    rewind(run, built.start, moves.into(), self.max_request_bytes);
                    // What was to wait for them is not posted, or not surely.
                    self.reads |= had_reads;
                    self.free -= refused.posted;
                    self.silent = Mark {
                        cookie: run.cookie(),
                        parts: self.silent.parts + u64::from(moves),
                        requests: self.silent.requests + refused.posted,
                        messages: self.silent.messages,
                    };
                    check_shortage(refused)?;
                    self.short = true;
                    return Ok(Posted::Part);
                }
            }
        }
    }

    /// Fills the chain with moves, `room` requests at most.
    ///
    /// # Safety
    /// - As [`Sender::post`].
    #[inline]
    unsafe fn build(&self, chain: &mut Chain, run: &mut Run<'_>, opcode: u32, room: usize) -> Built {
        let start = run.cursor();
        let mut at = 0;
        while at < room {
            let Some(one) = run.next_move(self.max_request_bytes) else { break };
            // SAFETY: keys of this backend, alive by the caller's word.
            let (here, there) = unsafe { (resolve(one.here_key, one.here), resolve(one.there_key, one.there)) };
            #[expect(clippy::cast_possible_truncation, reason = "at most max_request_bytes, a u32")]
            let bytes = one.bytes as u32;
            let left = here.1.min(there.1);
            if one.bytes > left {
                // It crosses from one piece of a registration to the next, and a request has one key a side: what is
                // built so far goes first, then as much of it as one piece holds, as a move of its own. Rare, and so
                // large that a chain of its own is no loss.
                rewind(run, start, at as u64, self.max_request_bytes);
                if at == 0
                    && let Some(part) = run.next_move(left)
                {
                    #[expect(clippy::cast_possible_truncation, reason = "at most `one.bytes`")]
                    chain.set(0, opcode, (part.here, here.0), (part.there, there.0), part.bytes as u32);
                    at = 1;
                }
                break;
            }
            chain.set(at, opcode, (one.here, here.0), (one.there, there.0), bytes);
            at += 1;
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most the length of a chain")]
        Built { start, requests: at as u32, last_move: run.ended() }
    }

    /// Adds what follows the last move, where it has room; gives whether it has.
    fn follow(&mut self, chain: &mut Chain, run: &Run<'_>, mark: &mut Mark, room: usize) -> bool {
        let Some(to) = &mut self.to else { return false };
        let at = mark.requests as usize;
        // What was read, by this run or one before it, must have arrived before the peer is told of anything.
        let fence = if self.reads { IBV_SEND_FENCE } else { 0 };
        match run.follow() {
            Follow::Nothing => return true,
            Follow::Count(id) if at > 0 && run.op() == Op::Write => {
                // The last write carries it: one request less.
                chain.immediate(at - 1, Immediate::Count(id).to_bits());
                chain.flag(at - 1, fence);
            }
            _ if at == room => return false,
            Follow::Count(_) | Follow::Abort(_) => {
                let immediate = match run.follow() {
                    Follow::Abort(id) => Immediate::Abort(id),
                    Follow::Count(id) => Immediate::Count(id),
                    _ => return false,
                };
                chain.set_empty(at, (to.ring, to.ring_key));
                chain.immediate(at, immediate.to_bits());
                chain.flag(at, fence);
                mark.requests += 1;
            }
            Follow::Message(message) => {
                // A place of the staging memory is free once its last message is complete here, which may be later
                // than the peer's credit.
                if u64::from(to.pending) == to.messages {
                    return false;
                }
                let offset = (to.sent % to.messages) * to.place_bytes;
                let there = (to.ring + offset, to.ring_key);
                #[expect(clippy::cast_possible_truncation, reason = "core has checked the length")]
                let bytes = message.len() as u32;
                if message.is_empty() {
                    chain.set_empty(at, there);
                } else if message.len() <= self.inline_bytes {
                    chain.set(at, IBV_WR_RDMA_WRITE, (message.as_ptr().addr() as u64, 0), there, bytes);
                    chain.flag(at, IBV_SEND_INLINE);
                } else {
                    #[expect(clippy::cast_possible_truncation, reason = "an offset inside memory")]
                    to.staging.write(offset as usize, message);
                    let here = (to.staging.address() + offset, to.staging.local_key());
                    chain.set(at, IBV_WR_RDMA_WRITE, here, there, bytes);
                }
                chain.immediate(at, Immediate::message(to.sent, message.len()).to_bits());
                chain.flag(at, fence);
                mark.requests += 1;
                mark.messages += 1;
            }
        }
        mark.parts += 1;
        self.reads = false;
        true
    }

    /// Posts a chain, signalled where the end of a run, the interval or the queue's last place wants it.
    ///
    /// # Safety
    /// - As [`Chain::post`].
    unsafe fn ring_the_bell(
        &mut self,
        pair: &mut QueuePair,
        chain: &mut Chain,
        mark: Mark,
        end: bool,
    ) -> Result<(), Refused> {
        let silent = self.silent.requests + mark.requests;
        let signal = end || silent >= self.signal_every || self.free == mark.requests;
        let count = mark.requests as usize;
        if signal {
            chain.flag(count - 1, IBV_SEND_SIGNALED);
        }
        // SAFETY: the caller's word.
        unsafe { chain.post(pair, count) }?;
        self.free -= mark.requests;
        if let Some(to) = &mut self.to {
            to.sent += u64::from(mark.messages);
            to.pending += mark.messages;
        }
        let mark = Mark {
            parts: self.silent.parts + mark.parts,
            requests: silent,
            messages: self.silent.messages + mark.messages,
            ..mark
        };
        self.silent = if signal {
            self.under_way.push_back(mark);
            Mark::default()
        } else {
            mark
        };
        Ok(())
    }

    /// Posts a signalled write of nothing, so that what was posted silently is reported; gives whether it went.
    fn mark(&mut self, pair: &mut QueuePair, chain: &mut Chain) -> Result<bool, Cause> {
        self.post_empty(pair, chain, None)
    }

    /// Posts a write of nothing: with an immediate, or signalled. Gives whether it went.
    fn post_empty(
        &mut self,
        pair: &mut QueuePair,
        chain: &mut Chain,
        immediate: Option<Immediate>,
    ) -> Result<bool, Cause> {
        let (Some(to), true) = (&self.to, self.free > 0) else { return Ok(false) };
        chain.set_empty(0, (to.ring, to.ring_key));
        if let Some(immediate) = immediate {
            chain.immediate(0, immediate.to_bits());
        }
        let mark = Mark { cookie: self.silent.cookie, requests: 1, ..Mark::default() };
        // SAFETY: it names no memory of this side.
        match unsafe { self.ring_the_bell(pair, chain, mark, immediate.is_none()) } {
            Ok(()) => Ok(true),
            Err(refused) => check_shortage(refused).map(|()| false),
        }
    }

    /// Gives the peer the credits it is owed, and reports what a partial post left silent.
    pub(crate) fn settle(&mut self, pair: &mut QueuePair, chain: &mut Chain) -> Result<(), Cause> {
        if self.silent.parts > 0 {
            self.mark(pair, chain)?;
        }
        if self.owed > 0 && self.post_empty(pair, chain, Some(Immediate::Credits(self.owed)))? {
            self.owed = 0;
        }
        Ok(())
    }

    /// A signalled request is complete; gives what core is to be told of.
    #[inline]
    pub(crate) fn completed(&mut self) -> Option<Raw> {
        let mark = self.under_way.pop_front()?;
        self.free += mark.requests;
        if let Some(to) = &mut self.to {
            to.pending -= mark.messages;
        }
        self.freed |= mark.parts == 0;
        (mark.parts > 0).then_some(Raw::Completed { cookie: mark.cookie, parts: mark.parts })
    }
}

/// What stands in a chain: a move in each request.
#[derive(Debug)]
struct Built {
    /// Where the run stood before.
    start: Cursor,
    requests: u32,
    /// There is no move after these.
    last_move: bool,
}

/// Whether the device lacks room now, which passes; otherwise the queue pair is broken.
fn check_shortage(refused: Refused) -> Result<(), Cause> {
    match Errno::from_raw_os_error(refused.errno) {
        Errno::NOMEM | Errno::AGAIN | Errno::NOBUFS => Ok(()),
        _ => Err(Cause::Device { errno: refused.errno }),
    }
}

/// Goes back to where `moves` moves after `start` were taken: a walk gives the same moves again.
fn rewind(run: &mut Run<'_>, start: Cursor, moves: u64, max_bytes: u64) {
    run.seek(start);
    for _ in 0..moves {
        run.next_move(max_bytes);
    }
}
