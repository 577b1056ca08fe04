//! Nodes that work together for a demo or a bench: found running or started here, told what to do, and listened to until
//! they have said what came of it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::TcpListener,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use pegaflow::{
    Session,
    config::{BackendName, Config, HostPort},
    rendezvous::{RendezvousError, TcpBoard},
};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};

use crate::{Failure, bench, demo};

/// How long a node that was started here may take to come up.
const START: Duration = Duration::from_secs(20);
/// How long the nodes may be silent before a job is given up; longer than they wait for each other.
const SILENCE: Duration = Duration::from_secs(120);
/// How long the other side has to say why, once one has failed; it may be dead.
const OTHER: Duration = Duration::from_secs(3);
/// How often the progress is asked for.
const LOOK: Duration = Duration::from_millis(100);

/// What a node is told to do; both sides of a job are told the same.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Job {
    Demo(demo::Job),
    Bench(bench::Job),
}

impl Job {
    /// Names this run on the boards.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Demo(job) => &job.id,
            Self::Bench(job) => &job.id,
        }
    }
}

/// A name for a run that no other has.
pub(crate) fn fresh_id() -> String {
    format!("{:016x}", fastrand::u64(..))
}

/// Where things lie on the boards. A board keeps one value a key, so what depends on the run is read only after the
/// other side has said that it is there, or says which run it is of.
pub(crate) mod keys {
    /// The [`Job`](super::Job), on both nodes' boards.
    pub(crate) const JOB: &str = "job";
    /// [`Said`](super::Said), by both nodes.
    pub(crate) const RESULT: &str = "result";
    /// [`Progress`](super::Progress), by one of them.
    pub(crate) const PROGRESS: &str = "progress";
}

/// What a node has to say at the end of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) id: String,
    pub(crate) result: Result<serde_json::Value, String>,
}

/// How far a node is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) id: String,
    pub(crate) done: u64,
}

/// What the nodes said, by name; one that has failed may have left the other silent.
pub(crate) type Results = BTreeMap<String, Result<serde_json::Value, String>>;

/// The config that the nodes read.
pub(crate) enum File {
    Given(PathBuf),
    /// In memory, open as long as this is: however this process ends, nothing is left behind.
    Own {
        path: PathBuf,
        _memory: fs::File,
    },
}

impl File {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Given(path) | Self::Own { path, .. } => path,
        }
    }
}

/// The config file that was given, or one of its own with the text that `own` makes, and what it says.
pub(crate) fn load(
    given: Option<&Path>,
    backend: Option<BackendName>,
    own: impl FnOnce() -> Result<String, Failure>,
) -> Result<(Config, File), Failure> {
    let (mut config, file) = match given {
        Some(path) => (Config::load(path)?, File::Given(path.to_owned())),
        None => {
            let mut memory = fs::File::from(memfd_create("pegaflow.toml", MemfdFlags::CLOEXEC)?);
            memory.write_all(own()?.as_bytes())?;
            // The nodes open it anew, so it is named by this process's number.
            let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd()));
            (Config::load(&path)?, File::Own { path, _memory: memory })
        }
    };
    if let Some(backend) = backend {
        config.override_backend(backend);
    }
    Ok((config, file))
}

/// Two nodes on free ports of this host, and a channel of class `kv` from the first to the second.
pub(crate) fn own_config(names: [&str; 2]) -> Result<String, Failure> {
    // Both are held until both are chosen, so that they differ.
    let (first, second) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let (first, second) = (first.local_addr()?, second.local_addr()?);
    let [from, to] = names;
    Ok(format!(
        "[node.{from}]\nlisten = \"{first}\"\nrole = \"prefill\"\n\n[node.{to}]\nlisten = \"{second}\"\nrole = \"decode\"\n\n\
         [[channel]]\nfrom = \"{from}\"\nto = \"{to}\"\nclass = \"kv\"\n"
    ))
}

/// How nodes are started.
pub(crate) struct How<'a> {
    pub(crate) file: &'a File,
    pub(crate) backend: Option<BackendName>,
    pub(crate) verbose: u8,
    /// Nothing on standard output.
    pub(crate) quiet: bool,
    /// A node that is not started here: it has to run already.
    pub(crate) running: Option<&'a str>,
}

/// Nodes that were started here; dropping them ends their processes.
struct Started(Vec<Child>);

