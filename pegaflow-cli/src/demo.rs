//! `pegaflow demo`: one prompt's KV cache, from a prefill process to a decode process, every byte checked.
//!
//! This process only steers: it starts the two nodes (or finds them running), posts the same job on both boards, draws
//! the progress, and reports what they say.

mod contents;
pub(crate) mod decode;
mod limit;
mod line;
mod model;
mod phase;
mod pool;
pub(crate) mod prefill;
pub(crate) mod report;

use std::{process::ExitCode, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use pegaflow::{
    Class,
    config::{Config, Role},
};
use serde::{Deserialize, Serialize};

use self::{decode::Decoded, model::Model, phase::Phase, prefill::Prefilled, report::Report};
use crate::{
    Failure,
    args::{DemoArgs, misuse},
    line::PEER_CLOSED,
    machine::{self, human},
    nodes::{self, How, Nodes, Results},
};

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
    /// What a layer's pretended compute takes.
    pub(crate) layer_time: Option<Duration>,
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
        let planes = u64::from(self.model.planes) * u64::from(self.model.layers);
        u64::from(self.blocks()) * self.block_bytes() * planes
    }

    /// The steps of a round.
    pub(crate) fn phases(&self, round: u32, copies: bool) -> Vec<Phase> {
        Phase::of_round(round, copies, self.layer_time.is_some())
    }

    /// How often the prompt is transferred, over all rounds: alone, and behind compute.
    pub(crate) fn transfers(&self) -> u64 {
        u64::from(self.rounds) * if self.layer_time.is_some() { 2 } else { 1 }
    }
}

/// Where things lie on the boards. A board keeps one value a key, so what depends on the run is read only after the
/// other side has said that it is there, or says which run it is of.
pub(crate) mod keys {
    /// The decode node's pages, counters, and this round's page numbers.
    pub(crate) const GRANT: &str = "demo/grant";
    pub(crate) const COUNTERS: &str = "demo/counters";
    pub(crate) const PAGES: &str = "demo/pages";
}

pub(crate) fn run(arguments: &DemoArgs, verbose: u8) -> Result<ExitCode, Failure> {
    let model = Model::from_arguments(arguments)?;
    let own = || nodes::own_config(["prefill", "decode"]);
    let (config, file) = nodes::load(arguments.config.as_deref(), arguments.backend, own)?;
    let channel = |from: &str, to: &str| {
        config.channels.iter().any(|it| it.from == from && it.to == to && it.class.as_str() == Class::Kv.name())
    };
    let (prefill, decode) =
        (config.node_with_role(Role::Prefill)?.0.to_owned(), config.node_with_role(Role::Decode)?.0.to_owned());
    if !channel(&prefill, &decode) && !channel(&decode, &prefill) {
        return Err(format!("the config has no [[channel]] of class `kv` between `{prefill}` and `{decode}`").into());
    }
    let job = Job {
        id: nodes::fresh_id(),
        model,
        tokens: arguments.tokens,
        block_tokens: arguments.block_tokens,
        rounds: arguments.rounds,
        seed: arguments.seed,
        prefill,
        decode,
        corrupt: arguments.corrupt,
        layer_time: arguments.layer_time,
    };
    check(&job, &config)?;
    if !arguments.json {
        introduce(&job, &config);
    }
    let how = How { file: &file, backend: arguments.backend, verbose, quiet: arguments.json, running: None };
    let nodes = Nodes::start(&nodes::Job::Demo(job.clone()), [&job.decode, &job.prefill], &config, &how)?;
    let layers = job.transfers() * u64::from(job.model.layers);
    let bar = if arguments.json { ProgressBar::hidden() } else { ProgressBar::new(layers) };
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} layers  {elapsed}")?);
    let (prefilled, decoded) = figures(&job, &nodes.results(&job.decode, &bar)?)?;
    if let Some(wrong) = &decoded.wrong {
        let plane = job.model.plane_name(wrong.plane);
        crate::tell(&format!(
            "error: wrong byte: layer {}, {plane}, block {} (page {} at decode), byte {}: expected {:#04x}, got {:#04x} \
             (round {})",
            wrong.layer, wrong.block, wrong.page, wrong.byte, wrong.expected, wrong.got, wrong.round
        ));
        return Ok(ExitCode::from(1));
    }
    let prefilled = prefilled.ok_or("the prefill node gave no figures")?;
    let expected = job.bytes() * job.transfers();
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
        let block = human(job.block_bytes());
        return Err(misuse(&format!("a block of {block}: expected less than 4 GiB: lower --block-tokens")));
    }
    if let Some((layer, block)) = job.corrupt
        && (layer >= job.model.layers || block >= job.blocks())
    {
        let (layers, blocks) = (job.model.layers, job.blocks());
        return Err(misuse(&format!(
            "--corrupt {layer},{block}: there are {layers} layers and {blocks} blocks, both counted from 0"
        )));
    }
    let needed = 4 * job.bytes();
    if let Some(available) = machine::memory("MemAvailable")
        && needed > available
    {
        let (needed, available) = (human(needed), human(available));
        return Err(format!("it needs {needed} of memory, {available} are available: lower --tokens").into());
    }
    Ok(())
}

fn introduce(job: &Job, config: &Config) {
    println!("{}: {}", job.model.name, job.model.shape());
    let planes = if job.model.planes == 1 {
        "the latent of a block in one layer: "
    } else {
        "K and V of a block in one layer: 2 x "
    };
    println!(
        "{} tokens = {} blocks of {} tokens; {planes}{}",
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

/// The figures of both sides, or the error of the side that knows best.
fn figures(job: &Job, said: &Results) -> Result<(Option<Prefilled>, Decoded), Failure> {
    let failed = |name: &str, error: &String| Failure::from(format!("node `{name}`: {error}"));
    let silent = Err("it has said nothing".to_owned());
    let of = |name: &str| said.get(name).unwrap_or(&silent);
    let (prefilled, decoded) = (of(&job.prefill), of(&job.decode));
    let decoded: Decoded = match decoded {
        Ok(value) => serde_json::from_value(value.clone())?,
        // The side that broke off, or that is still there, knows more than the other.
        Err(error) => match prefilled {
            Err(other) if error == PEER_CLOSED || !said.contains_key(job.decode.as_str()) => {
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
