//! The port that its own thread drives: progress inside `poll`.

use std::{
    fmt,
    mem::ManuallyDrop,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::{Port, channel::Channel, checking::Check, taking_back::outlive};
use crate::{
    ApiMisuse, Armed, Batch, Cause, ChannelId, Class, ConnectError, Counter, Event, Grant, Link, MemoryError, Outcome,
    Revoking, Slot, State, Submitted, Subscriber, TransferId,
    backend::{Engine, Follow, Posted, Raw, Run, Work},
    fork::Origin,
    node::{NodeInner, inbox::Inbox, news},
    observe::{Accepted, Polled},
};

/// Most facts taken from the engine at once.
const RAW_BATCH: usize = 64;
/// What a backend did that no backend may: a message in a slot that is taken.
const GARBAGE_SLOT: Cause = Cause::Garbage(2);

/// A port whose owner polls it himself; facts go to the subscriber `S`.
pub struct Poller<S: Subscriber> {
    pub(super) node: Arc<NodeInner>,
    pub(super) origin: Origin,
    /// Taken by the drop: it may live on longer than the port. In a child of a fork it stays.
    pub(super) engine: ManuallyDrop<Box<dyn Engine>>,
    pub(super) inbox: Arc<Inbox>,
    /// By link.
    pub(super) channels: Box<[Option<Box<Channel>>]>,
    /// By link: where the transfers' ids of its last channel left off.
    pub(super) serials: Box<[u32]>,
    /// The links that are in use, in the order in which they came.
    pub(super) active: Vec<u16>,
    pub(super) subscriber: S,
    epoll: OwnedFd,
    pub(super) copies_in_poll: bool,
    /// Whether a link that is down keeps out what its peer has under way.
    pub(super) fence_is_proof: bool,
    /// The device has said something that is not handed out yet.
    pub(super) has_device_news: bool,
    /// `arm` said sleep, and nothing was polled since.
    armed: bool,
    /// No deadline is earlier.
    next_deadline: Option<Instant>,
    /// Moves given to the engine since the subscriber was told last.
    moves: u64,
    /// Which of `active` is served first, so that none is served first always.
    turn: usize,
}

impl<S: Subscriber> Poller<S> {
    pub(crate) fn new(node: Arc<NodeInner>, subscriber: S) -> Result<Self, ConnectError> {
        let engine = node.domain.engine(&node.upkeep.reaper)?;
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source: std::io::Error| ConnectError::Io { what, source }
        };
        let inbox = Arc::new(Inbox::new().map_err(failed("eventfd"))?);
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|errno| failed("epoll_create")(errno.into()))?;
        for fd in [engine.fd(), inbox.fd()] {
            epoll::add(&epoll, fd, EventData::new_u64(0), EventFlags::IN)
                .map_err(|errno| failed("epoll_ctl")(errno.into()))?;
        }
        news::subscribe(&node.domain, &inbox);
        let capabilities = node.domain.capabilities();
        let count = usize::from(capabilities.max_channels);
        let (copies_in_poll, fence_is_proof) = (capabilities.copies_in_poll, capabilities.fence_is_proof);
        Ok(Self {
            node,
            origin: Origin::here(),
            engine: ManuallyDrop::new(engine),
            inbox,
            channels: (0..count).map(|_| None).collect(),
            serials: vec![0; count].into(),
            active: Vec::with_capacity(count),
            subscriber,
            epoll,
            copies_in_poll,
            fence_is_proof,
            has_device_news: false,
            armed: false,
            next_deadline: None,
            moves: 0,
            turn: 0,
        })
    }

    /// The subscriber, to read its figures.
    pub fn subscriber(&self) -> &S {
        &self.subscriber
    }

    /// The subscriber, to reset its figures.
    pub fn subscriber_mut(&mut self) -> &mut S {
        &mut self.subscriber
    }

    /// What this port has asked of its device so far, over all its channels, those that have ended included. Two of them
    /// make the price of what lies between.
    pub fn work(&self) -> Work {
        self.engine.work()
    }

    pub(super) fn channel(&self, id: ChannelId) -> Result<&Channel, ApiMisuse> {
        self.origin.check()?;
        let found = self.channels.get(usize::from(id.index)).and_then(Option::as_deref);
        found.filter(|channel| channel.id == id).ok_or(ApiMisuse::UnknownChannel(id))
    }

    pub(super) fn channel_mut(&mut self, id: ChannelId) -> Result<&mut Channel, ApiMisuse> {
        self.origin.check()?;
        let found = self.channels.get_mut(usize::from(id.index)).and_then(Option::as_deref_mut);
        found.filter(|channel| channel.id == id).ok_or(ApiMisuse::UnknownChannel(id))
    }

    /// What `submit` and `send` do alike, once the channel has answered.
    fn submitted(&mut self, on: ChannelId, answer: (Submitted, Accepted), deadline: Instant) -> Submitted {
        let (submitted, accepted) = answer;
        let Ok(channel) = self.channel(on) else {
            return submitted;
        };
        let at = channel.on();
        match submitted {
            Submitted::Full(bound) => self.subscriber.full(at, bound),
            Submitted::Revoked => {}
            Submitted::Accepted(_) => {
                self.subscriber.accepted(at, accepted);
                self.due_at(deadline);
                if !self.copies_in_poll {
                    self.post(on.link());
                }
            }
        }
        submitted
    }

    /// Something is due at this time.
    pub(super) fn due_at(&mut self, time: Instant) {
        self.next_deadline = Some(self.next_deadline.map_or(time, |next| next.min(time)));
    }

    /// Ends a transfer that is in flight, and tells the subscriber.
    pub(super) fn end(&mut self, link: Link, slot: u16, outcome: Outcome, now: Instant) {
        let Some(channel) = self.channels[link.index()].as_deref_mut() else {
            return;
        };
        let ended = channel.end(slot, outcome, now);
        let fence_at = channel.transfer(slot).fence_at;
        self.subscriber.ended(channel.on(), ended);
        if let Some(fence_at) = fence_at {
            self.due_at(fence_at);
        }
    }

    /// Gives the engine what waits on a link, as much as it takes now.
    pub(super) fn post(&mut self, link: Link) {
        let Some(channel) = self.channels[link.index()].as_deref_mut() else {
            return;
        };
        while channel.may_post
            && let Some(id) = channel.next_abort()
        {
            // SAFETY: it names no memory.
            if unsafe { self.engine.post(link, &mut Run::abort(id)) } == Posted::Part {
                return;
            }
            channel.abort_posted();
        }
        while let Some(channel) = self.channels[link.index()].as_deref_mut()
            && let Some(&slot) = channel.queue.front()
            && channel.may_post
        {
            if channel.transfer(slot).check != Check::None && !self.check(link, slot) {
                return;
            }
            let Some(channel) = self.channels[link.index()].as_deref_mut() else {
                return;
            };
            let posted_at = channel.transfer(slot).posted_at.unwrap_or_else(Instant::now);
            let mut run = channel.run(slot);
            // SAFETY: every range that the run yields was checked when its plan was made and its ids when the batch
            // was submitted; the transfer holds the plan, which holds both sides' memory, until its parts are complete
            // or the link is closed.
            let posted = unsafe { self.engine.post(link, &mut run) };
            let (cursor, finished, follows) = (run.cursor(), run.parts_finished(), run.follow() != Follow::Nothing);
            let transfer = channel.transfer(slot);
            if cursor != transfer.cursor || posted == Posted::All {
                transfer.posted_at = Some(posted_at);
            }
            self.moves += cursor.moves() - transfer.cursor.moves();
            transfer.posted_parts += cursor.moves() - transfer.cursor.moves();
            transfer.finished_parts += finished;
            transfer.cursor = cursor;
            if posted == Posted::Part {
                return;
            }
            if channel.transfer(slot).check == Check::Wanted {
                channel.transfer(slot).check = Check::Posted;
                continue;
            }
            if follows {
                channel.transfer(slot).posted_parts += 1;
            }
            channel.all_posted(slot);
            if channel.transfer(slot).quiet() {
                let ended = channel.end(slot, Outcome::Done, Instant::now());
                self.subscriber.ended(channel.on(), ended);
            }
            if self.copies_in_poll {
                // One transfer, or one chunk of it, a channel and poll: nobody waits for a neighbour's whole queue.
                return;
            }
        }
    }

    /// Takes what the engine saw; gives how many facts that were, how many of them arrivals, and how many events it made.
    fn take_raw(&mut self, events: &mut [Event]) -> (usize, usize, usize) {
        let mut raw = [Raw::Credit { link: Link(0), messages: 0 }; RAW_BATCH];
        let room = events.len().min(RAW_BATCH);
        let count = self.engine.poll(&mut raw[..room]);
        let (mut arrivals, mut made) = (0, 0);
        for raw in &raw[..count] {
            arrivals += usize::from(matches!(raw, Raw::Counted { .. } | Raw::Arrived { .. }));
            if let Some(event) = self.one_raw(*raw) {
                events[made] = event;
                made += 1;
            }
        }
        if count < room {
            self.drained();
        }
        (count, arrivals, made)
    }

    fn one_raw(&mut self, raw: Raw) -> Option<Event> {
        match raw {
            Raw::Completed { cookie, parts } => {
                let id = TransferId::from_cookie(cookie);
                let channel = self.channels.get_mut(usize::from(id.channel))?.as_deref_mut()?;
                let slot = channel.completed(id, parts)?;
                let ended = channel.end(slot, Outcome::Done, Instant::now());
                self.subscriber.ended(channel.on(), ended);
                None
            }
            Raw::Failed { link, cause } => {
                // Who has said that he closes, or is known to be gone, needs no guess at why the link failed.
                let channel = self.channels.get_mut(link.index())?.as_deref_mut()?;
                let state = channel.ending.take().unwrap_or(State::Broken(cause));
                self.finish(link, state);
                None
            }
            Raw::Counted { link, increments } => {
                let channel = self.channels.get_mut(link.index())?.as_deref_mut()?;
                channel.may_post = true;
                self.subscriber.counted(channel.on(), increments);
                Some(Event::Counters { channel: channel.id })
            }
            Raw::Arrived { link, slot, bytes } => {
                let channel = self.channels.get_mut(link.index())?.as_deref_mut()?;
                // The peer sends only once it has joined, and this may overtake its word that it has.
                channel.may_post = true;
                let Some(generation) = channel.held.arrive(slot, bytes) else {
                    self.finish(link, State::Broken(GARBAGE_SLOT));
                    return None;
                };
                let slot = Slot { channel: channel.id, index: slot, generation };
                self.subscriber.message(channel.on(), slot, bytes);
                Some(Event::Message { channel: channel.id, slot, bytes })
            }
            Raw::Aborted { link, aborts } => {
                let channel = self.channels.get_mut(link.index())?.as_deref_mut()?;
                channel.may_post = true;
                self.subscriber.aborted(channel.on(), aborts);
                Some(Event::Counters { channel: channel.id })
            }
            Raw::Closed { link, quiet } => {
                self.link_closed(link, quiet);
                None
            }
            Raw::Credit { link, messages } => {
                let channel = self.channels.get_mut(link.index())?.as_deref_mut()?;
                if let Some(peer) = &mut channel.peer {
                    peer.outgoing.credited(messages);
                }
                None
            }
        }
    }

    /// All that the peers have sent is handed out: channels whose end was announced may end now.
    fn drained(&mut self) {
        for at in 0..self.active.len() {
            let link = Link(self.active[at]);
            let ending = self.channels[link.index()].as_deref_mut().and_then(|channel| channel.ending.take());
            if let Some(state) = ending {
                self.finish(link, state);
            }
        }
    }

    /// Ends what is due, and notes when the next is.
    fn deadlines(&mut self) {
        let Some(next) = self.next_deadline else { return };
        let now = Instant::now();
        if now < next {
            return;
        }
        self.next_deadline = None;
        for at in 0..self.active.len() {
            let link = Link(self.active[at]);
            while let Some(slot) = self.channels[link.index()].as_deref().and_then(|one| one.next_due(Some(now))) {
                self.end(link, slot, Outcome::DeadlinePassed, now);
            }
            if self.channels[link.index()].as_deref().is_some_and(|channel| channel.must_fence(now)) {
                self.finish(link, State::Broken(Cause::Fenced));
            }
            let nearest = self.channels[link.index()].as_deref().and_then(Channel::nearest_deadline);
            self.next_deadline = [self.next_deadline, nearest].into_iter().flatten().min();
        }
    }

    /// Channels that close, once they are quiet.
    fn closings(&mut self) {
        for at in 0..self.active.len() {
            let link = Link(self.active[at]);
            let done = |channel: &Channel| channel.closing && channel.all_quiet();
            if self.channels[link.index()].as_deref().is_some_and(done) {
                self.finish(link, State::Closed);
            }
        }
    }

    /// Hands out what waits, and forgets the channels that are over.
    fn tell(&mut self, events: &mut [Event]) -> usize {
        let mut made = if self.has_device_news { self.tell_device_news(events) } else { 0 };
        let mut at = 0;
        while at < self.active.len() {
            let link = Link(self.active[at]);
            let Some(channel) = self.channels[link.index()].as_deref_mut() else {
                break;
            };
            while made < events.len()
                && let Some(event) = channel.next_news()
            {
                match event {
                    Event::Ended { quiet: false, .. } => self.subscriber.unquiet(channel.on()),
                    Event::Quiet { .. } => self.subscriber.quiet(channel.on()),
                    Event::Revoked { how, .. } => self.subscriber.revoked(channel.on(), how),
                    _ => {}
                }
                events[made] = event;
                made += 1;
            }
            if channel.over() {
                self.engine.forget(link);
                self.serials[link.index()] = channel.serial;
                self.channels[link.index()] = None;
                self.active.remove(at);
            } else {
                at += 1;
            }
        }
        made
    }
}

