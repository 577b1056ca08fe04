//! Promise "revoke says what it proved": after `Acknowledged` and `Fenced` no later byte of that peer lands.

use std::time::{Duration, Instant};

use pegaflow_core::{
    Access, ApiMisuse, Audience, Cause, Class, ConnectError, Grant, Op, Port, Quarantined, Region, Revoked, Revoking,
    State, Submitted, Then, Window,
};
use rustix::process::Signal;

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::{Command, Reply},
    side::{PATIENCE, read},
};

pub(super) const CASES: &[Case] = &[
    Case::both("revoke_of_an_idle_grant_needs_no_poll_of_the_peer", idle),
    Case::both("revoke_of_what_nobody_imported", never_imported),
    Case::both("revoke_in_a_storm_of_writes", storm),
    Case::both("revoke_withdraws_what_is_queued", withdraws),
    Case::both("revoke_from_one_channel_leaves_the_other", one_of_two),
    Case::both("revoke_of_a_peer_that_does_not_poll", not_polling),
    Case::both("revoke_after_the_end_of_the_channel", after_the_end),
    Case::both("misused_revokes_are_refused", misused),
    Case::apart("revoke_from_a_stopped_writer", |context| stopped(context, false)),
    Case::apart("revoke_and_swap_from_a_stopped_writer", |context| stopped(context, true)),
    Case::apart("revoke_from_a_dead_writer", dead),
];

const BLOCK: u32 = 64 << 10;
const BLOCKS: u64 = 8;
const ALL: u64 = BLOCK as u64 * BLOCKS;
/// The storm writes another one.
const MARK: u8 = 0x55;

/// Memory of the driver's, granted to the agent.
struct Lent {
    region: Region,
    grant: Grant,
}

fn lend(pair: &mut Pair) -> Lent {
    let region = pair.here.allocate(ALL);
    let grant = pair.here.node().grant(&[Window::whole(&region)], Access::READ_WRITE, Audience::Channel(pair.channel));
    Lent { region, grant: grant.expect("a grant") }
}

fn blow(pair: &mut Pair, lent: &Lent) {
    let (channel, grant) = (pair.there, lent.grant.as_bytes().to_vec());
    pair.call(Command::Storm { channel, grant, block_bytes: BLOCK, counter: None });
    pair.here.until("a byte of the storm", |_| (read(&lent.region, 0, 1) == [0xaa]).then_some(()));
}

fn storm_is(pair: &mut Pair) -> String {
    match pair.call(Command::StormIs) {
        Reply::Text(state) => state,
        other => panic!("{other:?} for a storm"),
    }
}

#[track_caller]
fn revoke(pair: &mut Pair, lent: &Lent, fence_after: Duration) {
    let on = pair.channel;
    assert_eq!(pair.here.port().revoke(&lent.grant, on, fence_after), Ok(Revoking::Asked));
}

/// The memory is the owner's again: what he writes stays.
#[track_caller]
fn stays(pair: &mut Pair, region: &Region) {
    let mine = vec![MARK; usize::try_from(ALL).expect("memory")];
    region.write(0, &mine).expect("its whole");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(100) {
        pair.here.turn();
        let now = read(region, 0, ALL);
        let changed = now.iter().position(|byte| *byte != MARK);
        assert_eq!(changed, None, "a byte landed after the proof");
    }
}

/// Nothing is in flight: the peer's library acknowledges without his application's poll. From then on he submits and
/// imports in vain.
fn idle(context: &Context) {
    let mut pair = Pair::new(context);
    let lent = lend(&mut pair);
    let (channel, region) = (pair.there, pair.call(Command::Allocate { bytes: ALL }));
    let Reply::Handle(region) = region else { panic!("{region:?}") };
    let bytes = lent.grant.as_bytes().to_vec();
    pair.call(Command::WriteBack { channel, grant: bytes.clone(), region, counter: None });
    pair.call(Command::Polling(false));
    revoke(&mut pair, &lent, PATIENCE);
    assert_eq!(pair.here.revoked(lent.grant.epoch(), None), Revoked::Acknowledged);
    pair.call(Command::Polling(true));
    let said = pair.refused(Command::Storm { channel, grant: bytes, block_bytes: BLOCK, counter: None });
    assert!(said.contains("stale grant"), "{said}");
    stays(&mut pair, &lent.region);
    assert!(matches!(pair.here.log.state(pair.channel), Some(State::Up { .. })), "nothing breaks");
}

