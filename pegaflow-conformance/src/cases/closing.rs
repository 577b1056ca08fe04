//! How channels end: in order, and not.

use std::time::Instant;

use pegaflow_core::{ApiMisuse, Batch, Cause, Class, Meets, Op, Outcome, Port, State, Submitted, Then};
use rustix::process::Signal;

use super::Case;
use crate::{
    pair::{Context, Pair},
    placement::Outliving,
    protocol::{Command, Reply},
    side::far,
};

pub(super) const CASES: &[Case] = &[
    Case::both("close_ends_both_sides", close),
    Case::both("messages_before_the_close_are_delivered", messages_first),
    Case::both("close_waits_for_what_was_accepted", close_with_queue),
    Case::both("messages_are_held_beyond_the_end", held_beyond),
    Case::both("a_late_id_hits_no_later_transfer", late_id),
    Case::both("peer_closes_with_transfers_in_flight", |context| peer_closes(context, false)),
    Case::both("both_close_with_transfers_in_flight", |context| peer_closes(context, true)),
    Case::both("one_channel_closes_and_its_neighbour_lives", neighbour),
    Case::apart("peer_killed_while_idle", killed_idle),
    Case::near("a_death_is_told_before_memory_and_sockets_are_gone", killed_and_outlived),
    Case::apart("peer_killed_with_transfers_in_flight", killed_busy),
    Case::apart("peer_stopped_and_continued", stopped),
];

fn end_there(pair: &mut Pair) -> String {
    let channel = pair.there;
    match pair.call(Command::WaitEnd { channel }) {
        Reply::Text(state) => state,
        other => panic!("{other:?} for a state"),
    }
}

/// Closed here, closed there; nothing is accepted from then on.
fn close(context: &Context) {
    for here in [true, false] {
        let mut pair = Pair::new(context);
        let (_here, _there, plan) = pair.blocks(Op::Write, 64, 1);
        pair.here.submit(pair.channel, &plan, &[0], Then::Nothing, 1);
        pair.here.done(1);
        let (channel, there) = (pair.channel, pair.there);
        if here {
            pair.here.port().close(channel).expect("up");
            pair.here.port().close(channel).expect("a second close changes nothing");
        } else {
            pair.call(Command::Close { channel: there });
        }
        assert_eq!(end_there(&mut pair), "Closed");
        assert_eq!(pair.here.end_of_channel(channel), State::Closed);
        let late = pair.here.try_submit(channel, &plan, &[0], Then::Nothing, 2);
        let refused = matches!(late, Err(ApiMisuse::NotUp { .. } | ApiMisuse::UnknownChannel(_)));
        assert!(refused, "{late:?}");
        assert_eq!(pair.here.log.ends.len(), 1);
    }
}

/// What was accepted before the close is delivered before the end, though the receiver looks only afterwards; and what
/// was delivered stays readable until it is released. The log fails for a message after the end of its channel.
fn messages_first(context: &Context) {
    for polls in [0, 1, 3, 1000] {
        let mut pair = Pair::new(context);
        pair.call(Command::Polling(false));
        for number in 0..10_u8 {
            pair.here.send(pair.channel, &[number], number.into());
        }
        for _ in 0..polls {
            pair.here.turn();
        }
        let channel = pair.channel;
        pair.here.port().close(channel).expect("up");
        assert_eq!(pair.here.end_of_channel(channel), State::Closed);
        assert_eq!(pair.here.log.ends.len(), 10, "each ended once, before the channel");
        assert!(pair.here.log.ends.iter().all(|end| end.outcome == Outcome::Done));
        pair.call(Command::Polling(true));
        assert_eq!(end_there(&mut pair), "Closed");
        let expected: Vec<_> = (0..10_u8).map(|number| vec![number]).collect();
        assert_eq!(pair.messages(10, true), expected);
    }
}

/// What was accepted ends before the channel does: done, or by its deadline, or because it was cancelled meanwhile.
fn close_with_queue(context: &Context) {
    let mut pair = Pair::new(context);
    let (here, there, plan) = pair.blocks(Op::Write, context.bulk(1 << 20), 8);
    let copies = pair.capabilities().copies_in_poll;
    let ids: Vec<u32> = (0..8).collect();
    let mut accepted = Vec::new();
    for tag in 0..20 {
        accepted.push(pair.here.submit(pair.channel, &plan, &ids, Then::Nothing, tag));
    }
    let late = Batch {
        plan: &plan,
        planes: 0..1,
        here: &ids,
        there: &ids,
        then: Then::Nothing,
        deadline: Instant::now(),
        tag: 20,
    };
    let channel = pair.channel;
    let submitted = pair.here.port().submit(channel, &late);
    assert!(matches!(submitted, Ok(Submitted::Accepted(_))), "{submitted:?}");
    for _ in 0..12 {
        pair.here.turn();
    }
    pair.here.port().close(channel).expect("up");
    let withdrawn = pair.here.port().cancel(accepted[10]);
    assert_eq!(pair.here.end_of_channel(channel), State::Closed);
    let ends = &pair.here.log.ends;
    let mut tags: Vec<_> = ends.iter().map(|end| end.tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (0..21).collect::<Vec<_>>(), "each ended once, before the channel");
    for end in ends {
        let expected = match end.tag {
            10 if withdrawn => Outcome::Cancelled,
            20 if copies => Outcome::DeadlinePassed,
            20 => end.outcome,
            _ => Outcome::Done,
        };
        assert_eq!(end.outcome, expected, "{end:?}");
    }
    assert_eq!(end_there(&mut pair), "Closed");
    let all = crate::side::read(&here, 0, here.bytes());
    pair.compare(there.region, &all);
}

