//! An agent: memory by descriptors, peers by blobs, transfers by indices, notifications by name. It has no thread of
//! its own: whoever holds it polls it, with any call that takes `&mut self`.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::time::{Duration, Instant};

use pegaflow::{
    Access, AllocateOptions, Audience, Batch, ChannelId, Class, Event, Grant, Node, Op, Outcome, Plan, Poller, Port,
    Region, Remote, Shape, Slot, State, Submitted, Then, TransferId, Window,
};

use crate::descriptor::{Blob, Descriptor, spans};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// All traffic of an agent is of one class: its callers name none.
const CLASS: Class = Class::Bulk;

pub(crate) struct Agent {
    node: Node,
    port: Poller<()>,
    /// How long a peer is waited for, and a transfer may take: callers name no time.
    patience: Duration,
    allocated: Vec<(Descriptor, Region)>,
    registered: Vec<Descriptor>,
    /// A blob is good as long as its grant.
    published: Vec<Grant>,
    peers: BTreeMap<String, Peer>,
    flights: BTreeMap<u64, Flight>,
    next_tag: u64,
    /// Received and not yet taken; each holds a credit of its sender's, so their number is bounded.
    arrived: VecDeque<(String, Slot)>,
}

struct Peer {
    channel: ChannelId,
    blob: Blob,
    /// Made when it is first needed: that needs the channel to be up.
    remote: Option<Remote>,
}

/// Two lists of descriptors, checked against what both sides have registered.
pub(crate) struct Prepared {
    peer: String,
    channel: ChannelId,
    plan: Plan,
}

/// What to move: pairs of indices into the prepared lists, and what to tell the peer at the end.
pub(crate) struct Request {
    peer: String,
    channel: ChannelId,
    plan: Plan,
    here: Vec<u32>,
    there: Vec<u32>,
    notification: Option<Vec<u8>>,
    /// Of the last post.
    tag: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    NotPosted,
    InProgress,
    Done,
    /// Any other end.
    Ended(Outcome),
}

struct Flight {
    channel: ChannelId,
    deadline: Instant,
    /// The request is gone: nobody asks any more.
    released: bool,
    phase: Phase,
}

enum Phase {
    /// A bound was reached: submitted again by the next `status`.
    Waiting,
    Moving(TransferId),
    Ended(Outcome),
}

impl Agent {
    pub(crate) fn new(node: &Node, patience: Duration) -> Result<Self> {
        let mut port = node.port(())?;
        port.listen(CLASS)?;
        Ok(Self {
            node: node.clone(),
            port,
            patience,
            allocated: Vec::new(),
            registered: Vec::new(),
            published: Vec::new(),
            peers: BTreeMap::new(),
            flights: BTreeMap::new(),
            next_tag: 0,
            arrived: VecDeque::new(),
        })
    }

    /// Memory that peers may be given. The library has to allocate it: not every backend lets peers reach other memory.
    pub(crate) fn allocate(&mut self, bytes: u64) -> Result<(Descriptor, Region)> {
        let region = self.node.allocate(bytes, &AllocateOptions::default())?;
        let whole = Descriptor { address: region.as_ptr() as u64, bytes, device: 0 };
        self.allocated.push((whole, region.clone()));
        Ok((whole, region))
    }

    /// Registers ranges: transfers may use them, and the next blob tells peers of them.
    pub(crate) fn register(&mut self, list: &[Descriptor]) -> Result<()> {
        for it in list {
            self.window(*it)?;
        }
        self.registered.extend(list);
        Ok(())
    }

    fn window(&self, it: Descriptor) -> Result<Window> {
        let found = self.allocated.iter().find(|(whole, _)| whole.holds(it));
        let (whole, region) = found.ok_or_else(|| format!("this agent did not allocate {it:x?}"))?;
        let start = it.address - whole.address;
        Ok(Window::new(region, start..start + it.bytes))
    }

    fn windows(&self) -> Result<Vec<Window>> {
        self.registered.iter().map(|it| self.window(*it)).collect()
    }

    /// The blob for all peers, of what is registered now. It goes to them by whatever means the caller has.
    pub(crate) fn metadata(&mut self) -> Result<Vec<u8>> {
        let windows = self.windows()?;
        let grant = if windows.is_empty() {
            Vec::new()
        } else {
            let grant = self.node.grant(&windows, Access::READ_WRITE, Audience::Anyone)?;
            self.published.push(grant);
            self.published.last().map(|grant| grant.as_bytes().to_vec()).unwrap_or_default()
        };
        let (name, address) = (self.node.name().to_owned(), self.node.address());
        Ok(Blob { name, address, grant, registered: self.registered.clone() }.encode())
    }

