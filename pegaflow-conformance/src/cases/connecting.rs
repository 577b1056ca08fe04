//! Dialling: early, at once, oneself, nobody.

use std::time::{Duration, Instant};

use pegaflow_core::{Cause, Class, Event, Op, Port, State, Then, Window};

use super::Case;
use crate::{
    pair::{Context, Pair, Strangers},
    protocol::{Command, Limits, Reply, What},
    side::{PATIENCE, Side, read},
};

pub(super) const CASES: &[Case] = &[
    Case::both("dial_before_the_peer_listens", dial_early),
    Case::both("two_dials_at_once_are_two_channels", both_dial),
    Case::alone("dial_oneself", oneself),
    Case::alone("dial_nobody", nobody),
    Case::both("dial_again_after_the_end", dial_again),
    Case::both("dial_a_port_that_is_gone", gone),
];

/// A peer that does not listen yet is waited for, and nothing sent before the hand-shake is needed again.
fn dial_early(context: &Context) {
    let mut strangers = Strangers::new(context, Limits::USUAL);
    let address = strangers.address();
    let Strangers { mut here, mut peer, .. } = strangers;
    let channel = here.dial(&address, Class::Bulk);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(50) {
        here.turn();
        assert_eq!(here.port().state(channel), Some(State::Connecting));
    }
    // Another class does not answer for it.
    peer.call(Command::Listen { class: 0 });
    for _ in 0..100 {
        here.turn();
    }
    assert_eq!(here.port().state(channel), Some(State::Connecting));
    peer.call(Command::Listen { class: 1 });
    let epoch = here.up(channel);
    let Reply::Channel { epoch: theirs, .. } = peer.call(Command::NextChannel) else {
        panic!("no channel");
    };
    assert_eq!(epoch, theirs);
    here.send(channel, b"at last", 1);
    here.done(1);
    let Reply::Messages(all) = peer.call(Command::Messages { count: 1, release: true }) else {
        panic!("no message");
    };
    assert_eq!(all, [b"at last"]);
}

/// Both dial: two channels, each with an epoch that both sides agree on.
fn both_dial(context: &Context) {
    let mut strangers = Strangers::new(context, Limits::USUAL);
    let address = strangers.address();
    let Strangers { mut here, mut peer, .. } = strangers;
    here.listen(Class::Kv);
    peer.call(Command::Listen { class: 0 });
    let ours = here.dial(&address, Class::Kv);
    peer.begin(Command::Dial { address: here.node().address(), class: 0 });
    let first = here.up(ours);
    let Reply::Handle(theirs) = peer.answer() else {
        panic!("no handle");
    };
    let (other, second) = here.until("the peer's dial", |side| {
        side.log.states.iter().find_map(|(channel, state)| match state {
            State::Up { epoch } if *channel != ours => Some((*channel, *epoch)),
            _ => None,
        })
    });
    let Reply::Channel { handle, epoch } = peer.call(Command::NextChannel) else {
        panic!("no channel");
    };
    assert_eq!(epoch, first, "the channel that was dialled from here");
    assert_ne!(first, second);
    for (channel, there) in [(ours, handle), (other, theirs)] {
        peer.begin(Command::Send { channel: there, message: vec![u8::try_from(there).expect("few")] });
        let arrived = here.message();
        assert_eq!(arrived.channel, channel);
        assert_eq!(here.bytes_of(arrived), [u8::try_from(there).expect("few")]);
        peer.answer();
    }
}

