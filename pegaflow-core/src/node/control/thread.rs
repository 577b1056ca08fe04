//! The control thread's loop and its connections.

mod dials;
mod ends;
mod frames;

use std::{
    collections::{HashMap, VecDeque},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, mpsc::SyncSender},
    time::{Duration, Instant},
};

use rustix::event::{
    Timespec,
    epoll::{self, CreateFlags, Event, EventData, EventFlags},
};

use super::{
    Command, Denial, Fetched, Frame, GARBAGE_ON_CONTROL, IMPORT_BATCH, Identity, Mailbox, VERSIONS, check,
    listener::{self, Listener},
    stream::{Fault, Stream, no_room},
};
use crate::{
    Cause, ChannelId, Class, Meets, Refusal,
    backend::Domain,
    node::{
        Address,
        inbox::{Inbox, Met, Note},
        life::{Watch, WatchId, Watches},
        news,
        registry::Registry,
    },
    region::{Imported, RegionInner},
    upkeep::Upkeep,
    usage::InUse,
};

/// A connection of the control thread's; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(u64);

const LISTENER: u64 = 0;
const MAILBOX: u64 = 1;
const DEVICE: u64 = 2;
const FIRST_CONNECTION: u64 = 3;
/// More are refused by closing them: a node has as many as it has channels.
const MAX_CONNECTIONS: usize = 4096;
/// Accepted in one go, and fewer than are served: in a storm of diallers who go again, those are let go as fast as they
/// come, and others get their turn.
const ACCEPT_AT_ONCE: usize = 16;
/// Pause where accepting failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);
/// How long one try to connect may take before it is given up for a new one. The kernel's own repeats of a lost packet
/// come ever later; so a host that comes up during a dial is found within this.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Most reads of what a peer has said before it died: more than a socket holds.
const MAX_LAST_READS: usize = 1024;
/// How long somebody who connected may say nothing. A node says Hello at once; over TCP anybody may connect.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

struct Connection {
    stream: Stream,
    stage: Stage,
    inbox: Option<Arc<Inbox>>,
    /// Imports that wait for an answer.
    asked: VecDeque<(u32, SyncSender<Fetched>)>,
    next_request: u32,
    /// A Hello for a class that no port listens for yet: it waits, as long as the dialler does.
    unclaimed: Option<(Class, Met)>,
    /// What the peer has imported: kept as long as the connection, or until he has given it back.
    imported: Vec<Imported>,
    /// Epochs that the peer was asked to give back.
    revoking: Vec<u64>,
    /// The peer has ended his half, which he does after his end of the channel.
    left: bool,
    /// Tells of the peer's death, where it is watched.
    watch: Option<Arc<Watch>>,
    /// The last question about sums that is not answered: this side's, and the peer's.
    checks: (Option<u32>, Option<u32>),
    /// Whether the peer has said Ready, and Bye. Each is a note for the port, who may not look for long.
    said: (bool, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Being connected for this channel.
    Connecting(ChannelId),
    /// Accepted; a Hello is expected.
    Fresh,
    /// Hello handed to a port, which has not welcomed yet.
    Asked,
    /// Connected for this channel; Welcome is expected.
    Dialled(ChannelId),
    /// Both have met.
    Met,
    /// The peer has ended it, and the port was told. It stays open until the port has taken its end of the channel down:
    /// the peer takes its end for the proof that nothing of this side's touches his memory.
    Ended,
    /// This side has ended it, and waits for the same of the peer.
    Leaving,
}

/// A dial that nobody has answered yet.
struct Dial {
    address: Address,
    class: Class,
    channel: ChannelId,
    inbox: Arc<Inbox>,
    /// Taken once connected.
    met: Option<Met>,
    step: Step,
    until: Instant,
}

/// How far a dial is.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// To be tried at this time.
    Wait(Instant),
    /// Being connected; given up for a new try at this time.
    Connecting(ConnectionId, Instant),
    /// Hello is said.
    Asked(ConnectionId),
}

