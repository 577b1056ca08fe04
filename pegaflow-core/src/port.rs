//! A port: the data half of the contract, one thread's handle to its channels.

mod channel;
mod checking;
mod ids_ring;
mod messages;
mod poller;
mod revokes;
mod setup;
mod taking_back;
mod transfer;

use std::{os::fd::BorrowedFd, time::Duration};

pub use poller::Poller;

use crate::{
    ApiMisuse, Armed, Batch, ChannelId, Class, ConnectError, Counter, Event, Grant, MemoryError, Revoking, Slot, State,
    Submitted, TransferId,
};

/// One thread's handle to channels: it dials, submits, and polls. It may be moved to another thread, and is used by
/// one at a time.
///
/// Nothing moves unless somebody polls: a port makes progress inside [`poll`](Port::poll) only.
///
/// In a child of a fork each call that can say so gives [`ApiMisuse::Forked`]. Of the others, `poll` gives 0, `state`,
/// `peer` and `find` give `None`, `cancel` gives `false`, and `arm` gives [`Armed::Sleep`] without an end.
pub trait Port: Send {
    /// Takes the dials of peers for `class`; each gives a channel, made known by its [`Event::Channel`]. A dial is taken
    /// inside [`poll`](Port::poll), as everything else: until this port polls, who dials waits.
    ///
    /// # Errors
    /// [`ConnectError::AlreadyListening`] where another port of the node does.
    fn listen(&mut self, class: Class) -> Result<(), ConnectError>;

    /// Begins to connect to the node at `address`. The channel is `Connecting` until an event says `Up`, or, once
    /// `patience` has passed, `Broken` with [`Cause::Unreachable`](crate::Cause::Unreachable). Until then a peer that
    /// is not up or does not listen yet is waited for.
    ///
    /// A node may dial itself: both ends are channels of its own. Two nodes that dial each other get two channels.
    ///
    /// # Errors
    /// A malformed address, another backend, no room for a channel, or the backend's failure.
    fn dial(&mut self, address: &[u8], class: Class, patience: Duration) -> Result<ChannelId, ConnectError>;

    /// The state of a channel; `None` for one that this port never had, or has forgotten (some time after its end).
    fn state(&self, channel: ChannelId) -> Option<State>;

    /// The name of the node at the other end; `None` before it is known.
    fn peer(&self, channel: ChannelId) -> Option<&str>;

    /// The channel of `class` that leads to the node called `peer` and is up; the youngest where there are several.
    fn find(&self, peer: &str, class: Class) -> Option<ChannelId>;

    /// A counter of this side, for the peer of `channel` to count on. `None` where all are taken.
    ///
    /// # Errors
    /// [`ApiMisuse::UnknownChannel`] or [`ApiMisuse::NotUp`].
    fn counter(&mut self, channel: ChannelId) -> Result<Option<Counter>, ApiMisuse>;

    /// Submits a batch. Batches of one channel are posted in the order in which they were submitted, and may end in
    /// another. Everything is checked and copied now: nothing of `batch` is looked at after the return.
    ///
    /// # Errors
    /// [`ApiMisuse`]; nothing was done.
    fn submit(&mut self, on: ChannelId, batch: &Batch<'_>) -> Result<Submitted, ApiMisuse>;

    /// Sends a message alone, after all that was submitted before on this channel. It ends like a batch: `Done` says
    /// that the peer's backend has room for it and will hand it out, not that somebody has read it.
    ///
    /// # Errors
    /// [`ApiMisuse`]; nothing was done.
    fn send(
        &mut self,
        on: ChannelId,
        message: &[u8],
        deadline: std::time::Instant,
        tag: u64,
    ) -> Result<Submitted, ApiMisuse>;

    /// Moves everything on and hands out what happened, at most `events.len()`; gives how many. What finds no room
    /// stays for the next call. With an empty slice set-up, posting and deadlines move on, and nothing is handed out.
    fn poll(&mut self, events: &mut [Event]) -> usize;

    /// The bytes of a received message. They are this process's own: the peer can't change them any more. They stay at
    /// their address until they are released.
    ///
    /// # Errors
    /// [`ApiMisuse::SlotNotHeld`].
    fn message(&self, slot: Slot) -> Result<&[u8], ApiMisuse>;

    /// Gives a message back, and its credit to the sender.
    ///
    /// # Errors
    /// [`ApiMisuse::SlotNotHeld`].
    fn release(&mut self, slot: Slot) -> Result<(), ApiMisuse>;

    /// Withdraws what is not posted of a transfer; what is posted may finish. Gives whether the transfer was still in
    /// flight: then it ends `Cancelled`; otherwise it has ended, and its event says how.
    fn cancel(&mut self, id: TransferId) -> bool;

    /// Closes a channel in order: nothing more is accepted, what was accepted ends (by its deadline at the latest), then
    /// the channel is [`State::Closed`] and the peer is told. Whoever can't wait cancels first.
    ///
    /// # Errors
    /// [`ApiMisuse::UnknownChannel`].
    fn close(&mut self, channel: ChannelId) -> Result<(), ApiMisuse>;

    /// Breaks a channel, so that everything on this side becomes quiet: transfers in flight end with
    /// [`Cause::Fenced`](crate::Cause::Fenced), those that were not quiet are told to be, each once the link is down, and
    /// the channel is `Broken`. The way on is a new dial. The peer learns it as
    /// [`Cause::PeerFenced`](crate::Cause::PeerFenced). Nothing happens to a channel that has ended.
    ///
    /// # Errors
    /// [`ApiMisuse::UnknownChannel`].
    fn fence(&mut self, channel: ChannelId) -> Result<(), ApiMisuse>;

    /// Takes a grant back from the peer of one channel of this port. The peer's library is asked: it refuses new batches
    /// over the grant, withdraws what is not posted, lets end what is, and acknowledges; nothing breaks. Its application
    /// need not call anything but `poll`, and not even that where nothing is in flight. If there is no answer within
    /// `fence_after`, the channel is fenced, as by [`fence`](Port::fence). Either way one
    /// [`Event::Revoked`](crate::Event::Revoked) says what is proven; asking twice is asking once.
    ///
    /// The grant can't be imported over that channel again. Other channels that have it keep it. On a channel that has
    /// ended the answer tells what that end proves.
    ///
    /// # Errors
    /// [`ApiMisuse`]: an unknown channel, one that is not connected yet, or a grant of another node.
    fn revoke(&mut self, grant: &Grant, from: ChannelId, fence_after: Duration) -> Result<Revoking, ApiMisuse>;

    /// After [`Revoked::Unproven`](crate::Revoked::Unproven): puts fresh zeroed memory below the grant's regions, at the same
    /// addresses, so that the peer writes into what is his alone. It is then told as
    /// [`Fenced`](crate::Revoked::Fenced), and the memory may be used again; what was in it is lost.
    ///
    /// # Errors
    /// [`MemoryError::Refused`]: the backend can't, the revoke is not unproven, or another channel's peer has imported one of
    /// the regions, and would lose it. [`MemoryError::Kernel`]: there is no other memory; some regions may be swapped then.
    fn revoke_swap(&mut self, grant: &Grant, from: ChannelId) -> Result<(), MemoryError>;

    /// Prepares to sleep. After [`Armed::Sleep`] wait until [`fd`](Port::fd) is readable or `until` has come, then
    /// poll; after [`Armed::Ready`] poll now.
    fn arm(&mut self) -> Armed;

    /// One epoll descriptor over everything that can wake this port, for `poll(2)`, `epoll(7)` or an event loop.
    fn fd(&self) -> BorrowedFd<'_>;
}
