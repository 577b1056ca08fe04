//! What crosses the boundary by value: C twins of the contract's ids, shapes, batches and events.

use std::{fmt, mem::offset_of};

use pegaflow::{
    Capabilities, Cause, ChannelId, Class, DeviceEvent, Event, ForeignMemory, Op, Outcome, PageSize, Piece, Plane,
    Refusal, Revoked, Slot, Span, State,
};

use crate::{ffi::pf_plan, ffi::pf_region, status::Failure};

/// A channel of one port; never 0.
pub type pf_channel = u64;
/// A transfer of one port.
pub type pf_transfer = u64;

/// The audience of a grant that is for every peer.
pub const PF_ANYONE: u64 = 0;
/// A deadline or time to sleep until that never comes.
pub const PF_NEVER: u64 = u64::MAX;

/// Classes of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_class {
    /// Paged KV-cache blocks.
    PF_CLASS_KV = 0,
    /// Few huge tensors.
    PF_CLASS_BULK = 1,
    /// Small, steady, latency-bound.
    PF_CLASS_ACTIVATION = 2,
}

/// What a plan moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_op {
    /// From here to there.
    PF_WRITE = 0,
    /// From there to here.
    PF_READ = 1,
}

/// What peers may do with granted windows; may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_access {
    /// Write them.
    PF_ACCESS_WRITE = 1,
    /// Read them.
    PF_ACCESS_READ = 2,
}

/// Where memory lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_kind {
    /// Memory of the host.
    PF_HOST = 0,
    /// Memory of an accelerator.
    PF_DEVICE = 1,
}

/// Pages under allocated memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_page {
    /// The system's base pages.
    PF_PAGE_BASE = 0,
    /// 2 MiB pages from the system's pool.
    PF_PAGE_2MIB = 1,
    /// 1 GiB pages from the system's pool.
    PF_PAGE_1GIB = 2,
}

/// Which fields of a shape count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_shape_kind {
    /// Blocks of one size in planes.
    PF_SHAPE_PAGED = 0,
    /// A list of ranges.
    PF_SHAPE_SPANS = 1,
}

/// What follows the data of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_then {
    /// Nothing.
    PF_THEN_NOTHING = 0,
    /// One is added to `counter`.
    PF_THEN_COUNT = 1,
    /// `message` is handed to the peer.
    PF_THEN_MESSAGE = 2,
}

/// What may be done with memory that the caller brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_foreign_memory {
    /// It can't be registered.
    PF_FOREIGN_REFUSED = 0,
    /// It can be this side of a plan; it can't be granted.
    PF_FOREIGN_LOCAL_SIDE = 1,
    /// It is as good as owned memory.
    PF_FOREIGN_WHOLE = 2,
}

/// Which part of an event counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_event_kind {
    /// `of.ended`: a transfer ended. Once per accepted batch or message.
    PF_EVENT_ENDED = 1,
    /// `of.quiet`: this side's bytes of an ended transfer are free now.
    PF_EVENT_QUIET = 2,
    /// `of.message`: a message arrived.
    PF_EVENT_MESSAGE = 3,
    /// `of.counters`: a counter of the channel moved.
    PF_EVENT_COUNTERS = 4,
    /// `of.channel`: the state of a channel changed.
    PF_EVENT_CHANNEL = 5,
    /// `of.revoked`: what is proven of a grant that was taken back.
    PF_EVENT_REVOKED = 6,
    /// `of.device`: the device said something of itself.
    PF_EVENT_DEVICE = 7,
    /// Something that these bindings have no name for.
    PF_EVENT_OTHER = 0xffff,
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_outcome {
    /// Its bytes are where they belong.
    PF_DONE = 0,
    /// It was cancelled.
    PF_CANCELLED = 1,
    /// Its deadline passed.
    PF_DEADLINE_PASSED = 2,
    /// It failed; `cause` says why.
    PF_FAILED = 3,
}

/// The life of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_state {
    /// The hand-shake is under way.
    PF_CONNECTING = 0,
    /// Data flows.
    PF_UP = 1,
    /// It failed; `cause` says why.
    PF_BROKEN = 2,
    /// It was closed in order.
    PF_CLOSED = 3,
}

