//! Name to backend: the only place that knows them all.

use std::{net::IpAddr, sync::Arc, time::Duration};

use pegaflow_core::{BackendError, Bounds, Class, NodeOptions, PageSize, backend::Domain};

#[cfg(feature = "rdma")]
use crate::config::{RdmaConfig, RdmaRail};
use crate::{
    Error,
    config::{BackendName, ClassName, Config, Page},
};
#[cfg(feature = "rdma")]
pub use pegaflow_rdma::Chosen as ChosenRail;

/// The backends that this program was built with, in the order of the documentation.
#[must_use]
pub fn built() -> Vec<&'static str> {
    let all = [("shm", cfg!(feature = "shm")), ("rdma", cfg!(feature = "rdma")), ("ucx", cfg!(feature = "ucx"))];
    all.into_iter().filter(|(_, built)| *built).map(|(name, _)| name).collect()
}

/// Opens the backend that the config names.
pub(crate) fn open(config: &Config) -> Result<Arc<dyn Domain>, Error> {
    let opened = match config.backend {
        BackendName::Shm => shm(config),
        BackendName::Rdma => rdma(config),
        BackendName::Ucx => ucx(),
    };
    let missing = || Error::NotInThisBuild { wanted: config.backend.as_str(), built: built() };
    opened.ok_or_else(missing)?.map_err(Error::Unavailable)
}

/// A backend, or why it can't work here; `None` where this program was built without it.
type Opened = Option<Result<Arc<dyn Domain>, BackendError>>;

#[cfg(feature = "shm")]
fn shm(config: &Config) -> Opened {
    let copy_chunk_bytes = config.transport.shm.copy_chunk_bytes.get();
    Some(pegaflow_shm::open(&pegaflow_shm::ShmConfig { copy_chunk_bytes }))
}

#[cfg(not(feature = "shm"))]
fn shm(_config: &Config) -> Opened {
    None
}

#[cfg(feature = "rdma")]
fn rdma(config: &Config) -> Opened {
    Some(pegaflow_rdma::open(&rdma_config(&config.transport.rdma)))
}

/// Device, port and GID that `[transport.rdma]` comes to on this machine, for programs that are to use the same.
///
/// # Errors
/// A build without the backend, or why there is none.
#[cfg(feature = "rdma")]
pub fn rdma_rail(config: &Config) -> Result<ChosenRail, Error> {
    ChosenRail::of(&rdma_config(&config.transport.rdma)).map_err(Error::Unavailable)
}

/// The section `[transport.rdma]` in the backend's own type.
#[cfg(feature = "rdma")]
fn rdma_config(config: &RdmaConfig) -> pegaflow_rdma::RdmaConfig {
    let rail = |rail: &RdmaRail| pegaflow_rdma::RailConfig {
        device: rail.device.given().map(|name| name.as_str().to_owned()),
        port: rail.port.given().copied(),
        gid: rail.gid.given().copied(),
    };
    let service = |class| {
        let service = config.service(class_name(class));
        pegaflow_rdma::ServiceConfig { service_level: service.service_level, traffic_class: service.traffic_class }
    };
    pegaflow_rdma::RdmaConfig {
        library: config.library.given().map(|path| path.as_path().to_owned()),
        rails: config.rails.iter().map(rail).collect(),
        mtu: config.mtu,
        classes: Class::ALL.map(service),
        ack_timeout: config.ack_timeout,
        retries: config.retries,
        rnr_retries: config.rnr_retries,
        rnr_timer: config.rnr_timer,
        send_depth: config.send_depth,
        receive_depth: config.receive_depth,
        signal_every: config.signal_every,
        chain: config.chain,
        // Out of range where it does not fit, and refused by the backend with the range.
        inline_bytes: u32::try_from(config.inline_bytes.get()).unwrap_or(u32::MAX),
        poll_batch: config.poll_batch,
        outstanding_reads: config.outstanding_reads,
        max_request_bytes: config.max_request_bytes.get(),
        relaxed_ordering: config.relaxed_ordering,
        max_channels: config.max_channels,
    }
}

#[cfg(not(feature = "rdma"))]
fn rdma(_config: &Config) -> Opened {
    None
}

#[cfg(feature = "ucx")]
fn ucx() -> Opened {
    Some(pegaflow_ucx::open())
}

#[cfg(not(feature = "ucx"))]
fn ucx() -> Opened {
    None
}

/// What core wants to know of a node, from the config; `ip` is where the node's board is.
pub(crate) fn node_options(config: &Config, name: &str, ip: IpAddr) -> NodeOptions {
    let mut options = NodeOptions::new(name);
    options.listen = (ip, 0).into();
    options.checksum = config.faults.checksum;
    options.peer_silence = Duration::from_millis(config.faults.peer_silence_ms);
    if let Some(path) = config.transport.shm.runtime_dir.given() {
        options.runtime_dir = path.as_path().to_owned();
    }
    options.bounds = Class::ALL.map(|class| {
        let bounds = config.classes.bounds(class_name(class));
        Bounds {
            transfers: bounds.transfers,
            blocks: bounds.blocks,
            messages: bounds.messages,
            // Out of range where it does not fit, and refused by core with the range.
            message_bytes: u32::try_from(bounds.message_bytes.get()).unwrap_or(u32::MAX),
            counters: bounds.counters,
        }
    });
    options.fence_after = Class::ALL.map(|class| match config.classes.bounds(class_name(class)).fence_after_ms {
        0 => None,
        after => Some(Duration::from_millis(after)),
    });
    options
}

