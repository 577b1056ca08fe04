//! One node with one port, and a log of what it was told: the driver has one, the agent has one.

use std::{
    collections::{HashSet, VecDeque},
    hash::Hasher,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use pegaflow_core::{
    AllocateOptions, ApiMisuse, Armed, Batch, ChannelId, Class, Event, Node, NodeOptions, Op, Outcome, Piece, Plan,
    Plane, Poller, Port, Region, Remote, Revoked, Shape, Slot, State, Submitted, Table, Then, TransferId, Window,
};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::{Backend, protocol::Limits, tally::Tally};

/// The bound of a wait, where the backend names no other: long past it, something is lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Set where peers on other hosts are to reach the nodes: the address of this host that they listen at.
const LISTEN: &str = "PEGAFLOW_LISTEN";

/// A deadline that is not meant to come.
pub(crate) fn far() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// One `Event::Ended`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) tag: u64,
    pub(crate) id: TransferId,
    pub(crate) outcome: Outcome,
    pub(crate) quiet: bool,
    pub(crate) bytes: u64,
}

/// One `Event::Message`, held until it is released.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived {
    pub(crate) channel: ChannelId,
    pub(crate) slot: Slot,
    pub(crate) bytes: u32,
}

/// Everything that a port handed out. What no port may do fails here, in whichever case it happens.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) ends: Vec<End>,
    pub(crate) messages: VecDeque<Arrived>,
    pub(crate) states: Vec<(ChannelId, State)>,
    /// What revokes proved: the grant's epoch, and how.
    pub(crate) revoked: Vec<(u64, Revoked)>,
    ended: HashSet<TransferId>,
    unquiet: HashSet<TransferId>,
}

impl Log {
    fn note(&mut self, event: Event) {
        assert_ne!(event, Event::NONE, "the mark of an empty place was handed out");
        match event {
            Event::Ended { tag, id, outcome, quiet, bytes } => {
                assert!(self.ended.insert(id), "{id:?} ended twice");
                if !quiet {
                    self.unquiet.insert(id);
                }
                self.ends.push(End { tag, id, outcome, quiet, bytes });
            }
            Event::Quiet { id, .. } => assert!(self.unquiet.remove(&id), "{id:?} was quiet before"),
            Event::Message { channel, slot, bytes } => {
                assert!(!self.over(channel), "a message after the end of {channel}");
                self.messages.push_back(Arrived { channel, slot, bytes });
            }
            Event::Channel { channel, state } => {
                assert!(!self.over(channel), "{channel} is {} after its end", state.name());
                self.states.push((channel, state));
            }
            Event::Revoked { epoch, how, .. } => {
                let before = self.revoked.iter().rev().find(|(of, _)| *of == epoch).map(|(_, how)| *how);
                let fits = before.is_none() || (before == Some(Revoked::Unproven) && how == Revoked::Fenced);
                assert!(fits, "the revoke of epoch {epoch} is {how:?} after {before:?}");
                self.revoked.push((epoch, how));
            }
            _ => {}
        }
    }

    /// The state that a channel was last told to have.
    pub(crate) fn state(&self, channel: ChannelId) -> Option<State> {
        self.states.iter().rev().find(|(of, _)| *of == channel).map(|(_, state)| *state)
    }

    fn over(&self, channel: ChannelId) -> bool {
        matches!(self.state(channel), Some(State::Broken(_) | State::Closed))
    }

    /// Whether every transfer that ended is quiet.
    pub(crate) fn all_quiet(&self) -> bool {
        self.unquiet.is_empty()
    }
}

pub(crate) struct Side {
    /// `None` once dropped by a case.
    pub(crate) node: Option<Node>,
    /// `None` once dropped by a case.
    pub(crate) port: Option<Poller<Tally>>,
    pub(crate) log: Log,
    pub(crate) patience: Duration,
}

