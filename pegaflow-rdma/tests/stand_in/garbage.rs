//! A peer whose immediates are anything breaks its own channel, and its neighbour on the same port misses nothing.

use std::{mem::swap, time::Instant};

use pegaflow_core::{Cause, Class, Op, State, Then};
use pegaflow_rdma::testing;

use crate::{
    Test,
    devices::{ALWAYS, Schedule, device},
    provider::config,
    rig::{PATIENCE, Pair, Side},
    tests,
};

pub(crate) const TESTS: &[Test] = tests!["garbage": garbled_immediates_break_their_channel_alone];

fn garbled_immediates_break_their_channel_alone() {
    let mut places = std::collections::BTreeSet::new();
    for seed in 1..=20 {
        let liar = Schedule { seed, garbled_immediates: ALWAYS / 8, ..Schedule::default() };
        let open = |schedule: &Schedule| testing::open(&config(&device(schedule))).expect("a device of the stand-in's");
        let mut pair = Pair::new(open(&liar), open(&Schedule::default()));
        let mut good = Side::new(open(&Schedule::default()), "good");
        let on = pair.connect(Class::Kv);
        let blocks = pair.blocks(on, Op::Write, 64, 4);
        let (_counter, id) = pair.counter(on);

        // The good one takes the liar's place at the same port.
        swap(&mut pair.here, &mut good);
        let other = pair.connect(Class::Bulk);
        let neighbours = pair.blocks(other, Op::Write, 64, 4);
        let (counter, counted) = pair.counter(other);
        let more = |pair: &mut Pair, tags: std::ops::Range<u64>| {
            for tag in tags.clone() {
                pair.submit(other, &neighbours, &[1], Then::Count(counted), tag);
            }
            pair.quiet(tags.clone());
            pair.until("the neighbour's counts", |_| (counter.value() == tags.end).then_some(()));
        };
        more(&mut pair, 0..10);

        swap(&mut pair.here, &mut good);
        let (mut accepted, begin) = (0, Instant::now());
        let cause = loop {
            assert!(begin.elapsed() < PATIENCE, "seed {seed}: {:?}", pair.there.state(on.there));
            match pair.there.state(on.there) {
                Some(State::Broken(cause)) => break cause,
                _ if matches!(pair.here.state(on.here), Some(State::Up { .. })) => {
                    let then = if accepted % 2 == 0 { Then::Count(id) } else { Then::Message(b"seven") };
                    accepted += u64::from(pair.try_submit(on, &blocks, &[0], then, accepted));
                }
                _ => {}
            }
            pair.there.turn();
            pair.here.turn();
        };
        let Cause::Garbage(place @ 20..=23) = cause else { panic!("seed {seed}: {cause:?}") };
        places.insert(place);
        pair.quiet(0..accepted);

        swap(&mut pair.here, &mut good);
        more(&mut pair, 10..20);
        assert!(matches!(pair.there.state(other.there), Some(State::Up { .. })), "seed {seed}: the neighbour");
    }
    assert!(places.contains(&21) && places.contains(&23), "{places:?}");
}
