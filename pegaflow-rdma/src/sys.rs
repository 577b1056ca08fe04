//! Every raw foreign call of this backend: libibverbs behind handles that give back what they took, in the right order.

pub mod abi;
mod chain;
mod completion;
mod device;
mod library;
mod memory;
mod queue_pair;
mod raw_loop;

pub(crate) use chain::{Chain, LAST, RECEIVE, Receives, Refused, post_last};
pub(crate) use completion::{Channel, CompletionQueue};
pub(crate) use device::{Device, DeviceList, PortAttributes};
pub(crate) use library::{StandIn, Verbs, load};
pub(crate) use memory::{KeyTable, MemoryRegion, Staging, key_table};
pub(crate) use queue_pair::{Address, QueuePair, Timing};
pub(crate) use raw_loop::RawLoop;
