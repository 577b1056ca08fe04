//! `pegaflow demo`: one prompt's KV cache, from a prefill process to a decode process, every byte checked.
//!
//! This process only steers: it starts the two nodes (or finds them running), posts the same job on both boards, draws
//! the progress, and reports what they say.

mod contents;
pub(crate) mod decode;
mod limit;
mod line;
mod model;
mod pool;
pub(crate) mod prefill;
mod report;

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use pegaflow::{
    Class,
    config::{Config, HostPort, Role},
    rendezvous::{RendezvousError, TcpBoard},
};
use pegaflow_metrics::Recorder;
use serde::{Deserialize, Serialize};

use self::{
    decode::Decoded,
    model::Model,
    prefill::Prefilled,
    report::{Report, human},
};
use crate::{Failure, args::DemoArgs};

/// How long a node that was started here may take to come up.
const START: Duration = Duration::from_secs(20);
/// How long a demo may be silent before it is given up; longer than the nodes wait for each other.
const SILENCE: Duration = Duration::from_secs(120);
/// How long the other side has to say why, once one has failed; it may be dead.
const OTHER: Duration = Duration::from_secs(3);
/// How often the progress is asked for.
const LOOK: Duration = Duration::from_millis(100);

/// What both nodes are told to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Names this run on the boards.
    pub(crate) id: String,
    pub(crate) model: Model,
    pub(crate) tokens: u32,
    pub(crate) block_tokens: u32,
    pub(crate) rounds: u32,
    pub(crate) seed: u64,
    pub(crate) prefill: String,
    pub(crate) decode: String,
    pub(crate) corrupt: Option<(u32, u32)>,
}

/// One step of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phase {
    /// The plain copy, not the transfer.
    pub(crate) copy: bool,
}

impl Job {
    /// Blocks of the prompt in one plane.
    pub(crate) fn blocks(&self) -> u32 {
        self.tokens.div_ceil(self.block_tokens)
    }

    /// Pages of one plane: twice the prompt's, so that its pages lie scattered.
    pub(crate) fn pool_blocks(&self) -> u32 {
        2 * self.blocks()
    }

    pub(crate) fn block_bytes(&self) -> u64 {
        self.model.block_bytes(self.block_tokens)
    }

    /// Bytes of the prompt's KV cache, whole blocks.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.blocks()) * self.block_bytes() * 2 * u64::from(self.model.layers)
    }

    /// The steps of a round: ours and the plain copy, in turn first.
    pub(crate) fn phases(&self, round: u32, copies: bool) -> Vec<Phase> {
        let (ours, copy) = (Phase { copy: false }, Phase { copy: true });
        match (copies, round.is_multiple_of(2)) {
            (false, _) => vec![ours],
            (true, true) => vec![ours, copy],
            (true, false) => vec![copy, ours],
        }
    }
}

/// Where things lie on the boards. A board keeps one value a key, so what depends on the run is read only after the
/// other side has said that it is there, or says which run it is of.
pub(crate) mod keys {
    /// The job, on both nodes' boards.
    pub(crate) const JOB: &str = "demo/job";
    /// [`Said`](super::Said), by both nodes.
    pub(crate) const RESULT: &str = "demo/result";
    /// [`Progress`](super::Progress), by the decode node.
    pub(crate) const PROGRESS: &str = "demo/progress";
    /// The decode node's pages, counters, and this round's page numbers.
    pub(crate) const GRANT: &str = "demo/grant";
    pub(crate) const COUNTERS: &str = "demo/counters";
    pub(crate) const PAGES: &str = "demo/pages";
}

/// What a node has to say at the end of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) id: String,
    pub(crate) result: Result<serde_json::Value, String>,
}

/// How far the decode side is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) id: String,
    /// Layers seen, over all rounds.
    pub(crate) layers_done: u64,
}

pub(crate) fn run(arguments: &DemoArgs, verbose: u8) -> Result<ExitCode, Failure> {
    let model = Model::from_arguments(arguments)?;
    let (config, file) = load(arguments)?;
    let channel = |from: &str, to: &str| {
        config.channels.iter().any(|it| it.from == from && it.to == to && it.class.as_str() == Class::Kv.name())
    };
    let (prefill, decode) =
        (config.node_with_role(Role::Prefill)?.0.to_owned(), config.node_with_role(Role::Decode)?.0.to_owned());
    if !channel(&prefill, &decode) && !channel(&decode, &prefill) {
        return Err(format!("the config has no [[channel]] of class `kv` between `{prefill}` and `{decode}`").into());
    }
    let job = Job {
        id: format!("{:016x}", fastrand::u64(..)),
        model,
        tokens: arguments.tokens,
        block_tokens: arguments.block_tokens,
        rounds: arguments.rounds,
        seed: arguments.seed,
        prefill,
        decode,
        corrupt: arguments.corrupt,
    };
    check(&job, &config)?;
    if !arguments.json {
        introduce(&job, &config);
    }
    let (mut nodes, board) = start(&job, &config, file.path(), (arguments, verbose))?;
    let outcome = steer(&job, &board, &mut nodes, arguments.json);
    drop(nodes);
    let (prefilled, decoded) = outcome?;
    if let Some(wrong) = &decoded.wrong {
        let half = if wrong.half == 0 { "K" } else { "V" };
        crate::tell(&format!(
            "error: wrong byte: layer {}, {half}, block {} (page {} at decode), byte {}: expected {:#04x}, got {:#04x} \
             (round {})",
            wrong.layer, wrong.block, wrong.page, wrong.byte, wrong.expected, wrong.got, wrong.round
        ));
        return Ok(ExitCode::from(1));
    }
    let prefilled = prefilled.ok_or("the prefill node gave no figures")?;
    let expected = job.bytes() * u64::from(job.rounds);
    if prefilled.bytes != expected {
        return Err(format!("the recorder counted {} bytes, the work was {expected}", prefilled.bytes).into());
    }
    let report = Report::new(config.backend.as_str(), &job, &prefilled, &decoded);
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{}", report.table());
    }
    Ok(ExitCode::SUCCESS)
}

