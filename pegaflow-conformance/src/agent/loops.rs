//! What the agent does for long: watch, answer, receive.

use std::time::Instant;

use pegaflow_core::{ChannelId, Counter, CounterId, Event, Op, Port, Region, Submitted, Then};

use crate::{
    cases::dawdle,
    side::{PATIENCE, Side, far, sleep},
    sys::allocations,
};

/// The byte that transfer `number` fills its slot with: another one than the slot's last.
pub(crate) fn stamp(number: u64, slots: u64) -> u8 {
    u8::try_from(number / slots % 251 + 1).expect("at most 251")
}

/// Looks at the slot of each transfer the moment its count or its message is seen. Transfer `n` fills slot
/// `n % slots` with `stamp(n)`; a message of 8 bytes says `n`, one of 16 says how many there were and ends the watch.
/// Counts are acknowledged by a message each time they moved, so that no slot is written before it was looked at.
pub(super) fn watch(
    side: &mut Side,
    channel: ChannelId,
    region: &Region,
    (slots, slot_bytes): (u64, u64),
    counter: Option<&Counter>,
) -> u64 {
    const PIECE: usize = 4096;
    let mut got = [0; PIECE];
    let mut look = |number: u64| {
        let (start, expected) = (number % slots * slot_bytes, [stamp(number, slots); PIECE]);
        // From the end: what is moved last is looked at first, and a reader does not follow a writer's copy.
        for at in (0..slot_bytes / PIECE as u64).rev() {
            region.read(start + at * PIECE as u64, &mut got).expect("inside");
            let there = got == expected;
            assert!(there, "transfer {number} was seen and piece {at} of its data was not there yet");
        }
    };
    let (mut checked, mut acknowledged) = (0, 0);
    let mut moved = Instant::now();
    loop {
        if let Some(counter) = counter {
            let value = counter.value();
            if value > checked {
                (checked..value).for_each(&mut look);
                checked = value;
                moved = Instant::now();
            }
        }
        if acknowledged < checked && counter.is_some() {
            let sent = side.port().send(channel, &checked.to_le_bytes(), far(), 0);
            if let Submitted::Accepted(_) = sent.expect("a channel that is up") {
                acknowledged = checked;
            }
        }
        if side.turn() == 0 {
            std::thread::yield_now();
        }
        side.log.ends.clear();
        while let Some(message) = side.log.messages.pop_front() {
            let bytes = side.bytes_of(message);
            let number = u64::from_le_bytes(*bytes.first_chunk().expect("8 bytes at least"));
            if bytes.len() == 16 {
                side.port().release(message.slot).expect("it is held");
                let value = counter.map_or(checked, Counter::value);
                assert_eq!(value, number, "all were seen by the time the last message was");
                (checked..value).for_each(&mut look);
                return number;
            }
            assert_eq!(number, checked, "messages in their order");
            look(number);
            checked += 1;
            moved = Instant::now();
            side.port().release(message.slot).expect("it is held");
        }
        assert!(moved.elapsed() < side.patience, "nothing came for {:?}, after {checked}", side.patience);
    }
}

/// Answers messages, asleep in between: even ones by a message, odd ones by a write of 8 bytes with a count behind it.
pub(super) fn echo(side: &mut Side, channel: ChannelId, rounds: u32, grant: &[u8], counter: CounterId) {
    let region = side.allocate(8);
    let remote = side.node().import(channel, grant, PATIENCE).expect("an import");
    let plan = side.blocks(Op::Write, &region, &remote, 8, 1);
    let mut random = fastrand::Rng::with_seed(17);
    for round in 0..rounds {
        let message = loop {
            if let Some(message) = side.log.messages.pop_front() {
                break message;
            }
            if side.turn() == 0 {
                dawdle(&mut random);
                side.sleep(&format!("the agent, for message {round}"));
            }
        };
        side.port().release(message.slot).expect("it is held");
        if round % 2 == 0 {
            side.send(channel, &round.to_le_bytes(), round.into());
        } else {
            let stamp = (u64::from(round) + 1).to_le_bytes();
            region.write(0, &stamp).expect("its whole");
            side.submit(channel, &plan, &[0], Then::Count(counter), round.into());
            // Its memory is written again two rounds on.
            side.done(round.into());
        }
    }
}

/// Receives and releases messages into a buffer on the stack, and counts what this thread allocates meanwhile.
pub(super) fn steady(side: &mut Side, messages: u32, warm: u32) -> u64 {
    let patience = side.patience;
    let port = side.port();
    let mut events = [Event::NONE; 16];
    let (mut seen, mut before) = (0, allocations());
    let mut moved = Instant::now();
    while seen < messages {
        let count = port.poll(&mut events);
        for event in &events[..count] {
            if let Event::Message { slot, bytes, .. } = *event {
                let length = port.message(slot).map(<[u8]>::len);
                assert_eq!(length, Ok(bytes as usize));
                port.release(slot).expect("it is held");
                seen += 1;
                if seen == warm {
                    before = allocations();
                }
                moved = Instant::now();
            }
        }
        if count == 0 {
            sleep(port, patience, "the agent, in steady state");
        }
        assert!(moved.elapsed() < patience, "nothing came for {patience:?}");
    }
    allocations() - before
}
