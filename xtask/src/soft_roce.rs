//! `cargo xtask soft-roce`: runs a command in one or two small virtual hosts that have a real verbs device, the
//! kernel's rdma_rxe. No RDMA NIC, no /dev/kvm and, once the packages are there, no root is needed.
//!
//! A host sees this machine's whole file system read-only under an overlay in its memory, so what is built here runs
//! there, in the same folder. docs/testing-without-a-nic.md tells the rest.

mod kernel;
mod machines;
mod output;
mod qemu;
mod script;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::error::{At, Error};
use crate::needs::{self, VIRTUAL_HOSTS};
pub(crate) use kernel::Kernel;
pub(crate) use output::{Line, Stream};

/// As timeout(1) has it.
pub(crate) const PAST_THE_TIMEOUT: u8 = 124;
/// Whatever kept the command from being run to its end, and is not its own doing.
pub(crate) const HOST_DID_NOT_COME_UP: u8 = 125;
/// The status of a host whose emulated cable stopped; nothing that ran there is to be judged by it.
pub(crate) const CABLE_HUNG: u8 = 126;

#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Boot one host; two processes in it can talk over its device
    #[command(long_about = RUN_HELP, after_help = EXIT_CODES)]
    Run(Options),
    /// Boot two hosts, joined by a cable for each rail; the same command runs on both
    #[command(long_about = PAIR_HELP, after_help = EXIT_CODES)]
    Pair(Options),
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Devices of a host, 1 to 8: rail R is rxeR at 10.9.R.1 (host 1: 10.9.R.2)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=8))]
    rails: u8,
    /// Processors of a host, 1 to 64 [default: 2, in a pair 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    cpus: Option<u8>,
    /// Memory of a host in MiB, at least 512; what the command writes to files is in it too
    #[arg(long, value_name = "MB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(512..=1_048_576))]
    mem: u32,
    /// Most seconds that the hosts may live, their boot included
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    timeout: u32,
    /// Folder that is $PEGAFLOW_OUT in the hosts, made where it is missing [default: a temporary one, dropped]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// One more variable for the command; may be given again
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = script::variable)]
    variables: Vec<(String, String)>,
    /// Install no packages: where one is missing, say the command that installs it and exit with 125
    #[arg(long)]
    no_install: bool,
    /// Command and its arguments, after `--`; no shell is between
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

const EXIT_CODES: &str = "\
Exit codes:
  the command's own (in a pair the larger of the two), or
  2    the command line was not understood
  124  the hosts were ended at the timeout
  125  a host did not come up, or something needed is missing
  126  the emulated cable between two hosts hung, which is the emulator's fault; run it again";

pub(crate) const HELP: &str = "\
Runs a command in small virtual hosts that have a real verbs device: QEMU boots the distribution's own kernel with its \
rdma_rxe driver (RoCEv2 in software), so neither a NIC nor /dev/kvm is needed. A boot takes some seconds.

A host sees this machine's file system read-only under an overlay in its memory: what is built here runs there, in the \
same folder, as root. What the command writes under $PEGAFLOW_OUT comes back; everything else is gone with the host.

The kernel is unpacked into $XDG_CACHE_HOME/pegaflow/soft-roce (~/.cache where that is not set), never installed. \
Packages that are missing are installed with apt-get, with sudo unless root.

In a host:
  PEGAFLOW_HOST       0 or 1
  PEGAFLOW_HOST_ADDR  its address on rail 0: 10.9.0.1 or 10.9.0.2
  PEGAFLOW_PEER_ADDR  the other host's; with `run` its own
  PEGAFLOW_RAILS      how many rails
  PEGAFLOW_NETDEVS    the interfaces under rxe0, rxe1, ...: \"rail0 rail1 ...\"
  PEGAFLOW_OUT        the folder whose contents come back
PATH, HOME, LANG and the caller's other PEGAFLOW_* variables go over as they are; --env adds to them.

Examples:
  cargo xtask soft-roce run -- ibv_devinfo -v
  cargo xtask soft-roce run --out /tmp/result -- sh -c 'rdma statistic show link rxe0 > $PEGAFLOW_OUT/counters'
  cargo xtask soft-roce pair --rails 2 -- sh -c 'rdma link; ip -brief addr'";

const RUN_HELP: &str = "\
Boots one host and runs the command in it. Its traffic loops inside the driver: two processes can talk over rxe0, but \
`tc netem` on its interface changes nothing (use `pair` for that).

Examples:
  cargo xtask soft-roce run -- true                    does it work here?
  cargo xtask soft-roce run -- sh -c 'ib_write_bw -d rxe0 -x 1 -D 2 >/dev/null & sleep 1; \
ib_write_bw -d rxe0 -x 1 -D 2 $PEGAFLOW_HOST_ADDR'
  cargo xtask soft-roce run --cpus 1 --timeout 60 --env RUST_BACKTRACE=1 -- ./target/debug/some-program";

