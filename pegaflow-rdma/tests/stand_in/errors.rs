//! What fails at run time: the cause that was seen, one end for each transfer, quiet told, the neighbours unharmed, and
//! nothing left registered.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use pegaflow_core::{Armed, Cause, Class, Op, Outcome, Port, State, Then, backend::Domain};
use pegaflow_rdma::{RdmaConfig, testing};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::{
    Test,
    devices::{ALWAYS, Schedule, counts, device, nothing_registered, raise},
    misled::Misled,
    provider::config,
    rig::{End, Pair},
    tests,
};

pub(crate) const TESTS: &[Test] = tests!["errors":
    wrong_remote_key,
    peers_queue_pair_gone,
    receiver_never_ready,
    receiver_late_and_deadlines,
    post_refused,
    queue_pair_that_stays,
    completion_queue_lost,
    completion_queue_lost_beneath_a_sleeper,
    device_lost,
    lost_event_and_a_deadline,
];

const CQ_ERR: u32 = 0;
const QP_FATAL: u32 = 1;
const DEVICE_FATAL: u32 = 8;
const EIO: i32 = 5;
const EINVAL: i32 = 22;

pub(crate) fn plain() -> Schedule {
    Schedule { seed: 1, ..Schedule::default() }
}

/// What the stand-in's completions say beside a status.
pub(crate) fn transport(status: u32) -> Cause {
    Cause::Transport { status, vendor: 0x5d00 | status }
}

pub(crate) fn failed(cause: Cause) -> End {
    End { outcome: Outcome::Failed(cause), quiet: true }
}

pub(crate) const DONE: End = End { outcome: Outcome::Done, quiet: true };

/// Two devices, and a pair over them.
pub(crate) fn pair(schedule: &Schedule, change: impl Fn(&mut RdmaConfig)) -> (Pair, [String; 2]) {
    let names = [device(schedule), device(&plain())];
    let [here, there] = names.each_ref().map(|name| {
        let mut config = config(name);
        change(&mut config);
        testing::open(&config).expect("a device of the stand-in's")
    });
    (Pair::new(here, there), names)
}

/// Once both sides are gone, nothing is registered any more.
#[track_caller]
pub(crate) fn no_leak(pair: Pair, names: &[String; 2]) {
    drop(pair);
    for name in names {
        nothing_registered(name);
    }
}

/// The writer's channel breaks with the first status that is no flush; its neighbour on the same port lives on.
fn wrong_remote_key() {
    let names = [device(&plain()), device(&plain())];
    let [inside, there] = names.each_ref().map(|name| testing::open(&config(name)).expect("a device"));
    let here = Misled::new(inside);
    let mut pair = Pair::new(Arc::clone(&here) as Arc<dyn Domain>, there);
    let (on, other) = (pair.connect(Class::Kv), pair.connect(Class::Activation));
    let (good, neighbour) = (pair.blocks(on, Op::Write, 64, 4), pair.blocks(other, Op::Write, 64, 4));
    here.now.store(true, Ordering::Relaxed);
    let bad = pair.blocks(on, Op::Write, 64, 4);
    here.now.store(false, Ordering::Relaxed);
    pair.submit(on, &good, &[0, 2], Then::Nothing, 0);
    pair.submit(on, &bad, &[0, 2], Then::Nothing, 1);
    pair.submit(on, &good, &[1, 3], Then::Message(b"after"), 2);
    pair.quiet(0..3);
    let cause = transport(10);
    assert_eq!([0, 1, 2].map(|tag| pair.here.ends[&tag]), [DONE, failed(cause), failed(cause)]);
    assert_eq!(pair.broken(on), cause);
    // The owner of the memory sees nothing but flushes, or hears of the end first.
    let there = pair.over_there(on);
    assert!(there == State::Broken(transport(5)) || there == State::Broken(Cause::PeerGone), "{there:?}");
    neighbour.here.write(64, &[7; 64]).expect("inside");
    pair.submit(other, &neighbour, &[1], Then::Nothing, 3);
    pair.quiet(3..4);
    assert_eq!(pair.here.ends[&3], DONE, "the neighbour");
    let mut bytes = [0; 64];
    neighbour.there.read(64, &mut bytes).expect("inside");
    assert_eq!(bytes, [7; 64]);
    drop((good, bad, neighbour, here));
    no_leak(pair, &names);
}

