//! Promise "back-pressure is a value": `Full`, with which bound; nothing is taken then, and nothing is lost.

use pegaflow_core::{ApiMisuse, Op, Outcome, Port, Short, Submitted, Then};

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::{Command, Limits},
    side::{far, read, seeded},
};

pub(super) const CASES: &[Case] = &[
    Case::both("full_of_transfers", full_of_transfers),
    Case::both("full_of_blocks", full_of_blocks),
    Case::both("full_of_messages", full_of_messages),
    Case::both("messages_are_released_in_any_order", any_order),
    Case::both("ends_wait_for_room_in_the_event_buffer", small_buffers),
];

/// Exactly `transfers` are taken while none ends; each ends once, and room comes back.
fn full_of_transfers(context: &Context) {
    let limits = Limits { transfers: 4, ..Limits::USUAL };
    let mut pair = Pair::with(context, limits);
    let (here, there, plan) = pair.blocks(Op::Write, 3000, 100);
    let (mut taken, mut full) = (0, 0);
    let counter = pair.counter();
    while taken < 100 {
        let mut row = 0;
        loop {
            let ids = [taken];
            let submitted = pair.here.try_submit(pair.channel, &plan, &ids, Then::Count(counter.id), taken.into());
            match submitted.expect("no fault") {
                Submitted::Accepted(_) if taken < 99 => (taken, row) = (taken + 1, row + 1),
                Submitted::Accepted(_) => {
                    taken += 1;
                    break;
                }
                Submitted::Full(bound) => {
                    assert_eq!(bound, Short::Transfers);
                    full += 1;
                    break;
                }
                Submitted::Revoked => panic!("nobody revokes"),
            }
        }
        assert!(row <= 4, "{row} transfers were taken without a poll: the bound is 4");
        let last = u64::from(taken) - 1;
        pair.here.done(last);
        pair.here.until("all ends", |side| (side.log.ends.len() == taken as usize).then_some(()));
    }
    assert!(full >= 100 / 4 - 1, "full {full} times only");
    assert_eq!(pair.here.tally().full, [full, 0, 0]);
    check_all_done(&pair, 100);
    assert_eq!(pair.wait_counter(counter, 100), 100);
    let all = read(&here, 0, 300_000);
    pair.compare(there.region, &all);
}

/// Exactly `blocks` pairs of ids are held; a batch that can never fit is a mistake, not `Full`.
fn full_of_blocks(context: &Context) {
    let limits = Limits { blocks: 16, ..Limits::USUAL };
    let mut pair = Pair::with(context, limits);
    let (here, there, plan) = pair.blocks(Op::Write, 700, 100);
    let ids: Vec<u32> = (0..17).collect();
    let on = pair.channel;
    let long = pair.here.try_submit(on, &plan, &ids, Then::Nothing, 0);
    assert!(matches!(long, Err(ApiMisuse::BatchTooLong { blocks: 17, bound: 16, .. })), "{long:?}");
    for count in [15, 16] {
        pair.here.submit(on, &plan, &ids[..count], Then::Nothing, 1000 + count as u64);
        pair.here.done(1000 + count as u64);
    }
    pair.here.log.ends.clear();
    let mut tag = 0;
    for round in 0..20 {
        // 5 + 5 + 5 fit, 2 more do not, 1 does.
        let base = round * 5;
        let five: Vec<u32> = (base..base + 5).collect();
        for _ in 0..3 {
            let submitted = pair.here.try_submit(on, &plan, &five, Then::Nothing, tag);
            assert!(matches!(submitted, Ok(Submitted::Accepted(_))), "{submitted:?}");
            tag += 1;
        }
        let two = pair.here.try_submit(on, &plan, &five[..2], Then::Nothing, u64::MAX);
        assert_eq!(two, Ok(Submitted::Full(Short::Blocks)));
        let one = pair.here.try_submit(on, &plan, &five[..1], Then::Nothing, tag);
        assert!(matches!(one, Ok(Submitted::Accepted(_))), "{one:?}");
        tag += 1;
        pair.here.until("all ends", |side| (side.log.ends.len() as u64 == tag && side.log.all_quiet()).then_some(()));
    }
    check_all_done(&pair, tag);
    let all = read(&here, 0, 70_000);
    pair.compare(there.region, &all);
}

