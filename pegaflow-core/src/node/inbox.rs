//! The way from the control thread to a port: set-up and failure only. While nothing comes, a poll pays one load.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::event::EventfdFlags;

use super::{
    control::ConnectionId,
    news::{News, Waiting},
    registry::lock,
};
use crate::{Bounds, Cause, ChannelId, Class, backend::Parcel};

/// What the control thread has for a port.
#[derive(Debug)]
pub(crate) enum Note {
    /// A peer dials for a class that this port listens for.
    Hello { connection: ConnectionId, class: Class, peer: Met },
    /// The dialled peer has made its end.
    Welcome { channel: ChannelId, connection: ConnectionId, epoch: u64, peer: Met },
    /// A dial came to nothing.
    NotMet { channel: ChannelId, cause: Cause },
    /// The dialling peer has joined: data may flow.
    Ready { connection: ConnectionId },
    /// The peer closes in order.
    Bye { connection: ConnectionId },
    /// The connection ended, or said what no correct peer says.
    Gone { connection: ConnectionId, cause: Cause },
    /// The peer wants a grant back that is in use here.
    Revoke { connection: ConnectionId },
    /// The peer uses a grant of this side's no more.
    Revoked { connection: ConnectionId, epoch: u64 },
    /// The peer of a channel that has ended here has taken its end down, or is dead.
    Left { connection: ConnectionId },
    /// The peer has compared the sums of a transfer: the first piece that is wrong, if any.
    Checked { connection: ConnectionId, request: u32, wrong: Option<u32> },
    /// The device has said something: see [`Inbox::news`].
    Device,
}

/// What two sides tell each other in a hand-shake.
#[derive(Debug)]
pub(crate) struct Met {
    pub(crate) name: String,
    pub(crate) incarnation: u64,
    pub(crate) bounds: Bounds,
    pub(crate) parcel: Parcel,
    /// The page of a node's life, where they meet on one host: taken by the control thread, see `node::life`.
    pub(crate) life: Option<OwnedFd>,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    pending: AtomicBool,
    /// At most a few notes a connection, and connections are bounded.
    notes: Mutex<VecDeque<Note>>,
    news: Mutex<Waiting>,
    wake: OwnedFd,
}

impl Inbox {
    pub(crate) fn new() -> io::Result<Self> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { pending: AtomicBool::new(false), notes: Mutex::default(), news: Mutex::default(), wake })
    }

    pub(crate) fn put(&self, note: Note) {
        lock(&self.notes).push_back(note);
        // SYNC POINT: inbox. Release: who sees the flag finds the note.
        self.pending.store(true, Ordering::Release);
        // Fails only where the count is full, and then the descriptor is readable already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// The device has said something.
    pub(crate) fn tell(&self, news: News) {
        let mut waiting = lock(&self.news);
        let told = waiting.any();
        waiting.put(news);
        // Under the lock: one note as long as anything waits, and none for what is already gone.
        if !told {
            self.put(Note::Device);
        }
    }

    /// The next thing that the device has said.
    pub(crate) fn news(&self) -> Option<News> {
        lock(&self.news).take()
    }

    #[inline]
    pub(crate) fn pending(&self) -> bool {
        // SYNC POINT: inbox. Acquire: pairs with the Release in `put`.
        self.pending.load(Ordering::Acquire)
    }

    pub(crate) fn take(&self) -> Option<Note> {
        let mut notes = lock(&self.notes);
        let note = notes.pop_front();
        if note.is_none() {
            // Under the lock, so that a note put now sets the flag after it is cleared here.
            self.pending.store(false, Ordering::Release);
            let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
        }
        note
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
