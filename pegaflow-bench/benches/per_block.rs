//! What Pegaflow's software costs for each block over verbs, beside the least loop that does the same: blocks of 8 bytes,
//! scattered so that none can be merged, over the stand-in provider, which moves bytes at native speed. It says nothing of
//! any wire.
//!
//! ```console
//! cargo bench -p pegaflow-bench --bench per_block                 # nanoseconds a block of both, in turn
//! cargo bench -p pegaflow-bench --bench per_block -- ours 1000         # 1,000 transfers and no more: for callgrind
//! cargo bench -p pegaflow-bench --bench per_block -- raw 1000
//! cargo bench -p pegaflow-bench --bench per_block -- recorded 1000 64    # of 64 blocks, with a recorder; or `unrecorded`
//! ```
//!
//! `cargo xtask bench instructions` counts with it.

mod self_dialled;

use std::{hint::black_box, path::PathBuf, time::Instant};

use pegaflow_bench::{scattered, stats};
use pegaflow_core::Subscriber;
use pegaflow_metrics::Recorder;
use pegaflow_rdma::{RdmaConfig, testing};
use self_dialled::SelfDialled;

const BLOCK_BYTES: u32 = 8;
/// A cache line between blocks: none is adjacent to another.
const STRIDE: u64 = 64;
const BLOCKS: u32 = 1024;
const POOL: u32 = 4 * BLOCKS;
const POOL_BYTES: u64 = POOL as u64 * STRIDE;
/// Lists, used in turn.
const LISTS: u64 = 8;
const ROUNDS: usize = 101;
const TRANSFERS_PER_ROUND: usize = 50;

fn config() -> RdmaConfig {
    let bench = std::env::current_exe().expect("the path of this bench");
    let library: PathBuf = bench.with_file_name("libpegaflow_rdma_stand_in.so");
    RdmaConfig { library: Some(library), ..RdmaConfig::default() }
}

/// All of a transfer is posted at once, and completes at once: as many polls however many blocks.
fn deep() -> RdmaConfig {
    RdmaConfig { send_depth: 4 * BLOCKS, signal_every: 2 * BLOCKS, ..config() }
}

type Lists = Vec<(Vec<u32>, Vec<u32>)>;

fn lists() -> Lists {
    let list =
        |seed| scattered(POOL, BLOCKS, &mut fastrand::Rng::with_seed(seed)).expect("a pool of four times as many");
    (0..LISTS).map(|seed| (list(2 * seed), list(2 * seed + 1))).collect()
}

fn raw() -> impl FnMut(&[u32], &[u32]) {
    let bytes = usize::try_from(POOL_BYTES).expect("small");
    let mut raw = testing::RawLoop::new(&config(), bytes).expect("the stand-in");
    move |here, there| raw.write(here, there, BLOCK_BYTES, STRIDE).expect("a write")
}

fn ours<S: Subscriber>(config: &RdmaConfig, subscriber: S) -> impl FnMut(&[u32], &[u32]) + use<S> {
    let mut bench = SelfDialled::new(testing::open(config).expect("the stand-in"), POOL_BYTES, subscriber);
    let plan = bench.plan(BLOCK_BYTES, STRIDE);
    move |here, there| {
        bench.transfer(&plan, here, there);
    }
}

#[inline(never)]
fn repeat(transfer: &mut impl FnMut(&[u32], &[u32]), lists: &Lists, count: usize) {
    for (here, there) in lists.iter().cycle().take(count) {
        transfer(black_box(here), black_box(there));
    }
}

/// Nanoseconds a block of one round.
fn timed(transfer: &mut impl FnMut(&[u32], &[u32]), lists: &Lists) -> f64 {
    let start = Instant::now();
    repeat(transfer, lists, TRANSFERS_PER_ROUND);
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let blocks = (TRANSFERS_PER_ROUND * BLOCKS as usize) as f64;
    start.elapsed().as_secs_f64() * 1e9 / blocks
}

fn main() {
    let lists = lists();
    // `cargo bench` adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.as_slice() {
        [] => {
            let (mut raw, mut ours) = (raw(), ours(&config(), ()));
            let rounds: Vec<(f64, f64)> =
                (0..ROUNDS).map(|_| (timed(&mut raw, &lists), timed(&mut ours, &lists))).collect();
            let of = |which: fn(&(f64, f64)) -> f64| -> Vec<f64> { rounds.iter().map(which).collect() };
            let show = |name: &str, values: &[f64]| {
                let found = stats::median_interval(values).expect("rounds");
                println!("{name:<12} {:>6.1} ns a block [{:.1}, {:.1}]", found.median, found.low, found.high);
            };
            println!("{BLOCKS} scattered blocks of {BLOCK_BYTES} bytes a transfer, {ROUNDS} rounds in turn:");
            show("raw loop", &of(|round| round.0));
            show("pegaflow", &of(|round| round.1));
            show("difference", &of(|round| round.1 - round.0));
        }
        [kind, count] => {
            let count = count.parse().expect("a number of transfers");
            match kind.as_str() {
                "raw" => repeat(&mut raw(), &lists, count),
                "ours" => repeat(&mut ours(&config(), ()), &lists, count),
                other => panic!("expected `raw` or `ours`, got {other:?}"),
            }
        }
        [kind, count, blocks] => {
            let (count, blocks) = (count.parse().expect("a number of transfers"), blocks.parse().expect("of blocks"));
            let short = |list: &[u32]| list[..blocks].to_vec();
            let lists: Lists = lists.iter().map(|(here, there)| (short(here), short(there))).collect();
            match kind.as_str() {
                "unrecorded" => repeat(&mut ours(&deep(), ()), &lists, count),
                "recorded" => repeat(&mut ours(&deep(), Recorder::new()), &lists, count),
                other => panic!("expected `unrecorded` or `recorded`, got {other:?}"),
            }
        }
        _ => panic!("expected nothing, KIND COUNT, or KIND COUNT BLOCKS, got {arguments:?}"),
    }
}
