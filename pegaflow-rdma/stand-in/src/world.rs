//! What waits, and who moves it on: every call that posts or polls, and a thread where all sleep.

use std::ffi::c_uint;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::device::Device;
use crate::queue_pair::{self, Qp};
use crate::states::other_end;

/// Queue pairs with something that waits.
static BUSY: AtomicUsize = AtomicUsize::new(0);
/// Which they are, the one that began to wait first first.
static WAITING: Mutex<Vec<Waiting>> = Mutex::new(Vec::new());
static TICKER: Mutex<Ticker> = Mutex::new(Ticker { contexts: 0, thread: None });
static CHANGED: Condvar = Condvar::new();

/// A queue pair with something that waits; calls at its device or its peer's move it on.
struct Waiting {
    number: u32,
    devices: [Option<&'static Device>; 2],
    /// Calls at its devices, as the ticker saw them last.
    seen: u64,
}

struct Ticker {
    contexts: usize,
    thread: Option<JoinHandle<()>>,
}

/// What is to be done once all locks are free: queue pairs that fail because of another.
#[derive(Default)]
pub(crate) struct Aftermath(Vec<(u32, Option<c_uint>)>);

impl Aftermath {
    /// The queue pair of this number fails, with an event or without.
    pub(crate) fn fail(&mut self, number: u32, event: Option<c_uint>) {
        self.0.push((number, event));
    }

    /// Must be called with no lock held.
    #[inline]
    pub(crate) fn settle(mut self) {
        while let Some((number, event)) = self.0.pop() {
            if let Some(qp) = queue_pair::find(number) {
                qp.fail(event, &mut self);
            }
        }
    }
}

impl Waiting {
    fn sum(&self, count: impl Fn(&Device) -> u64) -> u64 {
        self.devices.iter().flatten().map(|device| count(device)).sum()
    }

    /// Whether somebody may sleep, and nobody called since this was asked last.
    fn is_forgotten(&mut self) -> bool {
        let calls = self.sum(|device| device.calls.load(Ordering::Relaxed));
        let sleeper = self.sum(|device| device.armed.load(Ordering::SeqCst) as u64) > 0;
        std::mem::replace(&mut self.seen, calls) == calls && sleeper
    }
}

/// Moves on what waits for calls at a device. Must be called with no lock held.
#[inline]
pub(crate) fn step(device: &'static Device) {
    // Ordered with the locks around what waits: who gave it what it waits for, or who began to wait, sees it here.
    if BUSY.load(Ordering::SeqCst) != 0 {
        call(device);
    }
}

#[cold]
fn call(device: &'static Device) {
    device.calls.fetch_add(1, Ordering::Relaxed);
    move_on(|waiting| waiting.devices.iter().flatten().any(|other| std::ptr::eq(*other, device)));
}

fn move_on(mut which: impl FnMut(&mut Waiting) -> bool) {
    let mut numbers = Vec::new();
    for entry in waiting().iter_mut() {
        if which(entry) {
            numbers.push(entry.number);
        }
    }
    let mut aftermath = Aftermath::default();
    for number in numbers {
        if let Some(qp) = queue_pair::find(number) {
            qp.send.hold().tick(&qp, &mut aftermath);
        }
    }
    aftermath.settle();
}

/// A queue pair begins to wait.
pub(crate) fn enlist(qp: &Qp) {
    let devices = [Some(qp.shared.device), other_end(qp)];
    waiting().push(Waiting { number: qp.number, devices, seen: 0 });
    if BUSY.fetch_add(1, Ordering::SeqCst) == 0 {
        CHANGED.notify_all();
    }
}

/// A queue pair waits no more.
pub(crate) fn unlist(number: u32) {
    waiting().retain(|other| other.number != number);
    BUSY.fetch_sub(1, Ordering::SeqCst);
}

fn waiting() -> MutexGuard<'static, Vec<Waiting>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A context was opened. The first one starts the thread.
pub(crate) fn enter() {
    let mut ticker = TICKER.lock().unwrap_or_else(PoisonError::into_inner);
    ticker.contexts += 1;
    if ticker.thread.is_none() {
        // Without it, sleepers wait for others' calls.
        ticker.thread = std::thread::Builder::new().name("stand-in".to_owned()).spawn(tick).ok();
    }
}

/// A context was closed. The last one ends the thread.
pub(crate) fn leave() {
    let thread = {
        let mut ticker = TICKER.lock().unwrap_or_else(PoisonError::into_inner);
        ticker.contexts -= 1;
        if ticker.contexts > 0 { None } else { ticker.thread.take() }
    };
    CHANGED.notify_all();
    if let Some(thread) = thread {
        let _ = thread.join();
    }
}

/// Each millisecond in which nobody called counts as a call, for what waits where somebody may sleep.
fn tick() {
    let me = std::thread::current().id();
    let mut ticker = TICKER.lock().unwrap_or_else(PoisonError::into_inner);
    while ticker.contexts > 0 && ticker.thread.as_ref().is_none_or(|thread| thread.thread().id() == me) {
        let idle = BUSY.load(Ordering::SeqCst) == 0;
        // `enlist` ends the long one; or, where it came just before, nothing does.
        let patience = Duration::from_millis(if idle { 20 } else { 1 });
        ticker = CHANGED.wait_timeout(ticker, patience).unwrap_or_else(PoisonError::into_inner).0;
        if BUSY.load(Ordering::SeqCst) > 0 {
            drop(ticker);
            move_on(Waiting::is_forgotten);
            ticker = TICKER.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }
}
