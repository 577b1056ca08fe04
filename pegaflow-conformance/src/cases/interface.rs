//! This host's interface goes down: its device is told, the peer is not.

use std::time::{Duration, Instant};

use pegaflow_core::{Cause, Outcome, State};

use super::{
    Case,
    flow::{Flow, KINDS, LIMITS, redial, works},
};
use crate::{
    cable::{Cable, Fault},
    pair::{Context, Pair},
    protocol::{Command, Reply},
    side::far,
};

pub(super) const CASES: &[Case] = &[
    Case::harming("interface_down_for_a_second_while_idle", idle_for_a_second),
    Case::harming("interface_down_for_a_second_amid_traffic", |context| amid_traffic(context, true)),
    Case::harming("interface_down_for_good_while_idle", idle_for_good),
    Case::harming("interface_down_for_good_amid_traffic", |context| amid_traffic(context, false)),
];

/// A channel that had nothing to move meanwhile does not notice.
fn idle_for_a_second(context: &Context) {
    let mut cable = Cable::new(context);
    let mut pair = Pair::with(context, LIMITS);
    cable.here(&Fault::Down);
    a_second(&mut pair);
    cable.here(&Fault::None);
    works(&mut pair);
    for mut flow in KINDS.map(|kind| Flow::new(&mut pair, kind)) {
        flow.submit(&mut pair, far());
        flow.done(&mut pair);
        flow.arrived(&mut pair);
    }
}

/// Both sides learn it by the other's silence.
fn idle_for_good(context: &Context) {
    let mut cable = Cable::new(context);
    let mut pair = Pair::with(context, LIMITS);
    cable.here(&Fault::Down);
    let channel = pair.channel;
    assert_eq!(pair.here.end_of_channel(channel), State::Broken(Cause::PeerSilent));
    assert_eq!(end_there(&mut pair), "Broken(PeerSilent)");
}

/// What is under way ends `Done`, or with the cause by which the channel broke. It may break at once (a device may take
/// the missing way for its own failure), or not at all; where it broke, the way on is a new dial.
fn amid_traffic(context: &Context, up_again: bool) {
    let mut cable = Cable::new(context);
    let mut pair = Pair::with(context, LIMITS);
    let Reply::Bytes(address) = pair.call(Command::Address) else { panic!("no address") };
    let mut flows = KINDS.map(|kind| Flow::new(&mut pair, kind));
    let submit = |pair: &mut Pair, flows: &mut [Flow]| {
        for flow in flows {
            for _ in 0..5 {
                flow.submit(pair, far());
            }
        }
    };
    submit(&mut pair, &mut flows);
    cable.here(&Fault::Down);
    submit(&mut pair, &mut flows);
    let channel = pair.channel;
    if up_again {
        a_second(&mut pair);
        cable.here(&Fault::None);
        pair.here.until("all ends", |side| (side.log.ends.len() == 30).then_some(()));
    } else {
        pair.here.end_of_channel(channel);
        assert_eq!(end_there(&mut pair), "Broken(PeerSilent)");
        cable.here(&Fault::None);
    }
    let broken = match pair.here.log.ends.iter().find(|end| end.outcome != Outcome::Done) {
        Some(_) => Some(pair.here.end_of_channel(channel)),
        None => None,
    };
    eprintln!(
        "{}: the channel {}",
        if up_again { "down and up" } else { "down" },
        match broken {
            Some(state) => format!("is {state:?}"),
            None => "lives".to_owned(),
        }
    );
    assert_eq!(pair.here.log.ends.len(), 30, "each ended once");
    match broken {
        None if up_again => flows.iter().for_each(|flow| flow.arrived(&mut pair)),
        Some(State::Broken(cause @ (Cause::PeerSilent | Cause::Transport { .. } | Cause::Device { .. }))) => {
            for end in &pair.here.log.ends {
                assert!(end.outcome == Outcome::Done || end.outcome == Outcome::Failed(cause), "{end:?}");
            }
            pair.here.quiet();
            redial(&mut pair, &address);
        }
        other => panic!("{other:?}"),
    }
    works(&mut pair);
}

fn a_second(pair: &mut Pair) {
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        pair.here.turn();
    }
}

fn end_there(pair: &mut Pair) -> String {
    let channel = pair.there;
    match pair.call(Command::WaitEnd { channel }) {
        Reply::Text(state) => state,
        other => panic!("{other:?} for a state"),
    }
}
