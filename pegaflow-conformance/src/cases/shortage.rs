//! A local shortage never kills a healthy channel, and passes.

use std::time::{Duration, Instant};

use pegaflow_core::{Access, Audience, Cause, Class, Grant, Meets, MemoryError, Op, Port, Region, State, Then, Window};

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::{Command, Reply},
};

pub(super) const CASES: &[Case] = &[
    Case::apart("a_peer_out_of_descriptors_keeps_its_channels", descriptors),
    Case::apart("a_node_out_of_descriptors_says_so_and_goes_on", own_descriptors),
    Case::apart("diallers_that_can_not_be_taken_cost_no_processor", no_spin),
    Case::apart("a_node_out_of_memory_says_so_and_goes_on", own_memory),
    Case::alone("memory_that_is_not_to_be_had_is_refused", memory),
];

/// The peer's process has no descriptor left: who dials it waits or is refused, its channel that is up goes on, and once
/// it has some again it can be dialled.
fn descriptors(context: &Context) {
    let mut pair = Pair::new(context);
    let (here, there, plan) = pair.blocks(Op::Write, 4096, 8);
    let Reply::Bytes(address) = pair.call(Command::Address) else { panic!("no address") };
    let on = pair.channel;
    let Reply::Value(limit) = pair.call(Command::LimitDescriptors { to: 0 }) else { panic!("no limit") };
    for round in 0..3 {
        let patience = Duration::from_millis(300);
        let short = pair.here.port().dial(&address, Class::Kv, patience).expect("a dial");
        let state = pair.here.end_of_channel(short);
        assert!(
            matches!(state, State::Broken(Cause::Unreachable | Cause::Refused(_) | Cause::PeerGone)),
            "a dial to a peer without a descriptor: {state:?}"
        );
        pair.here.submit(on, &plan, &[0, 1, 2, 3, 4, 5, 6, 7], Then::Nothing, round);
        pair.here.done(round);
        pair.here.send(on, b"alive", 10 + round);
        assert_eq!(pair.messages(1, true), [b"alive"]);
    }
    pair.call(Command::LimitDescriptors { to: limit });
    let again = pair.here.dial(&address, Class::Kv);
    pair.here.up(again);
    let written = crate::side::read(&here, 0, 8 * 4096);
    pair.compare(there.region, &written);
}

/// What is lent to the peer here.
fn lent(pair: &Pair, bytes: u64) -> (Region, Grant) {
    let region = pair.here.allocate(bytes);
    let to = Audience::Channel(pair.channel);
    let grant = pair.here.node().grant(&[Window::whole(&region)], Access::WRITE, to).expect("a grant");
    (region, grant)
}

/// A message either way: the channel that was up is up.
#[track_caller]
fn goes_on(pair: &mut Pair, tag: u64) {
    let (on, there) = (pair.channel, pair.there);
    pair.here.send(on, b"alive", tag);
    assert_eq!(pair.messages(1, true), [b"alive"]);
    pair.call(Command::Send { channel: there, message: b"so am I".to_vec() });
    let message = pair.here.message();
    assert_eq!(pair.here.bytes_of(message), b"so am I");
    pair.here.port().release(message.slot).expect("it is held");
}

/// Whether a call of the peer's came to nothing, which it must say by the system's word then.
#[track_caller]
fn told(outcome: Result<Reply, String>, word: &str) -> bool {
    match outcome {
        Ok(_) => false,
        Err(said) => {
            assert!(said.contains(word), "{said:?} does not say {word:?}");
            true
        }
    }
}

