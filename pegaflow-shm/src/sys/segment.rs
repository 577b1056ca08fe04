//! The shared memory of one direction of a link: made by the receiver, written by the sender.
//!
//! `[tail | released | counted | aborted | sleeping]`, a cache line each, then the counters, then the ring of messages.
//! Either side may be anybody: what is read here is checked by who reads it.

use std::{
    os::fd::OwnedFd,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64},
    },
};

use pegaflow_core::{BackendError, Bounds, CounterTable};

use super::Mapped;

const LINE: usize = 64;
const TAIL: usize = 0;
const RELEASED: usize = LINE;
const COUNTED: usize = 2 * LINE;
const ABORTED: usize = 3 * LINE;
const SLEEPING: usize = 4 * LINE;
const COUNTERS: usize = 5 * LINE;
/// A message's length stands before its bytes.
const LENGTH: usize = 8;

/// The sizes of a segment, known to both sides from the receiver's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) counters: u32,
    pub(crate) messages: u32,
    pub(crate) message_bytes: u32,
}

impl Shape {
    pub(crate) fn of(bounds: &Bounds) -> Self {
        Self { counters: bounds.counters, messages: bounds.messages, message_bytes: bounds.message_bytes }
    }

    fn ring(self) -> usize {
        (COUNTERS + CounterTable::cells(1, self.counters) * 8).next_multiple_of(LINE)
    }

    fn stride(self) -> usize {
        (LENGTH + self.message_bytes as usize).next_multiple_of(LINE)
    }

    fn bytes(self) -> usize {
        self.ring() + self.messages as usize * self.stride()
    }
}

#[derive(Debug)]
pub(crate) struct Segment {
    mapped: Arc<Mapped>,
    shape: Shape,
}

impl Segment {
    /// The receiver's side, and the file for the sender.
    pub(crate) fn create(shape: Shape) -> Result<(Self, OwnedFd), BackendError> {
        let (mapped, file) = Mapped::create(shape.bytes())?;
        Ok((Self { mapped: Arc::new(mapped), shape }, file))
    }

    /// The sender's side.
    pub(crate) fn of_peer(file: OwnedFd, shape: Shape) -> Result<Self, BackendError> {
        Ok(Self { mapped: Arc::new(Mapped::of_peer(file, shape.bytes() as u64)?), shape })
    }

    /// Messages the sender has written, ever.
    pub(crate) fn tail(&self) -> &AtomicU64 {
        self.word(TAIL)
    }

    /// Messages the receiver has released, ever.
    pub(crate) fn released(&self) -> &AtomicU64 {
        self.word(RELEASED)
    }

    /// Increments the sender has made, ever.
    pub(crate) fn counted(&self) -> &AtomicU64 {
        self.word(COUNTED)
    }

    /// Aborts that the sender has made, ever.
    pub(crate) fn aborted(&self) -> &AtomicU64 {
        self.word(ABORTED)
    }

    /// Not 0: the receiver sleeps, and whoever sets it to 0 wakes him.
    pub(crate) fn sleeping(&self) -> &AtomicU32 {
        // SAFETY: inside the header, aligned, and accessed atomically by both sides; lives as long as `self`.
        unsafe { self.mapped.base().add(SLEEPING).cast().as_ref() }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        // SAFETY: `at` is a line of the header: inside, aligned, and accessed atomically by both sides.
        unsafe { self.mapped.base().add(at).cast().as_ref() }
    }

    pub(crate) fn counters(&self) -> CounterTable {
        // SAFETY: the cells lie inside the mapping (see `Shape::bytes`), aligned, and `mapped` keeps them.
        unsafe {
            let cells = self.mapped.base().add(COUNTERS).cast();
            let keep = Arc::clone(&self.mapped);
            CounterTable::shared(cells, 1, self.shape.counters, keep)
        }
    }

    /// The `number`th message ever goes to this place of the ring.
    fn place(&self, number: u64) -> *mut u8 {
        #[expect(clippy::cast_possible_truncation, reason = "below the number of messages, a u32")]
        let place = (number % u64::from(self.shape.messages)) as usize;
        // SAFETY: inside the mapping, see `Shape::bytes`.
        unsafe { self.mapped.base().as_ptr().add(self.shape.ring() + place * self.shape.stride()) }
    }

    /// Writes a message; it is seen once `tail` says so. One longer than the shape allows is refused.
    pub(crate) fn write_message(&self, number: u64, message: &[u8]) -> bool {
        if message.len() > self.shape.message_bytes as usize {
            return false;
        }
        let place = self.place(number);
        // SAFETY: length and bytes fit the place's stride. The receiver reads it only after `tail`, and the sender
        // comes back to it only after the receiver has copied it.
        unsafe {
            place.cast::<u64>().write(message.len() as u64);
            ptr::copy_nonoverlapping(message.as_ptr(), place.add(LENGTH), message.len());
        }
        true
    }

    /// Copies a message out; gives its length. `None` where the sender's length is no length.
    pub(crate) fn read_message(&self, number: u64, to: &mut [u8]) -> Option<u32> {
        let place = self.place(number);
        // SAFETY: inside the mapping and aligned to 8; volatile, since it may change under a faulty sender: it is read
        // once and checked after.
        let length = unsafe { place.cast::<u64>().read_volatile() };
        let length = u32::try_from(length).ok().filter(|&length| length <= self.shape.message_bytes)?;
        let to = to.get_mut(..length as usize)?;
        // SAFETY: `length` is at most what the place holds; `to` is private memory of that length.
        unsafe { ptr::copy_nonoverlapping(place.add(LENGTH), to.as_mut_ptr(), to.len()) };
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_every_length_fit_and_longer_ones_do_not() {
        let shape = Shape { counters: 3, messages: 2, message_bytes: 256 };
        let (segment, file) = Segment::create(shape).unwrap();
        let other = Segment::of_peer(file, shape).unwrap();
        let mut got = [0; 256];
        for length in 0..=256_usize {
            let message: Vec<u8> = (0..length).map(|at| u8::try_from((at ^ length) & 0xff).unwrap()).collect();
            assert!(other.write_message(length as u64, &message));
            assert_eq!(segment.read_message(length as u64, &mut got), u32::try_from(length).ok());
            assert_eq!(got[..length], message);
        }
        assert!(!other.write_message(0, &[0; 257]));
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let shape = Shape { counters: 1, messages: 1, message_bytes: 256 };
        let (segment, _) = Segment::create(shape).unwrap();
        for lie in [257, u64::from(u32::MAX) + 1, u64::MAX] {
            // SAFETY: the only place of the ring.
            unsafe { segment.place(0).cast::<u64>().write(lie) };
            assert_eq!(segment.read_message(0, &mut [0; 256]), None);
        }
    }

    #[test]
    fn a_file_that_could_shrink_or_is_too_short_is_refused() {
        let shape = Shape { counters: 1, messages: 64, message_bytes: 1024 };
        let file = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&file, 1 << 20).unwrap();
        assert!(Segment::of_peer(file, shape).unwrap_err().message.contains("not sealed"));
        let (_, short) = Segment::create(Shape { messages: 1, ..shape }).unwrap();
        assert!(Segment::of_peer(short, shape).unwrap_err().message.contains("expected at least"));
    }
}
