//! What can go wrong at the front door.

use std::time::Duration;

use pegaflow_core::{BackendError, Cause, Class, ConnectError};

use crate::{
    config::{ConfigError, Listen},
    rendezvous::RendezvousError,
};

fn in_use(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::AddrInUse
}

/// Why a session, port or channel did not come about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A backend that this program was built without.
    #[error("backend `{wanted}`: this program was built without `{wanted}`; this build has: {}", built.join(", "))]
    NotInThisBuild {
        /// The backend asked for.
        wanted: &'static str,
        /// Those there are.
        built: Vec<&'static str>,
    },
    /// Figures are to be served, and this program can't.
    #[error("`metrics.listen` is {listen}: this program was built without `metrics`")]
    NoMetrics {
        /// What the config says.
        listen: Listen,
    },
    /// Figures are to be served where that can't be.
    #[error("`metrics.listen` is {listen}: {source}{}", if in_use(source) { "; port 0 is any free one" } else { "" })]
    MetricsListen {
        /// What the config says.
        listen: Listen,
        /// The system's word.
        source: std::io::Error,
    },
    /// The backend can't work here.
    #[error("backend unavailable: {0}")]
    Unavailable(#[source] BackendError),
    /// The node, a dial or an import.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The exchange of addresses and grants.
    #[error(transparent)]
    Rendezvous(#[from] RendezvousError),
    /// No such channel in the config.
    #[error(
        "no [[channel]] of class `{class}` between `{node}` and `{peer}` in the config; `{node}` has: {}",
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    )]
    NoSuchChannel {
        /// This node.
        node: String,
        /// The peer asked for.
        peer: String,
        /// The class asked for.
        class: Class,
        /// This node's channels, `from -> to (class)`.
        known: Vec<String>,
    },
    /// The channel broke before it was up.
    #[error("no channel of class `{class}` to `{peer}`: {cause}")]
    NotConnected {
        /// The peer.
        peer: String,
        /// The class.
        class: Class,
        /// What was seen.
        cause: Cause,
    },
    /// The peer did not dial.
    #[error("`{peer}` has not dialled class `{class}` within {waited:?}")]
    NotDialled {
        /// The peer.
        peer: String,
        /// The class.
        class: Class,
        /// How long was waited.
        waited: Duration,
    },
}