/// Why something failed or broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_cause_kind {
    /// Nothing failed.
    PF_CAUSE_NONE = 0,
    /// The peer's process ended, or dropped the channel.
    PF_CAUSE_PEER_GONE = 1,
    /// The peer closed the channel.
    PF_CAUSE_PEER_CLOSED = 2,
    /// This side closed the channel.
    PF_CAUSE_CLOSED_HERE = 3,
    /// Nobody answered in time.
    PF_CAUSE_UNREACHABLE = 4,
    /// The peer refused the channel. `first`: 1 version, 2 backend, 3 full, 4 failed, 5 another node, 0 something else.
    PF_CAUSE_REFUSED = 5,
    /// The peer wrote what no correct peer writes. `first`: where that was seen.
    PF_CAUSE_GARBAGE = 6,
    /// The transport's error. `first`: its status, `second`: the vendor's code.
    PF_CAUSE_TRANSPORT = 7,
    /// The peer's host or process has not answered for as long as the config lets it be silent.
    PF_CAUSE_PEER_SILENT = 8,
    /// This side could not complete its end of the channel; its log says why.
    PF_CAUSE_NOT_JOINED = 9,
    /// A call to this side's device failed. `first`: its errno.
    PF_CAUSE_DEVICE = 10,
    /// This side fenced the channel.
    PF_CAUSE_FENCED = 11,
    /// The peer fenced the channel.
    PF_CAUSE_PEER_FENCED = 12,
    /// The peer has taken the grant back; the channel lives.
    PF_CAUSE_REVOKED = 13,
    /// The bytes are not the same on both sides. `first`: the first move that differs.
    PF_CAUSE_CORRUPT = 14,
    /// Something that these bindings have no name for.
    PF_CAUSE_OTHER = 0xffff,
}

/// What happened to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_device_event_kind {
    /// The port lost its link.
    PF_DEVICE_PORT_DOWN = 1,
    /// The port has its link again.
    PF_DEVICE_PORT_UP = 2,
    /// A queue pair failed.
    PF_DEVICE_QUEUE_PAIR_FAILED = 3,
    /// A completion queue failed.
    PF_DEVICE_COMPLETION_QUEUE_FAILED = 4,
    /// The device failed.
    PF_DEVICE_FAILED = 5,
    /// The port's addresses changed.
    PF_DEVICE_GIDS_CHANGED = 6,
    /// What a peer asked for was refused.
    PF_DEVICE_REQUEST_REFUSED = 7,
    /// Something else; `number` is the backend's own, or 0 where these bindings have no name for it.
    PF_DEVICE_OTHER = 0xffff,
}

/// A cause and its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct pf_cause {
    /// `PF_CAUSE_*`.
    pub kind: u32,
    /// As the kind says.
    pub first: u32,
    /// As the kind says.
    pub second: u32,
}

/// A received message that is held; its words mean nothing to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct pf_slot {
    /// Given back as they came.
    pub words: [u64; 2],
}

/// `PF_EVENT_ENDED`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_ended {
    /// The caller's mark.
    pub tag: u64,
    /// Which transfer.
    pub transfer: pf_transfer,
    /// Payload bytes that moved.
    pub bytes: u64,
    /// `PF_DONE` and the like.
    pub outcome: u32,
    /// 1 where this side's bytes are free; 0 where a `PF_EVENT_QUIET` follows.
    pub quiet: u32,
    /// Where `outcome` is `PF_FAILED`.
    pub cause: pf_cause,
}

/// `PF_EVENT_QUIET`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_quiet {
    /// The caller's mark.
    pub tag: u64,
    /// Which transfer.
    pub transfer: pf_transfer,
}

/// `PF_EVENT_MESSAGE`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_arrived {
    /// Over which channel.
    pub channel: pf_channel,
    /// For `pf_port_message` and `pf_port_release`.
    pub slot: pf_slot,
    /// Its length.
    pub bytes: u32,
}

/// `PF_EVENT_COUNTERS`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_counted {
    /// Which channel.
    pub channel: pf_channel,
}

/// `PF_EVENT_CHANNEL`, and what `pf_port_state` tells.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_channel_state {
    /// Which channel.
    pub channel: pf_channel,
    /// Of this life of the connection, where it is up: the same number on both sides.
    pub epoch: u64,
    /// `PF_UP` and the like.
    pub state: u32,
    /// Where it is broken.
    pub cause: pf_cause,
}

