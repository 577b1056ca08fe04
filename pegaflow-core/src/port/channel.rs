//! One channel of a port: its transfers, its queue, its state. Knows no engine.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    checking::{Check, withheld},
    ids_ring::IdsRing,
    messages::{Held, Outgoing},
    revokes::Revokes,
    transfer::{Follows, Phase, Transfer},
};
use crate::{
    ApiMisuse, Batch, Bounds, ChannelId, Class, CounterId, Event, Outcome, Quarantined, Short, State, Submitted, Then,
    TransferId,
    counter::CounterPool,
    node::control::ConnectionId,
    observe::{Accepted, Ended, On},
    plan::PlanInner,
    run::{Follow, Run},
};

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    pub(crate) class: Class,
    pub(crate) state: State,
    /// The state was not handed out yet.
    pub(crate) tell_state: bool,
    /// How far its end is.
    pub(crate) end: End,
    /// Grants that are being taken back from its peer.
    pub(crate) revokes: Revokes,
    /// The peer's epochs that are used no more, as it has asked.
    pub(crate) given_back: Vec<u64>,
    how: How,
    /// The peer was asked about sums, and has not answered.
    pub(crate) asking: bool,
    /// The state to end in, once all that the peer sent before is handed out.
    pub(crate) ending: Option<State>,
    /// Whether the engine may be given runs: the peer has joined.
    pub(crate) may_post: bool,
    /// `close` was called: nothing more is accepted.
    pub(crate) closing: bool,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) peer: Option<Peer>,
    pub(crate) held: Held,
    bounds: Bounds,
    transfers: Box<[Transfer]>,
    free: Vec<u16>,
    /// Not all posted, in the order of submission.
    pub(crate) queue: VecDeque<u16>,
    /// Ended, to be handed out.
    ended: VecDeque<u16>,
    /// Quiet after an end that was not, to be handed out.
    quiet: VecDeque<u16>,
    /// Ended before their count was posted: the receiver is to be told.
    aborts: VecDeque<u16>,
    ids: IdsRing,
    /// Counts the transfers of this channel and of those that had its link before, so that no id comes twice.
    pub(crate) serial: u32,
}

/// What the node's options say of its channels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) fence_after: Option<Duration>,
    pub(crate) checksum: bool,
}

/// What is still to come once a channel is broken or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// The engine has taken the link down.
    pub(crate) closed: bool,
    /// The peer has, or nothing of his comes through.
    pub(crate) left: bool,
}

/// What is known once both have met.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) bounds: Bounds,
    pub(crate) outgoing: Outgoing,
    pub(crate) counters: Option<Arc<CounterPool>>,
}

impl Channel {
    /// `serial` is where the last channel on this link left off.
    pub(crate) fn new(id: ChannelId, class: Class, bounds: Bounds, how: How, serial: u32) -> Self {
        let now = Instant::now();
        let count = bounds.transfers as usize;
        #[expect(clippy::cast_possible_truncation, reason = "at most 65536 transfers: the last slot is 65535")]
        let free = (0..count).rev().map(|slot| slot as u16).collect();
        Self {
            id,
            class,
            state: State::Connecting,
            tell_state: false,
            end: End { closed: false, left: true },
            revokes: Revokes::default(),
            given_back: Vec::new(),
            how,
            asking: false,
            ending: None,
            may_post: false,
            closing: false,
            connection: None,
            peer: None,
            held: Held::new(bounds.messages),
            bounds,
            transfers: (0..count).map(|_| Transfer::free(now)).collect(),
            free,
            queue: VecDeque::with_capacity(count),
            ended: VecDeque::with_capacity(count),
            quiet: VecDeque::with_capacity(count),
            aborts: VecDeque::with_capacity(count),
            ids: IdsRing::new(bounds.blocks, bounds.transfers),
            serial,
        }
    }

    pub(crate) fn on(&self) -> On {
        On { channel: self.id, class: self.class }
    }

