//! Taking a link down: slow calls, on the reaper.
//!
//! The queue pair is put into its error state, and a last request posted behind all others. When that completes, flushed,
//! everything before it has: what succeeded silently never completes by itself. Then the pair is destroyed. Receives need no
//! such mark, since they name no memory.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use crate::sys::{CompletionQueue, LAST, QueuePair, abi::ibv_wc, post_last};

/// How long the last request may take. A device that does not flush in this time is broken; destroying the pair is then
/// all that is left.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_micros(20);

/// How far a link that is closed is, between the reaper and its engine.
#[derive(Debug, Default)]
pub(crate) struct Down(AtomicU8);

const QUIET: u8 = 1;
const KEPT: u8 = 2;

impl Down {
    pub(crate) fn set(&self, quiet: bool) {
        // SYNC POINT: down. Release: who sees it knows that the device has let go.
        self.0.store(if quiet { QUIET } else { KEPT }, Ordering::Release);
    }

    /// `None` while it is being taken down; then whether the device has let go.
    pub(crate) fn get(&self) -> Option<bool> {
        // SYNC POINT: down. Acquire: pairs with the Release in `set`.
        match self.0.load(Ordering::Acquire) {
            0 => None,
            state => Some(state == QUIET),
        }
    }
}

/// Takes a pair down, then its queue; gives whether the device has let go of both.
pub(crate) fn drain(mut pair: QueuePair, mut queue: CompletionQueue, joined: bool) -> bool {
    match pair.fail() {
        Ok(()) if joined => flush(&mut pair, &mut queue),
        // Before a pair is connected nothing can be posted.
        Ok(()) => {}
        Err(error) => tracing::warn!(%error, "a queue pair is taken down without its error state"),
    }
    if pair.destroy() {
        return true;
    }
    // The pair may go on completing into it.
    std::mem::forget(queue);
    false
}

/// Waits until all that was posted is complete.
fn flush(pair: &mut QueuePair, queue: &mut CompletionQueue) {
    let until = Instant::now() + PATIENCE;
    let mut completions = [ibv_wc::default(); 64];
    let mut posted = false;
    loop {
        // A full queue takes the request once completions were taken.
        posted = posted || post_last(pair);
        match queue.poll(&mut completions) {
            Some(count) if completions[..count].iter().any(|one| one.wr_id == LAST) => return,
            Some(0) => std::thread::sleep(PAUSE),
            Some(_) => {}
            // The queue itself is lost: nothing completes any more.
            None => return,
        }
        if Instant::now() >= until {
            tracing::warn!(posted, "the requests of {pair:?} were not flushed within {PATIENCE:?}");
            return;
        }
    }
}
