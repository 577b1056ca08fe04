//! What a batch costs besides its bytes: `submit`, and `poll` until its end is handed out, with blocks of 8 bytes.
//!
//! *Apart* blocks have a gap after each, so that every one is a move of its own; *adjacent* ones are merged into one
//! move while they are walked.

mod self_dialled;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use pegaflow_core::{
    Subscriber,
    observe::{Ended, On},
};
use self_dialled::{SelfDialled, shm};

const BLOCK_BYTES: u32 = 8;
const LONGEST: u32 = 4096;
/// Room for the longest list with a gap after each block.
const POOL_BYTES: u64 = 2 * LONGEST as u64 * BLOCK_BYTES as u64;

/// Block lists with the moves that they must become.
fn lists() -> [(&'static str, Vec<u32>, u64); 5] {
    let apart = |count: u32| (0..count).map(|at| 2 * at).collect();
    let adjacent = |count: u32| (0..count).collect();
    [
        ("apart", apart(1), 1),
        ("apart", apart(64), 64),
        ("adjacent", adjacent(64), 1),
        ("apart", apart(LONGEST), u64::from(LONGEST)),
        ("adjacent", adjacent(LONGEST), 1),
    ]
}

/// Keeps the moves of the last transfer.
struct Moves(u64);

impl Subscriber for Moves {
    fn ended(&mut self, _on: On, what: Ended) {
        self.0 = what.moves;
    }
}

/// The walk does what is measured below.
fn check() {
    let mut bench = SelfDialled::new(shm(), POOL_BYTES, Moves(0));
    let plan = bench.plan(BLOCK_BYTES, BLOCK_BYTES.into());
    for ((kind, ids, moves), mark) in lists().into_iter().zip(1_u64..) {
        let last = ids[ids.len() - 1];
        let offset = u64::from(last) * u64::from(BLOCK_BYTES);
        bench.from.write(offset, &mark.to_le_bytes()).expect("a block");
        bench.transfer(&plan, &ids, &ids);
        assert_eq!(bench.port.subscriber().0, moves, "{} blocks {kind}", ids.len());
        let mut got = [0; BLOCK_BYTES as usize];
        bench.to.read(offset, &mut got).expect("a block");
        assert_eq!(u64::from_le_bytes(got), mark, "block {last} of {} blocks {kind}", ids.len());
    }
}

fn submit_poll(criterion: &mut Criterion) {
    let mut bench = SelfDialled::new(shm(), POOL_BYTES, ());
    let plan = bench.plan(BLOCK_BYTES, BLOCK_BYTES.into());
    let mut group = criterion.benchmark_group("submit_poll");
    for (kind, ids, _) in lists() {
        group.throughput(Throughput::Elements(ids.len() as u64));
        group.bench_function(BenchmarkId::new(kind, ids.len()), |bencher| {
            bencher.iter(|| bench.transfer(&plan, black_box(&ids), black_box(&ids)));
        });
    }
    group.finish();
}

fn main() {
    check();
    let mut criterion = Criterion::default().configure_from_args();
    submit_poll(&mut criterion);
    criterion.final_summary();
}
