//! Faults stay where they are: of two channels one dies, in each of the ways there are, amid traffic on both; the other's
//! transfers are done, and its bytes, counts and messages are right.

use std::time::Duration;

use pegaflow_core::{
    Access, Audience, Cause, ChannelId, Class, Op, Plan, Port, Region, Revoked, Revoking, State, Then, Window,
};

use super::Case;
use crate::{
    pair::{Context, CounterThere, Pair, There},
    placement::{Peer, Placement},
    protocol::{Command, Limits, Reply, What},
    side::{read, seeded},
};

pub(super) const CASES: &[Case] = &[
    Case::both("a_channel_that_closes_harms_no_neighbour", |context| of_one_peer(context, Death::Close)),
    Case::both("a_channel_that_is_fenced_harms_no_neighbour", |context| of_one_peer(context, Death::Fence)),
    Case::both("a_channel_that_the_peer_closes_harms_no_neighbour", |context| of_one_peer(context, Death::CloseThere)),
    Case::both("a_revoke_without_answer_harms_no_neighbour", |context| of_one_peer(context, Death::Revoke)),
    Case::both("a_peer_whose_port_goes_harms_no_neighbour", |context| of_two_peers(context, false)),
    Case::apart("a_peer_that_is_killed_harms_no_neighbour", |context| of_two_peers(context, true)),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    Close,
    Fence,
    CloseThere,
    /// Of what the peer has imported, with no time for his answer.
    Revoke,
}

const BLOCKS: u32 = 64;
/// When the other one dies, of as many transfers as blocks.
const AT: u32 = BLOCKS / 2;

/// Traffic on a channel: transfer `n` writes block `n`, with a count or a message behind it.
struct Lane {
    here: Region,
    there: There,
    plan: Plan,
    counter: CounterThere,
    channel: ChannelId,
    block: u32,
}

impl Lane {
    fn new(pair: &mut Pair, block: u32) -> Self {
        let (here, there, plan) = pair.blocks(Op::Write, block, BLOCKS);
        here.write(0, &seeded(block.into(), u64::from(block) * u64::from(BLOCKS))).expect("its whole");
        let counter = pair.counter();
        Self { here, there, plan, counter, channel: pair.channel, block }
    }

    fn submit(&self, pair: &mut Pair, number: u32, first_tag: u64) {
        let tag = first_tag + u64::from(number);
        let text = number.to_le_bytes();
        let then = if number % 8 == 7 { Then::Message(&text) } else { Then::Count(self.counter.id) };
        pair.here.submit(self.channel, &self.plan, &[number], then, tag);
    }

    /// Each is done, counted and in its place, and the messages came in order.
    fn arrived(&self, pair: &mut Pair, first_tag: u64) {
        for number in 0..BLOCKS {
            pair.here.done(first_tag + u64::from(number));
        }
        let counts = u64::from(BLOCKS - BLOCKS / 8);
        assert_eq!(pair.wait_counter(self.counter, counts), counts);
        let written = read(&self.here, 0, u64::from(self.block) * u64::from(BLOCKS));
        pair.compare(self.there.region, &written);
        let expected: Vec<_> = (7..BLOCKS).step_by(8).map(|number| number.to_le_bytes().to_vec()).collect();
        assert_eq!(pair.messages(expected.len(), true), expected);
    }
}

const LIMITS: Limits = Limits { transfers: 2 * BLOCKS, messages: BLOCKS / 8, ..Limits::USUAL };
const TAGS: u64 = 1000;