impl<S: Subscriber> Port for Poller<S> {
    fn listen(&mut self, class: Class) -> Result<(), ConnectError> {
        self.origin.check()?;
        self.node.control.listen(class, &self.inbox)
    }

    fn dial(&mut self, address: &[u8], class: Class, patience: Duration) -> Result<ChannelId, ConnectError> {
        self.origin.check()?;
        self.begin_dial(address, class, patience)
    }

    fn state(&self, channel: ChannelId) -> Option<State> {
        self.channel(channel).ok().map(|channel| channel.state)
    }

    fn peer(&self, channel: ChannelId) -> Option<&str> {
        self.channel(channel).ok()?.peer.as_ref().map(|peer| peer.name.as_str())
    }

    fn find(&self, peer: &str, class: Class) -> Option<ChannelId> {
        let fits = |channel: &&Channel| {
            let named = channel.peer.as_ref().is_some_and(|known| known.name == peer);
            named && channel.class == class && !channel.closing && matches!(channel.state, State::Up { .. })
        };
        if !self.origin.is_here() {
            return None;
        }
        let channels = self.active.iter().filter_map(|&link| self.channels[usize::from(link)].as_deref());
        channels.filter(fits).map(|channel| channel.id).max_by_key(|id| id.serial)
    }

    fn counter(&mut self, channel: ChannelId) -> Result<Option<Counter>, ApiMisuse> {
        Ok(self.channel(channel)?.counters()?.and_then(|counters| counters.take()))
    }

