//! The receiving half of a link: receives for immediates, the peer's ring of messages, counters.

use pegaflow_core::{BackendError, Bounds, Cause, CounterTable};

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod garbage;

use super::{immediate::Immediate, place_bytes};
use crate::{
    device::Rail,
    sys::{QueuePair, Receives, Staging},
};

/// Where garbage was seen: a message's length, its number, its place.
pub(crate) const BAD_LENGTH: Cause = Cause::Garbage(20);
pub(crate) const BAD_SEQUENCE: Cause = Cause::Garbage(21);
pub(crate) const NO_PLACE: Cause = Cause::Garbage(22);

/// What an immediate was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A counter moved.
    Counted,
    /// A counted transfer of the peer's will not be.
    Aborted,
    /// A count or an abort for a counter that is retired.
    Late,
    Message {
        slot: u32,
        bytes: u32,
    },
    Credits(u32),
}

/// Memory that the peer writes into.
pub(crate) trait Ring {
    /// Copies out from byte `at` on; what it gives is to be checked.
    fn read(&self, at: usize, to: &mut [u8]);
}

impl Ring for Staging {
    #[inline]
    fn read(&self, at: usize, to: &mut [u8]) {
        Self::read(self, at, to);
    }
}

#[derive(Debug)]
pub(crate) struct Receiver<R = Staging> {
    /// Receives that were used up and are not posted again.
    used: u32,
    counters: CounterTable,
    /// What the peer writes messages into.
    ring: R,
    place_bytes: usize,
    messages: u64,
    message_bytes: u32,
    /// Messages copied out of the ring, by slot: the peer can't change them any more.
    copies: Box<[u8]>,
    free: Vec<u32>,
    arrived: u64,
}

impl Receiver {
    pub(crate) fn new(rail: &Rail, bounds: &Bounds) -> Result<Self, BackendError> {
        Ok(Self::over(Staging::new(&rail.device, ring_bytes(bounds))?, bounds))
    }

    /// The device may write the ring for ever.
    pub(crate) fn keep(&mut self) {
        self.ring.keep();
    }

    pub(crate) fn ring(&self) -> (u64, u32) {
        (self.ring.address(), self.ring.remote_key())
    }
}

fn ring_bytes(bounds: &Bounds) -> usize {
    place_bytes(bounds.message_bytes) * bounds.messages as usize
}

impl<R: Ring> Receiver<R> {
    /// `ring` has the bytes that the bounds ask for.
    fn over(ring: R, bounds: &Bounds) -> Self {
        Self {
            used: 0,
            counters: CounterTable::in_process(1, bounds.counters),
            ring,
            place_bytes: place_bytes(bounds.message_bytes),
            messages: bounds.messages.into(),
            message_bytes: bounds.message_bytes,
            copies: vec![0; ring_bytes(bounds)].into(),
            free: (0..bounds.messages).rev().collect(),
            arrived: 0,
        }
    }

    pub(crate) fn counters(&self) -> CounterTable {
        self.counters.clone()
    }

    /// An immediate arrived, and used up a receive.
    #[inline]
    pub(crate) fn arrived(&mut self, bits: u32) -> Result<Arrival, Cause> {
        self.used += 1;
        match Immediate::from_bits(bits) {
            Immediate::Count(id) => Ok(if self.counters.increment(id, 0) { Arrival::Counted } else { Arrival::Late }),
            Immediate::Abort(id) => Ok(if self.counters.abort(id, 0) { Arrival::Aborted } else { Arrival::Late }),
            Immediate::Message { sequence, bytes } => self.message_arrived(sequence, bytes),
            Immediate::Credits(messages) => Ok(Arrival::Credits(messages)),
        }
    }

    /// Copies the message out of its place: the sender comes back to it once its credit was given back.
    fn message_arrived(&mut self, sequence: u32, bytes: u32) -> Result<Arrival, Cause> {
        if Immediate::message(self.arrived, bytes as usize) != (Immediate::Message { sequence, bytes }) {
            return Err(BAD_SEQUENCE);
        }
        if bytes > self.message_bytes {
            return Err(BAD_LENGTH);
        }
        // A sender within his credits always finds a slot free.
        let slot = self.free.pop().ok_or(NO_PLACE)?;
        #[expect(clippy::cast_possible_truncation, reason = "below the number of messages, a u32")]
        let place = (self.arrived % self.messages) as usize;
        let to = slot as usize * self.place_bytes;
        self.ring.read(place * self.place_bytes, &mut self.copies[to..to + bytes as usize]);
        self.arrived += 1;
        Ok(Arrival::Message { slot, bytes })
    }

    pub(crate) fn message(&self, slot: u32, bytes: u32) -> &[u8] {
        let start = slot as usize * self.place_bytes;
        &self.copies[start..start + bytes as usize]
    }

    pub(crate) fn release(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Posts again what was used up, a chain at a time: so many wait that the sender does not notice.
    #[inline]
    pub(crate) fn refill(&mut self, pair: &mut QueuePair, receives: &mut Receives) -> Result<(), Cause> {
        while self.used >= receives.len() {
            receives.post(pair, receives.len()).map_err(|errno| Cause::Device { errno })?;
            self.used -= receives.len();
        }
        Ok(())
    }
}
