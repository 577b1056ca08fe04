//! The domain: the rail, what it can do, and memory as peers can reach it.

use std::{os::fd::BorrowedFd, path::PathBuf, sync::Arc};

use pegaflow_core::{
    BackendError, Capabilities, DeviceEvent, ForeignMemory, Kind, Meets, PeerCpu,
    backend::{Domain, Engine, Imported, LocalKey, Memory, Origin, Parcel, Reaper},
};

use crate::{
    RdmaConfig,
    channel::immediate::{MAX_COUNTERS, MAX_MESSAGE_BYTES},
    device::{Rail, Shared},
    error::{NAME, failed},
    progress::RdmaEngine,
    region::{self, Registrations},
    sys::{self, StandIn, abi::*},
    watch::Watch,
};

/// Opens the backend: loads libibverbs, and opens the rail's device.
///
/// # Errors
/// A config value out of range; and, each with the remedy: no library, a library too old, no kernel support, no device,
/// no active port, no usable GID.
pub fn open(config: &RdmaConfig) -> Result<Arc<dyn Domain>, BackendError> {
    open_with(config, StandIn::Refused)
}

pub(crate) fn open_with(config: &RdmaConfig, stand_in: StandIn) -> Result<Arc<dyn Domain>, BackendError> {
    config.check().map_err(|error| BackendError::new(NAME, format!("transport.rdma.{error}")))?;
    let rail = Rail::of(config, stand_in)?;
    rustix::io::ioctl_fionbio(rail.device.events(), true)
        .map_err(|errno| failed("ioctl(FIONBIO)", "on a device's events", errno.into()))?;
    // Told now, and not by the first channel.
    sys::Staging::new(&rail.device, 256 << 10)?;
    let capabilities = capabilities(config, &rail);
    tracing::info!(
        library = rail.device.library(),
        device = rail.device.name(),
        port = rail.port,
        gid = rail.gid.index,
        address = %std::net::Ipv6Addr::from(rail.gid.raw),
        mtu = 128 << rail.attributes.active_mtu,
        "rdma is open"
    );
    let shared = Arc::new(Shared { config: config.clone(), rail, watch: Watch::default() });
    Ok(Arc::new(RdmaDomain { capabilities, shared, registrations: Registrations::default() }))
}

fn capabilities(config: &RdmaConfig, rail: &Rail) -> Capabilities {
    Capabilities {
        write: true,
        read: true,
        foreign_memory: ForeignMemory::Whole,
        device_memory: rail.device.takes_dmabuf(),
        // The NIC moves bytes and takes immediates; a counter's value moves when the peer's engine sees the immediate.
        needs_peer_cpu: PeerCpu { write: false, read: false, count: true, message: false },
        meets: Meets::AnyHost,
        // A queue pair that is gone takes nothing from the wire.
        fence_is_proof: true,
        max_channels: config.max_channels,
        max_message_bytes: MAX_MESSAGE_BYTES,
        max_region_bytes: region::MAX_BYTES.min(rail.limits.max_mr_size),
        max_counters: MAX_COUNTERS,
        ..Capabilities::none(NAME)
    }
}

struct RdmaDomain {
    capabilities: Capabilities,
    shared: Arc<Shared>,
    registrations: Registrations,
}

impl Domain for RdmaDomain {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn origin(&self) -> Option<Origin> {
        Some(self.shared.rail.device.origin())
    }

    unsafe fn register(&self, memory: &Memory<'_>) -> Result<LocalKey, BackendError> {
        if let Kind::Device { ordinal } = memory.kind
            && !self.capabilities.device_memory
        {
            let why = format!(
                "memory of device {ordinal}: device {} takes no dmabuf, which needs kernel 5.12, rdma-core 34 and a \
                 driver of the NIC's that knows it",
                self.shared.rail.device.name()
            );
            return Err(BackendError::new(NAME, why));
        }
        // SAFETY: the caller's word.
        unsafe { self.registrations.enter(&self.shared.rail, memory, self.shared.config.relaxed_ordering) }
    }

    fn deregister(&self, key: LocalKey) -> Result<(), BackendError> {
        self.registrations.remove(key)
    }

    fn export(&self, key: LocalKey) -> Result<Parcel, BackendError> {
        self.registrations.export(key)
    }

    fn import(&self, parcel: Parcel, bytes: u64) -> Result<Imported, BackendError> {
        region::import(&parcel, bytes)
    }

    fn rails(&self) -> Vec<pegaflow_core::Rail> {
        let (device, port) = (self.shared.rail.device.name().to_owned(), self.shared.rail.port);
        // Documentation/ABI/stable/sysfs-class-infiniband.
        let folder = PathBuf::from(format!("/sys/class/infiniband/{device}/ports/{port}"));
        let counters = ["counters", "hw_counters"].map(|kind| folder.join(kind)).into();
        vec![pegaflow_core::Rail { device, port, counters }]
    }

    fn engine(&self, reaper: &Reaper) -> Result<Box<dyn Engine>, BackendError> {
        Ok(Box::new(RdmaEngine::new(&self.shared, reaper)?))
    }

    fn events(&self) -> Option<BorrowedFd<'_>> {
        Some(self.shared.rail.device.events())
    }

    /// A completion queue that failed, or a device, gives no completions any more: their links are told. A queue pair
    /// that failed shows in its completions, a port that is down in time-outs.
    fn attend(&self, tell: &mut dyn FnMut(u8, DeviceEvent)) {
        let device = self.shared.rail.device.name();
        let mut one = |event, about| {
            let Some(what) = named(event) else {
                tracing::debug!(device, event, "an event of no consequence");
                return;
            };
            tracing::warn!(device, event, about = format_args!("{about:#x}"), "{what}");
            match what {
                DeviceEvent::CompletionQueueFailed => self.shared.watch.fail(Some(about)),
                DeviceEvent::DeviceFailed => self.shared.watch.fail(None),
                _ => {}
            }
            tell(ONLY_RAIL, what);
        };
        for _ in 0..EVENTS_AT_ONCE {
            if !self.shared.rail.device.next_event(&mut one) {
                return;
            }
        }
    }
}

/// The rail's number, where there is one.
const ONLY_RAIL: u8 = 0;
/// A device that goes on and on keeps its node from meeting others no longer than this.
const EVENTS_AT_ONCE: u32 = 64;

/// What users are told of an asynchronous event; `None` for a step that every connection takes.
fn named(event: u32) -> Option<DeviceEvent> {
    Some(match event {
        IBV_EVENT_CQ_ERR => DeviceEvent::CompletionQueueFailed,
        IBV_EVENT_QP_FATAL => DeviceEvent::QueuePairFailed,
        IBV_EVENT_QP_REQ_ERR | IBV_EVENT_QP_ACCESS_ERR => DeviceEvent::RequestRefused,
        IBV_EVENT_DEVICE_FATAL => DeviceEvent::DeviceFailed,
        IBV_EVENT_PORT_ACTIVE => DeviceEvent::PortUp,
        IBV_EVENT_PORT_ERR => DeviceEvent::PortDown,
        IBV_EVENT_GID_CHANGE => DeviceEvent::GidsChanged,
        IBV_EVENT_COMM_EST => return None,
        other => DeviceEvent::Other(other),
    })
}
