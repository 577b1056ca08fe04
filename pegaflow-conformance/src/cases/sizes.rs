//! Bytes arrive where they belong, whatever their number and place.

use pegaflow_core::{Access, Batch, Op, Piece, Plane, Port, Shape, Span, Submitted, Table, Then, Window};

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::{Command, Limits, Reply},
    side::{self, PATIENCE, far, hash, read, seeded},
};

pub(super) const CASES: &[Case] = &[
    Case::both("one_byte", one_byte),
    Case::both("sizes_and_unaligned_offsets", sizes_and_offsets),
    Case::both("table_ends_at_the_windows_last_byte", last_byte),
    Case::both("window_inside_a_region", window_inside),
    Case::both("spans_of_unequal_lengths", spans),
    Case::both("grant_of_many_regions", many_regions),
    Case::both("empty_batch_is_counted", empty_batch),
    Case::both("read_equals_written", read_equals_written),
    Case::both("source_is_free_once_quiet", source_is_free),
    Case::both("messages_of_every_length", message_lengths),
    Case::both("longest_message_of_the_backend", longest_message),
];

/// Promise "one end": `Done` says that the byte is where it belongs, and no other moved.
fn one_byte(context: &Context) {
    let mut pair = Pair::new(context);
    let (here, there, plan) = pair.blocks(Op::Write, 1, 3);
    let end = {
        pair.here.submit(pair.channel, &plan, &[1], Then::Nothing, 7);
        pair.here.done(7)
    };
    assert_eq!(end.bytes, 1);
    let sent = read(&here, 1, 2)[0];
    pair.compare(there.region, &[0, sent, 0]);
}

/// As `one_byte`, around every limit that a page, a line, a chunk of copying and a maximum transfer unit set.
fn sizes_and_offsets(context: &Context) {
    const MIB: u64 = 1 << 20;
    const ALL: u64 = 3 * MIB;
    let mut pair = Pair::new(context);
    let here = pair.here.allocate(ALL);
    let source = seeded(2, ALL);
    here.write(0, &source).expect("its whole");
    let there = pair.there(ALL);
    let mut model = vec![0; source.len()];
    let sizes = [
        1,
        2,
        3,
        7,
        8,
        9,
        63,
        64,
        65,
        255,
        256,
        257,
        4095,
        4096,
        4097,
        65_535,
        65_536,
        65_537,
        MIB - 1,
        MIB,
        MIB + 1,
        2 * MIB - 1,
        2 * MIB,
        2 * MIB + 1,
    ];
    for (number, bytes) in sizes.into_iter().enumerate() {
        for (at_here, at_there) in [(0, 0), (1, 0), (0, 3), (4093, 4095), (ALL - bytes, 5), (7, ALL - bytes)] {
            let span = |offset| [Span { window: 0, offset, bytes }];
            let plan = pair
                .here
                .node()
                .plan(
                    Op::Write,
                    (&[Window::whole(&here)], Shape::Spans(&span(at_here))),
                    (&there.remote, Shape::Spans(&span(at_there))),
                )
                .expect("a span inside its window");
            pair.here.submit(pair.channel, &plan, &[0], Then::Nothing, number as u64);
            let end = pair.here.done(number as u64);
            assert_eq!(end.bytes, bytes);
            pair.here.log.ends.clear();
            let range = |from: u64| {
                let from = usize::try_from(from).expect("small");
                from..from + usize::try_from(bytes).expect("small")
            };
            model[range(at_there)].copy_from_slice(&source[range(at_here)]);
        }
        pair.compare(there.region, &model);
    }
    assert_eq!(read(&here, 0, ALL), source, "a write changes nothing here");
}

/// A table may use its window to the last byte.
fn last_byte(context: &Context) {
    let mut pair = Pair::new(context);
    let (start, end) = (5, 8 * 100 + 5 + 37);
    let here = pair.here.allocate(1000);
    let source = seeded(3, 1000);
    here.write(0, &source).expect("its whole");
    let there = pair.there_with(1000, &[(start, end)], Access::READ_WRITE);
    let planes = [Plane { window: 0, offset: 0 }];
    let table = Table { planes: &planes, blocks: 9, stride_bytes: 100, split: 1, split_bytes: 0 };
    let shape = Shape::Paged(table, &[Piece::whole(37)]);
    let window = [Window::new(&here, start..end)];
    let plan = pair.here.node().plan(Op::Write, (&window, shape), (&there.remote, shape));
    let plan = plan.expect("a table that ends with its window");
    pair.here.submit(pair.channel, &plan, &[8], Then::Nothing, 1);
    pair.here.done(1);
    let mut model = vec![0; 1000];
    let last = 5 + 800..5 + 837;
    model[last.clone()].copy_from_slice(&source[last]);
    pair.compare(there.region, &model);
}

