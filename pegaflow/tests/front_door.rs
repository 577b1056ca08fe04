//! Tests of the front door: config and rendezvous.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "front_door/config.rs"]
mod config;
#[path = "front_door/config_errors.rs"]
mod config_errors;
#[path = "front_door/config_rdma.rs"]
mod config_rdma;
#[path = "front_door/rendezvous.rs"]
mod rendezvous;
#[path = "front_door/rendezvous_garbage.rs"]
mod rendezvous_garbage;

#[path = "front_door/example.rs"]
mod example;
#[path = "front_door/fork.rs"]
mod fork;
#[path = "front_door/session.rs"]
mod session;
