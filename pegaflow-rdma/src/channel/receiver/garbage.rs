//! A peer whose immediates say anything, over a ring that it writes at any time, for `fuzz`.

use std::cell::RefCell;

use pegaflow_core::Bounds;

use super::{Arrival, BAD_LENGTH, BAD_SEQUENCE, Immediate, NO_PLACE, Receiver, Ring, ring_bytes};

const BOUNDS: Bounds = Bounds { transfers: 1, blocks: 1, messages: 4, message_bytes: 300, counters: 8 };

struct Scribbled(RefCell<Vec<u8>>);

impl Ring for &Scribbled {
    fn read(&self, at: usize, to: &mut [u8]) {
        to.copy_from_slice(&self.0.borrow()[at..at + to.len()]);
    }
}

/// `[operation, four bytes]` again and again, from a peer that is a correct one in most of them: what core relies on
/// holds of all that is believed, and what is not believed ends the link.
pub fn immediates(data: &[u8]) {
    let ring = Scribbled(RefCell::new(vec![0; ring_bytes(&BOUNDS)]));
    let mut receiver = Receiver::over(&ring, &BOUNDS);
    let mut held: Vec<(u32, Vec<u8>)> = Vec::new();
    let mut arrived = 0;
    for step in data.chunks_exact(5) {
        let [operation, word @ ..] = step else { return };
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        match operation % 5 {
            0 | 1 => {
                let length = word as usize % (BOUNDS.message_bytes as usize + 1);
                let bits = if operation % 5 == 0 { word } else { Immediate::message(arrived, length).to_bits() };
                let came = receiver.arrived(bits);
                match (Immediate::from_bits(bits), came) {
                    (Immediate::Count(id), Ok(Arrival::Counted)) | (Immediate::Abort(id), Ok(Arrival::Aborted)) => {
                        assert!(id.index() < BOUNDS.counters && id.generation() == 0, "{id:?}");
                    }
                    (Immediate::Count(_) | Immediate::Abort(_), Ok(Arrival::Late)) => {}
                    (Immediate::Credits(said), Ok(Arrival::Credits(credits))) => assert_eq!(said, credits),
                    (Immediate::Message { .. }, Ok(Arrival::Message { slot, bytes })) => {
                        assert!(slot < BOUNDS.messages && bytes <= BOUNDS.message_bytes);
                        assert!(held.iter().all(|(other, _)| *other != slot), "slot {slot} is held");
                        held.push((slot, receiver.message(slot, bytes).to_vec()));
                        arrived += 1;
                    }
                    (Immediate::Message { .. }, Err(cause)) => {
                        assert!([BAD_LENGTH, BAD_SEQUENCE, NO_PLACE].contains(&cause), "{cause:?}");
                        return;
                    }
                    other => panic!("{other:?}"),
                }
            }
            2 => {
                let mut ring = ring.0.borrow_mut();
                let at = word as usize % ring.len();
                let end = (at + 64).min(ring.len());
                ring[at..end].fill(word.to_le_bytes()[3]);
            }
            3 if !held.is_empty() => receiver.release(held.swap_remove(word as usize % held.len()).0),
            _ => {
                for (slot, bytes) in &held {
                    let length = u32::try_from(bytes.len()).expect("short");
                    assert_eq!(receiver.message(*slot, length), bytes, "a message that is held changed");
                }
            }
        }
    }
}
