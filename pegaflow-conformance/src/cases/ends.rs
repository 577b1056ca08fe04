//! Promise "one end": cancelled, past its deadline, or done; once, and quiet.

use std::time::{Duration, Instant};

use pegaflow_core::{Batch, Op, Outcome, Plan, Port, Submitted, Then, TransferId};

use super::Case;
use crate::{
    pair::{Context, Pair},
    side::far,
};

pub(super) const CASES: &[Case] = &[
    Case::both("cancelled_before_and_amid", cancelled),
    Case::both("cancelled_messages_give_their_credit_back", cancelled_messages),
    Case::both("deadline_that_has_passed", passed),
    Case::both("deadline_is_never_early", never_early),
];

const BLOCKS: u32 = 8;

/// Bytes of a block, and of the eight of a transfer.
fn lengths(context: &Context) -> (u32, u64) {
    let block = context.bulk(1 << 20);
    (block, u64::from(block * BLOCKS))
}

fn submit_until(pair: &mut Pair, plan: &Plan, deadline: Instant, tag: u64) -> TransferId {
    let ids: Vec<u32> = (0..BLOCKS).collect();
    let batch = Batch { plan, planes: 0..1, here: &ids, there: &ids, then: Then::Nothing, deadline, tag };
    let channel = pair.channel;
    match pair.here.port().submit(channel, &batch) {
        Ok(Submitted::Accepted(id)) => id,
        other => panic!("{other:?}"),
    }
}

/// A transfer that is cancelled, before and amid its way, ends once and never `Done` afterwards; its neighbours are
/// not touched; one that has ended can't be cancelled.
fn cancelled(context: &Context) {
    let mut pair = Pair::new(context);
    let (block, all) = lengths(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, block, BLOCKS);
    let copies = pair.capabilities().copies_in_poll;
    for polls in 0..12 {
        pair.here.log.ends.clear();
        let before = submit_until(&mut pair, &plan, far(), 0);
        let id = submit_until(&mut pair, &plan, far(), 1);
        let after = submit_until(&mut pair, &plan, far(), 2);
        for _ in 0..polls {
            pair.here.turn();
        }
        let had_ended = pair.here.log.ends.iter().any(|end| end.tag == 1);
        let withdrawn = pair.here.port().cancel(id);
        assert!(!pair.here.port().cancel(id), "it can't be cancelled twice");
        let end = pair.here.end_of(1);
        assert_eq!(end.outcome == Outcome::Cancelled, withdrawn);
        assert!(!(had_ended && withdrawn));
        assert!(end.bytes <= all && end.id == id);
        if polls == 0 && copies {
            assert!(withdrawn && end.bytes == 0 && end.quiet, "nothing was posted: {end:?}");
        }
        pair.here.done(0);
        pair.here.done(2);
        for id in [before, id, after] {
            assert!(!pair.here.port().cancel(id), "it has ended");
        }
        for _ in 0..20 {
            pair.here.turn();
        }
        assert_eq!(pair.here.log.ends.len(), 3, "each ended once");
    }
}

/// What was withdrawn takes no credit along. Where bytes move in `poll` it never arrives either; elsewhere it may have
/// been posted, and what is posted may land: in its place, and with a credit that comes back as any other.
fn cancelled_messages(context: &Context) {
    let mut pair = Pair::new(context);
    let (on, copies) = (pair.channel, pair.capabilities().copies_in_poll);
    let (mut sent, mut cancelled) = (Vec::new(), Vec::new());
    for round in 0..200_u64 {
        let id = pair.here.send(on, &round.to_le_bytes(), round);
        let withdrawn = round % 3 == 0 && pair.here.port().cancel(id);
        let end = pair.here.end_of(round);
        assert_eq!(end.outcome == Outcome::Cancelled, withdrawn);
        let list = if withdrawn { &mut cancelled } else { &mut sent };
        list.push(round.to_le_bytes().to_vec());
        if sent.len() == 8 {
            let mut got = Vec::new();
            while got.last() != sent.last() {
                got.extend(pair.messages(1, true));
            }
            assert!(got.is_sorted(), "in order");
            got.retain(|message| copies || !cancelled.contains(message));
            assert_eq!(got, sent, "those that were not withdrawn");
            sent.clear();
        }
    }
}

/// A deadline in the past ends the transfer at the first progress after it.
fn passed(context: &Context) {
    let mut pair = Pair::new(context);
    let (block, all) = lengths(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, block, BLOCKS);
    let copies = pair.capabilities().copies_in_poll;
    for tag in 0..10 {
        let deadline = if tag % 2 == 0 { Instant::now() } else { Instant::now() + Duration::from_millis(2) };
        submit_until(&mut pair, &plan, deadline, tag);
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        pair.here.turn();
        let end = pair.here.end_of(tag);
        if copies {
            // One poll moves a chunk of it at most.
            assert_eq!(end.outcome, Outcome::DeadlinePassed);
            assert!(end.bytes < all && end.quiet, "{end:?}");
        } else {
            assert!(matches!(end.outcome, Outcome::DeadlinePassed | Outcome::Done), "{end:?}");
        }
        pair.here.quiet();
    }
    // The channel works on.
    submit_until(&mut pair, &plan, far(), 100);
    pair.here.done(100);
    assert_eq!(pair.here.log.ends.len(), 11, "each ended once");
}

/// No transfer ends for its deadline before the deadline.
fn never_early(context: &Context) {
    let mut pair = Pair::new(context);
    let (block, all) = lengths(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, block, BLOCKS);
    let start = Instant::now();
    let deadline = |tag: u64| {
        if tag % 5 == 4 { start + Duration::from_secs(600) } else { start + Duration::from_millis(tag * 3) }
    };
    for tag in 0..40 {
        submit_until(&mut pair, &plan, deadline(tag), tag);
    }
    let mut seen = 0;
    pair.here.until("all ends", |side| {
        let now = Instant::now();
        for end in &side.log.ends[seen..] {
            match end.outcome {
                // `now` is later than the event: an early end is one that `now` still shows.
                Outcome::DeadlinePassed => assert!(now >= deadline(end.tag), "transfer {} ended early", end.tag),
                Outcome::Done => assert_eq!(end.bytes, all),
                other => panic!("{other:?}"),
            }
            if end.tag % 5 == 4 {
                assert_eq!(end.outcome, Outcome::Done, "its deadline is far");
            }
        }
        seen = side.log.ends.len();
        (seen == 40).then_some(())
    });
    pair.here.quiet();
}