/// What is known of a grant that was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum pf_how_revoked {
    /// The peer uses it no more; the memory may be used again.
    PF_REVOKED_ACKNOWLEDGED = 0,
    /// The channel is down, and nothing of the peer's comes through; the memory may be used again.
    PF_REVOKED_FENCED = 1,
    /// The peer's processor may still write: the memory is not to be used until a second event.
    PF_REVOKED_UNPROVEN = 2,
}

/// `PF_EVENT_REVOKED`
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_revoked {
    /// From whose peer.
    pub channel: pf_channel,
    /// The grant's epoch.
    pub epoch: u64,
    /// `PF_REVOKED_*`.
    pub how: u32,
}

/// `PF_EVENT_DEVICE`. It ends nothing: channels say so themselves.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_device_event {
    /// `PF_DEVICE_*`.
    pub what: u32,
    /// Where `what` is `PF_DEVICE_OTHER`.
    pub number: u32,
    /// Which of the node's rails; 0 where there is one.
    pub rail: u32,
}

/// The part of an event that its kind names.
#[derive(Clone, Copy)]
#[repr(C)]
pub union pf_event_of {
    /// `PF_EVENT_ENDED`
    pub ended: pf_ended,
    /// `PF_EVENT_QUIET`
    pub quiet: pf_quiet,
    /// `PF_EVENT_MESSAGE`
    pub message: pf_arrived,
    /// `PF_EVENT_COUNTERS`
    pub counters: pf_counted,
    /// `PF_EVENT_CHANNEL`
    pub channel: pf_channel_state,
    /// `PF_EVENT_REVOKED`
    pub revoked: pf_revoked,
    /// `PF_EVENT_DEVICE`
    pub device: pf_device_event,
    /// Room for what comes.
    pub reserved: [u64; 7],
}

/// Something that happened. Its size stays: 64 bytes. Kinds may come; a program lets pass those that it doesn't know.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct pf_event {
    /// `PF_EVENT_*`.
    pub kind: u32,
    /// 0.
    pub zero: u32,
    /// What happened.
    pub of: pf_event_of,
}

const _: () = assert!(size_of::<pf_event>() == 64, "an event is 64 bytes for ever");

impl fmt::Debug for pf_event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("pf_event").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl fmt::Debug for pf_event_of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("pf_event_of").finish_non_exhaustive()
    }
}

/// A range of a region.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_window {
    /// Of which region.
    pub region: *const pf_region,
    /// Bytes from its start.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// One plane of a paged table: `offset` bytes into window number `window` lies block 0.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_plane {
    /// Position in the windows given with the shape.
    pub window: u32,
    /// Bytes from the window's start to block 0.
    pub offset: u64,
}

/// Part of a block: `count` runs of `bytes`, the first at `at`, then every `step` bytes.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_piece {
    /// Bytes from the block's start to the first run.
    pub at: u32,
    /// Bytes from one run's start to the next's.
    pub step: u32,
    /// Bytes of one run.
    pub bytes: u32,
    /// Runs.
    pub count: u32,
}

/// A range of a window.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_span {
    /// Position in the windows given with the shape.
    pub window: u32,
    /// Bytes from the window's start.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// One side of a plan.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_shape {
    /// `sizeof(pf_shape)`.
    pub struct_size: usize,
    /// `PF_SHAPE_PAGED` or `PF_SHAPE_SPANS`.
    pub kind: u32,
    /// Spans: how many.
    pub span_count: u32,
    /// Spans: where.
    pub spans: *const pf_span,
    /// Paged: the planes, in the order in which batches name them.
    pub planes: *const pf_plane,
    /// Paged: how many.
    pub plane_count: u32,
    /// Paged: block ids are below this.
    pub blocks: u32,
    /// Paged: bytes from one group of `split` blocks to the next.
    pub stride_bytes: u64,
    /// Paged: which bytes of a block move.
    pub pieces: *const pf_piece,
    /// Paged: how many pieces.
    pub piece_count: u32,
    /// Paged: blocks in a group; 0 is taken as 1.
    pub split: u32,
    /// Paged: bytes from block to block within a group.
    pub split_bytes: u64,
}