    fn submit(&mut self, on: ChannelId, batch: &Batch<'_>) -> Result<Submitted, ApiMisuse> {
        let answer = self.channel_mut(on)?.submit(batch)?;
        Ok(self.submitted(on, answer, batch.deadline))
    }

    fn send(&mut self, on: ChannelId, message: &[u8], deadline: Instant, tag: u64) -> Result<Submitted, ApiMisuse> {
        let answer = self.channel_mut(on)?.send(message, deadline, tag)?;
        Ok(self.submitted(on, answer, deadline))
    }

    fn poll(&mut self, events: &mut [Event]) -> usize {
        if !self.origin.is_here() {
            return 0;
        }
        if self.armed {
            self.armed = false;
            self.engine.disarm();
        }
        if self.inbox.pending() {
            self.read_inbox();
        }
        let mut made = self.tell(events);
        // Without room nothing is taken from the engine: what it has stays there.
        let (facts, arrivals, told) = if made < events.len() { self.take_raw(&mut events[made..]) } else { (0, 0, 0) };
        made += told;
        // What is past its deadline is withdrawn before anything is posted.
        self.deadlines();
        // Last, since completions have made room: who sleeps next is woken by completions alone, so what fits goes now.
        let count = self.active.len();
        self.turn = if self.turn + 1 < count { self.turn + 1 } else { 0 };
        for at in 0..count {
            self.post(Link(self.active[(self.turn + at) % count]));
        }
        self.closings();
        self.give_back();
        if made < events.len() {
            made += self.tell(&mut events[made..]);
        }
        let moves = std::mem::take(&mut self.moves);
        self.subscriber.polled(Polled { facts, arrivals, moves, events: made, engine: &**self.engine });
        made
    }