/// A message that is held stays readable after its channel has ended, and can be released; then the channel is
/// forgotten.
fn held_beyond(context: &Context) {
    let mut pair = Pair::new(context);
    let (channel, there) = (pair.channel, pair.there);
    for number in 0..3_u8 {
        pair.call(Command::Send { channel: there, message: vec![number; 100] });
    }
    pair.call(Command::Close { channel: there });
    assert_eq!(pair.here.end_of_channel(channel), State::Closed);
    for number in 0..3_u8 {
        let message = pair.here.message();
        assert_eq!(pair.here.bytes_of(message), [number; 100]);
        assert!(pair.here.port().state(channel).is_some(), "remembered while a message is held");
        pair.here.port().release(message.slot).expect("held");
        let again = pair.here.port().release(message.slot);
        assert_eq!(again, Err(ApiMisuse::SlotNotHeld));
    }
    pair.here.until("the channel to be forgotten", |side| side.port().state(channel).is_none().then_some(()));
}

/// An id of a transfer of a channel that has ended is dead: it names no transfer of the channel that comes after it
/// in the same place.
fn late_id(context: &Context) {
    let mut pair = Pair::new(context);
    let Reply::Bytes(address) = pair.call(Command::Address) else {
        panic!("no address");
    };
    let old = pair.here.send(pair.channel, b"old", 0);
    pair.here.done(0);
    let channel = pair.channel;
    pair.here.port().close(channel).expect("up");
    assert_eq!(pair.here.end_of_channel(channel), State::Closed);
    pair.here.until("the channel to be forgotten", |side| side.port().state(channel).is_none().then_some(()));
    let next = pair.here.dial(&address, Class::Kv);
    pair.here.up(next);
    let submitted = pair.here.port().send(next, b"new", far(), 1);
    assert!(matches!(submitted, Ok(Submitted::Accepted(_))), "{submitted:?}");
    assert!(!pair.here.port().cancel(old), "a dead id has cancelled a transfer of another channel");
}

/// The peer closes: what is in flight here ends once each, `Done` or with that cause.
fn peer_closes(context: &Context, both: bool) {
    let mut pair = Pair::new(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, context.bulk(1 << 20), 8);
    let ids: Vec<u32> = (0..8).collect();
    for tag in 0..30 {
        pair.here.submit(pair.channel, &plan, &ids, Then::Nothing, tag);
    }
    pair.here.turn();
    if both {
        let channel = pair.channel;
        pair.here.port().close(channel).expect("it is up");
    }
    let there = pair.there;
    pair.peer.call(Command::Close { channel: there });
    assert_eq!(pair.here.end_of_channel(pair.channel), State::Closed);
    assert_eq!(pair.here.log.ends.len(), 30, "each ended once, before the channel");
    for end in &pair.here.log.ends {
        let fits = matches!(end.outcome, Outcome::Done | Outcome::Failed(Cause::PeerClosed));
        assert!(fits, "{end:?}");
    }
    pair.here.quiet();
}

/// Promise "faults stay where they are": the end of one channel is not its neighbour's.
fn neighbour(context: &Context) {
    let mut pair = Pair::new(context);
    let mut other = Pair::new(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, 64, 1);
    let Reply::Bytes(address) = pair.call(Command::Address) else {
        panic!("no address");
    };
    let second = pair.here.dial(&address, Class::Kv);
    pair.here.up(second);
    for round in 0..20 {
        pair.here.submit(pair.channel, &plan, &[0], Then::Nothing, round);
        if round == 10 {
            pair.here.port().close(second).expect("up");
        }
        pair.here.done(round);
    }
    assert_eq!(pair.here.end_of_channel(second), State::Closed);
    let message = b"another pair".to_vec();
    other.here.send(other.channel, &message, 0);
    assert_eq!(other.messages(1, true), [message]);
}

/// A peer that dies while idle is reported too.
fn killed_idle(context: &Context) {
    let mut pair = Pair::new(context);
    pair.peer.kill();
    let state = pair.here.end_of_channel(pair.channel);
    assert_eq!(state, State::Broken(Cause::PeerGone));
    assert!(pair.here.log.ends.is_empty());
    let channel = pair.channel;
    let late = pair.here.port().send(channel, b"", far(), 0);
    let refused = matches!(late, Err(ApiMisuse::NotUp { .. } | ApiMisuse::UnknownChannel(_)));
    assert!(refused, "{late:?}");
}