/// Both channels lead to the same peer, over the same ports: they share all that channels share.
fn of_one_peer(context: &Context, death: Death) {
    let mut pair = Pair::with(context, LIMITS);
    let dying = Lane::new(&mut pair, context.bulk(64 << 10));
    let (dies, dies_there) = (pair.channel, pair.there);
    let Reply::Bytes(address) = pair.call(Command::Address) else { panic!("no address") };
    let second = pair.here.dial(&address, Class::Kv);
    pair.here.up(second);
    let Reply::Channel { handle, .. } = pair.call(Command::NextChannel) else { panic!("no channel") };
    (pair.channel, pair.there) = (second, handle);
    let living = Lane::new(&mut pair, context.bulk(16 << 10));
    let lent = pair.here.allocate(4096);
    let windows = [Window::whole(&lent)];
    let to = Audience::Channel(dies);
    let grant = pair.here.node().grant(&windows, Access::WRITE, to).expect("a grant");
    // A peer that has it in use and does not poll does not answer.
    let storm =
        Command::Storm { channel: dies_there, grant: grant.as_bytes().to_vec(), block_bytes: 64, counter: None };
    if death == Death::Revoke {
        pair.call(storm);
    }

    for number in 0..BLOCKS {
        living.submit(&mut pair, number, 0);
        if number <= AT && number % 8 != 7 {
            dying.submit(&mut pair, number, TAGS);
        }
        if number == AT {
            match death {
                Death::Close => pair.here.port().close(dies).expect("it is up"),
                Death::Fence => pair.here.port().fence(dies).expect("it is up"),
                Death::CloseThere => drop(pair.call(Command::Close { channel: dies_there })),
                Death::Revoke => {
                    let asked = pair.here.port().revoke(&grant, dies, Duration::ZERO);
                    assert_eq!(asked, Ok(Revoking::Asked));
                }
            }
        }
    }
    if death == Death::Revoke {
        // Acknowledged in time after all, or fenced.
        pair.here.revoked(grant.epoch(), Some(Revoked::Unproven));
    } else {
        let state = pair.here.end_of_channel(dies);
        let expected = if death == Death::Fence { State::Broken(Cause::Fenced) } else { State::Closed };
        assert_eq!(state, expected);
    }
    living.arrived(&mut pair, 0);
    pair.here.quiet();
    assert!(matches!(pair.here.log.state(second), Some(State::Up { .. })), "{:?}", pair.here.log.states);
    let once = pair.here.log.ends.iter().filter(|end| end.tag < TAGS).count();
    assert_eq!(once, BLOCKS as usize, "each ended once");
}

/// One port here, and two peers of which one goes.
fn of_two_peers(context: &Context, kill: bool) {
    let mut pair = Pair::with(context, LIMITS);
    let living = Lane::new(&mut pair, context.bulk(16 << 10));
    let (lives, lives_there) = (pair.channel, pair.there);
    let mut other = Peer::start(context.backend, context.placement);
    let dir = pair.dir.path().display().to_string();
    other.call(Command::Open { name: "other".to_owned(), dir, limits: LIMITS });
    let Reply::Bytes(address) = other.call(Command::Address) else { panic!("no address") };
    other.call(Command::Listen { class: 0 });
    let dies = pair.here.dial(&address, Class::Kv);
    pair.here.up(dies);
    let Reply::Channel { handle, .. } = other.call(Command::NextChannel) else { panic!("no channel") };
    // As of a pair, for a while.
    std::mem::swap(&mut pair.peer, &mut other);
    (pair.channel, pair.there) = (dies, handle);
    let dying = Lane::new(&mut pair, context.bulk(64 << 10));
    std::mem::swap(&mut pair.peer, &mut other);
    (pair.channel, pair.there) = (lives, lives_there);

    for number in 0..BLOCKS {
        living.submit(&mut pair, number, 0);
        if number <= AT && number % 8 != 7 {
            dying.submit(&mut pair, number, TAGS);
        }
        if number == AT {
            match (kill, context.placement) {
                (true, Placement::OneProcess) => unreachable!("the case is for two processes"),
                (true, _) => other.kill(),
                (false, _) => drop(other.call(Command::Drop(What::Port))),
            }
        }
    }
    let state = pair.here.end_of_channel(dies);
    assert!(matches!(state, State::Closed | State::Broken(Cause::PeerGone | Cause::Transport { .. })), "{state:?}");
    living.arrived(&mut pair, 0);
    pair.here.quiet();
    assert!(matches!(pair.here.log.state(lives), Some(State::Up { .. })), "{:?}", pair.here.log.states);
    let of_the_dead = pair.here.log.ends.iter().filter(|end| end.tag >= TAGS).count();
    let submitted = (0..=AT).filter(|number| number % 8 != 7).count();
    assert_eq!(of_the_dead, submitted, "each ended once");
}
