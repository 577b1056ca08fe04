//! Name to backend: the only place that knows them all.

use std::{path::PathBuf, sync::Arc};

use pegaflow_core::{BackendError, Bounds, Class, NodeOptions, PageSize, backend::Domain};

use crate::{
    Error,
    config::{BackendName, ClassName, Config, Page, RuntimeDir},
};

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
        BackendName::Rdma => rdma(),
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
fn rdma() -> Opened {
    Some(pegaflow_rdma::open(&pegaflow_rdma::RdmaConfig::default()))
}

#[cfg(not(feature = "rdma"))]
fn rdma() -> Opened {
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

/// What core wants to know of a node, from the config.
pub(crate) fn node_options(config: &Config, name: &str) -> NodeOptions {
    let mut options = NodeOptions::new(name);
    if let RuntimeDir::Path(path) = &config.transport.shm.runtime_dir {
        options.runtime_dir = PathBuf::from(path);
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
