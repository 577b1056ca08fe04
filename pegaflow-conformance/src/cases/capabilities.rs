//! Promise "the same program on every backend": flags and limits are honest, and what a backend can't do is refused
//! before anything moves.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use pegaflow_core::{
    Access, ApiMisuse, Audience, Cause, Class, ConnectError, ForeignMemory, Kind, Meets, MemoryError, Op, Piece, Plane,
    Port, Shape, State, Table, Then, Window,
};

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::{Command, Limits},
    side::{Side, read, seeded},
    sys,
};

pub(super) const CASES: &[Case] = &[
    Case::alone("limits_are_within_the_contract", limits),
    Case::alone("nodes_meet_as_the_flag_says", meets),
    Case::both("write_and_read_are_as_the_flags_say", operations),
    Case::both("foreign_memory_is_as_the_flag_says", foreign),
    Case::alone("device_memory_is_as_the_flag_says", device),
    Case::both("mapped_windows_are_as_the_flag_says", mapped),
    Case::both("nothing_moves_inside_submit", copies_in_poll),
    Case::alone("one_channel_too_many_is_refused", channels),
];

/// The numbers themselves.
fn limits(context: &Context) {
    let domain = (context.backend.open)().expect("it has opened before");
    let said = domain.capabilities();
    assert_eq!(said.backend, context.backend.name);
    assert!((1..=8).contains(&said.lanes), "{} lanes", said.lanes);
    assert!(said.max_message_bytes >= 256, "{} bytes", said.max_message_bytes);
    assert!(said.max_channels >= 1 && said.max_counters >= 1 && said.max_region_bytes >= 1);
    assert!(said.write || said.read, "a backend that moves nothing");
}

/// Over TCP nothing is put into the folder of Unix sockets; on one host something is.
fn meets(context: &Context) {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("run");
    let side = Side::open(context.backend, "somebody", &folder, Limits::USUAL);
    let sockets = std::fs::read_dir(&folder).map_or(0, Iterator::count);
    match side.node().capabilities().meets {
        Meets::OneHost => assert_eq!(sockets, 1, "{}", folder.display()),
        Meets::AnyHost => assert!(!folder.exists(), "{}", folder.display()),
    }
}

/// A plan of an operation that the backend denies is refused; of the others it is made, and works.
fn operations(context: &Context) {
    let mut pair = Pair::new(context);
    let said = pair.capabilities();
    let region = pair.here.allocate(64);
    let there = pair.there(64);
    let planes = [Plane { window: 0, offset: 0 }];
    let table = Table { planes: &planes, blocks: 1, stride_bytes: 64, split: 1, split_bytes: 0 };
    let shape = Shape::Paged(table, &[Piece::whole(64)]);
    for (op, can) in [(Op::Write, said.write), (Op::Read, said.read)] {
        let made = pair.here.node().plan(op, (&[Window::whole(&region)], shape), (&there.remote, shape));
        match (made, can) {
            (Ok(plan), true) => {
                pair.here.submit(pair.channel, &plan, &[0], Then::Nothing, op as u64);
                pair.here.done(op as u64);
            }
            (Err(ApiMisuse::Unsupported { backend, .. }), false) => assert_eq!(backend, context.backend.name),
            (made, can) => panic!("{op:?} is said to be {can}, and a plan is {made:?}"),
        }
    }
}

/// Memory that the caller brings: refused, this side of a plan only, or as good as any. It is let go once nothing
/// can touch it any more, and not before.
fn foreign(context: &Context) {
    let mut pair = Pair::new(context);
    let flag = pair.capabilities().foreign_memory;
    let (lent, gone) = sys::lend(pair.here.node(), 3 << 20);
    let region = match (lent, flag) {
        (Err(MemoryError::Refused { .. }), ForeignMemory::Refused) => {
            assert!(gone.load(Ordering::SeqCst), "refused memory is let go at once");
            return;
        }
        (Ok(region), ForeignMemory::LocalSide | ForeignMemory::Whole) => region,
        (lent, flag) => panic!("foreign memory is said to be {flag:?}, and register gave {lent:?}"),
    };
    let granted = pair.here.node().grant(&[Window::whole(&region)], Access::READ, Audience::Anyone);
    match flag {
        ForeignMemory::Whole => drop(granted.expect("as good as owned memory")),
        _ => assert!(granted.is_err(), "it can't be shown to a peer"),
    }
    let there = pair.there(3 << 20);
    region.write(0, &seeded(1, 3 << 20)).expect("its whole");
    let write = pair.here.blocks(Op::Write, &region, &there.remote, 3 << 20, 1);
    pair.here.submit(pair.channel, &write, &[0], Then::Nothing, 1);
    pair.here.done(1);
    pair.compare(there.region, &seeded(1, 3 << 20));
    pair.call(Command::Fill { region: there.region, seed: 2 });
    let back = pair.here.blocks(Op::Read, &region, &there.remote, 3 << 20, 1);
    pair.here.submit(pair.channel, &back, &[0], Then::Nothing, 2);
    pair.here.done(2);
    assert!(read(&region, 0, 3 << 20) == seeded(2, 3 << 20));

    pair.here.submit(pair.channel, &write, &[0], Then::Nothing, 3);
    pair.here.turn();
    drop((write, back, region));
    let in_flight = !pair.here.log.ends.iter().any(|end| end.tag == 3);
    assert!(!(in_flight && gone.load(Ordering::SeqCst)), "let go while a transfer moves it");
    pair.here.done(3);
    pair.here.until("the memory to be let go", |_| gone.load(Ordering::SeqCst).then_some(()));
}

