//! Why a chore ended without success.

use std::io;
use std::process::ExitStatus;

/// What went wrong, in words that say what to do next where that is known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A command could not be started.
    #[error("`{command}` could not be started: {source}")]
    Start { command: String, source: io::Error },

    /// A command ran and did not succeed; what it printed stands above.
    #[error("`{command}` failed: {status}")]
    Failed { command: String, status: ExitStatus },

    /// `PEGAFLOW_REQUIRE` has a name that no suite has.
    #[error("PEGAFLOW_REQUIRE={value:?}: unknown name {name:?}; expected a comma-separated list of: {known}")]
    UnknownRequirement { value: String, name: String, known: String },

    /// A suite that `PEGAFLOW_REQUIRE` asks for can't run.
    #[error("PEGAFLOW_REQUIRE asks for `{name}`, and it can't be tested: {reason}")]
    RequiredAbsent { name: &'static str, reason: &'static str },

    /// Something is missing and was not to be installed, or can't be installed from here.
    #[error("missing: {what}; {remedy}")]
    Missing { what: String, remedy: String },
}