/// Nobody answers: status 12, once the device has given up.
fn peers_queue_pair_gone() {
    let (mut pair, names) = pair(&Schedule { retry_calls: 20, ..plain() }, |_| {});
    let on = pair.connect(Class::Kv);
    let blocks = pair.blocks(on, Op::Write, 64, 4);
    pair.polls_there = false;
    raise(&names[1], QP_FATAL);
    for tag in 0..5 {
        pair.submit(on, &blocks, &[0, 2], Then::Nothing, tag);
    }
    pair.quiet(0..5);
    assert_eq!([0, 1, 2, 3, 4].map(|tag| pair.here.ends[&tag]), [failed(transport(12)); 5]);
    assert_eq!(pair.broken(on), transport(12));
    pair.polls_there = true;
    pair.over_there(on);
    drop(blocks);
    no_leak(pair, &names);
}

/// A receiver that does not poll, and a sender that was told to ask twice only: status 13.
fn receiver_never_ready() {
    let (mut pair, names) = pair(&plain(), |config| (config.receive_depth, config.rnr_retries) = (64, 1));
    let on = pair.connect(Class::Kv);
    let blocks = pair.blocks(on, Op::Write, 64, 4);
    let (counter, id) = pair.counter(on);
    pair.polls_there = false;
    for tag in 0..80 {
        pair.submit(on, &blocks, &[0], Then::Count(id), tag);
    }
    pair.quiet(0..80);
    let done = (0..80).filter(|tag| pair.here.ends[tag] == DONE).count();
    assert_eq!(done, 64, "as many as there were receives");
    assert!((64..80).all(|tag| pair.here.ends[&tag] == failed(transport(13))), "{:?}", pair.here.ends);
    assert_eq!(pair.broken(on), transport(13));
    pair.polls_there = true;
    pair.over_there(on);
    assert_eq!(counter.value(), 64, "what was done is counted");
    drop((blocks, counter));
    no_leak(pair, &names);
}

/// With retries for ever a receiver that does not poll costs time alone: deadlines end what waits, without breaking the
/// channel, and it is quiet once the receiver polls.
fn receiver_late_and_deadlines() {
    let (mut pair, names) = pair(&plain(), |config| config.receive_depth = 64);
    let on = pair.connect(Class::Kv);
    let blocks = pair.blocks(on, Op::Write, 64, 4);
    let (counter, id) = pair.counter(on);
    pair.polls_there = false;
    let deadline = Instant::now() + Duration::from_millis(50);
    for tag in 0..80 {
        assert!(pair.try_submit_until(on, &blocks, &[0], Then::Count(id), tag, deadline));
    }
    pair.until("80 ends", |pair| (pair.here.ends.len() == 80).then_some(()));
    let passed = pair.here.ends.values().filter(|end| end.outcome == Outcome::DeadlinePassed).count();
    assert_eq!(passed, 16);
    assert!((0..64).all(|tag| pair.here.ends[&tag] == DONE));
    assert!((64..80).all(|tag| !pair.here.ends[&tag].quiet), "they are with the device");
    pair.polls_there = true;
    pair.quiet(0..80);
    pair.until("80 counts", |_| (counter.value() == 80).then_some(()));
    assert!(matches!(pair.here.state(on.here), Some(State::Up { .. })));
    drop((blocks, counter));
    no_leak(pair, &names);
}

/// A device that does not let go of a queue pair: what it may still reach is never told to be quiet, stays registered and
/// is counted; another channel goes on, and the port can be dropped.
fn queue_pair_that_stays() {
    let (mut pair, names) = pair(&Schedule { kept_pairs: 1, ..plain() }, |config| config.receive_depth = 64);
    let (on, other) = (pair.connect(Class::Kv), pair.connect(Class::Activation));
    let blocks = pair.blocks(on, Op::Write, 64, 4);
    let (_counter, id) = pair.counter(on);
    pair.polls_there = false;
    for tag in 0..80 {
        let deadline = Instant::now() + Duration::from_millis(50);
        assert!(pair.try_submit_until(on, &blocks, &[0], Then::Count(id), tag, deadline));
    }
    pair.until("80 ends", |pair| (pair.here.ends.len() == 80).then_some(()));
    assert_eq!(pair.here.node.quarantined().bytes, 0);
    pair.here.port.fence(on.here).expect("it is up");
    assert_eq!(pair.broken(on), Cause::Fenced);
    pair.until("the word that it stays", |pair| (pair.here.node.quarantined().bytes > 0).then_some(()));
    let unquiet = pair.here.ends.values().filter(|end| !end.quiet).count();
    assert_eq!(unquiet, 16, "none of those that were with the device is told to be quiet");
    pair.polls_there = true;
    let more = pair.blocks(other, Op::Write, 64, 4);
    pair.submit(other, &more, &[1], Then::Nothing, 100);
    pair.quiet(100..101);
    assert!(pair.here.port.state(on.here).is_some(), "it is not forgotten, so that its number is not used again");
    drop((blocks, more, pair));
    // The memory that was under way, at the least.
    assert!(counts(&names[0]).regions > 0);
}

