//! What the ports say, held against the model.

use std::time::Instant;

use pegaflow_core::{ChannelId, Event, Op, Outcome, Port, Revoked, State, TransferId};

use super::{Flight, World, poll};

impl World {
    pub(super) fn turn_here(&mut self, room: usize) {
        for event in poll(self.here(), room) {
            match event {
                Event::Ended { tag, id, outcome, quiet, .. } => self.ended(tag, id, outcome, quiet),
                Event::Quiet { tag, .. } => {
                    let flight = self.flights.get(&tag);
                    assert!(
                        flight.is_some_and(|one| one.outcome.is_some()),
                        "transfer {tag} is quiet, and had not ended"
                    );
                    self.quiet(tag);
                }
                Event::Channel { channel, state } => self.state_here(channel, state),
                _ => {}
            }
        }
        self.look_at_counters();
    }

    /// Gives a channel that came up.
    pub(super) fn turn_there(&mut self, room: usize) -> Option<ChannelId> {
        let mut up = None;
        for event in poll(self.there(), room) {
            match event {
                Event::Channel { channel, state: State::Up { .. } } => up = Some(channel),
                Event::Message { channel, slot, .. } => {
                    let bytes = self.there().message(slot).expect("held").to_vec();
                    self.arrived(channel, &bytes);
                    self.held.push(slot);
                }
                Event::Revoked { channel, epoch, how } => self.revoked(channel, epoch, how),
                _ => {}
            }
        }
        self.look_at_counters();
        up
    }

    fn state_here(&mut self, channel: ChannelId, state: State) {
        if !matches!(state, State::Broken(_) | State::Closed) {
            return;
        }
        for (tag, flight) in &self.flights {
            let ended = flight.line != channel || flight.outcome.is_some();
            assert!(ended, "{channel} is over, and transfer {tag} has not ended");
        }
        if let Some(line) = self.lines.iter_mut().find(|line| line.here == channel) {
            assert!(!line.over, "{channel} is over twice");
            line.over = true;
        }
    }

    fn ended(&mut self, tag: u64, id: TransferId, outcome: Outcome, quiet: bool) {
        let now = Instant::now();
        let flight = self.flights.get_mut(&tag).unwrap_or_else(|| panic!("transfer {tag} ended, and is not in flight"));
        assert_eq!(flight.id, id, "the id of transfer {tag}");
        assert_eq!(flight.outcome, None, "transfer {tag} ended twice");
        flight.outcome = Some(outcome);
        if outcome == Outcome::DeadlinePassed {
            assert!(now >= flight.deadline, "transfer {tag} ended before its deadline");
        }
        if outcome == Outcome::Done && !flight.revoked {
            let flight = &self.flights[&tag];
            assert!(self.landed(flight), "transfer {tag} is done, and its bytes are not where they belong");
        }
        if quiet {
            self.quiet(tag);
        }
    }

    /// Whether all that a transfer moves is where it goes.
    fn landed(&self, flight: &Flight) -> bool {
        let (pool, blocks) = match flight.op {
            Op::Write => (&self.theirs, &flight.there),
            Op::Read => (&self.mine, &flight.here),
        };
        blocks.iter().zip(&flight.after).all(|(&block, &after)| pool.word(block) == after)
    }

    /// This side has let go: nothing of the transfer moves any more, and its blocks are free.
    fn quiet(&mut self, tag: u64) {
        let flight = self.flights.remove(&tag).expect("in flight");
        let landed = flight.revoked || self.landed(&flight);
        if let Some(line) = self.lines.iter_mut().find(|line| line.here == flight.line)
            && let Some(counter) = flight.counter
            && let Some(counted) = line.counters.get_mut(counter)
        {
            counted.landed += u64::from(landed);
        }
        let (to, blocks) = match flight.op {
            Op::Write => (&self.theirs, &flight.there),
            Op::Read => (&self.mine, &flight.here),
        };
        if !(flight.revoked && flight.op == Op::Write) {
            for (at, &block) in blocks.iter().enumerate() {
                let word = to.word(block);
                let fits = flight.revoked || word == flight.before[at] || word == flight.after[at];
                assert!(fits, "block {block} of transfer {tag} holds {word:#x}: what nobody wrote there");
            }
        }
        if !flight.revoked {
            flight.there.iter().for_each(|&block| self.theirs.give_back(block));
        }
        for &block in &flight.here {
            // The source is the caller's again: what he writes now is in no transfer.
            self.mine.fill(block, 0xdead_0000_0000_0000 | tag);
            self.mine.give_back(block);
        }
        self.stale.push_back(flight.id);
        self.stale.truncate(64);
    }

    /// Counters are never ahead of data.
    fn look_at_counters(&self) {
        for line in &self.lines {
            for (at, counted) in line.counters.iter().enumerate() {
                let value = counted.counter.value();
                if value <= counted.landed {
                    continue;
                }
                let of_it = |flight: &&Flight| flight.line == line.here && flight.counter == Some(at);
                let landed =
                    self.flights.values().filter(of_it).filter(|one| one.revoked || self.landed(one)).count() as u64;
                assert!(
                    value <= counted.landed + landed,
                    "counter {at} says {value}, and the bytes of {} are there",
                    counted.landed + landed
                );
            }
        }
    }

    fn arrived(&mut self, channel: ChannelId, bytes: &[u8]) {
        let tag = u64::from_le_bytes(bytes[..8].try_into().expect("a message of eight bytes or more"));
        let line = self.lines.iter_mut().find(|line| line.there == channel);
        // One of a channel that the port before this one had.
        let Some(line) = line else { return };
        assert!(tag > line.arrived, "message {tag} came after {}", line.arrived);
        line.arrived = tag;
        if let Some(flight) = self.flights.get(&tag)
            && !flight.revoked
        {
            assert!(self.landed(flight), "message {tag} is here, and the bytes before it are not");
        }
    }

    /// What was proven holds: the blocks of transfers over that grant are the owner's, as they are.
    fn revoked(&mut self, channel: ChannelId, epoch: u64, how: Revoked) {
        assert_ne!(how, Revoked::Unproven, "a queue pair that is gone is a proof");
        let Some(line) = self.lines.iter_mut().find(|line| line.there == channel) else { return };
        let here = line.here;
        if line.lent.epoch == epoch {
            line.lent.proven = true;
        }
        for flight in self.flights.values_mut().filter(|one| one.line == here && one.epoch == epoch && !one.revoked) {
            flight.revoked = true;
            flight.there.iter().for_each(|&block| self.theirs.give_back(block));
        }
        self.check_all("after a revoke");
    }
}