/// Offsets count from the window's start, not from the region's.
fn window_inside(context: &Context) {
    let mut pair = Pair::new(context);
    let here = pair.here.allocate(64);
    here.write(0, &seeded(4, 64)).expect("its whole");
    let there = pair.there_with(9000, &[(0, 10), (4097, 4097 + 64), (8999, 9000)], Access::WRITE);
    assert_eq!((there.remote.len(), there.remote.is_empty()), (3, false));
    let lengths = [0, 1, 2, 3].map(|window| there.remote.window_bytes(window));
    assert_eq!(lengths, [Some(10), Some(64), Some(1), None]);
    let span = |window| [Span { window, offset: 0, bytes: if window == 1 { 64 } else { 1 } }];
    let mut model = vec![0; 9000];
    for window in [1, 2] {
        let from = [Span { window: 0, ..span(window)[0] }];
        let sides = (&[Window::whole(&here)][..], Shape::Spans(&from));
        let plan =
            pair.here.node().plan(Op::Write, sides, (&there.remote, Shape::Spans(&span(window)))).expect("inside");
        pair.here.submit(pair.channel, &plan, &[0], Then::Nothing, window.into());
        pair.here.done(window.into());
    }
    model[4097..4097 + 64].copy_from_slice(&read(&here, 0, 64));
    model[8999] = read(&here, 0, 1)[0];
    pair.compare(there.region, &model);
}

/// Spans of many lengths in one batch, each to its pair.
fn spans(context: &Context) {
    let mut pair = Pair::new(context);
    let lengths = [1_u64, 5000, 3, 64, 1 << 20, 129];
    let all: u64 = lengths.iter().sum();
    let here = pair.here.allocate(all);
    let source = seeded(5, all);
    here.write(0, &source).expect("its whole");
    let there = pair.there(all);
    let list = |order: &[usize]| {
        let mut offset = 0;
        let mut spans = vec![Span { window: 0, offset: 0, bytes: 0 }; lengths.len()];
        for &which in order {
            spans[which] = Span { window: 0, offset, bytes: lengths[which] };
            offset += lengths[which];
        }
        spans
    };
    let (ours, theirs) = (list(&[0, 1, 2, 3, 4, 5]), list(&[4, 2, 0, 5, 1, 3]));
    let plan = pair
        .here
        .node()
        .plan(Op::Write, (&[Window::whole(&here)], Shape::Spans(&ours)), (&there.remote, Shape::Spans(&theirs)))
        .expect("spans inside");
    let counter = pair.counter();
    pair.here.submit(pair.channel, &plan, &[0, 1, 2, 3, 4, 5], Then::Count(counter.id), 1);
    assert_eq!(pair.here.done(1).bytes, all);
    assert_eq!(pair.wait_counter(counter, 1), 1);
    let mut model = vec![0; source.len()];
    for (our, their) in ours.iter().zip(&theirs) {
        let range = |span: &Span| {
            let start = usize::try_from(span.offset).expect("small");
            start..start + usize::try_from(span.bytes).expect("small")
        };
        model[range(their)].copy_from_slice(&source[range(our)]);
    }
    pair.compare(there.region, &model);
}

/// One allocation per layer: a grant of many regions is imported whole, each plane in a window of its own.
fn many_regions(context: &Context) {
    const REGIONS: u32 = 70;
    let mut pair = Pair::new(context);
    let mut theirs = Vec::new();
    for _ in 0..REGIONS {
        let Reply::Handle(region) = pair.call(Command::Allocate { bytes: 100 }) else {
            panic!("no region");
        };
        theirs.push(region);
    }
    let granted = pair.call(Command::Grant {
        windows: theirs.iter().map(|&region| (region, 10, 100)).collect(),
        leave: Access::WRITE.into(),
        channel: Some(pair.there),
    });
    let Reply::Grant { bytes, .. } = granted else {
        panic!("{granted:?} for a grant");
    };
    let remote = pair.here.node().import(pair.channel, &bytes, PATIENCE).expect("an import of many regions");
    assert_eq!(remote.len(), REGIONS as usize);
    let ours: Vec<_> = (0..REGIONS).map(|_| pair.here.allocate(90)).collect();
    for (region, seed) in ours.iter().zip(0..) {
        region.write(0, &seeded(seed, 90)).expect("its whole");
    }
    let windows: Vec<_> = ours.iter().map(Window::whole).collect();
    let planes: Vec<_> = (0..REGIONS).map(|window| Plane { window, offset: 0 }).collect();
    let shape = Shape::Paged(Table::plain(&planes, 9, 10), &[Piece::whole(10)]);
    let plan = pair.here.node().plan(Op::Write, (&windows, shape), (&remote, shape)).expect("planes inside");
    pair.here.submit(pair.channel, &plan, &[2, 8], Then::Nothing, 1);
    assert_eq!(pair.here.done(1).bytes, 20 * u64::from(REGIONS));
    for (region, seed) in theirs.into_iter().zip(0..) {
        let mut model = vec![0; 100];
        model[30..40].copy_from_slice(&seeded(seed, 90)[20..30]);
        model[90..].copy_from_slice(&seeded(seed, 90)[80..]);
        pair.compare(region, &model);
    }
}

