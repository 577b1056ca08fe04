//! Two nodes of one thread, connected, and a log of what each was told.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use pegaflow_core::{
    Access, AllocateOptions, Audience, Batch, ChannelId, Class, CounterId, Event, Grant, Node, NodeOptions, Op,
    Outcome, Piece, Plan, Plane, Poller, Port, Region, Shape, Span, State, Submitted, Table, Then, Window,
    backend::Domain,
};

/// Long past it, something is lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How one transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) quiet: bool,
}

pub(crate) struct Side {
    pub(crate) node: Node,
    pub(crate) port: Poller<()>,
    /// By tag.
    pub(crate) ends: HashMap<u64, End>,
    states: Vec<(ChannelId, State)>,
}

impl Side {
    pub(crate) fn new(domain: Arc<dyn Domain>, name: &str) -> Self {
        let node = Node::new(domain, NodeOptions::new(name)).expect("a node");
        let port = node.port(()).expect("a port");
        Self { node, port, ends: HashMap::new(), states: Vec::new() }
    }

    /// Polls once; gives how much came.
    pub(crate) fn turn(&mut self) -> usize {
        let mut events = [Event::NONE; 16];
        let count = self.port.poll(&mut events);
        for event in &events[..count] {
            match *event {
                Event::Ended { tag, outcome, quiet, .. } => {
                    let before = self.ends.insert(tag, End { outcome, quiet });
                    assert_eq!(before, None, "transfer {tag} ended twice");
                }
                Event::Quiet { tag, .. } => {
                    let end = self.ends.get_mut(&tag).expect("an end before its quiet");
                    assert!(!std::mem::replace(&mut end.quiet, true), "transfer {tag} was quiet twice");
                }
                Event::Channel { channel, state } => self.states.push((channel, state)),
                _ => {}
            }
        }
        count
    }

    /// What a channel was last told to be.
    pub(crate) fn state(&self, channel: ChannelId) -> Option<State> {
        self.states.iter().rev().find(|(of, _)| *of == channel).map(|(_, state)| *state)
    }

    /// Whether these transfers ended, and all that ended is quiet.
    pub(crate) fn are_quiet(&self, tags: std::ops::Range<u64>) -> bool {
        tags.clone().all(|tag| self.ends.get(&tag).is_some_and(|end| end.quiet))
    }
}

/// A channel, as each side knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) here: ChannelId,
    pub(crate) there: ChannelId,
}

/// Memory of both sides, and a plan over equal blocks of it.
pub(crate) struct Blocks {
    pub(crate) here: Region,
    pub(crate) there: Region,
    pub(crate) plan: Plan,
    _grant: Grant,
}

pub(crate) struct Pair {
    pub(crate) here: Side,
    pub(crate) there: Side,
    /// Whether the other side is polled too while something is waited for.
    pub(crate) polls_there: bool,
}

impl Pair {
    pub(crate) fn new(here: Arc<dyn Domain>, there: Arc<dyn Domain>) -> Self {
        Self { here: Side::new(here, "here"), there: Side::new(there, "there"), polls_there: true }
    }

    /// A further channel.
    pub(crate) fn connect(&mut self, class: Class) -> Ends {
        self.there.port.listen(class).expect("nobody else listens");
        let here = self.here.port.dial(&self.there.node.address(), class, PATIENCE).expect("a dial");
        let known = self.there.states.len();
        let up = |state| matches!(state, State::Up { .. });
        let there = self.until("a channel", |pair| {
            let there = pair.there.states[known..].iter().find(|(_, state)| up(*state));
            pair.here.state(here).is_some_and(up).then_some(there?.0)
        });
        Ends { here, there }
    }

