//! A node that dials itself: both ends of the channel on one thread, so that nothing but the library
//! and the copy is in the figures.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use pegaflow_core::{
    Access, AllocateOptions, Audience, Batch, ChannelId, Class, Event, Node, NodeOptions, Op, Outcome, Piece, Plan,
    Plane, Poller, Port, Region, Remote, Shape, State, Submitted, Subscriber, Table, Then, Window, backend::Domain,
};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// Shared memory, with its defaults.
#[allow(dead_code, reason = "not every bench is about it")]
pub(crate) fn shm() -> Arc<dyn Domain> {
    pegaflow_shm::open(&pegaflow_shm::ShmConfig::default()).expect("the backend")
}

/// A node, its port, and a pool on each side.
pub(crate) struct SelfDialled<S: Subscriber> {
    node: Node,
    pub(crate) port: Poller<S>,
    channel: ChannelId,
    /// What is read.
    pub(crate) from: Region,
    /// What is written, as its owner has it.
    #[allow(dead_code, reason = "not every bench looks")]
    pub(crate) to: Region,
    /// The same as it is reached over the channel.
    pub(crate) remote: Remote,
    events: [Event; 16],
    _runtime_dir: TempDir,
}

impl<S: Subscriber> SelfDialled<S> {
    /// Connects, and makes pools of `pool_bytes` on both sides, every page touched by its owner.
    #[allow(dead_code, reason = "not every bench takes the defaults")]
    pub(crate) fn new(domain: Arc<dyn Domain>, pool_bytes: u64, subscriber: S) -> Self {
        Self::with(domain, pool_bytes, subscriber, false)
    }

    /// The same, with or without `NodeOptions::checksum`.
    pub(crate) fn with(domain: Arc<dyn Domain>, pool_bytes: u64, subscriber: S, checksum: bool) -> Self {
        let runtime_dir = tempfile::tempdir().expect("a folder for the socket");
        let mut options = NodeOptions::new("bench");
        options.runtime_dir = runtime_dir.path().to_owned();
        options.checksum = checksum;
        let node = Node::new(domain, options).expect("a node");
        let mut port = node.port(subscriber).expect("a port");
        let channel = dial(&node, &mut port);
        let touched = AllocateOptions { touch: true, ..AllocateOptions::default() };
        let from = node.allocate(pool_bytes, &touched).expect("memory here");
        let to = node.allocate(pool_bytes, &touched).expect("memory there");
        let grant = node.grant(&[Window::whole(&to)], Access::WRITE, Audience::Anyone).expect("a grant");
        let remote = node.import(channel, grant.as_bytes(), PATIENCE).expect("an import");
        Self { node, port, channel, from, to, remote, events: [Event::NONE; 16], _runtime_dir: runtime_dir }
    }

    /// A plan that writes blocks of `block_bytes`, `stride_bytes` apart, from one whole pool to the other.
    pub(crate) fn plan(&self, block_bytes: u32, stride_bytes: u64) -> Plan {
        let planes = [Plane { window: 0, offset: 0 }];
        let pieces = [Piece::whole(block_bytes)];
        let table = Table {
            planes: &planes,
            blocks: u32::try_from(self.from.bytes() / stride_bytes).expect("block ids of 32 bits"),
            stride_bytes,
            split: 1,
            split_bytes: 0,
        };
        let shape = Shape::Paged(table, &pieces);
        self.node.plan(Op::Write, (&[Window::whole(&self.from)], shape), (&self.remote, shape)).expect("a plan")
    }

    /// Submits a batch, polls until it has ended, and gives the time from before the one to after the other.
    pub(crate) fn transfer(&mut self, plan: &Plan, here: &[u32], there: &[u32]) -> Duration {
        let start = Instant::now();
        let batch = Batch { plan, planes: 0..1, here, there, then: Then::Nothing, deadline: start + PATIENCE, tag: 0 };
        let submitted = self.port.submit(self.channel, &batch).expect("a batch");
        assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
        loop {
            let count = self.port.poll(&mut self.events);
            for event in &self.events[..count] {
                if let Event::Ended { outcome, .. } = *event {
                    let took = start.elapsed();
                    assert_eq!(outcome, Outcome::Done);
                    return took;
                }
            }
        }
    }
}

/// Dials the node itself and waits until both ends are up; gives the end that dialled.
fn dial<S: Subscriber>(node: &Node, port: &mut Poller<S>) -> ChannelId {
    port.listen(Class::Kv).expect("a listener");
    let channel = port.dial(&node.address(), Class::Kv, PATIENCE).expect("a channel to oneself");
    let mut events = [Event::NONE; 16];
    let mut up = 0;
    while up < 2 {
        let count = port.poll(&mut events);
        if count == 0 {
            // The control thread has the next step; valgrind runs one thread at a time.
            std::thread::sleep(Duration::from_millis(1));
        }
        for event in &events[..count] {
            match *event {
                Event::Channel { state: State::Up { .. }, .. } => up += 1,
                Event::Channel { channel, state } => panic!("{channel} is {state:?}"),
                _ => {}
            }
        }
    }
    channel
}