/// A sender has as many messages under way as the receiver has room for; a release gives one credit back. What was
/// taken arrives once and in order.
fn full_of_messages(context: &Context) {
    let limits = Limits { messages: 4, ..Limits::USUAL };
    let mut pair = Pair::with(context, limits);
    let (on, mut next) = (pair.channel, 0_u32);
    let (_here, _there, plan) = pair.blocks(Op::Write, 64, 1);
    let mut send = |pair: &mut Pair| {
        let submitted = if next % 2 == 0 {
            pair.here.port().send(on, &next.to_le_bytes(), far(), next.into())
        } else {
            let then = next.to_le_bytes();
            pair.here.try_submit(on, &plan, &[0], Then::Message(&then), next.into())
        };
        let submitted = submitted.expect("no fault");
        if let Submitted::Accepted(_) = submitted {
            next += 1;
            None
        } else {
            Some(submitted)
        }
    };
    for _ in 0..4 {
        assert_eq!(send(&mut pair), None, "within the credits");
    }
    assert_eq!(send(&mut pair), Some(Submitted::Full(Short::Messages)));
    let first = pair.messages(4, false);
    assert_eq!(first, (0..4_u32).map(|n| n.to_le_bytes().to_vec()).collect::<Vec<_>>());
    for _ in 0..200 {
        pair.here.turn();
        assert_eq!(
            send(&mut pair),
            Some(Submitted::Full(Short::Messages)),
            "all are done here and none is released there"
        );
    }
    let mut expected = 4_u32;
    for released in [1, 2, 1, 3, 4, 4, 4] {
        pair.call(Command::Release { count: released });
        for _ in 0..released {
            pair.here.until("a credit", |side| {
                // The closure polls no pair: the side is enough.
                side.turn();
                Some(())
            });
            let mut tries = 0;
            while send(&mut pair).is_some() {
                pair.here.turn();
                tries += 1;
                assert!(tries < 10_000_000, "a message was released and no credit came");
            }
        }
        let got = pair.messages(released, false);
        let numbers: Vec<_> = (expected..).take(released).map(|n| n.to_le_bytes().to_vec()).collect();
        assert_eq!(got, numbers, "in order, and none lost");
        expected += u32::try_from(released).expect("small");
        // 4 are held again.
        pair.here.turn();
        assert_eq!(send(&mut pair), Some(Submitted::Full(Short::Messages)));
    }
    for tag in 0..u64::from(expected) {
        pair.here.done(tag);
    }
    check_all_done(&pair, expected.into());
}

/// Messages that are held keep their bytes whichever of their neighbours is released, and whatever comes after them.
fn any_order(context: &Context) {
    let limits = Limits { messages: 4, ..Limits::USUAL };
    let mut pair = Pair::with(context, limits);
    let (channel, mut random) = (pair.there, fastrand::Rng::with_seed(19));
    let mut held = Vec::new();
    for number in 0..200 {
        let message = seeded(number, random.u64(0..1024));
        pair.call(Command::Send { channel, message: message.clone() });
        held.push((pair.here.message(), message));
        for (arrived, message) in &held {
            assert!(pair.here.bytes_of(*arrived) == *message, "a message has changed while it was held");
        }
        if held.len() == 4 {
            let (arrived, _) = held.swap_remove(random.usize(0..4));
            pair.here.port().release(arrived.slot).expect("held");
        }
    }
}

/// Events wait where `poll` is given little room or none: none is lost, none comes twice.
fn small_buffers(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, 64, 64);
    let ids: Vec<u32> = (0..64).collect();
    for id in &ids {
        let id = [*id];
        pair.here.submit(pair.channel, &plan, &id, Then::Nothing, u64::from(id[0]));
    }
    let channel = pair.there;
    for number in 0..10_u8 {
        pair.peer.call(Command::Send { channel, message: vec![number] });
    }
    let (mut ends, mut messages) = (Vec::new(), Vec::new());
    let mut none = 0;
    while none < 10_000 && ends.len() + messages.len() < 74 {
        pair.here.port().poll(&mut []);
        let mut one = [pegaflow_core::Event::NONE];
        none += 1;
        if pair.here.port().poll(&mut one) == 0 {
            std::thread::yield_now();
            continue;
        }
        none = 0;
        match one[0] {
            pegaflow_core::Event::Ended { tag, .. } => ends.push(tag),
            pegaflow_core::Event::Message { slot, .. } => {
                messages.push(pair.here.port().message(slot).expect("held").to_vec());
                pair.here.port().release(slot).expect("held");
            }
            _ => {}
        }
    }
    ends.sort_unstable();
    assert_eq!(ends, (pair.here.log.ends.len() as u64..64).collect::<Vec<_>>());
    assert_eq!(messages, (0..10).map(|number| vec![number]).collect::<Vec<_>>());
}

#[track_caller]
fn check_all_done(pair: &Pair, count: u64) {
    let mut tags: Vec<_> = pair.here.log.ends.iter().map(|end| end.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..count).collect::<Vec<_>>(), "each ended once");
    assert!(pair.here.log.ends.iter().all(|end| end.outcome == Outcome::Done));
}
