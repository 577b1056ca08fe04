//! What follows data is seen after it.

use std::time::{Duration, Instant};

use pegaflow_core::{Op, Port, Submitted, Then};

use super::Case;
use crate::{
    agent::loops::stamp,
    pair::{Context, Pair},
    placement::watch_time,
    protocol::{Command, Reply},
    side::{hash, seeded},
};

pub(super) const CASES: &[Case] = &[
    Case::both("counter_after_data", |context| {
        after_data(context, "counter");
    }),
    Case::both("message_after_data", |context| {
        after_data(context, "message");
    }),
    Case::both("message_alone_follows_what_was_submitted_before", message_alone),
];

/// As many as there are credits for messages.
const SLOTS: u64 = 16;
const BLOCKS_PER_SLOT: u32 = 4;

/// Promise "two things follow data": when the receiver sees the count, or the message, every byte of the transfer is
/// there. The agent looks the moment it sees one; the driver sends as fast as it can, short transfers and long ones.
fn after_data(context: &Context, follows: &str) {
    // So long that a receiver on a busy machine still looks while they are under way.
    for block_bytes in [4096, context.bulk(1 << 19)] {
        let checked = watched(context, follows, block_bytes);
        let place = context.placement.name();
        eprintln!("{follows} after {block_bytes}-byte blocks, {place}: {checked} looked at");
    }
}

fn watched(context: &Context, follows: &str, block_bytes: u32) -> u64 {
    let mut pair = Pair::new(context);
    let blocks = BLOCKS_PER_SLOT * u32::try_from(SLOTS).expect("small");
    let (here, there, plan) = pair.blocks(Op::Write, block_bytes, blocks);
    let counter = (follows == "counter").then(|| pair.counter());
    let slot_bytes = u64::from(block_bytes * BLOCKS_PER_SLOT);
    let mut bytes = vec![0; usize::try_from(slot_bytes).expect("small")];
    pair.peer.begin(Command::Watch {
        channel: pair.there,
        region: there.region,
        slots: SLOTS,
        slot_bytes,
        counter: counter.map(|counter| counter.handle),
    });
    let (mut sent, mut ended, mut acknowledged) = (0_u64, vec![true; usize::try_from(SLOTS).expect("small")], 0);
    let until = Instant::now() + watch_time() / 2;
    let mut filled = false;
    let check = |pair: &mut Pair| assert!(pair.peer.answer_within(Duration::ZERO).is_none(), "it answered early");
    while Instant::now() < until {
        let slot = sent % SLOTS;
        let place = usize::try_from(slot).expect("small");
        // A slot is written again once its last transfer is quiet here and was looked at there.
        let free = ended[place] && (counter.is_none() || sent < acknowledged + SLOTS);
        if free {
            if !filled {
                bytes.fill(stamp(sent, SLOTS));
                here.write(slot * slot_bytes, &bytes).expect("inside");
                filled = true;
            }
            let first = u32::try_from(slot).expect("small") * BLOCKS_PER_SLOT;
            // Not in order, and not merged; the last is moved last.
            let ids = [first, first + 2, first + 1, first + 3];
            let number = sent.to_le_bytes();
            let then = counter.map_or(Then::Message(&number), |counter| Then::Count(counter.id));
            let submitted = pair.here.try_submit(pair.channel, &plan, &ids, then, slot);
            if let Submitted::Accepted(_) = submitted.expect("no fault") {
                (ended[place], filled) = (false, false);
                sent += 1;
            }
        }
        let idle = pair.here.turn() == 0;
        if !pair.here.log.ends.is_empty() && pair.here.log.all_quiet() {
            for end in pair.here.log.ends.drain(..) {
                ended[usize::try_from(end.tag).expect("small")] = true;
            }
        }
        while let Some(message) = pair.here.log.messages.pop_front() {
            let bytes = pair.here.bytes_of(message);
            acknowledged = u64::from_le_bytes(*bytes.first_chunk().expect("8 bytes"));
            pair.here.port().release(message.slot).expect("held");
        }
        if idle {
            std::thread::yield_now();
        }
        if sent % 256 == 0 {
            check(&mut pair);
        }
    }
    let stop: Vec<u8> = [sent.to_le_bytes(), [0; 8]].concat();
    pair.here.send(pair.channel, &stop, u64::MAX);
    let checked = match pair.answer() {
        Reply::Value(checked) => checked,
        other => panic!("{other:?} for a number"),
    };
    assert!(checked > 0 && checked == sent, "{checked} of {sent} looked at");
    checked
}

/// A message alone is sent after all that was submitted before on its channel: who sees it sees all their bytes.
fn message_alone(context: &Context) {
    let mut pair = Pair::new(context);
    let (here, there, plan) = pair.blocks(Op::Write, 300_001, 4);
    let all = 4 * 300_001;
    for round in 0..20 {
        let expected = seeded(round, all);
        here.write(0, &expected).expect("its whole");
        for id in 0..4 {
            pair.here.submit(pair.channel, &plan, &[id], Then::Nothing, round);
        }
        pair.here.send(pair.channel, b"now", 1000 + round);
        assert_eq!(pair.messages(1, true), [b"now"]);
        // Hashed at once, before the ends are waited for here.
        let hash_there = pair.peer.call(Command::Hash { region: there.region, start: 0, end: all });
        let same = matches!(hash_there, Reply::Value(value) if value == hash(&expected));
        assert!(same, "round {round}: the message came before all bytes of what preceded it");
        pair.here.done(1000 + round);
        pair.here.until("all ends", |side| (side.log.ends.len() as u64 == 5 * (round + 1)).then_some(()));
    }
}