    fn message(&self, slot: Slot) -> Result<&[u8], ApiMisuse> {
        let channel = self.channel(slot.channel).map_err(not_held)?;
        let bytes = channel.held.bytes(slot.index, slot.generation)?;
        Ok(self.engine.message(slot.channel.link(), slot.index, bytes))
    }

    fn release(&mut self, slot: Slot) -> Result<(), ApiMisuse> {
        let channel = self.channel_mut(slot.channel).map_err(not_held)?;
        channel.held.release(slot.index, slot.generation)?;
        let on = channel.on();
        self.subscriber.released(on, slot);
        self.engine.release(slot.channel.link(), slot.index);
        Ok(())
    }

    fn cancel(&mut self, id: TransferId) -> bool {
        if !self.origin.is_here() {
            return false;
        }
        let channel = self.channels.get(usize::from(id.channel)).and_then(Option::as_deref);
        let Some(slot) = channel.and_then(|channel| channel.in_flight(id)) else {
            return false;
        };
        let link = Link(id.channel);
        self.end(link, slot, Outcome::Cancelled, Instant::now());
        if !self.copies_in_poll {
            // The receiver is told now, and not only once somebody polls.
            self.post(link);
        }
        true
    }

    fn close(&mut self, channel: ChannelId) -> Result<(), ApiMisuse> {
        self.begin_close(channel)
    }

