//! The promises, held over the stand-in provider: at native speed, in one process, on every machine.

#[path = "stand_in/provider.rs"]
mod provider;

use std::process::ExitCode;

use pegaflow_conformance::Backend;
use pegaflow_rdma::testing;

fn main() -> ExitCode {
    // It is built beside this test: where it can't be opened nothing is skipped.
    drop(testing::open(&provider::config("stand-in0")).expect("the stand-in"));
    let backend = Backend::new("rdma", || testing::open(&provider::config("stand-in0")));
    pegaflow_conformance::main(backend.in_one_process_only("the stand-in provider moves bytes within one process"))
}
