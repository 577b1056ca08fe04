//! A node that others throw garbage at, and a good peer of it that talks to it all the while.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use pegaflow_core::{ChannelId, Class, Event, Node, NodeOptions, Poller, Port, State, Submitted, backend::Domain};

use crate::{PATIENCE, numbered, until};

/// How nodes meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Unix,
    Tcp,
}

impl Way {
    fn domain(self) -> Arc<dyn Domain> {
        match self {
            Self::Unix => pegaflow_shm::open(&pegaflow_shm::ShmConfig::default()).unwrap(),
            Self::Tcp => numbered::lenient(),
        }
    }
}

pub(crate) struct Served {
    pub(crate) way: Way,
    pub(crate) node: Node,
    dir: PathBuf,
    /// Messages that the good peer has sent and the node has read.
    rounds: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    /// Neither port is polled.
    pause: Arc<Mutex<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// `None` where this host does not let nodes meet this way.
    pub(crate) fn start(way: Way) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(10);
        if way == Way::Tcp
            && let Err(error) = numbered::open()
        {
            println!("over TCP nothing is tried here: {error}");
            return None;
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("pegaflow-garbage-{}-{number}", std::process::id()));
        let [node, good] = ["served", "good"].map(|name| made(way, &dir, name));
        let mut port = node.port(()).unwrap();
        let mut peer = good.port(()).unwrap();
        for class in Class::ALL {
            port.listen(class).unwrap();
        }
        let channel = peer.dial(&node.address(), Class::Kv, PATIENCE).unwrap();
        let (rounds, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let pause = Arc::<Mutex<()>>::default();
        let (count, end, turns) = (Arc::clone(&rounds), Arc::clone(&stop), Arc::clone(&pause));
        let thread = std::thread::spawn(move || {
            let mut traffic = Traffic { port, peer, channel, there: None, sent: 0 };
            while !end.load(Ordering::Relaxed) {
                let turn = turns.lock().unwrap();
                count.fetch_add(traffic.turn(), Ordering::Relaxed);
                drop(turn);
                std::thread::yield_now();
            }
        });
        let served = Self { way, node, dir, rounds, stop, pause, thread: Some(thread) };
        served.still_serves();
        Some(served)
    }

    /// Another node of the same kind.
    pub(crate) fn another(&self, name: &str) -> Node {
        made(self.way, &self.dir, name)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs while the node's port is not polled.
    pub(crate) fn while_nobody_polls<T>(&self, run: impl FnOnce() -> T) -> T {
        let _pause = self.pause.lock().unwrap();
        run()
    }

    /// The good peer's messages go on, and who dials now is connected.
    #[track_caller]
    pub(crate) fn still_serves(&self) {
        let goes_on = |rounds| {
            assert!(!self.thread.as_ref().unwrap().is_finished(), "the thread of the good peer has ended");
            (self.rounds.load(Ordering::Relaxed) >= rounds).then_some(())
        };
        let before = self.rounds.load(Ordering::Relaxed);
        until("the good peer's messages", || goes_on(before + 100));
        let late = self.another("late");
        let mut port = late.port(()).unwrap();
        let channel = port.dial(&self.node.address(), Class::Bulk, PATIENCE).unwrap();
        let mut state = || {
            port.poll(&mut []);
            port.state(channel)
        };
        let came = until("an answer", || state().filter(|state| *state != State::Connecting));
        assert!(matches!(came, State::Up { .. }), "{came:?}");
        let before = self.rounds.load(Ordering::Relaxed);
        until("the good peer's messages", || goes_on(before + 100));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().unwrap().join();
        let _ = fs::remove_dir_all(&self.dir);
        if let Err(panic) = ended
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn made(way: Way, dir: &Path, name: &str) -> Node {
    let options = NodeOptions { runtime_dir: dir.to_owned(), ..NodeOptions::new(name) };
    Node::new(way.domain(), options).unwrap()
}

struct Traffic {
    port: Poller<()>,
    peer: Poller<()>,
    channel: ChannelId,
    /// The same at the node, which knows it by its first message.
    there: Option<ChannelId>,
    sent: u64,
}

impl Traffic {
    /// Sends what there is room for, and polls both; gives how many messages arrived.
    fn turn(&mut self) -> u64 {
        let state = self.peer.state(self.channel);
        assert!(matches!(state, Some(State::Connecting | State::Up { .. })), "the good peer's channel is {state:?}");
        if let Some(State::Up { .. }) = state {
            let message = self.sent.to_le_bytes();
            let until = Instant::now() + PATIENCE;
            if let Submitted::Accepted(_) = self.peer.send(self.channel, &message, until, self.sent).unwrap() {
                self.sent += 1;
            }
        }
        self.peer.poll(&mut [Event::NONE; 8]);
        let mut events = [Event::NONE; 8];
        let count = self.port.poll(&mut events);
        let mut arrived = 0;
        for event in &events[..count] {
            if let Event::Message { channel, slot, .. } = *event {
                if self.port.peer(channel) == Some("good") {
                    assert_eq!(*self.there.get_or_insert(channel), channel);
                    arrived += 1;
                }
                self.port.release(slot).unwrap();
            }
        }
        arrived
    }
}
