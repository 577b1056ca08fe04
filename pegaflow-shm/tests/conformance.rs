//! The promises, held over shared memory.

use std::process::ExitCode;

use pegaflow_conformance::Backend;

fn main() -> ExitCode {
    pegaflow_conformance::main(Backend::new("shm", || pegaflow_shm::open(&pegaflow_shm::ShmConfig::default())))
}
