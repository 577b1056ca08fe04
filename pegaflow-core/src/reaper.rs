//! The reaper: a node's thread for what is slow and that nobody waits for. Taking a queue pair down, deregistering,
//! unmapping gigabytes: each takes milliseconds, and may be due in the middle of a poll.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Sender, channel, sync_channel},
};

type Job = Box<dyn FnOnce() + Send>;

/// A handle to a node's reaper. Jobs run one by one, in the order in which they were given; the thread ends with the last
/// handle.
///
/// Its queue has no bound of its own: each job gives back one thing that was made before (a link, a region), and these are
/// bounded.
#[derive(Clone)]
pub struct Reaper(Sender<Job>);

impl Reaper {
    /// Starts the thread. A node does; a backend's own tests may.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start() -> io::Result<Self> {
        let (jobs, receiver) = channel::<Job>();
        std::thread::Builder::new().name("pegaflow-reap".to_owned()).spawn(move || {
            for job in receiver {
                // A job drops what callers brought; a panic of theirs was told by the panic hook, and is the end of no
                // other job.
                let _ = catch_unwind(AssertUnwindSafe(job));
            }
        })?;
        Ok(Self(jobs))
    }

    /// Runs `job` on the reaper's thread, after those given before. It may block for long; what it needs it owns.
    pub fn take(&self, job: impl FnOnce() + Send + 'static) {
        // The thread lives as long as a handle does. Were it gone, the job would run here rather than never.
        if let Err(refused) = self.0.send(Box::new(job)) {
            (refused.0)();
        }
    }

    /// Waits until what was given before is done: memory that was dropped is free again.
    pub(crate) fn settle(&self) {
        let (done, wait) = sync_channel(1);
        self.take(move || {
            let _ = done.send(());
        });
        // An error is a thread that has ended: then there is nothing to wait for.
        let _ = wait.recv();
    }
}

impl fmt::Debug for Reaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reaper")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn jobs_run_in_order_and_a_panic_is_the_end_of_one() {
        let reaper = Reaper::start().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        for number in 0..10 {
            let seen = Arc::clone(&seen);
            reaper.take(move || {
                assert!(number != 4, "this one panics, as it is meant to");
                seen.lock().unwrap().push(number);
            });
        }
        reaper.settle();
        assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 3, 5, 6, 7, 8, 9]);
    }
}
