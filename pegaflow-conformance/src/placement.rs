//! Where the agent lives: a thread of this process, this binary started again, or the same on another host. Bounded in
//! every wait, ended on drop.

use std::{
    io::{self, BufRead},
    process::{Child, ChildStdin, ChildStdout, Command as Process, ExitCode, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use rustix::process::{Pid, Signal};

use crate::{
    Backend, agent,
    far::{Line, say},
    protocol::{Command, Reply},
};

/// Set in the environment of a child: it is an agent.
const AGENT: &str = "PEGAFLOW_CONFORMANCE_AGENT";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placement {
    OneProcess,
    TwoProcesses,
    TwoHosts,
}

impl Placement {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OneProcess => "one_process",
            Self::TwoProcesses => "two_processes",
            Self::TwoHosts => "two_hosts",
        }
    }
}

/// How long the cases that watch memory do so.
pub(crate) fn watch_time() -> Duration {
    let seconds = std::env::var("PEGAFLOW_SECONDS").ok();
    let seconds = seconds.map(|text| text.parse().expect("PEGAFLOW_SECONDS is a number of seconds"));
    Duration::from_secs_f64(seconds.unwrap_or(2.0))
}

/// The driver's handle to the agent.
pub(crate) struct Peer {
    to: To,
    patience: Duration,
    replies: Receiver<Reply>,
}

enum To {
    Thread { commands: Option<Sender<Command>>, thread: Option<JoinHandle<()>> },
    Child { commands: ChildStdin, child: Child },
    Far(Line),
}

impl Peer {
    pub(crate) fn start(backend: Backend, placement: Placement) -> Self {
        let (reply, replies) = channel();
        let to = match placement {
            Placement::OneProcess => {
                let (commands, receiver) = channel();
                let thread = std::thread::Builder::new()
                    .name("agent".to_owned())
                    .spawn(move || agent::serve(backend, &receiver, |one| drop(reply.send(one))))
                    .expect("a thread");
                To::Thread { commands: Some(commands), thread: Some(thread) }
            }
            Placement::TwoProcesses => {
                let (child, commands, output) = start_agent().expect("this binary, again");
                std::thread::spawn(move || {
                    for line in std::io::BufReader::new(output).lines().map_while(Result::ok) {
                        let one = serde_json::from_str(&line)
                            .unwrap_or_else(|error| Reply::Failed(format!("no reply: {error}: {line}")));
                        if reply.send(one).is_err() {
                            return;
                        }
                    }
                });
                To::Child { commands, child }
            }
            Placement::TwoHosts => To::Far(Line::open(reply, backend.patience)),
        };
        Self { to, replies, patience: backend.patience }
    }

    /// Gives a command without waiting for its answer, which [`Peer::answer`] must then take.
    #[track_caller]
    pub(crate) fn begin(&mut self, command: Command) {
        match &mut self.to {
            To::Thread { commands, .. } => {
                commands.as_ref().expect("kept until the drop").send(command).expect("the agent's thread has ended")
            }
            To::Child { commands, .. } => say(commands, &command).expect("the agent's process has ended"),
            To::Far(line) => line.command(command).expect("the server of agents is gone"),
        }
    }

    /// The answer to the last command, if it comes within `wait`.
    #[track_caller]
    pub(crate) fn answer_within(&mut self, wait: Duration) -> Option<Reply> {
        match self.replies.recv_timeout(wait) {
            Ok(Reply::Failed(why)) => panic!("the agent: {why}"),
            Ok(reply) => Some(reply),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the agent has ended"),
        }
    }

    /// The answer to the last command, or what the agent said of it, if that comes within `wait`.
    #[track_caller]
    pub(crate) fn outcome_within(&mut self, wait: Duration) -> Option<Result<Reply, String>> {
        match self.replies.recv_timeout(wait) {
            Ok(Reply::Failed(why)) => Some(Err(why)),
            Ok(reply) => Some(Ok(reply)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the agent has ended"),
        }
    }

    /// What the agent said of the last command, which it was not to do, if that comes within `wait`.
    #[track_caller]
    pub(crate) fn failure_within(&mut self, wait: Duration) -> Option<String> {
        match self.replies.recv_timeout(wait) {
            Ok(Reply::Failed(why)) => Some(why),
            Ok(reply) => panic!("{reply:?} for a refusal"),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the agent has ended"),
        }
    }

    /// The answer to the last command. The agent's own waits are bounded; this bound is above theirs.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Reply {
        self.answer_within(2 * self.patience + watch_time()).expect("no answer from the agent")
    }

    /// Gives a command and waits for its answer. Nothing is polled here meanwhile.
    #[track_caller]
    pub(crate) fn call(&mut self, command: Command) -> Reply {
        self.begin(command);
        self.answer()
    }

    /// Sends a signal to the agent's process.
    #[track_caller]
    pub(crate) fn signal(&mut self, signal: Signal) {
        match &mut self.to {
            To::Child { child, .. } => {
                rustix::process::kill_process(Pid::from_child(child), signal).expect("the child is not reaped yet");
            }
            To::Far(line) => line.signal(signal),
            To::Thread { .. } => panic!("a thread takes no signal: the case is for two processes"),
        }
    }

    /// Kills the agent's process and reaps it.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        match &mut self.to {
            To::Far(line) => line.kill(),
            To::Child { child, .. } => {
                child.kill().expect("the child is not reaped yet");
                child.wait().expect("a child that was killed");
            }
            To::Thread { .. } => panic!("a thread can't be killed: the case is for two processes"),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        match &mut self.to {
            To::Thread { commands, thread } => {
                *commands = None;
                if let Some(thread) = thread.take() {
                    // Its waits are bounded; a panic in it was told by the panic hook.
                    let _ = thread.join();
                }
            }
            To::Child { child, .. } => {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
            // Ends its agent itself.
            To::Far(_) => {}
        }
    }
}

/// A process that lives on when its agent is killed; at the latest it ends with the agent's standard input.
pub(crate) struct Outliving(Pid);

impl Outliving {
    pub(crate) fn new(id: u64) -> Self {
        Self(i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id"))
    }

    /// What it has in memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).expect("it lives");
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        1024 * kib.expect("a process with memory").parse::<u64>().expect("a number")
    }

    pub(crate) fn end(&self) {
        rustix::process::kill_process(self.0, Signal::KILL).expect("it lives");
    }
}

/// Starts this binary again as an agent; with what to write its commands to and to read its answers from.
pub(crate) fn start_agent() -> io::Result<(Child, ChildStdin, ChildStdout)> {
    let mut child =
        Process::new(std::env::current_exe()?).env(AGENT, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    match (child.stdin.take(), child.stdout.take()) {
        (Some(commands), Some(output)) => Ok((child, commands, output)),
        _ => Err(io::Error::other("a child without the pipes that were asked for")),
    }
}

/// Whether this process was started as an agent.
pub(crate) fn is_agent() -> bool {
    std::env::var_os(AGENT).is_some()
}

/// The agent's process: commands on standard input, answers on standard output, one JSON value a line. It ends with
/// its input, whatever it is doing: so it never outlives the driver.
pub(crate) fn run_agent(backend: Backend) -> ExitCode {
    let (sender, commands) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let Ok(command) = serde_json::from_str(&line) else { break };
            if sender.send(command).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    agent::serve(backend, &commands, |reply| {
        // Where it fails the driver is gone, and so will this process be.
        let _ = say(&mut std::io::stdout().lock(), &reply);
    });
    ExitCode::SUCCESS
}
