//! Two nodes of one thread, and everything that happens to them.

mod actions;
mod events;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use pegaflow_core::{
    Access, AllocateOptions, Audience, Bounds, ChannelId, Class, Counter, Event, Grant, Node, NodeOptions, Op, Outcome,
    Piece, Plan, Plane, Poller, Port, Quarantined, Remote, Shape, Slot, Submitted, Table, TransferId, Window,
};
use pegaflow_rdma::{RdmaConfig, testing};

use crate::{
    devices::{ALWAYS, Schedule, device, nothing_registered},
    model::{BLOCK, BLOCKS, GUARD, Pool, Tally},
    mutant::Mutant,
    provider::config,
};

/// Past it something is lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
const LINES: usize = 3;
const MESSAGES: u32 = 4;
const BOUNDS: Bounds = Bounds { transfers: 24, blocks: 512, messages: MESSAGES, message_bytes: 256, counters: 4 };

struct Side {
    node: Node,
    port: Option<Poller<()>>,
    device: String,
}

/// What the owner granted over one channel, and what this side made of it.
struct Lent {
    grant: Option<Grant>,
    epoch: u64,
    _remote: Remote,
    write: Plan,
    read: Plan,
    /// The owner has asked for it.
    asked: bool,
    /// What he was told proves that nothing more lands.
    proven: bool,
}

struct Counted {
    counter: Counter,
    /// Transfers that name it.
    named: u64,
    /// Of those that are over, how many had landed whole.
    landed: u64,
}

/// A channel, as both sides know it.
struct Line {
    here: ChannelId,
    there: ChannelId,
    over: bool,
    lent: Lent,
    counters: Vec<Counted>,
    /// The last message that arrived.
    arrived: u64,
    /// Counters that were dropped, and channels that ended, leave nothing to add up.
    adds_up: bool,
}

/// A transfer that is not quiet, or has not ended.
struct Flight {
    line: ChannelId,
    epoch: u64,
    id: TransferId,
    op: Op,
    here: Vec<u32>,
    there: Vec<u32>,
    /// What lay where it goes.
    before: Vec<u64>,
    /// What it moves.
    after: Vec<u64>,
    counter: Option<usize>,
    deadline: Instant,
    outcome: Option<Outcome>,
    /// The owner has his blocks back.
    revoked: bool,
}

pub(crate) struct World {
    seed: u64,
    here: Side,
    there: Side,
    mine: Pool,
    theirs: Pool,
    lines: Vec<Line>,
    flights: BTreeMap<u64, Flight>,
    /// Ids of transfers that are over.
    stale: VecDeque<TransferId>,
    held: Vec<Slot>,
    next_tag: u64,
    /// For so many actions the owner does not poll.
    silent: u32,
    tally: Tally,
}