    fn fence(&mut self, channel: ChannelId) -> Result<(), ApiMisuse> {
        self.channel(channel)?;
        self.finish(channel.link(), State::Broken(Cause::Fenced));
        Ok(())
    }

    fn revoke(&mut self, grant: &Grant, from: ChannelId, fence_after: Duration) -> Result<Revoking, ApiMisuse> {
        self.begin_revoke(grant, from, fence_after)
    }

    fn revoke_swap(&mut self, grant: &Grant, from: ChannelId) -> Result<(), MemoryError> {
        self.swap_revoked(grant, from)
    }

    fn arm(&mut self) -> Armed {
        if !self.origin.is_here() {
            return Armed::Sleep { until: None };
        }
        let busy = |link: &u16| {
            self.channels[usize::from(*link)].as_deref().is_some_and(|channel| {
                let waits = self.copies_in_poll && channel.has_work();
                waits || channel.has_news() || channel.ending.is_some()
            })
        };
        if self.inbox.pending() || self.has_device_news || self.active.iter().any(busy) {
            return Armed::Ready;
        }
        // The engine may have armed in part even where it says ready: the next poll undoes it.
        self.armed = true;
        match self.engine.arm() {
            Armed::Ready => Armed::Ready,
            Armed::Sleep { until } => {
                self.subscriber.sleeps();
                Armed::Sleep { until: [until, self.next_deadline].into_iter().flatten().min() }
            }
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// What is said of a slot whose channel is not there.
fn not_held(error: ApiMisuse) -> ApiMisuse {
    match error {
        ApiMisuse::Forked => error,
        _ => ApiMisuse::SlotNotHeld,
    }
}

impl<S: Subscriber> fmt::Debug for Poller<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("channels", &self.active.len()).finish_non_exhaustive()
    }
}

impl<S: Subscriber> Drop for Poller<S> {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            return;
        }
        for at in 0..self.active.len() {
            self.finish_for(Link(self.active[at]), State::Closed, Cause::ClosedHere);
        }
        self.node.control.forget(&self.inbox);
        // SAFETY: nothing of this value is used after its drop.
        let engine = unsafe { ManuallyDrop::take(&mut self.engine) };
        outlive(engine, std::mem::take(&mut self.channels), &self.node.upkeep);
    }
}
