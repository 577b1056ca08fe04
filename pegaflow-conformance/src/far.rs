//! Agents on another host: the server that starts them there, and the driver's line to it.
//!
//! A line is a TCP connection with an agent of its own. Orders go one way and words the other, a JSON value a line each.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Child, ChildStdin, ExitCode},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::{
    cable::{Fault, befall},
    placement::start_agent,
    protocol::{Command, Reply},
};

/// Set where agents are served: the address and port to listen at.
pub(crate) const SERVE: &str = "PEGAFLOW_SERVE_AGENTS";
/// Set where cases are run: the address and port of the server on the other host.
pub(crate) const AGENTS: &str = "PEGAFLOW_AGENTS";

/// More lines at once are refused: a case holds a few.
const MAX_LINES: usize = 64;
/// Between two tries to reach a server that is not up yet, and the most that is waited for it.
const TRY_AGAIN: Duration = Duration::from_millis(100);
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// What the driver wants.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// For the agent, which is started for the first of them.
    Agent(Command),
    /// Send the agent's process a signal, by its number: `Done`.
    Signal(i32),
    /// Kill the agent's process, if there is one, and reap it: `Done`.
    Kill,
    /// Bring this about at that host's end of the cable: `Done`.
    Cable(Fault),
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    Agent(Reply),
    /// What was told is done.
    Done,
    /// The agent's process says no more.
    Ended,
    /// The server could not do what it was told to.
    Refused(String),
}

/// The driver's end.
pub(crate) struct Line {
    to: TcpStream,
    words: Receiver<Word>,
    patience: Duration,
}

impl Line {
    /// Connects to the server, which may be about to start. The agent's answers go to `replies`.
    pub(crate) fn open(replies: Sender<Reply>, patience: Duration) -> Self {
        let server = std::env::var(AGENTS).unwrap_or_else(|_| panic!("{AGENTS} is not set: no agents on another host"));
        let begin = Instant::now();
        let to = loop {
            match TcpStream::connect(&server) {
                Ok(to) => break to,
                Err(error) => assert!(begin.elapsed() < STARTS_WITHIN, "{AGENTS}={server}: {error}"),
            }
            std::thread::sleep(TRY_AGAIN);
        };
        // Lines are short and each is waited for.
        to.set_nodelay(true).expect("an option that every system has");
        let from = to.try_clone().expect("a descriptor");
        let (word, words) = channel();
        std::thread::spawn(move || {
            let mut replies = Some(replies);
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let one = serde_json::from_str(&line)
                    .unwrap_or_else(|error| Word::Refused(format!("no word: {error}: {line}")));
                match (one, &replies) {
                    // Whoever asked may be gone.
                    (Word::Agent(reply), Some(to)) => drop(to.send(reply)),
                    (Word::Ended, _) => replies = None,
                    (other, _) => drop(word.send(other)),
                }
            }
        });
        Self { to, words, patience }
    }

    /// Tells the agent.
    pub(crate) fn command(&mut self, command: Command) -> io::Result<()> {
        say(&mut self.to, &Order::Agent(command))
    }

    /// Sends the agent's process a signal, and waits until that is done.
    #[track_caller]
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.order(&Order::Signal(signal.as_raw())).expect("a signal to the agent");
    }

    /// Kills the agent's process, and waits until it is reaped.
    #[track_caller]
    pub(crate) fn kill(&mut self) {
        self.order(&Order::Kill).expect("the end of the agent");
    }

    /// Brings a fault about at that host's end of the cable, and waits until it is there.
    pub(crate) fn cable(&mut self, fault: &Fault) -> Result<(), String> {
        self.order(&Order::Cable(fault.clone()))
    }

    fn order(&mut self, order: &Order) -> Result<(), String> {
        say(&mut self.to, order).map_err(|error| format!("the server of agents is gone: {error}"))?;
        match self.words.recv_timeout(self.patience) {
            Ok(Word::Refused(why)) => Err(why),
            Ok(_) => Ok(()),
            Err(_) => Err(format!("no word from the server of agents within {:?}", self.patience)),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Before the next case begins this one's agent is gone, or its host is.
        let _ = self.order(&Order::Kill);
        let _ = self.to.shutdown(Shutdown::Both);
    }
}

