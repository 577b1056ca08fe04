//! Promise "observable from the first byte": the facts add up to the work.

use pegaflow_core::{Op, Port, Then};

use super::Case;
use crate::{
    pair::{Context, Pair},
    protocol::{Command, Limits, Reply},
    tally::Tally,
};

pub(super) const CASES: &[Case] = &[Case::both("facts_equal_the_work", facts)];

/// Transfers, bytes, blocks, messages, increments, refusals for want of room: exactly those of the workload, on both
/// sides, once it has ended.
fn facts(context: &Context) {
    let limits = Limits { transfers: 8, messages: 4, ..Limits::USUAL };
    let mut pair = Pair::with(context, limits);
    let (_here, there, write) = pair.blocks(Op::Write, 1000, 40);
    let back = pair.here.allocate(40_000);
    let read = pair.here.blocks(Op::Read, &back, &there.remote, 1000, 40);
    let counter = pair.counter();
    let mut random = fastrand::Rng::with_seed(11);
    let mut expected = Tally { met: 1, ups: 1, ..Tally::default() };
    let (mut messages, mut message_bytes, mut increments) = (0, 0, 0);
    for tag in 0..500 {
        let first = random.u32(0..40);
        let ids: Vec<u32> = (first..first + random.u32(0..=40 - first)).collect();
        let text = vec![7; random.usize(0..200)];
        let kind = random.u8(0..5);
        let (plan, then) = match kind {
            0 => (&write, Then::Nothing),
            1 => (&write, Then::Count(counter.id)),
            2 => (&write, Then::Message(&text)),
            3 => (&read, Then::Nothing),
            _ => {
                pair.here.send(pair.channel, &text, tag);
                (&write, Then::Nothing)
            }
        };
        expected.accepted += 1;
        if kind == 4 || kind == 2 {
            (messages, message_bytes) = (messages + 1, message_bytes + text.len() as u64);
        }
        if kind == 1 {
            increments += 1;
        }
        if kind != 4 {
            pair.here.submit(pair.channel, plan, &ids, then, tag);
            expected.accepted_bytes += 1000 * ids.len() as u64;
            expected.accepted_blocks += ids.len() as u64;
        }
        if kind == 4 || kind == 2 {
            pair.messages(1, true);
        }
    }
    pair.here.until("all ends", |side| (side.log.ends.len() == 500).then_some(()));
    expected.ended = expected.accepted;
    expected.done = expected.accepted;
    (expected.counts_out, expected.messages_out, expected.message_bytes_out) = (increments, messages, message_bytes);
    expected.ended_bytes = expected.accepted_bytes;
    expected.ended_blocks = expected.accepted_blocks;
    let got = pair.here.tally();
    expected.full = got.full;
    assert_eq!(got, expected);

    // As many refusals as there were.
    let before = pair.here.tally().full[0];
    let mut refused = 0;
    for tag in 0..20 {
        let submitted = pair.here.try_submit(pair.channel, &write, &[0], Then::Nothing, 1000 + tag);
        refused += u64::from(matches!(submitted, Ok(pegaflow_core::Submitted::Full(_))));
    }
    assert_eq!(refused, 12, "8 of 20 fit while nothing is polled");
    assert_eq!(pair.here.tally().full[0] - before, refused);

    pair.wait_counter(counter, increments);
    let channel = pair.channel;
    pair.here.port().close(channel).expect("up");
    pair.here.end_of_channel(channel);
    let tally = pair.here.tally();
    assert_eq!((tally.closed, tally.broken), (1, 0));
    assert_eq!(tally.accepted, tally.ended);
    let channel = pair.there;
    pair.call(Command::WaitEnd { channel });
    let Reply::Tally(there) = pair.call(Command::Tally) else {
        panic!("no tally");
    };
    let released = messages;
    let expected =
        Tally { messages, message_bytes, released, increments, met: 1, ups: 1, closed: 1, ..Tally::default() };
    assert_eq!(there, expected, "at the receiver");
}