const PAIR_HELP: &str = "\
Boots two hosts, joined by a cable for each rail, and runs the same command on both; $PEGAFLOW_HOST tells them apart. \
Lines are shown behind [0] or [1]. Each host stays up until both commands have ended.

A cable carries real packets, and `tc` on its interface loses, delays or cuts them.

Examples:
  cargo xtask soft-roce pair -- sh -c 'case $PEGAFLOW_HOST in 0) ib_write_bw -d rxe0 -x 1 ;; \
1) sleep 2; ib_write_bw -d rxe0 -x 1 $PEGAFLOW_PEER_ADDR ;; esac'
  cargo xtask soft-roce pair -- sh -c 'tc qdisc add dev rail0 root netem delay 5ms loss 1%; \
busybox ping -c 20 -i 0.1 $PEGAFLOW_PEER_ADDR'";

/// What is booted, and what runs there.
#[derive(Debug)]
pub(crate) struct Plan {
    /// 1 or 2.
    pub(crate) hosts: u8,
    pub(crate) rails: u8,
    pub(crate) cpus: u8,
    pub(crate) mem_mb: u32,
    pub(crate) timeout: Duration,
    /// An absolute path; comes and goes with the caller.
    pub(crate) out: PathBuf,
    /// Where the command starts.
    pub(crate) folder: PathBuf,
    pub(crate) command: Vec<OsString>,
    pub(crate) variables: Vec<(String, OsString)>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            hosts: 1,
            rails: 1,
            cpus: 2,
            mem_mb: 4096,
            timeout: Duration::from_secs(300),
            out: PathBuf::new(),
            folder: PathBuf::from("/"),
            command: Vec::new(),
            variables: Vec::new(),
        }
    }
}

/// Runs the chore. What fails here and is not the command's own is 125, so that it can't be taken for it.
pub(crate) fn run(mode: &Mode) -> ExitCode {
    let (hosts, options) = match mode {
        Mode::Run(options) => (1, options),
        Mode::Pair(options) => (2, options),
    };
    match command_line(hosts, options) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("soft-roce: {error}");
            ExitCode::from(HOST_DID_NOT_COME_UP)
        }
    }
}

fn command_line(hosts: u8, options: &Options) -> Result<u8, Error> {
    let kernel = prepare(options.no_install, Table::WhereMissing)?;
    let here = Path::new(".");
    let dropped = tempfile::tempdir().at(&env::temp_dir())?;
    let out = options.out.as_deref().unwrap_or(dropped.path());
    fs::create_dir_all(out).at(out)?;
    let plan = Plan {
        hosts,
        rails: options.rails,
        cpus: options.cpus.unwrap_or(if hosts == 2 { 1 } else { 2 }),
        mem_mb: options.mem,
        timeout: Duration::from_secs(options.timeout.into()),
        out: out.canonicalize().at(out)?,
        folder: here.canonicalize().at(here)?,
        command: options.command.clone(),
        variables: variables(&options.variables),
    };
    let statuses = boot(&plan, &kernel, &mut |line| {
        let prefix = if hosts == 2 { format!("[{}] ", line.host) } else { String::new() };
        print(line, &prefix)
    })?;
    Ok(statuses.into_iter().max().unwrap_or(HOST_DID_NOT_COME_UP))
}

/// Whether the table of needs is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Always,
    /// The output is the command's, as long as nothing is in its way.
    WhereMissing,
}

/// Provides what the hosts need, packages unless `no_install`, and the kernel.
pub(crate) fn prepare(no_install: bool, table: Table) -> Result<Kernel, Error> {
    if table == Table::Always || !VIRTUAL_HOSTS.are_met() {
        needs::provide(&VIRTUAL_HOSTS, no_install)?;
    }
    kernel::provide()
}

/// Boots the hosts of `plan`, gives `print` each line of their commands' output, and tells the status of each: its
/// command's, [`PAST_THE_TIMEOUT`], [`HOST_DID_NOT_COME_UP`] or [`CABLE_HUNG`].
pub(crate) fn boot(
    plan: &Plan,
    kernel: &Kernel,
    print: &mut dyn FnMut(&Line) -> Result<(), Error>,
) -> Result<Vec<u8>, Error> {
    machines::run(plan, kernel, print)
}

/// The variables that a host's command sees when it is started from here, with `added`.
pub(crate) fn variables(added: &[(String, String)]) -> Vec<(String, OsString)> {
    script::variables(env::vars_os(), added)
}

/// Passes a line on, at once.
pub(crate) fn print(line: &Line, prefix: &str) -> Result<(), Error> {
    let whole = [prefix.as_bytes(), &line.bytes].concat();
    let written = match line.to {
        Stream::Stdout => io::stdout().write_all(&whole).and_then(|()| io::stdout().flush()),
        Stream::Stderr => io::stderr().write_all(&whole),
    };
    written.at(Path::new("the output"))
}
