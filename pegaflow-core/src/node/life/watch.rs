//! Watching a peer's life: a thread for each peer node, which waits for its word and for nothing else.

use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    sync::{Arc, Weak, atomic::Ordering},
    thread::JoinHandle,
};

use rustix::{io::Errno, thread::futex};

use super::{STACK_BYTES, sys};
use crate::node::{
    control::{Command, Identity, Mailbox},
    inbox::Met,
};

/// Which watch: never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WatchId(pub(super) u64);

/// The watch over one peer. It ends when the last connection that holds it is gone.
#[derive(Debug)]
pub(crate) struct Watch {
    id: WatchId,
    pages: Arc<Pages>,
    thread: Option<JoinHandle<()>>,
}

/// A peer's page, twice: one to wait at, which can be taken away under the thread that waits, and one to wake by.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) wait: sys::Page,
    pub(super) wake: sys::Page,
}

/// What became of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The kernel has marked it.
    Died,
    /// It ended in order, is looked at no more, or holds what no node writes: there is nothing to tell.
    Silent,
}

impl Watch {
    pub(super) fn begin(file: &OwnedFd, id: WatchId, mailbox: Arc<Mailbox>) -> io::Result<Self> {
        let pages = Arc::new(Pages::of_peer(file)?);
        let watched = Arc::clone(&pages);
        let thread = std::thread::Builder::new().name("pegaflow-watch".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn(move || {
            let end = watched.wait();
            // Of those who watch the same peer the kernel has woken one, which may have been this.
            sys::wake_all(watched.wake.word());
            if end == End::Died {
                mailbox.put(Command::Died { watch: id });
            }
        })?;
        Ok(Self { id, pages, thread: Some(thread) })
    }

    pub(crate) fn id(&self) -> WatchId {
        self.id
    }
}

impl Pages {
    pub(super) fn of_peer(file: &OwnedFd) -> io::Result<Self> {
        Ok(Self { wait: sys::Page::of_peer(file)?, wake: sys::Page::of_peer(file)? })
    }

    /// Waits until there is nothing to wait for any more.
    pub(super) fn wait(&self) -> End {
        let word = self.wait.word();
        let first = word.load(Ordering::Acquire);
        loop {
            let now = word.load(Ordering::Acquire);
            if now & futex::OWNER_DIED != 0 {
                return End::Died;
            }
            // Whoever lives has a thread, has asked to be woken for, and does not change.
            if now != first || now & futex::WAITERS == 0 || now == futex::WAITERS {
                return End::Silent;
            }
            match futex::wait(word, futex::Flags::empty(), now, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return End::Silent,
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // First the page, then the wake: whoever has not begun to wait yet finds that the word is not what it was.
        match self.pages.wait.take_away() {
            Ok(()) => {
                sys::wake_all(self.pages.wake.word());
                // It ends at once, and can't panic.
                let _ = thread.join();
            }
            Err(error) => tracing::warn!(%error, "a thread that watches a peer stays until the peer's end"),
        }
    }
}

/// The file under a page: the same for all connections to one node, whatever the peer says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FileId {
    device: u64,
    inode: u64,
}

/// The peers that are watched, each once.
#[derive(Debug)]
pub(crate) struct Watches {
    mailbox: Arc<Mailbox>,
    known: HashMap<FileId, Weak<Watch>>,
    next: u64,
    /// It was said that a peer can't be watched.
    warned: bool,
}

impl Watches {
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> Self {
        Self { mailbox, known: HashMap::new(), next: 0, warned: false }
    }

    /// Takes the page of a peer's life, and gives the watch over it. `None` for oneself, and where it can't be watched:
    /// then its socket's end has to do.
    pub(crate) fn over(&mut self, myself: &Identity, peer: &mut Met) -> Option<Arc<Watch>> {
        let file = peer.life.take()?;
        if peer.incarnation == myself.incarnation {
            return None;
        }
        match self.begin(&file) {
            Ok(watch) => Some(watch),
            Err(error) => {
                if !std::mem::replace(&mut self.warned, true) {
                    tracing::warn!(%error, "a peer can't be watched: its death shows once its memory is gone");
                }
                None
            }
        }
    }

    fn begin(&mut self, file: &OwnedFd) -> io::Result<Arc<Watch>> {
        let stat = rustix::fs::fstat(file)?;
        // The number of a file that is mapped is no other file's.
        let id = FileId { device: stat.st_dev, inode: stat.st_ino };
        if let Some(watch) = self.known.get(&id).and_then(Weak::upgrade) {
            return Ok(watch);
        }
        self.known.retain(|_, watch| watch.strong_count() > 0);
        self.next += 1;
        let watch = Arc::new(Watch::begin(file, WatchId(self.next), Arc::clone(&self.mailbox))?);
        self.known.insert(id, Arc::downgrade(&watch));
        Ok(watch)
    }
}