/// How memory is allocated.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_allocate_options {
    /// `sizeof(pf_allocate_options)`.
    pub struct_size: usize,
    /// `PF_PAGE_*`.
    pub page: u32,
    /// 1 to touch every page now.
    pub touch: u32,
}

/// A plan plus block ids.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_batch {
    /// `sizeof(pf_batch)`.
    pub struct_size: usize,
    /// Over which tables.
    pub plan: *const pf_plan,
    /// Block or span ids of this side.
    pub here: *const u32,
    /// Block or span ids of the peer's side, as many.
    pub there: *const u32,
    /// How many on each side.
    pub count: usize,
    /// First plane.
    pub planes_begin: u32,
    /// One past the last plane; 1 where the shapes are spans.
    pub planes_end: u32,
    /// When the transfer ends if it has not ended before.
    pub deadline_ns: u64,
    /// The caller's mark, given back with the end.
    pub tag: u64,
    /// `PF_THEN_*`.
    pub then: u32,
    /// The peer's counter, for `PF_THEN_COUNT`.
    pub counter: u32,
    /// The message, for `PF_THEN_MESSAGE`.
    pub message: *const u8,
    /// Its length.
    pub message_bytes: usize,
}

/// What the backend can do, and within which limits. Flags are 0 or 1.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct pf_capabilities {
    /// `sizeof(pf_capabilities)`, set by the caller.
    pub struct_size: usize,
    /// Plans that write.
    pub write: u32,
    /// Plans that read.
    pub read: u32,
    /// `PF_FOREIGN_*`.
    pub foreign_memory: u32,
    /// Memory of an accelerator.
    pub device_memory: u32,
    /// Bytes are moved inside `pf_port_poll`.
    pub copies_in_poll: u32,
    /// Ordered paths of one channel.
    pub lanes: u32,
    /// Most channels of one port.
    pub max_channels: u32,
    /// Longest message in bytes.
    pub max_message_bytes: u32,
    /// Most counters of one channel and direction.
    pub max_counters: u32,
    /// Longest region in bytes.
    pub max_region_bytes: u64,
}

impl pf_batch {
    /// Up to the tag: then nothing follows the data.
    pub(crate) const LEAST: usize = offset_of!(Self, then);
}

impl From<&Capabilities> for pf_capabilities {
    fn from(from: &Capabilities) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            write: from.write.into(),
            read: from.read.into(),
            foreign_memory: match from.foreign_memory {
                ForeignMemory::Refused => pf_foreign_memory::PF_FOREIGN_REFUSED,
                ForeignMemory::LocalSide => pf_foreign_memory::PF_FOREIGN_LOCAL_SIDE,
                ForeignMemory::Whole => pf_foreign_memory::PF_FOREIGN_WHOLE,
            } as u32,
            device_memory: from.device_memory.into(),
            copies_in_poll: from.copies_in_poll.into(),
            lanes: from.lanes.into(),
            max_channels: from.max_channels.into(),
            max_message_bytes: from.max_message_bytes,
            max_counters: from.max_counters,
            max_region_bytes: from.max_region_bytes,
        }
    }
}

impl From<&pf_plane> for Plane {
    fn from(from: &pf_plane) -> Self {
        Self { window: from.window, offset: from.offset }
    }
}

impl From<&pf_piece> for Piece {
    fn from(from: &pf_piece) -> Self {
        Self { at: from.at, step: from.step, bytes: from.bytes, count: from.count }
    }
}

impl From<&pf_span> for Span {
    fn from(from: &pf_span) -> Self {
        Self { window: from.window, offset: from.offset, bytes: from.bytes }
    }
}

impl From<pf_slot> for Slot {
    fn from(from: pf_slot) -> Self {
        Self::from_bits(from.words)
    }
}

impl pf_cause {
    const NONE: Self = Self::new(pf_cause_kind::PF_CAUSE_NONE, 0, 0);

    const fn new(kind: pf_cause_kind, first: u32, second: u32) -> Self {
        Self { kind: kind as u32, first, second }
    }
}

