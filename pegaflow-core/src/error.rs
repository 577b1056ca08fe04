//! Errors of the calls, apart by who can do something about them, and causes of what ended in flight.

use std::{fmt, io, net::SocketAddr, ops::RangeInclusive, time::Duration};

use crate::{ChannelId, Class, NodeOptions, OutOfRange};

const SILENCE: RangeInclusive<Duration> = NodeOptions::PEER_SILENCE;

/// The caller broke a rule that he could have known: no retry helps, the program wants mending. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiMisuse {
    /// A channel id that this port does not know (closed long ago, or of another port).
    #[error("{0} is not a channel of this port")]
    UnknownChannel(ChannelId),
    /// The channel is not up: not yet connected, broken or closed.
    #[error("{channel} is not up: it is {state}")]
    NotUp {
        /// Which channel.
        channel: ChannelId,
        /// What it is instead.
        state: &'static str,
    },
    /// The plan's remote windows were imported over another channel.
    #[error("the plan was made for {plan}, and is submitted on {on}: import the grant over the channel that is used")]
    WrongChannel {
        /// The channel the grant was imported over.
        plan: ChannelId,
        /// The channel named in the call.
        on: ChannelId,
    },
    /// A plan, region or grant of another node.
    #[error("{0} belongs to another node")]
    WrongNode(&'static str),
    /// Two arrays of ids that differ in length.
    #[error("{here} block ids here and {there} there: expected as many on both sides")]
    UnequalIds {
        /// Ids for this side.
        here: usize,
        /// Ids for the peer's side.
        there: usize,
    },
    /// A block id beyond its table.
    #[error("block id {id} at position {position} ({side}) is beyond the table of {blocks} blocks")]
    IdOutOfRange {
        /// `here` or `there`.
        side: &'static str,
        /// Position in the array.
        position: usize,
        /// The id.
        id: u32,
        /// Blocks of the table.
        blocks: u32,
    },
    /// Planes beyond the plan's.
    #[error("planes {start}..{end} asked, the plan has {planes}")]
    PlanesOutOfRange {
        /// First plane asked.
        start: u32,
        /// One past the last plane asked.
        end: u32,
        /// Planes of the plan.
        planes: u32,
    },
    /// Two spans of different length were paired.
    #[error("span {here} here has {here_bytes} bytes, span {there} there has {there_bytes}: expected equal lengths")]
    UnequalSpans {
        /// Span id here.
        here: u32,
        /// Its bytes.
        here_bytes: u64,
        /// Span id there.
        there: u32,
        /// Its bytes.
        there_bytes: u64,
    },
    /// More blocks in one batch than the channel can ever hold.
    #[error("a batch of {blocks} blocks on a channel that holds {bound}: split it, or raise `blocks` of class {class}")]
    BatchTooLong {
        /// Blocks in the batch.
        blocks: usize,
        /// The bound of the channel.
        bound: u32,
        /// The channel's class.
        class: Class,
    },
    /// A message longer than the peer takes.
    #[error("a message of {bytes} bytes: the peer takes at most {max}")]
    MessageTooLong {
        /// Bytes of the message.
        bytes: usize,
        /// The peer's bound.
        max: u32,
    },
    /// A counter id beyond the peer's table.
    #[error("counter index {index}: the peer has {counters}")]
    CounterOutOfRange {
        /// Index within the id.
        index: u32,
        /// Counters of the peer.
        counters: u32,
    },
    /// A message slot that was released before, or never handed out.
    #[error("the message slot is not held: it was released, or its channel is gone")]
    SlotNotHeld,
    /// A window index beyond those given.
    #[error("{side}: window {window} named, {windows} given")]
    WindowOutOfRange {
        /// `here` or `there`.
        side: &'static str,
        /// The index.
        window: u32,
        /// Windows there are.
        windows: usize,
    },
    /// A table or span that leaves its window.
    #[error("{side}: {what} reaches to byte {end} of a window of {bytes} bytes")]
    BeyondWindow {
        /// `here` or `there`.
        side: &'static str,
        /// Which plane or span.
        what: String,
        /// One past the last byte.
        end: u128,
        /// Bytes of the window.
        bytes: u64,
    },
    /// A shape that makes no sense by itself or beside the other side's.
    #[error("the plan's shapes do not fit: {0}")]
    BadShape(String),
    /// The peer granted less than the plan wants.
    #[error("the grant allows {granted}, the plan wants to {wanted}")]
    AccessDenied {
        /// What the grant allows.
        granted: &'static str,
        /// What the plan does.
        wanted: &'static str,
    },
    /// A handle that was made before a fork, in the child.
    #[error("made before a fork, and dead in the child: open the backend and make a node there")]
    Forked,
    /// The backend can't do what the plan asks.
    #[error("backend `{backend}` can't {what}")]
    Unsupported {
        /// The backend's name.
        backend: &'static str,
        /// What was asked.
        what: &'static str,
    },
}

