//! Promise "faults stay where they are": a programmer's mistake is refused with its kind, and nothing is done.

use std::time::Duration;

use pegaflow_core::{
    Access, ApiMisuse, Batch, ChannelId, Class, ConnectError, CounterId, Event, Op, Piece, Plan, Plane, Port, Shape,
    Span, State, Submitted, Table, Then, Window,
};

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::Command,
    side::far,
};

pub(super) const CASES: &[Case] = &[
    Case::both("batches_with_a_fault_are_refused", batches),
    Case::both("plans_with_a_fault_are_refused", plans),
    Case::both("wrong_channels_are_refused", wrong_channels),
    Case::both("message_slots_are_released_once", slots),
    Case::alone("mangled_addresses_are_refused", addresses),
    Case::alone("a_class_has_one_listener", listeners),
];

/// Bounds of ids, planes, counters and messages. Afterwards the channel works, and nothing has moved.
fn batches(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, there, plan) = pair.blocks(Op::Write, 64, 10);
    let counter = pair.counter();
    let channel = pair.channel;
    let before = pair.here.tally();
    let base = Batch {
        plan: &plan,
        planes: 0..1,
        here: &[0, 1],
        there: &[0, 1],
        then: Then::Nothing,
        deadline: far(),
        tag: 1,
    };
    let mut refused = |batch: Batch<'_>| {
        let submitted = pair.here.port().submit(channel, &batch);
        submitted.expect_err("a batch with a fault was taken")
    };
    let far_id = refused(Batch { here: &[9, 10], ..base.clone() });
    let expected = ApiMisuse::IdOutOfRange { side: "here", position: 1, id: 10, blocks: 10 };
    assert_eq!(far_id, expected);
    let far_id = refused(Batch { there: &[u32::MAX, 0], ..base.clone() });
    let expected = ApiMisuse::IdOutOfRange { side: "there", position: 0, id: u32::MAX, blocks: 10 };
    assert_eq!(far_id, expected);
    let unequal = refused(Batch { here: &[0], ..base.clone() });
    assert_eq!(unequal, ApiMisuse::UnequalIds { here: 1, there: 2 });
    #[expect(clippy::reversed_empty_ranges, reason = "one of the mistakes")]
    for planes in [0..2, 1..2, 1..0, 0..u32::MAX] {
        let expected = ApiMisuse::PlanesOutOfRange { start: planes.start, end: planes.end, planes: 1 };
        let planes = refused(Batch { planes, ..base.clone() });
        assert_eq!(planes, expected);
    }
    let long = refused(Batch { then: Then::Message(&[0; 1025]), ..base.clone() });
    assert_eq!(long, ApiMisuse::MessageTooLong { bytes: 1025, max: 1024 });
    for index in [32, (1 << CounterId::INDEX_BITS) - 1] {
        let beyond = CounterId::from_bits((counter.id.to_bits() & !((1 << CounterId::INDEX_BITS) - 1)) | index);
        let beyond = refused(Batch { then: Then::Count(beyond), ..base.clone() });
        assert_eq!(beyond, ApiMisuse::CounterOutOfRange { index, counters: 32 });
    }
    let long = pair.here.port().send(channel, &[0; 1025], far(), 1);
    assert_eq!(long, Err(ApiMisuse::MessageTooLong { bytes: 1025, max: 1024 }));

    for _ in 0..100 {
        pair.here.turn();
    }
    assert_eq!(pair.here.tally(), before, "nothing was accepted, nothing ended");
    pair.compare(there.region, &[0; 640]);
    pair.here.submit(channel, &plan, &[1], Then::Count(counter.id), 2);
    pair.here.done(2);
    assert_eq!(pair.wait_counter(counter, 1), 1);
}

