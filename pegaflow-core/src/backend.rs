//! What a backend writes: a [`Domain`] (memory, capabilities) and a single-threaded [`Engine`]. No threads, no policy,
//! no validation, no queues of its own: core owns those. Nobody else calls these.

use std::{
    any::Any,
    fmt,
    os::fd::{BorrowedFd, OwnedFd},
    sync::Arc,
    time::Instant,
};

use crate::{BackendError, Bounds, Capabilities, Cause, Class, CounterTable, DeviceEvent, Kind, Link, Meets, Rail};
pub use crate::{
    fork::Origin,
    reaper::Reaper,
    run::{Cursor, Follow, Move, Run},
};

/// What a registration is known by on this side: whatever the engine needs beside an address to reach the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalKey(pub u64);

/// Memory to be registered.
#[derive(Debug, Clone, Copy)]
pub struct Memory<'a> {
    /// Its first byte.
    pub base: *mut u8,
    /// Its length in bytes.
    pub bytes: u64,
    /// Where it lives.
    pub kind: Kind,
    /// The file under the memory: of host memory the memfd that Pegaflow allocated; of an accelerator's its dmabuf.
    pub file: Option<BorrowedFd<'a>>,
    /// Bytes from the file's start to `base`.
    pub file_offset: u64,
}

/// Bytes and descriptors on their way to the peer's backend, carried by core.
#[derive(Debug, Default)]
pub struct Parcel {
    /// At most [`Parcel::MAX_BYTES`].
    pub bytes: Vec<u8>,
    /// At most [`Parcel::MAX_FILES`], and none where the backend meets on [`Meets::AnyHost`].
    pub files: Vec<OwnedFd>,
}

impl Parcel {
    /// Most bytes of a parcel.
    pub const MAX_BYTES: usize = 4096;
    /// Most descriptors of a parcel.
    pub const MAX_FILES: usize = 4;

    /// Refuses what can't go to a peer of this backend.
    pub(crate) fn check(self, capabilities: &Capabilities) -> Result<Self, BackendError> {
        let (bytes, files) = (self.bytes.len(), self.files.len());
        let max_files = if capabilities.meets == Meets::OneHost { Self::MAX_FILES } else { 0 };
        if bytes <= Self::MAX_BYTES && files <= max_files {
            return Ok(self);
        }
        let over = if max_files == 0 { ", as its nodes meet over TCP" } else { "" };
        let max_bytes = Self::MAX_BYTES;
        Err(BackendError::new(
            capabilities.backend,
            format!(
                "its parcel has {bytes} bytes and {files} descriptors: expected at most {max_bytes} and {max_files}{over}"
            ),
        ))
    }
}

/// A peer's registration, reachable from here.
#[derive(Clone)]
pub struct Imported {
    /// What the engine takes for the peer's first byte: an address of the peer's, or one of this process.
    pub base: u64,
    /// What it needs beside it.
    pub key: u64,
    /// Keeps it reachable; dropped once no plan and no transfer needs it.
    pub keep: Arc<dyn Any + Send + Sync>,
}

impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imported").field("base", &self.base).field("key", &self.key).finish_non_exhaustive()
    }
}

/// A backend's memory and capabilities, shared by all threads of a node. Calls may take long (registration takes
/// seconds for large memory) and run beside the poller.
pub trait Domain: Send + Sync {
    /// What this backend can do here.
    fn capabilities(&self) -> &Capabilities;

    /// The process that this was opened in, where a child of a fork has no use for it: then no node is made on it there.
    /// `None` where it holds nothing but memory, which a child has as its parent does.
    ///
    /// In a child core calls nothing of a domain's or an engine's, and drops no engine. What is dropped there nonetheless,
    /// as an import or the domain itself, must leave alone what is the parent's.
    fn origin(&self) -> Option<Origin> {
        None
    }

