//! A driver and its agent, connected.

use std::time::{Duration, Instant};

use pegaflow_core::{Access, Capabilities, ChannelId, Class, CounterId, Op, Plan, Region, Remote};
use tempfile::TempDir;

use crate::{
    Backend,
    placement::{Peer, Placement},
    protocol::{Command, Limits, Reply},
    side::{self, PATIENCE, Side},
};

/// What a case is run on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) backend: Backend,
    pub(crate) placement: Placement,
    /// See [`bulk`](Self::bulk).
    part: u32,
}

impl Context {
    /// A backend with more patience than usual is for a slow device.
    pub(crate) fn new(backend: Backend, placement: Placement) -> Self {
        Self { backend, placement, part: if backend.patience > PATIENCE { 4 } else { 1 } }
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.part > 1
    }

    /// The same over a cable that is slow, whatever the device is.
    pub(crate) fn over_a_bad_cable(self) -> Self {
        Self { part: 16 * self.part, ..self }
    }

    /// Of so many bytes those that are moved where a case only wants bytes under way: a part over what is slow. They
    /// still take longer than whatever a case does meanwhile.
    pub(crate) fn bulk(&self, bytes: u32) -> u32 {
        bytes / self.part
    }
}

/// Memory of the agent's that the driver has imported.
pub(crate) struct There {
    pub(crate) region: u32,
    pub(crate) grant: u32,
    pub(crate) grant_bytes: Vec<u8>,
    pub(crate) remote: Remote,
}

/// A counter of the agent's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CounterThere {
    pub(crate) handle: u32,
    pub(crate) id: CounterId,
}

/// A driver and its agent, with a channel of class `kv` that the driver has dialled.
pub(crate) struct Pair {
    // Dropped in this order: the agent ends before the folder goes.
    pub(crate) here: Side,
    pub(crate) peer: Peer,
    /// The channel, as the driver knows it.
    pub(crate) channel: ChannelId,
    /// The channel, as the agent knows it.
    pub(crate) there: u32,
    pub(crate) dir: TempDir,
}

/// A driver and its agent, not connected yet.
pub(crate) struct Strangers {
    pub(crate) here: Side,
    pub(crate) peer: Peer,
    pub(crate) dir: TempDir,
}

impl Strangers {
    pub(crate) fn new(context: &Context, limits: Limits) -> Self {
        let dir = tempfile::Builder::new().prefix("pegaflow-").tempdir().expect("a folder");
        let here = Side::open(context.backend, "driver", dir.path(), limits);
        let mut peer = Peer::start(context.backend, context.placement);
        peer.call(Command::Open { name: "agent".to_owned(), dir: dir.path().display().to_string(), limits });
        Self { here, peer, dir }
    }

    /// The agent's address.
    pub(crate) fn address(&mut self) -> Vec<u8> {
        match self.peer.call(Command::Address) {
            Reply::Bytes(bytes) => bytes,
            other => panic!("{other:?} for an address"),
        }
    }
}

impl Pair {
    pub(crate) fn new(context: &Context) -> Self {
        Self::with(context, Limits::USUAL)
    }

    pub(crate) fn with(context: &Context, limits: Limits) -> Self {
        let mut strangers = Strangers::new(context, limits);
        let address = strangers.address();
        let Strangers { mut here, mut peer, dir } = strangers;
        peer.call(Command::Listen { class: 0 });
        let channel = here.dial(&address, Class::Kv);
        let epoch = here.up(channel);
        let Reply::Channel { handle: there, epoch: same } = peer.call(Command::NextChannel) else {
            panic!("no channel");
        };
        assert_eq!(epoch, same, "the epoch is the same on both sides");
        Self { here, peer, channel, there, dir }
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        self.here.node().capabilities().clone()
    }

    /// Gives a command and waits for its answer, polling here meanwhile.
    #[track_caller]
    pub(crate) fn call(&mut self, command: Command) -> Reply {
        self.peer.begin(command);
        self.answer()
    }

