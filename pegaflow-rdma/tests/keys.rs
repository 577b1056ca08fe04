//! What the verbs device of this machine does with keys that are wrong, and with those of memory that is gone.

#[path = "stand_in/misled.rs"]
mod misled;
#[path = "stand_in/rig.rs"]
#[allow(dead_code, reason = "the tests over the stand-in use the rest")]
mod rig;

use std::{
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
};

use libtest_mimic::{Arguments, Trial};
use misled::Misled;
use pegaflow_core::{AllocateOptions, BackendError, Cause, Class, Op, Outcome, Port, Then, backend::Domain};
use pegaflow_rdma::RdmaConfig;
use rig::{Blocks, Ends, Pair};

/// `IBV_WC_REM_ACCESS_ERR`.
const REFUSED: u32 = 10;

fn open() -> Result<Arc<dyn Domain>, BackendError> {
    pegaflow_rdma::open(&RdmaConfig::default())
}

/// A pair, and a channel of it beside the one that is to break.
fn pair() -> (Pair, Arc<Misled>, Ends) {
    let here = Misled::new(open().expect("it has opened before"));
    let mut pair = Pair::new(Arc::clone(&here) as Arc<dyn Domain>, open().expect("it has opened before"));
    let neighbour = pair.connect(Class::Activation);
    (pair, here, neighbour)
}

/// The channel breaks with the status for it, what was before is done, no byte moves; the neighbour works.
fn refused(pair: &mut Pair, (on, neighbour): (Ends, Ends), op: Op, bad: &Blocks) {
    let good = pair.blocks(on, op, 64, 4);
    bad.here.write(0, &[3; 256]).expect("its whole");
    pair.submit(on, &good, &[0, 2], Then::Nothing, 1);
    pair.submit(on, bad, &[0, 2], Then::Nothing, 2);
    pair.submit(on, &good, &[1, 3], Then::Message(b"after"), 3);
    pair.quiet(1..4);
    let cause = pair.broken(on);
    assert!(matches!(cause, Cause::Transport { status: REFUSED, .. }), "{cause:?}");
    let outcomes = [1, 2, 3].map(|tag| pair.here.ends[&tag].outcome);
    assert_eq!(outcomes, [Outcome::Done, Outcome::Failed(cause), Outcome::Failed(cause)]);
    let mut bytes = [0xff; 256];
    bad.there.read(0, &mut bytes).expect("its whole");
    assert_eq!(bytes, [0; 256], "a byte landed");
    bad.here.read(0, &mut bytes).expect("its whole");
    assert_eq!(bytes, [3; 256], "a byte was read");
    let more = pair.blocks(neighbour, op, 64, 4);
    pair.submit(neighbour, &more, &[1], Then::Message(b"on"), 4);
    pair.quiet(4..5);
    assert_eq!(pair.here.ends[&4].outcome, Outcome::Done, "the neighbour");
}

fn wrong(op: Op) {
    let (mut pair, here, neighbour) = pair();
    let on = pair.connect(Class::Kv);
    here.now.store(true, Ordering::Relaxed);
    let bad = pair.blocks(on, op, 64, 4);
    here.now.store(false, Ordering::Relaxed);
    refused(&mut pair, (on, neighbour), op, &bad);
}

/// The key of memory that its owner has deregistered.
fn stale(op: Op) {
    let (mut pair, here, neighbour) = pair();
    let first = pair.connect(Class::Kv);
    let old = pair.blocks(first, op, 64, 4);
    let stale = here.last.lock().expect("one thread").clone();
    pair.submit(first, &old, &[0, 2], Then::Nothing, 0);
    pair.quiet(0..1);
    assert_eq!(pair.here.ends[&0].outcome, Outcome::Done, "good, so far");
    pair.here.port.close(first.here).expect("it is up");
    pair.over_there(first);
    drop(old);
    // The channel's connection, which holds it too, ends in its own time; and the reaper is waited for.
    pair.until("the channel to be forgotten", |pair| {
        let forgotten = pair.here.port.state(first.here).is_none() && pair.there.port.state(first.there).is_none();
        forgotten.then_some(())
    });
    drop(pair.there.node.allocate(64, &AllocateOptions::default()).expect("memory"));
    let on = pair.connect(Class::Kv);
    *here.instead.lock().expect("one thread") = Some(stale);
    let bad = pair.blocks(on, op, 64, 4);
    refused(&mut pair, (on, neighbour), op, &bad);
}

fn main() -> ExitCode {
    let absent = open().err().map(|error| error.to_string());
    let required = std::env::var("PEGAFLOW_REQUIRE").unwrap_or_default().split(',').any(|one| one.trim() == "rdma");
    let tests: [(&str, fn()); 4] = [
        ("rdma::wrong_key_written_with", || wrong(Op::Write)),
        ("rdma::wrong_key_read_with", || wrong(Op::Read)),
        ("rdma::stale_key_written_with", || stale(Op::Write)),
        ("rdma::stale_key_read_with", || stale(Op::Read)),
    ];
    let trials = tests.map(|(name, run)| {
        let why = absent.clone();
        let trial = Trial::test(name, move || match why {
            Some(why) => Err(why.into()),
            None => {
                run();
                Ok(())
            }
        });
        match &absent {
            Some(why) if !required => trial.with_kind(why.replace('\n', " ")).with_ignored_flag(true),
            _ => trial,
        }
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}