impl From<Cause> for pf_cause {
    fn from(from: Cause) -> Self {
        use pf_cause_kind as kind;
        match from {
            Cause::PeerGone => Self::new(kind::PF_CAUSE_PEER_GONE, 0, 0),
            Cause::PeerClosed => Self::new(kind::PF_CAUSE_PEER_CLOSED, 0, 0),
            Cause::ClosedHere => Self::new(kind::PF_CAUSE_CLOSED_HERE, 0, 0),
            Cause::Unreachable => Self::new(kind::PF_CAUSE_UNREACHABLE, 0, 0),
            Cause::Refused(why) => {
                let why = match why {
                    Refusal::Version => 1,
                    Refusal::Backend => 2,
                    Refusal::Full => 3,
                    Refusal::Failed => 4,
                    Refusal::NotMe => 5,
                    _ => 0,
                };
                Self::new(kind::PF_CAUSE_REFUSED, why, 0)
            }
            Cause::Garbage(place) => Self::new(kind::PF_CAUSE_GARBAGE, place, 0),
            Cause::Transport { status, vendor } => Self::new(kind::PF_CAUSE_TRANSPORT, status, vendor),
            Cause::PeerSilent => Self::new(kind::PF_CAUSE_PEER_SILENT, 0, 0),
            Cause::NotJoined => Self::new(kind::PF_CAUSE_NOT_JOINED, 0, 0),
            Cause::Device { errno } => Self::new(kind::PF_CAUSE_DEVICE, errno.unsigned_abs(), 0),
            Cause::Fenced => Self::new(kind::PF_CAUSE_FENCED, 0, 0),
            Cause::PeerFenced => Self::new(kind::PF_CAUSE_PEER_FENCED, 0, 0),
            Cause::Revoked => Self::new(kind::PF_CAUSE_REVOKED, 0, 0),
            Cause::Corrupt { position } => {
                Self::new(kind::PF_CAUSE_CORRUPT, u32::try_from(position).unwrap_or(u32::MAX), 0)
            }
            _ => Self::new(kind::PF_CAUSE_OTHER, 0, 0),
        }
    }
}

impl pf_channel_state {
    pub(crate) fn new(channel: ChannelId, state: State) -> Self {
        let (state, epoch, cause) = match state {
            State::Connecting => (pf_state::PF_CONNECTING, 0, pf_cause::NONE),
            State::Up { epoch } => (pf_state::PF_UP, epoch, pf_cause::NONE),
            State::Broken(cause) => (pf_state::PF_BROKEN, 0, cause.into()),
            State::Closed => (pf_state::PF_CLOSED, 0, pf_cause::NONE),
        };
        Self { channel: channel.to_bits(), epoch, state: state as u32, cause }
    }
}

impl pf_device_event {
    fn new(rail: u8, what: DeviceEvent) -> Self {
        use pf_device_event_kind as kind;
        let (what, number) = match what {
            DeviceEvent::PortDown => (kind::PF_DEVICE_PORT_DOWN, 0),
            DeviceEvent::PortUp => (kind::PF_DEVICE_PORT_UP, 0),
            DeviceEvent::QueuePairFailed => (kind::PF_DEVICE_QUEUE_PAIR_FAILED, 0),
            DeviceEvent::CompletionQueueFailed => (kind::PF_DEVICE_COMPLETION_QUEUE_FAILED, 0),
            DeviceEvent::DeviceFailed => (kind::PF_DEVICE_FAILED, 0),
            DeviceEvent::GidsChanged => (kind::PF_DEVICE_GIDS_CHANGED, 0),
            DeviceEvent::RequestRefused => (kind::PF_DEVICE_REQUEST_REFUSED, 0),
            DeviceEvent::Other(number) => (kind::PF_DEVICE_OTHER, number),
            _ => (kind::PF_DEVICE_OTHER, 0),
        };
        Self { what: what as u32, number, rail: rail.into() }
    }
}