impl Side {
    pub(crate) fn open(backend: Backend, name: &str, dir: &Path, limits: Limits) -> Self {
        let domain = (backend.open)().expect("the backend has opened before");
        let mut options = NodeOptions::new(name);
        options.runtime_dir = dir.to_owned();
        if let Ok(text) = std::env::var(LISTEN) {
            let ip = text.parse().unwrap_or_else(|_| panic!("{LISTEN}={text}: expected an IP address of this host"));
            options.listen = SocketAddr::new(ip, 0);
        }
        options.bounds = [limits.bounds(); 3];
        options.checksum = limits.checksum;
        options.fence_after = [limits.fence_after_ms.map(Duration::from_millis); 3];
        let node = Node::new(domain, options).expect("a node in a fresh folder");
        let port = node.port(Tally::default()).expect("a port");
        Self { node: Some(node), port: Some(port), log: Log::default(), patience: backend.patience }
    }

    pub(crate) fn node(&self) -> &Node {
        self.node.as_ref().expect("the case has dropped its node")
    }

    pub(crate) fn port(&mut self) -> &mut Poller<Tally> {
        self.port.as_mut().expect("the case has dropped its port")
    }

    pub(crate) fn tally(&self) -> Tally {
        *self.port.as_ref().expect("the case has dropped its port").subscriber()
    }

    /// Polls once and notes what came; gives how much.
    pub(crate) fn turn(&mut self) -> usize {
        let mut events = [Event::NONE; 16];
        let count = self.port().poll(&mut events);
        for event in &events[..count] {
            self.log.note(*event);
        }
        count
    }

    /// Polls until `look` finds something; fails after its patience, saying what was waited for.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(begin.elapsed() < self.patience, "waited {:?} for {what}: {:?}", self.patience, self.log.states);
            if self.turn() == 0 {
                std::thread::yield_now();
            }
        }
    }

    #[track_caller]
    pub(crate) fn up(&mut self, channel: ChannelId) -> u64 {
        self.until("a channel to come up", |side| match side.log.state(channel) {
            Some(State::Up { epoch }) => Some(epoch),
            Some(State::Broken(cause)) => panic!("{channel} broke: {cause}"),
            _ => None,
        })
    }

    /// Waits for the event that ends a channel.
    #[track_caller]
    pub(crate) fn end_of_channel(&mut self, channel: ChannelId) -> State {
        self.until("a channel to end", |side| side.log.over(channel).then(|| side.log.state(channel)).flatten())
    }

    /// Waits until a revoke has proved something, or something else than before.
    #[track_caller]
    pub(crate) fn revoked(&mut self, epoch: u64, other_than: Option<Revoked>) -> Revoked {
        self.until("what a revoke proves", |side| {
            let last = side.log.revoked.iter().rev().find(|(of, _)| *of == epoch);
            last.map(|(_, how)| *how).filter(|how| Some(*how) != other_than)
        })
    }

    /// Waits for the end of the transfer with this tag.
    #[track_caller]
    pub(crate) fn end_of(&mut self, tag: u64) -> End {
        self.until(&format!("the end of transfer {tag}"), |side| {
            side.log.ends.iter().rev().find(|end| end.tag == tag).copied()
        })
    }

    /// Waits for the end of the transfer with this tag, which must be `Done` and quiet.
    #[track_caller]
    pub(crate) fn done(&mut self, tag: u64) -> End {
        let end = self.end_of(tag);
        assert_eq!(end.outcome, Outcome::Done, "transfer {tag}");
        self.quiet();
        end
    }

    /// Waits until everything that ended is quiet.
    #[track_caller]
    pub(crate) fn quiet(&mut self) {
        self.until("quiet", |side| side.log.all_quiet().then_some(()));
    }

    /// Waits for a message; it stays held.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Arrived {
        self.until("a message", |side| side.log.messages.pop_front())
    }

    pub(crate) fn bytes_of(&mut self, message: Arrived) -> Vec<u8> {
        let bytes = self.port().message(message.slot).expect("it is held").to_vec();
        assert_eq!(bytes.len(), message.bytes as usize, "the event's length");
        bytes
    }

    pub(crate) fn allocate(&self, bytes: u64) -> Region {
        self.node().allocate(bytes, &AllocateOptions::default()).expect("memory")
    }

    pub(crate) fn listen(&mut self, class: Class) {
        self.port().listen(class).expect("nobody else listens");
    }

    pub(crate) fn dial(&mut self, address: &[u8], class: Class) -> ChannelId {
        self.port().dial(address, class, PATIENCE).expect("a dial")
    }

    /// A plan over `blocks` blocks of `bytes`, one behind the other in the whole of `here` and of the first window
    /// there.
    pub(crate) fn blocks(&self, op: Op, here: &Region, there: &Remote, bytes: u32, blocks: u32) -> Plan {
        let planes = [Plane { window: 0, offset: 0 }];
        let table = Table { planes: &planes, blocks, stride_bytes: bytes.into(), split: 1, split_bytes: 0 };
        let pieces = [Piece::whole(bytes)];
        let shape = Shape::Paged(table, &pieces);
        self.node().plan(op, (&[Window::whole(here)], shape), (there, shape)).expect("a plan over blocks that fit")
    }

    /// Submits blocks `ids` to the same ids, without a deadline to speak of.
    pub(crate) fn try_submit(
        &mut self,
        on: ChannelId,
        plan: &Plan,
        ids: &[u32],
        then: Then<'_>,
        tag: u64,
    ) -> Result<Submitted, ApiMisuse> {
        self.port()
            .submit(on, &Batch { plan, planes: 0..plan.planes(), here: ids, there: ids, then, deadline: far(), tag })
    }

    /// As `try_submit`, polling while a bound is reached.
    #[track_caller]
    pub(crate) fn submit(&mut self, on: ChannelId, plan: &Plan, ids: &[u32], then: Then<'_>, tag: u64) -> TransferId {
        self.until("room for a batch", |side| {
            match side.try_submit(on, plan, ids, then, tag).expect("a batch without fault") {
                Submitted::Accepted(id) => Some(id),
                Submitted::Full(_) => None,
                Submitted::Revoked => panic!("nobody revokes"),
            }
        })
    }

    /// Sends a message, polling while a bound is reached.
    #[track_caller]
    pub(crate) fn send(&mut self, on: ChannelId, message: &[u8], tag: u64) -> TransferId {
        self.until("room for a message", |side| {
            match side.port().send(on, message, far(), tag).expect("a message without fault") {
                Submitted::Accepted(id) => Some(id),
                Submitted::Full(_) => None,
                Submitted::Revoked => panic!("nobody revokes"),
            }
        })
    }

    /// Sleeps as a caller would: arms, then waits for the descriptor. Fails where nothing wakes it.
    #[track_caller]
    pub(crate) fn sleep(&mut self, what: &str) {
        let patience = self.patience;
        sleep(self.port(), patience, what);
    }
}