    /// Takes a peer's blob and begins to connect; gives the peer's name. A later blob of a known peer replaces what was
    /// known of its memory; a restarted peer's replaces the peer.
    pub(crate) fn load(&mut self, blob: &[u8]) -> Result<String> {
        let blob = Blob::decode(blob).ok_or("not an agent's blob")?;
        let name = blob.name.clone();
        if self.peers.get(&name).is_some_and(|peer| peer.blob.address != blob.address) {
            self.invalidate(&name)?;
        }
        let channel = match self.peers.get(&name) {
            Some(peer) => peer.channel,
            None => self.port.dial(&blob.address, CLASS, self.patience)?,
        };
        self.peers.insert(name.clone(), Peer { channel, blob, remote: None });
        Ok(name)
    }

    /// Whether transfers to a loaded peer can be prepared. The peer has to be polled too before it says yes.
    pub(crate) fn ready(&mut self, peer: &str) -> bool {
        self.progress();
        let channel = self.peers.get(peer).map(|peer| peer.channel);
        channel.is_some_and(|channel| matches!(self.port.state(channel), Some(State::Up { .. })))
    }

    /// Checks two lists once, for any number of requests. Blocks at a peer's first: its memory is imported then.
    pub(crate) fn prepare(
        &mut self,
        op: Op,
        here: &[Descriptor],
        peer: &str,
        there: &[Descriptor],
    ) -> Result<Prepared> {
        let known = self.peers.get_mut(peer).ok_or_else(|| format!("no blob of `{peer}` is loaded"))?;
        let remote = match &known.remote {
            Some(remote) => remote.clone(),
            None => self.node.import(known.channel, &known.blob.grant, self.patience)?,
        };
        known.remote = Some(remote.clone());
        let (channel, there) = (known.channel, spans(peer, &known.blob.registered, there)?);
        let here = spans("here", &self.registered, here)?;
        let windows = self.windows()?;
        let plan = self.node.plan(op, (&windows, Shape::Spans(&here)), (&remote, Shape::Spans(&there)))?;
        Ok(Prepared { peer: peer.to_owned(), channel, plan })
    }

    /// A request of pairs: descriptor `here[i]` of this side's list and `there[i]` of the peer's. The notification
    /// reaches the peer with the last byte.
    pub(crate) fn make(&self, lists: &Prepared, here: &[u32], there: &[u32], notification: Option<&[u8]>) -> Request {
        Request {
            peer: lists.peer.clone(),
            channel: lists.channel,
            plan: lists.plan.clone(),
            here: here.to_vec(),
            there: there.to_vec(),
            notification: notification.map(<[u8]>::to_vec),
            tag: None,
        }
    }

    /// Starts a request; again once it has ended.
    pub(crate) fn post(&mut self, request: &mut Request) -> Result<Status> {
        if self.status(request)? == Status::InProgress {
            return Err(format!("the request to `{}` is in progress", request.peer).into());
        }
        let (tag, deadline) = (self.next_tag, Instant::now() + self.patience);
        let phase = self.submit(request, tag, deadline)?;
        if let Some(old) = request.tag.replace(tag) {
            self.flights.remove(&old);
        }
        self.next_tag += 1;
        self.flights.insert(tag, Flight { channel: request.channel, deadline, released: false, phase });
        self.status(request)
    }

    fn submit(&mut self, request: &Request, tag: u64, deadline: Instant) -> Result<Phase> {
        let then = request.notification.as_deref().map_or(Then::Nothing, Then::Message);
        let Request { plan, here, there, channel, .. } = request;
        let batch = Batch { plan, planes: 0..1, here, there, then, deadline, tag };
        Ok(match self.port.submit(*channel, &batch)? {
            Submitted::Accepted(id) => Phase::Moving(id),
            Submitted::Full(_) => Phase::Waiting,
            Submitted::Revoked => return Err("the peer has taken its memory back".into()),
        })
    }

