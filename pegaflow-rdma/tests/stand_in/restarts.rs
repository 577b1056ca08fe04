//! Peers that come and go leave nothing on the device: no queue pair, no queue, no region.

use std::time::Instant;

use pegaflow_core::{Class, Op, Port, State, Then};
use pegaflow_rdma::testing;

use crate::{
    Test,
    devices::{Counts, counts, device},
    errors::{no_leak, plain},
    provider::config,
    rig::{PATIENCE, Pair, Side},
    tests,
};

pub(crate) const TESTS: &[Test] = tests!["restarts": a_hundred_peers_leave_nothing_on_the_device];

fn a_hundred_peers_leave_nothing_on_the_device() {
    let names = [device(&plain()), device(&plain())];
    let [here, there] = names.each_ref().map(|name| testing::open(&config(name)).expect("a device"));
    let mut pair = Pair::new(here, there);
    let is_there = |counts: &Counts| (counts.pairs, counts.queues, counts.regions);
    let before = is_there(&counts(&names[0]));
    for round in 0..100 {
        let on = pair.connect(Class::Kv);
        let blocks = pair.blocks(on, Op::Write, 64, 4);
        let tag = 10 * round;
        pair.submit(on, &blocks, &[0, 2], Then::Message(b"kept"), tag);
        pair.quiet(tag..tag + 1);
        for more in 1..4 {
            pair.submit(on, &blocks, &[1, 3], Then::Nothing, tag + more);
        }
        match round % 3 {
            0 => pair.here.port.close(on.here).expect("it is up"),
            1 => pair.here.port.fence(on.here).expect("it is up"),
            _ => {}
        }
        // Its node goes, with all that it has, whatever was under way.
        pair.there = Side::new(testing::open(&config(&names[1])).expect("a device"), "there");
        let over = |state: &State| matches!(state, State::Broken(_) | State::Closed);
        pair.until("the end of the channel", |pair| pair.here.state(on.here).filter(over));
        pair.quiet(tag..tag + 4);
        drop(blocks);
        let begin = Instant::now();
        while is_there(&counts(&names[0])) != before {
            let now = is_there(&counts(&names[0]));
            assert!(begin.elapsed() < PATIENCE, "round {round}: {now:?} pairs, queues and regions, before {before:?}");
            pair.here.turn();
        }
    }
    no_leak(pair, &names);
}