/// The device and the config of a life.
fn devices(seed: u64, mutant: Mutant) -> [(String, RdmaConfig); 2] {
    let mut random = fastrand::Rng::with_seed(seed);
    [0, 1].map(|_| {
        let mut schedule = Schedule { seed: random.u64(..), retry_calls: 1 << 20, ..Schedule::default() };
        let sometimes = |random: &mut fastrand::Rng, most: u32| if random.bool() { random.u32(0..=most) } else { 0 };
        schedule.late_calls = sometimes(&mut random, 6);
        schedule.late_reads = sometimes(&mut random, 6);
        schedule.partial_posts = sometimes(&mut random, ALWAYS / 3);
        schedule.duplicate_events = sometimes(&mut random, ALWAYS / 3);
        mutant.spoil(&mut schedule);
        let name = device(&schedule);
        let mut made = config(&name);
        if random.bool() {
            (made.send_depth, made.signal_every, made.chain, made.receive_depth, made.poll_batch) = (8, 4, 4, 64, 1);
        }
        if random.bool() {
            made.max_request_bytes = 4096;
        }
        (name, made)
    })
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Mutant) -> Self {
        let [here, there] = devices(seed, mutant).map(|(device, config)| {
            let domain = mutant.wrap(testing::open(&config).expect("a device of the stand-in's"));
            let options = NodeOptions { bounds: [BOUNDS; 3], ..NodeOptions::new("soak") };
            let node = Node::new(domain, options).expect("a node");
            let port = Some(node.port(()).expect("a port"));
            Side { node, port, device }
        });
        let pool = BLOCK * u64::from(BLOCKS);
        let how = AllocateOptions::default();
        let mine = Pool::plain(here.node.allocate(pool, &how).expect("memory"));
        let theirs = Pool::guarded(there.node.allocate(pool + 2 * GUARD, &how).expect("memory"));
        let tally = Tally { lives: 1, ..Tally::default() };
        let (lines, flights, stale, held) = (Vec::new(), BTreeMap::new(), VecDeque::new(), Vec::new());
        let (next_tag, silent) = (1, 0);
        let mut world = Self { seed, here, there, mine, theirs, lines, flights, stale, held, next_tag, silent, tally };
        world.listen();
        world.dial(Class::Kv);
        world
    }

    fn listen(&mut self) {
        for class in Class::ALL {
            self.there().listen(class).expect("nobody else listens");
        }
    }

    fn here(&mut self) -> &mut Poller<()> {
        self.here.port.as_mut().expect("until the end")
    }

    fn there(&mut self) -> &mut Poller<()> {
        self.there.port.as_mut().expect("until the end")
    }

    /// A further channel, with a grant and counters.
    fn dial(&mut self, class: Class) {
        if self.lines.iter().filter(|line| !line.over).count() == LINES {
            return;
        }
        let address = self.there.node.address();
        let here = self.here().dial(&address, class, PATIENCE).expect("a dial");
        let (begin, mut there) = (Instant::now(), None);
        let there = loop {
            self.turn_here(16);
            there = there.or(self.turn_there(16));
            let up = matches!(self.here().state(here), Some(pegaflow_core::State::Up { .. }));
            if let (Some(there), true) = (there, up) {
                break there;
            }
            assert!(begin.elapsed() < PATIENCE, "no channel came up");
        };
        let lent = self.lend(here, there);
        let mut line = Line { here, there, over: false, lent, counters: Vec::new(), arrived: 0, adds_up: true };
        for _ in 0..2 {
            let counter = self.there().counter(there).expect("up").expect("free");
            line.counters.push(Counted { counter, named: 0, landed: 0 });
        }
        self.lines.push(line);
    }

    fn lend(&mut self, here: ChannelId, there: ChannelId) -> Lent {
        let window = Window::new(&self.theirs.region, GUARD..GUARD + BLOCK * u64::from(BLOCKS));
        let grant = self.there.node.grant(&[window], Access::READ_WRITE, Audience::Channel(there)).expect("a grant");
        let remote = self.here.node.import(here, grant.as_bytes(), PATIENCE).expect("an import");
        let planes = [Plane { window: 0, offset: 0 }];
        let pieces = [Piece::whole(u32::try_from(BLOCK).expect("small"))];
        let shape = Shape::Paged(Table::plain(&planes, BLOCKS, BLOCK), &pieces);
        let mine = [Window::whole(&self.mine.region)];
        let [write, read] =
            [Op::Write, Op::Read].map(|op| self.here.node.plan(op, (&mine, shape), (&remote, shape)).expect("a plan"));
        let epoch = grant.epoch();
        Lent { grant: Some(grant), epoch, _remote: remote, write, read, asked: false, proven: false }
    }

    /// Polls until `done`, or says what is still to come.
    fn settle(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let begin = Instant::now();
        while !done(self) {
            self.turn_here(16);
            self.turn_there(16);
            let late = begin.elapsed() > PATIENCE;
            assert!(!late, "waited for {what}: {} transfers are in flight", self.flights.len());
        }
    }

    /// Lets all end, adds up, and looks for what is left behind.
    pub(crate) fn end(mut self) -> Tally {
        self.silent = 0;
        self.settle("every transfer to end and be quiet", |world| world.flights.is_empty());
        // What was closed a moment ago ends before anything is added up.
        self.settle_quietly();
        for at in 0..self.lines.len() {
            if self.lines[at].over || !self.lines[at].adds_up {
                continue;
            }
            for counter in 0..self.lines[at].counters.len() {
                self.settle("counts and aborts to add up", |world| {
                    let one = &world.lines[at].counters[counter];
                    let sum = one.counter.value() + one.counter.aborted();
                    assert!(sum <= one.named, "{sum} counts and aborts of {} transfers", one.named);
                    sum == one.named || world.lines[at].over
                });
            }
        }
        self.credits();
        self.check_all("at the end");
        assert_eq!(self.here.node.quarantined(), Quarantined::default(), "here");
        assert_eq!(self.there.node.quarantined(), Quarantined::default(), "there");
        if self.seed.is_multiple_of(5) {
            self.tally.fault("device lost");
            crate::devices::raise(&self.there.device, DEVICE_FATAL);
            self.settle("the end of every channel", |world| world.lines.iter().all(|line| line.over));
            self.settle("every transfer to end and be quiet", |world| world.flights.is_empty());
        }
        let names = [self.here.device.clone(), self.there.device.clone()];
        let tally = self.tally.clone();
        drop(self);
        names.iter().for_each(|name| nothing_registered(name));
        tally
    }

    /// Every credit is back: as many messages go as there is room for, and no more.
    fn credits(&mut self) {
        for at in 0..self.lines.len() {
            if self.lines[at].over {
                continue;
            }
            let here = self.lines[at].here;
            let mut sent = 0;
            self.settle("credits to be back", |world| {
                world.release(usize::MAX);
                let deadline = Instant::now() + 60 * PATIENCE;
                while !world.lines[at].over {
                    let tag = world.next_tag;
                    let message = world.message(here, tag);
                    match world.here().send(here, &message, deadline, tag) {
                        Ok(Submitted::Accepted(id)) => {
                            world.next_tag += 1;
                            sent += 1;
                            world.enter(here, tag, id, deadline);
                        }
                        _ => break,
                    }
                }
                // One round more than there is room for: each has come back at least once.
                sent > 2 * MESSAGES || world.lines[at].over
            });
            self.settle("the last messages", |world| world.flights.is_empty());
            // Held from here on, so that no credit comes back.
            self.release(usize::MAX);
            self.settle_quietly();
            if self.lines[at].over {
                continue;
            }
            let deadline = Instant::now() + 60 * PATIENCE;
            let mut taken = 0;
            loop {
                let tag = self.next_tag;
                let message = self.message(here, tag);
                let Ok(Submitted::Accepted(id)) = self.here().send(here, &message, deadline, tag) else { break };
                self.next_tag += 1;
                taken += 1;
                self.enter(here, tag, id, deadline);
            }
            self.settle("the last messages", |world| world.flights.is_empty());
            self.settle_quietly();
            assert!(taken == MESSAGES || self.lines[at].over, "credits are not conserved: {taken} of {MESSAGES}");
        }
    }

    /// Until nothing happens any more: credits have no event.
    fn settle_quietly(&mut self) {
        for _ in 0..200 {
            self.turn_here(16);
            self.turn_there(16);
            self.release(usize::MAX);
            // Control threads have a say in it.
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    fn check_all(&mut self, why: &str) {
        self.tally.blocks_checked += self.theirs.check(why) + self.mine.check(why);
    }
}

/// `enum ibv_event_type` of `verbs.h`.
const DEVICE_FATAL: u32 = 8;

/// Polls a port into a buffer of so many events.
fn poll(port: &mut Poller<()>, room: usize) -> Vec<Event> {
    let mut events = vec![Event::NONE; room];
    let count = port.poll(&mut events);
    events.truncate(count);
    events
}
