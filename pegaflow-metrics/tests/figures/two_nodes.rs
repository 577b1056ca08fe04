//! Two nodes of one process, a channel between them, and recorders at both ends.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use pegaflow_core::{
    Access, AllocateOptions, Armed, Audience, Batch, Bounds, ChannelId, Class, Counter, Event, Grant, Node,
    NodeOptions, Op, Outcome, Piece, Plan, Plane, Poller, Port, Region, Shape, State, Submitted, Table, Then,
    TransferId, Window,
};
use pegaflow_metrics::{Exporter, Metrics, Recorder};
use tempfile::TempDir;

pub(crate) const BLOCK: u32 = 4096;
pub(crate) const BLOCKS: u32 = 64;
const PATIENCE: Duration = Duration::from_secs(30);

/// One node.
pub(crate) struct Side {
    pub(crate) node: Node,
    pub(crate) metrics: Metrics,
    pub(crate) port: Poller<Recorder>,
    pub(crate) channel: ChannelId,
    pub(crate) pool: Region,
    /// Everything that was handed out.
    pub(crate) events: Vec<Event>,
}

impl Side {
    /// Polls once, and gives messages back at once.
    pub(crate) fn turn(&mut self) {
        let mut events = [Event::NONE; 16];
        let count = self.port.poll(&mut events);
        for event in &events[..count] {
            if let Event::Message { slot, .. } = *event {
                self.port.release(slot).unwrap();
            }
            self.events.push(*event);
        }
    }

    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (u64, Outcome, u64)> {
        self.events.iter().filter_map(|event| match *event {
            Event::Ended { tag, outcome, bytes, .. } => Some((tag, outcome, bytes)),
            _ => None,
        })
    }

    pub(crate) fn state(&self) -> Option<State> {
        self.events.iter().rev().find_map(|event| match *event {
            Event::Channel { state, .. } => Some(state),
            _ => None,
        })
    }
}

/// `here` sends, `there` receives.
pub(crate) struct TwoNodes {
    pub(crate) here: Side,
    pub(crate) there: Side,
    pub(crate) write: Plan,
    pub(crate) read: Plan,
    /// Lets go of what `here` writes when it is dropped.
    _grant: Grant,
    pub(crate) counter: Counter,
    pub(crate) exporter: Exporter,
    _folder: TempDir,
}

fn bounds() -> [Bounds; 3] {
    Class::ALL.map(|class| Bounds { transfers: 8, blocks: 256, messages: 4, ..Bounds::of(class) })
}

fn node(name: &str, folder: &TempDir) -> Node {
    let mut options = NodeOptions::new(name);
    options.runtime_dir = folder.path().to_owned();
    options.bounds = bounds();
    Node::new(pegaflow_shm::open(&pegaflow_shm::ShmConfig::default()).unwrap(), options).unwrap()
}