/// Everything about a plan is checked when it is made: windows, shapes, leave.
fn plans(context: &Context) {
    let mut pair = Pair::new(context);
    let here = pair.here.allocate(1000);
    let there = pair.there(1000);
    let write_only = pair.there_with(1000, &[(0, 1000)], Access::WRITE);
    let read_only = pair.there_with(1000, &[(0, 1000)], Access::READ);
    let node = pair.here.node();
    let window = [Window::whole(&here)];
    let at = |offset| [Plane { window: 0, offset }];
    let paged = |planes, blocks, bytes| -> (Table<'_>, [Piece; 1]) {
        let table = Table { planes, blocks, stride_bytes: 100, split: 1, split_bytes: 0 };
        (table, [Piece::whole(bytes)])
    };
    let (zero, one, second) = (at(0), at(1), [Plane { window: 1, offset: 0 }]);
    let (good, piece) = paged(&zero, 10, 100);
    let good = Shape::Paged(good, &piece);
    let plan = |ours, theirs| node.plan(Op::Write, (&window, ours), (&there.remote, theirs));
    assert!(plan(good, good).is_ok());

    let (beyond, _) = paged(&one, 10, 100);
    let beyond = Shape::Paged(beyond, &piece);
    for (ours, theirs, which) in [(beyond, good, "here"), (good, beyond, "there")] {
        match plan(ours, theirs) {
            Err(ApiMisuse::BeyondWindow { side, end, bytes, .. }) => {
                assert_eq!((side, end, bytes), (which, 1001, 1000));
            }
            other => panic!("{other:?}"),
        }
    }
    let (other, _) = paged(&second, 10, 100);
    let other = Shape::Paged(other, &piece);
    for (ours, theirs, which) in [(other, good, "here"), (good, other, "there")] {
        match plan(ours, theirs) {
            Err(ApiMisuse::WindowOutOfRange { side, window, windows }) => {
                assert_eq!((side, window, windows), (which, 1, 1));
            }
            other => panic!("{other:?}"),
        }
    }
    let bad_shape = |made: Result<Plan, ApiMisuse>| match made {
        Err(ApiMisuse::BadShape(_)) => {}
        other => panic!("{other:?} for a shape that makes no sense"),
    };
    let shorter = [Piece::whole(99)];
    let (table, _) = paged(&zero, 10, 100);
    bad_shape(plan(Shape::Paged(table, &shorter), good));
    bad_shape(plan(Shape::Paged(table, &[]), good));
    bad_shape(plan(Shape::Paged(Table { blocks: 0, ..table }, &piece), good));
    bad_shape(plan(Shape::Paged(Table { split: 0, ..table }, &piece), good));
    bad_shape(plan(Shape::Paged(Table { planes: &[], ..table }, &piece), good));
    let span = |bytes| [Span { window: 0, offset: 0, bytes }];
    let (ten, none) = (span(10), span(0));
    bad_shape(plan(Shape::Spans(&ten), good));
    bad_shape(plan(Shape::Spans(&none), Shape::Spans(&ten)));
    bad_shape(plan(Shape::Spans(&[]), Shape::Spans(&[])));

    // A window that leaves its region.
    let outside = [Window::new(&here, 1..1001)];
    let made = node.plan(Op::Write, (&outside, good), (&there.remote, good));
    assert!(matches!(made, Err(ApiMisuse::BeyondWindow { side: "here", .. })), "{made:?}");

    // Less leave than the plan wants.
    let made = node.plan(Op::Write, (&window, good), (&read_only.remote, good));
    assert!(matches!(made, Err(ApiMisuse::AccessDenied { .. })), "{made:?}");
    let made = node.plan(Op::Read, (&window, good), (&write_only.remote, good));
    assert!(matches!(made, Err(ApiMisuse::AccessDenied { .. })), "{made:?}");

    // Spans are compared when a batch pairs them.
    let lengths: Vec<_> = [10, 20].into_iter().flat_map(span).collect();
    let spans = plan(Shape::Spans(&lengths), Shape::Spans(&lengths)).expect("spans inside");
    let batch = Batch {
        plan: &spans,
        planes: 0..1,
        here: &[0, 1],
        there: &[0, 0],
        then: Then::Nothing,
        deadline: far(),
        tag: 0,
    };
    let channel = pair.channel;
    let expected = ApiMisuse::UnequalSpans { here: 1, here_bytes: 20, there: 0, there_bytes: 10 };
    assert_eq!(pair.here.port().submit(channel, &batch), Err(expected));
    assert_eq!(pair.here.tally().accepted, 0);
}