/// A node without a descriptor to spare dials, allocates and imports: each is refused with the system's word, or wants
/// none; what is up goes on; once there are some again all of it works.
fn own_descriptors(context: &Context) {
    const WORD: &str = "code: 24";
    let mut pair = Pair::new(context);
    pair.here.listen(Class::Bulk);
    let address = pair.here.node().address();
    let (channel, bytes) = (pair.there, 4096);
    let Reply::Handle(own) = pair.call(Command::Allocate { bytes }) else { panic!("no region") };
    let (_region, grant) = lent(&pair, bytes);
    let import = |grant: &Grant| {
        let grant = grant.as_bytes().to_vec();
        Command::WriteBack { channel, grant, region: own, counter: None }
    };
    let Reply::Value(limit) = pair.call(Command::LimitDescriptors { to: 0 }) else { panic!("no limit") };
    let mut refused = 0;
    for round in 0..3 {
        refused += u32::from(told(pair.outcome(Command::Allocate { bytes }), WORD));
        refused += u32::from(told(pair.outcome(import(&grant)), WORD));
        match pair.outcome(Command::Dial { address: address.clone(), class: 1 }) {
            Err(said) => assert!(said.contains(WORD), "{said:?} does not say {WORD:?}"),
            // Its socket is the control thread's to make, in its own time.
            Ok(Reply::Handle(_)) => {}
            Ok(other) => panic!("{other:?} for a channel"),
        }
        goes_on(&mut pair, round);
    }
    let needs = pair.capabilities().meets == Meets::OneHost;
    assert!(!needs || refused == 6, "{refused} of 6 calls were refused, which want descriptors");
    // Room for some of those that come with one answer.
    pair.call(Command::LimitDescriptors { to: limit });
    let regions: Vec<_> = (0..6).map(|_| pair.here.allocate(bytes)).collect();
    let windows: Vec<_> = regions.iter().map(Window::whole).collect();
    let to = Audience::Channel(pair.channel);
    let several = pair.here.node().grant(&windows, Access::WRITE, to).expect("a grant");
    for spare in 1..4 {
        pair.call(Command::LimitDescriptors { to: spare });
        let cut = told(pair.outcome(import(&several)), WORD);
        assert!(!needs || cut, "6 descriptors came where there was room for {spare}");
        goes_on(&mut pair, 3 + spare);
        pair.call(Command::LimitDescriptors { to: limit });
        let Reply::Nothing = pair.call(import(&several)) else { panic!("no import") };
    }
    let Reply::Handle(_) = pair.call(Command::Allocate { bytes }) else { panic!("no region") };
    let Reply::Nothing = pair.call(import(&grant)) else { panic!("no import") };
    let Reply::Handle(dialled) = pair.call(Command::Dial { address, class: 1 }) else { panic!("no channel") };
    pair.peer.begin(Command::Send { channel: dialled, message: b"over the new one".to_vec() });
    let message = pair.here.message();
    assert_eq!(pair.here.bytes_of(message), b"over the new one");
    pair.answer();
    goes_on(&mut pair, 10);
}

/// Who dials a node that can't take him waits at its door; the node looks at him now and then, and does not spin.
fn no_spin(context: &Context) {
    let mut pair = Pair::new(context);
    let Reply::Bytes(address) = pair.call(Command::Address) else { panic!("no address") };
    pair.call(Command::LimitDescriptors { to: 0 });
    // Its main thread does nothing then.
    pair.call(Command::Polling(false));
    let waiting = pair.here.dial(&address, Class::Kv);
    let before = pair.value(Command::ProcessorTime);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(600) {
        pair.here.turn();
    }
    let spent = pair.value(Command::ProcessorTime) - before;
    let waited = u64::try_from(begin.elapsed().as_millis()).expect("short");
    assert!(spent < waited / 3, "it has run for {spent} ms of {waited}");
    assert_eq!(pair.here.port().state(waiting), Some(State::Connecting), "it waits");
}

/// A node whose process may have no more memory allocates, and imports what it would have to map: refused with the
/// system's word; what is up goes on; once it may have more all of it works.
fn own_memory(context: &Context) {
    const WORD: &str = "code: 12";
    // Beyond it there is room enough for what a failure says.
    const LARGE: u64 = 1 << 30;
    let mut pair = Pair::new(context);
    let channel = pair.there;
    let maps = pair.capabilities().meets == Meets::OneHost;
    // Never touched: it takes no memory.
    let lent = maps.then(|| lent(&pair, LARGE));
    let Reply::Handle(own) = pair.call(Command::Allocate { bytes: 4096 }) else { panic!("no region") };
    pair.call(Command::LimitMemory { beyond: Some(LARGE / 2) });
    for round in 0..3 {
        assert!(told(pair.outcome(Command::Allocate { bytes: LARGE }), WORD), "{LARGE} bytes were had");
        if let Some((_region, grant)) = &lent {
            let grant = grant.as_bytes().to_vec();
            let import = Command::WriteBack { channel, grant, region: own, counter: None };
            assert!(told(pair.outcome(import), WORD), "{LARGE} bytes were mapped");
        }
        goes_on(&mut pair, round);
    }
    pair.call(Command::LimitMemory { beyond: None });
    let bytes = if maps { LARGE } else { 1 << 20 };
    let Reply::Handle(_) = pair.call(Command::Allocate { bytes }) else { panic!("no region") };
    goes_on(&mut pair, 10);
}

/// More than the machine has, and more than there are addresses: refused with the call and the length; what is there is
/// not touched.
fn memory(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, 4096, 8);
    for bytes in [1 << 47, i64::MAX as u64] {
        let refused = pair.here.node().allocate(bytes, &pegaflow_core::AllocateOptions::default());
        match refused {
            Err(MemoryError::Kernel { .. } | MemoryError::BadLength { .. }) => {}
            other => panic!("{other:?} for {bytes} bytes"),
        }
    }
    let on = pair.channel;
    pair.here.submit(on, &plan, &[0, 1], Then::Nothing, 0);
    pair.here.done(0);
}
