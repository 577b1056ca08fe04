//! The command line of `pegaflow bench`.

use std::{num::NonZeroU32, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use pegaflow::config::{BackendName, Bytes, parse_bytes};
use serde::{Deserialize, Serialize};

use super::{compare::CompareArgs, plot::PlotArgs, sweep::SweepArgs};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) what: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Write blocks into the other process's memory.
    #[command(after_long_help = MOVE_HELP)]
    Write(RunArgs),
    /// Read blocks out of the other process's memory.
    #[command(after_long_help = MOVE_HELP)]
    Read(RunArgs),
    /// Count alone, there and back: the latency of a counter.
    #[command(after_long_help = PING_HELP)]
    Count(RunArgs),
    /// A message alone, there and back.
    #[command(after_long_help = PING_HELP, mut_arg("block_bytes", |bytes| bytes.default_value("64")))]
    Message(RunArgs),
    /// Run a grid of sizes, and draw it.
    Sweep(SweepArgs),
    /// Say what changed between two files of results, and whether it is more than the noise.
    Compare(CompareArgs),
    /// Draw a file of results.
    Plot(PlotArgs),
}

const MOVE_HELP: &str = "\
Examples:
  pegaflow bench write                              16 KiB blocks, 1024 a transfer, over shared memory
  pegaflow bench write --against memcpy             beside one thread's plain copy of the same kind of lists
  pegaflow bench read --block-bytes 64K --against socket --json
  pegaflow bench write --rate 500 --blocks 64       500 transfers a second, whatever those before do
  pegaflow bench write --verify --seed 7            every block compared where it landed
  pegaflow bench write --backend rdma --against perftest

  Across two hosts, with one config file on both that has a node on each, and a channel of class kv between them:
  pegaflow node --config two.toml --name far        on the one host
  pegaflow bench write --config two.toml --peer far on the other

What it does: two processes, each with a pool of blocks that is 8 times the last-level cache where memory allows; one
moves, the other is only there. The time is cut into slices. In each, every block of either pool is named once at most:
lists are made before the slice and can't be found in a cache. Each transfer is followed by one count at the other side.
Latency is from submit to the end of a transfer; with --rate, from when it should have been submitted, so that a
transfer that was held up by those before counts as late as its user would find it (no coordinated omission).
With --depth in flight already, a transfer waits: that counts too.

--against: slices of equal work, ours and the rival's in turn, who is first in turn as well. The share is the median
over the pairs, with the interval that covers that median with 95 %. perftest and ucx_perftest are programs, started for
each pair: those pairs are longer and fewer. memcpy needs a backend that maps the peer's memory (shm), perftest a verbs
device (rdma). ucx_perftest runs over shared memory beside shm, and over TCP beside the others. Both send
one buffer again and again, which stays in the caches: beside shm that is no limit of memory. A program that gives no
figure (perftest shows `inf` on a busy virtual machine at times) is run again, 20 times at most, and that is told.

--idle spin takes a core on either side. Where cores are few or busy, compare with --idle sleep.

--verify: contents are made of (seed, transfer, block), before each slice, and compared after it; neither is timed, and
the run takes longer than --seconds.

Sizes: 16K and 16KiB are 16384 bytes. Rates are GB/s of 10^9 bytes, times microseconds (us).

