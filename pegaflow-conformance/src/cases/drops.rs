//! Promise "memory in flight stays": whichever handles are dropped, transfers end as if they were not.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use pegaflow_core::{
    Cause, Class, Op, Outcome, Port, State, Submitted, Subscriber, Then,
    observe::{Ended, On},
};

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::{Command, Reply, What},
    side::{PATIENCE, read},
};

pub(super) const CASES: &[Case] = &[
    Case::both("region_dropped_in_flight", |context| dropped(context, &["region"])),
    Case::both("plan_dropped_in_flight", |context| dropped(context, &["plan"])),
    Case::both("remote_dropped_in_flight", |context| dropped(context, &["remote"])),
    Case::both("node_dropped_in_flight", |context| dropped(context, &["node"])),
    Case::both("peers_region_dropped_in_flight", |context| {
        dropped(context, &["their region"]);
    }),
    Case::both("peers_grant_dropped_in_flight", |context| {
        dropped(context, &["their grant"]);
    }),
    Case::both("peers_counter_dropped_in_flight", |context| {
        dropped(context, &["their counter"]);
    }),
    Case::both("everything_dropped_in_flight", |context| {
        dropped(context, &["region", "plan", "remote", "node", "their region", "their grant", "their counter"]);
    }),
    Case::both("port_dropped_in_flight", port_dropped),
    Case::both("peers_port_dropped_in_flight", |context| peers_port_dropped(context, false)),
    Case::both("peers_port_and_memory_dropped_in_flight", |context| {
        // Where a backend lets late bytes through, the memory is gone beneath them often, and not always.
        (0..6).for_each(|_| peers_port_dropped(context, true));
    }),
    Case::both("dropped_port_says_that_it_closed", dropped_port_says_why),
    Case::both("memory_is_mapped_while_an_import_lives", import_lives),
];

const BLOCK: u32 = 1 << 20;
const BLOCKS: u32 = 8;
const TRANSFERS: u64 = 4;

/// Handles go while much more is queued than one poll moves: every transfer ends `Done`, and its bytes are there.
fn dropped(context: &Context, which: &[&str]) {
    let mut pair = Pair::new(context);
    let block = context.bulk(BLOCK);
    let all = u64::from(block * BLOCKS);
    let (region, there, plan) = pair.blocks(Op::Write, block, BLOCKS);
    let source = read(&region, 0, all);
    // So that the bytes can be looked at although the first read of them is gone.
    let (back, read_back) = {
        let back = pair.here.allocate(all);
        let plan = pair.here.blocks(Op::Read, &back, &there.remote, block, BLOCKS);
        (back, plan)
    };
    let counter = pair.counter();
    let ids: Vec<u32> = (0..BLOCKS).collect();
    for tag in 0..TRANSFERS {
        let then = if tag == 0 { Then::Count(counter.id) } else { Then::Nothing };
        pair.here.submit(pair.channel, &plan, &ids, then, tag);
    }
    pair.here.turn();
    let (mut region, mut plan, mut remote) = (Some(region), Some(plan), Some(there.remote));
    for one in which {
        match *one {
            "region" => drop(region.take()),
            "plan" => drop(plan.take()),
            "remote" => drop(remote.take()),
            "node" => pair.here.node = None,
            "their region" => drop(pair.peer.call(Command::Drop(What::Region(there.region)))),
            "their grant" => drop(pair.peer.call(Command::Drop(What::Grant(there.grant)))),
            "their counter" => drop(pair.peer.call(Command::Drop(What::Counter(counter.handle)))),
            other => panic!("{other}"),
        }
    }
    for tag in 0..TRANSFERS {
        assert_eq!(pair.here.done(tag).bytes, all, "transfer {tag}");
    }
    pair.here.submit(pair.channel, &read_back, &ids, Then::Nothing, TRANSFERS);
    pair.here.done(TRANSFERS);
    assert!(read(&back, 0, all) == source, "the bytes are at the peer");
    assert_eq!(pair.here.log.ends.len() as u64, TRANSFERS + 1, "each ended once");
}

/// A port that goes takes its channels along: the peer is told, and the memory stays as long as anything may touch it.
fn port_dropped(context: &Context) {
    let mut pair = Pair::new(context);
    let (region, _there, plan) = pair.blocks(Op::Write, context.bulk(BLOCK), BLOCKS);
    let ids: Vec<u32> = (0..BLOCKS).collect();
    for tag in 0..TRANSFERS {
        pair.here.submit(pair.channel, &plan, &ids, Then::Nothing, tag);
    }
    pair.here.turn();
    pair.here.port = None;
    drop(region);
    let channel = pair.there;
    let Reply::Text(state) = pair.peer.call(Command::WaitEnd { channel }) else {
        panic!("no state");
    };
    assert!(state == "Closed" || state.starts_with("Broken("), "{state}");
    // The node lives on: it can have another port.
    drop(plan);
    pair.here.node().port(()).expect("another port");
}

