//! Writes of scattered blocks over shared memory, beside one thread's `memcpy` of as scattered lists over the same
//! mappings.
//!
//! Every transfer has fresh lists: one that is used again is served from a cache. Criterion's figures stand by
//! themselves; the ratio comes from pairs that ran in turn, so that what the machine does meanwhile hits both.

mod self_dialled;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use pegaflow_bench::{
    memcpy::{self, Sides},
    scattered, stats,
};
use pegaflow_core::Plan;
use self_dialled::{SelfDialled, shm};

const POOL_BYTES: u64 = 256 << 20;
const BLOCKS: u32 = 1024;
const BLOCK_BYTES: [u32; 2] = [16 << 10, 64 << 10];
const SEED: u64 = 0x7e9a;
/// Pairs behind a ratio.
const PAIRS: usize = 101;

/// One block size on a pair of pools.
struct Case<'a> {
    bench: &'a mut SelfDialled<()>,
    plan: Plan,
    block_bytes: u32,
    random: fastrand::Rng,
}

impl<'a> Case<'a> {
    fn new(bench: &'a mut SelfDialled<()>, block_bytes: u32) -> Self {
        Self {
            plan: bench.plan(block_bytes, block_bytes.into()),
            bench,
            block_bytes,
            random: fastrand::Rng::with_seed(SEED ^ u64::from(block_bytes)),
        }
    }

    /// Blocks for one transfer, of this side and of the other.
    fn lists(&mut self) -> (Vec<u32>, Vec<u32>) {
        let pool = self.plan.blocks_here();
        let mut list = || scattered(pool, BLOCKS, &mut self.random).expect("a pool of more blocks");
        (list(), list())
    }

    fn ours(&mut self) -> Duration {
        let (here, there) = self.lists();
        self.write(&here, &there)
    }

    fn rival(&mut self) -> Duration {
        let (here, there) = self.lists();
        self.copy(&here, &there)
    }

    fn write(&mut self, here: &[u32], there: &[u32]) -> Duration {
        self.bench.transfer(&self.plan, here, there)
    }

    fn copy(&self, here: &[u32], there: &[u32]) -> Duration {
        let pool = self.plan.blocks_here();
        assert!(here.iter().chain(there).all(|&id| id < pool), "ids of the pool");
        let sides =
            [Sides { from: self.bench.from.as_ptr(), to: self.bench.remote.mapped(0).expect("memory that is mapped") }];
        // SAFETY: both pools are `POOL_BYTES` long, two regions of their own, kept mapped by `bench`; every id was just
        // found below the number of blocks of this size in a pool; nobody holds a reference into a region.
        unsafe { memcpy::copy(&sides, self.block_bytes as usize, here, there) }
    }

    /// Both move the bytes that the lists name. On the way every page of both mappings is touched.
    fn check(&mut self) {
        let all: Vec<u32> = (0..self.plan.blocks_here()).collect();
        let moved: Vec<u32> = all.iter().rev().copied().collect();
        for (mark, by_memcpy) in [(1 << 40, false), (2 << 40, true)] {
            for &id in &all {
                let name = (mark | u64::from(id)).to_le_bytes();
                self.bench.from.write(self.offset(id), &name).expect("a block");
            }
            if by_memcpy {
                self.copy(&all, &moved);
            } else {
                self.write(&all, &moved);
            }
            for (&here, &there) in all.iter().zip(&moved) {
                let mut name = [0; 8];
                self.bench.to.read(self.offset(there), &mut name).expect("a block");
                assert_eq!(u64::from_le_bytes(name), mark | u64::from(here), "block {there}");
            }
        }
    }

    fn offset(&self, id: u32) -> u64 {
        u64::from(id) * u64::from(self.block_bytes)
    }

    /// Measures both in turn and prints how they compare.
    fn print_ratio(&mut self) {
        let (mut ours, mut rival) = (Vec::new(), Vec::new());
        for pair in 0..PAIRS {
            // Neither is always the first.
            if pair % 2 == 0 {
                ours.push(self.ours().as_secs_f64());
                rival.push(self.rival().as_secs_f64());
            } else {
                rival.push(self.rival().as_secs_f64());
                ours.push(self.ours().as_secs_f64());
            }
        }
        let ratios: Vec<f64> = ours.iter().zip(&rival).map(|(ours, rival)| ours / rival).collect();
        let ratio = stats::median_interval(&ratios).expect("at least one pair");
        let bytes = f64::from(BLOCKS) * f64::from(self.block_bytes);
        let rate = |seconds: &[f64]| bytes / stats::median(seconds).expect("at least one pair") / 1e9;
        println!(
            "shm_write, {BLOCKS} blocks of {} KiB: ours/memcpy in time {:.3} (95 % interval {:.3} to {:.3}, {PAIRS} pairs, \
             seed {SEED:#x}); medians {:.2} and {:.2} GB/s",
            self.block_bytes >> 10,
            ratio.median,
            ratio.low,
            ratio.high,
            rate(&ours),
            rate(&rival),
        );
    }
}

fn shm_write(criterion: &mut Criterion, bench: &mut SelfDialled<()>, block_bytes: u32) {
    let mut case = Case::new(bench, block_bytes);
    case.check();
    let mut group = criterion.benchmark_group(format!("shm_write/{}KiB", block_bytes >> 10));
    group.throughput(Throughput::Bytes(u64::from(BLOCKS) * u64::from(block_bytes)));
    let sum = |count: u64, one: &mut dyn FnMut() -> Duration| (0..count).map(|_| one()).sum();
    group.bench_function(BenchmarkId::from_parameter("pegaflow"), |bencher| {
        bencher.iter_custom(|count| sum(count, &mut || case.ours()));
    });
    group.bench_function(BenchmarkId::from_parameter("memcpy"), |bencher| {
        bencher.iter_custom(|count| sum(count, &mut || case.rival()));
    });
    group.finish();
    // A list or a trial run of the benches measures nothing.
    if !std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        case.print_ratio();
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut bench = SelfDialled::new(shm(), POOL_BYTES, ());
    for block_bytes in BLOCK_BYTES {
        shm_write(&mut criterion, &mut bench, block_bytes);
    }
    criterion.final_summary();
}
