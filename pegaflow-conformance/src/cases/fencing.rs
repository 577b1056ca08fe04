//! Promise "only a fence breaks a channel to make it quiet".

use std::time::{Duration, Instant};

use pegaflow_core::{ApiMisuse, Batch, Cause, Class, Op, Outcome, Plan, Port, State, Submitted, Then};

use super::Case;
use crate::{
    pair::{Context, CounterThere, Pair},
    protocol::{Command, Limits, Reply},
};

pub(super) const CASES: &[Case] = &[
    Case::both("a_fence_makes_everything_quiet", fence),
    Case::both("an_idle_channel_can_be_fenced", idle),
    Case::both("a_late_transfer_fails_no_neighbour", late),
    Case::both("fence_after_breaks_a_channel_that_stays_unquiet", fence_after),
    Case::both("the_way_on_from_a_fence_is_a_new_dial", dial_again),
];

const IDS: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

fn end_there(pair: &mut Pair) -> String {
    let channel = pair.there;
    match pair.call(Command::WaitEnd { channel }) {
        Reply::Text(state) => state,
        other => panic!("{other:?} for a state"),
    }
}

/// What the peer of a fenced channel is told. A NIC that was at work may say first that its peer is gone.
#[track_caller]
fn told_the_peer(pair: &mut Pair) {
    let state = end_there(pair);
    let nic = !pair.capabilities().copies_in_poll && state.starts_with("Broken(Transport");
    assert!(state == "Broken(PeerFenced)" || nic, "{state}");
}

fn fence(context: &Context) {
    for polls in [0, 1, 5] {
        let mut pair = Pair::new(context);
        let mut other = Pair::new(context);
        let (_here, _there, plan) = pair.blocks(Op::Write, 256 << 10, 8);
        let on = pair.channel;
        for tag in 0..30 {
            pair.here.submit(on, &plan, &IDS, Then::Nothing, tag);
        }
        for _ in 0..polls {
            pair.here.turn();
        }
        pair.here.port().fence(on).expect("it is up");
        pair.here.port().fence(on).expect("a second fence changes nothing");
        assert_eq!(pair.here.end_of_channel(on), State::Broken(Cause::Fenced));
        assert_eq!(pair.here.log.ends.len(), 30, "each ended once, before the channel");
        for end in &pair.here.log.ends {
            assert!(matches!(end.outcome, Outcome::Done | Outcome::Failed(Cause::Fenced)), "{end:?}");
        }
        // Where bytes do not move in `poll`, all may be done at once.
        let in_flight = pair.here.log.ends.iter().any(|end| end.outcome != Outcome::Done);
        assert!(in_flight || !pair.capabilities().copies_in_poll, "nothing was in flight");
        pair.here.quiet();
        told_the_peer(&mut pair);
        let late = pair.here.try_submit(on, &plan, &IDS, Then::Nothing, 99);
        assert!(matches!(late, Err(ApiMisuse::NotUp { .. } | ApiMisuse::UnknownChannel(_))), "{late:?}");
        other.here.send(other.channel, b"alive", 0);
        assert_eq!(other.messages(1, true), [b"alive"]);
        assert_eq!(pair.here.node().quarantined(), pegaflow_core::Quarantined::default());
    }
}

fn idle(context: &Context) {
    let mut pair = Pair::new(context);
    let on = pair.channel;
    pair.here.port().fence(on).expect("it is up");
    assert_eq!(pair.here.end_of_channel(on), State::Broken(Cause::Fenced));
    told_the_peer(&mut pair);
    pair.here.until("the channel to be forgotten", |side| side.port().state(on).is_none().then_some(()));
    assert_eq!(pair.here.port().fence(on), Err(ApiMisuse::UnknownChannel(on)));
}

/// Counts that the peer has no room for, as he does not poll: the first that is past its deadline with something posted.
/// `None` where the peer need not poll for them.
fn unquiet(pair: &mut Pair, plan: &Plan, counter: CounterThere) -> Option<u64> {
    if !pair.capabilities().needs_peer_cpu.count {
        return None;
    }
    pair.call(Command::Polling(false));
    let on = pair.channel;
    let begin = Instant::now();
    for tag in 0.. {
        let deadline = Instant::now() + Duration::from_millis(300);
        let then = Then::Count(counter.id);
        let batch = Batch { plan, planes: 0..1, here: &[], there: &[], then, deadline, tag };
        let late = pair.here.until("room, or a transfer that is late", |side| {
            if let Some(end) = side.log.ends.iter().find(|end| !end.quiet) {
                return Some(Some(end.tag));
            }
            matches!(side.port().submit(on, &batch), Ok(Submitted::Accepted(_))).then_some(None)
        });
        if late.is_some() {
            return late;
        }
        // More than any queue of receives in the suite holds.
        assert!(tag < 100_000 && begin.elapsed() < 10 * pair.here.patience, "the peer takes without end");
    }
    None
}

/// Without a fence a transfer that is late stays unquiet, its channel stays up, and once the peer looks all is well.
fn late(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, 64, 8);
    let counter = pair.counter();
    let Some(_) = unquiet(&mut pair, &plan, counter) else { return };
    pair.call(Command::Polling(true));
    pair.here.quiet();
    let on = pair.channel;
    pair.here.submit(on, &plan, &IDS, Then::Nothing, u64::MAX);
    pair.here.done(u64::MAX);
    assert!(matches!(pair.here.log.state(on), Some(State::Up { .. })));
}

fn fence_after(context: &Context) {
    let mut pair = Pair::with(context, Limits { fence_after_ms: Some(50), ..Limits::USUAL });
    let (_here, _there, plan) = pair.blocks(Op::Write, 64, 8);
    let counter = pair.counter();
    let on = pair.channel;
    let Some(_) = unquiet(&mut pair, &plan, counter) else {
        // What is quiet when it ends is nothing to fence for.
        let deadline = Instant::now();
        let batch = Batch { plan: &plan, planes: 0..1, here: &IDS, there: &IDS, then: Then::Nothing, deadline, tag: 0 };
        assert!(matches!(pair.here.port().submit(on, &batch), Ok(Submitted::Accepted(_))));
        pair.here.end_of(0);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(100) {
            pair.here.turn();
        }
        assert!(matches!(pair.here.log.state(on), Some(State::Up { .. })));
        return;
    };
    assert_eq!(pair.here.end_of_channel(on), State::Broken(Cause::Fenced));
    pair.here.quiet();
    pair.call(Command::Polling(true));
    told_the_peer(&mut pair);
}

fn dial_again(context: &Context) {
    let mut pair = Pair::new(context);
    let Reply::Bytes(address) = pair.call(Command::Address) else { panic!("no address") };
    let mut epochs = Vec::new();
    for round in 0..5 {
        let on = pair.channel;
        pair.here.port().fence(on).expect("it is up");
        assert_eq!(pair.here.end_of_channel(on), State::Broken(Cause::Fenced));
        pair.channel = pair.here.dial(&address, Class::Kv);
        let epoch = pair.here.up(pair.channel);
        assert!(!epochs.contains(&epoch));
        epochs.push(epoch);
        let (on, byte) = (pair.channel, [round]);
        pair.here.send(on, &byte, round.into());
        assert_eq!(pair.messages(1, true), [[round]]);
    }
}
