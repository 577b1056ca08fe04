//! A local shortage never kills a healthy channel, and passes.

use std::time::Duration;

use pegaflow_core::{Cause, Class, MemoryError, Op, Port, State, Then};

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::{Command, Reply},
};

pub(super) const CASES: &[Case] = &[
    Case::apart("a_peer_out_of_descriptors_keeps_its_channels", descriptors),
    Case::alone("memory_that_is_not_to_be_had_is_refused", memory),
];

/// The peer's process has no descriptor left: who dials it waits or is refused, its channel that is up goes on, and once
/// it has some again it can be dialled.
fn descriptors(context: &Context) {
    let mut pair = Pair::new(context);
    let (here, there, plan) = pair.blocks(Op::Write, 4096, 8);
    let Reply::Bytes(address) = pair.call(Command::Address) else { panic!("no address") };
    let on = pair.channel;
    let Reply::Value(limit) = pair.call(Command::LimitDescriptors { to: 0 }) else { panic!("no limit") };
    for round in 0..3 {
        let patience = Duration::from_millis(300);
        let short = pair.here.port().dial(&address, Class::Kv, patience).expect("a dial");
        let state = pair.here.end_of_channel(short);
        assert!(
            matches!(state, State::Broken(Cause::Unreachable | Cause::Refused(_) | Cause::PeerGone)),
            "a dial to a peer without a descriptor: {state:?}"
        );
        pair.here.submit(on, &plan, &[0, 1, 2, 3, 4, 5, 6, 7], Then::Nothing, round);
        pair.here.done(round);
        pair.here.send(on, b"alive", 10 + round);
        assert_eq!(pair.messages(1, true), [b"alive"]);
    }
    pair.call(Command::LimitDescriptors { to: limit });
    let again = pair.here.dial(&address, Class::Kv);
    pair.here.up(again);
    let written = crate::side::read(&here, 0, 8 * 4096);
    pair.compare(there.region, &written);
}

/// More than the machine has, and more than there are addresses: refused with the call and the length; what is there is
/// not touched.
fn memory(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, _there, plan) = pair.blocks(Op::Write, 4096, 8);
    for bytes in [1 << 47, i64::MAX as u64] {
        let refused = pair.here.node().allocate(bytes, &pegaflow_core::AllocateOptions::default());
        match refused {
            Err(MemoryError::Kernel { .. } | MemoryError::BadLength { .. }) => {}
            other => panic!("{other:?} for {bytes} bytes"),
        }
    }
    let on = pair.channel;
    pair.here.submit(on, &plan, &[0, 1], Then::Nothing, 0);
    pair.here.done(0);
}