    /// How a request stands. One that has ended stays ended until it is posted again.
    pub(crate) fn status(&mut self, request: &Request) -> Result<Status> {
        self.progress();
        let Some((tag, flight)) = request.tag.and_then(|tag| Some((tag, self.flights.get(&tag)?))) else {
            return Ok(Status::NotPosted);
        };
        match (&flight.phase, flight.deadline) {
            (Phase::Moving(_), _) => Ok(Status::InProgress),
            (Phase::Ended(Outcome::Done), _) => Ok(Status::Done),
            (Phase::Ended(outcome), _) => Ok(Status::Ended(*outcome)),
            (Phase::Waiting, deadline) => {
                let late = Instant::now() >= deadline;
                let phase =
                    if late { Phase::Ended(Outcome::DeadlinePassed) } else { self.submit(request, tag, deadline)? };
                if let Some(flight) = self.flights.get_mut(&tag) {
                    flight.phase = phase;
                }
                Ok(if late { Status::Ended(Outcome::DeadlinePassed) } else { Status::InProgress })
            }
        }
    }

    /// Gives a request back. One in flight is cancelled: what was posted may still land, and the memory under it stays
    /// until it has.
    pub(crate) fn release(&mut self, request: Request) {
        let Some(flight) = request.tag.and_then(|tag| self.flights.get_mut(&tag)) else {
            return;
        };
        flight.released = true;
        if let Phase::Moving(id) = flight.phase {
            self.port.cancel(id);
        } else if let Some(tag) = request.tag {
            self.flights.remove(&tag);
        }
        self.progress();
    }

    /// Requests that the library still has something of, released ones too.
    pub(crate) fn in_flight(&mut self) -> usize {
        self.progress();
        self.flights.values().filter(|flight| matches!(flight.phase, Phase::Moving(_))).count()
    }

    /// Sends a notification alone, to a peer that was loaded or that has dialled. Gives whether there was room for it.
    pub(crate) fn notify(&mut self, peer: &str, bytes: &[u8]) -> Result<bool> {
        self.progress();
        let channel = self.port.find(peer, CLASS).ok_or_else(|| format!("no channel to `{peer}` is up"))?;
        let (tag, deadline) = (self.next_tag, Instant::now() + self.patience);
        let Submitted::Accepted(id) = self.port.send(channel, bytes, deadline, tag)? else {
            return Ok(false);
        };
        self.next_tag += 1;
        self.flights.insert(tag, Flight { channel, deadline, released: true, phase: Phase::Moving(id) });
        Ok(true)
    }

    /// Takes what has arrived, by the sender's name and in the order of arrival.
    pub(crate) fn notifications(&mut self) -> Result<BTreeMap<String, Vec<Vec<u8>>>> {
        self.progress();
        let mut taken: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        while let Some((peer, slot)) = self.arrived.pop_front() {
            taken.entry(peer).or_default().push(self.port.message(slot)?.to_vec());
            self.port.release(slot)?;
        }
        Ok(taken)
    }

    /// Forgets a peer: what is in flight to it is cancelled, its channel closed, its memory let go.
    pub(crate) fn invalidate(&mut self, peer: &str) -> Result<()> {
        let known = self.peers.remove(peer).ok_or_else(|| format!("no blob of `{peer}` is loaded"))?;
        for flight in self.flights.values_mut().filter(|flight| flight.channel == known.channel) {
            match flight.phase {
                Phase::Moving(id) => _ = self.port.cancel(id),
                Phase::Waiting => flight.phase = Phase::Ended(Outcome::Cancelled),
                Phase::Ended(_) => {}
            }
        }
        // A channel that broke before may be forgotten already: then there is nothing to close.
        if self.port.state(known.channel).is_some() {
            self.port.close(known.channel)?;
        }
        self.progress();
        Ok(())
    }

    /// Moves everything on.
    pub(crate) fn progress(&mut self) {
        let mut events = [Event::NONE; 32];
        let count = self.port.poll(&mut events);
        for event in &events[..count] {
            match *event {
                Event::Ended { tag, outcome, quiet, .. } => self.ended(tag, outcome, quiet),
                Event::Quiet { tag, .. } if self.flights.get(&tag).is_some_and(|flight| flight.released) => {
                    self.flights.remove(&tag);
                }
                Event::Message { channel, slot, .. } => {
                    let peer = self.port.peer(channel).unwrap_or_default().to_owned();
                    self.arrived.push_back((peer, slot));
                }
                _ => {}
            }
        }
    }

    fn ended(&mut self, tag: u64, outcome: Outcome, quiet: bool) {
        match self.flights.get_mut(&tag) {
            Some(flight) if flight.released && quiet => _ = self.flights.remove(&tag),
            Some(flight) if !flight.released => flight.phase = Phase::Ended(outcome),
            _ => {}
        }
    }
}