impl Step {
    fn connection(self) -> Option<ConnectionId> {
        match self {
            Self::Wait(_) => None,
            Self::Connecting(connection, _) | Self::Asked(connection) => Some(connection),
        }
    }
}

pub(crate) struct State {
    identity: Identity,
    listener: Listener,
    mailbox: Arc<Mailbox>,
    meets: Meets,
    domain: Arc<dyn Domain>,
    registry: Arc<Registry>,
    upkeep: Arc<Upkeep>,
    epoll: Arc<OwnedFd>,
    connections: HashMap<ConnectionId, Connection>,
    next_connection: u64,
    listening: HashMap<Class, Arc<Inbox>>,
    dials: Vec<Dial>,
    /// Who was accepted, and by when Hello is to be said; in the order of the time.
    fresh: VecDeque<(Instant, ConnectionId)>,
    watches: Watches,
}

impl State {
    pub(crate) fn new(
        identity: Identity,
        listener: Listener,
        mailbox: Arc<Mailbox>,
        (domain, registry, upkeep): (Arc<dyn Domain>, Arc<Registry>, Arc<Upkeep>),
    ) -> io::Result<Self> {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC)?);
        epoll::add(&epoll, listener.fd(), EventData::new_u64(LISTENER), EventFlags::IN)?;
        epoll::add(&epoll, mailbox.wake.as_fd(), EventData::new_u64(MAILBOX), EventFlags::IN)?;
        if let Some(events) = domain.events() {
            epoll::add(&epoll, events, EventData::new_u64(DEVICE), EventFlags::IN)?;
        }
        let watches = Watches::new(Arc::clone(&mailbox));
        Ok(Self {
            identity,
            listener,
            mailbox,
            meets: domain.capabilities().meets,
            domain,
            registry,
            upkeep,
            epoll,
            connections: HashMap::new(),
            next_connection: FIRST_CONNECTION,
            listening: HashMap::new(),
            dials: Vec::new(),
            fresh: VecDeque::new(),
            watches,
        })
    }

    pub(crate) fn run(mut self) {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 32];
        loop {
            let count = match epoll::wait(&self.epoll, &mut events[..], self.nearest().as_ref()) {
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) => 0,
                Err(errno) => {
                    tracing::error!(node = %self.identity.name, %errno, "the control thread can't wait, and ends");
                    return;
                }
            };
            for event in &events[..count] {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    MAILBOX => {
                        let _ = rustix::io::read(&self.mailbox.wake, &mut [0_u8; 8]);
                    }
                    DEVICE => self.attend(event.flags),
                    token => self.serve(ConnectionId(token), event.flags),
                }
            }
            while let Some(command) = self.mailbox.take() {
                if matches!(command, Command::Stop) {
                    return;
                }
                self.command(command);
            }
            self.drive_dials();
            self.end_the_mute();
        }
    }

    /// How long until a dial or somebody who was accepted wants attention.
    fn nearest(&self) -> Option<Timespec> {
        let due = |dial: &Dial| match dial.step {
            Step::Wait(then) | Step::Connecting(_, then) => dial.until.min(then),
            Step::Asked(_) => dial.until,
        };
        let fresh = self.fresh.front().map(|&(then, _)| then);
        let next = self.dials.iter().map(due).chain(fresh).min()?;
        Timespec::try_from(next.saturating_duration_since(Instant::now())).ok()
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Listen { class, inbox } => {
                for (&connection, known) in &mut self.connections {
                    if let Some((_, peer)) = known.unclaimed.take_if(|(wanted, _)| *wanted == class) {
                        known.inbox = Some(Arc::clone(&inbox));
                        inbox.put(Note::Hello { connection, class, peer });
                    }
                }
                self.listening.insert(class, inbox);
            }
            Command::Dial { address, class, channel, inbox, met, until } => {
                let step = Step::Wait(Instant::now());
                self.dials.push(Dial { address, class, channel, inbox, met: Some(met), step, until });
            }
            Command::GiveUp { channel } => self.give_up(|dial| dial.channel == channel),
            Command::Send { connection, frame } => {
                if let Some(known) = self.connections.get_mut(&connection)
                    && known.is_open()
                {
                    match frame {
                        Frame::Welcome { .. } => known.stage = Stage::Met,
                        Frame::Check { request, .. } => known.checks.0 = Some(request),
                        Frame::Checked { .. } => known.checks.1 = None,
                        _ => {}
                    }
                    self.send(connection, frame);
                }
            }
            Command::Close { connection } => {
                // What the socket does not take now is not worth waiting for: its end says the same as a Bye.
                if let Some(mut known) = self.connections.remove(&connection) {
                    let _ = known.stream.flush();
                }
            }
            Command::Leave { connection, inbox } => self.leave(connection, &inbox),
            Command::Revoke { connection, epoch } => {
                self.registry.revoke(epoch, connection);
                if let Some(known) = self.connections.get_mut(&connection)
                    && known.is_open()
                {
                    if known.imported.iter().any(|one| one.epoch == epoch) {
                        known.revoking.push(epoch);
                        self.send(connection, Frame::Revoke { epoch });
                    } else if let Some(inbox) = &known.inbox {
                        // He has never had it.
                        inbox.put(Note::Revoked { connection, epoch });
                    }
                }
            }
            Command::Fetch { connection, epoch, first, count, answer } => {
                if let Some(known) = self.connections.get_mut(&connection)
                    && known.is_open()
                {
                    let request = known.next_request;
                    known.next_request = request.wrapping_add(1);
                    known.asked.push_back((request, answer));
                    self.send(connection, Frame::Import { request, epoch, first, count });
                } else {
                    let _ = answer.try_send(Err(Denial::Owner("the channel's connection has ended".to_owned())));
                }
            }
            Command::Died { watch } => self.bury(watch),
            Command::Forget { inbox } => {
                self.listening.retain(|_, other| !Arc::ptr_eq(other, &inbox));
                self.give_up(|dial| Arc::ptr_eq(&dial.inbox, &inbox));
                // Memory that a peer may still write to is kept by those that are leaving.
                self.connections.retain(|_, known| {
                    known.stage == Stage::Leaving
                        || !known.inbox.as_ref().is_some_and(|other| Arc::ptr_eq(other, &inbox))
                });
            }
            Command::Stop => {}
        }
    }

    fn attend(&self, flags: EventFlags) {
        news::attend(&self.domain);
        if !flags.contains(EventFlags::IN)
            && let Some(events) = self.domain.events()
        {
            // An error or the end, which stays: nothing that could be attended makes it go away.
            tracing::warn!(node = %self.identity.name, ?flags, "the device speaks no more");
            let _ = epoll::delete(&self.epoll, events);
        }
    }

    fn accept(&mut self) {
        if self.fresh.len() > 2 * MAX_CONNECTIONS {
            self.fresh.retain(|(_, id)| self.connections.contains_key(id));
        }
        for _ in 0..ACCEPT_AT_ONCE {
            match self.listener.accept() {
                Ok(Some(socket)) if self.connections.len() < MAX_CONNECTIONS => {
                    match self.enter(socket, Stage::Fresh, None) {
                        Ok(id) => self.fresh.push_back((Instant::now() + HELLO_WITHIN, id)),
                        Err(error) => {
                            tracing::warn!(node = %self.identity.name, %error, "a dialler could not be taken");
                        }
                    }
                }
                Ok(Some(_)) => {
                    tracing::warn!(node = %self.identity.name, MAX_CONNECTIONS, "a dialler was turned away");
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(node = %self.identity.name, %error, "accepting failed");
                    // Out of descriptors: the listener stays readable, so do not spin on it.
                    std::thread::sleep(ACCEPT_AGAIN);
                    return;
                }
            }
        }
    }

    fn enter(&mut self, socket: OwnedFd, stage: Stage, inbox: Option<Arc<Inbox>>) -> io::Result<ConnectionId> {
        let id = ConnectionId(self.next_connection);
        let first = if matches!(stage, Stage::Connecting(_)) { EventFlags::OUT } else { EventFlags::IN };
        epoll::add(&self.epoll, &socket, EventData::new_u64(id.0), first)?;
        self.next_connection += 1;
        let stream = Stream::new(socket, self.meets).entered(&self.epoll);
        let asked = VecDeque::new();
        let (next_request, unclaimed, imported, revoking) = (0, None, Vec::new(), Vec::new());
        let (left, watch, checks, said) = (false, None, (None, None), (false, false));
        let made = Connection {
            stream,
            stage,
            inbox,
            asked,
            next_request,
            unclaimed,
            imported,
            revoking,
            left,
            watch,
            checks,
            said,
        };
        self.connections.insert(id, made);
        Ok(id)
    }

    fn serve(&mut self, id: ConnectionId, flags: EventFlags) {
        let Some(known) = self.connections.get_mut(&id) else {
            return;
        };
        match known.stage {
            Stage::Connecting(channel) => return self.connected(id, channel),
            Stage::Leaving if known.stream.discard() => return,
            Stage::Leaving => return self.lose(id, Cause::PeerGone),
            _ => {}
        }
        let mut end = None;
        if flags.contains(EventFlags::OUT)
            && let Err(error) = known.stream.flush()
        {
            end = Some(error.cause());
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            match known.stream.receive() {
                Ok(true) => {}
                Ok(false) => end = Some(Cause::PeerGone),
                Err(error) => end = Some(error.cause()),
            }
        }
        // What came before the end still counts.
        while let Some(known) = self.connections.get_mut(&id) {
            match known.stream.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(cause) = self.frame(id, frame) {
                        end = Some(cause);
                        break;
                    }
                }
                Ok(None) => break,
                // A shortage of this process alone, which passes.
                Err(Fault::NoRoom { request: Some(request) }) => {
                    if let Err(cause) = known.answer(request, Err(Denial::Here(no_room()))) {
                        end = Some(cause);
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(node = %self.identity.name, %error, "a control connection is given up");
                    end = Some(error.cause());
                    break;
                }
            }
        }
        match end {
            Some(cause) => self.lose(id, cause),
            None => self.watch(id),
        }
    }

    /// Asks to be told of writability only while something waits for it.
    fn watch(&self, id: ConnectionId) {
        if let Some(known) = self.connections.get(&id) {
            let out = if known.stream.waits() { EventFlags::OUT } else { EventFlags::empty() };
            if let Err(errno) =
                epoll::modify(&self.epoll, known.stream.fd(), EventData::new_u64(id.0), EventFlags::IN | out)
            {
                tracing::error!(node = %self.identity.name, %errno, "a control connection can't be watched");
            }
        }
    }

    fn send(&mut self, id: ConnectionId, frame: Frame) {
        let Some(known) = self.connections.get_mut(&id) else {
            return;
        };
        match known.stream.send(frame) {
            Ok(()) => self.watch(id),
            Err(error) => {
                if matches!(error, Fault::TooManyFiles { .. }) {
                    tracing::error!(node = %self.identity.name, %error, "a control connection is given up");
                }
                self.lose(id, error.cause());
            }
        }
    }
}

impl Connection {
    /// Whether frames go over it.
    fn is_open(&self) -> bool {
        !matches!(self.stage, Stage::Ended | Stage::Leaving)
    }

    /// Answers come in the order of the questions.
    fn answer(&mut self, request: u32, fetched: Fetched) -> Result<(), Cause> {
        match self.asked.pop_front() {
            Some((asked, answer)) if asked == request => {
                // Whoever asked may have stopped waiting.
                let _ = answer.try_send(fetched);
                Ok(())
            }
            _ => Err(GARBAGE_ON_CONTROL),
        }
    }
}
