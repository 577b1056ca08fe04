//! What a fork does: in the child every handle from before it is dead and says so, and the parent does not notice.

use std::sync::atomic::Ordering;

use pegaflow_core::{
    Access, AllocateOptions, ApiMisuse, Armed, Audience, Cause, Class, ConnectError, Event, MemoryError, Node,
    NodeOptions, Op, Port, Region, State, Then, Window,
};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::Case;
use crate::{
    pair::{Context, Pair, Strangers},
    placement::Outliving,
    protocol::{Command, Limits, Reply, What},
    side::{self, PATIENCE, far},
    sys::{self, Child},
};

pub(super) const CASES: &[Case] = &[
    Case::alone("handles_are_dead_in_a_child", dead_in_a_child),
    Case::alone("a_child_drops_nothing_of_its_parents", nothing_is_dropped),
    Case::near("a_child_keeps_no_connection_open", kept_open),
];

fn forked<T>(given: &Result<T, ApiMisuse>) -> bool {
    matches!(given, Err(ApiMisuse::Forked))
}

fn forked_memory<T>(given: &Result<T, MemoryError>) -> bool {
    matches!(given, Err(MemoryError::Misuse(ApiMisuse::Forked)))
}

fn forked_connect<T>(given: &Result<T, ConnectError>) -> bool {
    matches!(given, Err(ConnectError::Misuse(ApiMisuse::Forked)))
}