pub(crate) fn class_name(class: Class) -> ClassName {
    match class {
        Class::Kv => ClassName::Kv,
        Class::Bulk => ClassName::Bulk,
        Class::Activation => ClassName::Activation,
    }
}

/// The page size that the config asks for.
pub(crate) fn page_size(config: &Config) -> PageSize {
    match config.memory.page {
        Page::Base => PageSize::Base,
        Page::Huge2Mib => PageSize::Huge2MiB,
        Page::Huge1Gib => PageSize::Huge1GiB,
    }
}

#[cfg(all(test, feature = "rdma"))]
mod tests {
    use super::*;
    use crate::config::{Bytes, Choice};

    #[test]
    fn the_silence_of_peers_reaches_the_node() {
        let silence = |config: &Config| node_options(config, "a", [127, 0, 0, 1].into()).peer_silence;
        assert_eq!(silence(&Config::default()), NodeOptions::new("a").peer_silence);
        let config = Config::parse("[faults]\npeer_silence_ms = 1234", "x.toml").unwrap();
        assert_eq!(silence(&config), Duration::from_millis(1234));
    }

    /// The defaults stand in two places, for the reason that `config/rdma.rs` gives.
    #[test]
    fn rdma_defaults_are_the_backends() {
        assert_eq!(rdma_config(&RdmaConfig::default()), pegaflow_rdma::RdmaConfig::default());
    }

    #[test]
    fn every_key_of_rdma_reaches_the_backend() {
        let text = r#"
            [transport.rdma]
            library = "/lib/x.so"
            rail = [{ device = "a", port = 2, gid = 3 }, {}]
            mtu = 256
            ack_timeout = 1
            retries = 2
            rnr_retries = 3
            rnr_timer = 4
            send_depth = 500
            receive_depth = 600
            signal_every = 7
            chain = 8
            inline_bytes = 9
            poll_batch = 10
            outstanding_reads = 11
            max_request_bytes = "12KiB"
            relaxed_ordering = false
            max_channels = 13
            kv = { service_level = 1, traffic_class = 2 }
            bulk = { service_level = 3, traffic_class = 4 }
            activation = { service_level = 5, traffic_class = 6 }
        "#;
        let service = |service_level, traffic_class| pegaflow_rdma::ServiceConfig { service_level, traffic_class };
        let first = pegaflow_rdma::RailConfig { device: Some("a".to_owned()), port: Some(2), gid: Some(3) };
        let expected = pegaflow_rdma::RdmaConfig {
            library: Some("/lib/x.so".into()),
            rails: vec![first, pegaflow_rdma::RailConfig::default()],
            mtu: 256,
            classes: [service(1, 2), service(3, 4), service(5, 6)],
            ack_timeout: 1,
            retries: 2,
            rnr_retries: 3,
            rnr_timer: 4,
            send_depth: 500,
            receive_depth: 600,
            signal_every: 7,
            chain: 8,
            inline_bytes: 9,
            poll_batch: 10,
            outstanding_reads: 11,
            max_request_bytes: 12 << 10,
            relaxed_ordering: false,
            max_channels: 13,
        };
        assert_eq!(rdma_config(&Config::parse(text, "x.toml").unwrap().transport.rdma), expected);
    }

    /// The ranges stand in two places too: the front door takes exactly what the backend takes.
    #[test]
    fn rdma_ranges_are_the_backends() {
        fn same(what: &str, change: impl FnOnce(&mut RdmaConfig)) -> bool {
            let mut config = Config::default();
            change(&mut config.transport.rdma);
            let (ours, theirs) = (config.check(), rdma_config(&config.transport.rdma).check());
            assert_eq!(ours.is_ok(), theirs.is_ok(), "{what}: {ours:?}, {theirs:?}");
            ours.is_ok()
        }
        // Every end of a range is a power of two, or next to one.
        let ends = |bits: u32| (0..=bits).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        let (mut good, mut bad) = (0, 0);
        macro_rules! hold {
            ($type:ty, $value:ident, $($key:ident$(.$more:tt)* = $set:expr;)*) => {
                for $value in ends(<$type>::BITS.min(40)).filter_map(|number| <$type>::try_from(number).ok()) {
                    $(
                        let what = format!("{} = {}", stringify!($key$(.$more)*), $value);
                        if same(&what, |config| config.$key$(.$more)* = $set) { good += 1 } else { bad += 1 }
                    )*
                }
            };
        }
        hold! { u8, value,
            ack_timeout = value; retries = value; rnr_retries = value; rnr_timer = value; outstanding_reads = value;
            kv.service_level = value; bulk.service_level = value; activation.service_level = value;
            kv.traffic_class = value;
        }
        hold! { u16, value, mtu = value; max_channels = value; }
        hold! { u32, value,
            send_depth = value; receive_depth = value; signal_every = value; chain = value; poll_batch = value;
        }
        hold! { u64, value, inline_bytes = Bytes::new(value); max_request_bytes = Bytes::new(value); }
        for value in 0..=u8::MAX {
            same("a rail's port", |config| config.rails[0].port = Choice::Given(value));
            same("a rail's gid", |config| config.rails[0].gid = Choice::Given(value));
        }
        for rails in 0..10 {
            same("rails", |config| config.rails = vec![RdmaRail::default(); rails]);
        }
        for depth in 8..40 {
            for every in 1..20 {
                same("signal_every", |config| (config.send_depth, config.signal_every) = (depth, every));
            }
        }
        assert!(good > 100 && bad > 100, "{good} good, {bad} bad");
    }
}
