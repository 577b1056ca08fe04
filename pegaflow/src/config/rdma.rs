//! `[transport.rdma]`, typed, with its defaults. They are the backend's own, but stand here once more: the section is
//! known to a program that was built without that backend. A test holds the two against each other.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{AbsolutePath, Bytes, Choice, ClassName, DeviceName};

/// `[transport.rdma]`: InfiniBand and RoCE by verbs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RdmaConfig {
    /// libibverbs; auto is the system's `libibverbs.so.1`.
    pub library: Choice<AbsolutePath>,
    /// Largest path MTU, in bytes: one of [`RdmaConfig::MTUS`].
    pub mtu: u16,
    /// Acknowledgement time-out: 4.096 µs · 2^this.
    pub ack_timeout: u8,
    /// How often a request that is not acknowledged is sent again.
    pub retries: u8,
    /// How often a request that finds no receive posted is sent again; 7 is for ever.
    pub rnr_retries: u8,
    /// How long a sender waits before that, in the InfiniBand specification's code.
    pub rnr_timer: u8,
    /// Send requests of one channel that are under way at most.
    pub send_depth: u32,
    /// Counts and messages that may arrive on one channel between two polls.
    pub receive_depth: u32,
    /// Every how many requests one makes a completion, besides the last of each transfer; at most half of
    /// `send_depth`.
    pub signal_every: u32,
    /// Requests handed to the NIC by one doorbell at most.
    pub chain: u32,
    /// Longest message that travels inside its request.
    pub inline_bytes: Bytes,
    /// Completions taken by one call at most.
    pub poll_batch: u32,
    /// Reads under way on one channel at most.
    pub outstanding_reads: u8,
    /// Longest request.
    pub max_request_bytes: Bytes,
    /// Whether writes into regions may pass each other on their way to memory, where the device offers it.
    pub relaxed_ordering: bool,
    /// Channels of one port.
    pub max_channels: u16,
    /// NIC ports, [`RdmaConfig::RAILS`] of them. A file that has none gets one, all auto.
    #[serde(rename = "rail")]
    pub rails: Vec<RdmaRail>,
    /// How the channels of class `kv` are marked on the wire.
    pub kv: RdmaService,
    /// How the channels of class `bulk` are marked on the wire.
    pub bulk: RdmaService,
    /// How the channels of class `activation` are marked on the wire.
    pub activation: RdmaService,
}

/// `[[transport.rdma.rail]]`: one NIC port.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RdmaRail {
    /// The device; auto is the first that has an active port.
    pub device: Choice<DeviceName>,
    /// The port, counted from 1; auto is the first that is active.
    pub port: Choice<u8>,
    /// The position in the port's table of GIDs, counted from 0.
    pub gid: Choice<u8>,
}

/// `[transport.rdma.CLASS]`: how a class of traffic is marked on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RdmaService {
    /// InfiniBand's service level, or RoCE's priority.
    pub service_level: u8,
    /// RoCE's traffic class: DSCP in the upper six bits.
    pub traffic_class: u8,
}

impl RdmaConfig {
    /// The path MTUs there are, in bytes.
    pub const MTUS: &[u16] = &[256, 512, 1024, 2048, 4096];
    /// How many rails there can be.
    pub const RAILS: RangeInclusive<usize> = 1..=8;

    /// How `class` is marked on the wire.
    pub const fn service(&self, class: ClassName) -> &RdmaService {
        match class {
            ClassName::Kv => &self.kv,
            ClassName::Bulk => &self.bulk,
            ClassName::Activation => &self.activation,
        }
    }
}

impl Default for RdmaConfig {
    fn default() -> Self {
        Self {
            library: Choice::Auto,
            mtu: 4096,
            ack_timeout: 14,
            retries: 7,
            rnr_retries: 7,
            rnr_timer: 12,
            send_depth: 256,
            receive_depth: 4096,
            signal_every: 64,
            chain: 16,
            inline_bytes: Bytes::new(64),
            poll_batch: 32,
            outstanding_reads: 16,
            max_request_bytes: Bytes::new(1 << 30),
            relaxed_ordering: true,
            max_channels: 128,
            rails: vec![RdmaRail::default()],
            kv: RdmaService::default(),
            bulk: RdmaService::default(),
            activation: RdmaService::default(),
        }
    }
}
