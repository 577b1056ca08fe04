//! The promises; until the backend is built, every case is listed as ignored, with the reason.

use std::process::ExitCode;

use pegaflow_conformance::Backend;

fn main() -> ExitCode {
    pegaflow_conformance::main(Backend::new("ucx", pegaflow_ucx::open))
}
