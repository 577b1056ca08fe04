//! Messages of one channel: those on their way out, and those received and held.

use crate::ApiMisuse;

/// Outgoing messages that are not posted yet, copied at `submit`. There are as many places as the peer gives credits,
/// and a waiting message has taken one: so there is always room.
#[derive(Debug)]
pub(crate) struct Outgoing {
    bytes: Box<[u8]>,
    longest: usize,
    free: Vec<u32>,
    credits: u32,
}

/// A message in [`Outgoing`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    place: u32,
    bytes: u32,
}

impl Waiting {
    /// The message's length.
    pub(crate) fn bytes(self) -> u32 {
        self.bytes
    }
}

impl Outgoing {
    pub(crate) fn new(credits: u32, longest: u32) -> Self {
        Self {
            bytes: vec![0; credits as usize * longest as usize].into(),
            longest: longest as usize,
            free: (0..credits).collect(),
            credits,
        }
    }

    pub(crate) fn has_credit(&self) -> bool {
        self.credits > 0 && !self.free.is_empty()
    }

    /// Takes a credit and copies; the caller has checked both the length and `has_credit`.
    pub(crate) fn take(&mut self, message: &[u8]) -> Option<Waiting> {
        let place = self.free.pop()?;
        self.credits -= 1;
        let start = place as usize * self.longest;
        self.bytes[start..start + message.len()].copy_from_slice(message);
        u32::try_from(message.len()).ok().map(|bytes| Waiting { place, bytes })
    }

    pub(crate) fn bytes(&self, waiting: Waiting) -> &[u8] {
        let start = waiting.place as usize * self.longest;
        &self.bytes[start..start + waiting.bytes as usize]
    }

    /// The backend has it: its place is free, its credit is the peer's to give back.
    pub(crate) fn posted(&mut self, waiting: Waiting) {
        self.free.push(waiting.place);
    }

    /// It never left: place and credit are free.
    pub(crate) fn withdrawn(&mut self, waiting: Waiting) {
        self.free.push(waiting.place);
        self.credits += 1;
    }

    pub(crate) fn credited(&mut self, messages: u32) {
        self.credits = self.credits.saturating_add(messages);
    }
}

/// Received messages that the caller holds, by the engine's slot.
#[derive(Debug)]
pub(crate) struct Held {
    slots: Box<[HeldSlot]>,
    count: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct HeldSlot {
    generation: u32,
    bytes: u32,
    held: bool,
}

impl Held {
    pub(crate) fn new(slots: u32) -> Self {
        Self { slots: vec![HeldSlot::default(); slots as usize].into(), count: 0 }
    }

    /// Notes an arrival; gives the generation for the caller's handle. `None` for a slot that can't be.
    pub(crate) fn arrive(&mut self, index: u32, bytes: u32) -> Option<u32> {
        let slot = self.slots.get_mut(index as usize).filter(|slot| !slot.held)?;
        slot.generation = slot.generation.wrapping_add(1);
        slot.bytes = bytes;
        slot.held = true;
        self.count += 1;
        Some(slot.generation)
    }

    /// The length of a held message.
    pub(crate) fn bytes(&self, index: u32, generation: u32) -> Result<u32, ApiMisuse> {
        match self.slots.get(index as usize) {
            Some(slot) if slot.held && slot.generation == generation => Ok(slot.bytes),
            _ => Err(ApiMisuse::SlotNotHeld),
        }
    }

    pub(crate) fn release(&mut self, index: u32, generation: u32) -> Result<(), ApiMisuse> {
        self.bytes(index, generation)?;
        self.slots[index as usize].held = false;
        self.count -= 1;
        Ok(())
    }

    pub(crate) fn none(&self) -> bool {
        self.count == 0
    }
}
