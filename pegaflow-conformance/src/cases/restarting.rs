//! A peer that comes and goes a hundred times leaves nothing behind: no descriptor, no thread, no mapping.

use pegaflow_core::{Class, Op, Port, State, Then};

use super::Case;
use crate::{
    held::Held,
    pair::{Context, CounterThere},
    placement::{Peer, Placement},
    protocol::{Command, Limits, Reply},
    side::{Log, PATIENCE, Side},
};

pub(super) const CASES: &[Case] = &[
    Case::both("peer_restarted_and_dialled_again_without_a_leak", restarted),
    Case::apart("a_process_that_outlives_many_peers_is_as_before", outlives),
];

/// When the system's state is what it will be.
const SETTLED: u32 = 10;
const BLOCK: u32 = 64 << 10;

fn restarted(context: &Context) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut here = Side::open(context.backend, "driver", dir.path(), Limits::USUAL);
    let capabilities = here.node().capabilities();
    if capabilities.meets == pegaflow_core::Meets::AnyHost && !capabilities.fence_is_proof {
        // No backend that is shipped: one of the suite's own tests. A connection whose peer has left may stay there.
        println!("not held: over TCP, with a fence that is no proof");
        return;
    }
    let memory = here.allocate(BLOCK.into());
    let rounds = if context.is_slow() { 30 } else { 100 };
    let mut settled = None;
    for round in 0..rounds {
        let mut peer = Peer::start(context.backend, context.placement);
        let name = format!("agent-{round}");
        peer.call(Command::Open { name, dir: dir.path().display().to_string(), limits: Limits::USUAL });
        let Reply::Bytes(address) = peer.call(Command::Address) else { panic!("no address") };
        peer.call(Command::Listen { class: 0 });
        let channel = here.dial(&address, Class::Kv);
        here.up(channel);
        let Reply::Channel { handle, .. } = peer.call(Command::NextChannel) else { panic!("no channel") };
        let Reply::Handle(region) = peer.call(Command::Allocate { bytes: BLOCK.into() }) else { panic!("no region") };
        let leave = pegaflow_core::Access::READ_WRITE.into();
        let windows = vec![(region, 0, BLOCK.into())];
        let Reply::Grant { bytes, .. } = peer.call(Command::Grant { windows, leave, channel: None }) else {
            panic!("no grant")
        };
        let remote = here.node().import(channel, &bytes, PATIENCE).expect("an import");
        let plan = here.blocks(Op::Write, &memory, &remote, BLOCK, 1);
        let Reply::Counter { handle: counter, bits } = peer.call(Command::Counter { channel: handle }) else {
            panic!("no counter")
        };
        let counter = CounterThere { handle: counter, id: pegaflow_core::CounterId::from_bits(bits) };
        here.submit(channel, &plan, &[0], Then::Count(counter.id), 0);
        here.done(0);
        // More under way, of which the end takes what it finds.
        for tag in 1..4 {
            here.submit(channel, &plan, &[0], Then::Nothing, tag);
        }
        match round % 4 {
            0 => here.port().close(channel).expect("it is up"),
            1 => here.port().fence(channel).expect("it is up"),
            2 if context.placement != Placement::OneProcess => peer.kill(),
            _ => drop(peer.call(Command::Drop(crate::protocol::What::Port))),
        }
        let state = here.end_of_channel(channel);
        assert!(matches!(state, State::Closed | State::Broken(_)), "{state:?}");
        here.quiet();
        drop((plan, remote));
        drop(peer);
        here.until("the channel to be forgotten", |side| side.port().state(channel).is_none().then_some(()));
        here.log = Log::default();
        if round == SETTLED {
            // Waits for the reaper.
            drop(here.allocate(64));
            settled = Some(Held::now());
        }
    }
    let settled = settled.expect("more rounds than that");
    // Cases beside this one come and go in the same process: it is to be so few once, when they have ended at the latest.
    let begin = std::time::Instant::now();
    loop {
        here.turn();
        drop(here.allocate(64));
        let now = Held::now();
        if now.within(settled) {
            return;
        }
        assert!(begin.elapsed() < 6 * here.patience, "{now:?} after {rounds} rounds, {settled:?} after {SETTLED}");
    }
}

fn opened(context: &Context, name: &str, dir: &tempfile::TempDir) -> (Peer, Vec<u8>) {
    let mut peer = Peer::start(context.backend, context.placement);
    let dir = dir.path().display().to_string();
    peer.call(Command::Open { name: name.to_owned(), dir, limits: Limits::USUAL });
    match peer.call(Command::Address) {
        Reply::Bytes(address) => (peer, address),
        other => panic!("{other:?} for an address"),
    }
}

fn handle(reply: Reply) -> u32 {
    match reply {
        Reply::Handle(handle) | Reply::Channel { handle, .. } => handle,
        other => panic!("{other:?} for a handle"),
    }
}

/// One process stays, in which nothing else is; another comes, is dialled or dials, moves bytes and is killed, over and
/// over. What the first one has of the system is the same after many as after some: descriptors, threads, mappings, memory;
/// and the kernel's memory, where nobody else asks for any.
fn outlives(context: &Context) {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut stays, address) = opened(context, "stays", &dir);
    stays.call(Command::Listen { class: 1 });
    let own = handle(stays.call(Command::Allocate { bytes: BLOCK.into() }));
    let held = |stays: &mut Peer| match stays.call(Command::Held) {
        Reply::Held(held) => held,
        other => panic!("{other:?} for what is held"),
    };
    let rounds = if context.is_slow() { 30 } else { 100 };
    let mut settled = None;
    for round in 0..rounds {
        let (mut goes, theirs) = opened(context, &format!("goes-{round}"), &dir);
        goes.call(Command::Listen { class: 0 });
        let dialled = handle(stays.call(Command::Dial { address: theirs, class: 0 }));
        let dials = handle(goes.call(Command::Dial { address: address.clone(), class: 1 }));
        let region = handle(goes.call(Command::Allocate { bytes: BLOCK.into() }));
        let (windows, leave) = (vec![(region, 0, BLOCK.into())], pegaflow_core::Access::READ_WRITE.into());
        let Reply::Grant { bytes: grant, .. } = goes.call(Command::Grant { windows, leave, channel: None }) else {
            panic!("no grant")
        };
        // Both are up from here on.
        stays.call(Command::Send { channel: dialled, message: b"to who is dialled".to_vec() });
        goes.call(Command::Send { channel: dials, message: b"from who dials".to_vec() });
        let dialled_by = handle(stays.call(Command::NextChannel));
        stays.call(Command::WriteBack { channel: dialled, grant, region: own, counter: None });
        stays.call(Command::Messages { count: 1, release: true });
        goes.kill();
        for channel in [dialled, dialled_by] {
            let Reply::Text(state) = stays.call(Command::WaitEnd { channel }) else { panic!("no state") };
            assert!(state.starts_with("Broken("), "{state}");
        }
        if round == SETTLED {
            settled = Some(held(&mut stays));
        }
    }
    let settled = settled.expect("more rounds than that");
    // What the kernel takes back it takes back in its own time.
    let begin = std::time::Instant::now();
    loop {
        let now = held(&mut stays);
        if now.within_with_memory(settled, context.is_slow()) {
            return;
        }
        assert!(
            begin.elapsed() < context.backend.patience,
            "{now:?} after {rounds} peers, {settled:?} after {SETTLED}"
        );
    }
}
