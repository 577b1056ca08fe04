//! A cable that is cut, in silence: nobody is told, and neither side's interface shows it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use pegaflow_core::{Cause, Outcome, State};

use super::{
    Case,
    flow::{Flow, KINDS, Kind, LIMITS, TRANSFERS, redial, works},
};
use crate::{
    cable::{Cable, Fault},
    pair::{Context, Pair},
    protocol::{Command, Reply},
    side::far,
};

pub(super) const CASES: &[Case] = &[
    Case::harming("cable_cut_for_100_ms_amid_writes", |context| cut_for_a_moment(context, Kind::Writes)),
    Case::harming("cable_cut_for_100_ms_amid_reads", |context| cut_for_a_moment(context, Kind::Reads)),
    Case::harming("cable_cut_for_100_ms_amid_messages", |context| cut_for_a_moment(context, Kind::Messages)),
    Case::harming("cable_cut_for_good", cut_for_good),
];

const MOMENT: Duration = Duration::from_millis(100);

/// A cut that heals is late data, and nothing worse: every transfer ends `Done`, and the channel lives.
fn cut_for_a_moment(context: &Context, kind: Kind) {
    let mut cable = Cable::new(context);
    let mut pair = Pair::with(context, LIMITS);
    let mut flow = Flow::new(&mut pair, kind);
    let mut healed_at = Instant::now();
    for number in 0..TRANSFERS {
        // Twice: some were submitted before, some while it is cut, some after.
        if number % 10 == 4 {
            cable.both(&Fault::cut());
            healed_at = Instant::now() + MOMENT;
        }
        flow.submit(&mut pair, far());
        pair.here.turn();
        if number % 10 == 7 {
            while Instant::now() < healed_at {
                pair.here.turn();
            }
            let cut_off = flow.tag(number - 3)..=flow.tag(number);
            let through = flow.ends(&pair.here.log.ends).filter(|end| cut_off.contains(&end.tag)).count();
            assert_eq!(through, 0, "transfers ended while the cable was cut");
            cable.both(&Fault::None);
        }
    }
    flow.done(&mut pair);
    flow.arrived(&mut pair);
    works(&mut pair);
}

/// A cut that stays: each transfer under way ends by its deadline and not before; the channel breaks once the peer was
/// silent for too long, on both sides, and everything is quiet then. Once the cable is whole, a new dial is the way on.
fn cut_for_good(context: &Context) {
    let mut cable = Cable::new(context);
    let mut pair = Pair::with(context, LIMITS);
    let Reply::Bytes(address) = pair.call(Command::Address) else { panic!("no address") };
    let mut flows = KINDS.map(|kind| Flow::new(&mut pair, kind));
    let mut deadlines = HashMap::new();
    for flow in &mut flows {
        for _ in 0..3 {
            flow.submit(&mut pair, far());
        }
    }
    cable.both(&Fault::cut());
    let cut = Instant::now();
    for half_seconds in 1..=4 {
        for flow in &mut flows {
            let deadline = cut + Duration::from_millis(500) * half_seconds;
            deadlines.insert(flow.submit(&mut pair, deadline), deadline);
        }
    }
    // These have no deadline to speak of: they end with the channel.
    let last = flows.each_mut().map(|flow| flow.submit(&mut pair, far()));

    let mut seen = 0;
    let state = pair.here.until("the channel to break", |side| {
        let now = Instant::now();
        for end in &side.log.ends[seen..] {
            match (end.outcome, deadlines.get(&end.tag)) {
                // `now` is later than the event: an early end is one that `now` still shows.
                (Outcome::DeadlinePassed, Some(deadline)) => assert!(now >= *deadline, "{end:?} came early"),
                // Under way when the cable was cut: it got through, or it did not.
                (Outcome::Done, None) if !last.contains(&end.tag) => {}
                (Outcome::Failed(Cause::PeerSilent), None) => {}
                _ => panic!("{end:?}"),
            }
        }
        seen = side.log.ends.len();
        side.log.states.iter().find_map(|(_, state)| matches!(state, State::Broken(_)).then_some(*state))
    });
    assert_eq!(state, State::Broken(Cause::PeerSilent));
    // Once the link is down, which is after the channel was told to be over.
    pair.here.quiet();
    let submitted: u32 = flows.iter().map(|flow| flow.submitted).sum();
    assert_eq!(pair.here.log.ends.len(), submitted as usize, "each ended once");
    let channel = pair.there;
    let Reply::Text(there) = pair.call(Command::WaitEnd { channel }) else { panic!("no state") };
    assert_eq!(there, "Broken(PeerSilent)");

    cable.both(&Fault::None);
    redial(&mut pair, &address);
    works(&mut pair);
}
