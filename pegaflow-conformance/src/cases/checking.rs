//! The integrity mode: each batch is compared at the peer before it ends.

use std::time::Instant;

use pegaflow_core::{Batch, Cause, Op, Outcome, Port, Submitted, Then};

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::{Command, Limits},
    side::{far, read},
};

pub(super) const CASES: &[Case] = &[
    Case::both("checked_batches_end_as_others_do", same),
    Case::both("bytes_that_differ_are_told", differ),
    Case::both("a_checked_batch_ends_by_its_deadline", deadline),
];

const LIMITS: Limits = Limits { checksum: true, ..Limits::USUAL };
const BLOCK: u32 = 3 << 10;

/// Writes, reads, counts and messages, in order, over more moves than one question holds.
fn same(context: &Context) {
    let mut pair = Pair::with(context, LIMITS);
    let (here, there, write) = pair.blocks(Op::Write, BLOCK, 64);
    let all = u64::from(BLOCK) * 64;
    let back = pair.here.allocate(all);
    let read_back = pair.here.blocks(Op::Read, &back, &there.remote, BLOCK, 64);
    let counter = pair.counter();
    let on = pair.channel;
    // Every second block, so that none is merged; and the same in one piece.
    let scattered: Vec<u32> = (0..64).filter(|id| id % 2 == 0).chain((0..64).filter(|id| id % 2 == 1)).collect();
    let whole: Vec<u32> = (0..64).collect();
    for round in 0..6_u8 {
        let seed = u64::from(round) + 100;
        here.write(0, &crate::side::seeded(seed, all)).expect("its whole");
        let tag = 10 * u64::from(round);
        let ids = if round % 2 == 0 { &scattered } else { &whole };
        pair.here.submit(on, &write, ids, Then::Count(counter.id), tag);
        pair.here.submit(on, &write, &[], Then::Nothing, tag + 1);
        pair.here.submit(on, &read_back, ids, Then::Message(&[round]), tag + 2);
        pair.here.send(on, &[round, round], tag + 3);
        for tag in tag..tag + 4 {
            pair.here.done(tag);
        }
        assert_eq!(pair.wait_counter(counter, u64::from(round) + 1), u64::from(round) + 1);
        assert_eq!(pair.messages(2, true), [vec![round], vec![round, round]]);
        assert!(read(&back, 0, all) == read(&here, 0, all), "round {round}");
    }
    let written = read(&here, 0, all);
    pair.compare(there.region, &written);
}

/// Two blocks that go to one place can't both be there. The batch fails and says where, its count is aborted, what stands
/// behind it goes on.
fn differ(context: &Context) {
    let mut pair = Pair::with(context, LIMITS);
    let (_here, _there, plan) = pair.blocks(Op::Write, BLOCK, 8);
    let counter = pair.counter();
    let on = pair.channel;
    for round in 0..3 {
        let then = Then::Count(counter.id);
        let (here, there) = ([0, 3, 5, 6], [1, 4, 4, 7]);
        let batch = Batch { plan: &plan, planes: 0..1, here: &here, there: &there, then, deadline: far(), tag: round };
        let submitted = pair.here.port().submit(on, &batch);
        assert!(matches!(submitted, Ok(Submitted::Accepted(_))), "{submitted:?}");
        pair.here.submit(on, &plan, &[0, 2], Then::Count(counter.id), 100 + round);
        let end = pair.here.end_of(round);
        assert!(matches!(end.outcome, Outcome::Failed(Cause::Corrupt { position: 1 | 2 })), "{end:?}");
        pair.here.done(100 + round);
        assert_eq!(pair.wait_counter(counter, round + 1), round + 1);
        assert_eq!(
            pair.value(Command::Aborted { counter: counter.handle }),
            round + 1,
            "told before what stood behind it"
        );
    }
    pair.here.quiet();
}

/// Its deadline comes while the peer is asked, or before: it ends once, and the next one is checked.
fn deadline(context: &Context) {
    let mut pair = Pair::with(context, LIMITS);
    let (here, there, plan) = pair.blocks(Op::Write, 64 << 10, 8);
    let ids = [0, 1, 2, 3, 4, 5, 6, 7];
    let on = pair.channel;
    for round in 0..20_u64 {
        let deadline = Instant::now() + std::time::Duration::from_micros(100 * round);
        let (tag, then) = (round, Then::Nothing);
        let batch = Batch { plan: &plan, planes: 0..1, here: &ids, there: &ids, then, deadline, tag };
        let submitted = pair.here.port().submit(on, &batch);
        assert!(matches!(submitted, Ok(Submitted::Accepted(_))), "{submitted:?}");
        let end = pair.here.end_of(tag);
        assert!(matches!(end.outcome, Outcome::Done | Outcome::DeadlinePassed), "{end:?}");
    }
    pair.here.submit(on, &plan, &ids, Then::Nothing, 100);
    pair.here.done(100);
    let written = read(&here, 0, 8 * (64 << 10));
    pair.compare(there.region, &written);
}
