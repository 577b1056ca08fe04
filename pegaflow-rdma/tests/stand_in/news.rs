//! What a device says of itself comes to every port on it: once for each kind, sleeping or not, and a flood is bounded.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use pegaflow_core::{
    Armed, Class, DeviceEvent, Event, Node, NodeOptions, Op, Poller, Port, Subscriber, Then, backend::Domain,
};
use pegaflow_rdma::testing;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::{
    Test,
    devices::{Schedule, device, raise},
    misled::Misled,
    provider::config,
    rig::{PATIENCE, Pair},
    tests,
};

pub(crate) const TESTS: &[Test] = tests!["news":
    each_kind_comes_once_to_each_port,
    each_kind_wakes_each_port_that_sleeps,
    queues_that_fail_are_told_of,
    requests_that_are_refused_are_told_of_at_the_owner,
    what_every_connection_goes_through_is_no_news,
    a_flood_leaves_each_event_once_and_the_last_word_last,
    a_flood_without_end_is_bounded,
    no_room_for_events_keeps_them,
    a_port_that_is_gone_is_told_nothing,
];

const CQ_ERR: u32 = 0;
const QP_FATAL: u32 = 1;
const COMM_EST: u32 = 4;
const DEVICE_FATAL: u32 = 8;
const PORT_ACTIVE: u32 = 9;
const PORT_ERR: u32 = 10;
const LID_CHANGE: u32 = 11;
const GID_CHANGE: u32 = 18;

/// What is only told, and what it is called.
const TOLD: [(u32, DeviceEvent); 5] = [
    (PORT_ERR, DeviceEvent::PortDown),
    (PORT_ACTIVE, DeviceEvent::PortUp),
    (GID_CHANGE, DeviceEvent::GidsChanged),
    (LID_CHANGE, DeviceEvent::Other(LID_CHANGE)),
    (DEVICE_FATAL, DeviceEvent::DeviceFailed),
];

/// Keeps what it is told.
#[derive(Default)]
struct Heard(Vec<(u8, DeviceEvent)>);

impl Subscriber for Heard {
    fn device(&mut self, rail: u8, what: DeviceEvent) {
        self.0.push((rail, what));
    }
}

type Listener = Poller<Heard>;

/// Two nodes on one domain: whichever takes an event, the other hears it too. Two ports for the first.
fn listeners() -> (String, [Listener; 3]) {
    let name = device(&Schedule { seed: 1, ..Schedule::default() });
    let domain = testing::open(&config(&name)).expect("a device of the stand-in's");
    let [one, two] = ["one", "two"].map(|name| Node::new(Arc::clone(&domain), NodeOptions::new(name)).expect("a node"));
    let ports = [&one, &one, &two].map(|node| node.port(Heard::default()).expect("a port"));
    (name, ports)
}

/// All that one poll with room for `room` events hands out of the device.
fn take<S: Subscriber>(port: &mut Poller<S>, room: usize) -> Vec<DeviceEvent> {
    let mut events = vec![Event::NONE; room];
    let count = port.poll(&mut events);
    let what = events[..count].iter().filter_map(|event| match *event {
        Event::Device { rail: 0, what } => Some(what),
        Event::Device { rail, .. } => panic!("rail {rail} of one"),
        _ => None,
    });
    what.collect()
}

/// Waits until something wakes a port.
#[track_caller]
fn woken(port: &impl Port) {
    let bound = Timespec::try_from(PATIENCE).expect("short");
    let fd = port.fd();
    let count = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&bound)).expect("poll");
    assert_eq!(count, 1, "nothing woke the port");
}

/// Polls until an event comes; gives all up to and with it.
#[track_caller]
fn until<S: Subscriber>(port: &mut Poller<S>, last: DeviceEvent) -> Vec<DeviceEvent> {
    let (begin, mut all) = (Instant::now(), Vec::new());
    while all.last() != Some(&last) {
        assert!(begin.elapsed() < PATIENCE, "waited for {last:?}: {all:?}");
        all.extend(take(port, 1));
        std::thread::yield_now();
    }
    all
}

/// Whether a port may sleep, and nothing wakes it.
#[track_caller]
fn sleeps(port: &mut Listener) {
    assert_eq!(port.arm(), Armed::Sleep { until: None });
    let fd = port.fd();
    let now = Timespec::default();
    assert_eq!(rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&now)), Ok(0), "woken for nothing");
}

fn each_kind_comes_once_to_each_port() {
    let (name, mut ports) = listeners();
    for (raised, what) in TOLD {
        raise(&name, raised);
        for port in &mut ports {
            assert_eq!(until(port, what), [what]);
        }
        for port in &mut ports {
            assert_eq!(take(port, 16), [], "again");
            sleeps(port);
        }
    }
    for port in &ports {
        assert_eq!(port.subscriber().0, TOLD.map(|(_, what)| (0, what)), "what the subscriber heard");
    }
}

fn each_kind_wakes_each_port_that_sleeps() {
    let (name, mut ports) = listeners();
    for (raised, what) in TOLD {
        ports.iter_mut().for_each(sleeps);
        raise(&name, raised);
        for port in &mut ports {
            woken(port);
            assert_eq!(take(port, 16), [what]);
        }
    }
}