/// Arms a port and waits for its descriptor; allocates nothing.
#[track_caller]
pub(crate) fn sleep(port: &mut impl Port, patience: Duration, what: &str) {
    let Armed::Sleep { until } = port.arm() else { return };
    let left = until.map_or(patience, |until| until.saturating_duration_since(Instant::now()));
    let bound = left.min(patience);
    let timeout = Timespec::try_from(bound).expect("a few seconds");
    let fd = port.fd();
    let woken = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).expect("poll");
    assert!(woken > 0 || left < patience, "slept {patience:?} and nothing woke the port: {what}");
}

/// A shape of nothing, for a call that is refused before it is looked at.
pub(crate) fn nothing() -> Shape<'static> {
    Shape::Spans(&[])
}

/// The bytes that a seed stands for.
pub(crate) fn seeded(seed: u64, bytes: u64) -> Vec<u8> {
    let mut memory = vec![0; usize::try_from(bytes).expect("memory of this process")];
    fastrand::Rng::with_seed(seed).fill(&mut memory);
    memory
}

/// The same number for the same bytes, in this process and in the agent's.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    // Keyless, and compiled with optimizations even in a debug build: it is the standard library's.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// A range of a region.
pub(crate) fn read(region: &Region, start: u64, end: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(end - start).expect("memory of this process")];
    region.read(start, &mut bytes).expect("a range inside the region");
    bytes
}
