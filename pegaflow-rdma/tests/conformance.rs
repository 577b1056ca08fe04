//! The promises, held over the verbs device of this machine.

use std::process::ExitCode;

use pegaflow_conformance::Backend;
use pegaflow_rdma::RdmaConfig;

fn main() -> ExitCode {
    pegaflow_conformance::main(Backend::new("rdma", || pegaflow_rdma::open(&RdmaConfig::default())))
}