/// On one host a death is told while the kernel still has all of it to clear away: what the peer had in memory, and its
/// sockets. Here it never gets to that, as another process has them too. Over TCP only the sockets' end tells.
fn killed_and_outlived(context: &Context) {
    for as_a_fork in [false, true] {
        outlived(context, as_a_fork);
    }
}

/// A fork has its own copy of the memory, and the sockets.
fn outlived(context: &Context, as_a_fork: bool) {
    const BYTES: u64 = 64 << 20;
    let mut pair = Pair::new(context);
    let Reply::Handle(region) = pair.call(Command::Allocate { bytes: BYTES }) else {
        panic!("no region");
    };
    pair.call(Command::Fill { region, seed: 1 });
    let there = pair.there;
    pair.call(Command::Send { channel: there, message: b"last words".to_vec() });
    let outliving = pair.value(if as_a_fork { Command::Fork } else { Command::Outlive });
    pair.peer.kill();
    let outliving = Outliving::new(outliving);
    if pair.capabilities().meets == Meets::AnyHost {
        outliving.end();
    }
    let state = pair.here.end_of_channel(pair.channel);
    assert_eq!(state, State::Broken(Cause::PeerGone));
    if pair.capabilities().meets == Meets::OneHost {
        let held = outliving.resident_bytes();
        assert!(as_a_fork || held >= BYTES, "{held} bytes are left of {BYTES}");
        outliving.end();
    }
    let message = pair.here.message();
    assert_eq!(pair.here.bytes_of(message), b"last words", "what came before the end counts");
}

/// A peer that dies with transfers in flight: each ends once, `Done` or with that cause, and is quiet. Done never
/// means alive.
fn killed_busy(context: &Context) {
    for polls in [0, 1, 20] {
        let mut pair = Pair::new(context);
        let mut other = Pair::new(context);
        let copies = pair.capabilities().copies_in_poll;
        let (_here, _there, plan) = pair.blocks(Op::Write, context.bulk(1 << 20), 8);
        let counter = pair.counter();
        let ids: Vec<u32> = (0..8).collect();
        for tag in 0..40 {
            let then = match tag % 8 {
                0 => Then::Message(b"hello"),
                1 => Then::Count(counter.id),
                _ => Then::Nothing,
            };
            pair.here.submit(pair.channel, &plan, &ids, then, tag);
        }
        for _ in 0..polls {
            pair.here.turn();
        }
        pair.peer.kill();
        let State::Broken(cause) = pair.here.end_of_channel(pair.channel) else {
            panic!("{:?}", pair.here.log.states);
        };
        // Of a process that ends its memory may go first: then a NIC is refused before the connection's end is seen.
        let refused = !copies && matches!(cause, Cause::Transport { .. });
        assert!(cause == Cause::PeerGone || refused, "{cause:?}");
        assert_eq!(pair.here.log.ends.len(), 40, "each ended once, before the channel");
        for end in &pair.here.log.ends {
            assert!(end.outcome == Outcome::Done || end.outcome == Outcome::Failed(cause), "{end:?}");
        }
        pair.here.quiet();
        let tally = pair.here.tally();
        assert_eq!((tally.accepted, tally.ended, tally.broken), (40, 40, 1));
        other.here.send(other.channel, b"alive", 0);
        assert_eq!(other.messages(1, true), [b"alive"]);
    }
}

/// Capability `needs_peer_cpu`: what it denies ends `Done` with the peer's process stopped.
fn stopped(context: &Context) {
    let mut pair = Pair::new(context);
    let needs = pair.capabilities().needs_peer_cpu;
    let (here, there, plan) = pair.blocks(Op::Write, 5000, 20);
    let back = pair.here.allocate(100_000);
    let read_plan = pair.here.blocks(Op::Read, &back, &there.remote, 5000, 20);
    let counter = pair.counter();
    let ids: Vec<u32> = (0..20).collect();
    pair.peer.signal(Signal::STOP);
    if !needs.write {
        pair.here.submit(pair.channel, &plan, &ids, Then::Count(counter.id), 0);
        pair.here.done(0);
    }
    if !needs.read {
        pair.here.submit(pair.channel, &read_plan, &ids, Then::Nothing, 1);
        pair.here.done(1);
    }
    if !needs.message {
        pair.here.send(pair.channel, b"for later", 2);
        pair.here.done(2);
    }
    pair.peer.signal(Signal::CONT);
    if !needs.write && !needs.read {
        let written = crate::side::read(&here, 0, 100_000);
        assert!(crate::side::read(&back, 0, 100_000) == written, "read back while it was stopped");
        pair.compare(there.region, &written);
    }
    if !needs.write {
        assert_eq!(pair.wait_counter(counter, 1), 1);
    }
    if !needs.message {
        assert_eq!(pair.messages(1, true), [b"for later"]);
    }
}
