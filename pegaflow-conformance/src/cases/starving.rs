//! A receiver that does not drain holds up its sender, and nobody else.

use std::time::{Duration, Instant};

use pegaflow_core::{Batch, Event, Op, Outcome, Poller, Port, Short, State, Submitted, Then};

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::{Command, Limits},
    side::far,
    sys::allocations,
    tally::Tally,
};

pub(super) const CASES: &[Case] = &[
    Case::both("a_receiver_that_never_releases", never_releases),
    Case::both("a_receiver_that_never_polls", never_polls),
    Case::both("a_receiver_that_never_polls_costs_no_memory", costs_no_memory),
];

/// The sender meets the bound and takes no more; counts and blocks go on beside the messages; once the receiver releases,
/// all is well.
fn never_releases(context: &Context) {
    let mut pair = Pair::new(context);
    let (here, there, plan) = pair.blocks(Op::Write, 4096, 8);
    let counter = pair.counter();
    let on = pair.channel;
    let most = Limits::USUAL.messages;
    for number in 0..most {
        pair.here.send(on, &number.to_le_bytes(), number.into());
    }
    let held = pair.messages(most as usize, false);
    assert_eq!(held.len(), most as usize);
    for round in 0..50 {
        let full = pair.here.port().send(on, b"one too many", far(), 1000);
        assert_eq!(full, Ok(Submitted::Full(Short::Messages)));
        pair.here.submit(on, &plan, &[0, 2, 4, 6], Then::Count(counter.id), 2000 + round);
        pair.here.done(2000 + round);
    }
    assert_eq!(pair.wait_counter(counter, 50), 50);
    pair.call(Command::Release { count: most as usize });
    pair.here.send(on, b"and again", 3000);
    assert_eq!(pair.messages(1, true), [b"and again"]);
    let mut written = vec![0; 8 * 4096];
    for block in [0, 2, 4, 6] {
        let range = block * 4096..(block + 1) * 4096;
        written[range.clone()].copy_from_slice(&crate::side::read(&here, range.start as u64, range.end as u64));
    }
    pair.compare(there.region, &written);
}

/// Nobody polls there: transfers end by their deadlines or are done, bounds are met, the channel lives and another peer
/// is served; once he polls, each counted transfer was counted or aborted.
fn never_polls(context: &Context) {
    let mut pair = Pair::new(context);
    let mut other = Pair::new(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, 4096, 8);
    let counter = pair.counter();
    let on = pair.channel;
    pair.call(Command::Polling(false));
    let (begin, mut accepted, mut full) = (Instant::now(), 0_u64, 0);
    let mut messages = 0_u64;
    while begin.elapsed() < Duration::from_millis(300) {
        let deadline = Instant::now() + Duration::from_millis(20);
        let then = Then::Count(counter.id);
        let batch = Batch { plan: &plan, planes: 0..1, here: &[0, 1], there: &[2, 3], then, deadline, tag: accepted };
        match pair.here.port().submit(on, &batch).expect("no fault") {
            Submitted::Accepted(_) => accepted += 1,
            _ => full += 1,
        }
        match pair.here.port().send(on, b"unread", deadline, u64::MAX).expect("no fault") {
            Submitted::Accepted(_) => messages += 1,
            _ => full += 1,
        }
        pair.here.turn();
    }
    assert!(full > 0, "no bound was met");
    assert!(messages <= u64::from(Limits::USUAL.messages), "{messages} messages without a credit");
    pair.here.until("all ends", |side| (side.log.ends.len() as u64 == accepted + messages).then_some(()));
    let fits = |outcome| matches!(outcome, Outcome::Done | Outcome::DeadlinePassed);
    assert!(pair.here.log.ends.iter().all(|end| fits(end.outcome)), "{:?}", pair.here.log.ends.last());
    assert!(matches!(pair.here.log.state(on), Some(State::Up { .. })), "the channel lives");
    other.here.send(other.channel, b"served", 0);
    assert_eq!(other.messages(1, true), [b"served"]);
    pair.call(Command::Polling(true));
    pair.here.quiet();
    pair.call_until("each to be counted or aborted", |pair| {
        let counted = pair.value(Command::Value { counter: counter.handle });
        let aborted = pair.value(Command::Aborted { counter: counter.handle });
        (counted + aborted == accepted).then_some(())
    });
}

/// However long a receiver does not poll, its sender asks for no memory: what waits has a bound, and what ends makes room.
fn costs_no_memory(context: &Context) {
    const ROUNDS: u32 = 400;
    const WARM: u32 = 100;
    let mut pair = Pair::with(context, Limits { transfers: 8, ..Limits::USUAL });
    let (_here, _there, plan) = pair.blocks(Op::Write, 512, 8);
    let counter = pair.counter();
    let on = pair.channel;
    pair.call(Command::Polling(false));
    let patience = pair.here.patience;
    // Not through the side, whose log grows.
    let Pair { here, peer, .. } = &mut pair;
    let port = here.port();
    let mut events = [Event::NONE; 16];
    let (mut accepted, mut full, mut before) = (0_u64, 0_u64, 0);
    let (mut ended, mut unquiet) = (0_u64, 0_u64);
    let mut turn = |port: &mut Poller<Tally>| {
        let count = port.poll(&mut events);
        for event in &events[..count] {
            match event {
                Event::Ended { quiet, .. } => (ended, unquiet) = (ended + 1, unquiet + u64::from(!quiet)),
                Event::Quiet { .. } => unquiet -= 1,
                _ => {}
            }
        }
        (ended, unquiet)
    };
    for round in 0..ROUNDS {
        if round == WARM {
            before = allocations();
        }
        // More than there is room for, each time.
        for tag in 0..10 {
            let deadline = Instant::now() + Duration::from_millis(1);
            let then = Then::Count(counter.id);
            let batch = Batch { plan: &plan, planes: 0..1, here: &[0, 3], there: &[1, 2], then, deadline, tag };
            let answers = [port.submit(on, &batch), port.send(on, b"unread", deadline, tag)];
            for answer in answers {
                match answer.expect("no fault") {
                    Submitted::Accepted(_) => accepted += 1,
                    _ => full += 1,
                }
            }
        }
        turn(port);
    }
    assert_eq!(allocations() - before, 0, "in {} rounds", ROUNDS - WARM);
    assert!(full > u64::from(ROUNDS), "full {full} times only: nothing waited");
    peer.call(Command::Polling(true));
    let begin = Instant::now();
    loop {
        let (ended, unquiet) = turn(port);
        assert!(ended <= accepted, "{ended} ends of {accepted}");
        if (ended, unquiet) == (accepted, 0) {
            break;
        }
        assert!(begin.elapsed() < patience, "{ended} of {accepted} have ended, {unquiet} are not quiet");
    }
}
