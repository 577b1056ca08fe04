//! Promise "a receiver's wait ends too": the count that will not come is told as an abort, behind what was posted.

use std::time::{Duration, Instant};

use pegaflow_core::{Batch, Op, Outcome, Port, Submitted, Then};

use super::Case;
use crate::{
    pair::{CounterThere, Pair},
    protocol::{Command, Reply},
    side::far,
};

pub(super) const CASES: &[Case] = &[
    Case::both("a_cancelled_count_is_aborted", |context| {
        let mut pair = Pair::new(context);
        aborted(&mut pair, true);
    }),
    Case::both("a_count_past_its_deadline_is_aborted", |context| {
        let mut pair = Pair::new(context);
        aborted(&mut pair, false);
    }),
    Case::both("counts_and_aborts_add_up", |context| add_up(&mut Pair::new(context))),
];

const BLOCK: u32 = 256 << 10;
const IDS: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

fn aborts(pair: &mut Pair, counter: CounterThere) -> u64 {
    pair.value(Command::Aborted { counter: counter.handle })
}

/// One that is withdrawn whole: nothing of it lands, its count never comes, its abort does; the channel works on.
fn aborted(pair: &mut Pair, cancel: bool) {
    let (here, there, plan) = pair.blocks(Op::Write, BLOCK, 8);
    let counter = pair.counter();
    let on = pair.channel;
    for round in 0..6 {
        // Much stands before it, so that it is not posted.
        for tag in 0..12 {
            pair.here.submit(on, &plan, &IDS, Then::Nothing, 100 * round + tag);
        }
        let deadline = if cancel { far() } else { Instant::now() };
        let (tag, then) = (100 * round + 99, Then::Count(counter.id));
        let batch = Batch { plan: &plan, planes: 0..1, here: &IDS, there: &IDS, then, deadline, tag };
        let submitted = pair.here.port().submit(on, &batch);
        let Ok(Submitted::Accepted(id)) = submitted else { panic!("{submitted:?}") };
        if cancel {
            assert!(pair.here.port().cancel(id), "much stands before it");
        }
        let end = pair.here.end_of(tag);
        // What was posted whole, count and all, may land all the same; then there is no abort.
        let expected = if cancel { Outcome::Cancelled } else { Outcome::DeadlinePassed };
        assert!(end.outcome == expected || end.outcome == Outcome::Done, "{end:?}");
        let all = round + 1;
        pair.here.until("every end", |side| {
            let ended = side.log.ends.iter().filter(|end| end.tag / 100 == round).count();
            (ended == 13).then_some(())
        });
        // A number of its own, behind: when it is there, so is the abort.
        let sum = pair.call_until("a count or an abort", |pair| {
            let sum = pair.value(Command::Value { counter: counter.handle }) + aborts(pair, counter);
            (sum == all).then_some(sum)
        });
        assert_eq!(sum, all);
        if pair.capabilities().copies_in_poll {
            assert_eq!(aborts(pair, counter), all, "it was not begun");
        }
    }
    pair.here.submit(on, &plan, &IDS, Then::Count(counter.id), 9999);
    pair.here.done(9999);
    pair.call_until("the count of the last", |pair| {
        let sum = pair.value(Command::Value { counter: counter.handle }) + aborts(pair, counter);
        (sum == 7).then_some(())
    });
    let written = crate::side::read(&here, 0, 8 * u64::from(BLOCK));
    pair.compare(there.region, &written);
}

/// Of many counted transfers, with random ends, each is counted or aborted, once. A transfer that was counted here as done
/// was counted there.
fn add_up(pair: &mut Pair) {
    let (_here, _there, plan) = pair.blocks(Op::Write, 16 << 10, 8);
    let counters = [pair.counter(), pair.counter()];
    let on = pair.channel;
    let mut random = fastrand::Rng::with_seed(11);
    let mut accepted = 0_u64;
    while accepted < 300 {
        let (deadline, then) = (
            match random.u8(0..4) {
                0 => Instant::now() + Duration::from_micros(random.u64(0..2000)),
                _ => far(),
            },
            Then::Count(counters[random.usize(0..2)].id),
        );
        let ids = &IDS[..random.usize(0..9)];
        let batch = Batch { plan: &plan, planes: 0..1, here: ids, there: ids, then, deadline, tag: accepted };
        match pair.here.port().submit(on, &batch).expect("no fault") {
            Submitted::Accepted(id) => {
                accepted += 1;
                if random.u8(0..4) == 0 {
                    for _ in 0..random.u8(0..3) {
                        pair.here.turn();
                    }
                    pair.here.port().cancel(id);
                }
            }
            _ => drop(pair.here.turn()),
        }
    }
    pair.here.until("all ends", |side| (side.log.ends.len() == 300).then_some(()));
    let done = pair.here.log.ends.iter().filter(|end| end.outcome == Outcome::Done).count() as u64;
    let (counted, aborted) = pair.call_until("300 counts and aborts", |pair| {
        let mut sums = (0, 0);
        for counter in counters {
            sums.0 += pair.value(Command::Value { counter: counter.handle });
            sums.1 += aborts(pair, counter);
        }
        (sums.0 + sums.1 == 300).then_some(sums)
    });
    assert!(counted >= done, "{done} are done here, {counted} counted there, {aborted} aborted");
    // Where bytes do not move in `poll`, all may be posted at once.
    let copies = pair.capabilities().copies_in_poll;
    assert!(!copies || aborted > 0, "none was aborted: the case shows nothing");
    // Both ends' figures say the same.
    let here = pair.here.tally();
    assert_eq!((here.ended, here.done, here.counts_out), (300, done, done));
    let Reply::Tally(there) = pair.call(Command::Tally) else {
        panic!("no tally");
    };
    assert_eq!((there.increments, there.aborts), (counted, aborted), "at the receiver");
    pair.here.quiet();
}
