//! What the same bytes cost the device, by Pegaflow and by perftest's `ib_write_bw`, in turn: 64 KiB blocks over the
//! real verbs device of this host, as deep, and as many requests a doorbell. It counts, and measures no time.
//!
//! ```console
//! cargo bench --no-run --bench beside_perftest             # says where the program lies
//! cargo xtask soft-roce run -- target/release/deps/beside_perftest-...
//! ```
//!
//! `cargo xtask bench counts` does both, and makes a table of what it prints: a line for each run, its name, then
//! `key=number` for what the run asked of the device.

mod self_dialled;

use std::{process::Command, time::Duration};

use pegaflow_bench::{PortCounters, program::Program, scattered};
use pegaflow_core::{Plan, Work};
use pegaflow_rdma::RdmaConfig;
use self_dialled::SelfDialled;

const DEVICE: &str = "rxe0";
const PORT: u8 = 1;
/// RoCEv2 over IPv4, in the virtual hosts.
const GID: u8 = 1;

const BLOCK_BYTES: u32 = 64 << 10;
/// A gap as long as a block between two: none is adjacent to another.
const APART: u64 = 2 * BLOCK_BYTES as u64;
const BLOCKS: u32 = 512;
/// Of one run; each has its own list of blocks.
const TRANSFERS: u32 = 4;
const POOL: u32 = 2 * BLOCKS;
const POOL_BYTES: u64 = POOL as u64 * APART;
const ROUNDS: u64 = 5;

const BYTES: u64 = BLOCKS as u64 * TRANSFERS as u64 * BLOCK_BYTES as u64;

/// perftest's own way to meet, over TCP.
const MEETING_PORT: u16 = 18515;
const RUN_LIMIT: Duration = Duration::from_secs(120);

fn main() {
    let config = RdmaConfig::default();
    let mut bench = SelfDialled::new(pegaflow_rdma::open(&config).expect("the device of this host"), POOL_BYTES, ());
    let (apart, adjacent) = (bench.plan(BLOCK_BYTES, APART), bench.plan(BLOCK_BYTES, BLOCK_BYTES.into()));
    check(&mut bench, &apart);
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..ROUNDS {
        let lists: Vec<_> = (0..TRANSFERS).map(|_| (list(&mut random), list(&mut random))).collect();
        ours("scattered", &mut bench, &apart, &lists);
        let all: Vec<u32> = (0..BLOCKS).collect();
        ours("merged", &mut bench, &adjacent, &vec![(all.clone(), all); TRANSFERS as usize]);
        theirs(&config);
    }
}

fn list(random: &mut fastrand::Rng) -> Vec<u32> {
    scattered(POOL, BLOCKS, random).expect("a pool of twice as many")
}

/// The bytes arrive: then what is counted below is counted of a transfer.
fn check(bench: &mut SelfDialled<()>, plan: &Plan) {
    let last = u64::from(BLOCK_BYTES) - 8;
    bench.from.write(3 * APART + last, &7_u64.to_le_bytes()).expect("a block here");
    bench.transfer(plan, &[0, 3], &[9, 5]);
    let mut got = [0; 8];
    bench.to.read(5 * APART + last, &mut got).expect("a block there");
    assert_eq!(u64::from_le_bytes(got), 7);
}

fn ours(name: &str, bench: &mut SelfDialled<()>, plan: &Plan, lists: &[(Vec<u32>, Vec<u32>)]) {
    let (work, counters) = (bench.port.work(), counters());
    for (here, there) in lists {
        bench.transfer(plan, here, there);
    }
    let now = bench.port.work();
    let asked = Work {
        requests: now.requests - work.requests,
        doorbells: now.doorbells - work.doorbells,
        signalled: now.signalled - work.signalled,
    };
    show(name, &asked, &counters);
}

/// The same bytes by `ib_write_bw`: server and client in this host, with the depth and the chain of `config`. It refuses
/// fewer completions than one a chain.
fn theirs(config: &RdmaConfig) {
    let count = u64::from(BLOCKS * TRANSFERS);
    let start = |peer: Option<&str>| {
        let mut perftest = Command::new("ib_write_bw");
        perftest.args(["--ib-dev", DEVICE, "--gid-index", &GID.to_string(), "--size", &BLOCK_BYTES.to_string()]);
        perftest.args(["--iters", &count.to_string(), "--tx-depth", &config.send_depth.to_string()]);
        perftest.args(["--post_list", &config.chain.to_string(), "--cq-mod", &config.chain.to_string()]);
        // No look at the processor's clock, nor at the fastest of the iterations.
        perftest.args(["--CPU-freq", "--noPeak", "--port", &MEETING_PORT.to_string()]).args(peer);
        Program::start(perftest).expect("ib_write_bw, of the package perftest")
    };
    let before = counters();
    let mut server = start(None);
    server.listening(MEETING_PORT).expect("ib_write_bw listens");
    let address = std::env::var("PEGAFLOW_HOST_ADDR").expect("an address of this host in PEGAFLOW_HOST_ADDR");
    let mut client = start(Some(&address));
    for side in [&mut client, &mut server] {
        side.output(RUN_LIMIT).expect("ib_write_bw");
    }
    let chains = count.div_ceil(config.chain.into());
    show("perftest", &Work { requests: count, doorbells: chains, signalled: chains }, &before);
}

fn counters() -> PortCounters {
    PortCounters::read(DEVICE, PORT).expect("the counters of the port")
}

fn show(name: &str, asked: &Work, before: &PortCounters) {
    let after = counters();
    let grown = |counter| after.since(before, counter).unwrap_or_else(|| panic!("{DEVICE} has no counter {counter}"));
    let (packets, repeated) = (grown("sent_pkts"), grown("duplicate_request"));
    let Work { requests, doorbells, signalled } = asked;
    println!(
        "{name} bytes={BYTES} requests={requests} doorbells={doorbells} signalled={signalled} packets={packets} \
         repeated={repeated}"
    );
}
