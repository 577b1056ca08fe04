//! A peer that writes over the segments of its channel: that channel breaks with the place, and its neighbour of the same
//! ports misses nothing.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant},
};

use pegaflow_core::{
    Access, AllocateOptions, Audience, Batch, Bounds, Cause, ChannelId, Class, Counter, Event, Node, NodeOptions, Op,
    Piece, Plan, Plane, Poller, Port, Region, Shape, State, Submitted, Table, Then, Window,
};

use crate::{
    PATIENCE,
    crowd::Stop,
    random,
    tap::{Segments, Tapped},
    until,
};

const BLOCK: u32 = 512;
const BLOCKS: u32 = 8;
/// Where in a segment stands how many messages were written, and released, and how many counts were made.
const TAIL: u64 = 0;
const RELEASED: u64 = 64;
const COUNTED: u64 = 128;
const ABORTED: u64 = 192;

struct Side {
    node: Node,
    port: Poller<()>,
    segments: Segments,
    states: HashMap<ChannelId, State>,
    /// First bytes of messages, by channel, in the order in which they came.
    messages: HashMap<ChannelId, Vec<u8>>,
    /// Tags of what was accepted and has not ended.
    in_flight: HashSet<u64>,
}

impl Side {
    fn new(name: &str, dir: &Path) -> Self {
        let (domain, segments) = Tapped::open();
        let node = Node::new(domain, NodeOptions { runtime_dir: dir.to_owned(), ..NodeOptions::new(name) }).unwrap();
        let port = node.port(()).unwrap();
        let (states, messages, in_flight) = (HashMap::new(), HashMap::new(), HashSet::new());
        Self { node, port, segments, states, messages, in_flight }
    }

    fn turn(&mut self) {
        let mut events = [Event::NONE; 16];
        let count = self.port.poll(&mut events);
        for event in &events[..count] {
            match *event {
                Event::Channel { channel, state } => {
                    self.states.insert(channel, state);
                }
                Event::Message { channel, slot, .. } => {
                    let first = self.port.message(slot).unwrap().first().copied();
                    self.messages.entry(channel).or_default().extend(first);
                    self.port.release(slot).unwrap();
                }
                Event::Ended { tag, .. } => assert!(self.in_flight.remove(&tag), "transfer {tag} ended twice"),
                _ => {}
            }
        }
    }

    fn send(&mut self, channel: ChannelId, message: &[u8], tag: u64) -> bool {
        let until = Instant::now() + 10 * PATIENCE;
        let accepted = matches!(self.port.send(channel, message, until, tag), Ok(Submitted::Accepted(_)));
        if accepted {
            self.in_flight.insert(tag);
        }
        accepted
    }
}

struct Pair {
    here: Side,
    there: Side,
    dir: PathBuf,
}

/// A channel, with a counter there and a plan over blocks of both sides.
struct Channel {
    here: ChannelId,
    there: ChannelId,
    counter: Counter,
    plan: Plan,
    ours: Region,
    theirs: Region,
    _grant: pegaflow_core::Grant,
}