/// A plan goes over the channel it was imported on; a channel that is unknown, not up yet, or closed takes nothing.
fn wrong_channels(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, 64, 1);
    let Event::Counters { channel: nobody } = Event::NONE else { panic!("the mark of an empty place has changed") };
    pair.call(Command::Listen { class: 1 });
    let address = match pair.call(Command::Address) {
        crate::protocol::Reply::Bytes(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    let other = pair.here.dial(&address, Class::Bulk);
    let early = pair.here.port().send(other, b"", far(), 0);
    let expected = ApiMisuse::NotUp { channel: other, state: "connecting" };
    assert_eq!(early, Err(expected.clone()));
    assert_eq!(pair.here.port().counter(other).err(), Some(expected));
    pair.here.up(other);
    let wrong = pair.here.try_submit(other, &plan, &[0], Then::Nothing, 0);
    let expected = ApiMisuse::WrongChannel { plan: pair.channel, on: other };
    assert_eq!(wrong, Err(expected));

    let unknown = |found: Option<ApiMisuse>, channel: ChannelId| {
        assert_eq!(found, Some(ApiMisuse::UnknownChannel(channel)));
    };
    unknown(pair.here.port().send(nobody, b"", far(), 0).err(), nobody);
    unknown(pair.here.try_submit(nobody, &plan, &[0], Then::Nothing, 0).err(), nobody);
    unknown(pair.here.port().counter(nobody).err(), nobody);
    unknown(pair.here.port().close(nobody).err(), nobody);
    assert_eq!(pair.here.port().state(nobody), None);
    assert_eq!(pair.here.port().peer(nobody), None);
    let none = pair.here.node().import(nobody, &[], Duration::ZERO);
    assert!(none.is_err());

    // Another port of the same node does not know this one's channels.
    let mut second = pair.here.node().port(()).expect("a second port");
    unknown(second.send(pair.channel, b"", far(), 0).err(), pair.channel);

    let up = [(Class::Kv, pair.channel), (Class::Bulk, other)];
    for (class, channel) in up {
        assert_eq!(pair.here.port().find("agent", class), Some(channel));
        assert_eq!(pair.here.port().peer(channel), Some("agent"));
    }
    assert_eq!(pair.here.port().find("agent", Class::Activation), None);
    assert_eq!(pair.here.port().find("nobody", Class::Kv), None);

    // `close` says so at once, and for good.
    pair.here.port().close(other).expect("a channel that is up");
    let closing = pair.here.port().send(other, b"", far(), 0);
    assert!(matches!(closing, Err(ApiMisuse::NotUp { .. })), "{closing:?}");
    assert_eq!(pair.here.end_of_channel(other), State::Closed);
    let closed = pair.here.port().send(other, b"", far(), 0);
    let refused = matches!(closed, Err(ApiMisuse::NotUp { .. } | ApiMisuse::UnknownChannel(_)));
    assert!(refused, "{closed:?}");
    // The other channel is not touched.
    pair.here.submit(pair.channel, &plan, &[0], Then::Nothing, 1);
    pair.here.done(1);
}

/// A message is released once, and read only while it is held.
fn slots(context: &Context) {
    let mut pair = Pair::new(context);
    let channel = pair.there;
    let mut old = Vec::new();
    for number in 0..40_u8 {
        pair.call(Command::Send { channel, message: vec![number] });
        let arrived = pair.here.message();
        assert_eq!(pair.here.bytes_of(arrived), [number]);
        pair.here.port().release(arrived.slot).expect("held");
        old.push(arrived.slot);
        for slot in &old {
            assert_eq!(pair.here.port().release(*slot), Err(ApiMisuse::SlotNotHeld));
            assert_eq!(pair.here.port().message(*slot), Err(ApiMisuse::SlotNotHeld));
        }
    }
    // A credit given twice would let the peer send more than there is room for.
    let on = pair.channel;
    assert!(matches!(pair.here.port().send(on, b"still up", far(), 1), Ok(Submitted::Accepted(_))));
    pair.here.done(1);
    assert_eq!(pair.messages(1, true), [b"still up"]);
}

/// No part of an address is taken for one, and no changed byte makes anything worse than a refusal.
fn addresses(context: &Context) {
    let mut pair = Pair::new(context);
    let address = pair.here.node().address();
    for length in 0..address.len() {
        let dialled = pair.here.port().dial(&address[..length], Class::Kv, Duration::ZERO);
        assert!(matches!(dialled, Err(ConnectError::Malformed { .. })), "{length} bytes: {dialled:?}");
    }
    let longer = [&address[..], &[0]].concat();
    let dialled = pair.here.port().dial(&longer, Class::Kv, Duration::ZERO);
    assert!(matches!(dialled, Err(ConnectError::Malformed { .. })), "{dialled:?}");
    let mut random = fastrand::Rng::with_seed(7);
    for at in 0..address.len() {
        let mut mangled = address.clone();
        mangled[at] ^= random.u8(1..);
        match pair.here.port().dial(&mangled, Class::Kv, Duration::from_millis(20)) {
            Ok(channel) => {
                let state = pair.here.end_of_channel(channel);
                assert!(matches!(state, State::Broken(_)), "byte {at}: {state:?}");
            }
            Err(ConnectError::Malformed { .. } | ConnectError::OtherBackend { .. }) => {}
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert_eq!(
        pair.here.port.as_ref().and_then(|port| port.state(pair.channel)).map(|state| state.name()),
        Some("up"),
        "the channel beside them"
    );
}

/// Two ports of a node can't both take the dials of one class.
fn listeners(context: &Context) {
    let mut pair = Pair::new(context);
    pair.here.listen(Class::Kv);
    pair.here.listen(Class::Kv);
    let mut second = pair.here.node().port(()).expect("a second port");
    let taken = second.listen(Class::Kv);
    assert!(matches!(taken, Err(ConnectError::AlreadyListening(Class::Kv))), "{taken:?}");
    second.listen(Class::Bulk).expect("free");
    drop(second);
    pair.here.listen(Class::Bulk);
}
