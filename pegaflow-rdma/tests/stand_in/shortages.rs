//! The device has no more: the call that wanted it is refused with the system's word, what is up goes on, and it passes.

use std::time::Duration;

use pegaflow_core::{Class, ConnectError, Op, Port, State, Then};

use crate::{
    Test,
    devices::{Schedule, counts},
    errors::{DONE, no_leak, pair, plain},
    rig::{Blocks, Ends, Pair},
    tests,
};

pub(crate) const TESTS: &[Test] =
    tests!["shortages": no_queue_pair_to_dial_with, no_queue_pair_to_be_dialled_with, no_region];

/// Two channels that are up, of as many as the device of one side has room for.
fn two_up(mut pair: Pair) -> (Pair, [Ends; 2], Blocks) {
    let on = [Class::Kv, Class::Bulk].map(|class| pair.connect(class));
    let blocks = pair.blocks(on[0], Op::Write, 64, 4);
    (pair, on, blocks)
}

#[track_caller]
fn goes_on(pair: &mut Pair, on: Ends, blocks: &Blocks, tag: u64) {
    pair.submit(on, blocks, &[0, 2], Then::Message(b"on"), tag);
    pair.quiet(tag..tag + 1);
    assert_eq!(pair.here.ends[&tag], DONE, "what is up goes on");
}

/// One channel ends, and there is room for another.
fn passes(pair: &mut Pair, names: &[String; 2], [on, ended]: [Ends; 2], blocks: &Blocks) {
    pair.here.port.close(ended.here).expect("it is up");
    pair.over_there(ended);
    pair.until("room", |_| names.iter().all(|name| counts(name).pairs == 1).then_some(()));
    assert!(names.iter().all(|name| counts(name).queues == 1), "what came to nothing left a queue behind");
    let again = pair.connect(Class::Activation);
    let more = pair.blocks(again, Op::Write, 64, 4);
    goes_on(pair, again, &more, 10);
    goes_on(pair, on, blocks, 11);
}

fn no_queue_pair_to_dial_with() {
    let (made, names) = pair(&Schedule { pairs_max: 2, ..plain() }, |_| {});
    let (mut pair, on, blocks) = two_up(made);
    pair.there.port.listen(Class::Activation).expect("nobody else listens");
    for tag in 0..3 {
        let refused = pair.here.port.dial(&pair.there.node.address(), Class::Activation, Duration::from_secs(1));
        let said = match refused {
            Err(error @ ConnectError::Backend(_)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(said.contains("ibv_create_qp") && said.contains("(os error 12)"), "{said}");
        goes_on(&mut pair, on[0], &blocks, tag);
    }
    passes(&mut pair, &names, on, &blocks);
    drop(blocks);
    no_leak(pair, &names);
}

fn no_queue_pair_to_be_dialled_with() {
    let (made, mut names) = pair(&Schedule { pairs_max: 2, ..plain() }, |_| {});
    // The side that is short is the one that is dialled.
    let Pair { here, there, polls_there } = made;
    let turned = Pair { here: there, there: here, polls_there };
    names.reverse();
    let (mut pair, on, blocks) = two_up(turned);
    pair.there.port.listen(Class::Activation).expect("nobody else listens");
    for tag in 0..3 {
        let address = pair.there.node.address();
        let short = pair.here.port.dial(&address, Class::Activation, Duration::from_secs(1)).expect("room here");
        let state = pair.until("the end of the dial", |pair| pair.here.state(short));
        assert!(matches!(state, State::Broken(_)), "{state:?}");
        goes_on(&mut pair, on[0], &blocks, tag);
    }
    passes(&mut pair, &names, on, &blocks);
    drop(blocks);
    no_leak(pair, &names);
}

/// No room for the memory of a link, nor for any other.
fn no_region() {
    let (made, names) = pair(&Schedule { regions_max: 8, ..plain() }, |_| {});
    let (mut pair, on, blocks) = two_up(made);
    let mut taken = Vec::new();
    let how = pegaflow_core::AllocateOptions::default();
    let said = loop {
        match pair.here.node.allocate(64, &how) {
            Ok(region) => taken.push(region),
            Err(error) => break error.to_string(),
        }
        assert!(taken.len() < 8, "more than the device has");
    };
    assert!(said.contains("ibv_reg_mr_iova2") && said.contains("(os error 12)"), "{said}");
    let refused = pair.here.port.dial(&pair.there.node.address(), Class::Activation, Duration::from_secs(1));
    let said = refused.expect_err("no room for its messages").to_string();
    assert!(said.contains("ibv_reg_mr_iova2") && said.contains("(os error 12)"), "{said}");
    goes_on(&mut pair, on[0], &blocks, 0);
    taken.clear();
    passes(&mut pair, &names, on, &blocks);
    drop(blocks);
    no_leak(pair, &names);
}