/// Beside the channels' own end.
fn queues_that_fail_are_told_of() {
    for (raised, what) in [(QP_FATAL, DeviceEvent::QueuePairFailed), (CQ_ERR, DeviceEvent::CompletionQueueFailed)] {
        let names = [(); 2].map(|()| device(&Schedule { seed: 1, ..Schedule::default() }));
        let [here, there] = names.each_ref().map(|name| testing::open(&config(name)).expect("a device"));
        let mut pair = Pair::new(here, there);
        let on = pair.connect(Class::Kv);
        // Polled before it is told, the channel may end, and an event of what is gone is never told.
        let mut other = pair.here.node.port(()).expect("a port");
        raise(&names[0], raised);
        until(&mut other, what);
        assert_eq!(until(&mut pair.here.port, what).last(), Some(&what));
        pair.broken(on);
    }
}

/// A peer's write that no key allows: the owner's device says so, and he hears it.
fn requests_that_are_refused_are_told_of_at_the_owner() {
    let names = [(); 2].map(|()| device(&Schedule { seed: 1, ..Schedule::default() }));
    let [inside, there] = names.each_ref().map(|name| testing::open(&config(name)).expect("a device"));
    let here = Misled::new(inside);
    let mut pair = Pair::new(Arc::clone(&here) as Arc<dyn Domain>, there);
    let on = pair.connect(Class::Kv);
    here.now.store(true, Ordering::Relaxed);
    let bad = pair.blocks(on, Op::Write, 64, 4);
    let mut port = pair.there.node.port(()).expect("a port");
    pair.submit(on, &bad, &[0], Then::Nothing, 0);
    pair.polls_there = false;
    pair.quiet(0..1);
    let refused = DeviceEvent::RequestRefused;
    assert_eq!(until(&mut port, refused), [refused]);
}

fn what_every_connection_goes_through_is_no_news() {
    let (name, mut ports) = listeners();
    raise(&name, COMM_EST);
    raise(&name, GID_CHANGE);
    for port in &mut ports {
        assert_eq!(until(port, DeviceEvent::GidsChanged), [DeviceEvent::GidsChanged]);
    }
}

fn a_flood_leaves_each_event_once_and_the_last_word_last() {
    // Told in turn: what the last one has heard, the others were told.
    let (name, [mut idle, mut other, mut awake]) = listeners();
    for _ in 0..2000 {
        [PORT_ERR, LID_CHANGE, PORT_ACTIVE, GID_CHANGE, PORT_ERR].iter().for_each(|raised| raise(&name, *raised));
    }
    raise(&name, DEVICE_FATAL);
    until(&mut awake, DeviceEvent::DeviceFailed);
    let left = [
        DeviceEvent::Other(LID_CHANGE),
        DeviceEvent::PortUp,
        DeviceEvent::GidsChanged,
        DeviceEvent::PortDown,
        DeviceEvent::DeviceFailed,
    ];
    for port in [&mut idle, &mut other] {
        assert_eq!(take(port, 16), left);
    }
}

fn a_flood_without_end_is_bounded() {
    let (name, [mut idle, _other, mut awake]) = listeners();
    let numbers = 1000..4000;
    for number in numbers.clone() {
        raise(&name, number);
        until(&mut awake, DeviceEvent::Other(number));
    }
    raise(&name, GID_CHANGE);
    until(&mut awake, DeviceEvent::GidsChanged);
    let mut all = Vec::new();
    while let Some(one) = take(&mut idle, 1).pop() {
        all.push(one);
    }
    assert_eq!(all, numbers.take(64).map(DeviceEvent::Other).collect::<Vec<_>>(), "the oldest stay");
    raise(&name, GID_CHANGE);
    assert_eq!(until(&mut idle, DeviceEvent::GidsChanged), [DeviceEvent::GidsChanged], "there is room again");
}

/// Nothing is lost to a poll that has no room, and none may sleep over it.
fn no_room_for_events_keeps_them() {
    let (name, [mut port, mut other, _]) = listeners();
    raise(&name, PORT_ERR);
    raise(&name, GID_CHANGE);
    until(&mut other, DeviceEvent::GidsChanged);
    for _ in 0..3 {
        assert_eq!(take(&mut port, 0), []);
        assert_eq!(port.arm(), Armed::Ready);
    }
    assert_eq!(take(&mut port, 1), [DeviceEvent::PortDown]);
    assert_eq!(port.arm(), Armed::Ready);
    assert_eq!(take(&mut port, 1), [DeviceEvent::GidsChanged]);
    assert_eq!(take(&mut port, 1), []);
    sleeps(&mut port);
}

fn a_port_that_is_gone_is_told_nothing() {
    let (name, [gone, mut stays, mut other]) = listeners();
    drop(gone);
    raise(&name, PORT_ERR);
    for port in [&mut stays, &mut other] {
        assert_eq!(until(port, DeviceEvent::PortDown), [DeviceEvent::PortDown]);
    }
}