JSON keys: backend op block_bytes blocks pattern depth regions progress idle rate seed as asked for; pool_bytes of each
side; seconds measured; transfers that ended done, errors that did not; gb_per_s the median over the slices; p50_us
p99_us p999_us of a transfer; cpu_seconds_per_gb processor time of both sides; limit, limit_gb_per_s, share_of_limit
(ours by the rival's), share_interval [low, high]; verified blocks. What does not apply is null.

Exit status: 0 done; 1 it failed, a transfer did not end done, or a block was wrong (the reason is on standard error);
2 the command line is wrong.";

const PING_HELP: &str = "\
Examples:
  pegaflow bench count                              a counter there, a counter back, over shared memory
  pegaflow bench count --idle sleep                 both sides sleep on the port's descriptor instead of polling
  pegaflow bench message --block-bytes 256 --against socket
  pegaflow bench count --backend rdma --against perftest --json
  pegaflow bench message --rate 10000               10000 a second, latency from when each should have started

What it does: two processes; one counts (or sends a message), the other answers likewise. Half of the time there and
back is the latency. With --rate it counts from when the round should have begun, so that one that was held up by those
before counts as late as its user would find it (no coordinated omission).

--block-bytes is the length of a message; --blocks, --pattern, --depth and --regions mean nothing here. --against socket
is a ping-pong over one blocking TCP connection, perftest is ib_write_lat, ucx_perftest is its ucp_am_lat (with
--block-bytes, 8 for a count); each in turn with ours. The share is the rival's median by ours: 1 is as good, less is
worse.

--verify: each message is compared with what was sent; each count with the value that is due.

JSON keys: backend op block_bytes (0 for a count) blocks (0) depth (1) idle rate seed; seconds measured; transfers done,
there and back each; errors; p50_us p99_us p999_us; limit, limit_p50_us, share_of_limit, share_interval [low, high];
verified. What does not apply is null.

Exit status: 0 done; 1 it failed, or something came wrong (the reason is on standard error); 2 the command line is
wrong.";

/// One run.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Transport; over the config's, or over the default (shm).
    #[arg(long, value_parser = crate::args::backend())]
    pub(crate) backend: Option<BackendName>,
    /// Bytes of a block, or of a message: 16K, 64KiB, 1M.
    #[arg(long, default_value = "16K", value_parser = size)]
    pub(crate) block_bytes: Bytes,
    /// Blocks of a transfer.
    #[arg(long, default_value = "1024")]
    pub(crate) blocks: NonZeroU32,
    /// Which blocks a transfer names, on both sides.
    #[arg(long, value_enum, default_value = "scattered")]
    pub(crate) pattern: Pattern,
    /// Transfers in flight at most.
    #[arg(long, default_value = "4")]
    pub(crate) depth: NonZeroU32,
    /// Whose memory: Pegaflow's own, or the caller's that is registered.
    #[arg(long, value_enum, default_value = "owned")]
    pub(crate) regions: Regions,
    /// Who moves a port on.
    #[arg(long, value_enum, default_value = "caller")]
    pub(crate) progress: Progress,
    /// What a side does that waits.
    #[arg(long, value_enum, default_value = "spin")]
    pub(crate) idle: Idle,
    /// Seconds to measure, the rival's not counted.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Transfers to start a second, whatever those before do; latencies then count from when each should have started.
    #[arg(long, value_name = "PER_SECOND")]
    pub(crate) rate: Option<f64>,
    /// Compare every block with what was sent, where it landed.
    #[arg(long)]
    pub(crate) verify: bool,
    /// Run a rival in turn with us.
    #[arg(long, value_enum)]
    pub(crate) against: Option<Rival>,
    /// Seed of lists and contents; the same seed does the same.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The other side is this node of the config, which runs already (see `pegaflow node`), on this host or another.
    /// This side is then a process of its own: the node at the other end of the config's first channel of class kv that
    /// leads to or from that node.
    #[arg(long, value_name = "NAME", requires = "config")]
    pub(crate) peer: Option<String>,
    /// Config file with two nodes and a channel of class kv between them; the bounds in it hold. Without --peer, the
    /// first such channel's nodes: its `from` moves; those that run already are used, the others are started.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Memory of each side's pool, instead of 8 times the last-level cache.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) pool: Option<Bytes>,
    /// Show that --verify works: one byte of this transfer and block (both from 0) is flipped before the comparison.
    #[arg(long, value_name = "TRANSFER,BLOCK", value_parser = crate::args::pair, requires = "verify")]
    pub(crate) corrupt: Option<(u32, u32)>,
    /// One JSON object on a line instead of the table; no progress bar.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which blocks a transfer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Pattern {
    /// A fresh random list for each transfer, on both sides.
    Scattered,
    /// Neighbours, at a fresh random place for each transfer, which are merged.
    Contiguous,
}

/// Whose memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Regions {
    /// Allocated by Pegaflow.
    Owned,
    /// Allocated by the caller, then registered.
    Foreign,
}

/// Who moves a port on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Progress {
    /// The thread that submits.
    Caller,
    /// A thread of Pegaflow's; not in this version.
    Poller,
}

/// What a side does that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Idle {
    /// Polls.
    Spin,
    /// Sleeps on the port's descriptor (`arm`, then poll(2)).
    Sleep,
}

/// What the same work is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Rival {
    /// One thread that copies the same kind of lists between the same mappings.
    Memcpy,
    /// One blocking TCP connection between the same two processes, blocks gathered by writev and scattered by readv, one
    /// acknowledgement a transfer.
    Socket,
    /// ib_write_bw, ib_read_bw or ib_write_lat on the same device, port and GID, with the same send queue.
    Perftest,
    /// ucx_perftest: ucp_put_bw, ucp_get or ucp_am_lat.
    #[value(name = "ucx_perftest")]
    UcxPerftest,
}

fn size(text: &str) -> Result<Bytes, String> {
    parse_bytes(text).map_err(|error| error.to_string())
}
