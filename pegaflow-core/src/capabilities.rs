//! What a backend can do on this machine, and within which limits.

/// Flags and limits of one backend, true for every channel it makes. The conformance suite holds each to its word.
///
/// What a flag denies is refused when memory, plan or channel is made, with the reason, never half-way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// The backend's name: `shm`, `rdma`, `ucx`.
    pub backend: &'static str,
    /// How nodes meet before the first byte moves.
    pub meets: Meets,
    /// Plans with [`Op::Write`](crate::Op::Write).
    pub write: bool,
    /// Plans with [`Op::Read`](crate::Op::Read).
    pub read: bool,
    /// Memory that the caller brings (`Node::register`).
    pub foreign_memory: ForeignMemory,
    /// Memory of an accelerator.
    pub device_memory: bool,
    /// Which operations make progress only while the peer's own thread polls. Where it is `false` the operation may
    /// end `Done` with the peer stopped: done never means alive.
    pub needs_peer_cpu: PeerCpu,
    /// Who sees the bytes of a transfer once its counter or message was seen.
    pub visible_to: VisibleTo,
    /// Whether bytes are moved by the caller's own processor inside `poll`, and never inside `submit`.
    pub copies_in_poll: bool,
    /// Whether imported windows are mapped into this process, see [`Remote::mapped`](crate::Remote::mapped).
    pub maps_peer_memory: bool,
    /// Whether taking a channel down on this side keeps out whatever its peer still has on the way to granted memory. Where
    /// it does not, a revoke that the peer does not answer ends [`Revoked::Unproven`](crate::Revoked::Unproven).
    pub fence_is_proof: bool,
    /// Whether granted memory can be put aside, with fresh memory in its place:
    /// [`Port::revoke_swap`](crate::Port::revoke_swap).
    pub revoke_swap: bool,
    /// Ordered paths of one channel; `1..=8`.
    pub lanes: u8,
    /// Most channels of one port.
    pub max_channels: u16,
    /// Longest message in bytes, at least 256; a channel's own bound may be lower.
    pub max_message_bytes: u32,
    /// Longest region in bytes.
    pub max_region_bytes: u64,
    /// Most counters of one channel and direction.
    pub max_counters: u32,
}

/// Where two nodes of a backend may be, and with it how their control threads meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meets {
    /// On one host: over a Unix socket in [`NodeOptions::runtime_dir`](crate::NodeOptions::runtime_dir), so that
    /// parcels may carry descriptors.
    OneHost,
    /// On any two hosts: over TCP, at [`NodeOptions::listen`](crate::NodeOptions::listen). Parcels are bytes only: one
    /// with descriptors is refused.
    AnyHost,
}

impl Capabilities {
    /// What is left of a backend that can do nothing, within the smallest limits: a backend says what it has beyond, by
    /// `Capabilities { write: true, ..Capabilities::none("mine") }`, and goes on compiling when there is more to be said.
    #[must_use]
    pub const fn none(backend: &'static str) -> Self {
        Self {
            backend,
            write: false,
            read: false,
            foreign_memory: ForeignMemory::Refused,
            device_memory: false,
            needs_peer_cpu: PeerCpu { write: false, read: false, count: false, message: false },
            visible_to: VisibleTo::HostProcessors,
            copies_in_poll: false,
            maps_peer_memory: false,
            meets: Meets::OneHost,
            fence_is_proof: false,
            revoke_swap: false,
            lanes: 1,
            max_channels: 1,
            max_message_bytes: 256,
            max_region_bytes: i64::MAX as u64,
            max_counters: 1,
        }
    }
}

/// What may be done with memory that the caller brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignMemory {
    /// It can't be registered.
    Refused,
    /// It can be this side of a plan; it can't be granted to a peer.
    LocalSide,
    /// It is as good as owned memory.
    Whole,
}

/// For each operation: whether it waits for the peer's thread to poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCpu {
    /// Bytes of a write landing.
    pub write: bool,
    /// Bytes of a read arriving.
    pub read: bool,
    /// A counter's new value being readable at the peer.
    pub count: bool,
    /// A message being accepted within its credits.
    pub message: bool,
}

/// Who sees the data that a counter or message announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisibleTo {
    /// Every processor of the receiver's host.
    HostProcessors,
    /// Those, and the accelerator whose memory was written.
    HostAndDevice,
}
