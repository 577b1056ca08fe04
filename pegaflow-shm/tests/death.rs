//! What a peer has said counts though its death is known first.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use pegaflow_core::{
    BackendError, Capabilities, ChannelId, Class, DeviceEvent, Event, Node, NodeOptions, Poller, Port, State,
    backend::{Domain, Engine, Imported, LocalKey, Memory, Parcel, Reaper},
};
use pegaflow_shm::ShmConfig;
use rustix::event::EventfdFlags;

const PATIENCE: Duration = Duration::from_secs(20);
/// Set in the environment of the peer: the folder of both, and the address to dial.
const DIR: &str = "PEGAFLOW_DEATH_DIR";
const ADDRESS: &str = "PEGAFLOW_DEATH_ADDRESS";

/// Shared memory with a device that holds up the control thread: it says so, and waits to be let go.
struct Slow {
    inner: Arc<dyn Domain>,
    device: OwnedFd,
    held: SyncSender<()>,
    go: Mutex<Receiver<()>>,
}

impl Domain for Slow {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    unsafe fn register(&self, memory: &Memory<'_>) -> Result<LocalKey, BackendError> {
        // SAFETY: the caller's word, passed on.
        unsafe { self.inner.register(memory) }
    }

    fn deregister(&self, key: LocalKey) -> Result<(), BackendError> {
        self.inner.deregister(key)
    }

    fn export(&self, key: LocalKey) -> Result<Parcel, BackendError> {
        self.inner.export(key)
    }

    fn import(&self, parcel: Parcel, bytes: u64) -> Result<Imported, BackendError> {
        self.inner.import(parcel, bytes)
    }

    fn engine(&self, reaper: &Reaper) -> Result<Box<dyn Engine>, BackendError> {
        self.inner.engine(reaper)
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        Some(self.device.as_fd())
    }

    fn attend(&self, _tell: &mut dyn FnMut(u8, DeviceEvent)) {
        rustix::io::read(&self.device, &mut [0_u8; 8]).unwrap();
        self.held.send(()).unwrap();
        self.go.lock().unwrap().recv().unwrap();
    }
}

fn open(domain: Arc<dyn Domain>, name: &str, dir: &Path) -> (Node, Poller<()>) {
    let options = NodeOptions { runtime_dir: dir.to_owned(), ..NodeOptions::new(name) };
    let node = Node::new(domain, options).unwrap();
    let port = node.port(()).unwrap();
    (node, port)
}

fn shm() -> Arc<dyn Domain> {
    pegaflow_shm::open(&ShmConfig::default()).unwrap()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The last state that a poll tells of.
fn news(port: &mut Poller<()>, of: ChannelId) -> Option<State> {
    let mut events = [Event::NONE; 8];
    let count = port.poll(&mut events);
    events[..count].iter().rev().find_map(|event| match *event {
        Event::Channel { channel, state } if channel == of => Some(state),
        _ => None,
    })
}

fn dial(port: &mut Poller<()>, address: &[u8]) -> ChannelId {
    let channel = port.dial(address, Class::Kv, PATIENCE).unwrap();
    let state = until("a channel", || news(port, channel));
    assert!(matches!(state, State::Up { .. }), "{state:?}");
    channel
}

fn next_line(from: &mut impl BufRead) {
    from.read_line(&mut String::new()).unwrap();
}

/// Closes in order when it is told to, and is still there once that is said.
fn be_the_peer(dir: &Path) -> ! {
    let address: Vec<u8> = std::env::var(ADDRESS).unwrap().split(',').map(|byte| byte.parse().unwrap()).collect();
    let (node, mut port) = open(shm(), "peer", dir);
    let channel = dial(&mut port, &address);
    println!("up");
    next_line(&mut std::io::stdin().lock());
    port.close(channel).unwrap();
    assert_eq!(until("the end", || news(&mut port, channel)), State::Closed);
    // The control thread does one thing after the other: what comes up now was asked for after the last word was.
    port.listen(Class::Kv).unwrap();
    dial(&mut port, &node.address());
    println!("closed");
    // Killed meanwhile, where the test goes well.
    next_line(&mut std::io::stdin().lock());
    std::process::exit(0);
}

fn watches() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path().join("comm"));
    tasks.filter(|comm| std::fs::read_to_string(comm).is_ok_and(|name| name.trim() == "pegaflow-watch")).count()
}

/// The control thread learns of the death before it has read what came before it.
#[test]
fn a_peer_that_closed_in_order_and_died_has_closed() {
    if let Some(dir) = std::env::var_os(DIR) {
        be_the_peer(Path::new(&dir));
    }
    let dir = std::env::temp_dir().join(format!("pegaflow-death-{}", std::process::id()));
    let device = rustix::event::eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let ((held, is_held), (go, wait)) = (sync_channel(1), sync_channel(1));
    let domain = Slow { inner: shm(), device: device.try_clone().unwrap(), held, go: Mutex::new(wait) };
    let (node, mut port) = open(Arc::new(domain), "here", &dir);
    port.listen(Class::Kv).unwrap();
    let address: Vec<_> = node.address().iter().map(u8::to_string).collect();
    let mut peer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_peer_that_closed_in_order_and_died_has_closed", "--nocapture"])
        .envs([(DIR, dir.as_os_str()), (ADDRESS, address.join(",").as_ref())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut orders, mut output) = (peer.stdin.take().unwrap(), BufReader::new(peer.stdout.take().unwrap()));
    let mut said = |what: &str| {
        let mut lines = output.by_ref().lines().map(Result::unwrap);
        lines.find(|line| line.ends_with(what)).unwrap();
    };
    let channel = until("the peer", || {
        port.poll(&mut []);
        port.find("peer", Class::Kv)
    });
    said("up");
    assert_eq!(watches(), 1);
    rustix::io::write(&device, &1_u64.to_ne_bytes()).unwrap();
    is_held.recv_timeout(PATIENCE).unwrap();

    orders.write_all(b"close\n").unwrap();
    said("closed");
    peer.kill().unwrap();
    peer.wait().unwrap();
    until("the death to be seen", || (watches() == 0).then_some(()));
    let state = port.state(channel);
    assert!(matches!(state, Some(State::Up { .. })), "nothing was read meanwhile: {state:?}");

    go.send(()).unwrap();
    let end = until("the end", || news(&mut port, channel).filter(|state| !matches!(state, State::Up { .. })));
    assert_eq!(end, State::Closed);
    drop((port, node));
    std::fs::remove_dir_all(dir).unwrap();
}