impl TwoNodes {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nodes = ["here", "there"].map(|name| node(name, &folder));
        let metrics = [&nodes[0], &nodes[1]].map(Metrics::new);
        let mut ports = [0, 1].map(|at: usize| nodes[at].port(metrics[at].recorder()).unwrap());
        let [here, there] = &mut ports;
        there.listen(Class::Kv).unwrap();
        let dialled = here.dial(&nodes[1].address(), Class::Kv, PATIENCE).unwrap();
        let until = Instant::now() + PATIENCE;
        let found = loop {
            here.poll(&mut []);
            there.poll(&mut []);
            let up = matches!(here.state(dialled), Some(State::Up { .. }));
            if let (Some(found), true) = (there.find("here", Class::Kv), up) {
                break found;
            }
            assert!(Instant::now() < until, "no channel");
            std::thread::sleep(Duration::from_millis(1));
        };
        let pools = [0, 1].map(|at: usize| {
            nodes[at].allocate(u64::from(BLOCK) * u64::from(BLOCKS), &AllocateOptions::default()).unwrap()
        });
        let windows = [0, 1].map(|at: usize| [Window::whole(&pools[at])]);
        let both = Access { write: true, read: true };
        let grant = nodes[1].grant(&windows[1], both, Audience::Channel(found)).unwrap();
        let remote = nodes[0].import(dialled, grant.as_bytes(), PATIENCE).unwrap();
        let (planes, pieces) = ([Plane { window: 0, offset: 0 }], [Piece::whole(BLOCK)]);
        let shape = Shape::Paged(Table::plain(&planes, BLOCKS, BLOCK.into()), &pieces);
        let plan = |op| nodes[0].plan(op, (&windows[0], shape), (&remote, shape)).unwrap();
        let (write, read) = (plan(Op::Write), plan(Op::Read));
        let counter = there.counter(found).unwrap().unwrap();
        let exporter = Exporter::start(metrics[0].clone(), SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let mut sides = nodes.into_iter().zip(metrics).zip(ports).zip([dialled, found]).zip(pools).map(
            |((((node, metrics), port), channel), pool)| Side {
                node,
                metrics,
                port,
                channel,
                pool,
                events: Vec::new(),
            },
        );
        let (here, there) = (sides.next().unwrap(), sides.next().unwrap());
        Self { here, there, write, read, _grant: grant, counter, exporter, _folder: folder }
    }

    pub(crate) fn turn(&mut self) {
        self.here.turn();
        self.there.turn();
    }

    /// Turns until `done`.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < until, "{what}");
            self.turn();
        }
    }

    /// Submits as many ids as there are; `None` where it was told full.
    pub(crate) fn submit(
        &mut self,
        plan: &Plan,
        ids: &[u32],
        then: Then<'_>,
        deadline: Instant,
        tag: u64,
    ) -> Option<TransferId> {
        let batch = Batch { plan, planes: 0..1, here: ids, there: ids, then, deadline, tag };
        match self.here.port.submit(self.here.channel, &batch).unwrap() {
            Submitted::Accepted(id) => Some(id),
            Submitted::Full(_) => None,
            Submitted::Revoked => panic!("nobody takes the grant back"),
        }
    }

    /// One of each kind of work.
    pub(crate) fn work(&mut self) {
        let (write, read, far) = (self.write.clone(), self.read.clone(), Instant::now() + PATIENCE);
        let count = Then::Count(self.counter.id());
        self.submit(&write, &[0, 1, 5], count, far, 1);
        self.submit(&read, &[2], Then::Message(b"after"), far, 2);
        let sent = self.here.port.send(self.here.channel, b"alone", far, 3).unwrap();
        assert!(matches!(sent, Submitted::Accepted(_)));
        self.until("three ends", |nodes| nodes.here.outcomes().count() == 3 && nodes.counter.value() == 1);
        self.until("two messages", |nodes| {
            nodes.there.events.iter().filter(|event| matches!(event, Event::Message { .. })).count() == 2
        });
        while self.here.port.arm() == Armed::Ready {
            self.turn();
        }
        let back = self.here.node.grant(
            &[Window::whole(&self.here.pool)],
            Access::WRITE,
            Audience::Channel(self.here.channel),
        );
        let back = back.unwrap();
        let asked = self.here.port.revoke(&back, self.here.channel, PATIENCE).unwrap();
        assert_eq!(asked, pegaflow_core::Revoking::Asked);
        self.until("a revoke", |nodes| nodes.here.events.iter().any(|event| matches!(event, Event::Revoked { .. })));
        self.there.port.close(self.there.channel).unwrap();
        self.until("the end", |nodes| nodes.here.state() == Some(State::Closed));
    }

    /// The body of a page of the exporter of `here`.
    pub(crate) fn scrape(&self, path: &str) -> String {
        let answer = get(self.exporter.local_addr(), path);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        body.to_owned()
    }
}

/// The whole answer to a GET.
pub(crate) fn get(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: figures\r\n\r\n").unwrap();
    let mut answer = String::new();
    // One that is refused is reset.
    let _ = stream.read_to_string(&mut answer);
    answer
}
