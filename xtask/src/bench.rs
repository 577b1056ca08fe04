//! `cargo xtask bench`: what Pegaflow costs, counted rather than timed where that can be, beside a rival that does the
//! same work.

mod callgrind;
mod counts;
mod gate;
mod instructions;

use clap::{Args, Subcommand};

use crate::EXIT_CODES;
use crate::command::{self, Target};
use crate::error::Error;
use crate::needs::{self, Needs};

pub(crate) const HELP: &str = "\
Measures what Pegaflow costs, beside a rival that does the same work. Figures are shown and never judged: one that got \
worse fails nothing. docs/benchmarks keeps those that were published, and says what a record must have.

Examples:
  cargo xtask bench instructions            what a block costs the processor, beside the least loop over verbs
  cargo xtask bench counts                  what a megabyte costs the device, beside perftest
  cargo xtask bench gate                    shared memory beside the machine's limit, with the bounds set for it
  cargo xtask bench instructions --json     one object, for scripts";

const INSTRUCTIONS_HELP: &str = "\
Counts the instructions that one block costs over verbs, and its nanoseconds, beside the least loop that does the same: \
blocks of 8 bytes, scattered so that none can be merged, over the stand-in provider, which moves bytes at native speed. \
So it is the cost of software alone; there is no wire in it.

The bench `per_block` runs under valgrind's callgrind with two numbers of transfers, whose difference is free of what is \
done once; and once natively, for the time. The same for what the recorder of \
figures adds to a transfer. Instructions are the same from run to run for one build. The time is a median \
with an interval that covers it with 95 %, and depends on the machine and who else uses it.

It takes some seconds, and minutes where the bench has to be built.

Examples:
  cargo xtask bench instructions
  cargo xtask bench instructions --json | jq .instructions_per_block.difference
  cargo xtask bench instructions --no-install     where valgrind is missing, say how to install it";

const COUNTS_HELP: &str = "\
Counts what a megabyte (10^6 bytes) costs the device: requests, doorbells, signalled completions, packets sent. In one \
virtual Soft-RoCE host (see `cargo xtask soft-roce --help`) a node dials itself and writes blocks of 64 KiB, scattered \
and adjacent, then ib_write_bw of perftest writes as many, as deep and as chained; in turn, several times.

Requests, doorbells and completions are Pegaflow's own counts (`Poller::work`), which a test holds to what a device saw; \
perftest's follow from its arguments. Packets are the device's own, in both cases, acknowledgements and repetitions \
included: those vary from run to run, so their ratio comes with its range. Nothing is said of speed: the device is \
emulated.

It takes a minute or two.

Examples:
  cargo xtask bench counts
  cargo xtask bench counts --json | jq .ratios.scattered";

const GATE_HELP: &str = "\
Runs `pegaflow bench` over shared memory, row by row, and shows each figure with the bound that the project has set itself: \
writes and reads of scattered blocks as a share of one thread's memcpy between the same mappings, the latency of a small \
write, and of a count. A figure outside its bound is shown and fails nothing.

It takes half a minute, and minutes where the program has to be built.

Examples:
  cargo xtask bench gate
  cargo xtask bench gate --seconds 10                longer, on a busy machine
  cargo xtask bench gate --json | jq '.rows[] | select(.holds | not)'";

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// What a block costs the processor: instructions and nanoseconds, beside the least loop over verbs
    #[command(long_about = INSTRUCTIONS_HELP, after_help = EXIT_CODES)]
    Instructions(Options),
    /// What a megabyte costs the device: requests, doorbells, completions and packets, beside perftest
    #[command(long_about = COUNTS_HELP, after_help = EXIT_CODES)]
    Counts(Options),
    /// Shared memory beside the machine's limit, row by row, with the bounds that the project has set itself
    #[command(long_about = GATE_HELP, after_help = EXIT_CODES)]
    Gate(gate::GateOptions),
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print one JSON object and nothing else; nothing is installed then, for that would be shown
    #[arg(long)]
    json: bool,
    /// Install nothing: where something is missing, say the command that installs it and exit with 1
    #[arg(long)]
    no_install: bool,
}

impl Options {
    fn installs_nothing(&self) -> bool {
        self.no_install || self.json
    }
}

pub(crate) fn run(mode: &Mode) -> Result<(), Error> {
    match mode {
        Mode::Instructions(options) => instructions::run(options),
        Mode::Counts(options) => counts::run(options),
        Mode::Gate(options) => gate::run(options),
    }
}

/// Provides `needs`; shows them only where one is missing, for the output is that of the figures.
fn provide(needs: &Needs, options: &Options) -> Result<(), Error> {
    if needs.are_met() { Ok(()) } else { needs::provide(needs, options.installs_nothing()) }
}

/// Builds a bench of pegaflow-bench, optimized, and tells where its executable lies.
fn build(name: &'static str) -> Result<String, Error> {
    let target = Target { package: "pegaflow-bench", kind: "bench", name };
    command::build(target, &["bench", "--no-run", "--package", "pegaflow-bench", "--bench", name])
}

/// `total` over `parts`.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn share(total: u64, parts: u64) -> f64 {
    total as f64 / parts as f64
}
