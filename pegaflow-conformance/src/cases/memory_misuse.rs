//! Memory, grants and nodes: what is refused, and with which kind.

use pegaflow_core::{
    Access, AllocateOptions, ApiMisuse, Audience, Class, ConnectError, MemoryError, Node, NodeOptions, Op, Piece,
    Plane, Shape, Table, Window,
};

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::{Command, Limits, What},
    side::{PATIENCE, Side},
};

pub(super) const CASES: &[Case] = &[
    Case::both("stale_grants_are_refused", stale_grants),
    Case::both("grants_for_another_channel_are_refused", audience),
    Case::both("mangled_grants_are_refused", mangled_grants),
    Case::both("grants_of_another_life_are_refused", another_life),
    Case::alone("memory_of_another_node_is_refused", another_node),
    Case::alone("regions_and_grants_of_no_sense_are_refused", no_sense),
    Case::alone("node_options_of_no_sense_are_refused", node_options),
];

/// Once the owner has dropped the grant, an import of it is refused; what was imported before works on.
fn stale_grants(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, there, plan) = pair.blocks(Op::Write, 64, 1);
    pair.call(Command::Drop(What::Grant(there.grant)));
    let again = pair.here.node().import(pair.channel, &there.grant_bytes, PATIENCE);
    assert!(matches!(&again, Err(ConnectError::Refused { peer, .. }) if peer == "agent"), "{again:?}");
    pair.here.submit(pair.channel, &plan, &[0], pegaflow_core::Then::Nothing, 1);
    pair.here.done(1);
    let fresh = pair.grant(there.region, &[(0, 64)], Access::READ, None);
    let remote = pair.here.node().import(pair.channel, &fresh.1, PATIENCE).expect("fresh");
    assert!(remote.epoch() > there.remote.epoch(), "epochs grow");
    assert_eq!((remote.access(), remote.channel()), (Access::READ, pair.channel));
}

/// A grant to one channel's peer is not honoured over another channel.
fn audience(context: &Context) {
    let mut pair = Pair::new(context);
    pair.call(Command::Listen { class: 2 });
    let crate::protocol::Reply::Bytes(address) = pair.call(Command::Address) else {
        panic!("no address");
    };
    let second = pair.here.dial(&address, Class::Activation);
    pair.here.up(second);
    let there = pair.there(64);
    let (_, grant) = pair.grant(there.region, &[(0, 64)], Access::WRITE, Some(pair.there));
    let other = pair.here.node().import(second, &grant, PATIENCE);
    assert!(matches!(other, Err(ConnectError::Refused { .. })), "{other:?}");
    let right = pair.here.node().import(pair.channel, &grant, PATIENCE);
    assert!(right.is_ok(), "{right:?}");
    // To anyone: over both.
    for channel in [pair.channel, second] {
        let anyone = pair.here.node().import(channel, &there.grant_bytes, PATIENCE);
        assert!(anyone.is_ok(), "{anyone:?}");
    }
}

/// No part of a grant is taken for one; a changed byte gives an error or a window inside the region, nothing worse.
fn mangled_grants(context: &Context) {
    let mut pair = Pair::new(context);
    let there = pair.there(5000);
    let good = &there.grant_bytes;
    for length in 0..good.len() {
        let part = pair.here.node().import(pair.channel, &good[..length], PATIENCE);
        assert!(matches!(part, Err(ConnectError::Malformed { .. })), "{length} bytes: {part:?}");
    }
    let longer = [&good[..], &[0]].concat();
    let part = pair.here.node().import(pair.channel, &longer, PATIENCE);
    assert!(matches!(part, Err(ConnectError::Malformed { .. })), "{part:?}");
    for at in 0..good.len() {
        for flip in [1, 0x80, 0xff] {
            let mut mangled = good.clone();
            mangled[at] ^= flip;
            if let Ok(remote) = pair.here.node().import(pair.channel, &mangled, PATIENCE) {
                let windows = u32::try_from(remote.len()).expect("few");
                let longest = (0..windows).filter_map(|window| remote.window_bytes(window)).max();
                assert!(longest <= Some(8192), "byte {at}: a window of {longest:?} bytes in a region of 5000");
            }
        }
    }
    assert!(pair.here.node().import(pair.channel, good, PATIENCE).is_ok(), "the good one still");
}

/// A grant of another node, or of an earlier life of the peer, is no grant of the peer's.
fn another_life(context: &Context) {
    let mut first = Pair::new(context);
    let second = Pair::new(context);
    let there = first.there(64);
    let other = second.here.node().import(second.channel, &there.grant_bytes, PATIENCE);
    assert!(matches!(other, Err(ConnectError::OtherIncarnation { .. })), "{other:?}");
    let unknown = second.here.node().import(first.channel, &there.grant_bytes, PATIENCE);
    // Ids of channels are counted by node: this one may name a channel of the second's as well.
    assert!(
        matches!(unknown, Err(ConnectError::NotConnected(_) | ConnectError::OtherIncarnation { .. })),
        "{unknown:?}"
    );
}