/// Serves agents until this process is ended.
pub(crate) fn serve(at: &str) -> ExitCode {
    let listener = match TcpListener::bind(at) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("{SERVE}={at}: {error}; expected an address of this host and a port, as in 10.9.1.2:7301");
            return ExitCode::FAILURE;
        }
    };
    println!("agents are served at {at}");
    let lines = Arc::new(AtomicUsize::new(0));
    for line in listener.incoming() {
        let Ok(line) = line else {
            std::thread::sleep(TRY_AGAIN);
            continue;
        };
        if lines.fetch_add(1, Ordering::Relaxed) >= MAX_LINES {
            eprintln!("a line was refused: {MAX_LINES} are open");
            lines.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let lines = Arc::clone(&lines);
        std::thread::spawn(move || {
            if let Err(error) = attend(&line) {
                eprintln!("a line ended: {error}");
            }
            lines.fetch_sub(1, Ordering::Relaxed);
        });
    }
    ExitCode::SUCCESS
}

/// Does what is told on one line; its agent ends with it.
fn attend(line: &TcpStream) -> io::Result<()> {
    line.set_nodelay(true)?;
    let back = Arc::new(Mutex::new(line.try_clone()?));
    let mut ours = Ours::default();
    for order in BufReader::new(line).lines().map_while(Result::ok) {
        match obey(&order, &mut ours, &back) {
            Ok(None) => {}
            Ok(Some(word)) => tell(&back, &word)?,
            Err(why) => tell(&back, &Word::Refused(why))?,
        }
    }
    Ok(())
}

/// What a line has here; it ends with it, however it ends.
#[derive(Default)]
struct Ours {
    agent: Option<Agent>,
    harmed: bool,
}

impl Drop for Ours {
    fn drop(&mut self) {
        // A driver that was killed has healed nothing.
        if self.harmed
            && let Err(why) = befall(&Fault::None)
        {
            eprintln!("the cable was not healed: {why}");
        }
    }
}

fn obey(order: &str, ours: &mut Ours, back: &Arc<Mutex<TcpStream>>) -> Result<Option<Word>, String> {
    let order = serde_json::from_str(order).map_err(|error| format!("no order: {error}: {order}"))?;
    let why = |error: io::Error| error.to_string();
    match order {
        Order::Agent(command) => {
            let agent = match &mut ours.agent {
                Some(agent) => agent,
                none => none.insert(Agent::start(back).map_err(why)?),
            };
            say(&mut agent.commands, &command).map_err(|error| format!("the agent's process has ended: {error}"))?;
            Ok(None)
        }
        Order::Signal(number) => {
            let known = [Signal::STOP, Signal::CONT, Signal::KILL];
            let signal = known.into_iter().find(|signal| signal.as_raw() == number);
            let (Some(signal), Some(agent)) = (signal, &ours.agent) else {
                return Err(format!("signal {number}: expected STOP, CONT or KILL, and an agent that was started"));
            };
            rustix::process::kill_process(Pid::from_child(&agent.child), signal).map_err(|errno| why(errno.into()))?;
            Ok(Some(Word::Done))
        }
        Order::Kill => {
            // Killed and reaped by its drop.
            ours.agent = None;
            Ok(Some(Word::Done))
        }
        Order::Cable(fault) => {
            ours.harmed = fault != Fault::None;
            befall(&fault).map(|()| Some(Word::Done))
        }
    }
}

/// The agent of one line.
struct Agent {
    commands: ChildStdin,
    child: Child,
}

impl Agent {
    fn start(back: &Arc<Mutex<TcpStream>>) -> io::Result<Self> {
        let (child, commands, output) = start_agent()?;
        let back = Arc::clone(back);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let reply = serde_json::from_str(&line)
                    .unwrap_or_else(|error| Reply::Failed(format!("no reply: {error}: {line}")));
                if tell(&back, &Word::Agent(reply)).is_err() {
                    return;
                }
            }
            // Where it fails the driver is gone too.
            let _ = tell(&back, &Word::Ended);
        });
        Ok(Self { commands, child })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tell(back: &Mutex<TcpStream>, word: &Word) -> io::Result<()> {
    say(&mut *back.lock().unwrap_or_else(PoisonError::into_inner), word)
}

/// Writes a value as a line of JSON.
pub(crate) fn say(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line).and_then(|()| to.flush())
}
