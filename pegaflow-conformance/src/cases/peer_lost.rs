//! The peer's process is killed or stopped amid transfers of each kind, or amid the hand-shake.

use std::time::{Duration, Instant};

use pegaflow_core::{Cause, Class, Outcome, Port, Short, State, Submitted};
use rustix::process::Signal;

use super::{
    Case,
    flow::{Flow, Kind, LIMITS, redial, works},
};
use crate::{
    pair::{Context, Pair, Strangers},
    protocol::{Command, Limits},
    side::{Side, far},
};

pub(super) const CASES: &[Case] = &[
    Case::apart("peer_killed_amid_writes", |context| killed(context, Kind::Writes)),
    Case::apart("peer_killed_amid_reads", |context| killed(context, Kind::Reads)),
    Case::apart("peer_killed_amid_messages", |context| killed(context, Kind::Messages)),
    Case::apart("peer_killed_amid_a_dial", killed_amid_a_dial),
    Case::apart("peer_stopped_amid_writes", |context| stopped(context, Kind::Writes)),
    Case::apart("peer_stopped_amid_reads", |context| stopped(context, Kind::Reads)),
    Case::apart("peer_stopped_amid_messages", |context| stopped(context, Kind::Messages)),
    Case::apart("peer_stopped_amid_a_dial", stopped_amid_a_dial),
];

/// Each transfer ends once, `Done` or with the cause by which the channel breaks; everything is quiet then, and the
/// channel to another peer works. Where bytes are the device's to move, what is submitted after the death is never
/// `Done`: there is nobody to take it.
fn killed(context: &Context, kind: Kind) {
    let mut pair = Pair::with(context, LIMITS);
    let mut neighbour = Pair::new(context);
    let copies = pair.capabilities().copies_in_poll;
    let mut flow = Flow::new(&mut pair, kind);
    for _ in 0..12 {
        flow.submit(&mut pair, far());
    }
    let first = flow.tag(0);
    pair.here.done(first);
    pair.peer.kill();
    // Not polled meanwhile: it has not been told yet.
    let late: Vec<_> = (0..6).map(|_| flow.submit(&mut pair, far())).collect();
    let State::Broken(cause) = pair.here.end_of_channel(pair.channel) else {
        panic!("{:?}", pair.here.log.states);
    };
    // Once the link is down, which is after the channel was told to be over.
    pair.here.quiet();
    // Of a process that ends its memory may go first: then a NIC is refused before the connection's end is seen.
    let refused = !copies && matches!(cause, Cause::Transport { .. });
    assert!(cause == Cause::PeerGone || refused, "{cause:?}");
    assert_eq!(pair.here.log.ends.len(), 18, "each ended once, before the channel");
    for end in &pair.here.log.ends {
        let done = end.outcome == Outcome::Done && (copies || !late.contains(&end.tag));
        assert!(done || end.outcome == Outcome::Failed(cause), "{end:?}");
    }
    works(&mut neighbour);
}

/// A dial ends with a cause whenever its peer dies; where it was up before that, as any channel. It is told once.
fn killed_amid_a_dial(context: &Context) {
    for (round, delay_ms) in [0, 1, 3, 10, 30, 100].into_iter().enumerate() {
        let mut strangers = Strangers::new(context, Limits::USUAL);
        let address = strangers.address();
        let Strangers { mut here, mut peer, .. } = strangers;
        // Every other time nobody listens, so that the dial waits at the peer and can't come up.
        let listens = round % 2 == 0;
        if listens {
            peer.call(Command::Listen { class: 0 });
        }
        let (begin, patience) = (Instant::now(), Duration::from_secs(2));
        let channel = here.port().dial(&address, Class::Kv, patience).expect("a dial");
        turn_for(&mut here, Duration::from_millis(delay_ms));
        peer.kill();
        let state = here.end_of_channel(channel);
        match state {
            // Connected before, or not; or this side was about to take its half of what the peer's process had.
            State::Broken(Cause::PeerGone | Cause::Transport { .. } | Cause::NotJoined) => {}
            State::Broken(Cause::Unreachable) => assert!(begin.elapsed() >= patience, "{:?}", begin.elapsed()),
            other => panic!("killed after {delay_ms} ms: {other:?}"),
        }
        let was_up = here.log.states.iter().any(|(_, state)| matches!(state, State::Up { .. }));
        assert!(listens || !was_up, "up with a peer that does not listen");
        assert_eq!(here.turn(), 0, "nothing more is told");
    }
}

/// Capability `needs_peer_cpu`: what it denies ends `Done` while the peer is stopped. Messages do as far as there is room
/// for them, and then `submit` says so. All of it is there when the peer goes on.
fn stopped(context: &Context, kind: Kind) {
    const TRANSFERS: u32 = 12;
    let mut pair = Pair::with(context, Limits { messages: TRANSFERS, ..LIMITS });
    let needs = pair.capabilities().needs_peer_cpu;
    let needed = match kind {
        Kind::Writes => needs.write,
        Kind::Reads => needs.read,
        Kind::Messages => needs.message,
    };
    let mut flow = Flow::new(&mut pair, kind);
    for _ in 0..TRANSFERS / 2 {
        flow.submit(&mut pair, far());
    }
    let first = flow.tag(0);
    pair.here.done(first);
    pair.peer.signal(Signal::STOP);
    for _ in TRANSFERS / 2..TRANSFERS {
        flow.submit(&mut pair, far());
    }
    if !needed {
        flow.done(&mut pair);
    }
    if kind == Kind::Messages {
        let channel = pair.channel;
        for _ in 0..200 {
            pair.here.turn();
            let more = pair.here.port().send(channel, b"one too many", far(), 0);
            assert_eq!(more, Ok(Submitted::Full(Short::Messages)));
        }
    }
    pair.peer.signal(Signal::CONT);
    flow.done(&mut pair);
    flow.arrived(&mut pair);
    works(&mut pair);
}

/// A dial to a peer that is stopped is given up when its patience has passed, and not before. When the peer goes on, a
/// new dial finds it, whatever became of the old one there.
fn stopped_amid_a_dial(context: &Context) {
    for delay_ms in [0, 1, 3, 10] {
        let mut strangers = Strangers::new(context, Limits::USUAL);
        let address = strangers.address();
        let Strangers { mut here, mut peer, dir } = strangers;
        peer.call(Command::Listen { class: 0 });
        if delay_ms == 0 {
            peer.signal(Signal::STOP);
        }
        let (begin, patience) = (Instant::now(), Duration::from_millis(500));
        let channel = here.port().dial(&address, Class::Kv, patience).expect("a dial");
        turn_for(&mut here, Duration::from_millis(delay_ms));
        if delay_ms > 0 {
            peer.signal(Signal::STOP);
        }
        let state = here.until("the dial to end", |side| side.log.state(channel));
        match state {
            State::Up { .. } => assert!(delay_ms > 0, "up with a peer that was stopped before"),
            State::Broken(Cause::Unreachable) => assert!(begin.elapsed() >= patience, "{:?}", begin.elapsed()),
            other => panic!("stopped after {delay_ms} ms: {other:?}"),
        }
        peer.signal(Signal::CONT);
        let mut pair = Pair { here, peer, channel, there: 0, dir };
        redial(&mut pair, &address);
        works(&mut pair);
    }
}

fn turn_for(side: &mut Side, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        side.turn();
    }
}
