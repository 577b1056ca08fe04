//! A peer that writes anything anywhere into the segments of its link, for `fuzz`.

use std::{collections::VecDeque, fs::File, os::unix::fs::FileExt};

use pegaflow_core::{
    Bounds, Cause, Class, CounterId, Link,
    backend::{Engine, Parcel, Raw},
};

use super::ShmEngine;

const BOUNDS: Bounds = Bounds { transfers: 1, blocks: 1, messages: 4, message_bytes: 256, counters: 4 };
/// The link whose segments are written all over.
const BAD: Link = Link(0);
/// Its neighbour in the same engines.
const GOOD: Link = Link(1);

/// The rest of an input; zeros behind its end.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next<const N: usize>(&mut self) -> [u8; N] {
        let (head, rest) = self.0.split_at(self.0.len().min(N));
        self.0 = rest;
        let mut all = [0; N];
        all[..head.len()].copy_from_slice(head);
        all
    }

    fn byte(&mut self) -> u8 {
        let [byte] = self.next();
        byte
    }

    /// Below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        usize::from(u16::from_le_bytes(self.next())) % limit
    }
}

/// A message that arrived, and what it was.
#[derive(Debug)]
struct Held {
    link: Link,
    slot: u32,
    bytes: Vec<u8>,
}

/// One engine, with what core would know of its links.
struct Side {
    engine: ShmEngine,
    /// By link: messages that may be sent, and that were sent and not credited.
    credits: [u32; 2],
    owed: [u32; 2],
    held: Vec<Held>,
    failed: bool,
    /// On the good link: messages to come, and counts that came.
    expected: VecDeque<Vec<u8>>,
    counted: u64,
}

impl Side {
    fn new() -> Self {
        let engine = ShmEngine::new(2, 1 << 16).expect("an eventfd");
        let (held, expected) = (Vec::new(), VecDeque::new());
        Self { engine, credits: [BOUNDS.messages; 2], owed: [0; 2], held, failed: false, expected, counted: 0 }
    }

    fn open(&mut self, link: Link) -> Parcel {
        self.engine.open(link, Class::Kv, &BOUNDS).expect("a link")
    }

    fn join(&mut self, link: Link, parcel: Parcel) {
        self.engine.join(link, parcel, &BOUNDS).expect("the peer's end");
    }

    /// Sends, where core would have a credit.
    fn send(&mut self, link: Link, message: &[u8]) -> bool {
        let known = link.index();
        if self.credits[known] == 0 || (link == BAD && self.failed) {
            return false;
        }
        self.credits[known] -= 1;
        self.owed[known] += 1;
        self.engine.link(link).expect("open").send(message);
        true
    }

    fn count(&mut self, link: Link, id: CounterId) {
        self.engine.link(link).expect("open").count(id);
    }

    fn release(&mut self, at: usize) {
        if !self.held.is_empty() {
            let held = self.held.swap_remove(at % self.held.len());
            self.engine.release(held.link, held.slot);
        }
    }

    /// Polls, and checks what core relies on; gives how much there was.
    fn poll(&mut self, room: usize) -> usize {
        let mut raw = [Raw::Credit { link: Link(9), messages: 0 }; 8];
        let count = self.engine.poll(&mut raw[..room]);
        raw[..count].iter().for_each(|raw| self.saw(*raw));
        count
    }

