//! How long after a peer on the same host is killed its channel is told broken, beside the end of a plain socket to it:
//! the rival, and what the channel would be told by without the futex of `node::life`.
//!
//! ```console
//! cargo bench -p pegaflow-bench --bench peer_death
//! ```
//!
//! The peer is this program started again. It has touched so much memory, in pages of 4 KiB, and is idle.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use pegaflow_bench::stats::median;
use pegaflow_core::{Armed, ChannelId, Class, Event, Node, NodeOptions, Poller, Port, State};
use rustix::event::{PollFd, PollFlags, Timespec};

const PATIENCE: Duration = Duration::from_secs(60);
/// Set in the environment of the peer: its folder, and the bytes to touch.
const DIR: &str = "PEGAFLOW_BENCH_DIR";
const BYTES: &str = "PEGAFLOW_BENCH_BYTES";

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
const ROUNDS: usize = 9;

fn main() {
    if let Some(dir) = std::env::var_os(DIR) {
        be_the_peer(Path::new(&dir));
        return;
    }
    // Run as a test, it shows that it works.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let (sizes, rounds) = if measured { (&[0.1, 1.0, 8.0][..], ROUNDS) } else { (&[0.01][..], 1) };
    println!("From the kill of an idle peer to ..., in ms: the median of {rounds} rounds, and their range");
    println!("{:>12}{:>28}{:>28}", "peer's GiB", "the channel's event", "the end of a socket");
    for &gib in sizes {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some GiB")]
        let bytes = (gib * GIB) as u64;
        let (events, sockets): (Vec<_>, Vec<_>) = (0..rounds).map(|_| round(bytes)).unzip();
        println!("{gib:>12}{:>28}{:>28}", text(&events), text(&sockets));
    }
}

fn text(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    format!("{:.2} [{low:.2}, {high:.2}]", median(values).expect("a round at least"))
}

/// Kills a peer of so many bytes; gives the milliseconds until the event, and until the socket's end.
fn round(bytes: u64) -> (f64, f64) {
    let dir = tempfile::tempdir().expect("a folder for the sockets");
    let mut peer = Command::new(std::env::current_exe().expect("the path of this program"))
        .env(DIR, dir.path())
        .env(BYTES, bytes.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program, again");
    let address = BufReader::new(peer.stdout.take().expect("asked for")).lines().next().expect("an address");
    let address = address.expect("an address");
    let address: Vec<u8> = address.split(',').map(|byte| byte.parse().expect("a byte")).collect();
    let (_node, mut port) = open("survivor", dir.path());
    let channel = port.dial(&address, Class::Kv, PATIENCE).expect("an address");
    assert!(matches!(next(&mut port, channel).0, State::Up { .. }));
    let mut socket = UnixStream::connect(dir.path().join("plain")).expect("the peer's");
    let ended = std::thread::spawn(move || {
        assert_eq!(socket.read(&mut [0]).expect("the end"), 0);
        Instant::now()
    });
    // Everybody sleeps.
    std::thread::sleep(Duration::from_millis(100));

    let killed = Instant::now();
    peer.kill().expect("a peer");
    let (state, told) = next(&mut port, channel);
    assert!(matches!(state, State::Broken(_)), "{state:?}");
    let ended = ended.join().expect("no panic");
    peer.wait().expect("a peer");
    let milliseconds = |at: Instant| (at - killed).as_secs_f64() * 1e3;
    (milliseconds(told), milliseconds(ended))
}

fn open(name: &str, dir: &Path) -> (Node, Poller<()>) {
    let mut options = NodeOptions::new(name);
    options.runtime_dir = dir.to_owned();
    let domain = pegaflow_shm::open(&pegaflow_shm::ShmConfig::default()).expect("the backend");
    let node = Node::new(domain, options).expect("a node");
    let port = node.port(()).expect("a port");
    (node, port)
}

/// The next state of a channel and when it was told, asleep until then.
fn next(port: &mut Poller<()>, of: ChannelId) -> (State, Instant) {
    let mut events = [Event::NONE; 8];
    loop {
        let count = port.poll(&mut events);
        for event in &events[..count] {
            match *event {
                Event::Channel { channel, state } if channel == of => return (state, Instant::now()),
                _ => {}
            }
        }
        if let Armed::Sleep { .. } = port.arm() {
            let patience = Timespec::try_from(PATIENCE).expect("some seconds");
            let fd = port.fd();
            let woken = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&patience));
            assert_ne!(woken.expect("poll"), 0, "nothing happened in {PATIENCE:?}");
        }
    }
}

/// Touches memory, opens a node and a plain socket, says its address, and sleeps until it is killed.
fn be_the_peer(dir: &Path) {
    let bytes: usize = std::env::var(BYTES).expect("set with the folder").parse().expect("a number");
    let mut memory = vec![0_u8; bytes];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    let (node, mut port) = open("victim", dir);
    port.listen(Class::Kv).expect("nobody else listens");
    let plain = UnixListener::bind(dir.join("plain")).expect("a socket");
    let address: Vec<_> = node.address().iter().map(u8::to_string).collect();
    println!("{}", address.join(","));
    std::thread::spawn(move || {
        let mut port = port;
        let fd_sleep = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        while port.find("survivor", Class::Kv).is_none() {
            port.poll(&mut []);
            let fd = port.fd();
            let _ = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&fd_sleep));
        }
        loop {
            std::thread::park();
        }
    });
    let _socket = plain.accept().expect("the survivor");
    // Its end is the survivor's, should that come first.
    let _ = std::io::stdin().read(&mut [0]);
    std::hint::black_box(&memory);
}
