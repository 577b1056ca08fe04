//! One run of `pegaflow bench`: what is asked for is checked, two nodes do it, and a record is made of their figures.

use std::fs;

use indicatif::{ProgressBar, ProgressStyle};
use pegaflow::config::{BackendName, ClassName, Config};
use pegaflow_bench::{Record, stats};

pub(crate) use super::job::Op;
use super::{
    args::{Progress, Rival, RunArgs},
    job::Job,
    near::Measured,
    rival,
};
use crate::{
    Failure,
    line::PEER_CLOSED,
    machine::{self, human},
    nodes::{self, File, How, Nodes, Results},
};

/// A pool is as many times the last-level cache, so that fresh lists miss it.
const CACHES: u64 = 8;
/// The last-level cache where the kernel does not tell.
const UNKNOWN_CACHE_BYTES: u64 = 32 << 20;
/// Most blocks of a pool; the ids of a slice are memory too.
const MOST_BLOCKS: u64 = 1 << 22;
/// The longest run.
const MOST_SECONDS: f64 = 86_400.0;

/// Runs once, and gives what was measured. Shows nothing but a progress bar, and that only where `bar` says so.
pub(super) fn run(op: Op, arguments: &RunArgs, verbose: u8, bar: bool) -> Result<Record, Failure> {
    check_arguments(op, arguments)?;
    let own = || nodes::own_config(["near", "far"]);
    let (config, file) = nodes::load(arguments.config.as_deref(), arguments.backend, own)?;
    let (near, far) = sides(&config, arguments.peer.as_deref())?;
    let job = job(op, arguments, &config, (near, far))?;
    let how = How { file: &file, backend: arguments.backend, verbose, quiet: true, running: arguments.peer.as_deref() };
    let nodes = Nodes::start(&nodes::Job::Bench(job.clone()), [&job.far, &job.near], &config, &how)?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: above 0, and a day at most")]
    let length = (arguments.seconds * 1e3) as u64;
    let bar = if bar { ProgressBar::new(length) } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{bar:40} {percent} %  {elapsed}")?);
    let said = nodes.results(&job.near, &bar)?;
    drop::<File>(file);
    let measured: Measured = figures(&job, &said)?;
    if let Some(error) = &measured.first_error {
        crate::tell(&format!("error: {} of {}: {error}", measured.errors, measured.errors + measured.transfers));
    }
    Ok(record(&job, config.backend, &measured))
}

/// What is wrong whatever the config says.
fn check_arguments(op: Op, arguments: &RunArgs) -> Result<(), Failure> {
    let RunArgs { seconds, rate, .. } = *arguments;
    if !(seconds > 0.0 && seconds <= MOST_SECONDS) {
        return Err(format!("--seconds {seconds}: expected more than 0 and {MOST_SECONDS} at most").into());
    }
    if let Some(rate) = rate
        && !(rate > 0.0 && rate <= 1e9)
    {
        return Err(format!("--rate {rate}: expected more than 0 and 1e9 a second at most").into());
    }
    let bytes = arguments.block_bytes.get();
    if bytes == 0 || bytes > u32::MAX.into() {
        return Err(format!("--block-bytes {bytes}: expected 1 to {}", u32::MAX).into());
    }
    if arguments.progress == Progress::Poller {
        return Err("--progress poller: this version has no poller threads; --progress caller is what there is: the \
                    thread that submits moves its port on"
            .into());
    }
    if let Some(rival) = arguments.against {
        if rival == Rival::Memcpy && !op.moves() {
            return Err(format!(
                "--against memcpy: it copies blocks, and a {} has none; socket has a ping-pong",
                op.name()
            )
            .into());
        }
        rival::check_installed(rival, op)?;
    }
    Ok(())
}

/// The node that moves, and the other: at the ends of the first channel of class kv, that leads to or from `peer` where one
/// is given.
fn sides<'a>(config: &'a Config, peer: Option<&str>) -> Result<(&'a str, &'a str), Failure> {
    if let Some(peer) = peer {
        config.node(peer)?;
    }
    let mut channels = config.channels.iter().filter(|it| it.class == ClassName::Kv && it.from != it.to);
    let found = match peer {
        None => channels.next().map(|it| (it.from.as_str(), it.to.as_str())),
        Some(peer) => channels.find_map(|it| {
            if it.to == peer {
                Some((it.from.as_str(), it.to.as_str()))
            } else {
                (it.from == peer).then_some((it.to.as_str(), it.from.as_str()))
            }
        }),
    };
    found.ok_or_else(|| {
        let whom = peer.map_or_else(|| "two nodes".to_owned(), |peer| format!("`{peer}` and another node"));
        format!("the config has no [[channel]] of class `kv` between {whom}").into()
    })
}