/// A batch of no block, and one of no plane, end `Done` and are counted like any other.
fn empty_batch(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, there, plan) = pair.blocks(Op::Write, 64, 2);
    let counter = pair.counter();
    pair.here.submit(pair.channel, &plan, &[], Then::Count(counter.id), 1);
    assert_eq!(pair.here.done(1).bytes, 0);
    let none = Batch {
        plan: &plan,
        planes: 1..1,
        here: &[0, 1],
        there: &[0, 1],
        then: Then::Count(counter.id),
        deadline: far(),
        tag: 2,
    };
    let submitted = pair.here.port().submit(pair.channel, &none);
    assert!(matches!(submitted, Ok(Submitted::Accepted(_))), "{submitted:?}");
    assert_eq!(pair.here.done(2).bytes, 0);
    assert_eq!(pair.wait_counter(counter, 2), 2);
    pair.compare(there.region, &[0; 128]);
}

/// What was written there is read back.
fn read_equals_written(context: &Context) {
    let mut pair = Pair::new(context);
    let (source, there, write) = pair.blocks(Op::Write, 4097, 300);
    let back = pair.here.allocate(4097 * 300);
    let read_plan = pair.here.blocks(Op::Read, &back, &there.remote, 4097, 300);
    let ids: Vec<u32> = (0..300).collect();
    pair.here.submit(pair.channel, &write, &ids, Then::Nothing, 1);
    pair.here.done(1);
    pair.here.submit(pair.channel, &read_plan, &ids, Then::Nothing, 2);
    assert_eq!(pair.here.done(2).bytes, 4097 * 300);
    assert_eq!(
        hash(&read(&back, 0, 4097 * 300)),
        hash(&read(&source, 0, 4097 * 300)),
        "what is read is what was written"
    );
    let written = read(&source, 0, 4097 * 300);
    pair.compare(there.region, &written);
}

/// Promise "one end": once the end said `quiet`, the source may be written and the peer keeps the old bytes. It is
/// written at once and from its end, so that one who still reads it is met, and not followed.
fn source_is_free(context: &Context) {
    const PIECE: usize = 4096;
    let mut pair = Pair::new(context);
    let bytes = context.bulk(2_000_004) + 1;
    let (here, there, plan) = pair.blocks(Op::Write, bytes, 1);
    let (mut old, mut new) = (seeded(100, bytes.into()), seeded(200, bytes.into()));
    here.write(0, &old).expect("its whole");
    for round in 0..40 {
        pair.here.submit(pair.channel, &plan, &[0], Then::Nothing, round);
        pair.here.done(round);
        for (number, piece) in new.chunks(PIECE).enumerate().rev() {
            here.write((number * PIECE) as u64, piece).expect("inside");
        }
        pair.compare(there.region, &old);
        std::mem::swap(&mut old, &mut new);
    }
}

/// Promise "two things follow data": messages from nothing to the bound, alone and behind data, in their order.
fn message_lengths(context: &Context) {
    let mut pair = Pair::new(context);
    let (here, there, plan) = pair.blocks(Op::Write, 512, 4);
    let lengths = [0, 1, 2, 63, 64, 65, 255, 256, 257, 1023, 1024];
    for (number, length) in lengths.into_iter().enumerate() {
        let (message, tag) = (seeded(number as u64, length), number as u64);
        pair.here.send(pair.channel, &message, 2 * tag);
        pair.here.submit(pair.channel, &plan, &[3], Then::Message(&message), 2 * tag + 1);
        assert_eq!(pair.messages(2, true), [message.clone(), message]);
        assert_eq!(pair.here.done(2 * tag).bytes, 0);
        assert_eq!(pair.here.done(2 * tag + 1).bytes, 512);
        pair.here.log.ends.clear();
    }
    let mut model = vec![0; 2048];
    model[1536..].copy_from_slice(&read(&here, 1536, 2048));
    pair.compare(there.region, &model);
    // And the other way.
    let channel = pair.there;
    for length in lengths {
        let message = seeded(length, length);
        pair.call(Command::Send { channel, message: message.clone() });
        let arrived = pair.here.message();
        assert_eq!(arrived.channel, pair.channel);
        assert_eq!(pair.here.bytes_of(arrived), message);
        pair.here.port().release(arrived.slot).expect("held");
    }
}

/// Capability `max_message_bytes`, at least 256: a channel of that bound carries messages of that length.
fn longest_message(context: &Context) {
    let probe = (context.backend.open)().expect("it has opened before");
    let longest = probe.capabilities().max_message_bytes;
    assert!(longest >= 256, "{longest}: 256 bytes are promised");
    let limits = Limits { message_bytes: longest.min(65_536), messages: 2, ..Limits::USUAL };
    let mut pair = Pair::with(context, limits);
    for round in 0..5 {
        let message = side::seeded(round, limits.message_bytes.into());
        pair.here.send(pair.channel, &message, round);
        assert!(pair.messages(1, true) == [message], "message {round} came as it was sent");
        pair.here.done(round);
    }
}
