//! What the backend says it asked of its device is what the device saw: `Poller::work` against the stand-in's counts.

#[path = "stand_in/provider.rs"]
mod provider;

use std::{
    ffi::{CString, c_char, c_int},
    sync::Arc,
    time::{Duration, Instant},
};

use libloading::os::unix::Library;
use pegaflow_core::{
    Access, AllocateOptions, Audience, Batch, ChannelId, Class, CounterId, Event, Node, NodeOptions, Op, Outcome,
    Piece, Plan, Plane, Poller, Port, Region, Shape, State, Submitted, Table, Then, Window, Work,
};
use pegaflow_rdma::testing;
use pegaflow_rdma_stand_in::{ALWAYS, Counts, Schedule};

const PATIENCE: Duration = Duration::from_secs(30);
const BLOCK: u32 = 64;
/// Twice a block: none is adjacent to another.
const STRIDE: u64 = 128;
const BLOCKS: u32 = 1024;

/// A device of the stand-in's that behaves as it is told, and its counts.
struct Device {
    library: Library,
    name: CString,
}

impl Device {
    fn new(name: &str, schedule: Schedule) -> Self {
        // SAFETY: it has no constructor that does anything.
        let library = unsafe { Library::new(provider::library()) }.expect("the stand-in");
        let name = CString::new(name).expect("a name");
        // SAFETY: the function's type, and its arguments, are those of its documentation.
        let made = unsafe {
            let make = library
                .get::<unsafe extern "C" fn(*const c_char, *const Schedule) -> c_int>(b"pegaflow_stand_in_device\0");
            make.expect("its entry point")(name.as_ptr(), &raw const schedule)
        };
        assert_eq!(made, 0);
        Self { library, name }
    }

    fn saw(&self) -> Work {
        let mut counts = Counts::default();
        // SAFETY: as above.
        let told = unsafe {
            let tell = self
                .library
                .get::<unsafe extern "C" fn(*const c_char, *mut Counts) -> c_int>(b"pegaflow_stand_in_device_counts\0");
            tell.expect("its entry point")(self.name.as_ptr(), &raw mut counts)
        };
        assert_eq!(told, 0);
        Work { requests: counts.requests, doorbells: counts.chains, signalled: counts.signalled }
    }
}

/// A node that has dialled itself: both ends on one port, so one engine.
struct Rig {
    port: Poller<()>,
    channel: ChannelId,
    plan: Plan,
    counter: CounterId,
    _node: Node,
    _pools: [Region; 2],
    _runtime_dir: tempfile::TempDir,
}

impl Rig {
    fn new(device: &Device) -> Self {
        let domain = testing::open(&provider::config(device.name.to_str().expect("a name"))).expect("the backend");
        let runtime_dir = tempfile::tempdir().expect("a folder");
        let mut options = NodeOptions::new("work");
        options.runtime_dir = runtime_dir.path().to_owned();
        let node = Node::new(Arc::clone(&domain), options).expect("a node");
        let mut port = node.port(()).expect("a port");
        port.listen(Class::Kv).expect("a listener");
        let channel = port.dial(&node.address(), Class::Kv, PATIENCE).expect("a channel");
        let (mut ends, mut events) = (Vec::new(), [Event::NONE; 16]);
        while ends.len() < 2 {
            let count = port.poll(&mut events);
            for event in &events[..count] {
                match *event {
                    Event::Channel { channel, state: State::Up { .. } } => ends.push(channel),
                    ref other => panic!("{other:?}"),
                }
            }
        }
        let accepted = ends.into_iter().find(|end| *end != channel).expect("the other end");
        let counter = port.counter(accepted).expect("a channel").expect("a counter").id();
        let bytes = u64::from(BLOCKS) * STRIDE;
        let pools = [(); 2].map(|()| node.allocate(bytes, &AllocateOptions::default()).expect("memory"));
        let grant = node.grant(&[Window::whole(&pools[1])], Access::WRITE, Audience::Anyone).expect("a grant");
        let remote = node.import(channel, grant.as_bytes(), PATIENCE).expect("an import");
        let (planes, pieces) = ([Plane { window: 0, offset: 0 }], [Piece::whole(BLOCK)]);
        let shape = Shape::Paged(Table::plain(&planes, BLOCKS, STRIDE), &pieces);
        let plan = node.plan(Op::Write, (&[Window::whole(&pools[0])], shape), (&remote, shape)).expect("a plan");
        Self { port, channel, plan, counter, _node: node, _pools: pools, _runtime_dir: runtime_dir }
    }

    fn write(&mut self, blocks: u32, then: Then<'_>) {
        let ids: Vec<u32> = (0..blocks).collect();
        let deadline = Instant::now() + PATIENCE;
        let batch = Batch { plan: &self.plan, planes: 0..1, here: &ids, there: &ids, then, deadline, tag: 0 };
        let submitted = self.port.submit(self.channel, &batch).expect("a batch");
        assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
        let (mut ended, mut events) = (false, [Event::NONE; 16]);
        while !ended {
            let count = self.port.poll(&mut events);
            for event in &events[..count] {
                match *event {
                    Event::Ended { outcome, .. } => {
                        assert_eq!(outcome, Outcome::Done);
                        ended = true;
                    }
                    // Gives the credit back, which is a request too.
                    Event::Message { slot, .. } => self.port.release(slot).expect("a message"),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn a_batch_costs_what_its_chains_are() {
    let device = Device::new("work-plain", Schedule::default());
    let mut rig = Rig::new(&device);
    for (blocks, requests, doorbells, signalled) in [
        // The default config: chains of 16, a completion every 64 requests and at the end.
        (1, 1, 1, 1),
        (16, 16, 1, 1),
        (17, 17, 2, 1),
        (1024, 1024, 64, 16),
        (1000, 1000, 63, 16),
    ] {
        let before = rig.port.work();
        rig.write(blocks, Then::Nothing);
        let after = rig.port.work();
        let cost =
            (after.requests - before.requests, after.doorbells - before.doorbells, after.signalled - before.signalled);
        assert_eq!(cost, (requests, doorbells, signalled), "{blocks} blocks");
        assert_eq!(after, device.saw(), "{blocks} blocks");
    }
}

#[test]
fn work_is_what_the_device_saw_though_it_takes_chains_in_part() {
    let chances = [("never", 0), ("now-and-then", ALWAYS / 8), ("often", ALWAYS / 2)];
    let doorbells = chances.map(|(name, partial_posts)| {
        let schedule = Schedule { seed: 7, partial_posts, late_calls: 3, ..Schedule::default() };
        let device = Device::new(&format!("work-{name}"), schedule);
        let mut rig = Rig::new(&device);
        let counter = rig.counter;
        for round in 0..40 {
            let blocks = 1 + (round * 37) % BLOCKS;
            match round % 3 {
                0 => rig.write(blocks, Then::Nothing),
                1 => rig.write(blocks, Then::Count(counter)),
                _ => rig.write(blocks, Then::Message(&[1; 200])),
            }
            assert_eq!(rig.port.work(), device.saw(), "round {round}, chains taken in part {name}");
        }
        rig.port.work().doorbells
    });
    assert!(doorbells.is_sorted_by(|fewer, more| fewer < more), "chains were taken in part: {doorbells:?}");
}