fn never_imported(context: &Context) {
    let mut pair = Pair::new(context);
    let lent = lend(&mut pair);
    revoke(&mut pair, &lent, PATIENCE);
    assert_eq!(pair.here.revoked(lent.grant.epoch(), None), Revoked::Acknowledged);
    let (channel, grant) = (pair.there, lent.grant.as_bytes().to_vec());
    let said = pair.refused(Command::Storm { channel, grant, block_bytes: BLOCK, counter: None });
    assert!(said.contains("stale grant"), "{said}");
}

/// The writer lives: he is told, ends what he has under way, and acknowledges; the channel goes on.
fn storm(context: &Context) {
    for round in 0..5 {
        let mut pair = Pair::new(context);
        let lent = lend(&mut pair);
        blow(&mut pair, &lent);
        for _ in 0..round * 7 {
            pair.here.turn();
        }
        revoke(&mut pair, &lent, 3 * PATIENCE);
        // Asked twice is asked once.
        revoke(&mut pair, &lent, 3 * PATIENCE);
        assert_eq!(pair.here.revoked(lent.grant.epoch(), None), Revoked::Acknowledged);
        stays(&mut pair, &lent.region);
        assert_eq!(storm_is(&mut pair), "revoked");
        let again = lend(&mut pair);
        blow(&mut pair, &again);
        stays(&mut pair, &lent.region);
        assert_eq!(pair.here.node().quarantined(), Quarantined::default());
    }
}

/// What the writer has not posted ends with the cause, and its count as an abort.
fn withdraws(context: &Context) {
    let mut pair = Pair::new(context);
    let (_here, there, plan) = pair.blocks(Op::Write, 1 << 20, 8);
    let counter = pair.counter();
    let on = pair.channel;
    for tag in 0..30 {
        pair.here.submit(on, &plan, &[0, 1, 2, 3, 4, 5, 6, 7], Then::Count(counter.id), tag);
    }
    pair.here.turn();
    let (grant, channel) = (there.grant, pair.there);
    pair.call(Command::Revoke { grant, channel });
    let how = pair.call(Command::WaitRevoked { grant });
    assert!(matches!(&how, Reply::Text(how) if how == "Acknowledged"), "{how:?}");
    pair.here.until("all ends", |side| (side.log.ends.len() == 30).then_some(()));
    pair.here.quiet();
    let fits =
        |outcome| matches!(outcome, pegaflow_core::Outcome::Done | pegaflow_core::Outcome::Failed(Cause::Revoked));
    assert!(pair.here.log.ends.iter().all(|end| fits(end.outcome)), "{:?}", pair.here.log.ends);
    pair.call_until("30 counts and aborts", |pair| {
        let counted = pair.value(Command::Value { counter: counter.handle });
        let aborted = pair.value(Command::Aborted { counter: counter.handle });
        (counted + aborted == 30).then_some(())
    });
    assert_eq!(pair.here.try_submit(on, &plan, &[0], Then::Nothing, 99), Ok(Submitted::Revoked));
    assert!(there.remote.is_revoked());
    // Messages name no grant.
    pair.here.send(on, b"alive", 100);
    assert_eq!(pair.messages(1, true), [b"alive"]);
}

