//! The promises of Pegaflow as tests. A backend joins with one small file, a test target with `harness = false`:
//!
//! ```no_run
//! use std::{process::ExitCode, sync::Arc, time::Duration};
//! use pegaflow_conformance::Backend;
//! use pegaflow_core::{BackendError, backend::Domain};
//!
//! fn open() -> Result<Arc<dyn Domain>, BackendError> {
//!     Err(BackendError::new("mine", "no device here"))
//! }
//!
//! fn main() -> ExitCode {
//!     pegaflow_conformance::main(Backend::new("mine", open))
//! }
//! ```
//!
//! Each case runs twice where it makes sense: with its peer as a thread of this process, and as a process of its own
//! (the test binary started again). The peer is an *agent* with a node and a port of its own that does what it is told.
//! A backend that meets its peer only in its own process says so ([`Backend::in_one_process_only`]).
//!
//! Across two hosts the cases whose peer is a process are run a third time, as `BACKEND::two_hosts::NAME`. On one host
//! the binary serves agents (`PEGAFLOW_SERVE_AGENTS`): whoever reaches it may start some, so it belongs on a network of
//! the test's own. On the other it is told where they are (`PEGAFLOW_AGENTS`). Both say where their nodes listen
//! (`PEGAFLOW_LISTEN`). Where the cable between them may be harmed both name its interface (`PEGAFLOW_CABLE`); that needs
//! root, and another way to the agents. Without these variables nothing of it is listed.
//!
//! [`holds`] runs one case by its name, so that a backend broken on purpose can be shown red.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `PEGAFLOW_REQUIRE` | backends, by comma, that must be there: absence is a failure | none: absence is shown as *ignored* |
//! | `PEGAFLOW_SEED` | the seed of the random cases | a new one; printed |
//! | `PEGAFLOW_SECONDS` | how long the cases that watch memory do so | 2 |
//! | `PEGAFLOW_THEMES` | themes, by comma, whose cases alone are listed; a theme is a file of `src/cases` | all |
//! | `PEGAFLOW_SERVE_AGENTS` | address and port: run no case, serve agents there until ended | unset |
//! | `PEGAFLOW_AGENTS` | address and port of the other host's server: list the cases across two hosts | unset |
//! | `PEGAFLOW_CABLE` | the interface that `tc` and `ip` may harm on both hosts: list the cases of the cable too | unset |
//! | `PEGAFLOW_LISTEN` | the IP address of this host at which its nodes listen, where they meet over TCP | 127.0.0.1 |
//!
//! The library installs a counting global allocator: a test binary that links it can have no other.

mod agent;
mod cable;
mod cases;
mod far;
mod held;
mod list;
mod one;
mod pair;
mod placement;
mod protocol;
mod side;
mod sys;
mod tally;

use std::{process::ExitCode, sync::Arc, time::Duration};

pub use one::holds;
use pegaflow_core::{BackendError, backend::Domain};

/// A backend under test.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    name: &'static str,
    open: fn() -> Result<Arc<dyn Domain>, BackendError>,
    /// Why its peer can't be another process, where it can't.
    one_process: Option<&'static str>,
    patience: Duration,
}

impl Backend {
    /// A backend by its name, as in [`Capabilities::backend`](pegaflow_core::Capabilities::backend). `open` opens it
    /// anew: each node of the suite has a domain of its own.
    #[must_use]
    pub const fn new(name: &'static str, open: fn() -> Result<Arc<dyn Domain>, BackendError>) -> Self {
        Self { name, open, one_process: None, patience: side::PATIENCE }
    }

    /// Says that both ends of a channel must be in one process, and why: the cases with a peer in another process are
    /// shown as *ignored*, with that reason.
    #[must_use]
    pub const fn in_one_process_only(self, why: &'static str) -> Self {
        Self { one_process: Some(why), ..self }
    }

    /// How long nothing may happen before a wait of the suite fails; 10 s where it is not said. More for a slow device,
    /// less for a backend that is broken on purpose.
    #[must_use]
    pub const fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }
}

/// Runs the suite, with the arguments that the usual test harness takes.
#[must_use]
pub fn main(backend: Backend) -> ExitCode {
    if placement::is_agent() {
        return placement::run_agent(backend);
    }
    if let Ok(at) = std::env::var(far::SERVE) {
        return far::serve(&at);
    }
    sys::raise_descriptor_limit();
    let arguments = libtest_mimic::Arguments::from_args();
    let wish = list::Wish::from_environment();
    match wish.prepare().and_then(|()| list::trials(backend, &wish)) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
