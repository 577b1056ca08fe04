//! Pegaflow over RDMA verbs: InfiniBand and RoCE, through the system's libibverbs, which is opened at run time.
//!
//! Writes and reads are requests of a reliable connection, one per channel and rail; a count is a write with immediate
//! data, a message a write into the peer's ring with an immediate behind it. Progress is the caller's: requests are
//! posted inside [`submit`](pegaflow_core::Port::submit) and [`poll`](pegaflow_core::Port::poll), and completions are
//! taken inside `poll`. `docs/rdma.md` says what is chosen and why, and how to tune.

mod backend;
mod channel;
mod config;
mod device;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod progress;
mod region;
mod sys;
pub mod testing;
mod watch;

pub use backend::open;
pub use config::{BadValue, RailConfig, RdmaConfig, ServiceConfig};
pub use device::Chosen;
