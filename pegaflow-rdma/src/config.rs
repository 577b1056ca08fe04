//! The section `[transport.rdma]`: every number that has a say in how requests are made, with its default.

use std::path::PathBuf;

/// How this backend behaves. `docs/rdma.md` has the reasons at length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RdmaConfig {
    /// libibverbs: `None` for the system's `libibverbs.so.1`.
    pub library: Option<PathBuf>,
    /// NIC ports, `1..=8`. This version uses one; more are refused when the backend is opened.
    pub rails: Vec<RailConfig>,
    /// Largest path MTU in bytes: 256, 512, 1024, 2048 or 4096. The smaller of this and both ports' active MTU is used.
    pub mtu: u16,
    /// Service level and traffic class, in the order of [`Class::ALL`](pegaflow_core::Class::ALL).
    pub classes: [ServiceConfig; 3],
    /// Acknowledgement time-out: 4.096 µs · 2^this, `1..=31`.
    pub ack_timeout: u8,
    /// How often a request that is not acknowledged is sent again, `0..=7`.
    pub retries: u8,
    /// How often a request that finds no receive posted is sent again, `0..=7`; 7 is for ever: a transfer's own
    /// deadline bounds it.
    pub rnr_retries: u8,
    /// How long those who send here wait before that, in the specification's code, `0..=31` (12 is 0.64 ms).
    pub rnr_timer: u8,
    /// Send requests of one channel that are under way at most, `8..=32768`.
    pub send_depth: u32,
    /// Counts and messages that may arrive on one channel between two polls, `64..=65536`; beyond it the sender waits.
    pub receive_depth: u32,
    /// Every how many requests one makes a completion, besides the last of each transfer; at most half of
    /// `send_depth`.
    pub signal_every: u32,
    /// Requests handed to the NIC by one doorbell at most, `4..=64`.
    pub chain: u32,
    /// Longest message that travels inside its request, `0..=1024` bytes; what the device refuses is an error.
    pub inline_bytes: u32,
    /// Completions taken by one call at most, `1..=256`.
    pub poll_batch: u32,
    /// Reads under way on one channel at most, `1..=128`; the smaller of this and both devices' limit is used.
    pub outstanding_reads: u8,
    /// Longest request in bytes, `4096..=2 GiB`; what a port takes at most is the other bound.
    pub max_request_bytes: u64,
    /// Whether writes into regions may pass each other on their way to memory, where the device offers it.
    pub relaxed_ordering: bool,
    /// Channels of one port, `1..=4096`.
    pub max_channels: u16,
}

/// One NIC port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RailConfig {
    /// The device's name, as `rdma link` shows it; `None` for the first that has an active port.
    pub device: Option<String>,
    /// The port, counted from 1; `None` for the first that is active.
    pub port: Option<u8>,
    /// The position in the port's table of GIDs; `None` to choose by the rules of `docs/rdma.md`.
    pub gid: Option<u8>,
}

/// How a class of traffic is marked on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceConfig {
    /// InfiniBand's service level, or RoCE's priority, `0..=15`.
    pub service_level: u8,
    /// RoCE's traffic class: DSCP in the upper six bits.
    pub traffic_class: u8,
}

impl Default for RdmaConfig {
    fn default() -> Self {
        Self {
            library: None,
            rails: vec![RailConfig::default()],
            mtu: 4096,
            classes: [ServiceConfig::default(); 3],
            // 67 ms, times 8: a dead peer shows after half a second at the earliest, a congested one is not given up.
            ack_timeout: 14,
            retries: 7,
            rnr_retries: 7,
            rnr_timer: 12,
            send_depth: 256,
            receive_depth: 4096,
            signal_every: 64,
            chain: 16,
            inline_bytes: 64,
            poll_batch: 32,
            outstanding_reads: 16,
            max_request_bytes: 1 << 30,
            relaxed_ordering: true,
            max_channels: 128,
        }
    }
}

impl RdmaConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`BadValue`] names the first key that does not fit.
    pub fn check(&self) -> Result<(), BadValue> {
        let number = |key, got: u64, low: u64, high: u64| {
            if (low..=high).contains(&got) {
                Ok(())
            } else {
                Err(BadValue { key, got, expected: format!("{low} to {high}") })
            }
        };
        number("rail (how many)", self.rails.len() as u64, 1, 8)?;
        for rail in &self.rails {
            number("rail.port", rail.port.unwrap_or(1).into(), 1, 254)?;
        }
        if path_mtu(self.mtu).is_none() {
            let expected = "256, 512, 1024, 2048 or 4096".to_owned();
            return Err(BadValue { key: "mtu", got: self.mtu.into(), expected });
        }
        for class in &self.classes {
            number("service_level", class.service_level.into(), 0, 15)?;
        }
        number("ack_timeout", self.ack_timeout.into(), 1, 31)?;
        number("retries", self.retries.into(), 0, 7)?;
        number("rnr_retries", self.rnr_retries.into(), 0, 7)?;
        number("rnr_timer", self.rnr_timer.into(), 0, 31)?;
        number("send_depth", self.send_depth.into(), 8, 32_768)?;
        number("receive_depth", self.receive_depth.into(), 64, 65_536)?;
        number("signal_every", self.signal_every.into(), 1, u64::from(self.send_depth / 2))?;
        number("chain", self.chain.into(), 4, 64)?;
        number("inline_bytes", self.inline_bytes.into(), 0, 1024)?;
        number("poll_batch", self.poll_batch.into(), 1, 256)?;
        number("outstanding_reads", self.outstanding_reads.into(), 1, 128)?;
        number("max_request_bytes", self.max_request_bytes, 4096, 2 << 30)?;
        number("max_channels", self.max_channels.into(), 1, 4096)
    }
}

/// The specification's number for a path MTU.
pub(crate) fn path_mtu(bytes: u16) -> Option<u32> {
    match bytes {
        256 => Some(1),
        512 => Some(2),
        1024 => Some(3),
        2048 => Some(4),
        4096 => Some(5),
        _ => None,
    }
}

/// A value out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} is {got}: expected {expected}")]
pub struct BadValue {
    /// The key below `[transport.rdma]`.
    pub key: &'static str,
    /// Its value.
    pub got: u64,
    /// What it may be.
    pub expected: String,
}