/// Two channels of one grant: it is taken back from one, and the other's peer goes on.
fn one_of_two(context: &Context) {
    let mut pair = Pair::new(context);
    let Reply::Bytes(address) = pair.call(Command::Address) else { panic!("no address") };
    let second = pair.here.dial(&address, Class::Kv);
    pair.here.up(second);
    let Reply::Channel { handle: second_there, .. } = pair.call(Command::NextChannel) else { panic!("no channel") };
    let region = pair.here.allocate(ALL);
    let grant = pair.here.node().grant(&[Window::whole(&region)], Access::WRITE, Audience::Anyone).expect("a grant");
    let lent = Lent { region, grant };
    blow(&mut pair, &lent);
    revoke(&mut pair, &lent, PATIENCE);
    assert_eq!(pair.here.revoked(lent.grant.epoch(), None), Revoked::Acknowledged);
    stays(&mut pair, &lent.region);
    let grant = lent.grant.as_bytes().to_vec();
    pair.call(Command::Storm { channel: second_there, grant, block_bytes: BLOCK, counter: None });
    pair.here.until("a byte of the storm", |_| (read(&lent.region, 0, 1) == [0xaa]).then_some(()));
}

/// A writer whose application does not poll leaves his transfers under way. Where bytes move in his poll, the fence proves
/// nothing until he has seen it.
fn not_polling(context: &Context) {
    let mut pair = Pair::new(context);
    let lent = lend(&mut pair);
    blow(&mut pair, &lent);
    pair.call(Command::Polling(false));
    revoke(&mut pair, &lent, Duration::from_millis(100));
    let first = pair.here.revoked(lent.grant.epoch(), None);
    if first == Revoked::Acknowledged {
        // Nothing happened to be under way.
        return stays(&mut pair, &lent.region);
    }
    assert_eq!(pair.here.end_of_channel(pair.channel), State::Broken(Cause::Fenced));
    let proof = pair.capabilities().fence_is_proof;
    assert_eq!(first, if proof { Revoked::Fenced } else { Revoked::Unproven });
    if !proof {
        assert_eq!(pair.here.node().quarantined(), Quarantined { regions: 1, bytes: ALL });
        pair.call(Command::Polling(true));
        assert_eq!(pair.here.revoked(lent.grant.epoch(), Some(Revoked::Unproven)), Revoked::Fenced);
    }
    assert_eq!(pair.here.node().quarantined(), Quarantined::default());
    pair.call(Command::Polling(true));
    stays(&mut pair, &lent.region);
}

/// What the end of a channel proves is told of a revoke that comes after it.
fn after_the_end(context: &Context) {
    for fence in [true, false] {
        let mut pair = Pair::new(context);
        let lent = lend(&mut pair);
        blow(&mut pair, &lent);
        let on = pair.channel;
        if fence {
            pair.here.port().fence(on).expect("it is up");
        } else {
            let channel = pair.there;
            pair.call(Command::Close { channel });
        }
        // Held, so that the channel is not forgotten before it is asked.
        let asked = pair.here.port().revoke(&lent.grant, on, PATIENCE);
        match asked {
            Ok(Revoking::Asked) => {}
            Err(ApiMisuse::UnknownChannel(_)) if !fence => continue,
            other => panic!("{other:?}"),
        }
        let how = pair.here.revoked(lent.grant.epoch(), Some(Revoked::Unproven));
        assert!(matches!(how, Revoked::Fenced | Revoked::Acknowledged), "{how:?}");
        stays(&mut pair, &lent.region);
        pair.here.until("the channel to be forgotten", |side| side.port().state(on).is_none().then_some(()));
    }
}

fn misused(context: &Context) {
    let mut pair = Pair::new(context);
    let other = Pair::new(context);
    let lent = lend(&mut pair);
    let foreign = other.here.node().grant(&[Window::whole(&other.here.allocate(64))], Access::READ, Audience::Anyone);
    let on = pair.channel;
    let refused = pair.here.port().revoke(&foreign.expect("a grant"), on, PATIENCE);
    assert_eq!(refused, Err(ApiMisuse::WrongNode("the grant")));
    let unknown = pegaflow_core::ChannelId::from_bits(u64::MAX >> 1);
    assert_eq!(pair.here.port().revoke(&lent.grant, unknown, PATIENCE), Err(ApiMisuse::UnknownChannel(unknown)));
    let swapped = pair.here.port().revoke_swap(&lent.grant, on);
    assert!(matches!(swapped, Err(pegaflow_core::MemoryError::Refused { .. })), "{swapped:?}");
    // The refused calls changed nothing.
    let (channel, grant) = (pair.there, lent.grant.as_bytes().to_vec());
    pair.call(Command::Storm { channel, grant: grant.clone(), block_bytes: BLOCK, counter: None });
    let remote = pair.here.node().import(on, &grant, PATIENCE);
    assert!(matches!(remote, Err(ConnectError::OtherIncarnation { .. })), "{remote:?}");
}