/// `count` different pages of `pages`, in random order.
pub(crate) fn scattered(pages: u32, count: u32, random: &mut fastrand::Rng) -> Result<Vec<u32>, Failure> {
    pegaflow_bench::scattered(pages, count, random).ok_or_else(|| format!("{count} pages of a pool of {pages}").into())
}

/// Bytes that a port's transfers moved, as its recorder has it.
pub(crate) fn bytes_done(recorder: &Recorder) -> u64 {
    recorder.snapshot().classes.iter().map(|class| class.bytes).sum()
}

/// The config to use and the file that the nodes read it from.
fn load(arguments: &DemoArgs) -> Result<(Config, File), Failure> {
    let (mut config, file) = match &arguments.config {
        Some(path) => (Config::load(path)?, File::Given(path.clone())),
        None => {
            let folder = tempfile::Builder::new().prefix("pegaflow-demo-").tempdir()?;
            let path = folder.path().join("demo.toml");
            let text = own_config()?;
            fs::write(&path, &text)?;
            (Config::load(&path)?, File::Own { path, _folder: folder })
        }
    };
    if let Some(backend) = arguments.backend {
        config.override_backend(backend);
    }
    Ok((config, file))
}

enum File {
    Given(std::path::PathBuf),
    Own { path: std::path::PathBuf, _folder: tempfile::TempDir },
}

impl File {
    fn path(&self) -> &Path {
        match self {
            Self::Given(path) | Self::Own { path, .. } => path,
        }
    }
}

/// Two nodes on free ports of this host.
fn own_config() -> Result<String, Failure> {
    // Both are held until both are chosen, so that they differ.
    let (first, second) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let (prefill, decode) = (first.local_addr()?, second.local_addr()?);
    Ok(format!(
        "[node.prefill]\nlisten = \"{prefill}\"\nrole = \"prefill\"\n\n\
         [node.decode]\nlisten = \"{decode}\"\nrole = \"decode\"\n\n\
         [[channel]]\nfrom = \"prefill\"\nto = \"decode\"\nclass = \"kv\"\n"
    ))
}

/// What would fail later is said now, with the number to change.
fn check(job: &Job, config: &Config) -> Result<(), Failure> {
    let bounds = config.classes.kv;
    if job.blocks() > bounds.blocks {
        let (blocks, bound) = (job.blocks(), bounds.blocks);
        return Err(format!("{blocks} blocks a layer, class.kv.blocks is {bound}: raise it, or --block-tokens").into());
    }
    if job.model.layers > bounds.counters {
        let (layers, bound) = (job.model.layers, bounds.counters);
        return Err(format!("{layers} layers with a counter each, class.kv.counters is {bound}: raise it").into());
    }
    if u32::try_from(job.block_bytes()).is_err() {
        return Err(format!("a block of {}: expected less than 4 GiB", human(job.block_bytes())).into());
    }
    if let Some((layer, block)) = job.corrupt
        && (layer >= job.model.layers || block >= job.blocks())
    {
        let (layers, blocks) = (job.model.layers, job.blocks());
        return Err(format!("--corrupt {layer},{block}: there are {layers} layers and {blocks} blocks").into());
    }
    let needed = 4 * job.bytes();
    if let Some(available) = memory_available()
        && needed > available
    {
        let (needed, available) = (human(needed), human(available));
        return Err(format!("it needs {needed} of memory, {available} are available: lower --tokens").into());
    }
    Ok(())
}

/// `MemAvailable` of proc(5), in bytes.
fn memory_available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn introduce(job: &Job, config: &Config) {
    let Model { name, layers, kv_heads, head_dim, dtype, .. } = &job.model;
    println!("{name}: {layers} layers, {kv_heads} KV heads of {head_dim} {dtype}");
    println!(
        "{} tokens = {} blocks of {} tokens; K and V of a block in one layer: 2 x {}",
        job.tokens,
        job.blocks(),
        job.block_tokens,
        human(job.block_bytes())
    );
    println!(
        "KV cache of the prompt: {}; pools of both sides: {}; backend: {}",
        human(job.bytes()),
        human(4 * job.bytes()),
        config.backend
    );
}