impl Drop for Started {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The two nodes of a job, at work.
pub(crate) struct Nodes {
    id: String,
    names: [String; 2],
    board: TcpBoard,
    started: Started,
}

impl Nodes {
    /// Makes sure that both nodes run, and posts the job on their boards.
    pub(crate) fn start(job: &Job, names: [&str; 2], config: &Config, how: &How<'_>) -> Result<Self, Failure> {
        let any: HostPort = "127.0.0.1:0".parse()?;
        let board = TcpBoard::start("steering", &any, config.addresses())?;
        let started = Started(Vec::new());
        let mut nodes = Self { id: job.id().to_owned(), names: names.map(str::to_owned), board, started };
        for name in names {
            let runs = matches!(how.file, File::Given(_)) && nodes.runs(name);
            if how.running == Some(name) && !runs {
                let listen = &config.node(name)?.listen;
                let file = how.file.path().display();
                return Err(format!(
                    "node `{name}` does not answer at {listen}: start it there with `pegaflow node --config {file} --name {name}`"
                )
                .into());
            }
            if runs {
                if !how.quiet {
                    println!("node `{name}` runs already at {}", config.node(name)?.listen);
                }
            } else {
                if matches!(how.file, File::Given(_)) && !how.quiet {
                    println!("node `{name}` does not answer at {}: it is started here", config.node(name)?.listen);
                }
                nodes.started.0.push(spawn(name, how)?);
            }
        }
        let text = serde_json::to_vec(job)?;
        for name in names {
            nodes.post(name, &text)?;
        }
        Ok(nodes)
    }

    /// Whether a node answers.
    fn runs(&self, name: &str) -> bool {
        self.board.fetch_blocking(name, Session::ADDRESS_KEY, None, Duration::from_millis(300)).is_ok()
    }

    fn post(&mut self, name: &str, text: &[u8]) -> Result<(), Failure> {
        let until = Instant::now() + START;
        loop {
            match self.board.post_blocking(name, keys::JOB, text.to_vec(), Duration::from_millis(250)) {
                Ok(()) => return Ok(()),
                Err(error @ RendezvousError::NoAnswer { .. }) => {
                    self.ended()?;
                    if Instant::now() >= until {
                        return Err(error.into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A node that has ended can't be waited for.
    fn ended(&mut self) -> Result<(), Failure> {
        for child in &mut self.started.0 {
            if let Some(status) = child.try_wait()? {
                return Err(format!("a node ended before its work did ({status}); its reason is above").into());
            }
        }
        Ok(())
    }

    /// Draws how far `teller` is until both nodes have a result, or one has failed, or died, or done what there was to tell,
    /// and the other says nothing; then ends those that were started here.
    pub(crate) fn results(mut self, teller: &str, bar: &ProgressBar) -> Result<Results, Failure> {
        let mut said = Results::new();
        let (mut version, mut heard, mut died) = (None, Instant::now(), None);
        while said.len() < self.names.len() {
            if let Ok(news) = self.board.fetch_blocking(teller, keys::PROGRESS, version, LOOK) {
                let progress: Progress = serde_json::from_slice(&news.bytes)?;
                version = Some(news.version);
                if progress.id == self.id {
                    bar.set_position(progress.done);
                    heard = Instant::now();
                }
            }
            for name in &self.names {
                if !said.contains_key(name)
                    && let Ok(result) = self.board.fetch_blocking(name, keys::RESULT, None, Duration::ZERO)
                    && let Ok(one) = serde_json::from_slice::<Said>(&result.bytes)
                    && one.id == self.id
                {
                    said.insert(name.clone(), one.result);
                    heard = Instant::now();
                }
            }
            if let Err(error) = self.ended()
                && died.get_or_insert_with(Instant::now).elapsed() > OTHER
            {
                // The other may have noticed, and said more.
                if said.is_empty() {
                    return Err(error);
                }
                break;
            }
            let over = said.contains_key(teller) || said.values().any(Result::is_err);
            if over && heard.elapsed() > OTHER {
                break;
            }
            if heard.elapsed() > SILENCE {
                return Err(format!("neither node has said anything for {SILENCE:?}").into());
            }
        }
        bar.finish_and_clear();
        Ok(said)
    }
}

fn spawn(name: &str, how: &How<'_>) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["node", "--until-stdin-ends", "--name", name, "--config"]).arg(how.file.path());
    // What is said of a backend is said by the nodes.
    command.args((0..how.verbose).map(|_| "-v"));
    if let Some(backend) = how.backend {
        command.args(["--backend", backend.as_str()]);
    }
    // Its errors are told on this process's standard error; its standard input ends with this process.
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    tracing::info!(node = name, process = child.id(), "a node is started");
    Ok(child)
}