/// A post that fails for another reason than a shortage breaks the channel with the errno.
fn post_refused() {
    let (mut pair, names) = pair(&Schedule { refused_posts: ALWAYS, ..plain() }, |_| {});
    let on = pair.connect(Class::Kv);
    let blocks = pair.blocks(on, Op::Write, 64, 4);
    for tag in 0..3 {
        pair.submit(on, &blocks, &[0, 2], Then::Nothing, tag);
    }
    pair.quiet(0..3);
    let cause = Cause::Device { errno: EINVAL };
    assert_eq!([0, 1, 2].map(|tag| pair.here.ends[&tag]), [failed(cause); 3]);
    assert_eq!(pair.broken(on), cause);
    pair.over_there(on);
    drop(blocks);
    no_leak(pair, &names);
}

/// A transfer is with the device, so late that it never ends, and the device raises `event`: the channel breaks all the same.
fn lost(event: u32, sleeps: bool) {
    let (mut pair, names) = pair(&Schedule { late_calls: u32::MAX - 1, ..plain() }, |_| {});
    let (on, other) = (pair.connect(Class::Kv), pair.connect(Class::Activation));
    let blocks = pair.blocks(on, Op::Write, 64, 4);
    pair.submit(on, &blocks, &[0, 2], Then::Nothing, 0);
    while pair.here.turn() > 0 {}
    let armed = sleeps.then(|| pair.here.port.arm());
    raise(&names[0], event);
    if let Some(Armed::Sleep { .. }) = armed {
        let bound = Timespec { tv_sec: 10, tv_nsec: 0 };
        let fd = pair.here.port.fd();
        let woken = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&bound)).expect("poll");
        assert_eq!(woken, 1, "nothing woke the port");
    } else {
        assert!(!sleeps, "there was something to do");
    }
    pair.quiet(0..1);
    let cause = Cause::Device { errno: EIO };
    assert_eq!(pair.here.ends[&0], failed(cause));
    assert_eq!((pair.broken(on), pair.broken(other)), (cause, cause), "all that was on the device");
    pair.over_there(on);
    drop(blocks);
    no_leak(pair, &names);
}

/// A completion queue that failed gives no completions any more: what the device says of it must do.
fn completion_queue_lost() {
    lost(CQ_ERR, false);
}

fn completion_queue_lost_beneath_a_sleeper() {
    lost(CQ_ERR, true);
}

fn device_lost() {
    lost(DEVICE_FATAL, true);
}

/// A completion whose event was lost wakes nobody: that is a fault of the device, which the backend does not mend. A
/// sleeper with something in flight sleeps no longer than its deadline all the same, and finds what was complete.
fn lost_event_and_a_deadline() {
    let (mut pair, names) = pair(&Schedule { late_calls: 50, lost_events: ALWAYS, ..plain() }, |_| {});
    let on = pair.connect(Class::Kv);
    let blocks = pair.blocks(on, Op::Write, 64, 4);
    for tag in 0.. {
        while pair.here.turn() > 0 {}
        let deadline = Instant::now() + Duration::from_millis(300);
        assert!(pair.try_submit_until(on, &blocks, &[0], Then::Nothing, tag, deadline));
        // It may be complete at once.
        let Armed::Sleep { until: Some(until) } = pair.here.port.arm() else { continue };
        assert!(until <= deadline);
        let bound = Timespec::try_from(until.saturating_duration_since(Instant::now())).expect("short");
        let fd = pair.here.port.fd();
        let woken = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&bound)).expect("poll");
        assert_eq!(woken, 0, "the event was lost");
        pair.here.turn();
        assert_eq!(pair.here.ends.get(&tag), Some(&DONE), "complete before its deadline, and not taken for late");
        break;
    }
    drop(blocks);
    no_leak(pair, &names);
}
