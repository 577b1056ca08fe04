//! The command line.

use std::{fmt::Display, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, StringValueParser, TypedValueParser},
    error::ErrorKind,
};
use pegaflow::config::{BackendName, HostPort, Listen};

use crate::{
    Failure,
    bench::args::BenchArgs,
    shell::{CompletionsArgs, ManArgs},
};

/// Moves LLM inference data between processes and hosts: KV cache, weights, activations.
#[derive(Debug, Parser)]
#[command(name = "pegaflow", version = env!("PEGAFLOW_VERSION"), after_help = EXIT, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Tell more on standard error: -v info, -vv debug, -vvv trace.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
}

const EXIT: &str = "\
Exit status:
  0    it is done
  1    it failed, or a byte was wrong; the reason is on standard error
  2    the command line is wrong
  130  Ctrl-C (SIGINT) ended it, and what it had started
  141  whoever read its output has left, as in `pegaflow config show | head -1`
  143  SIGTERM ended it, and what it had started";

/// A mistake in the command line that is seen only once it is parsed; exit status 2.
pub(crate) fn misuse(text: &str) -> Failure {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{text}\n\nFor more information, try '--help'.\n")).into()
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Move one prompt's KV cache from a prefill process to a decode process, and check every byte.
    Demo(DemoArgs),
    /// Measure how fast this machine moves data, beside what it could.
    Bench(BenchArgs),
    /// Be one node of a config, and serve demos that are started elsewhere.
    Node(NodeArgs),
    /// Show the figures of a node that runs.
    Stats(StatsArgs),
    /// Check a config file, or show every value with where it came from.
    Config(ConfigArgs),
    /// Print what makes a shell complete this program's commands and options.
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command.
    Man(ManArgs),
}

const DEMO_HELP: &str = "\
Examples:
  pegaflow demo                                     Llama-3.1-8B, 2048 tokens, over shared memory
  pegaflow demo --tokens 8192 --json                a longer prompt, one JSON object on standard output
  pegaflow demo --model custom --layers 4 --kv-heads 2 --head-dim 64 --dtype fp16
  pegaflow demo --model deepseek-v3 --layer-time 2ms
                                                    what part of the transfer hides behind 2 ms of compute a layer
  pegaflow demo --config pegaflow.toml              the nodes of a config file; those that run already (see
                                                    `pegaflow node`) are used, the others are started

What it does: the layers' K and V (or the one latent of MLA) lie in pages, the block ids scattered at random on both
sides. Each round uses fresh lists and fresh contents: the prefill process writes the blocks layer by layer, each layer
followed by one count; the decode process verifies every block where it landed. In turn with that, one thread copies
lists of the same size between the same mappings with plain memcpy: the limit that the result is compared with.

With --layer-time each round also writes the prompt behind compute: a clock stands for the GPU, layer n is ready n times
that long after the begin and is written then, while the layers after it are computed; the thread polls meanwhile.
hidden_share = 1 - (total - compute) / alone: `total` from the begin to the last layer's end, `compute` layers times
--layer-time, `alone` what the same transfer took without compute in the same round. 1 is all of it, 0 nothing; less says
that they were in each other's way. It is a median over the rounds, hidden_low and hidden_high are its interval.

GB/s are 10^9 bytes a second. JSON keys: backend model layers planes kv_heads head_dim dtype tokens block_tokens blocks
block_bytes bytes rounds seed verified verified_blocks gb_per_s limit limit_gb_per_s share_of_limit share_low share_high
layer_time_us hidden_share hidden_low hidden_high first_layer_us last_layer_us layer_p50_us layer_p99_us
prefill_cpu_seconds decode_cpu_seconds; `limit` and what belongs to it are null where the backend does not map the peer's
memory, `layer_time_us` and hidden_* without --layer-time. layer_p50_us and layer_p99_us are over all transfers, behind
compute or not; all other figures are of those without.";

#[derive(Debug, Args)]
#[command(after_long_help = DEMO_HELP, allow_negative_numbers = true)]
pub(crate) struct DemoArgs {
    /// Whose KV cache: a model's published shape, or `custom` with the options below.
    #[arg(long, value_enum, default_value = "llama-3.1-8b")]
    pub(crate) model: ModelName,
    /// Layers of a custom model.
    #[arg(long, value_parser = number(1..=1024_u32))]
    pub(crate) layers: Option<u32>,
    /// Planes of a layer of a custom model: 2 for K and V, which is the default, or 1 for one latent (MLA).
    #[arg(long, value_parser = number(1..=2_u32))]
    pub(crate) planes: Option<u32>,
    /// KV heads of a custom model; 1 for MLA.
    #[arg(long, value_parser = number(1..=1024_u32))]
    pub(crate) kv_heads: Option<u32>,
    /// Elements of one head of a custom model; for MLA of the latent and its rope key together.
    #[arg(long, value_parser = number(1..=8192_u32))]
    pub(crate) head_dim: Option<u32>,
    /// Element type of the cache of a custom model.
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Dtype>,
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 2048, value_parser = number(1..=1_048_576_u32))]
    pub(crate) tokens: u32,
    /// Tokens of one block (page).
    #[arg(long, default_value_t = 16, value_parser = number(1..=4096_u32))]
    pub(crate) block_tokens: u32,
    /// Rounds, each with fresh lists and contents; the figures are medians over them.
    #[arg(long, default_value_t = 5, value_parser = number(1..=1000_u32))]
    pub(crate) rounds: u32,
    /// Seed of contents and lists; the same seed does the same.
    #[arg(long, default_value_t = 1, value_parser = number(0..=u64::MAX))]
    pub(crate) seed: u64,
    /// Transport; over the config's, or over the default (shm).
    #[arg(long, value_parser = backend())]
    pub(crate) backend: Option<BackendName>,
    /// Config file with a node of role `prefill`, one of role `decode`, and a channel of class `kv` between them.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Pretend that a layer's compute takes this long (500us, 2ms; 1us to 10s), and say what part of the transfer it hides.
    #[arg(long, value_name = "DURATION", value_parser = layer_time)]
    pub(crate) layer_time: Option<Duration>,
    /// One JSON object on standard output instead of the table; no progress bar.
    #[arg(long)]
    pub(crate) json: bool,
    /// Show that the check works: the decode process flips one byte of this layer and block before it verifies.
    #[arg(long, value_name = "LAYER,BLOCK", value_parser = pair)]
    pub(crate) corrupt: Option<(u32, u32)>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Example, in two terminals:
  pegaflow node --config config/pegaflow.toml --name decode
  pegaflow demo --config config/pegaflow.toml