    /// Whether it is broken or closed.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Broken(_) | State::Closed)
    }

    fn up(&self) -> Result<&Peer, ApiMisuse> {
        match (&self.peer, self.state) {
            (Some(peer), State::Up { .. }) if !self.closing => Ok(peer),
            (_, state) => {
                let state = if self.closing { "closing" } else { state.name() };
                Err(ApiMisuse::NotUp { channel: self.id, state })
            }
        }
    }

    pub(crate) fn counters(&self) -> Result<Option<&Arc<CounterPool>>, ApiMisuse> {
        Ok(self.up()?.counters.as_ref())
    }

    /// Checks a batch, then takes it or says which bound is short.
    pub(crate) fn submit(&mut self, batch: &Batch<'_>) -> Result<(Submitted, Accepted), ApiMisuse> {
        self.check_then(&batch.then)?;
        let plan = &batch.plan.0;
        if plan.remote.channel() != self.id {
            return Err(ApiMisuse::WrongChannel { plan: plan.remote.channel(), on: self.id });
        }
        if batch.here.len() != batch.there.len() {
            return Err(ApiMisuse::UnequalIds { here: batch.here.len(), there: batch.there.len() });
        }
        let planes = plan.here.planes();
        if batch.planes.start > batch.planes.end || batch.planes.end > planes {
            return Err(ApiMisuse::PlanesOutOfRange { start: batch.planes.start, end: batch.planes.end, planes });
        }
        if batch.here.len() > self.bounds.blocks as usize {
            return Err(ApiMisuse::BatchTooLong {
                blocks: batch.here.len(),
                bound: self.bounds.blocks,
                class: self.class,
            });
        }
        check_ids("here", batch.here, plan.here.blocks())?;
        check_ids("there", batch.there, plan.there.blocks())?;
        let count = u64::from(batch.planes.end - batch.planes.start);
        let blocks = batch.here.len() as u64 * count;
        let mut bytes = plan.block_bytes * blocks;
        if plan.here.span_bytes(0).is_some() {
            for (&here, &there) in batch.here.iter().zip(batch.there) {
                let here_bytes = plan.here.span_bytes(here).unwrap_or(0);
                let there_bytes = plan.there.span_bytes(there).unwrap_or(0);
                if here_bytes != there_bytes {
                    return Err(ApiMisuse::UnequalSpans { here, here_bytes, there, there_bytes });
                }
                bytes += here_bytes * count;
            }
        }
        let accepted = Accepted { op: Some(plan.op), bytes, blocks };
        if !self.ids.has_room(batch.here.len()) {
            return Ok((Submitted::Full(Short::Blocks), accepted));
        }
        let usage = &plan.remote.0.usage;
        if !usage.enter() {
            return Ok((Submitted::Revoked, accepted));
        }
        let submitted = self.take(&batch.then, batch.deadline, batch.tag);
        if !matches!(submitted, Submitted::Accepted(_)) && usage.leave() {
            self.given_back.push(plan.remote.epoch());
        }
        if let Submitted::Accepted(id) = submitted {
            let ids = self.ids.take(batch.here, batch.there);
            let transfer = &mut self.transfers[usize::from(id.slot)];
            transfer.plan = Some(batch.plan.clone());
            transfer.planes = batch.planes.clone();
            transfer.ids = Some(ids);
            transfer.blocks = blocks;
            transfer.uses_grant = true;
            if self.how.checksum {
                transfer.check = Check::Wanted;
            }
        }
        Ok((submitted, accepted))
    }

    pub(crate) fn send(
        &mut self,
        message: &[u8],
        deadline: Instant,
        tag: u64,
    ) -> Result<(Submitted, Accepted), ApiMisuse> {
        let then = Then::Message(message);
        self.check_then(&then)?;
        Ok((self.take(&then, deadline, tag), Accepted { op: None, bytes: 0, blocks: 0 }))
    }

    fn check_then(&self, then: &Then<'_>) -> Result<(), ApiMisuse> {
        let peer = self.up()?;
        match then {
            Then::Nothing => Ok(()),
            Then::Count(id) if id.index() >= peer.bounds.counters => {
                Err(ApiMisuse::CounterOutOfRange { index: id.index(), counters: peer.bounds.counters })
            }
            Then::Count(_) => Ok(()),
            Then::Message(message) if message.len() > peer.bounds.message_bytes as usize => {
                Err(ApiMisuse::MessageTooLong { bytes: message.len(), max: peer.bounds.message_bytes })
            }
            Then::Message(_) => Ok(()),
        }
    }

    fn take(&mut self, then: &Then<'_>, deadline: Instant, tag: u64) -> Submitted {
        let Some(peer) = &mut self.peer else {
            return Submitted::Full(Short::Transfers);
        };
        let Some(&slot) = self.free.last() else {
            return Submitted::Full(Short::Transfers);
        };
        let follow = match *then {
            Then::Nothing => Follows::Nothing,
            Then::Count(id) => Follows::Count(id),
            Then::Message(message) => {
                let waiting = if peer.outgoing.has_credit() { peer.outgoing.take(message) } else { None };
                match waiting {
                    Some(waiting) => Follows::Message(waiting),
                    None => return Submitted::Full(Short::Messages),
                }
            }
        };
        self.free.pop();
        self.serial = self.serial.wrapping_add(1);
        let generation = self.serial;
        let transfer = &mut self.transfers[usize::from(slot)];
        *transfer =
            Transfer { generation, phase: Phase::Queued, follow, deadline, tag, ..Transfer::free(Instant::now()) };
        self.queue.push_back(slot);
        Submitted::Accepted(TransferId { channel: self.id.index, slot, generation })
    }

    /// The run of the transfer at the head of the queue.
    pub(crate) fn run(&self, slot: u16) -> Run<'_> {
        let transfer = &self.transfers[usize::from(slot)];
        let follow = match (transfer.follow, &self.peer) {
            (Follows::Count(id), _) => Follow::Count(id),
            (Follows::Message(waiting), Some(peer)) => Follow::Message(peer.outgoing.bytes(waiting)),
            _ => Follow::Nothing,
        };
        let ids = self.ids.ids(transfer.ids.unwrap_or_default());
        let cookie = TransferId { channel: self.id.index, slot, generation: transfer.generation }.to_cookie();
        let plan = transfer.plan.as_ref().map(|plan| &*plan.0);
        let follow = withheld(follow, transfer.check);
        Run::new(plan, transfer.planes.clone(), ids, transfer.cursor, follow, cookie)
    }

    pub(crate) fn plan_of(&self, slot: u16) -> Option<&PlanInner> {
        self.transfers[usize::from(slot)].plan.as_ref().map(|plan| &*plan.0)
    }

    pub(crate) fn generation_of(&self, slot: u16) -> u32 {
        self.transfers[usize::from(slot)].generation
    }

    pub(crate) fn transfer(&mut self, slot: u16) -> &mut Transfer {
        &mut self.transfers[usize::from(slot)]
    }

    /// All of a transfer is posted: it leaves the queue.
    pub(crate) fn all_posted(&mut self, slot: u16) {
        self.queue.pop_front();
        let transfer = &mut self.transfers[usize::from(slot)];
        transfer.phase = Phase::Posted;
        if let (Follows::Message(waiting), Some(peer)) = (transfer.follow, &mut self.peer) {
            peer.outgoing.posted(waiting);
        }
    }

    /// Parts of a transfer are complete. A cookie that no transfer has is left alone.
    pub(crate) fn completed(&mut self, id: TransferId, parts: u64) -> Option<u16> {
        let transfer = self.transfers.get_mut(usize::from(id.slot))?;
        if transfer.generation != id.generation || transfer.phase == Phase::Free {
            return None;
        }
        // What comes after the link was closed, and all was taken to be finished, changes nothing.
        transfer.finished_parts = transfer.posted_parts.min(transfer.finished_parts + parts);
        match transfer.phase {
            Phase::Posted if transfer.quiet() => return Some(id.slot),
            Phase::Unquiet if transfer.quiet() => {
                transfer.phase = Phase::Quiet;
                self.quiet.push_back(id.slot);
                self.leave_grant(id.slot);
            }
            Phase::Ended(_) if transfer.quiet() => self.leave_grant(id.slot),
            _ => {}
        }
        None
    }

    /// A transfer that is quiet uses its grant no more.
    fn leave_grant(&mut self, slot: u16) {
        let transfer = &mut self.transfers[usize::from(slot)];
        if std::mem::take(&mut transfer.uses_grant)
            && let Some(plan) = &transfer.plan
            && plan.0.remote.0.usage.leave()
        {
            self.given_back.push(plan.0.remote.epoch());
        }
    }

    /// A transfer that is not posted whole, of a grant that its owner wants back.
    pub(crate) fn next_revoked(&self) -> Option<u16> {
        let is_revoked = |slot: &&u16| {
            let plan = self.transfers[usize::from(**slot)].plan.as_ref();
            plan.is_some_and(|plan| plan.0.remote.0.usage.is_revoked())
        };
        self.queue.iter().find(is_revoked).copied()
    }

    /// The count of a transfer that will not be counted, next to be told.
    pub(crate) fn next_abort(&self) -> Option<CounterId> {
        match self.transfers[usize::from(*self.aborts.front()?)].follow {
            Follows::Count(id) => Some(id),
            _ => None,
        }
    }

    /// The engine has that abort.
    pub(crate) fn abort_posted(&mut self) {
        if let Some(slot) = self.aborts.pop_front() {
            let transfer = &mut self.transfers[usize::from(slot)];
            transfer.to_abort = false;
            if transfer.phase == Phase::Aborting {
                self.retire(slot);
            }
        }
    }

    /// Whether something is to be posted.
    pub(crate) fn has_work(&self) -> bool {
        let waits = self.queue.front().is_some_and(|&slot| {
            let check = self.transfers[usize::from(slot)].check;
            matches!(check, Check::Asked { .. }) || (check == Check::Posted && self.asking)
        });
        self.may_post && ((!self.queue.is_empty() && !waits) || !self.aborts.is_empty())
    }

    /// The slot of a transfer that is in flight.
    pub(crate) fn in_flight(&self, id: TransferId) -> Option<u16> {
        let transfer = self.transfers.get(usize::from(id.slot))?;
        (transfer.generation == id.generation && transfer.in_flight()).then_some(id.slot)
    }

    /// Ends a transfer that is in flight; what is not posted is withdrawn. Gives the facts for the subscriber.
    pub(crate) fn end(&mut self, slot: u16, outcome: Outcome, now: Instant) -> Ended {
        let transfer = &mut self.transfers[usize::from(slot)];
        if transfer.phase == Phase::Queued {
            self.queue.retain(|&other| other != slot);
            match (transfer.follow, &mut self.peer) {
                (Follows::Message(waiting), Some(peer)) => peer.outgoing.withdrawn(waiting),
                (Follows::Count(_), Some(_)) => {
                    transfer.to_abort = true;
                    self.aborts.push_back(slot);
                }
                _ => {}
            }
        }
        transfer.phase = Phase::Ended(outcome);
        self.ended.push_back(slot);
        if transfer.quiet() {
            self.leave_grant(slot);
        } else if let Some(after) = self.how.fence_after {
            transfer.fence_at = now.checked_add(after);
        }
        let transfer = &self.transfers[usize::from(slot)];
        Ended {
            op: transfer.plan.as_ref().map(|plan| plan.0.op),
            then: transfer.follow.told(),
            outcome,
            bytes: transfer.cursor.bytes(),
            blocks: transfer.blocks,
            moves: transfer.cursor.moves(),
            queued: transfer.posted_at.map(|posted| posted.saturating_duration_since(transfer.submitted_at)),
            posted: transfer.posted_at.map(|posted| now.saturating_duration_since(posted)),
        }
    }

    /// Every transfer in flight whose deadline has come, or all of them for `None`.
    pub(crate) fn next_due(&self, now: Option<Instant>) -> Option<u16> {
        let due = |transfer: &Transfer| transfer.in_flight() && now.is_none_or(|now| transfer.deadline <= now);
        #[expect(clippy::cast_possible_truncation, reason = "an index below 65536")]
        self.transfers.iter().position(due).map(|slot| slot as u16)
    }

    /// When something is due next: the end of a transfer, or a fence.
    pub(crate) fn nearest_deadline(&self) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let due = |transfer: &Transfer| {
            if transfer.in_flight() { Some(transfer.deadline) } else { transfer.fence_due() }
        };
        self.transfers.iter().filter_map(due).chain(self.revokes.nearest()).min()
    }

    /// Whether the channel is to be fenced: a transfer has not become quiet in its time, or a revoke was not answered.
    pub(crate) fn must_fence(&self, now: Instant) -> bool {
        let late = |transfer: &Transfer| transfer.fence_due().is_some_and(|due| due <= now);
        !self.is_over() && (self.revokes.nearest().is_some_and(|due| due <= now) || self.transfers.iter().any(late))
    }

    /// Whether every transfer is quiet, and all that the peer is to be told of them is posted.
    pub(crate) fn all_quiet(&self) -> bool {
        self.aborts.is_empty() && self.transfers.iter().all(|transfer| !transfer.in_flight() && transfer.quiet())
    }

    /// The channel is over: nobody is told of aborts any more.
    pub(crate) fn drop_aborts(&mut self) {
        while !self.aborts.is_empty() {
            self.abort_posted();
        }
    }

    /// The link is down: nothing on this side is touched any more, whatever was not reported.
    pub(crate) fn silence(&mut self) {
        for (slot, transfer) in self.transfers.iter_mut().enumerate() {
            transfer.finished_parts = transfer.posted_parts;
            if transfer.phase == Phase::Unquiet {
                transfer.phase = Phase::Quiet;
                #[expect(clippy::cast_possible_truncation, reason = "an index below 65536")]
                self.quiet.push_back(slot as u16);
            }
        }
    }

    /// The link is down, and it is not proven that nothing on this side is touched any more. The memory of what is under
    /// way is kept for good: gives how much that is.
    pub(crate) fn keep_unquiet(&mut self) -> Quarantined {
        let mut kept = Quarantined::default();
        for plan in self.transfers.iter_mut().filter(|one| !one.quiet()).filter_map(|one| one.plan.take()) {
            kept.regions += plan.0.regions().len() as u64;
            kept.bytes += plan.0.regions().iter().map(crate::Region::bytes).sum::<u64>();
            std::mem::forget(plan);
        }
        kept
    }

    /// Whether something waits to be handed out.
    pub(crate) fn has_news(&self) -> bool {
        self.tell_state || !self.ended.is_empty() || !self.quiet.is_empty() || self.revokes.has_news()
    }

    /// Everything was handed out and given back: the channel can be forgotten.
    pub(crate) fn over(&self) -> bool {
        let down = self.is_over() && self.end == End { closed: true, left: true };
        down && !self.has_news() && self.held.none() && self.free.len() == self.transfers.len() && self.revokes.none()
    }

    /// The next thing to hand out: ends first, so that they come before the state that caused them.
    pub(crate) fn next_news(&mut self) -> Option<Event> {
        if let Some(slot) = self.ended.pop_front() {
            let transfer = &mut self.transfers[usize::from(slot)];
            let Phase::Ended(outcome) = transfer.phase else {
                return None;
            };
            let id = TransferId { channel: self.id.index, slot, generation: transfer.generation };
            let (tag, quiet, bytes) = (transfer.tag, transfer.quiet(), transfer.cursor.bytes());
            if quiet {
                self.retire(slot);
            } else {
                transfer.phase = Phase::Unquiet;
            }
            return Some(Event::Ended { tag, id, outcome, quiet, bytes });
        }
        if let Some(slot) = self.quiet.pop_front() {
            let transfer = &self.transfers[usize::from(slot)];
            let id = TransferId { channel: self.id.index, slot, generation: transfer.generation };
            let tag = transfer.tag;
            self.retire(slot);
            return Some(Event::Quiet { tag, id });
        }
        if self.tell_state {
            self.tell_state = false;
            return Some(Event::Channel { channel: self.id, state: self.state });
        }
        let (epoch, how) = self.revokes.next_news()?;
        Some(Event::Revoked { channel: self.id, epoch, how })
    }

    /// A transfer is over: its ids and its hold on memory are free, and its slot once its abort is posted.
    fn retire(&mut self, slot: u16) {
        let transfer = &mut self.transfers[usize::from(slot)];
        transfer.plan = None;
        if let Some(range) = transfer.ids.take() {
            self.ids.give_back(range);
        }
        if transfer.to_abort {
            transfer.phase = Phase::Aborting;
            return;
        }
        transfer.phase = Phase::Free;
        self.free.push(slot);
    }
}

fn check_ids(side: &'static str, ids: &[u32], blocks: u32) -> Result<(), ApiMisuse> {
    // The maximum is found without a branch per id; the culprit is looked for only where there is one.
    if ids.iter().copied().max().is_some_and(|id| id >= blocks) {
        let culprit = ids.iter().enumerate().find(|(_, id)| **id >= blocks);
        if let Some((position, &id)) = culprit {
            return Err(ApiMisuse::IdOutOfRange { side, position, id, blocks });
        }
    }
    Ok(())
}