/// A node may dial itself: both ends are channels of its own, and carry data, counts and messages.
fn oneself(context: &Context) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut side = Side::open(context.backend, "oneself", dir.path(), Limits::USUAL);
    side.listen(Class::Activation);
    let address = side.node().address();
    let near = side.dial(&address, Class::Activation);
    let epoch = side.up(near);
    let far_end = side.until("the other end", |side| {
        side.log.states.iter().find_map(|(channel, state)| match state {
            State::Up { epoch: same } if *channel != near && *same == epoch => Some(*channel),
            _ => None,
        })
    });
    let (from, to) = (side.allocate(1 << 20), side.allocate(1 << 20));
    from.write(0, &crate::side::seeded(1, 1 << 20)).expect("its whole");
    let windows = [Window::whole(&to)];
    let audience = pegaflow_core::Audience::Channel(far_end);
    let grant = side.node().grant(&windows, pegaflow_core::Access::WRITE, audience).expect("a grant");
    let remote = side.node().import(near, grant.as_bytes(), PATIENCE).expect("an import");
    let plan = side.blocks(Op::Write, &from, &remote, 4096, 256);
    let counter = side.port().counter(far_end).expect("up").expect("free");
    let ids: Vec<u32> = (0..256).collect();
    side.submit(near, &plan, &ids, Then::Count(counter.id()), 1);
    side.done(1);
    side.until("the count", |_| (counter.value() == 1).then_some(()));
    assert!(read(&from, 0, 1 << 20) == read(&to, 0, 1 << 20));
    side.send(far_end, b"back", 2);
    let arrived = side.message();
    assert_eq!((arrived.channel, side.bytes_of(arrived)), (near, b"back".to_vec()));
    side.port().close(near).expect("up");
    assert_eq!(side.end_of_channel(near), State::Closed);
    assert_eq!(side.end_of_channel(far_end), State::Closed);
}

/// Nobody answers: `Unreachable`, and not before the time that was given.
fn nobody(context: &Context) {
    let dir = tempfile::tempdir().expect("a folder");
    let gone = Side::open(context.backend, "gone", dir.path(), Limits::USUAL);
    let silent = Side::open(context.backend, "silent", dir.path(), Limits::USUAL);
    let mut side = Side::open(context.backend, "caller", dir.path(), Limits::USUAL);
    let addresses = [gone.node().address(), silent.node().address()];
    drop(gone);
    for address in addresses {
        let (begin, patience) = (Instant::now(), Duration::from_millis(150));
        let channel = side.port().dial(&address, Class::Kv, patience).expect("a dial");
        let state = side.end_of_channel(channel);
        assert_eq!(state, State::Broken(Cause::Unreachable));
        assert!(begin.elapsed() >= patience, "after {:?} of {patience:?}", begin.elapsed());
        let told = side.log.states.iter().filter(|(of, _)| *of == channel).count();
        assert_eq!(told, 1, "it never was up");
    }
    // Nor for one that is given up before.
    let address = silent.node().address();
    let channel = side.dial(&address, Class::Kv);
    side.port().close(channel).expect("it is connecting");
    assert_eq!(side.end_of_channel(channel), State::Closed);
}

/// After an orderly end the way on is a new dial: a new channel with a new epoch.
fn dial_again(context: &Context) {
    let mut pair = Pair::new(context);
    let Reply::Bytes(address) = pair.call(Command::Address) else {
        panic!("no address");
    };
    let (mut channel, mut epochs) = (pair.channel, Vec::new());
    for round in 0..5 {
        pair.here.port().close(channel).expect("up");
        assert_eq!(pair.here.end_of_channel(channel), State::Closed);
        let next = pair.here.dial(&address, Class::Kv);
        assert_ne!(next, channel, "an id is never used again");
        let epoch = pair.here.up(next);
        assert!(!epochs.contains(&epoch));
        epochs.push(epoch);
        channel = next;
        pair.here.send(channel, &[round], round.into());
        assert_eq!(pair.messages(1, true), [[round]]);
    }
}

/// The peer's node is there and its port is gone: as nobody.
fn gone(context: &Context) {
    let mut strangers = Strangers::new(context, Limits::USUAL);
    let address = strangers.address();
    let Strangers { mut here, mut peer, .. } = strangers;
    peer.call(Command::Listen { class: 0 });
    peer.call(Command::Drop(What::Port));
    let patience = Duration::from_millis(100);
    let channel = here.port().dial(&address, Class::Kv, patience).expect("a dial");
    let state = here.end_of_channel(channel);
    assert!(matches!(state, State::Broken(_)), "{state:?}");
    let mut events = [Event::NONE; 4];
    assert_eq!(here.port().poll(&mut events), 0, "nothing more is told");
}