/// Regions and imports belong to one node.
fn another_node(context: &Context) {
    let mut pair = Pair::new(context);
    let mut stranger = Side::open(context.backend, "stranger", pair.dir.path(), Limits::USUAL);
    let region = stranger.allocate(64);
    let there = pair.there(64);
    let granted = pair.here.node().grant(&[Window::whole(&region)], Access::READ, Audience::Anyone);
    assert!(matches!(granted, Err(MemoryError::WrongNode)), "{granted:?}");

    let planes = [Plane { window: 0, offset: 0 }];
    let table = Table { planes: &planes, blocks: 1, stride_bytes: 64, split: 1, split_bytes: 0 };
    let shape = Shape::Paged(table, &[Piece::whole(64)]);
    let plan = |node: &Node| node.plan(Op::Write, (&[Window::whole(&region)], shape), (&there.remote, shape));
    for node in [pair.here.node(), stranger.node()] {
        let made = plan(node);
        assert!(matches!(made, Err(ApiMisuse::WrongNode(_))), "{made:?}");
    }
    stranger.turn();
}

/// Lengths, windows and ranges that can't be.
fn no_sense(context: &Context) {
    let pair = Pair::new(context);
    let (node, how) = (pair.here.node(), AllocateOptions::default());
    let max = pair.capabilities().max_region_bytes;
    for bytes in [Some(0), max.checked_add(1)].into_iter().flatten() {
        match node.allocate(bytes, &how) {
            Err(MemoryError::BadLength { bytes: got, max: limit }) => assert_eq!((got, limit), (bytes, max)),
            other => panic!("{other:?} for {bytes} bytes"),
        }
    }
    let region = pair.here.allocate(100);
    assert_eq!(region.bytes(), 100, "the length is the one asked");
    let none = node.grant(&[], Access::READ, Audience::Anyone);
    assert!(matches!(none, Err(MemoryError::NoWindow)), "{none:?}");
    #[expect(clippy::reversed_empty_ranges, reason = "one of the mistakes")]
    for range in [0..101, 101..101, 60..50, u64::MAX..u64::MAX] {
        let beyond = node.grant(&[Window::new(&region, range.clone())], Access::READ, Audience::Anyone);
        assert!(matches!(beyond, Err(MemoryError::BeyondRegion { .. })), "{range:?}: {beyond:?}");
    }
    for (offset, length) in [(0, 101), (100, 1), (101, 0), (u64::MAX, 1)] {
        let mut bytes = vec![0; length];
        assert!(matches!(region.read(offset, &mut bytes), Err(MemoryError::BeyondRegion { .. })));
        assert!(matches!(region.write(offset, &bytes), Err(MemoryError::BeyondRegion { .. })));
    }
    let touched = AllocateOptions { touch: true, ..how };
    let zeroed = node.allocate(70_000, &touched).expect("memory");
    assert!(crate::side::read(&zeroed, 0, 70_000).iter().all(|byte| *byte == 0));
}

/// Names and bounds are checked before anything is opened.
fn node_options(context: &Context) {
    let dir = tempfile::tempdir().expect("a folder");
    let open = |name: &str, limits: Limits| {
        let mut options = NodeOptions::new(name);
        options.runtime_dir = dir.path().to_owned();
        options.bounds = [limits.bounds(); 3];
        Node::new((context.backend.open)().expect("it has opened before"), options)
    };
    for name in ["", "Upper", "under_score", "dot.", "ü", &"x".repeat(65)] {
        let made = open(name, Limits::USUAL);
        assert!(matches!(&made, Err(ConnectError::BadName(got)) if got == name), "{name}: {made:?}");
    }
    open(&"x".repeat(64), Limits::USUAL).expect("64 characters are allowed");
    let usual = Limits::USUAL;
    let wrong = [
        Limits { transfers: 0, ..usual },
        Limits { transfers: 65_537, ..usual },
        Limits { blocks: 0, ..usual },
        Limits { messages: 0, ..usual },
        Limits { messages: 4097, ..usual },
        Limits { message_bytes: 255, ..usual },
        Limits { counters: 0, ..usual },
    ];
    for limits in wrong {
        let made = open("node", limits);
        assert!(matches!(made, Err(ConnectError::Bounds { .. })), "{limits:?}: {made:?}");
    }
    // What the backend has less of than the contract allows is refused too, and not cut.
    let most = (context.backend.open)().expect("it has opened before").capabilities().max_counters;
    if most < 1 << 20 {
        let made = open("node", Limits { counters: most + 1, ..usual });
        assert!(matches!(made, Err(ConnectError::Bounds { .. })), "{made:?}");
        open("node", Limits { counters: most, ..usual }).expect("as many as it has");
    }
    let node = open("same-name", usual).expect("a node");
    let twin = open("same-name", usual).expect("names need not be unique on a host");
    assert_ne!(node.address(), twin.address());
}
