//! Keys that were good once.

use std::sync::Arc;

use pegaflow_core::{Class, Op, Port, Then, backend::Domain};
use pegaflow_rdma::testing;

use crate::{
    Test,
    devices::{counts, device},
    errors::{DONE, failed, no_leak, plain, transport},
    misled::Misled,
    provider::config,
    rig::Pair,
    tests,
};

pub(crate) const TESTS: &[Test] = tests!["keys": stale_remote_key];

/// The key of memory that its owner has deregistered: the writer's channel breaks with the status for it, whatever lies at
/// that address now stays as it is, and the neighbour lives on. So does a read.
fn stale_remote_key() {
    for op in [Op::Write, Op::Read] {
        let names = [device(&plain()), device(&plain())];
        let [inside, there] = names.each_ref().map(|name| testing::open(&config(name)).expect("a device"));
        let here = Misled::new(inside);
        let mut pair = Pair::new(Arc::clone(&here) as Arc<dyn Domain>, there);
        let (first, other) = (pair.connect(Class::Kv), pair.connect(Class::Activation));
        let neighbour = pair.blocks(other, op, 64, 4);
        let before = counts(&names[1]).regions;
        let old = pair.blocks(first, op, 64, 4);
        let stale = here.last.lock().expect("one thread").clone();
        pair.submit(first, &old, &[0, 2], Then::Nothing, 0);
        pair.quiet(0..1);
        assert_eq!(pair.here.ends[&0], DONE, "good, so far");
        pair.here.port.close(first.here).expect("it is up");
        pair.over_there(first);
        drop(old);
        // Its owner has deregistered it, and the memory of the channel's messages.
        pair.until("nothing of it", |_| (counts(&names[1]).regions < before).then_some(()));

        let on = pair.connect(Class::Kv);
        *here.instead.lock().expect("one thread") = Some(stale);
        let bad = pair.blocks(on, op, 64, 4);
        let good = pair.blocks(on, op, 64, 4);
        for (blocks, byte) in [(&bad, 3), (&good, 5)] {
            blocks.here.write(0, &[byte; 256]).expect("its whole");
        }
        pair.submit(on, &good, &[0, 2], Then::Nothing, 1);
        pair.submit(on, &bad, &[0, 2], Then::Nothing, 2);
        pair.submit(on, &good, &[1, 3], Then::Message(b"after"), 3);
        pair.quiet(1..4);
        let cause = transport(10);
        assert_eq!([1, 2, 3].map(|tag| pair.here.ends[&tag]), [DONE, failed(cause), failed(cause)]);
        assert_eq!(pair.broken(on), cause);
        let mut bytes = [0xff; 256];
        bad.there.read(0, &mut bytes).expect("its whole");
        assert_eq!(bytes, [0; 256], "a byte landed");
        bad.here.read(0, &mut bytes).expect("its whole");
        assert_eq!(bytes, [3; 256], "a byte was read");
        pair.submit(other, &neighbour, &[1], Then::Nothing, 4);
        pair.quiet(4..5);
        assert_eq!(pair.here.ends[&4], DONE, "the neighbour");
        drop((bad, good, neighbour, here));
        no_leak(pair, &names);
    }
}
