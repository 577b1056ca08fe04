//! Transfers of one kind, some of them under way while something happens to the peer or to the way to it.

use std::time::Instant;

use pegaflow_core::{Batch, Class, Op, Outcome, Plan, Port, Region, Submitted, Then};

use crate::{
    pair::{CounterThere, Pair, There},
    protocol::{Command, Limits, Reply},
    side::{End, read, seeded},
};

/// What moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A block, and a count behind it.
    Writes,
    Reads,
    /// Alone.
    Messages,
}

pub(super) const KINDS: [Kind; 3] = [Kind::Writes, Kind::Reads, Kind::Messages];

/// Transfers of a flow, and bytes of each.
pub(super) const TRANSFERS: u32 = 20;
const BLOCK: u32 = 1 << 16;
const ALL: u64 = BLOCK as u64 * TRANSFERS as u64;

/// Room for flows of all kinds at once, no message of which is released.
pub(super) const LIMITS: Limits = Limits { messages: 2 * TRANSFERS, ..Limits::USUAL };

/// Transfer `n` moves block `n`, or is message `n`.
pub(super) struct Flow {
    pub(super) kind: Kind,
    pub(super) submitted: u32,
    here: Region,
    there: There,
    plan: Plan,
    counter: CounterThere,
}

impl Flow {
    pub(super) fn new(pair: &mut Pair, kind: Kind) -> Self {
        let here = pair.here.allocate(ALL);
        let there = pair.there(ALL);
        let op = if kind == Kind::Reads { Op::Read } else { Op::Write };
        if op == Op::Read {
            pair.call(Command::Fill { region: there.region, seed: 7 });
        } else {
            here.write(0, &seeded(7, ALL)).expect("its whole");
        }
        let plan = pair.here.blocks(op, &here, &there.remote, BLOCK, TRANSFERS);
        let counter = pair.counter();
        Self { kind, submitted: 0, here, there, plan, counter }
    }

    /// The tag of transfer `number`, apart from those of the other kinds.
    pub(super) fn tag(&self, number: u32) -> u64 {
        self.kind as u64 * 1000 + u64::from(number)
    }

    /// Submits the next transfer, for which there is room; gives its tag.
    #[track_caller]
    pub(super) fn submit(&mut self, pair: &mut Pair, deadline: Instant) -> u64 {
        let (number, tag) = (self.submitted, self.tag(self.submitted));
        let (channel, ids) = (pair.channel, [number]);
        let then = if self.kind == Kind::Writes { Then::Count(self.counter.id) } else { Then::Nothing };
        let batch = Batch { plan: &self.plan, planes: 0..1, here: &ids, there: &ids, then, deadline, tag };
        let port = pair.here.port();
        let submitted = match self.kind {
            Kind::Messages => port.send(channel, &message(number), deadline, tag),
            _ => port.submit(channel, &batch),
        };
        assert!(matches!(submitted, Ok(Submitted::Accepted(_))), "{:?} {number}: {submitted:?}", self.kind);
        self.submitted += 1;
        tag
    }

    /// What has ended of it.
    pub(super) fn ends<'a>(&self, ends: &'a [End]) -> impl Iterator<Item = &'a End> {
        let tags = self.tag(0)..self.tag(TRANSFERS);
        ends.iter().filter(move |end| tags.contains(&end.tag))
    }

    /// Waits until each has ended; they must be `Done`, once each.
    #[track_caller]
    pub(super) fn done(&self, pair: &mut Pair) {
        for number in 0..self.submitted {
            pair.here.done(self.tag(number));
        }
        assert_eq!(self.ends(&pair.here.log.ends).count(), self.submitted as usize, "each ended once");
        assert!(self.ends(&pair.here.log.ends).all(|end| end.outcome == Outcome::Done));
    }

    /// All that was submitted is where it belongs, once and in order, and nothing else is.
    #[track_caller]
    pub(super) fn arrived(&self, pair: &mut Pair) {
        let mut expected = seeded(7, ALL);
        expected[(self.submitted * BLOCK) as usize..].fill(0);
        match self.kind {
            Kind::Writes => {
                let count = u64::from(self.submitted);
                assert_eq!(pair.wait_counter(self.counter, count), count);
                pair.compare(self.there.region, &expected);
            }
            Kind::Reads => assert!(read(&self.here, 0, ALL) == expected, "what was read is not what was there"),
            Kind::Messages => {
                let expected: Vec<_> = (0..self.submitted).map(message).collect();
                assert!(pair.messages(expected.len(), true) == expected, "messages, each once and in order");
            }
        }
    }
}

/// Message `number`: longer than what is sent inside a request.
fn message(number: u32) -> Vec<u8> {
    seeded(number.into(), 500)
}

/// A new dial after the end of the channel: the pair goes on over it. What the peer was sent before is released.
#[track_caller]
pub(super) fn redial(pair: &mut Pair, address: &[u8]) {
    let channel = pair.here.dial(address, Class::Kv);
    let epoch = pair.here.up(channel);
    pair.channel = channel;
    loop {
        // The peer may have taken a dial that was given up here.
        let Reply::Channel { handle, epoch: same } = pair.call(Command::NextChannel) else { panic!("no channel") };
        if same == epoch {
            pair.there = handle;
            break;
        }
    }
    let Reply::Tally(tally) = pair.call(Command::Tally) else { panic!("no tally") };
    pair.messages(usize::try_from(tally.messages).expect("few"), true);
}

/// The channel works: a message there, and one back.
#[track_caller]
pub(super) fn works(pair: &mut Pair) {
    let (channel, tag, back) = (pair.channel, u64::MAX - 2, pair.there);
    pair.here.send(channel, b"there", tag);
    pair.here.done(tag);
    assert_eq!(pair.messages(1, true), [b"there"]);
    pair.call(Command::Send { channel: back, message: b"back".to_vec() });
    let message = pair.here.message();
    assert_eq!(pair.here.bytes_of(message), b"back");
    pair.here.port().release(message.slot).expect("it is held");
}