/// Nodes that this demo started; dropping them ends their processes.
struct Nodes(Vec<Child>);

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Makes sure that both nodes run, and posts the job on their boards.
fn start(job: &Job, config: &Config, file: &Path, arguments: (&DemoArgs, u8)) -> Result<(Nodes, TcpBoard), Failure> {
    let any: HostPort = "127.0.0.1:0".parse()?;
    let board = TcpBoard::start("demo", &any, config.addresses())?;
    let mut nodes = Nodes(Vec::new());
    for name in [&job.decode, &job.prefill] {
        let running = arguments.0.config.is_some()
            && board.fetch_blocking(name, "pegaflow/address", None, Duration::from_millis(300)).is_ok();
        if running && !arguments.0.json {
            println!("node `{name}` runs already at {}", config.node(name)?.listen);
        }
        if !running {
            nodes.0.push(spawn(name, file, arguments)?);
        }
    }
    let text = serde_json::to_vec(job)?;
    for name in [&job.decode, &job.prefill] {
        let until = Instant::now() + START;
        loop {
            match board.post_blocking(name, keys::JOB, text.clone(), Duration::from_millis(250)) {
                Ok(()) => break,
                Err(error @ RendezvousError::NoAnswer { .. }) => {
                    ended(&mut nodes)?;
                    if Instant::now() >= until {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok((nodes, board))
}

fn spawn(name: &str, file: &Path, (arguments, verbose): (&DemoArgs, u8)) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["node", "--until-stdin-ends", "--name", name, "--config"]).arg(file);
    // What is said of a backend is said by the nodes.
    command.args((0..verbose).map(|_| "-v"));
    if let Some(backend) = arguments.backend {
        command.args(["--backend", backend.as_str()]);
    }
    // Its errors are told on this process's standard error; its standard input ends with this process.
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?)
}

/// A node that has ended can't be waited for.
fn ended(nodes: &mut Nodes) -> Result<(), Failure> {
    for child in &mut nodes.0 {
        if let Some(status) = child.try_wait()? {
            return Err(format!("a node ended before the demo did ({status}); its reason is above").into());
        }
    }
    Ok(())
}

/// Draws the progress until both nodes have a result.
fn steer(job: &Job, board: &TcpBoard, nodes: &mut Nodes, json: bool) -> Result<(Option<Prefilled>, Decoded), Failure> {
    let layers = u64::from(job.rounds) * u64::from(job.model.layers);
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(layers) };
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} layers  {elapsed}")?);
    let mut said: BTreeMap<&str, Result<serde_json::Value, String>> = BTreeMap::new();
    let (mut version, mut heard) = (None, Instant::now());
    while said.len() < 2 {
        if let Ok(news) = board.fetch_blocking(&job.decode, keys::PROGRESS, version, LOOK) {
            let progress: Progress = serde_json::from_slice(&news.bytes)?;
            version = Some(news.version);
            if progress.id == job.id {
                bar.set_position(progress.layers_done);
                heard = Instant::now();
            }
        }
        for name in [job.prefill.as_str(), job.decode.as_str()] {
            if !said.contains_key(name)
                && let Ok(result) = board.fetch_blocking(name, keys::RESULT, None, Duration::ZERO)
                && let Ok(one) = serde_json::from_slice::<Said>(&result.bytes)
                && one.id == job.id
            {
                said.insert(name, one.result);
                heard = Instant::now();
            }
        }
        ended(nodes)?;
        if said.values().any(Result::is_err) && heard.elapsed() > OTHER {
            break;
        }
        if heard.elapsed() > SILENCE {
            return Err(format!("neither node has said anything for {SILENCE:?}").into());
        }
    }
    bar.finish_and_clear();
    let failed = |name: &str, error: &String| Failure::from(format!("node `{name}`: {error}"));
    let silent = Err("it has said nothing".to_owned());
    let of = |name: &str| said.get(name).unwrap_or(&silent);
    let (prefilled, decoded) = (of(&job.prefill), of(&job.decode));
    let decoded: Decoded = match decoded {
        Ok(value) => serde_json::from_value(value.clone())?,
        // The side that broke off, or that is still there, knows more than the other.
        Err(error) => match prefilled {
            Err(other) if error == line::PEER_CLOSED || !said.contains_key(job.decode.as_str()) => {
                return Err(failed(&job.prefill, other));
            }
            _ => return Err(failed(&job.decode, error)),
        },
    };
    match prefilled {
        Ok(value) => Ok((Some(serde_json::from_value(value.clone())?), decoded)),
        Err(_) if decoded.wrong.is_some() => Ok((None, decoded)),
        Err(error) => Err(failed(&job.prefill, error)),
    }
}