/// Memory of an accelerator is refused where the flag denies it.
fn device(context: &Context) {
    let pair = Pair::new(context);
    if pair.capabilities().device_memory {
        // Host memory passed off as a device's would prove nothing.
        return;
    }
    let (lent, gone) = sys::lend_as(pair.here.node(), 4096, Kind::Device { ordinal: 0 });
    assert!(matches!(lent, Err(MemoryError::Refused { .. })), "{lent:?}");
    assert!(gone.load(Ordering::SeqCst));
}

/// `Remote::mapped` is there exactly where the flag says so.
fn mapped(context: &Context) {
    let mut pair = Pair::new(context);
    let there = pair.there_with(8192, &[(0, 100), (4096, 8192)], Access::READ);
    let flag = pair.capabilities().maps_peer_memory;
    for window in [0, 1] {
        let address = there.remote.mapped(window);
        assert_eq!(address.is_some(), flag);
        assert!(address.is_none_or(|address| !address.is_null()));
    }
    assert_eq!(there.remote.mapped(2), None);
}

/// Capability `copies_in_poll`: where it is set, nothing has moved before a poll.
fn copies_in_poll(context: &Context) {
    let mut pair = Pair::new(context);
    if !pair.capabilities().copies_in_poll {
        return;
    }
    let (here, there, plan) = pair.blocks(Op::Write, 4096, 4);
    let counter = pair.counter();
    pair.here.submit(pair.channel, &plan, &[0, 1, 2, 3], Then::Count(counter.id), 1);
    // Not `compare`, which polls.
    let region = there.region;
    let seen = pair.peer.call(Command::Hash { region, start: 0, end: 16_384 });
    let zeroes = crate::side::hash(&[0; 16_384]);
    assert!(matches!(seen, crate::protocol::Reply::Value(hash) if hash == zeroes), "bytes moved inside submit");
    pair.here.done(1);
    let all = read(&here, 0, 16_384);
    pair.compare(region, &all);
}

/// Limit `max_channels`: so many, and the next is refused; one that ends makes room.
fn channels(context: &Context) {
    let dir = tempfile::tempdir().expect("a folder");
    let small = Limits {
        transfers: 1,
        blocks: 1,
        messages: 1,
        message_bytes: 256,
        counters: 1,
        fence_after_ms: None,
        checksum: false,
    };
    let silent = Side::open(context.backend, "silent", dir.path(), small);
    let mut side = Side::open(context.backend, "caller", dir.path(), small);
    let address = silent.node().address();
    let max = side.node().capabilities().max_channels;
    let long = Duration::from_secs(600);
    let begin = Instant::now();
    let all: Vec<_> = (0..max)
        .map(|number| {
            let dialled = side.port().dial(&address, Class::Kv, long);
            dialled.unwrap_or_else(|error| panic!("channel {number} of {max}, after {:?}: {error}", begin.elapsed()))
        })
        .collect();
    match side.port().dial(&address, Class::Kv, long) {
        Err(ConnectError::TooManyChannels { channels }) => assert_eq!(channels, max),
        other => panic!("{other:?} for one channel too many"),
    }
    let last = *all.last().expect("one at least");
    side.port().close(last).expect("it is connecting");
    let state = side.end_of_channel(last);
    assert!(matches!(state, State::Closed | State::Broken(Cause::ClosedHere)), "{state:?}");
    side.until("the channel to be forgotten", |side| side.port().state(last).is_none().then_some(()));
    side.port().dial(&address, Class::Kv, long).expect("there is room again");
}