/// The writer's process is stopped, perhaps in the middle of a copy. A NIC is shut out by the fence; a processor is not, so
/// the memory is kept until he has gone on and let go, or is swapped for other memory.
fn stopped(context: &Context, swap: bool) {
    for round in 0..4_u64 {
        let mut pair = Pair::new(context);
        let lent = lend(&mut pair);
        blow(&mut pair, &lent);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_micros(300 * round) {
            pair.here.turn();
        }
        pair.peer.signal(Signal::STOP);
        revoke(&mut pair, &lent, Duration::from_millis(100));
        let first = pair.here.revoked(lent.grant.epoch(), None);
        assert_eq!(pair.here.end_of_channel(pair.channel), State::Broken(Cause::Fenced));
        let capabilities = pair.capabilities();
        assert_eq!(first, if capabilities.fence_is_proof { Revoked::Fenced } else { Revoked::Unproven });
        let on = pair.channel;
        let swapped = swap.then(|| pair.here.port().revoke_swap(&lent.grant, on));
        match (swapped, first) {
            (Some(Ok(())), Revoked::Unproven) => {
                assert_eq!(pair.here.revoked(lent.grant.epoch(), Some(first)), Revoked::Fenced);
                assert_eq!(read(&lent.region, 0, ALL), vec![0; usize::try_from(ALL).expect("memory")], "fresh memory");
                pair.peer.signal(Signal::CONT);
            }
            (Some(Err(error)), Revoked::Fenced) => {
                assert!(!capabilities.revoke_swap || error.to_string().contains("unproven"), "{error}");
                pair.peer.signal(Signal::CONT);
            }
            (None, Revoked::Unproven) => {
                assert_eq!(pair.here.node().quarantined(), Quarantined { regions: 1, bytes: ALL });
                pair.peer.signal(Signal::CONT);
                assert_eq!(pair.here.revoked(lent.grant.epoch(), Some(first)), Revoked::Fenced);
            }
            (None, Revoked::Fenced) => pair.peer.signal(Signal::CONT),
            other => panic!("{other:?}"),
        }
        assert_eq!(pair.here.node().quarantined(), Quarantined::default());
        stays(&mut pair, &lent.region);
        let state = storm_is(&mut pair);
        assert!(["over", "revoked"].contains(&state.as_str()), "{state}");
    }
}

fn dead(context: &Context) {
    for round in 0..4_u64 {
        let mut pair = Pair::new(context);
        let lent = lend(&mut pair);
        blow(&mut pair, &lent);
        if round % 2 == 0 {
            pair.peer.kill();
        } else {
            // Stopped first: the revoke is unproven, or fenced, before he dies.
            pair.peer.signal(Signal::STOP);
        }
        revoke(&mut pair, &lent, Duration::from_millis(100));
        let first = pair.here.revoked(lent.grant.epoch(), None);
        if round % 2 == 1 {
            pair.peer.kill();
        }
        if first == Revoked::Unproven {
            assert_eq!(pair.here.revoked(lent.grant.epoch(), Some(first)), Revoked::Fenced);
        } else {
            assert_eq!(first, Revoked::Fenced);
        }
        assert_eq!(pair.here.node().quarantined(), Quarantined::default());
        stays(&mut pair, &lent.region);
        // The handle is of no use any more, and dropping it no harm.
        drop(lent.grant);
    }
}
