//! What can be wrong with a config.

use std::io;
use std::path::PathBuf;

use super::nearest::Suggestion;
use super::{HostPort, Location, Origin, Role};

/// What is wrong with a config: where, which key, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the config file {}: {source}", path.display())]
    Read {
        /// File.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is no TOML.
    #[error("{at}: not TOML: {message}")]
    Syntax {
        /// Where reading ended.
        at: Location,
        /// What the TOML parser said.
        message: String,
    },
    /// A key or section that doesn't exist.
    #[error("{at}: unknown key `{key}`{}; known here: {}", Suggestion(nearest.as_ref()), listed(known))]
    UnknownKey {
        /// Where it stands.
        at: Location,
        /// Path of the key.
        key: String,
        /// Keys and sections that exist in its place.
        known: Vec<String>,
        /// The one that looks most like it; or the path of the one of this name in another section, if only one has it.
        nearest: Option<Box<str>>,
    },
    /// A key that a section must have and doesn't.
    #[error("{at}: `{key}` is missing: expected {expected}")]
    Missing {
        /// Where the section begins.
        at: Location,
        /// Path of the key.
        key: String,
        /// What a good value is.
        expected: String,
    },
    /// A value of the wrong type, malformed or out of range.
    #[error("{}: `{key}` is {found}: expected {expected}", place(at))]
    Value {
        /// Where the value stands, or who set it.
        at: Origin,
        /// Path of the key.
        key: String,
        /// Value as written.
        found: String,
        /// What a good value is.
        expected: String,
    },
    /// A channel names a node that there is no section for.
    #[error(
        "{}: `{key}` names the node `{found}`, but there is no [node.{found}]{}; nodes: {}",
        place(at), Suggestion(nearest.as_ref()), listed(known)
    )]
    UnknownNode {
        /// Where the name stands, or who set it.
        at: Origin,
        /// Path of the key, such as `channel[0].from`.
        key: String,
        /// The name.
        found: String,
        /// Nodes that exist.
        known: Vec<String>,
        /// The one that looks most like it, if any does.
        nearest: Option<Box<str>>,
    },
    /// Two nodes with one listen address: one of them could not start.
    #[error(
        "{}: `{key}` is {listen}, which is also where `{other}` listens: expected an address of its own",
        place(at)
    )]
    SharedListen {
        /// Where the second one stands, or who set it.
        at: Origin,
        /// Path of the second one's key.
        key: String,
        /// Name of the first one.
        other: String,
        /// The address.
        listen: HostPort,
    },
    /// A channel of the same two nodes and class as an earlier one.
    #[error(
        "{}: `channel[{index}]` is `channel[{first}]` again: expected one channel per from, to and class",
        place(at)
    )]
    RepeatedChannel {
        /// Where the second one stands, or who set it.
        at: Origin,
        /// Its index, from 0.
        index: usize,
        /// Index of the first one.
        first: usize,
    },
    /// A node was asked for that doesn't exist.
    #[error("there is no {asked}{}; nodes: {}", Suggestion(nearest.as_ref()), listed(known))]
    NoSuchNode {
        /// What was asked for.
        asked: String,
        /// Nodes that exist.
        known: Vec<String>,
        /// The one that looks most like it, if any does.
        nearest: Option<Box<str>>,
    },
    /// A node was asked for by a role that several have.
    #[error("several nodes have the role `{role}`, name one of them: {}", names.join(", "))]
    SeveralNodes {
        /// The role.
        role: Role,
        /// Nodes that have it.
        names: Vec<String>,
    },
}

/// An origin as it begins an error: with the column, where there is one.
fn place(at: &Origin) -> String {
    match at {
        Origin::File(location) => location.to_string(),
        other => other.to_string(),
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