    /// Registers memory, so that engines reach it and, where the capabilities say so, peers too.
    ///
    /// # Errors
    /// Whatever the device says, and a refusal of kinds of memory that the capabilities deny.
    ///
    /// # Safety
    /// - The memory stays mapped, readable and writable, until [`Domain::deregister`] has returned.
    unsafe fn register(&self, memory: &Memory<'_>) -> Result<LocalKey, BackendError>;

    /// Undoes a registration. Core calls it once, when nothing on this side can touch the memory any more. A peer whose
    /// channel has ended here may not know it yet and still be at the memory: when this returns, what comes late is
    /// turned away, or reaches pages that the peer keeps himself.
    ///
    /// # Errors
    /// Where the device does not let go of the memory: core then keeps it for good, and says so.
    fn deregister(&self, key: LocalKey) -> Result<(), BackendError>;

    /// What a peer needs to reach a registration.
    ///
    /// # Errors
    /// Where this registration can't be reached by a peer (memory that the caller brought, over shared memory).
    fn export(&self, key: LocalKey) -> Result<Parcel, BackendError>;

    /// Makes a peer's registration of `bytes` bytes reachable from here.
    ///
    /// # Errors
    /// A parcel that does not hold what it should; it comes from another process and is not to be trusted.
    fn import(&self, parcel: Parcel, bytes: u64) -> Result<Imported, BackendError>;

    /// Puts `memory` in the place of what a registration was made for: same length, same address, a new file below. Peers
    /// that have imported the registration keep the old file, and reach nothing of this side's any more. Asked only where
    /// [`Capabilities::revoke_swap`] says so.
    ///
    /// # Errors
    /// Where it can't be done; the registration is then as it was.
    ///
    /// # Safety
    /// - As [`Domain::register`].
    unsafe fn swap(&self, key: LocalKey, memory: &Memory<'_>) -> Result<(), BackendError> {
        let _ = (key, memory);
        Err(BackendError::new(self.capabilities().backend, "it can't put other memory below a registration"))
    }

    /// The rails of this backend, in the order of their numbers in [`Event::Device`](crate::Event::Device).
    fn rails(&self) -> Vec<Rail> {
        Vec::new()
    }

    /// An engine for one port. What is slow and need not be waited for goes to the `reaper`.
    ///
    /// # Errors
    /// Whatever the device says.
    fn engine(&self, reaper: &Reaper) -> Result<Box<dyn Engine>, BackendError>;

    /// A non-blocking descriptor that is readable when the device has something to say of itself: a port went down, a
    /// queue pair failed. Asked once for each node that is made on this domain; `None` where the device never speaks.
    fn events(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Takes all that made [`events`](Self::events) readable; what is left makes core call again at once. It is called
    /// by the control thread of each node on this domain, one at a time, and must not block: while it runs, that node
    /// meets nobody. What it learned of a link goes to the link's engine, which reports it in [`Engine::poll`] and makes
    /// [`Engine::fd`] readable for a port that sleeps. What users may want to know goes to `tell`, with the number of
    /// the rail: every port of every node on this domain hands it out as [`Event::Device`](crate::Event::Device).
    fn attend(&self, tell: &mut dyn FnMut(u8, DeviceEvent)) {
        let _ = tell;
    }
}

/// How much of a run an engine took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// Every move, and what follows.
    All,
    /// The run stands where it was left; core calls again with the rest, after a poll or a submit. Where bytes do not
    /// move in `poll`, something is under way whose completion will wake who sleeps. The rest may never come (cancelled,
    /// or past its deadline): what was taken completes without it.
    Part,
}

/// What an engine saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raw {
    /// So many parts of the run with this cookie are complete.
    Completed {
        /// [`Run::cookie`].
        cookie: u64,
        /// Moves, and 1 for the follow-up.
        parts: u64,
    },
    /// The link failed: nothing more completes on it. Said once.
    Failed {
        /// Which link.
        link: Link,
        /// What was seen.
        cause: Cause,
    },
    /// The peer has counted on this link so many times since this was said last.
    Counted {
        /// Which link.
        link: Link,
        /// Increments.
        increments: u64,
    },
    /// A message lies in the engine's slot `slot`, below the link's `messages`, until it is released.
    Arrived {
        /// Which link.
        link: Link,
        /// Which slot.
        slot: u32,
        /// The message's length.
        bytes: u32,
    },
    /// The peer released so many messages.
    Credit {
        /// Which link.
        link: Link,
        /// Messages.
        messages: u32,
    },
    /// So many counted transfers of the peer's will not be counted ([`Follow::Abort`]), since this was said last.
    Aborted {
        /// Which link.
        link: Link,
        /// Aborts.
        aborts: u64,
    },
    /// A link that was closed is down. Said once, after [`Engine::close`], and the last of that link.
    Closed {
        /// Which link.
        link: Link,
        /// Whether it is proven that nothing which this side was asked for touches memory any more. If not, core keeps that
        /// memory for good.
        quiet: bool,
    },
}

