//! The promises, held over shared memory.

use std::process::ExitCode;

use pegaflow_conformance::Backend;

fn main() -> ExitCode {
    pegaflow_conformance::main(Backend {
        name: "shm",
        open: || pegaflow_shm::open(&pegaflow_shm::ShmConfig::default()),
    })
}
