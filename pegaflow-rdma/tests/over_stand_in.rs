//! The promises, held over the stand-in provider: at native speed, in one process, on every machine.

mod stand_in;

use std::process::ExitCode;

use pegaflow_conformance::Backend;

fn main() -> ExitCode {
    let backend = Backend::new("rdma", || stand_in::open("stand-in0"));
    pegaflow_conformance::main(backend.in_one_process_only("the stand-in provider moves bytes within one process"))
}