impl From<Event> for pf_event {
    fn from(from: Event) -> Self {
        let mut of = pf_event_of { reserved: [0; 7] };
        let kind = match from {
            Event::Ended { tag, id, outcome, quiet, bytes } => {
                let (outcome, cause) = match outcome {
                    Outcome::Done => (pf_outcome::PF_DONE, pf_cause::NONE),
                    Outcome::Cancelled => (pf_outcome::PF_CANCELLED, pf_cause::NONE),
                    Outcome::DeadlinePassed => (pf_outcome::PF_DEADLINE_PASSED, pf_cause::NONE),
                    Outcome::Failed(cause) => (pf_outcome::PF_FAILED, cause.into()),
                };
                let (transfer, outcome, quiet) = (id.to_bits(), outcome as u32, quiet.into());
                of.ended = pf_ended { tag, transfer, bytes, outcome, quiet, cause };
                pf_event_kind::PF_EVENT_ENDED
            }
            Event::Quiet { tag, id } => {
                of.quiet = pf_quiet { tag, transfer: id.to_bits() };
                pf_event_kind::PF_EVENT_QUIET
            }
            Event::Message { channel, slot, bytes } => {
                let (channel, slot) = (channel.to_bits(), pf_slot { words: slot.to_bits() });
                of.message = pf_arrived { channel, slot, bytes };
                pf_event_kind::PF_EVENT_MESSAGE
            }
            Event::Counters { channel } => {
                of.counters = pf_counted { channel: channel.to_bits() };
                pf_event_kind::PF_EVENT_COUNTERS
            }
            Event::Channel { channel, state } => {
                of.channel = pf_channel_state::new(channel, state);
                pf_event_kind::PF_EVENT_CHANNEL
            }
            Event::Revoked { channel, epoch, how } => {
                let how = match how {
                    Revoked::Acknowledged => pf_how_revoked::PF_REVOKED_ACKNOWLEDGED,
                    Revoked::Fenced => pf_how_revoked::PF_REVOKED_FENCED,
                    Revoked::Unproven => pf_how_revoked::PF_REVOKED_UNPROVEN,
                };
                of.revoked = pf_revoked { channel: channel.to_bits(), epoch, how: how as u32 };
                pf_event_kind::PF_EVENT_REVOKED
            }
            Event::Device { rail, what } => {
                of.device = pf_device_event::new(rail, what);
                pf_event_kind::PF_EVENT_DEVICE
            }
            _ => pf_event_kind::PF_EVENT_OTHER,
        };
        Self { kind: kind as u32, zero: 0, of }
    }
}

/// Finds what a number from C names.
fn named<T: Copy>(what: &str, number: u32, all: &[T]) -> Result<T, Failure> {
    let found = usize::try_from(number).ok().and_then(|at| all.get(at).copied());
    found.ok_or_else(|| Failure::argument(format!("{what} {number}: expected 0 to {}", all.len() - 1)))
}

pub(crate) fn class(number: u32) -> Result<Class, Failure> {
    named("class", number, &[Class::Kv, Class::Bulk, Class::Activation])
}

pub(crate) fn op(number: u32) -> Result<Op, Failure> {
    named("operation", number, &[Op::Write, Op::Read])
}

pub(crate) fn page(number: u32) -> Result<PageSize, Failure> {
    named("page size", number, &[PageSize::Base, PageSize::Huge2MiB, PageSize::Huge1GiB])
}

pub(crate) fn kind(number: u32) -> Result<pf_kind, Failure> {
    named("kind of memory", number, &[pf_kind::PF_HOST, pf_kind::PF_DEVICE])
}

pub(crate) fn shape_kind(number: u32) -> Result<pf_shape_kind, Failure> {
    named("kind of shape", number, &[pf_shape_kind::PF_SHAPE_PAGED, pf_shape_kind::PF_SHAPE_SPANS])
}

pub(crate) fn then(number: u32) -> Result<pf_then, Failure> {
    named("then", number, &[pf_then::PF_THEN_NOTHING, pf_then::PF_THEN_COUNT, pf_then::PF_THEN_MESSAGE])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_says_has_a_number_of_its_own() {
        let all = [
            DeviceEvent::PortDown,
            DeviceEvent::PortUp,
            DeviceEvent::QueuePairFailed,
            DeviceEvent::CompletionQueueFailed,
            DeviceEvent::DeviceFailed,
            DeviceEvent::GidsChanged,
            DeviceEvent::RequestRefused,
            DeviceEvent::Other(17),
        ];
        let twins = all.map(|what| pf_device_event::new(7, what)).map(|twin| (twin.what, twin.number, twin.rail));
        let numbers = [1, 2, 3, 4, 5, 6, 7, 0xffff].map(|what| (what, if what == 0xffff { 17 } else { 0 }, 7));
        assert_eq!(twins, numbers);
        let event = pf_event::from(Event::Device { rail: 0, what: DeviceEvent::PortUp });
        assert_eq!((event.kind, event.zero), (pf_event_kind::PF_EVENT_DEVICE as u32, 0));
    }
}