/// No call of a child does anything, and each says why.
fn dead_in_a_child(context: &Context) {
    let mut pair = Pair::new(context);
    let (channel, there) = (pair.channel, pair.there);
    let (here, remote, plan) = pair.blocks(Op::Write, 4096, 4);
    let counter = pair.here.port().counter(channel).expect("up").expect("a counter that is free");
    pair.call(Command::Send { channel: there, message: b"held".to_vec() });
    let held = pair.here.message();
    let id = pair.here.send(channel, b"first", 0);
    pair.here.done(0);
    let windows = [Window::whole(&here)];
    let grant = pair.here.node().grant(&windows, Access::WRITE, Audience::Anyone);
    let grant = grant.ok().map(|grant| grant.as_bytes().to_vec()).unwrap_or_default();
    let domain = (context.backend.open)().expect("the backend has opened before");
    let mut options = NodeOptions::new("child");
    options.runtime_dir = pair.dir.path().to_owned();
    let address = pair.here.node().address();

    let in_child = |child: &mut Child| {
        let Pair { here: side, .. } = &mut pair;
        let tried = side.try_submit(channel, &plan, &[0], Then::Nothing, 1);
        child.holds("submit", forked(&tried));
        child.holds("send", forked(&side.port().send(channel, b"", far(), 1)));
        child.holds("counter", forked(&side.port().counter(channel)));
        child.holds("message", forked(&side.port().message(held.slot)));
        child.holds("release", forked(&side.port().release(held.slot)));
        child.holds("close", forked(&side.port().close(channel)));
        child.holds("cancel", !side.port().cancel(id));
        child.holds("listen", forked_connect(&side.port().listen(Class::Bulk)));
        child.holds("dial", forked_connect(&side.port().dial(&address, Class::Kv, PATIENCE)));
        child.holds("state", side.port().state(channel).is_none());
        child.holds("peer", side.port().peer(channel).is_none());
        child.holds("find", side.port().find("agent", Class::Kv).is_none());
        child.holds("poll", side.port().poll(&mut [Event::NONE; 4]) == 0);
        child.holds("arm", side.port().arm() == Armed::Sleep { until: None });
        child.holds("a counter's value", counter.value() == 0);
        child.holds("a remote's memory", remote.remote.mapped(0).is_none());

        let mut bytes = [0; 8];
        child.holds("read", forked_memory(&here.read(0, &mut bytes)));
        child.holds("write", forked_memory(&here.write(0, &bytes)));
        let node = side.node();
        child.holds("allocate", forked_memory(&node.allocate(4096, &AllocateOptions::default())));
        child.holds("register", forked_memory(&sys::lend(node, 4096).0));
        child.holds("grant", forked_memory(&node.grant(&windows, Access::WRITE, Audience::Anyone)));
        child.holds("import", forked_connect(&node.import(channel, &grant, PATIENCE)));
        child.holds("plan", forked(&node.plan(Op::Write, (&[], side::nothing()), (&remote.remote, side::nothing()))));
        child.holds("port", forked_connect(&node.port(())));
        if domain.origin().is_some() {
            child.holds("a node on the same backend", forked_connect(&Node::new(domain, options)));
        }
    };
    sys::in_a_child(2 * PATIENCE, in_child).unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// A child drops all it has of its parent's. The parent is woken by none of it, and goes on as if it had no child: with
/// what it had in flight, held and granted, and with its listener.
fn nothing_is_dropped(context: &Context) {
    let mut pair = Pair::new(context);
    let (channel, there) = (pair.channel, pair.there);
    let (here, remote, plan) = pair.blocks(Op::Write, 64 << 10, 4);
    let mut counter = Some(pair.here.port().counter(channel).expect("up").expect("a counter that is free"));
    let mut own = Some(pair.here.allocate(4096));
    let windows = [Window::whole(own.as_ref().expect("just made"))];
    let granted = pair.here.node().grant(&windows, Access::WRITE, Audience::Anyone);
    let mut grant = granted.map_err(|error| assert!(matches!(error, MemoryError::Backend(_)), "{error}")).ok();
    drop(windows);
    pair.call(Command::Send { channel: there, message: b"held".to_vec() });
    let held = pair.here.message();
    let mut plan = Some(plan);
    let (mut here, mut remote) = (Some(here), Some(remote));
    pair.here.listen(Class::Bulk);
    let allocated = [own.as_ref(), here.as_ref()].into_iter().flatten().map(Region::as_ptr);
    let imported = remote.as_ref().and_then(|there| there.remote.mapped(0));
    let memory: Vec<_> = allocated.chain(imported).map(|at| at as usize).collect();

    for in_flight in [false, true] {
        if in_flight {
            pair.here.submit(channel, plan.as_ref().expect("kept"), &[0, 1, 2, 3], Then::Message(b"after"), 7);
        } else {
            pair.here.until("sleep", |side| matches!(side.port().arm(), Armed::Sleep { .. }).then_some(()));
        }
        let in_child = |child: &mut Child| {
            // Where the parent's memory is there is nothing here: somebody else's may be.
            let others: Vec<_> = memory.iter().filter_map(|&at| sys::take_place(at)).collect();
            child.holds("the parent's memory is not inherited", others.len() == memory.len());
            drop((counter.take(), grant.take(), plan.take(), remote.take(), own.take(), here.take()));
            drop(pair.here.port.take());
            drop(pair.here.node.take());
            child.holds("others' memory", others.iter().all(|other| other.load(Ordering::Relaxed) == 7));
        };
        sys::in_a_child(2 * PATIENCE, in_child).unwrap_or_else(|wrong| panic!("{wrong}"));
        if !in_flight {
            let port = pair.here.port();
            let (fd, now) = (port.fd(), Timespec { tv_sec: 0, tv_nsec: 0 });
            let woken = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&now)).expect("poll");
            assert_eq!(woken, 0, "a child has woken its parent");
        }
    }
    pair.here.done(7);
    assert_eq!(pair.messages(1, true), [b"after"]);
    let written = side::read(here.as_ref().expect("kept"), 0, 256 << 10);
    pair.compare(remote.as_ref().expect("kept").region, &written);
    assert_eq!(pair.here.bytes_of(held), b"held");
    pair.here.port().release(held.slot).expect("held");

    // What it granted can be imported and written, and counted on.
    if let (Some(grant), Some(counter)) = (&grant, &counter) {
        let Reply::Handle(region) = pair.call(Command::Allocate { bytes: 4096 }) else {
            panic!("no region");
        };
        pair.call(Command::Fill { region, seed: 5 });
        let (grant, bits) = (grant.as_bytes().to_vec(), counter.id().to_bits());
        pair.call(Command::WriteBack { channel: there, grant, region, counter: Some(bits) });
        pair.here.until("the count", |_| (counter.value() == 1).then_some(()));
        assert!(side::read(own.as_ref().expect("kept"), 0, 4096) == side::seeded(5, 4096));
    }
    // And it can be found.
    let address = pair.here.node().address();
    pair.call(Command::Dial { address, class: 1 });
    pair.here.until("a dial", |side| side.port().find("agent", Class::Bulk));
}

/// A child has its parent's sockets. Yet a peer is told when the parent ends in order, also where no word went before.
fn kept_open(context: &Context) {
    let mut strangers = Strangers::new(context, Limits::USUAL);
    let address = strangers.address();
    let Strangers { mut here, mut peer, dir: _dir } = strangers;
    peer.call(Command::Listen { class: 0 });
    // Nobody listens, so it waits; connected, once the next one is through.
    let channel = here.port().dial(&address, Class::Bulk, 10 * PATIENCE).expect("a dial");
    let next = here.dial(&address, Class::Kv);
    here.up(next);
    let Reply::Value(child) = peer.call(Command::Fork) else {
        panic!("no child");
    };
    let child = Outliving::new(child);
    peer.call(Command::Drop(What::Port));
    peer.call(Command::Drop(What::Node));
    assert_eq!(here.end_of_channel(channel), State::Broken(Cause::PeerGone));
    child.end();
}
