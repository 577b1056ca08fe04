//! What the stand-in itself costs: the floor below everything that is measured over it.
//!
//! ```console
//! cargo run --release -p pegaflow-rdma-stand-in --example cost -- 1000000
//! valgrind --tool=callgrind target/release/examples/cost 1000    # and 2000: the difference counts
//! ```
#![expect(clippy::cast_possible_truncation, reason = "the numbers here are small")]

use std::ptr::null_mut;
use std::time::Instant;

use pegaflow_rdma_stand_in::Schedule;
use pegaflow_rdma_stand_in::abi::*;

#[expect(dead_code, clippy::unwrap_used, reason = "tests use the rest; what fails here ends the program")]
#[path = "../tests/rig.rs"]
mod rig;

const CHAIN: usize = 16;

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000_u32);
    let depth = rig::Depth { send: 256, ..rig::PLAIN };
    let (a, b) = rig::sides(Schedule::default(), depth, 1);
    let mut ranges: Vec<_> = (0..CHAIN).map(|at| a.range(at * 8, 8)).collect();
    let mut chain = vec![ibv_send_wr::NONE; CHAIN];
    for (at, request) in chain.iter_mut().enumerate() {
        (request.sg_list, request.num_sge) = (&raw mut ranges[at], 1);
        (request.remote_addr, request.rkey) = (b.at(at * 8), b.rkey());
    }
    for at in 1..CHAIN {
        chain[at - 1].next = &raw mut chain[at];
    }
    // SAFETY: the context is open.
    let ops = unsafe { &(*a.context).ops };
    let (Some(post_send), Some(poll_cq)) = (ops.post_send, ops.poll_cq) else { return };
    let (mut bad, mut wc) = (null_mut(), [ibv_wc::default(); 4]);
    let begin = Instant::now();
    for round in 0..rounds {
        // Eight chains of sixteen, the last of which is signalled and polled.
        let last = round % 8 == 7;
        chain[CHAIN - 1].send_flags = if last { IBV_SEND_SIGNALED } else { 0 };
        // SAFETY: the queue pair is alive; the chain is there during the call.
        assert_eq!(unsafe { post_send(a.qps[0], chain.as_mut_ptr(), &raw mut bad) }, 0);
        if last {
            // SAFETY: the queue is alive, and there is room for 4.
            assert_eq!(unsafe { poll_cq(a.cq, 4, wc.as_mut_ptr()) }, 1);
        }
    }
    let each = begin.elapsed().as_secs_f64() * 1e9 / f64::from(rounds) / CHAIN as f64;
    println!("{each:.1} ns per write of 8 bytes, in chains of {CHAIN}, one completion per 8 chains");
}