It serves until it is ended (Ctrl-C).")]
pub(crate) struct NodeArgs {
    /// Config file.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Which node of the config.
    #[arg(long)]
    pub(crate) name: String,
    /// Transport, over the config's.
    #[arg(long, value_parser = backend())]
    pub(crate) backend: Option<BackendName>,
    /// Serve this node's figures over HTTP, over the config's metrics.listen: a port of the loopback address, host:port, or
    /// "off".
    #[arg(long, value_name = "LISTEN", value_parser = listen)]
    pub(crate) metrics: Option<Listen>,
    /// End when standard input ends: how a demo ends the nodes that it started.
    #[arg(long, hide = true)]
    pub(crate) until_stdin_ends: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  pegaflow stats --at 127.0.0.1:9400                            where a node said that its figures are
  pegaflow stats --config pegaflow.toml --name decode           found by the node's board
  pegaflow stats --config pegaflow.toml --name decode --watch 2    what came in each two seconds, until Ctrl-C
  pegaflow stats --at 127.0.0.1:9400 --json | jq '.samples[] | select(.name == \"pegaflow_bytes_total\")'

A node serves its figures where its config has [metrics] listen, or `pegaflow node --metrics`. docs/metrics.md lists every
figure. With --json it is what the node serves at /stats.json; with --watch one object a line.")]
pub(crate) struct StatsArgs {
    /// Address of the figures.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port, required_unless_present = "config")]
    pub(crate) at: Option<HostPort>,
    /// Config file, to find the node by its name.
    #[arg(long, value_name = "FILE", requires = "name", conflicts_with = "at")]
    pub(crate) config: Option<PathBuf>,
    /// Which node of the config.
    #[arg(long, requires = "config")]
    pub(crate) name: Option<String>,
    /// Ask again each so many seconds, and show what came in between.
    #[arg(long, value_name = "SECONDS", value_parser = number(1..=86_400_u64))]
    pub(crate) watch: Option<u64>,
    /// JSON on standard output instead of the table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) what: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read and check a file: what is wrong, with file, line, key and what was expected.
    Check {
        /// Config file.
        file: PathBuf,
    },
    /// Every key with its effective value, and where that came from.
    Show {
        /// Config file; without one, the defaults.
        file: Option<PathBuf>,
        /// Transport, over the config's.
        #[arg(long, value_parser = backend())]
        backend: Option<BackendName>,
        /// A JSON array of {key, value, origin}.
        #[arg(long)]
        json: bool,
    },
}

/// Models with published shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelName {
    /// 32 layers, 8 KV heads of 128, bf16.
    #[value(name = "llama-3.1-8b")]
    Llama31_8b,
    /// 80 layers, 8 KV heads of 128, bf16.
    #[value(name = "llama-3.1-70b")]
    Llama31_70b,
    /// 64 layers, 8 KV heads of 128, bf16.
    #[value(name = "qwen3-32b")]
    Qwen3_32b,
    /// 61 layers of one latent, 512 and a rope key of 64, bf16 (MLA).
    #[value(name = "deepseek-v3")]
    DeepseekV3,
    /// Whatever --layers, --kv-heads, --head-dim and --dtype say, and --planes.
    Custom,
}

/// Element types of a KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dtype {
    /// 1 byte.
    Fp8,
    /// 2 bytes.
    Bf16,
    /// 2 bytes.
    Fp16,
    /// 4 bytes.
    Fp32,
}

/// A backend's name; help and completions list them.
pub(crate) fn backend() -> impl TypedValueParser<Value = BackendName> {
    let names = BackendName::ALL.iter().map(|name| name.as_str());
    PossibleValuesParser::new(names).try_map(|name| name.parse())
}

fn host_port(text: &str) -> Result<HostPort, String> {
    text.parse::<HostPort>().map_err(|error| error.to_string())
}

fn listen(text: &str) -> Result<Listen, String> {
    text.parse::<Listen>().map_err(|error| error.to_string())
}

/// A whole number within a range, whose ends the error names.
pub(crate) fn number<T>(range: RangeInclusive<T>) -> impl TypedValueParser<Value = T>
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    StringValueParser::new().try_map(move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected a whole number, {} to {}", range.start(), range.end()))
    })
}

/// A time that a layer of some model takes on some GPU; both sides wait for the next layer longer than the longest.
fn layer_time(text: &str) -> Result<Duration, String> {
    let time = crate::duration::parse(text)?;
    let range = Duration::from_micros(1)..=Duration::from_secs(10);
    range.contains(&time).then_some(time).ok_or_else(|| "expected 1us to 10s".to_owned())
}

pub(crate) fn pair(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once(',').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parsed.ok_or_else(|| "expected two numbers, LAYER,BLOCK, such as 3,17".to_owned())
}