/// What both nodes are told, checked against the bounds of the config and the memory of this machine.
fn job(op: Op, arguments: &RunArgs, config: &Config, (near, far): (&str, &str)) -> Result<Job, Failure> {
    let backend = config.backend;
    if arguments.against == Some(Rival::Perftest) && backend != BackendName::Rdma {
        return Err(format!(
            "--against perftest: it needs a verbs device, and backend {backend} uses none; over {backend} there are \
             socket{} and ucx_perftest",
            if backend == BackendName::Shm { ", memcpy" } else { "" }
        )
        .into());
    }
    let bounds = config.classes.kv;
    // Checked above.
    let block_bytes = u32::try_from(arguments.block_bytes.get())?;
    let mut job = Job {
        id: nodes::fresh_id(),
        near: near.to_owned(),
        far: far.to_owned(),
        op,
        block_bytes,
        blocks: arguments.blocks.get(),
        pool_blocks: 0,
        pattern: arguments.pattern,
        depth: arguments.depth.get(),
        regions: arguments.regions,
        idle: arguments.idle,
        seconds: arguments.seconds,
        rate: arguments.rate,
        verify: arguments.verify,
        rival: arguments.against,
        seed: arguments.seed,
        corrupt: arguments.corrupt,
    };
    if !op.moves() {
        if op == Op::Message && u64::from(block_bytes) > bounds.message_bytes.get() {
            return Err(format!(
                "--block-bytes {block_bytes}: class.kv.message_bytes is {}: raise it in a file for --config, or send \
                 shorter messages",
                bounds.message_bytes.get()
            )
            .into());
        }
        // A region that a plan can be made over; no block of it moves.
        (job.blocks, job.depth, job.pool_blocks) = (1, 1, 1);
        if op == Op::Count {
            job.block_bytes = 4096;
        }
        return Ok(job);
    }
    if job.depth > bounds.transfers {
        let (depth, bound) = (job.depth, bounds.transfers);
        return Err(format!(
            "--depth {depth}: class.kv.transfers is {bound}: raise it in a file for --config, or lower --depth"
        )
        .into());
    }
    let ids = u64::from(job.blocks) * u64::from(job.depth);
    if ids > u64::from(bounds.blocks) {
        let (blocks, depth, bound) = (job.blocks, job.depth, bounds.blocks);
        return Err(format!(
            "--blocks {blocks} with --depth {depth}: {ids} blocks in flight, class.kv.blocks is {bound}: raise it in a file \
             for --config, or lower one of them"
        )
        .into());
    }
    job.pool_blocks = pool_blocks(&job, arguments.pool.map(|bytes| bytes.get()), machine::memory("MemAvailable"))?;
    Ok(job)
}

/// Blocks of either side's pool: `wanted` bytes, or as many as miss every cache, within half of the memory for both.
fn pool_blocks(job: &Job, wanted: Option<u64>, available: Option<u64>) -> Result<u32, Failure> {
    // All that is in flight at once, and then every transfer has its own.
    let least = job.transfer_bytes() * u64::from(job.depth);
    let both = 2 * wanted.unwrap_or(0).max(least);
    if let Some(available) = available
        && both > available
    {
        return Err(format!(
            "it needs {} of memory for two pools, {} are available: lower --block-bytes, --blocks, --depth or --pool",
            human(both),
            human(available)
        )
        .into());
    }
    let bytes = match wanted {
        Some(wanted) if wanted < least => {
            return Err(format!(
                "--pool {}: what is in flight needs {} (--block-bytes times --blocks times --depth)",
                human(wanted),
                human(least)
            )
            .into());
        }
        Some(wanted) => wanted,
        None => {
            let fitting = (CACHES * last_cache_bytes()).max(2 * least).min(available.unwrap_or(u64::MAX) / 4);
            fitting.min(MOST_BLOCKS * u64::from(job.block_bytes)).max(least)
        }
    };
    let blocks = u32::try_from(bytes / u64::from(job.block_bytes)).map_err(|_| {
        format!("--pool: {} of {}-byte blocks: expected less than 2^32 blocks", human(bytes), job.block_bytes)
    })?;
    // Whole transfers only: a slice names each block once.
    Ok(blocks - blocks % job.blocks)
}

/// The last-level cache of this machine, of one socket.
pub(super) fn last_cache_bytes() -> u64 {
    let indices = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path().join("size")).ok()?;
        Some(text.trim().strip_suffix('K')?.parse::<u64>().ok()? << 10)
    };
    indices.filter_map(size).max().unwrap_or(UNKNOWN_CACHE_BYTES)
}