/// Memory could not be had, registered, granted or reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Zero bytes, or more than the backend takes.
    #[error("a region of {bytes} bytes: expected 1 to {max}")]
    BadLength {
        /// Bytes asked.
        bytes: u64,
        /// The backend's limit.
        max: u64,
    },
    /// The kernel refused memory.
    #[error("{call} of {bytes} bytes failed: {source}{hint}")]
    Kernel {
        /// The call that failed.
        call: &'static str,
        /// Bytes asked.
        bytes: u64,
        /// What to do about it, where it is known; starts with `; `.
        hint: &'static str,
        /// The kernel's word.
        source: io::Error,
    },
    /// A range that leaves its region.
    #[error("bytes {start}..{end} of a region of {bytes} bytes")]
    BeyondRegion {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Bytes of the region.
        bytes: u64,
    },
    /// The backend refuses this kind of memory or this use of it.
    #[error("backend `{backend}` refuses it: {why}")]
    Refused {
        /// The backend's name.
        backend: &'static str,
        /// The reason.
        why: String,
    },
    /// A region of another node.
    #[error("the region belongs to another node")]
    WrongNode,
    /// No window at all.
    #[error("a grant of no window")]
    NoWindow,
    /// The caller broke a rule.
    #[error(transparent)]
    Misuse(#[from] ApiMisuse),
    /// The backend's own failure.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// A node, listener, channel or import that did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Bytes that are no address or grant of ours.
    #[error("not a {what}: {why}")]
    Malformed {
        /// `node address` or `grant`.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The other node runs another backend.
    #[error("node `{peer}` runs backend `{theirs}`, this node runs `{ours}`: both ends of a channel need the same")]
    OtherBackend {
        /// The peer's name.
        peer: String,
        /// Its backend.
        theirs: String,
        /// This node's backend.
        ours: &'static str,
    },
    /// The grant is another node's, or of an earlier life of it.
    #[error("stale grant: made by `{maker}` in incarnation {made:016x}; the channel leads to `{peer}` in {now:016x}")]
    OtherIncarnation {
        /// Who made the grant.
        maker: String,
        /// In which incarnation.
        made: u64,
        /// Who is at the other end of the channel.
        peer: String,
        /// In which incarnation.
        now: u64,
    },
    /// The owner no longer honours the grant, or not for this channel.
    #[error("`{peer}` refused the import: {why}")]
    Refused {
        /// The owner.
        peer: String,
        /// Its reason.
        why: String,
    },
    /// The channel is not connected.
    #[error("{0} is not connected")]
    NotConnected(ChannelId),
    /// No more channels fit.
    #[error("{channels} channels are open, the most this port holds")]
    TooManyChannels {
        /// The limit.
        channels: u16,
    },
    /// The class is served by another port of this node already.
    #[error("class {0} is listened for by another port of this node already")]
    AlreadyListening(Class),
    /// The peer's control thread did not answer.
    #[error("no answer from `{peer}` within {waited:?}")]
    NoAnswer {
        /// The peer.
        peer: String,
        /// How long was waited.
        waited: Duration,
    },
    /// A bound of a class outside its range.
    #[error("class {class}: {source}")]
    Bounds {
        /// The class.
        class: Class,
        /// Which bound.
        source: OutOfRange,
    },
    /// A name that can't be used.
    #[error("node name `{0}`: expected 1 to 64 characters of a-z, 0-9 and -")]
    BadName(String),
    /// A listen address that no peer could dial.
    #[error("listen address {address}: expected an address of this host that peers reach it by; {why}")]
    BadListen {
        /// The address.
        address: SocketAddr,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A silence of peers out of range.
    #[error("peer_silence {silence:?}: expected {least:?} to {most:?}", least = SILENCE.start(), most = SILENCE.end())]
    BadSilence {
        /// What was asked.
        silence: Duration,
    },
    /// The control thread or its socket.
    #[error("{what} failed: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's word.
        source: io::Error,
    },
    /// The caller broke a rule.
    #[error(transparent)]
    Misuse(#[from] ApiMisuse),
    /// The peer's memory could not be reached from here.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// A backend's failure in a set-up call, in the backend's words.
#[derive(Debug, thiserror::Error)]
#[error("backend `{backend}`: {message}")]
pub struct BackendError {
    /// The backend's name.
    pub backend: &'static str,
    /// What happened: the call, its arguments, expected and got.
    pub message: String,
    /// The cause below, if any.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl BackendError {
    /// An error without a cause below it.
    pub fn new(backend: &'static str, message: impl Into<String>) -> Self {
        Self { backend, message: message.into(), source: None }
    }
}

/// Why a transfer failed or a channel broke: the cause that was seen, never one that was guessed. `Copy`, so that
/// completions stay small; the text is made by `Display`, off the hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The peer's process ended, or dropped the channel without closing it.
    PeerGone,
    /// The peer's host has not acknowledged anything for [`NodeOptions::peer_silence`], or its process takes nothing from its socket:
    /// whether it still runs is not known.
    PeerSilent,
    /// The peer closed the channel in order.
    PeerClosed,
    /// This side closed the channel.
    ClosedHere,
    /// This side fenced the channel: by a call, by `fence_after`, or for a revoke that the peer did not answer.
    Fenced,
    /// The peer fenced the channel.
    PeerFenced,
    /// The peer has taken the grant back before the transfer was posted whole; its channel lives.
    Revoked,
    /// The bytes that lie at the peer are not those that lie here (`NodeOptions::checksum`). Both logs name them.
    Corrupt {
        /// The first move whose bytes differ, counted from 0 in the order of the batch; adjacent blocks are one move, of at
        /// most 1 MiB.
        position: u64,
    },
    /// Nobody answered at the peer's address in the time given to `dial`.
    Unreachable,
    /// The peer answered and refused the channel.
    Refused(Refusal),
    /// The peer wrote what no correct peer writes. The number says where the backend saw it.
    Garbage(u32),
    /// The transport reported an error: its status and the vendor's code.
    Transport {
        /// Status as the transport numbers it.
        status: u32,
        /// The vendor's own code.
        vendor: u32,
    },
    /// The peer had made its end, and this side could not complete its own; the log says why.
    NotJoined,
    /// A call to this side's device failed for another reason than a shortage that passes.
    Device {
        /// The system's number of the error.
        errno: i32,
    },
}

impl Cause {
    /// Whether a new `dial` may help; nothing was retried by the library.
    #[must_use]
    pub const fn may_redial(self) -> bool {
        !matches!(self, Self::Refused(Refusal::Version | Refusal::Backend) | Self::ClosedHere)
    }

    /// The label of this cause in figures.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::PeerGone => "peer_gone",
            Self::PeerSilent => "peer_silent",
            Self::PeerClosed => "peer_closed",
            Self::ClosedHere => "closed_here",
            Self::Fenced => "fenced",
            Self::PeerFenced => "peer_fenced",
            Self::Revoked => "revoked",
            Self::Corrupt { .. } => "corrupt",
            Self::Unreachable => "unreachable",
            Self::Refused(_) => "refused",
            Self::Garbage(_) => "garbage",
            Self::Transport { .. } => "transport",
            Self::NotJoined => "not_joined",
            Self::Device { .. } => "device",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerGone => f.write_str("the peer's process ended or dropped the channel"),
            Self::PeerSilent => f.write_str("the peer has not answered for as long as it may be silent"),
            Self::PeerClosed => f.write_str("the peer closed the channel"),
            Self::ClosedHere => f.write_str("the channel was closed here"),
            Self::Fenced => f.write_str("the channel was fenced here"),
            Self::PeerFenced => f.write_str("the peer fenced the channel"),
            Self::Revoked => f.write_str("the peer has taken the grant back"),
            Self::Corrupt { position } => write!(f, "the bytes of move {position} are not the same on both sides"),
            Self::Unreachable => f.write_str("nobody answered at the peer's address in time"),
            Self::Refused(why) => write!(f, "the peer refused the channel: {why}"),
            Self::Garbage(place) => write!(f, "the peer wrote what no correct peer writes (place {place})"),
            Self::Transport { status, vendor } => {
                write!(f, "the transport reported status {status} (vendor code {vendor:#x})")
            }
            Self::NotJoined => f.write_str("this side could not complete its end of the channel (its log says why)"),
            Self::Device { errno } => {
                write!(f, "a call to this side's device failed: {}", io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

/// Why a peer refused a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// No common protocol version.
    Version,
    /// Another backend.
    Backend,
    /// The port that listens holds as many channels as it can.
    Full,
    /// The peer's backend could not open its end; its log says why.
    Failed,
    /// The dial was meant for another node or an earlier incarnation of it.
    NotMe,
}

impl Refusal {
    const ALL: [Self; 5] = [Self::Version, Self::Backend, Self::Full, Self::Failed, Self::NotMe];

    pub(crate) fn to_wire(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_wire(byte: u8) -> Self {
        Self::ALL.into_iter().find(|one| one.to_wire() == byte).unwrap_or(Self::Failed)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "no common protocol version",
            Self::Backend => "it runs another backend",
            Self::Full => "its port holds as many channels as it can",
            Self::Failed => "its backend could not open its end",
            Self::NotMe => "the address is of another node or of an earlier incarnation",
        })
    }
}
