//! Promise "steady state is free of surprises", and no wake-up is lost.

use std::time::{Duration, Instant};

use pegaflow_core::{Access, Audience, Event, Op, Port, Submitted, Then, Window};

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::{Command, Limits},
    side::{far, read},
    sys::allocations,
};

pub(super) const CASES: &[Case] = &[
    Case::both("steady_state_allocates_nothing", no_allocation),
    Case::both("no_wake_up_is_lost", wake_ups),
    Case::both("a_sender_that_sleeps_ends_a_long_transfer", sleeping_sender),
    Case::both("the_descriptor_wakes_for_the_end_of_a_channel", wake_for_end),
];

const WARM: u32 = 100;
const ROUNDS: u32 = 1000;

/// After connect no thread of the library's callers allocates: not in submit, send, poll, message, release, arm, nor
/// in a counter's value; on both sides.
fn no_allocation(context: &Context) {
    let limits = Limits { transfers: 8, blocks: 64, messages: 4, ..Limits::USUAL };
    let mut pair = Pair::with(context, limits);
    let (_here, _there, plan) = pair.blocks(Op::Write, 512, 16);
    let counter = pair.counter();
    // What it polled before the command would be in its log, and held.
    pair.call(Command::Polling(false));
    pair.peer.begin(Command::Steady { messages: WARM + ROUNDS, warm: WARM });
    let channel = pair.channel;
    let patience = pair.here.patience;
    let port = pair.here.port();
    let mut events = [Event::NONE; 16];
    let (mut sent, mut counted, mut ended) = (0, 0_u64, 0_u64);
    let (mut before, mut full) = (0, 0);
    let mut moved = Instant::now();
    while ended < u64::from(WARM + ROUNDS) + counted || sent < WARM + ROUNDS {
        if sent == WARM && before == 0 {
            before = allocations();
        }
        let bytes = sent.to_le_bytes();
        if sent < WARM + ROUNDS {
            let submitted = if sent % 2 == 0 {
                let batch = pegaflow_core::Batch {
                    plan: &plan,
                    planes: 0..1,
                    here: &[3, 4, 9, 1],
                    there: &[3, 4, 7, 0],
                    then: Then::Message(&bytes),
                    deadline: far(),
                    tag: 0,
                };
                port.submit(channel, &batch)
            } else {
                port.send(channel, &bytes, far(), 0)
            };
            match submitted {
                Ok(Submitted::Accepted(_)) => {
                    sent += 1;
                    moved = Instant::now();
                }
                Ok(Submitted::Full(_)) => full += 1,
                Ok(Submitted::Revoked) => panic!("nobody revokes"),
                Err(error) => panic!("{error}"),
            }
            let batch = pegaflow_core::Batch {
                plan: &plan,
                planes: 0..1,
                here: &[0, 1],
                there: &[14, 15],
                then: Then::Count(counter.id),
                deadline: far(),
                tag: 0,
            };
            if let Ok(Submitted::Accepted(_)) = port.submit(channel, &batch) {
                counted += 1;
            }
        }
        let count = port.poll(&mut events);
        let ends = events[..count].iter().filter(|event| matches!(event, Event::Ended { .. }));
        ended += ends.count() as u64;
        let _ = port.arm();
        assert!(moved.elapsed() < patience, "stuck after {sent} messages");
    }
    let here = allocations() - before;
    assert_eq!(here, 0, "allocations of the sender's thread in {ROUNDS} rounds ({full} times full)");
    let there = pair.answer();
    pair.call(Command::Polling(true));
    assert!(
        matches!(there, crate::protocol::Reply::Value(0)),
        "allocations of the receiver's thread in {ROUNDS} messages: {there:?}"
    );
    assert_eq!(pair.wait_counter(counter, counted), counted);
}

/// After `arm` said sleep, a message or a count that comes makes the descriptor readable; both sides sleep in turn.
/// One that was lost would leave both asleep.
fn wake_ups(context: &Context) {
    let mut pair = Pair::new(context);
    let region = pair.here.allocate(8);
    let channel = pair.channel;
    let grant =
        pair.here.node().grant(&[Window::whole(&region)], Access::WRITE, Audience::Channel(channel)).expect("a grant");
    let counter = pair.here.port().counter(channel).expect("up").expect("free");
    pair.peer.begin(Command::Echo {
        channel: pair.there,
        rounds: ROUNDS,
        grant: grant.as_bytes().to_vec(),
        counter: counter.id().to_bits(),
    });
    let mut random = fastrand::Rng::with_seed(13);
    for round in 0..ROUNDS {
        pair.here.send(channel, &round.to_le_bytes(), round.into());
        // The answer comes now before a poll, now between one that found nothing and `arm`, now after.
        dawdle(&mut random);
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < pair.here.patience, "round {round}: awake, and no answer");
            if round % 2 == 1 && counter.value() == u64::from(round / 2 + 1) {
                assert_eq!(read(&region, 0, 8), (u64::from(round) + 1).to_le_bytes());
                break;
            }
            if let Some(message) = pair.here.log.messages.pop_front() {
                assert_eq!(pair.here.bytes_of(message), round.to_le_bytes());
                pair.here.port().release(message.slot).expect("held");
                break;
            }
            if pair.here.turn() == 0 {
                dawdle(&mut random);
                pair.here.sleep(&format!("round {round}"));
            }
        }
    }
    pair.answer();
    pair.here.until("all ends", |side| (side.log.ends.len() == ROUNDS as usize).then_some(()));
}

/// Does nothing for up to 2 ms: as often for less than a microsecond as for as long as any answer takes, since nobody
/// knows how long that is.
pub(crate) fn dawdle(random: &mut fastrand::Rng) {
    let longest = 1 << random.u32(8..=21);
    let until = Instant::now() + Duration::from_nanos(random.u64(0..longest));
    while Instant::now() < until {
        std::hint::spin_loop();
    }
}

/// A transfer longer than any queue of a device ends although its sender sleeps whenever a poll found nothing: what is
/// complete makes room, and nobody waits to be asked again for the rest.
fn sleeping_sender(context: &Context) {
    let mut pair = Pair::new(context);
    let (here, there, plan) = pair.blocks(Op::Write, 64, 4096);
    let counter = pair.counter();
    // Backwards, so that no two are merged.
    let ids: Vec<u32> = (0..4096).rev().collect();
    for round in 0..20 {
        pair.here.submit(pair.channel, &plan, &ids, Then::Count(counter.id), round);
        while !pair.here.log.ends.iter().any(|end| end.tag == round) {
            if pair.here.turn() == 0 {
                pair.here.sleep(&format!("amid transfer {round}"));
            }
        }
    }
    assert_eq!(pair.wait_counter(counter, 20), 20);
    let all = read(&here, 0, 64 * 4096);
    pair.compare(there.region, &all);
}

/// The end of a channel wakes a port that sleeps.
fn wake_for_end(context: &Context) {
    let mut pair = Pair::new(context);
    let there = pair.there;
    pair.peer.begin(Command::Close { channel: there });
    let begin = Instant::now();
    while pair.here.log.state(pair.channel) != Some(pegaflow_core::State::Closed) {
        assert!(begin.elapsed() < pair.here.patience, "awake, and no end");
        if pair.here.turn() == 0 {
            pair.here.sleep("the end of the channel");
        }
    }
    pair.peer.answer();
}
