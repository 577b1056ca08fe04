//! Ends and sleep where the send queue is short: nothing is told quiet that the device still has, nothing is posted past
//! its deadline, and nobody sleeps over room that has come back.

use std::time::{Duration, Instant};

use pegaflow_core::{Armed, Class, Event, Op, Outcome, Port, Slot, Submitted, Then};
use pegaflow_rdma::testing;

use crate::{
    Test,
    devices::{ALWAYS, Schedule, counts, device},
    provider::config,
    rig::{Ends, PATIENCE, Pair},
    tests,
};

pub(crate) const TESTS: &[Test] = tests!["ends":
    room_that_comes_back_unseen_keeps_a_port_awake,
    deadline_withdraws_what_is_not_posted,
    half_of_a_cut_move_is_not_quiet,
];

/// As many as the messages that a port gives back in one go below.
const DEPTH: u32 = 8;

/// Two ports with send queues of [`DEPTH`]; the far one has released as many messages, and so has no place left, though
/// nothing that it would be told of is under way.
fn pair_without_places() -> (Pair, Ends) {
    let [here, there] = [(), ()].map(|()| {
        let mut config = config(&device(&Schedule::default()));
        (config.send_depth, config.signal_every, config.chain) = (DEPTH, 4, 4);
        testing::open(&config).expect("a device of the stand-in's")
    });
    let mut pair = Pair::new(here, there);
    let on = pair.connect(Class::Kv);
    for tag in 0..DEPTH {
        let sent = pair.here.port.send(on.here, b"x", Instant::now() + PATIENCE, tag.into()).expect("up");
        assert!(matches!(sent, Submitted::Accepted(_)));
    }
    let mut slots: Vec<Slot> = Vec::new();
    let mut events = [Event::NONE; 16];
    let begin = Instant::now();
    while slots.len() < DEPTH as usize {
        assert!(begin.elapsed() < PATIENCE, "{} messages came", slots.len());
        pair.here.turn();
        let count = pair.there.port.poll(&mut events);
        slots.extend(events[..count].iter().filter_map(|event| match event {
            Event::Message { slot, .. } => Some(*slot),
            _ => None,
        }));
    }
    for slot in slots {
        pair.there.port.release(slot).expect("held");
    }
    (pair, on)
}

fn room_that_comes_back_unseen_keeps_a_port_awake() {
    let (mut pair, on) = pair_without_places();
    let sent = pair.there.port.send(on.there, b"y", Instant::now() + PATIENCE, 100).expect("up");
    assert!(matches!(sent, Submitted::Accepted(_)));
    // The credits' completions are found while arming, and make no fact.
    assert_eq!(pair.there.port.arm(), Armed::Ready, "there is room for the message, and nothing else would wake it");
    pair.until("the end of the message", |pair| pair.there.ends.contains_key(&100).then_some(()));
}

fn deadline_withdraws_what_is_not_posted() {
    let (mut pair, on) = pair_without_places();
    let deadline = Instant::now() + Duration::from_millis(20);
    let sent = pair.there.port.send(on.there, b"y", deadline, 100).expect("up");
    assert!(matches!(sent, Submitted::Accepted(_)));
    std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    let before = pair.there.port.work().requests;
    pair.there.turn();
    let end = pair.there.ends.get(&100).copied().expect("the first progress after its deadline ends it");
    assert_eq!((end.outcome, end.quiet), (Outcome::DeadlinePassed, true));
    for _ in 0..100 {
        pair.there.turn();
        pair.here.turn();
    }
    assert_eq!(pair.there.port.work().requests, before, "it was posted after its deadline");
}

fn half_of_a_cut_move_is_not_quiet() {
    const PIECE: u64 = 2 << 30;
    const BYTES: usize = 4096;
    const LENGTH: u64 = BYTES as u64;
    let mut seen = 0;
    for seed in 0..60 {
        let schedule = Schedule { seed, partial_posts: ALWAYS / 2, late_calls: 2000, ..Schedule::default() };
        let name = device(&schedule);
        let open = |name: &str| testing::open(&config(name)).expect("a device of the stand-in's");
        let mut pair = Pair::new(open(&name), open(&device(&Schedule::default())));
        let on = pair.connect(Class::Kv);
        // Never touched but at the cut: it takes no memory.
        let how = pegaflow_core::AllocateOptions::default();
        let (Ok(here), Ok(there)) =
            (pair.here.node.allocate(LENGTH, &how), pair.there.node.allocate(PIECE + LENGTH, &how))
        else {
            panic!("4 GiB of address space can't be had");
        };
        here.write(0, &[0xaa; BYTES]).expect("its whole");
        let cut = PIECE - LENGTH / 2;
        let blocks = pair.spans(on, Op::Write, (&here, &there), &[(0, cut, LENGTH)]);
        let before = counts(&name).requests;
        let batch = pegaflow_core::Batch {
            plan: &blocks.plan,
            planes: 0..1,
            here: &[0],
            there: &[0],
            then: Then::Nothing,
            deadline: Instant::now() + PATIENCE,
            tag: 1,
        };
        let Ok(Submitted::Accepted(id)) = pair.here.port.submit(on.here, &batch) else { panic!("a free channel") };
        let taken = counts(&name).requests - before;
        if !pair.here.port.cancel(id) {
            continue;
        }
        pair.here.turn();
        let quiet = pair.here.ends.get(&1).expect("cancelled").quiet;
        if quiet {
            // From now on the memory is the caller's.
            here.write(0, &[0xbb; BYTES]).expect("its whole");
        }
        seen += u32::from(taken == 1);
        pair.until("quiet", |pair| pair.here.are_quiet(1..2).then_some(()));
        for _ in 0..3000 {
            pair.here.turn();
        }
        let mut got = [0; BYTES];
        there.read(cut, &mut got).expect("inside");
        assert!(!got.contains(&0xbb), "seed {seed}: told quiet with {taken} of 2 requests posted, and read afterwards");
    }
    assert!(seen > 0, "no schedule took one request of the two");
}
