//! Pegaflow's contract: memory, channels and transfers, the same over every backend.
//!
//! A *node* is a named process. It allocates [`Region`]s, tells peers of windows into them with [`Grant`]s, and opens
//! [`Port`]s. A port is one thread's handle: it dials channels, submits [`Batch`]es over a [`Plan`], and polls
//! [`Event`]s. Everything with a length is allocated before the first transfer.
//!
//! # Every call, and what it costs
//!
//! | call | thread | may block | allocates | who owns the bytes | how it ends |
//! | --- | --- | --- | --- | --- | --- |
//! | [`Node::new`] | any | socket set-up | yes, and one control thread; on one host one more, and one for each peer node that it meets | – | a node, or [`ConnectError`] |
//! | [`Node::allocate`], [`Node::register`], [`Node::register_dmabuf`] | any | yes: page faults, registration | yes | the region, until nothing holds it | a [`Region`], or [`MemoryError`] |
//! | [`Node::grant`] | any | no | yes | the peer may write or read until the grant and all imports are gone | a [`Grant`], or [`MemoryError`] |
//! | [`Node::import`] | any | up to the time given, for the peer's control thread | yes | – | a [`Remote`], or [`ConnectError`] |
//! | [`Node::plan`] | any | no | yes | the plan keeps both sides' memory | a [`Plan`], or [`ApiMisuse`] |
//! | [`Node::port`] | any | no | yes: all of the port's tables | – | a [`Poller`], or [`ConnectError`] |
//! | [`Port::listen`], [`Port::dial`] | the port's | no | yes | – | [`Event::Channel`]: up, or broken by the time given |
//! | [`Port::counter`] | the port's | no | no | – | a [`Counter`], or `None` where all are taken |
//! | [`Counter::value`] | any | never | no | – | a number |
//! | [`Port::submit`], [`Port::send`] | the port's | never | no | ids and message are copied: the slices are free on return. Blocks: the transfer's until its end said `quiet`, or `Quiet` | one [`Event::Ended`]; or `Full`, nothing taken; or [`ApiMisuse`], nothing done |
//! | [`Port::poll`] | the port's | never; where [`Capabilities::copies_in_poll`] it copies up to one chunk a channel | no | – | events, each once |
//! | [`Port::message`] | the port's | never | no | the library's, until `release` | bytes |
//! | [`Port::release`] | the port's | never | no | – | the peer has one credit more |
//! | [`Port::cancel`] | the port's | never | no | as `submit` | the transfer's one end, `Cancelled` unless it had ended |
//! | [`Port::arm`], [`Port::fd`] | the port's | never | no | – | ready, or sleep until |
//! | [`Port::close`] | the port's | never | no | – | what was accepted ends, then [`State::Closed`] |
//! | [`Port::fence`] | the port's | never | yes | the blocks of each transfer are the caller's once it was told to be quiet | [`State::Broken`] with [`Cause::Fenced`] |
//! | [`Port::revoke`] | the port's | never | yes | the granted memory is the caller's once it is acknowledged or fenced | one [`Event::Revoked`], two where the first is unproven |
//! | [`Port::revoke_swap`] | the port's | for the kernel, to map memory | yes | the granted memory, fresh | as `revoke` |
//! | drop of any handle | any, a port on its own | dropping a node joins its control thread; links are taken down and memory is given back by the node's reaper | yes | memory in flight stays: transfers hold it | no event |
//!
//! One mistake is not caught: memory behind [`Region::as_ptr`] that the caller touches while a transfer moves it has
//! undefined bytes.
//!
//! In a child of a fork every handle from before it is dead: calls say [`ApiMisuse::Forked`], drops do nothing. A child can
//! open the backend and make a node of its own.
//!
//! What a backend writes is in [`backend`]; what it may rely on and must keep is in its words there.

pub mod backend;
mod batch;
mod capabilities;
mod class;
mod counter;
mod device_event;
mod error;
mod event;
mod fork;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod grant;
mod ids;
mod node;
pub mod observe;
mod plan;
mod port;
mod reaper;
mod region;
mod run;
mod upkeep;
mod usage;
mod wire;

pub use backend::{Armed, Work};
pub use batch::{Batch, Then};
pub use capabilities::{Capabilities, ForeignMemory, Meets, PeerCpu, VisibleTo};
pub use class::{Bounds, Class, OutOfRange, UnknownClass};
pub use counter::{Counter, CounterTable};
pub use device_event::{DeviceEvent, Rail};
pub use error::{ApiMisuse, BackendError, Cause, ConnectError, MemoryError, Refusal};
pub use event::{Event, Outcome, Revoked, Revoking, Short, State, Submitted};
pub use grant::{Access, Audience, Grant, Remote};
pub use ids::{ChannelId, CounterId, Link, Slot, TransferId};
pub use node::{Node, NodeOptions};
pub use observe::Subscriber;
pub use plan::{Op, Piece, Plan, Plane, Shape, Span, Table, Window};
pub use port::{Poller, Port};
pub use region::{AllocateOptions, Kind, PageSize, Region};
pub use upkeep::{MemoryFigures, Quarantined, Registered};
