//! The promises of Pegaflow as tests. A backend joins with one small file, a test target with `harness = false`:
//!
//! ```no_run
//! use std::{process::ExitCode, sync::Arc};
//! use pegaflow_conformance::Backend;
//! use pegaflow_core::{BackendError, backend::Domain};
//!
//! fn open() -> Result<Arc<dyn Domain>, BackendError> {
//!     Err(BackendError::new("mine", "no device here"))
//! }
//!
//! fn main() -> ExitCode {
//!     pegaflow_conformance::main(Backend { name: "mine", open })
//! }
//! ```
//!
//! Each case runs twice where it makes sense: with its peer as a thread of this process, and as a process of its own
//! (the test binary started again). The peer is an *agent* with a node and a port of its own that does what it is told.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `PEGAFLOW_REQUIRE` | backends, by comma, that must be there: absence is a failure | none: absence is shown as *ignored* |
//! | `PEGAFLOW_SEED` | the seed of the random cases | a new one; printed |
//! | `PEGAFLOW_SECONDS` | how long the cases that watch memory do so | 2 |
//!
//! The library installs a counting global allocator: a test binary that links it can have no other.

mod agent;
mod cases;
mod list;
mod pair;
mod placement;
mod protocol;
mod side;
mod sys;
mod tally;

use std::{process::ExitCode, sync::Arc};

use pegaflow_core::{BackendError, backend::Domain};

/// A backend under test.
#[derive(Debug, Clone, Copy)]
pub struct Backend {
    /// Its name, as in [`Capabilities::backend`](pegaflow_core::Capabilities::backend).
    pub name: &'static str,
    /// Opens it anew; each node of the suite has a domain of its own.
    pub open: fn() -> Result<Arc<dyn Domain>, BackendError>,
}

/// Runs the suite, with the arguments that the usual test harness takes.
#[must_use]
pub fn main(backend: Backend) -> ExitCode {
    if placement::is_agent() {
        return placement::run_agent(backend);
    }
    sys::raise_descriptor_limit();
    let arguments = libtest_mimic::Arguments::from_args();
    let require = std::env::var("PEGAFLOW_REQUIRE").unwrap_or_default();
    libtest_mimic::run(&arguments, list::trials(backend, &require)).exit_code()
}
