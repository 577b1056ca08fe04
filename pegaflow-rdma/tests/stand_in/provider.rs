//! The backend over the stand-in provider, which cargo has built beside the tests.

use std::path::PathBuf;

use pegaflow_rdma::{RailConfig, RdmaConfig};

/// Where cargo has put the library: among the dependencies of this test.
pub(crate) fn library() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.with_file_name("libpegaflow_rdma_stand_in.so")
}

/// The usual config, over a device of the stand-in's.
pub(crate) fn config(device: &str) -> RdmaConfig {
    let rails = vec![RailConfig { device: Some(device.to_owned()), ..RailConfig::default() }];
    RdmaConfig { library: Some(library()), rails, ..RdmaConfig::default() }
}