/// Whether one may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Armed {
    /// No: something is there already, poll again.
    Ready,
    /// Yes, until `fd()` is readable or this time has come.
    Sleep {
        /// The nearest deadline; `None` for none.
        until: Option<Instant>,
    },
}

/// What an engine has asked of its device since it was made, over all its links: the price of a transfer that does not
/// depend on the machine. Counted for each call of the device, never for each block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Requests to send, write or read that the device took; with them those that carry counts, messages and credits.
    pub requests: u64,
    /// Calls that handed a chain of such requests to the device, each of which rings its doorbell once. One that the
    /// device took only in part, or not at all, counts too.
    pub doorbells: u64,
    /// Requests taken that were asked to make a completion on this side.
    pub signalled: u64,
}

/// One thread's end of the device: its links, its completions. `&mut self` everywhere, so no lock can exist. After
/// [`Engine::join`], while busy, no call allocates, blocks or calls the system.
pub trait Engine: Send {
    /// Makes this side of a link; `bounds` are this side's. Gives what the peer's engine needs.
    ///
    /// # Errors
    /// Whatever the device says; the link is then as if never opened.
    fn open(&mut self, link: Link, class: Class, bounds: &Bounds) -> Result<Parcel, BackendError>;

    /// Completes a link with what the peer's engine gave; `bounds` are the peer's. From here on the link carries data.
    ///
    /// # Errors
    /// A parcel that does not hold what it should; it comes from another process and is not to be trusted. Core then
    /// closes the link.
    fn join(&mut self, link: Link, parcel: Parcel, bounds: &Bounds) -> Result<(), BackendError>;

    /// The counters of this side, incremented by the peer; asked once after `join`.
    fn counters(&self, link: Link) -> Option<CounterTable>;

    /// Takes as much of the run as it can now. Core calls it once the peer has joined, with runs in the order of
    /// submission, the next one only after [`Posted::All`] of the last. A message's bytes are valid for the call.
    ///
    /// # Safety
    /// - Every move that the run yields lies in memory registered here and imported from the link's peer, and stays
    ///   so until the engine has reported all parts as complete, or the link closed.
    unsafe fn post(&mut self, link: Link, run: &mut Run<'_>) -> Posted;

    /// Moves things on and reports what it saw, at most `raw.len()`; gives how many.
    fn poll(&mut self, raw: &mut [Raw]) -> usize;

    /// The bytes of a message that arrived and was not released. They are this process's own: no peer can change them.
    /// They stay where they are until [`Engine::release`].
    fn message(&self, link: Link, slot: u32, bytes: u32) -> &[u8];

    /// Frees a message's slot and gives the peer its credit back.
    fn release(&mut self, link: Link, slot: u32);

    /// Prepares to sleep: after `Sleep`, the next thing to see makes `fd()` readable. `until` is left `None`.
    fn arm(&mut self) -> Armed;

    /// Undoes `arm`, whatever it said, and takes what made `fd()` readable; called before the next `poll`.
    fn disarm(&mut self);

    /// Readable when there is something to poll after `arm`.
    fn fd(&self) -> BorrowedFd<'_>;

    /// What was asked of the device so far; it only grows. Zeros where there is no device to ask.
    fn work(&self) -> Work {
        Work::default()
    }

    /// Begins to take a link down, whatever state it is in, and returns at once: what is slow runs on the reaper. From
    /// here on nothing more is reported of it, not even what was complete already, but one [`Raw::Closed`], in a later
    /// [`Engine::poll`]; a port that sleeps is woken for it. Messages that were reported stay readable, and may be
    /// released.
    ///
    /// With [`Capabilities::fence_is_proof`] that also means that nothing of the peer's lands on this side any more.
    fn close(&mut self, link: Link);

    /// Frees the rest of a link of which [`Raw::Closed`] was said; its number may be opened again.
    fn forget(&mut self, link: Link);
}
