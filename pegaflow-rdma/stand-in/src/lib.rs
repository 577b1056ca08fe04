//! A libibverbs for tests, and for nothing else: the entry points of `infiniband/verbs.h` that Pegaflow calls, over
//! queue pairs that live in this process. Requests are carried out by whoever posts them, with a copy from registered
//! memory to registered memory, so the whole backend runs at the speed of the machine and without a NIC.
//!
//! It keeps the rules that real NICs keep and Soft-RoCE does not: slots of a send queue come back only with a polled
//! completion, a completion queue that overruns is lost for good, nothing but four fields of a failed completion means
//! anything. A device with a [`Schedule`] is late, short of room or dishonest on top, from a seed.
//!
//! | room | what |
//! | --- | --- |
//! | `device`, `context`, `events` | the list, what a device says of itself, asynchronous events |
//! | `memory` | protection domains, and regions found by key without a lock |
//! | `channel`, `completion` | completion channels and queues |
//! | `queue_pair`, `states`, `receive`, `send`, `pending`, `execute`, `lies` | a queue pair, by what happens to it |
//! | `world` | what waits, and who moves it on |
//!
//! Locks are taken in this order: a queue pair's send queue, a queue pair's receive queue, the table of queue pairs, a
//! completion queue, a channel. Whatever would need a second send queue is put into
//! `world::Aftermath` and done once all locks are free.

#[path = "../../src/sys/abi.rs"]
pub mod abi;

mod channel;
mod completion;
mod context;
mod device;
mod events;
mod execute;
mod lies;
mod lock;
mod memory;
mod numbers;
mod pending;
mod queue_pair;
mod receive;
mod schedule;
mod send;
mod states;
mod text;
mod world;

pub use channel::{ibv_ack_cq_events, ibv_create_comp_channel, ibv_destroy_comp_channel, ibv_get_cq_event};
pub use completion::{ibv_create_cq, ibv_destroy_cq};
pub use context::{
    _ibv_query_gid_ex, ibv_close_device, ibv_open_device, ibv_query_device, ibv_query_port, pegaflow_stand_in_counts,
};
pub use device::{
    ibv_free_device_list, ibv_get_device_list, ibv_get_device_name, pegaflow_stand_in_device,
    pegaflow_stand_in_device_counts, pegaflow_stand_in_hide,
};
pub use events::{ibv_ack_async_event, ibv_get_async_event, pegaflow_stand_in_raise};
pub use memory::{ibv_alloc_pd, ibv_dealloc_pd, ibv_dereg_mr, ibv_reg_dmabuf_mr, ibv_reg_mr, ibv_reg_mr_iova2};
pub use numbers::*;
pub use queue_pair::{ibv_create_qp, ibv_destroy_qp};
pub use schedule::{ALWAYS, Counts, Schedule};
pub use states::ibv_modify_qp;
pub use text::{ibv_event_type_str, ibv_wc_status_str};

/// The mark by which a loader tells this library from a real one; its value is the version of this interface.
#[unsafe(no_mangle)]
pub static pegaflow_stand_in_version: u32 = 1;
