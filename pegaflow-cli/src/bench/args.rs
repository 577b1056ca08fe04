//! The command line of `pegaflow bench`.

use std::{num::NonZeroU32, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use pegaflow::config::{BackendName, Bytes, parse_bytes};

use super::{compare::CompareArgs, sweep::SweepArgs};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(crate) what: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Write blocks into the other process's memory.
    Write(RunArgs),
    /// Read blocks out of it.
    Read(RunArgs),
    /// Count alone, there and back: the latency of a counter.
    Count(RunArgs),
    /// A message alone, there and back.
    Message(RunArgs),
    /// Run a grid of sizes, and draw it.
    Sweep(SweepArgs),
    /// Say what changed between two files of results, and whether it is more than the noise.
    Compare(CompareArgs),
}

/// One run.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunArgs {
    /// Transport; over the config's, or over the default (shm).
    #[arg(long, value_parser = crate::args::backend)]
    pub(crate) backend: Option<BackendName>,
    /// Bytes of a block, or of a message: 16K, 64KiB, 1M.
    #[arg(long, default_value = "16K", value_parser = size)]
    pub(crate) block_bytes: Bytes,
    /// Blocks of a transfer.
    #[arg(long, default_value = "1024")]
    pub(crate) blocks: NonZeroU32,
    /// Which blocks a transfer names.
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
    /// Run against this node of the config, which runs already (see `pegaflow node`).
    #[arg(long, value_name = "NAME", requires = "config")]
    pub(crate) peer: Option<String>,
    /// Config file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One JSON object on a line instead of the table; no progress bar.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which blocks a transfer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pattern {
    /// A fresh random list for each transfer, on both sides.
    Scattered,
    /// Neighbours, which are merged.
    Contiguous,
}

/// Whose memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Regions {
    /// Allocated by Pegaflow.
    Owned,
    /// Allocated by the caller, then registered.
    Foreign,
}

/// Who moves a port on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// The thread that submits.
    Caller,
    /// A thread of Pegaflow's.
    Poller,
}

/// What a side does that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Idle {
    /// Polls.
    Spin,
    /// Sleeps on the port's descriptor.
    Sleep,
}

/// What the same work is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rival {
    /// One thread that copies the same kind of lists between the same mappings.
    Memcpy,
    /// One blocking TCP connection on this host, one acknowledgement a transfer.
    Socket,
    /// ib_write_bw, ib_read_bw or ib_write_lat on the same device.
    Perftest,
    /// ucx_perftest.
    #[value(name = "ucx_perftest")]
    UcxPerftest,
}

fn size(text: &str) -> Result<Bytes, String> {
    parse_bytes(text).map_err(|error| error.to_string())
}
