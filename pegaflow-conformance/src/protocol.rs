//! What the driver of a case tells the agent, and what it answers. A handle is a position in the agent's tables.

use pegaflow_core::{Access, Bounds};
use serde::{Deserialize, Serialize};

use crate::{held::Held, tally::Tally};

/// The bounds of every class, as they travel.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) transfers: u32,
    pub(crate) blocks: u32,
    pub(crate) messages: u32,
    pub(crate) message_bytes: u32,
    pub(crate) counters: u32,
    /// `NodeOptions::fence_after` of every class.
    pub(crate) fence_after_ms: Option<u64>,
    /// `NodeOptions::checksum`.
    pub(crate) checksum: bool,
}

impl Limits {
    /// Small enough to be reached, large enough not to be in the way.
    pub(crate) const USUAL: Self = Self {
        transfers: 64,
        blocks: 4096,
        messages: 16,
        message_bytes: 1024,
        counters: 32,
        fence_after_ms: None,
        checksum: false,
    };

    pub(crate) fn bounds(self) -> Bounds {
        Bounds {
            transfers: self.transfers,
            blocks: self.blocks,
            messages: self.messages,
            message_bytes: self.message_bytes,
            counters: self.counters,
        }
    }
}

/// What a grant allows, as it travels.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Leave {
    pub(crate) write: bool,
    pub(crate) read: bool,
}

impl From<Access> for Leave {
    fn from(access: Access) -> Self {
        Self { write: access.write, read: access.read }
    }
}

impl From<Leave> for Access {
    fn from(leave: Leave) -> Self {
        Self { write: leave.write, read: leave.read }
    }
}

/// What the agent can drop.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum What {
    Region(u32),
    Grant(u32),
    Counter(u32),
    Port,
    Node,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Make a node and a port. First of all commands.
    Open { name: String, dir: String, limits: Limits },
    /// Of the node: `Bytes`.
    Address,
    /// Take dials for the class at this position of `Class::ALL`.
    Listen { class: usize },
    /// `Handle` of a channel that is not up yet.
    Dial { address: Vec<u8>, class: usize },
    /// Wait for a channel to come up that was not told of before: `Channel`.
    NextChannel,
    /// Wait for a channel's end: `Text`, its state.
    WaitEnd { channel: u32 },
    /// `Handle` of a region.
    Allocate { bytes: u64 },
    /// Fill a region with the bytes of a seed.
    Fill { region: u32, seed: u64 },
    /// `Value`: the hash of a range.
    Hash { region: u32, start: u64, end: u64 },
    /// `Grant` of windows (region, start, end) to a channel's peer, or to anyone.
    Grant { windows: Vec<(u32, u64, u64)>, leave: Leave, channel: Option<u32> },
    /// Import a grant, and write a whole region of the agent's into its first window; wait for the end.
    WriteBack { channel: u32, grant: Vec<u8>, region: u32, counter: Option<u32> },
    /// `Counter`, or `Nothing` where all are taken.
    Counter { channel: u32 },
    /// `Value` of a counter, without a poll.
    Value { counter: u32 },
    /// `Value`: the aborts of a counter, without a poll.
    Aborted { counter: u32 },
    /// Take a grant back from the peer of a channel, with time enough for him to answer.
    Revoke { grant: u32, channel: u32 },
    /// `Text`: what that proved.
    WaitRevoked { grant: u32 },
    /// Wait until a counter has at least this value: `Value`.
    WaitCounter { counter: u32, at_least: u64 },
    /// Wait for so many messages: `Messages`. They stay held unless `release`.
    Messages { count: usize, release: bool },
    /// Release so many messages that are held, oldest first.
    Release { count: usize },
    /// Send a message and wait for its end.
    Send { channel: u32, message: Vec<u8> },
    /// Close a channel.
    Close { channel: u32 },
    /// Import a grant of one window, and write it over and over from now on, whenever the port is polled: in blocks of so
    /// many bytes, each write followed by a count where a counter is given.
    Storm { channel: u32, grant: Vec<u8>, block_bytes: u32, counter: Option<u32> },
    /// Import a grant of one window, and read it over and over from now on, in blocks of so many bytes; or, without a
    /// grant, send numbered messages, see `agent::storm::call`.
    Pull { channel: u32, grant: Option<Vec<u8>>, block_bytes: u32 },
    /// End the storm and wait for its ends: `Value`, how many transfers it had.
    Calm,
    /// `Text`: how the storm stands. `blowing`, `revoked` where the owner took the grant back, or `over` with its channel.
    StormIs,
    /// `Value`: the limit of open descriptors of the agent's process. It is `to` from now on, or
    /// below 64 so many more than are open.
    LimitDescriptors { to: u64 },
    /// Limit the agent's process to so many bytes of address space beyond what it has, or not any more.
    LimitMemory { beyond: Option<u64> },
    /// `Value`: the processor's time of the agent's process so far, in milliseconds.
    ProcessorTime,
    /// `Held` by the agent's process, once its reaper has done what it was given.
    Held,
    /// Drop a handle.
    Drop(What),
    /// Poll between commands, or do not.
    Polling(bool),
    /// `Tally` of the port.
    Tally,
    /// Look at what arrives until told to stop: `Value`, how often. See `agent::watch`.
    Watch { channel: u32, region: u32, slots: u64, slot_bytes: u64, counter: Option<u32> },
    /// Answer so many messages, asleep in between: even ones by a message, odd ones by a count.
    Echo { channel: u32, rounds: u32, grant: Vec<u8>, counter: u32 },
    /// Start a process that has the agent's memory and descriptors, and lives on: `Value`, its process id.
    Outlive,
    /// Fork a child that lives on and does nothing: `Value`, its process id.
    Fork,
    /// Receive and release so many messages; `Value`, the allocations since the first `warm` ones.
    Steady { messages: u32, warm: u32 },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Reply {
    Nothing,
    Handle(u32),
    Channel {
        handle: u32,
        epoch: u64,
    },
    Counter {
        handle: u32,
        bits: u32,
    },
    Grant {
        handle: u32,
        bytes: Vec<u8>,
    },
    Bytes(Vec<u8>),
    Value(u64),
    Text(String),
    Messages(Vec<Vec<u8>>),
    Tally(Tally),
    Held(Held),
    /// The command failed: an error, or a wait that was too long.
    Failed(String),
}
