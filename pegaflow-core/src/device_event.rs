//! What a device is, and what it says of itself.

use std::{fmt, path::PathBuf};

/// One port of a device that a backend moves data over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rail {
    /// The device's name, as the system has it.
    pub device: String,
    /// The port's number on the device.
    pub port: u8,
    /// Folders in which the system shows what the port has counted: a file for each counter, which holds one number. They
    /// need not exist.
    pub counters: Vec<PathBuf>,
}

/// What happened to the device below a node, or to one of its ports. It is news, not a change of state: where it ends
/// channels, they say so themselves, each with its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceEvent {
    /// The device's port lost its link: transfers wait, and fail where it does not come back in the transport's time.
    PortDown,
    /// The port has its link again.
    PortUp,
    /// A queue pair failed; its channel breaks.
    QueuePairFailed,
    /// A completion queue failed; its channel breaks.
    CompletionQueueFailed,
    /// The device failed; every channel on it breaks.
    DeviceFailed,
    /// The port's addresses changed: channels that are up go on, new ones may not find the old address.
    GidsChanged,
    /// The device turned away what a peer asked of it: an address or key that is not granted, or no request at all.
    RequestRefused,
    /// What has no name here, by the backend's own number.
    Other(u32),
}

impl DeviceEvent {
    /// The label of this event in figures.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::PortDown => "port_down",
            Self::PortUp => "port_up",
            Self::QueuePairFailed => "queue_pair_failed",
            Self::CompletionQueueFailed => "completion_queue_failed",
            Self::DeviceFailed => "device_failed",
            Self::GidsChanged => "gids_changed",
            Self::RequestRefused => "request_refused",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for DeviceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortDown => f.write_str("the port is down"),
            Self::PortUp => f.write_str("the port is up again"),
            Self::QueuePairFailed => f.write_str("a queue pair failed"),
            Self::CompletionQueueFailed => f.write_str("a completion queue failed"),
            Self::DeviceFailed => f.write_str("the device failed"),
            Self::GidsChanged => f.write_str("the table of GIDs changed"),
            Self::RequestRefused => f.write_str("a peer's request was refused"),
            Self::Other(number) => write!(f, "the backend's event {number}"),
        }
    }
}
