//! The promises, held by this backend.

use std::process::ExitCode;

use pegaflow_conformance::Backend;
use pegaflow_example_backend::{InprocConfig, open};

fn main() -> ExitCode {
    // A queue so short that most runs are posted in parts, and work so small that long moves are cut.
    let backend = Backend::new("inproc", || open(&InprocConfig { queue_depth: 4, work_bytes: 100_000 }));
    pegaflow_conformance::main(backend.in_one_process_only("it reaches nodes of its own process only"))
}