    fn saw(&mut self, raw: Raw) {
        match raw {
            Raw::Arrived { link, slot, bytes } => {
                assert!(slot < BOUNDS.messages && bytes <= BOUNDS.message_bytes, "{raw:?}");
                assert!(self.held.iter().all(|held| (held.link, held.slot) != (link, slot)), "{raw:?} is held");
                let bytes = self.engine.message(link, slot, bytes).to_vec();
                if link == GOOD {
                    assert_eq!(self.expected.pop_front().as_ref(), Some(&bytes), "the neighbour's message");
                }
                self.held.push(Held { link, slot, bytes });
            }
            Raw::Credit { link, messages } => {
                assert!((1..=self.owed[link.index()]).contains(&messages), "{raw:?} of {}", self.owed[link.index()]);
                self.owed[link.index()] -= messages;
                self.credits[link.index()] += messages;
            }
            Raw::Counted { link: GOOD, increments } => self.counted += increments,
            Raw::Counted { link, increments } => {
                assert!(link == BAD && (1..1 << 52).contains(&increments), "{raw:?}");
            }
            Raw::Aborted { link, aborts } => assert!(link == BAD && (1..1 << 52).contains(&aborts), "{raw:?}"),
            Raw::Closed { link: BAD, quiet: true } => assert!(self.failed, "nobody closed it"),
            Raw::Failed { link: BAD, cause: Cause::Garbage(10..=13) } => {
                assert!(!std::mem::replace(&mut self.failed, true), "said twice");
                self.engine.close(BAD);
            }
            other => panic!("{other:?}"),
        }
    }

    /// A message that is held is this side's own: no peer changes it any more.
    fn look(&self) {
        for held in &self.held {
            let length = u32::try_from(held.bytes.len()).expect("short");
            assert_eq!(self.engine.message(held.link, held.slot, length), held.bytes, "{held:?}");
        }
    }

    fn sleep(&mut self) {
        let _ = self.engine.arm();
        self.engine.disarm();
    }
}

/// Two engines with two links, one of which is written all over between the polls. That link fails with its place, once;
/// its neighbour misses nothing; nothing is handed out that core could not believe.
pub fn ring(data: &[u8]) {
    let mut script = Script(data);
    let (mut one, mut other) = (Side::new(), Side::new());
    let mut files = Vec::new();
    for link in [BAD, GOOD] {
        let (here, there) = (one.open(link), other.open(link));
        if link == BAD {
            files.extend([&here, &there].map(|parcel| File::from(parcel.files[0].try_clone().expect("a descriptor"))));
        }
        one.join(link, there);
        other.join(link, here);
    }
    let length = usize::try_from(files[0].metadata().expect("a memfd").len()).expect("short");
    let write = |which: u8, at: usize, bytes: &[u8]| {
        let bytes = &bytes[..bytes.len().min(length - at)];
        files[usize::from(which >> 6 & 1)].write_all_at(bytes, at as u64).expect("inside");
    };
    let (mut sent, mut counts) = (0_u8, 0_u32);
    while !script.0.is_empty() {
        let operation = script.byte();
        let (from, to) = if operation & 0x80 == 0 { (&mut one, &mut other) } else { (&mut other, &mut one) };
        match operation & 0xf {
            // A word: of the header, a counter, a message's length.
            0..=2 => {
                let at = script.below(length / 8) * 8;
                write(operation, at, &script.next::<8>());
            }
            // A small number in the header.
            3 => {
                let at = script.below(5) * 64;
                write(operation, at, &u64::from(script.byte()).to_le_bytes());
            }
            // Anything anywhere.
            4 => {
                let at = script.below(length);
                write(operation, at, &script.next::<24>());
            }
            5..=7 => drop(from.poll(1 + usize::from(operation >> 4 & 7))),
            8 => from.release(script.byte().into()),
            9 => {
                let message = vec![0x55; script.below(257)];
                from.send(BAD, &message);
            }
            10 => from.count(BAD, CounterId::from_bits(u32::from_le_bytes(script.next()))),
            11 | 12 => {
                sent = sent.wrapping_add(1);
                let message = vec![sent; sent.into()];
                if from.send(GOOD, &message) {
                    to.expected.push_back(message);
                }
            }
            13 => {
                // Of generation 0, in which each cell begins.
                one.count(GOOD, CounterId::from_bits(counts % BOUNDS.counters));
                counts += 1;
            }
            14 => from.sleep(),
            _ => from.look(),
        }
    }
    for side in [&mut one, &mut other] {
        while side.poll(8) > 0 {}
        side.look();
        assert!(side.expected.is_empty(), "the neighbour's messages {:?} are lost", side.expected);
    }
    assert_eq!(other.counted, u64::from(counts), "the neighbour's counts");
}
