//! The sections of the config file, typed, with their defaults.

use pegaflow_core::Bounds;
use serde::{Deserialize, Deserializer, Serialize};

use super::{AbsolutePath, Bytes, Choice, ClassName, HostPort, Listen, Page, RdmaConfig, Role};

/// `[node.NAME]`: a named process of the static topology.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Where its rendezvous listens, and where the others look for it. A transport that meets over TCP listens at the
    /// same host, on a port that the system chooses.
    pub listen: HostPort,
    /// What it does in the deployment.
    pub role: Role,
}

/// `[[channel]]`: a long-lived connection of two nodes for one class of traffic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Node that dials. May be the same as `to`: a node can dial itself.
    pub from: String,
    /// Node that waits for the dial.
    pub to: String,
    /// Class of traffic, which picks the bounds.
    pub class: ClassName,
}

/// `[class.*]`: bounds of a channel, per class of traffic.
///
/// A class that leaves out a key gets its own default for it, not that of another class.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Classes {
    /// KV cache, prefill to decode.
    #[serde(deserialize_with = "kv")]
    pub kv: ClassBounds,
    /// Weights and other large pushes.
    #[serde(deserialize_with = "bulk")]
    pub bulk: ClassBounds,
    /// Activations, stage to stage.
    #[serde(deserialize_with = "activation")]
    pub activation: ClassBounds,
}

/// Bounds of one channel, each in each direction, for which memory is taken when the channel is made; and when it is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ClassBounds {
    /// Transfers in flight.
    pub transfers: u32,
    /// Block-id pairs that the transfers in flight hold together.
    pub blocks: u32,
    /// Messages that the receiver has room for.
    pub messages: u32,
    /// Longest message, in bytes.
    pub message_bytes: Bytes,
    /// Counters that can live at once.
    pub counters: u32,
    /// How long after its end a transfer may be not quiet before its channel is fenced, in milliseconds; 0 for never.
    pub fence_after_ms: u64,
}

/// `[rendezvous]`: how nodes find each other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RendezvousConfig {
    /// How long connecting waits for a peer that is not up yet, in milliseconds.
    pub connect_timeout_ms: u64,
}

/// `[faults]`: when a peer counts as gone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultsConfig {
    /// How long a peer's host may say nothing before its channels break, in milliseconds.
    pub peer_silence_ms: u64,
    /// Whether each batch of this node is compared with what lies at the peer before it ends.
    pub checksum: bool,
}

/// `[wait]`: how a blocking wait waits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WaitConfig {
    /// How long a blocking wait polls before it sleeps, in microseconds. 0 sleeps at once.
    pub spin_us: u64,
}

/// `[memory]`: memory that Pegaflow allocates, whichever transport carries it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryConfig {
    /// Page size of owned regions.
    pub page: Page,
}

/// `[metrics]`: who may read a node's figures.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Where they are served over HTTP, to Prometheus and as JSON.
    pub listen: Listen,
}

/// `[transport.*]`: one section per transport.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transports {
    /// Two processes of one host.
    pub shm: ShmConfig,
    /// InfiniBand and RoCE.
    pub rdma: RdmaConfig,
    /// UCX. No keys yet.
    pub ucx: UcxConfig,
}

/// `[transport.shm]`: shared memory between two processes of one host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShmConfig {
    /// Folder of the Unix sockets over which memory is handed from process to process; auto is
    /// `$XDG_RUNTIME_DIR/pegaflow`, or `/tmp/pegaflow-UID` where that variable is not set.
    pub runtime_dir: Choice<AbsolutePath>,
    /// Most bytes that one progress call copies.
    pub copy_chunk_bytes: Bytes,
}

/// `[transport.ucx]`: known, and without keys as long as there is nothing to set.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct UcxConfig {}

impl Classes {
    /// Bounds of `class`.
    pub const fn bounds(&self, class: ClassName) -> &ClassBounds {
        match class {
            ClassName::Kv => &self.kv,
            ClassName::Bulk => &self.bulk,
            ClassName::Activation => &self.activation,
        }
    }
}

impl ClassBounds {
    /// Defaults of `class`: those of core.
    pub const fn default_of(class: ClassName) -> Self {
        let Bounds { transfers, blocks, messages, message_bytes, counters } = Bounds::of(class.class());
        // A widening cast; `From` is not const.
        Self {
            transfers,
            blocks,
            messages,
            message_bytes: Bytes::new(message_bytes as u64),
            counters,
            fence_after_ms: 0,
        }
    }
}

impl Default for Classes {
    fn default() -> Self {
        Self {
            kv: ClassBounds::default_of(ClassName::Kv),
            bulk: ClassBounds::default_of(ClassName::Bulk),
            activation: ClassBounds::default_of(ClassName::Activation),
        }
    }
}

impl Default for RendezvousConfig {
    fn default() -> Self {
        Self { connect_timeout_ms: 10_000 }
    }
}

impl Default for FaultsConfig {
    fn default() -> Self {
        Self { peer_silence_ms: 15_000, checksum: false }
    }
}

impl Default for WaitConfig {
    fn default() -> Self {
        Self { spin_us: 50 }
    }
}

impl Default for ShmConfig {
    fn default() -> Self {
        Self { runtime_dir: Choice::Auto, copy_chunk_bytes: Bytes::new(1 << 20) }
    }
}

/// A class section as written: what it leaves out comes from that class's defaults.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBounds {
    transfers: Option<u32>,
    blocks: Option<u32>,
    messages: Option<u32>,
    message_bytes: Option<Bytes>,
    counters: Option<u32>,
    fence_after_ms: Option<u64>,
}

fn kv<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClassBounds, D::Error> {
    written_over(ClassName::Kv, deserializer)
}

fn bulk<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClassBounds, D::Error> {
    written_over(ClassName::Bulk, deserializer)
}

fn activation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClassBounds, D::Error> {
    written_over(ClassName::Activation, deserializer)
}

fn written_over<'de, D: Deserializer<'de>>(class: ClassName, deserializer: D) -> Result<ClassBounds, D::Error> {
    let written = WrittenBounds::deserialize(deserializer)?;
    let default = ClassBounds::default_of(class);
    Ok(ClassBounds {
        transfers: written.transfers.unwrap_or(default.transfers),
        blocks: written.blocks.unwrap_or(default.blocks),
        messages: written.messages.unwrap_or(default.messages),
        message_bytes: written.message_bytes.unwrap_or(default.message_bytes),
        counters: written.counters.unwrap_or(default.counters),
        fence_after_ms: written.fence_after_ms.unwrap_or(default.fence_after_ms),
    })
}
