//! What follows a read follows its answers: a peer that is told "I have read it" may write the memory again.

use pegaflow_core::{Class, Op, Then};
use pegaflow_rdma::testing;

use crate::{
    Test,
    devices::{Schedule, device},
    provider::config,
    rig::{Blocks, Ends, Pair},
    tests,
};

pub(crate) const TESTS: &[Test] = tests!["order":
    count_of_the_read_itself,
    count_behind_a_later_write,
    count_alone_behind_the_read,
];

const BLOCK: u32 = 4096;
const ROUNDS: u64 = 50;

/// `then` is given a read that was submitted without an end of its own, and has the peer counted once.
fn reads_first(mut then: impl FnMut(&mut Pair, Ends, &Blocks, &Blocks, u64, Then<'_>)) {
    let schedule = Schedule { seed: 7, late_reads: 64, ..Schedule::default() };
    let open = |schedule: &Schedule| testing::open(&config(&device(schedule))).expect("a device of the stand-in's");
    let mut pair = Pair::new(open(&schedule), open(&Schedule::default()));
    let on = pair.connect(Class::Kv);
    let (read, write) = (pair.blocks(on, Op::Read, BLOCK, 4), pair.blocks(on, Op::Write, BLOCK, 4));
    let (counter, id) = pair.counter(on);
    for round in 0..ROUNDS {
        let stamp = [u8::try_from(round + 1).expect("few rounds"); BLOCK as usize];
        (0..4).for_each(|block| read.there.write(block * u64::from(BLOCK), &stamp).expect("inside"));
        then(&mut pair, on, &read, &write, 10 * round, Then::Count(id));
        pair.until("the count", |_| (counter.value() == round + 1).then_some(()));
        let mut got = [0; BLOCK as usize];
        for block in (0..4).rev() {
            read.here.read(block * u64::from(BLOCK), &mut got).expect("inside");
            assert!(got == stamp, "round {round}: the peer was told, and block {block} had not been read");
        }
        pair.until("all ends", |pair| {
            let mine = pair.here.ends.keys().filter(|tag| **tag / 10 == round);
            mine.clone().all(|tag| pair.here.ends[tag].quiet).then_some(())
        });
    }
}

fn count_of_the_read_itself() {
    reads_first(|pair, on, read, _, tag, count| pair.submit(on, read, &[0, 2, 1, 3], count, tag));
}

fn count_behind_a_later_write() {
    reads_first(|pair, on, read, write, tag, count| {
        pair.submit(on, read, &[0, 2, 1, 3], Then::Nothing, tag);
        pair.submit(on, write, &[1], count, tag + 1);
    });
}

fn count_alone_behind_the_read() {
    reads_first(|pair, on, read, write, tag, count| {
        pair.submit(on, read, &[0, 2, 1, 3], Then::Nothing, tag);
        pair.submit(on, write, &[], count, tag + 1);
    });
}