    /// Polls until `look` finds something.
    #[track_caller]
    pub(crate) fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "waited for {what}: {:?} {:?}, there {:?}",
                self.here.ends,
                self.here.states,
                self.there.states
            );
            let mut news = self.here.turn();
            if self.polls_there {
                news += self.there.turn();
            }
            if news == 0 {
                std::thread::yield_now();
            }
        }
    }

    /// Allocates memory on both sides, and plans over it.
    pub(crate) fn blocks(&self, on: Ends, op: Op, bytes: u32, blocks: u32) -> Blocks {
        let all = u64::from(bytes) * u64::from(blocks);
        let [here, there] =
            [&self.here, &self.there].map(|side| side.node.allocate(all, &AllocateOptions::default()).expect("memory"));
        self.plan(on, op, (here, there), bytes, blocks)
    }

    /// Plans over blocks that lie one behind the other on both sides.
    pub(crate) fn plan(&self, on: Ends, op: Op, (here, there): (Region, Region), bytes: u32, blocks: u32) -> Blocks {
        let audience = Audience::Channel(on.there);
        let grant = self.there.node.grant(&[Window::whole(&there)], Access::READ_WRITE, audience).expect("a grant");
        let remote = self.here.node.import(on.here, grant.as_bytes(), PATIENCE).expect("an import");
        let planes = [Plane { window: 0, offset: 0 }];
        let pieces = [Piece::whole(bytes)];
        let shape = Shape::Paged(Table::plain(&planes, blocks, bytes.into()), &pieces);
        let plan = self.here.node.plan(op, (&[Window::whole(&here)], shape), (&remote, shape)).expect("a plan");
        Blocks { here, there, plan, _grant: grant }
    }

    /// Plans over ranges of each side: offsets here and there, and bytes.
    pub(crate) fn spans(
        &self,
        on: Ends,
        op: Op,
        (here, there): (&Region, &Region),
        ranges: &[(u64, u64, u64)],
    ) -> Blocks {
        let audience = Audience::Channel(on.there);
        let grant = self.there.node.grant(&[Window::whole(there)], Access::READ_WRITE, audience).expect("a grant");
        let remote = self.here.node.import(on.here, grant.as_bytes(), PATIENCE).expect("an import");
        let ours: Vec<_> = ranges.iter().map(|&(offset, _, bytes)| Span { window: 0, offset, bytes }).collect();
        let theirs: Vec<_> = ranges.iter().map(|&(_, offset, bytes)| Span { window: 0, offset, bytes }).collect();
        let ours = (&[Window::whole(here)][..], Shape::Spans(&ours));
        let plan = self.here.node.plan(op, ours, (&remote, Shape::Spans(&theirs))).expect("a plan");
        Blocks { here: here.clone(), there: there.clone(), plan, _grant: grant }
    }

    /// Submits blocks to the same blocks; gives whether it was taken.
    pub(crate) fn try_submit(&mut self, on: Ends, blocks: &Blocks, ids: &[u32], then: Then<'_>, tag: u64) -> bool {
        self.try_submit_until(on, blocks, ids, then, tag, Instant::now() + Duration::from_secs(600))
    }

    pub(crate) fn try_submit_until(
        &mut self,
        on: Ends,
        blocks: &Blocks,
        ids: &[u32],
        then: Then<'_>,
        tag: u64,
        deadline: Instant,
    ) -> bool {
        let plan = &blocks.plan;
        let batch = Batch { plan, planes: 0..plan.planes(), here: ids, there: ids, then, deadline, tag };
        matches!(self.here.port.submit(on.here, &batch).expect("a batch without fault"), Submitted::Accepted(_))
    }

    #[track_caller]
    pub(crate) fn submit(&mut self, on: Ends, blocks: &Blocks, ids: &[u32], then: Then<'_>, tag: u64) {
        assert!(self.try_submit(on, blocks, ids, then, tag), "room for transfer {tag}");
    }

    /// A counter of the other side's.
    pub(crate) fn counter(&mut self, on: Ends) -> (pegaflow_core::Counter, CounterId) {
        let counter = self.there.port.counter(on.there).expect("up").expect("free");
        let id = counter.id();
        (counter, id)
    }

    /// Waits until these transfers are quiet.
    #[track_caller]
    pub(crate) fn quiet(&mut self, tags: std::ops::Range<u64>) {
        self.until(&format!("the ends of {tags:?}"), |pair| pair.here.are_quiet(tags.clone()).then_some(()));
    }

    /// Waits for the end of a channel here; gives why.
    #[track_caller]
    pub(crate) fn broken(&mut self, on: Ends) -> pegaflow_core::Cause {
        self.until("the end of a channel", |pair| match pair.here.state(on.here) {
            Some(State::Broken(cause)) => Some(cause),
            _ => None,
        })
    }

    /// Waits for the end of a channel there; gives its last state.
    #[track_caller]
    pub(crate) fn over_there(&mut self, on: Ends) -> State {
        self.until("the end of a channel there", |pair| {
            pair.there.state(on.there).filter(|state| matches!(state, State::Broken(_) | State::Closed))
        })
    }
}
