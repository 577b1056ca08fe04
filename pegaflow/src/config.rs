//! The typed config: one TOML file that every node of a deployment can share.
//!
//! ```
//! use pegaflow::config::{Config, Role};
//!
//! let text = r#"
//!     backend = "shm"
//!     [node.prefill]
//!     listen = "127.0.0.1:7300"
//!     role = "prefill"
//!     [transport.shm]
//!     copy_chunk_bytes = "2MiB"
//! "#;
//! let config = Config::parse(text, "example.toml")?;
//! assert_eq!(config.transport.shm.copy_chunk_bytes.get(), 2 << 20);
//! assert_eq!(config.node_with_role(Role::Prefill)?.0, "prefill");
//! for setting in config.effective() {
//!     println!("{setting}"); // transport.shm.copy_chunk_bytes = 2MiB (example.toml:7)
//! }
//! # Ok::<(), pegaflow::config::ConfigError>(())
//! ```
//!
//! Every key has a default but those of `[node.NAME]` and `[[channel]]`; `config/pegaflow.toml` lists them all.
//! Nothing is read from the environment here.

mod bytes;
mod check;
mod choice;
mod document;
mod error;
mod host_port;
mod listen;
mod listing;
mod names;
mod nearest;
mod origin;
mod rdma;
mod sections;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use bytes::{Bytes, BytesError, parse_bytes};
pub use choice::{AbsolutePath, AbsolutePathError, Choice, DeviceName, DeviceNameError};
pub use error::ConfigError;
pub use host_port::{HostPort, HostPortError};
pub use listen::Listen;
pub(crate) use names::is_node_name;
pub use names::{BackendName, ClassName, Page, Role, UnknownName};
pub use origin::{Location, Origin, Setting};
pub use rdma::{RdmaConfig, RdmaRail, RdmaService};
pub use sections::{
    Channel, ClassBounds, Classes, FaultsConfig, MemoryConfig, MetricsConfig, Node, RendezvousConfig, ShmConfig,
    Transports, UcxConfig, WaitConfig,
};

use origin::Origins;

/// Everything a Pegaflow program is told before it starts.
///
/// The fields may be changed after loading; [`Config::check`] then finds what is out of range, and
/// [`Config::effective`] shows such a value as set by the program.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Transport that carries every channel. A name known here may still not be built into this program.
    pub backend: BackendName,
    /// Nodes of the static topology by name, sorted by name.
    #[serde(rename = "node")]
    pub nodes: BTreeMap<String, Node>,
    /// Long-lived connections between the nodes, in the file's order.
    #[serde(rename = "channel")]
    pub channels: Vec<Channel>,
    /// Bounds of a channel, per class of traffic.
    #[serde(rename = "class")]
    pub classes: Classes,
    /// How nodes find each other.
    pub rendezvous: RendezvousConfig,
    /// When a peer counts as gone.
    pub faults: FaultsConfig,
    /// How a blocking wait waits.
    pub wait: WaitConfig,
    /// Memory that Pegaflow allocates.
    pub memory: MemoryConfig,
    /// Who may read this node's figures.
    pub metrics: MetricsConfig,
    /// One section per transport, whether or not this program was built with it.
    pub transport: Transports,
    /// Where each value that isn't a default came from.
    #[serde(skip)]
    origins: Origins,
}

impl Config {
    /// Reads and checks the TOML file at `path`.
    ///
    /// # Errors
    /// [`ConfigError::Read`] when the file can't be read; otherwise as [`Config::parse`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        document::read(&text, path)
    }

    /// Reads and checks TOML `text`; errors and origins call it `name`.
    ///
    /// # Errors
    /// The first thing wrong with the text, with its place in it, the key, what was found and what was expected.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        document::read(text, Path::new(name))
    }

    /// Checks ranges, and what the sections say about each other.
    ///
    /// [`Config::load`] and [`Config::parse`] have done this; call it after changing fields in a program.
    ///
    /// # Errors
    /// The first value out of its range or at odds with another, a channel that names an unknown node, two nodes with one listen address.
    pub fn check(&self) -> Result<(), ConfigError> {
        check::check(self)
    }

    /// Node called `name`.
    ///
    /// # Errors
    /// [`ConfigError::NoSuchNode`], with the names that exist.
    pub fn node(&self, name: &str) -> Result<&Node, ConfigError> {
        self.nodes.get(name).ok_or_else(|| ConfigError::NoSuchNode {
            asked: format!("node `{name}`"),
            known: self.nodes.keys().cloned().collect(),
            nearest: nearest::nearest(name, self.nodes.keys().map(String::as_str)),
        })
    }

    /// The one node with `role`, and its name.
    ///
    /// # Errors
    /// [`ConfigError::NoSuchNode`] when no node has the role, [`ConfigError::SeveralNodes`] when more than one has it:
    /// which is meant has then to be said by name.
    pub fn node_with_role(&self, role: Role) -> Result<(&str, &Node), ConfigError> {
        let found: Vec<_> = self.nodes.iter().filter(|(_, node)| node.role == role).collect();
        match found.as_slice() {
            [(name, node)] => Ok((name, node)),
            [] => Err(ConfigError::NoSuchNode {
                asked: format!("node with role `{role}`"),
                known: self.nodes.iter().map(|(name, node)| format!("{name} ({})", node.role)).collect(),
                nearest: None,
            }),
            several => Err(ConfigError::SeveralNodes {
                role,
                names: several.iter().map(|(name, _)| (*name).clone()).collect(),
            }),
        }
    }

    /// Listen address of every node, as a rendezvous wants its peers.
    pub fn addresses(&self) -> BTreeMap<String, HostPort> {
        self.nodes.iter().map(|(name, node)| (name.clone(), node.listen.clone())).collect()
    }

    /// Puts `backend` over what the file says, as a command line does.
    pub fn override_backend(&mut self, backend: BackendName) {
        self.backend = backend;
        self.origins.record("backend".to_owned(), backend.to_string(), Origin::CommandLine);
    }

    /// Puts `listen` over what the file says of `metrics.listen`, as a command line does.
    pub fn override_metrics(&mut self, listen: Listen) {
        self.origins.record("metrics.listen".to_owned(), listen.to_string(), Origin::CommandLine);
        self.metrics.listen = listen;
    }

    /// Every key with its effective value and where that came from, in the order of `config/pegaflow.toml`
    /// (nodes by name, channels in the file's order).
    pub fn effective(&self) -> Vec<Setting> {
        listing::entries_with_origins(self)
            .into_iter()
            .map(|(entry, origin)| Setting { key: entry.key, value: entry.value, origin })
            .collect()
    }
}
