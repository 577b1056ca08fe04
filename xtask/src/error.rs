//! Why a chore ended without success.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

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
    RequiredAbsent { name: &'static str, reason: String },

    /// Something is missing and was not to be installed, or can't be installed from here.
    #[error("missing: {what}; {remedy}")]
    Missing { what: String, remedy: String },

    /// A suite in a virtual host did not pass; what it printed stands above.
    #[error("the {name} failed: status {status}")]
    Suite { name: String, status: u8 },

    /// cargo built a test or a bench and did not say where it lies.
    #[error("cargo told no executable for the {kind} {name} of {package}")]
    NoExecutable { kind: &'static str, name: &'static str, package: String },

    /// A program's output has another shape than it had when its reader was written.
    #[error("{what} can't be read: {why}")]
    Unreadable { what: String, why: String },

    /// Something took longer than it may.
    #[error("{what} was ended after {} s", limit.as_secs_f64())]
    TimedOut { what: String, limit: Duration },

    /// A file or folder could not be used.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },

    /// There is no place for the virtual hosts' kernel.
    #[error("no cache folder for the virtual hosts' kernel: set HOME, or XDG_CACHE_HOME to an absolute path")]
    NoCache,

    /// There is no kernel for the virtual hosts.
    #[error(
        "no kernel for the virtual hosts: apt knows no package {package}, and the cache has none; run: apt-get update"
    )]
    NoKernel { package: &'static str },
}

/// Says where an error of input or output came up.
pub(crate) trait At<T> {
    /// The error becomes [`Error::File`] with `path`.
    fn at(self, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::File { path: path.to_owned(), source })
    }
}
