//! Counters: fixed memory, never full, and nothing late hits one that was given out again.

use pegaflow_core::{Op, Port, Submitted, Then};

use super::Case;
use crate::{
    pair::{Context, CounterThere, Pair},
    protocol::{Command, What},
    side::far,
};

pub(super) const CASES: &[Case] = &[
    Case::both("counts_are_exact", exact),
    Case::both("nothing_late_hits_a_recycled_counter", recycled),
    Case::both("all_counters_taken", all_taken),
    Case::both("count_is_readable_without_a_poll", without_poll),
    Case::both("counts_both_ways", both_ways),
];

fn value(pair: &mut Pair, counter: CounterThere) -> u64 {
    pair.value(Command::Value { counter: counter.handle })
}

/// As many as there were counted transfers, on the counter that each named.
fn exact(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, 8, 4);
    let counters = [pair.counter(), pair.counter(), pair.counter()];
    for round in 0..1000_u64 {
        let counter = counters[usize::try_from(round * round % 3).expect("small")];
        pair.here.submit(pair.channel, &plan, &[0, 2], Then::Count(counter.id), round);
    }
    pair.here.until("all ends", |side| (side.log.ends.len() == 1000).then_some(()));
    // Squares leave 0 or 1 over when divided by 3.
    let expected = [334, 666, 0];
    for (counter, expected) in counters.into_iter().zip(expected) {
        assert_eq!(pair.wait_counter(counter, expected), expected);
    }
}

/// A counter that is dropped takes no increment any more, nor does the next that is given the same place.
fn recycled(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, 8, 1);
    let first = pair.counter();
    pair.here.submit(pair.channel, &plan, &[0], Then::Count(first.id), 0);
    pair.here.done(0);
    assert_eq!(pair.wait_counter(first, 1), 1);
    pair.call(Command::Drop(What::Counter(first.handle)));
    // Until the same place comes round again.
    let mut again = None;
    for _ in 0..64 {
        let next = pair.counter();
        assert_ne!(next.id, first.id, "an id was given out twice");
        if next.id.index() == first.id.index() {
            again = Some(next);
            break;
        }
        pair.call(Command::Drop(What::Counter(next.handle)));
    }
    let again = again.expect("places are used again: there are 32");
    for tag in 1..50 {
        pair.here.submit(pair.channel, &plan, &[0], Then::Count(first.id), tag);
        pair.here.done(tag);
    }
    pair.here.submit(pair.channel, &plan, &[0], Then::Count(again.id), 50);
    pair.here.done(50);
    assert_eq!(pair.wait_counter(again, 1), 1, "the late ones are not counted");
    pair.here.submit(pair.channel, &plan, &[0], Then::Message(b"after"), 51);
    pair.messages(1, true);
    assert_eq!(value(&mut pair, again), 1);
}

/// `None` where all are taken; a dropped one makes room, and begins at zero.
fn all_taken(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, 8, 1);
    let mut all: Vec<_> = (0..32).map(|_| pair.counter()).collect();
    assert!(pair.try_counter().is_none(), "33 of 32");
    for (at, counter) in all.iter().enumerate() {
        assert!(all[..at].iter().all(|other| other.id.index() != counter.id.index()));
    }
    for round in 0..100_u64 {
        let old = all.remove(usize::try_from(round * 7 % 32).expect("small"));
        pair.here.submit(pair.channel, &plan, &[0], Then::Count(old.id), round);
        pair.here.done(round);
        assert_eq!(pair.wait_counter(old, 1), 1);
        pair.call(Command::Drop(What::Counter(old.handle)));
        let fresh = pair.counter();
        assert_eq!(value(&mut pair, fresh), 0, "it begins at zero");
        all.push(fresh);
        assert!(pair.try_counter().is_none());
    }
}

/// Capability `needs_peer_cpu.count`: where it is denied, a thread of the receiver's reads the count though its port
/// is not polled.
fn without_poll(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, 8, 1);
    let counter = pair.counter();
    let needs = pair.capabilities().needs_peer_cpu;
    pair.call(Command::Polling(needs.count || needs.write));
    for round in 1..100 {
        pair.here.submit(pair.channel, &plan, &[0], Then::Count(counter.id), round);
        pair.here.done(round);
        if !needs.count {
            assert_eq!(value(&mut pair, counter), round);
        }
    }
    pair.call(Command::Polling(true));
    assert_eq!(pair.wait_counter(counter, 99), 99);
}

/// The peer counts here as this side counts there.
fn both_ways(context: &Context) {
    let mut pair = Pair::new(context);
    let there = pair.there(8);
    let region = pair.here.allocate(8);
    let windows = [pegaflow_core::Window::whole(&region)];
    let audience = pegaflow_core::Audience::Channel(pair.channel);
    let grant = pair.here.node().grant(&windows, pegaflow_core::Access::WRITE, audience).expect("a grant");
    let channel = pair.channel;
    let counter = pair.here.port().counter(channel).expect("up").expect("free");
    assert_eq!((counter.channel(), counter.value()), (channel, 0));
    for round in 1..20 {
        pair.call(Command::Fill { region: there.region, seed: round });
        let (channel, region_there) = (pair.there, there.region);
        pair.peer.begin(Command::WriteBack {
            channel,
            grant: grant.as_bytes().to_vec(),
            region: region_there,
            counter: Some(counter.id().to_bits()),
        });
        pair.here.until("a count", |_| (counter.value() == round).then_some(()));
        assert_eq!(crate::side::read(&region, 0, 8), crate::side::seeded(round, 8));
        pair.answer();
    }
    // A wait on a counter ends with the channel's event; the value stays.
    let there = pair.there;
    pair.call(Command::Close { channel: there });
    pair.here.end_of_channel(channel);
    assert_eq!(counter.value(), 19);
    let late = pair.here.port().send(channel, b"", far(), 0);
    assert!(!matches!(late, Ok(Submitted::Accepted(_))));
}
