//! What the integrity mode costs: the same batches over shm with `NodeOptions::checksum` and without, in turn.
//!
//! Fresh random lists from pools of 256 MiB; the median of the ratios of neighbours, and what covers it with 95 %.

mod self_dialled;

use pegaflow_bench::{scattered, stats::median_interval};
use self_dialled::{SelfDialled, shm};

const POOL_BYTES: u64 = 256 << 20;
const BLOCKS: u32 = 1024;
const ROUNDS: usize = 40;

fn main() {
    println!("{BLOCKS} scattered blocks over shm, with the sums compared over without, time a batch");
    println!("{:>12} {:>10} {:>10} {:>24}", "block bytes", "off ms", "on ms", "on / off");
    for block_bytes in [4 << 10, 16 << 10, 64 << 10] {
        let mut sides = [false, true].map(|on| SelfDialled::with(shm(), POOL_BYTES, (), on));
        let plans = sides.each_ref().map(|side| side.plan(block_bytes, block_bytes.into()));
        let all = u32::try_from(POOL_BYTES / u64::from(block_bytes)).expect("few blocks");
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..ROUNDS {
            let mut random = fastrand::Rng::with_seed(round as u64);
            let mut list = || scattered(all, BLOCKS, &mut random).expect("a pool that is large enough");
            let (here, there) = (list(), list());
            for (at, (side, plan)) in sides.iter_mut().zip(&plans).enumerate() {
                times[at].push(1e3 * side.transfer(plan, &here, &there).as_secs_f64());
            }
        }
        let [off, on] = &times;
        let ratios: Vec<f64> = off.iter().zip(on).map(|(off, on)| on / off).collect();
        let [off, on, ratio] = [off, on, &ratios].map(|values| median_interval(values).expect("some"));
        let text = format!("{:.1} [{:.1}, {:.1}]", ratio.median, ratio.low, ratio.high);
        println!("{block_bytes:>12} {:>10.2} {:>10.2} {text:>24}", off.median, on.median);
    }
}
