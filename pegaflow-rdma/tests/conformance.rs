//! The promises; until the backend is built, every case is listed as ignored, with the reason.

use std::process::ExitCode;

use pegaflow_conformance::Backend;
use pegaflow_rdma::RdmaConfig;

fn main() -> ExitCode {
    pegaflow_conformance::main(Backend { name: "rdma", open: || pegaflow_rdma::open(&RdmaConfig::default()) })
}
