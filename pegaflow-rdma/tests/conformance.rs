//! The promises, held over the verbs device of this machine.

use std::{process::ExitCode, time::Duration};

use pegaflow_conformance::Backend;
use pegaflow_rdma::RdmaConfig;

fn main() -> ExitCode {
    let backend = Backend::new("rdma", || pegaflow_rdma::open(&RdmaConfig::default()));
    // A virtual device moves some 50 MB/s.
    pegaflow_conformance::main(backend.patience(Duration::from_secs(60)))
}
