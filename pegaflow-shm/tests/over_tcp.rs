//! The promises, held where nodes meet over TCP.

mod numbered;

use std::process::ExitCode;

use pegaflow_conformance::Backend;

fn main() -> ExitCode {
    pegaflow_conformance::main(Backend::new(numbered::NAME, numbered::open))
}
