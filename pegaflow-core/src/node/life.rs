//! How a peer on the same host is known to be dead before its memory is gone.
//!
//! A process that is killed keeps its sockets until its memory is torn down, which takes longer the more it had. So each
//! node holds a word of shared memory by a robust futex (`set_robust_list(2)`), in a thread that does nothing else: the
//! kernel marks the word when that thread ends, in whatever way, and that is one of the first things a process loses.
//! A peer gets the word's page in the hand-shake and waits for the mark, see [`watch`].
//!
//! | word | meaning |
//! | --- | --- |
//! | thread id and `WAITERS` | the node lives |
//! | `OWNER_DIED` | its process has ended, or has begun to be another program |
//! | anything else | it ended in order, or never began: nothing to tell |

mod sys;
#[cfg(test)]
mod tests;
mod watch;

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::sync_channel,
    },
    thread::JoinHandle,
};

pub(crate) use watch::{Watch, WatchId, Watches};

use crate::fork::Origin;

/// Enough for a thread that waits: what is not touched is only addresses.
const STACK_BYTES: usize = 128 << 10;

/// A node's own word, and the thread that holds it. Dropping it says that the node has ended in order.
#[derive(Debug)]
pub(crate) struct Life {
    file: OwnedFd,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    origin: Origin,
}

impl Life {
    /// Begins to hold a word; when this returns a death shows in it.
    pub(crate) fn begin() -> io::Result<Self> {
        let (page, file) = sys::Page::create()?;
        let ended = Arc::new(AtomicBool::new(false));
        let (begun, answer) = sync_channel(1);
        let end = Arc::clone(&ended);
        let thread = std::thread::Builder::new().name("pegaflow-life".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn(move || {
            let held = sys::hold(page.word(), || {
                let _ = begun.send(Ok(()));
                while !end.load(Ordering::Acquire) {
                    std::thread::park();
                }
            });
            if let Err(error) = held {
                let _ = begun.send(Err(error));
            }
        })?;
        let life = Self { file, ended, thread: Some(thread), origin: Origin::here() };
        answer.recv().unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into()))?;
        Ok(life)
    }

    /// The page, for a peer.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        self.file.as_fd().try_clone_to_owned()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            std::mem::forget(self.thread.take());
            return;
        }
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It ends at once, and can't panic.
            let _ = thread.join();
        }
    }
}
