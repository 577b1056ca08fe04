//! What is done to the world, one thing at a time. Each action has a number and is made of it and the life's seed alone.

use std::time::{Duration, Instant};

use pegaflow_core::{ApiMisuse, Batch, ChannelId, Class, Op, Port, Submitted, Then, TransferId};

use super::{BLOCKS, Flight, PATIENCE, World};

impl World {
    pub(crate) fn act(&mut self, number: u32) {
        let mut random = fastrand::Rng::with_seed(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number));
        let random = &mut random;
        match random.u32(0..100) {
            0..28 => self.transfer(random),
            28..34 => self.send(random),
            34..56 => self.cancel(random),
            56..60 => self.cancel_stale(),
            60..66 => self.misuse(random),
            66..68 => {
                self.tally.fault("owner does not poll");
                self.silent = random.u32(1..40);
            }
            68..78 => self.release(random.usize(1..4)),
            78..80 => self.drop_counter(random),
            80..82 => self.grant_dropped(random),
            82..85 => self.revoke(random),
            85 => self.fence(random),
            86 => self.close(random),
            87 => self.peers_port_goes(random),
            88 => self.device_speaks(random),
            89..92 => self.dial(Class::ALL[random.usize(0..3)]),
            92 => self.check_all("now and then"),
            _ => {}
        }
        let room = random.usize(1..12);
        if random.u8(0..3) > 0 {
            self.turn_here(room);
        }
        if self.silent > 0 {
            self.silent -= 1;
        } else if random.u8(0..3) > 0 {
            self.turn_there(room);
        }
    }

    /// A line that is up.
    fn line(&self, random: &mut fastrand::Rng) -> Option<usize> {
        let up: Vec<usize> = (0..self.lines.len()).filter(|&at| !self.lines[at].over).collect();
        (!up.is_empty()).then(|| up[random.usize(0..up.len())])
    }

    pub(super) fn message(&self, _on: ChannelId, tag: u64) -> Vec<u8> {
        let mut message = tag.to_le_bytes().to_vec();
        message.resize(8 + usize::try_from(tag % 200).expect("small"), 7);
        message
    }

    /// A message is in flight from now on.
    pub(super) fn enter(&mut self, line: ChannelId, tag: u64, id: TransferId, deadline: Instant) {
        let (op, epoch, counter, outcome, revoked) = (Op::Write, 0, None, None, false);
        let (here, there, before, after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let flight = Flight { line, epoch, id, op, here, there, before, after, counter, deadline, outcome, revoked };
        self.flights.insert(tag, flight);
        self.tally.transfers += 1;
    }

    fn deadline(&mut self, random: &mut fastrand::Rng) -> Instant {
        match random.u8(0..8) {
            0 => {
                self.tally.fault("deadline that has passed");
                Instant::now()
            }
            1 => {
                self.tally.fault("deadline that is near");
                Instant::now() + Duration::from_micros(random.u64(1..300))
            }
            _ => Instant::now() + 60 * PATIENCE,
        }
    }

    fn transfer(&mut self, random: &mut fastrand::Rng) {
        let Some(at) = self.line(random) else { return self.dial(Class::Kv) };
        let count = random.usize(0..14);
        let Some(here) = self.mine.lease(count, random) else { return };
        let Some(there) = self.theirs.lease(count, random) else {
            here.iter().for_each(|&block| self.mine.give_back(block));
            return;
        };
        let (tag, deadline) = (self.next_tag, self.deadline(random));
        let op = if random.u8(0..4) == 0 { Op::Read } else { Op::Write };
        let (before, after): (Vec<u64>, Vec<u64>) = match op {
            Op::Write => (0..count)
                .map(|at| {
                    let stamp = tag << 16 | at as u64;
                    self.mine.fill(here[at], stamp);
                    (self.theirs.word(there[at]), stamp)
                })
                .unzip(),
            Op::Read => (0..count).map(|at| (self.mine.word(here[at]), self.theirs.word(there[at]))).unzip(),
        };
        let line = &self.lines[at];
        let (on, epoch) = (line.here, line.lent.epoch);
        let plan = if op == Op::Write { line.lent.write.clone() } else { line.lent.read.clone() };
        let message = self.message(on, tag);
        let (then, counter) = match random.u8(0..4) {
            0 => (Then::Nothing, None),
            1 => (Then::Message(&message), None),
            _ => {
                let counter = random.usize(0..line.counters.len());
                (Then::Count(line.counters[counter].counter.id()), Some(counter))
            }
        };
        let batch = Batch { plan: &plan, planes: 0..1, here: &here, there: &there, then, deadline, tag };
        let submitted = self.here().submit(on, &batch);
        match submitted {
            Ok(Submitted::Accepted(id)) => {
                self.next_tag += 1;
                self.tally.transfers += 1;
                if let Some(counter) = counter {
                    self.lines[at].counters[counter].named += 1;
                }
                let (line, outcome, revoked) = (on, None, false);
                let flight =
                    Flight { line, epoch, id, op, here, there, before, after, counter, deadline, outcome, revoked };
                self.flights.insert(tag, flight);
                return;
            }
            Ok(Submitted::Full(_)) => {}
            Ok(Submitted::Revoked) => assert!(self.lines[at].lent.asked, "nobody has asked for it"),
            // It closes, or has ended, and that was not told yet.
            Err(ApiMisuse::NotUp { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        here.iter().for_each(|&block| self.mine.give_back(block));
        there.iter().for_each(|&block| self.theirs.give_back(block));
    }

    fn send(&mut self, random: &mut fastrand::Rng) {
        let Some(at) = self.line(random) else { return };
        let (on, tag, deadline) = (self.lines[at].here, self.next_tag, self.deadline(random));
        let message = self.message(on, tag);
        match self.here().send(on, &message, deadline, tag) {
            Ok(Submitted::Accepted(id)) => {
                self.next_tag += 1;
                self.enter(on, tag, id, deadline);
            }
            Ok(_) | Err(ApiMisuse::NotUp { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn cancel(&mut self, random: &mut fastrand::Rng) {
        // A few at once: what cancels one request cancels its neighbours.
        for _ in 0..random.u8(1..4) {
            let open: Vec<(u64, TransferId)> =
                self.flights.iter().filter(|(_, one)| one.outcome.is_none()).map(|(&tag, one)| (tag, one.id)).collect();
            if open.is_empty() {
                return;
            }
            let (_, id) = open[random.usize(0..open.len())];
            self.tally.fault("cancel");
            self.here().cancel(id);
        }
    }

    fn cancel_stale(&mut self) {
        if let Some(id) = self.stale.pop_front() {
            self.tally.fault("cancel of what is over");
            assert!(!self.here().cancel(id), "a transfer that is over was cancelled");
        }
    }

    /// Calls that are wrong change nothing.
    fn misuse(&mut self, random: &mut fastrand::Rng) {
        let Some(at) = self.line(random) else { return };
        self.tally.fault("wrong call");
        let (on, plan) = (self.lines[at].here, self.lines[at].lent.write.clone());
        let deadline = Instant::now();
        let mut batch =
            Batch { plan: &plan, planes: 0..1, here: &[0], there: &[0], then: Then::Nothing, deadline, tag: 0 };
        match random.u8(0..4) {
            0 => batch.there = &[BLOCKS],
            1 => batch.here = &[0, 1],
            2 => batch.planes = 0..2,
            _ => batch.then = Then::Message(&[0; 300]),
        }
        let refused = self.here().submit(on, &batch);
        assert!(refused.is_err(), "{refused:?} for a call that is wrong");
    }

    pub(super) fn release(&mut self, most: usize) {
        let count = self.held.len().min(most);
        for slot in self.held.drain(..count).collect::<Vec<_>>() {
            // Those of a port that is gone are gone with it.
            let _ = self.there().release(slot);
        }
    }

    /// A counter goes while increments are under way to it, and another takes its place.
    fn drop_counter(&mut self, random: &mut fastrand::Rng) {
        let Some(at) = self.line(random) else { return };
        let (there, which) = (self.lines[at].there, random.usize(0..2));
        let Ok(Some(counter)) = self.there().counter(there) else { return };
        self.tally.fault("counter dropped");
        for flight in self.flights.values_mut() {
            if flight.line == self.lines[at].here && flight.counter == Some(which) {
                flight.counter = None;
            }
        }
        self.lines[at].counters[which] = super::Counted { counter, named: 0, landed: 0 };
    }

    /// The owner drops the grant: what was imported goes on.
    fn grant_dropped(&mut self, random: &mut fastrand::Rng) {
        let Some(at) = self.line(random) else { return };
        if self.lines[at].lent.grant.take().is_some() {
            self.tally.fault("grant dropped");
        }
    }

    /// The owner takes his memory back, and grants it anew once that is proven.
    fn revoke(&mut self, random: &mut fastrand::Rng) {
        let Some(at) = self.line(random) else { return };
        let (here, there) = (self.lines[at].here, self.lines[at].there);
        if self.lines[at].lent.proven {
            self.settle_import(at, here, there);
            return;
        }
        let short = random.u8(0..4) == 0;
        let after = if short { Duration::from_micros(200) } else { 60 * PATIENCE };
        let Some(grant) = self.lines[at].lent.grant.take() else { return };
        let port = self.there.port.as_mut().expect("until the end");
        let asked = port.revoke(&grant, there, after);
        self.lines[at].lent.grant = Some(grant);
        if asked.is_ok() {
            self.tally.fault(if short { "revoke, and a fence soon" } else { "revoke" });
            self.lines[at].lent.asked = true;
        }
    }

    fn settle_import(&mut self, at: usize, here: ChannelId, there: ChannelId) {
        let up = |state| matches!(state, Some(pegaflow_core::State::Up { .. }));
        if up(self.here().state(here)) && up(self.there().state(there)) {
            self.lines[at].lent = self.lend(here, there);
        }
    }

    fn fence(&mut self, random: &mut fastrand::Rng) {
        let Some(at) = self.line(random) else { return };
        self.tally.fault("fence");
        let (here, there) = (self.lines[at].here, self.lines[at].there);
        // One that has ended and was not told is known no more at times.
        let _ = if random.bool() { self.here().fence(here) } else { self.there().fence(there) };
    }

    fn close(&mut self, random: &mut fastrand::Rng) {
        let Some(at) = self.line(random) else { return };
        self.tally.fault("close with work in flight");
        let (here, there) = (self.lines[at].here, self.lines[at].there);
        let _ = if random.bool() { self.here().close(here) } else { self.there().close(there) };
    }

    fn peers_port_goes(&mut self, random: &mut fastrand::Rng) {
        if random.u8(0..4) > 0 {
            return;
        }
        self.tally.fault("peer's port dropped");
        self.held.clear();
        self.there.port = None;
        self.there.port = Some(self.there.node.port(()).expect("a port"));
        self.listen();
        // Its revokes are answered by nobody any more: blocks stay with their transfers.
        self.settle("the ends of all channels", |world| world.lines.iter().all(|line| line.over));
    }

    /// A port goes down and comes back: told, and nothing else.
    fn device_speaks(&mut self, random: &mut fastrand::Rng) {
        self.tally.fault("device event");
        let name = if random.bool() { &self.here.device } else { &self.there.device };
        const PORT_ACTIVE: u32 = 9;
        crate::devices::raise(name, PORT_ACTIVE);
    }
}