impl Pair {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("pegaflow-ring-{}-{number}", std::process::id()));
        let (here, mut there) = (Side::new("here", &dir), Side::new("there", &dir));
        Class::ALL.into_iter().for_each(|class| there.port.listen(class).unwrap());
        Self { here, there, dir }
    }

    #[track_caller]
    fn until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        until(what, || {
            (0..10).for_each(|_| {
                self.here.turn();
                self.there.turn();
            });
            look(self)
        })
    }

    fn connect(&mut self, class: Class) -> Channel {
        let known: HashSet<_> = self.there.states.keys().copied().collect();
        let here = self.here.port.dial(&self.there.node.address(), class, PATIENCE).unwrap();
        let up = |state: &State| matches!(state, State::Up { .. });
        let there = self.until("a channel", |pair| {
            let new =
                |(channel, state): (&ChannelId, &State)| (!known.contains(channel) && up(state)).then_some(*channel);
            let there = pair.there.states.iter().find_map(new)?;
            pair.here.states.get(&here).is_some_and(up).then_some(there)
        });
        let counter = self.there.port.counter(there).unwrap().unwrap();
        let bytes = u64::from(BLOCK * BLOCKS);
        let [ours, theirs] =
            [&self.here, &self.there].map(|side| side.node.allocate(bytes, &AllocateOptions::default()).unwrap());
        let audience = Audience::Channel(there);
        let grant = self.there.node.grant(&[Window::whole(&theirs)], Access::WRITE, audience).unwrap();
        let remote = self.here.node.import(here, grant.as_bytes(), PATIENCE).unwrap();
        let (planes, pieces) = ([Plane { window: 0, offset: 0 }], [Piece::whole(BLOCK)]);
        let shape = Shape::Paged(Table::plain(&planes, BLOCKS, BLOCK.into()), &pieces);
        let plan = self.here.node.plan(Op::Write, (&[Window::whole(&ours)], shape), (&remote, shape)).unwrap();
        Channel { here, there, counter, plan, ours, theirs, _grant: grant }
    }

    /// Writes a block and counts.
    fn write(&mut self, channel: &Channel, id: u32, tag: u64) -> bool {
        let (plan, ids) = (&channel.plan, [id]);
        let deadline = Instant::now() + 10 * PATIENCE;
        let then = Then::Count(channel.counter.id());
        let batch = Batch { plan, planes: 0..1, here: &ids, there: &ids, then, deadline, tag };
        let accepted = matches!(self.here.port.submit(channel.here, &batch), Ok(Submitted::Accepted(_)));
        if accepted {
            self.here.in_flight.insert(tag);
        }
        accepted
    }

    /// The segments that the last channel of this class was opened with: written to there, and written to here.
    fn segments(&self, class: Class) -> [File; 2] {
        [&self.there, &self.here].map(|side| {
            let all = side.segments.lock().unwrap();
            all.iter().rev().find(|(of, _)| *of == class).unwrap().1.try_clone().unwrap()
        })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A channel that nobody touches, and all that went over it.
struct Neighbour {
    channel: Channel,
    sent: Vec<u8>,
    counts: u64,
    tag: u64,
}

impl Neighbour {
    fn of(pair: &mut Pair) -> Self {
        Self { channel: pair.connect(Class::Bulk), sent: Vec::new(), counts: 0, tag: 1 << 32 }
    }

    /// A message and a counted block more, where there is room.
    fn turn(&mut self, pair: &mut Pair) {
        let (number, id) = (self.sent.len().to_le_bytes()[0], u32::from(self.tag.to_le_bytes()[0]) % BLOCKS);
        if pair.here.send(self.channel.here, &[number; 40], self.tag) {
            self.sent.push(number);
        }
        let block = u64::from(id) * u64::from(BLOCK);
        self.channel.ours.write(block, &[number; BLOCK as usize]).unwrap();
        if pair.write(&self.channel, id, self.tag + 1) {
            self.counts += 1;
        }
        self.tag += 2;
    }

    /// It is all there, and more goes over it.
    #[track_caller]
    fn is_well(&mut self, pair: &mut Pair) {
        let [here, there] = [self.channel.here, self.channel.there];
        for _ in 0..BLOCKS {
            self.turn(pair);
            let (counts, sent) = (self.counts, self.sent.len());
            pair.until("the neighbour's messages and counts", |pair| {
                let states = [pair.here.states[&here], pair.there.states[&there]];
                assert!(states.iter().all(|state| matches!(state, State::Up { .. })), "the neighbour is {states:?}");
                let came = pair.there.messages.get(&there).map_or(0, Vec::len);
                (self.channel.counter.value() == counts && came == sent).then_some(())
            });
        }
        assert_eq!(pair.there.messages[&there], self.sent);
        let [mut ours, mut theirs] = [(); 2].map(|()| vec![0; (BLOCK * BLOCKS) as usize]);
        self.channel.ours.read(0, &mut ours).unwrap();
        self.channel.theirs.read(0, &mut theirs).unwrap();
        assert_eq!(ours, theirs);
    }
}

fn word(file: &File, at: u64, value: u64) {
    file.write_all_at(&value.to_le_bytes(), at).unwrap();
}

/// One lie at a time, seen there; who sent nothing wrong learns that his peer has gone.
#[test]
fn each_lie_breaks_its_channel_with_the_place() {
    let mut pair = Pair::new();
    let mut neighbour = Neighbour::of(&mut pair);
    let messages: u64 = Bounds::of(Class::Kv).messages.into();
    let ring = (320 + 16 * u64::from(Bounds::of(Class::Kv).counters)).next_multiple_of(64);
    let length = |file: &File, lie: u64| {
        word(file, ring, lie);
        word(file, TAIL, 1);
    };
    type Lie<'a> = (&'a str, u32, &'a dyn Fn(&[File; 2]));
    let lies: [Lie<'_>; 11] = [
        ("a tail too far", 10, &|[there, _]| word(there, TAIL, messages + 1)),
        ("a tail at its end", 10, &|[there, _]| word(there, TAIL, u64::MAX)),
        ("a tail half way", 10, &|[there, _]| word(there, TAIL, 1 << 63)),
        ("a message too long", 11, &|[there, _]| length(there, 1025)),
        ("a message of 4 GiB", 11, &|[there, _]| length(there, 1 << 32)),
        ("a message without end", 11, &|[there, _]| length(there, u64::MAX)),
        ("credits that nobody is owed", 12, &|[_, here]| word(here, RELEASED, 1)),
        ("credits without end", 12, &|[_, here]| word(here, RELEASED, u64::MAX)),
        ("counts that went backwards", 13, &|[there, _]| word(there, COUNTED, u64::MAX)),
        ("aborts that went backwards", 13, &|[there, _]| word(there, ABORTED, u64::MAX)),
        ("more counts than there can be", 13, &|[there, _]| word(there, COUNTED, 1 << 52)),
    ];
    for (what, place, lie) in lies {
        let channel = pair.connect(Class::Kv);
        let files = pair.segments(Class::Kv);
        lie(&files);
        let (here, there) = (channel.here, channel.there);
        let ends = pair.until(what, |pair| {
            let ends = [pair.there.states[&there], pair.here.states[&here]];
            ends.iter().all(|state| matches!(state, State::Broken(_))).then_some(ends)
        });
        // Credits are this side's to find, counts and messages that side's.
        assert_eq!(ends, [State::Broken(Cause::Garbage(place)), State::Broken(Cause::PeerGone)], "{what}");
        neighbour.is_well(&mut pair);
    }
}

/// A cell of a counter is a number like another: nobody breaks, and what is counted on it is lost to its own channel.
#[test]
fn a_counter_that_is_written_over_is_its_channels_own_loss() {
    let mut pair = Pair::new();
    let mut neighbour = Neighbour::of(&mut pair);
    let channel = pair.connect(Class::Kv);
    let [there, _] = pair.segments(Class::Kv);
    let cell = 320 + 8 * u64::from(channel.counter.id().index());
    for value in [u64::MAX, 0, 1 << 52, u64::from(channel.counter.id().generation()) << 52 | ((1 << 52) - 1)] {
        word(&there, cell, value);
        assert_eq!(channel.counter.value(), value & ((1 << 52) - 1));
        assert!(pair.write(&channel, 0, value));
        pair.until("the end of a write", |pair| pair.here.in_flight.is_empty().then_some(()));
    }
    assert_eq!(channel.counter.value(), 0, "past the last number comes the first");
    neighbour.is_well(&mut pair);
    assert!(matches!(pair.here.states[&channel.here], State::Up { .. }));
}

/// A thread that writes anything anywhere into both segments of a channel, while data flows over it and its neighbour.
#[test]
fn writing_all_over_a_segment_breaks_its_channel_alone() {
    let mut random = random();
    let mut pair = Pair::new();
    let mut neighbour = Neighbour::of(&mut pair);
    let (mut broken, mut tag) = (0, 0);
    for _ in 0..30 {
        let channel = pair.connect(Class::Kv);
        let files = pair.segments(Class::Kv);
        let length = files[0].metadata().unwrap().len();
        let stop = AtomicBool::new(false);
        let mut scribbles = random.fork();
        let (here, there) = (channel.here, channel.there);
        let over = |state: State| matches!(state, State::Broken(_));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let near = scribbles.bool();
                    let at = scribbles.u64(..if near { 300 } else { length - 8 });
                    let value = if scribbles.bool() { scribbles.u64(..80) } else { scribbles.u64(..) };
                    let bytes = &value.to_le_bytes()[..scribbles.usize(1..=8)];
                    files[scribbles.usize(..2)].write_all_at(bytes, at).unwrap();
                    std::thread::sleep(Duration::from_micros(20));
                }
            });
            let _stop = Stop(&stop);
            let begin = Instant::now();
            // Some lies are never seen: then the next one is.
            while !(over(pair.here.states[&here]) && over(pair.there.states[&there])) && begin.elapsed() < PATIENCE {
                pair.here.send(here, &[7; 300], tag);
                pair.write(&channel, 3, tag + 1);
                pair.there.send(there, &[8; 30], tag);
                tag += 2;
                neighbour.turn(&mut pair);
                pair.here.turn();
                pair.there.turn();
            }
        });
        let ends = [pair.here.states[&here], pair.there.states[&there]];
        for end in ends {
            let seen = matches!(end, State::Broken(Cause::Garbage(10..=13) | Cause::PeerGone));
            assert!(seen || !matches!(end, State::Broken(_) | State::Closed), "{ends:?}");
        }
        if ends.into_iter().all(over) {
            pair.until("one end for all that was accepted", |pair| {
                let ended = pair.here.in_flight.iter().all(|tag| *tag >= 1 << 32);
                (ended && pair.there.in_flight.is_empty()).then_some(())
            });
        }
        broken += u32::from(ends.iter().any(|end| matches!(end, State::Broken(Cause::Garbage(_)))));
        neighbour.is_well(&mut pair);
    }
    assert!(broken >= 20, "{broken} of 30 channels were found to be garbage");
}