/// The near side's figures, or the error of the side that knows best.
fn figures(job: &Job, said: &Results) -> Result<Measured, Failure> {
    let failed = |name: &str, error: &str| Failure::from(format!("node `{name}`: {error}"));
    match (said.get(&job.near), said.get(&job.far)) {
        (Some(Ok(measured)), _) => Ok(serde_json::from_value(measured.clone())?),
        // The side that broke off knows more than the one that was left.
        (Some(Err(near)), Some(Err(far))) if near == PEER_CLOSED => Err(failed(&job.far, far)),
        (Some(Err(near)), _) => Err(failed(&job.near, near)),
        (None, Some(Err(far))) => Err(failed(&job.far, far)),
        (None, _) => Err(failed(&job.near, "it has said nothing")),
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures to be read")]
fn record(job: &Job, backend: BackendName, measured: &Measured) -> Record {
    let moves = job.op.moves();
    let bytes = (measured.round * job.transfer_bytes()) as f64;
    let rate =
        |seconds: &[f64]| stats::median(&seconds.iter().map(|seconds| bytes / seconds / 1e9).collect::<Vec<_>>());
    let ours = if moves { &measured.seconds } else { &measured.median_us };
    // More is better here, for rates as for latencies: both figures are times.
    let shares: Vec<f64> = measured.rival.iter().zip(ours).map(|(rival, ours)| rival / ours).collect();
    let share = stats::median_interval(&shares);
    let moved = (measured.transfers * job.transfer_bytes()) as f64 / 1e9;
    let blocks = if moves { job.blocks.into() } else { 0 };
    Record {
        backend: backend.to_string(),
        op: job.op.name().to_owned(),
        block_bytes: if job.op == Op::Count { 0 } else { job.block_bytes.into() },
        blocks,
        pattern: name(job.pattern),
        depth: job.depth.into(),
        regions: name(job.regions),
        progress: name(Progress::Caller),
        idle: name(job.idle),
        rate: job.rate,
        seconds: measured.seconds.iter().sum(),
        pool_bytes: moves.then(|| job.pool_bytes()),
        seed: job.seed,
        transfers: measured.transfers,
        errors: measured.errors,
        gb_per_s: if moves { rate(&measured.seconds) } else { None },
        p50_us: measured.p50_us,
        p99_us: measured.p99_us,
        p999_us: measured.p999_us,
        cpu_seconds_per_gb: (moves && moved > 0.0).then(|| measured.cpu_seconds / moved),
        limit: job.rival.map(name),
        limit_gb_per_s: if moves { rate(&measured.rival) } else { None },
        limit_p50_us: if moves { None } else { stats::median(&measured.rival) },
        share_of_limit: share.map(|share| share.median),
        share_interval: share.map(|share| [share.low, share.high]),
        verified: job.verify.then_some(measured.verified),
    }
}

/// As the command line has it.
fn name(value: impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::bench::args::{Idle, Pattern, Regions};

    fn asked() -> Job {
        let config = Config::default();
        let arguments = RunArgs {
            backend: None,
            block_bytes: pegaflow::config::parse_bytes("16K").unwrap(),
            blocks: NonZeroU32::new(1000).unwrap(),
            pattern: Pattern::Scattered,
            depth: NonZeroU32::new(4).unwrap(),
            regions: Regions::Owned,
            progress: Progress::Caller,
            idle: Idle::Spin,
            seconds: 1.0,
            rate: None,
            verify: false,
            against: None,
            seed: 1,
            peer: None,
            config: None,
            pool: None,
            corrupt: None,
            json: true,
        };
        job(Op::Write, &arguments, &config, ("near", "far")).unwrap()
    }

    #[test]
    fn a_pool_misses_the_caches_where_memory_allows() {
        let (job, cache) = (asked(), last_cache_bytes());
        let bytes = |wanted, available| {
            pool_blocks(&job, wanted, available).map(|blocks| {
                assert!(blocks.is_multiple_of(job.blocks));
                u64::from(blocks) * u64::from(job.block_bytes)
            })
        };
        let transfer = job.transfer_bytes();
        assert!(bytes(None, Some(1 << 40)).unwrap() + transfer > CACHES * cache);
        // Little memory: a quarter of it for each pool, and no less than what is in flight.
        assert_eq!(
            bytes(None, Some(40 * transfer)).unwrap(),
            (10 * transfer).min(CACHES * cache / transfer * transfer)
        );
        assert_eq!(bytes(None, Some(9 * transfer)).unwrap(), 4 * transfer);
        assert!(bytes(None, Some(7 * transfer)).unwrap_err().to_string().contains("lower --block-bytes"));
        assert_eq!(bytes(Some(5 * transfer), Some(11 * transfer)).unwrap(), 5 * transfer);
        assert!(bytes(Some(3 * transfer), None).unwrap_err().to_string().contains("--pool"));
    }
}