/// Outcomes, kept beyond the port that they are of.
#[derive(Default, Clone)]
struct Outcomes(Arc<Mutex<Vec<Outcome>>>);

impl Subscriber for Outcomes {
    fn ended(&mut self, _on: On, what: Ended) {
        self.0.lock().expect("one thread").push(what.outcome);
    }
}

/// A port that goes ends what it had accepted with the cause that is true: it was closed here, not by the peer.
fn dropped_port_says_why(context: &Context) {
    let pair = Pair::new(context);
    let (node, outcomes) = (pair.here.node(), Outcomes::default());
    let mut port = node.port(outcomes.clone()).expect("another port");
    port.listen(Class::Activation).expect("nobody listens for it");
    let channel = port.dial(&node.address(), Class::Activation, PATIENCE).expect("a dial to oneself");
    let until = Instant::now() + PATIENCE;
    while !matches!(port.state(channel), Some(State::Up { .. })) {
        assert!(Instant::now() < until, "no channel to oneself");
        port.poll(&mut []);
    }
    // No poll comes after it: where bytes move in `poll` it never leaves, and elsewhere it may be done already.
    let sent = port.send(channel, b"last word", until, 1).expect("a message");
    assert!(matches!(sent, Submitted::Accepted(_)), "{sent:?}");
    drop(port);
    let said = outcomes.0.lock().expect("one thread").clone();
    assert!(said == [Outcome::Failed(Cause::ClosedHere)] || said == [Outcome::Done], "{said:?}");
    assert!(!node.capabilities().copies_in_poll || said != [Outcome::Done], "{said:?}");
}

/// The peer's port goes while transfers of this side are queued, alone or with the memory that they go to: each ends
/// once, and the channel ends.
fn peers_port_dropped(context: &Context, memory_too: bool) {
    let mut pair = Pair::new(context);
    let (_region, there, plan) = pair.blocks(Op::Write, context.bulk(BLOCK), BLOCKS);
    let ids: Vec<u32> = (0..BLOCKS).collect();
    for tag in 0..40 {
        pair.here.submit(pair.channel, &plan, &ids, Then::Nothing, tag);
    }
    pair.here.turn();
    if memory_too {
        pair.peer.call(Command::Drop(What::Region(there.region)));
        pair.peer.call(Command::Drop(What::Grant(there.grant)));
    }
    // Polling here meanwhile, so that bytes are on their way when the memory goes.
    pair.call(Command::Drop(What::Port));
    let state = pair.here.end_of_channel(pair.channel);
    assert!(matches!(state, State::Closed | State::Broken(_)), "{state:?}");
    pair.here.until("all ends", |side| (side.log.ends.len() == 40).then_some(()));
    pair.here.quiet();
    let tally = pair.here.tally();
    assert_eq!((tally.accepted, tally.ended), (40, 40));
}

/// The owner drops region and grant; what the peer imported before stays reachable until the channel ends.
fn import_lives(context: &Context) {
    let mut pair = Pair::new(context);
    let (here, there, write) = pair.blocks(Op::Write, 4096, 4);
    let back = pair.here.allocate(4 * 4096);
    let read_back = pair.here.blocks(Op::Read, &back, &there.remote, 4096, 4);
    pair.call(Command::Drop(What::Region(there.region)));
    pair.call(Command::Drop(What::Grant(there.grant)));
    drop(there.remote);
    for round in 0..20 {
        here.write(0, &crate::side::seeded(round, 4 * 4096)).expect("its whole");
        pair.here.submit(pair.channel, &write, &[0, 1, 2, 3], Then::Nothing, 2 * round);
        pair.here.done(2 * round);
        pair.here.submit(pair.channel, &read_back, &[0, 1, 2, 3], Then::Nothing, 2 * round + 1);
        pair.here.done(2 * round + 1);
        assert!(read(&back, 0, 4 * 4096) == read(&here, 0, 4 * 4096), "round {round}");
        // Memory that the owner has freed would be handed out again.
        pair.call(Command::Allocate { bytes: 4 * 4096 });
    }
}