    /// The answer to a command given before, polling here meanwhile.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Reply {
        let begin = Instant::now();
        loop {
            if let Some(reply) = self.peer.answer_within(Duration::from_micros(50)) {
                return reply;
            }
            self.here.turn();
            assert!(begin.elapsed() < 2 * self.here.patience, "no answer from the agent");
        }
    }

    /// Gives a command that the agent fails to do, polling here meanwhile; gives what it said.
    #[track_caller]
    pub(crate) fn refused(&mut self, command: Command) -> String {
        self.peer.begin(command);
        let begin = Instant::now();
        loop {
            if let Some(said) = self.peer.failure_within(Duration::from_micros(50)) {
                return said;
            }
            self.here.turn();
            assert!(begin.elapsed() < 2 * self.here.patience, "no answer from the agent");
        }
    }

    /// Gives a command that the agent does or fails to do, polling here meanwhile.
    #[track_caller]
    pub(crate) fn outcome(&mut self, command: Command) -> Result<Reply, String> {
        self.peer.begin(command);
        let begin = Instant::now();
        loop {
            if let Some(outcome) = self.peer.outcome_within(Duration::from_micros(50)) {
                return outcome;
            }
            self.here.turn();
            assert!(begin.elapsed() < 2 * self.here.patience, "no answer from the agent");
        }
    }

    /// Asks until `look` finds something.
    #[track_caller]
    pub(crate) fn call_until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            self.here.turn();
            assert!(begin.elapsed() < self.here.patience, "waited {:?} for {what}", self.here.patience);
        }
    }

    /// A command that is answered by a number.
    #[track_caller]
    pub(crate) fn value(&mut self, command: Command) -> u64 {
        match self.call(command) {
            Reply::Value(value) => value,
            other => panic!("{other:?} for a number"),
        }
    }

    #[track_caller]
    pub(crate) fn messages(&mut self, count: usize, release: bool) -> Vec<Vec<u8>> {
        match self.call(Command::Messages { count, release }) {
            Reply::Messages(all) => all,
            other => panic!("{other:?} for messages"),
        }
    }

    /// Memory of the agent's, zeroed, that the driver may write and read.
    #[track_caller]
    pub(crate) fn there(&mut self, bytes: u64) -> There {
        self.there_with(bytes, &[(0, bytes)], Access::READ_WRITE)
    }

    #[track_caller]
    pub(crate) fn there_with(&mut self, bytes: u64, windows: &[(u64, u64)], access: Access) -> There {
        let Reply::Handle(region) = self.call(Command::Allocate { bytes }) else {
            panic!("no region");
        };
        let (grant, grant_bytes) = self.grant(region, windows, access, None);
        let remote = self.here.node().import(self.channel, &grant_bytes, PATIENCE).expect("an import");
        There { region, grant, grant_bytes, remote }
    }

    /// Windows of one region of the agent's, granted.
    #[track_caller]
    pub(crate) fn grant(
        &mut self,
        region: u32,
        windows: &[(u64, u64)],
        access: Access,
        channel: Option<u32>,
    ) -> (u32, Vec<u8>) {
        let windows = windows.iter().map(|&(start, end)| (region, start, end)).collect();
        let leave = access.into();
        match self.call(Command::Grant { windows, leave, channel }) {
            Reply::Grant { handle, bytes } => (handle, bytes),
            other => panic!("{other:?} for a grant"),
        }
    }

    /// Memory here and there, and a plan over blocks of both.
    #[track_caller]
    pub(crate) fn blocks(&mut self, op: Op, bytes: u32, blocks: u32) -> (Region, There, Plan) {
        let all = u64::from(bytes) * u64::from(blocks);
        let here = self.here.allocate(all);
        here.write(0, &side::seeded(1, all)).expect("its whole");
        let there = self.there(all);
        let plan = self.here.blocks(op, &here, &there.remote, bytes, blocks);
        (here, there, plan)
    }

    #[track_caller]
    pub(crate) fn counter(&mut self) -> CounterThere {
        self.try_counter().expect("a counter that is free")
    }

    #[track_caller]
    pub(crate) fn try_counter(&mut self) -> Option<CounterThere> {
        let channel = self.there;
        match self.call(Command::Counter { channel }) {
            Reply::Counter { handle, bits } => Some(CounterThere { handle, id: CounterId::from_bits(bits) }),
            Reply::Nothing => None,
            other => panic!("{other:?} for a counter"),
        }
    }

    #[track_caller]
    pub(crate) fn wait_counter(&mut self, counter: CounterThere, at_least: u64) -> u64 {
        self.value(Command::WaitCounter { counter: counter.handle, at_least })
    }

    /// Compares a region of the agent's with what it should hold, and names the first byte that is wrong.
    #[track_caller]
    pub(crate) fn compare(&mut self, region: u32, expected: &[u8]) {
        let mut same = |start: usize, end: usize| {
            let hash = self.value(Command::Hash { region, start: start as u64, end: end as u64 });
            hash == side::hash(&expected[start..end])
        };
        if same(0, expected.len()) {
            return;
        }
        let (mut start, mut end) = (0, expected.len());
        while end - start > 1 {
            let middle = start.midpoint(end);
            if same(start, middle) {
                start = middle;
            } else {
                end = middle;
            }
        }
        panic!("byte {start} of {} at the peer is not what was written", expected.len());
    }
}
