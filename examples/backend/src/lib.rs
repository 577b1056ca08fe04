//! A backend to learn from: it moves bytes between nodes of **one process**. `docs/adding-a-backend.md` builds it from
//! an empty folder.
//!
//! A thread stands in for the NIC. The engine queues work for it, as deep as the config says, rings a doorbell, and
//! reaps completions: so `post` returns before anything has moved, and a queue can be full in the middle of a run.
//! With hardware in its place `sys` is what changes; the other rooms keep their shape.

mod backend;
mod channel;
mod config;
mod error;
mod fault;
mod progress;
mod region;
mod sys;

pub use backend::open;
#[doc(hidden)]
pub use backend::open_broken;
pub use config::InprocConfig;
#[doc(hidden)]
pub use fault::Fault;
