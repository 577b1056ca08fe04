//! A device that does not let go: what it may still reach is never told to be quiet, is not unmapped, and is counted.

use std::time::{Duration, Instant};

use pegaflow_core::{Cause, Class, Op, Port, Quarantined, Then};

use crate::{
    Test,
    devices::{Schedule, counts, nothing_registered},
    errors::{DONE, pair, plain},
    rig::{Blocks, Ends, PATIENCE, Pair},
    tests,
};

pub(crate) const TESTS: &[Test] = tests!["stuck":
    regions_that_stay,
    flushes_that_never_come,
    queue_pair_that_outlives_its_port,
];

const BYTES: u64 = 4 * 64;

/// Eighty counts to a receiver that has room for 64 and does not poll: sixteen are with the device.
fn sixteen_under_way(schedule: &Schedule, within: Duration) -> (Pair, [String; 2], [Ends; 2], Blocks) {
    let (mut pair, names) = pair(schedule, |config| config.receive_depth = 64);
    let (on, other) = (pair.connect(Class::Kv), pair.connect(Class::Activation));
    let blocks = pair.blocks(on, Op::Write, 64, 4);
    let (counter, id) = pair.counter(on);
    pair.polls_there = false;
    for tag in 0..80 {
        assert!(pair.try_submit_until(on, &blocks, &[0], Then::Count(id), tag, Instant::now() + within));
    }
    let ended = if within < PATIENCE { 80 } else { 64 };
    pair.until("the ends", |pair| (pair.here.ends.len() == ended).then_some(()));
    // It ends with its channel.
    drop(counter);
    (pair, names, [on, other], blocks)
}

/// Whether this process has something at an address.
fn is_mapped(address: usize) -> bool {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("of this process");
    maps.lines().any(|line| {
        let (range, _) = line.split_once(' ').expect("a line of maps");
        let (start, end) = range.split_once('-').expect("a range");
        let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16).expect("an address"));
        (start..end).contains(&address)
    })
}

/// `ibv_dereg_mr` fails: the memory stays mapped and registered, is counted, once, and whoever works goes on.
fn regions_that_stay() {
    let (mut pair, names) = pair(&Schedule { kept_regions: 1, ..plain() }, |_| {});
    let on = pair.connect(Class::Kv);
    let (gone, blocks) = (pair.blocks(on, Op::Write, 64, 4), pair.blocks(on, Op::Write, 64, 4));
    pair.submit(on, &gone, &[0, 2], Then::Nothing, 0);
    pair.quiet(0..1);
    let (address, registered) = (gone.here.as_ptr().addr(), counts(&names[0]).regions);
    assert_eq!(pair.here.node.quarantined(), Quarantined::default());
    drop(gone);
    let one = Quarantined { regions: 1, bytes: BYTES };
    pair.until("the word that it stays", |pair| (pair.here.node.quarantined() != Quarantined::default()).then_some(()));
    assert_eq!(pair.here.node.quarantined(), one);
    assert!(is_mapped(address), "the device may still reach it");
    assert_eq!(counts(&names[0]).regions, registered);
    blocks.here.write(64, &[7; 64]).expect("inside");
    pair.submit(on, &blocks, &[1], Then::Message(b"on"), 1);
    pair.quiet(1..2);
    assert_eq!(pair.here.ends[&1], DONE);
    assert_eq!(pair.here.node.quarantined(), one, "told once");
    drop((blocks, pair));
    nothing_registered(&names[1]);
    assert!(counts(&names[0]).regions >= registered, "all that was registered stays");
}

/// The last request of a drain never comes back: quiet is told all the same, and not before the pair is destroyed, which
/// proves it.
fn flushes_that_never_come() {
    let schedule = Schedule { lost_flushes: 1, ..plain() };
    let (mut pair, names, [on, other], blocks) = sixteen_under_way(&schedule, Duration::from_millis(50));
    pair.here.port.fence(on.here).expect("it is up");
    assert_eq!(pair.broken(on), Cause::Fenced);
    assert_eq!(counts(&names[0]).pairs, 2, "it is being drained");
    let unquiet = pair.here.ends.values().filter(|end| !end.quiet).count();
    assert_eq!(unquiet, 16);
    let begin = Instant::now();
    while !pair.here.are_quiet(0..80) {
        let pairs = counts(&names[0]).pairs;
        pair.here.turn();
        let quiet = pair.here.ends.values().filter(|end| end.quiet).count();
        assert!(quiet == 64 || counts(&names[0]).pairs == 1, "{quiet} are told to be quiet, of {pairs} queue pairs");
        assert!(begin.elapsed() < PATIENCE, "{quiet} are quiet");
    }
    assert_eq!(pair.here.node.quarantined(), Quarantined::default(), "it has let go");
    pair.polls_there = true;
    let more = pair.blocks(other, Op::Write, 64, 4);
    pair.submit(other, &more, &[1], Then::Nothing, 100);
    pair.quiet(100..101);
    assert_eq!(pair.here.ends[&100], DONE, "the neighbour");
    drop((blocks, more, pair));
    for name in &names {
        nothing_registered(name);
    }
}

/// A port is dropped with transfers at a device that does not let go of the queue pair: the drop does not wait for it, the
/// memory stays and is counted, and another port of the node works.
fn queue_pair_that_outlives_its_port() {
    let schedule = Schedule { kept_pairs: 1, ..plain() };
    let (mut pair, names, _on, blocks) = sixteen_under_way(&schedule, Duration::from_secs(600));
    let address = blocks.here.as_ptr().addr();
    pair.here.port = pair.here.node.port(()).expect("another port");
    pair.here.ends.clear();
    drop(blocks);
    let begin = Instant::now();
    while pair.here.node.quarantined() == Quarantined::default() {
        assert!(begin.elapsed() < PATIENCE, "nothing is said to be kept");
        std::thread::sleep(Duration::from_millis(1));
    }
    // Once for each transfer.
    assert_eq!(pair.here.node.quarantined(), Quarantined { regions: 16, bytes: 16 * BYTES });
    // The reaper has done what was asked of it until now.
    drop(pair.here.node.allocate(64, &pegaflow_core::AllocateOptions::default()).expect("memory"));
    assert!(is_mapped(address), "the device may still reach it");
    assert!(counts(&names[0]).regions > 0);
    pair.polls_there = true;
    let on = pair.connect(Class::Activation);
    let more = pair.blocks(on, Op::Write, 64, 4);
    pair.submit(on, &more, &[1], Then::Nothing, 100);
    pair.quiet(100..101);
    assert_eq!(pair.here.ends[&100], DONE);
}
