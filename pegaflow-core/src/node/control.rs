//! The control thread: accepts dials, dials, carries hand-shakes, answers imports, notices a peer's end. One a node.
//!
//! It owns every connection alone. Ports and other threads ask by command; it answers by notes in a port's inbox.

mod check;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod garbage;
mod listener;
mod stream;
mod thread;

use std::{
    collections::VecDeque,
    fmt, io,
    ops::Range,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use rustix::event::EventfdFlags;

pub(crate) use frame::{Frame, IMPORT_BATCH, MAX_PIECES, Piece, VERSIONS};
pub(crate) use thread::ConnectionId;

use super::{
    Address, NodeOptions,
    inbox::{Inbox, Met},
    life::WatchId,
    registry::{Registry, lock},
};
use crate::{
    Cause, ChannelId, Class, ConnectError,
    backend::{Domain, Parcel},
    fork::Origin,
    upkeep::Upkeep,
};

/// Who this node is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) name: String,
    /// Random for each life of a node, so that a restarted peer is never taken for its predecessor.
    pub(crate) incarnation: u64,
    pub(crate) backend: &'static str,
}

impl Identity {
    pub(crate) fn new(name: &str, backend: &'static str) -> Result<Self, ConnectError> {
        Ok(Self { name: name.to_owned(), incarnation: random()?, backend })
    }
}

/// 64 bits that no other node has.
pub(crate) fn random() -> Result<u64, ConnectError> {
    let mut bytes = [0_u8; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => Ok(u64::from_ne_bytes(bytes)),
        Ok(_) => Err(io::ErrorKind::UnexpectedEof.into()),
        Err(errno) => Err(io::Error::from(errno)),
    }
    .map_err(|source| ConnectError::Io { what: "getrandom".to_owned(), source })
}

/// What others ask of the control thread.
#[derive(Debug)]
pub(crate) enum Command {
    Listen {
        class: Class,
        inbox: Arc<Inbox>,
    },
    Dial {
        address: Address,
        class: Class,
        channel: ChannelId,
        inbox: Arc<Inbox>,
        met: Met,
        until: Instant,
    },
    /// Give up a dial that is under way.
    GiveUp {
        channel: ChannelId,
    },
    Send {
        connection: ConnectionId,
        frame: Frame,
    },
    /// Send what waits, then end the connection.
    Close {
        connection: ConnectionId,
    },
    /// Send what waits, then end this side's half; tell `inbox` when the peer has ended his, which he does once he has taken
    /// his end of the channel down.
    Leave {
        connection: ConnectionId,
        inbox: Arc<Inbox>,
    },
    /// Take a grant back from the peer, and tell the port when he has answered.
    Revoke {
        connection: ConnectionId,
        epoch: u64,
    },
    Fetch {
        connection: ConnectionId,
        epoch: u64,
        first: u32,
        count: u32,
        answer: SyncSender<Fetched>,
    },
    /// The process of a peer has died.
    Died {
        watch: WatchId,
    },
    /// A port is gone, with all it listens for and dials.
    Forget {
        inbox: Arc<Inbox>,
    },
    Stop,
}

/// The regions of a grant.
pub(crate) type Fetched = Result<Vec<Parcel>, Denial>;

/// Why an import came to nothing.
#[derive(Debug)]
pub(crate) enum Denial {
    /// The owner's reason.
    Owner(String),
    /// Descriptors came, and this process had no room for them.
    Here(io::Error),
}

/// Commands on their way, and the descriptor that wakes the thread.
pub(crate) struct Mailbox {
    commands: Mutex<VecDeque<Command>>,
    wake: OwnedFd,
}

impl Mailbox {
    pub(crate) fn new() -> io::Result<Self> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { commands: Mutex::default(), wake })
    }

    pub(crate) fn put(&self, command: Command) {
        lock(&self.commands).push_back(command);
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    #[cfg(test)]
    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub(crate) fn take(&self) -> Option<Command> {
        lock(&self.commands).pop_front()
    }
}

/// The handle to a node's control thread; dropping it ends the thread and every connection.
pub(crate) struct Control {
    mailbox: Arc<Mailbox>,
    address: Address,
    thread: Option<JoinHandle<()>>,
    origin: Origin,
    listening: Mutex<[Option<Arc<Inbox>>; 3]>,
}

impl Control {
    pub(crate) fn start(
        identity: &Identity,
        options: &NodeOptions,
        (domain, registry, upkeep): (Arc<dyn Domain>, Arc<Registry>, Arc<Upkeep>),
    ) -> Result<Self, ConnectError> {
        let failed = |what: &str, source: io::Error| ConnectError::Io { what: what.to_owned(), source };
        let listener = listener::Listener::open(domain.capabilities().meets, identity, options)?;
        let address = Address::new(identity, listener.way());
        let mailbox = Arc::new(Mailbox::new().map_err(|source| failed("eventfd", source))?);
        let state = thread::State::new(identity.clone(), listener, Arc::clone(&mailbox), (domain, registry, upkeep))
            .map_err(|source| failed("epoll", source))?;
        let thread = std::thread::Builder::new()
            .name("pegaflow-ctl".to_owned())
            .spawn(move || state.run())
            .map_err(|source| failed("starting the control thread", source))?;
        let origin = Origin::here();
        Ok(Self { mailbox, address, thread: Some(thread), origin, listening: Mutex::default() })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Hellos of `class` go to `inbox` from now on.
    pub(crate) fn listen(&self, class: Class, inbox: &Arc<Inbox>) -> Result<(), ConnectError> {
        let mut listening = lock(&self.listening);
        match &listening[class as usize] {
            Some(other) if !Arc::ptr_eq(other, inbox) => return Err(ConnectError::AlreadyListening(class)),
            _ => listening[class as usize] = Some(Arc::clone(inbox)),
        }
        self.mailbox.put(Command::Listen { class, inbox: Arc::clone(inbox) });
        Ok(())
    }

    pub(crate) fn forget(&self, inbox: &Arc<Inbox>) {
        for slot in lock(&self.listening).iter_mut() {
            if slot.as_ref().is_some_and(|other| Arc::ptr_eq(other, inbox)) {
                *slot = None;
            }
        }
        self.mailbox.put(Command::Forget { inbox: Arc::clone(inbox) });
    }

    pub(crate) fn command(&self, command: Command) {
        self.mailbox.put(command);
    }

    pub(crate) fn fetch(&self, connection: ConnectionId, epoch: u64, batch: &Range<usize>) -> Receiver<Fetched> {
        let (answer, receiver) = sync_channel(1);
        let narrow = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        let (first, count) = (narrow(batch.start), narrow(batch.len()));
        self.mailbox.put(Command::Fetch { connection, epoch, first, count, answer });
        receiver
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            // The thread is the parent's, and so is whom a word in the mailbox would wake.
            std::mem::forget(self.thread.take());
            return;
        }
        self.mailbox.put(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // It ends at once; a panic in it was told by the panic hook.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("wake", &self.wake.as_fd()).finish_non_exhaustive()
    }
}

/// The cause that a port is told when the peer says what no correct peer says on the control connection.
pub(crate) const GARBAGE_ON_CONTROL: Cause = Cause::Garbage(1);
