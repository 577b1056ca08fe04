//! How channels end, and how grants are taken back: what is done once and not for each transfer.
//!
//! A channel's end has three steps. It is *finished*: its transfers end, its state is told. Its link is *closed*: the engine
//! says that nothing of this side's touches memory any more, and what was not quiet is. Its peer has *left*: nothing of his
//! comes through. Where a link that is down keeps the peer out, the second says the third; else the control connection
//! does, whose other half ends when the peer's port has taken its end down, or the peer is dead.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    channel::{Channel, End},
    poller::Poller,
};
use crate::{
    ApiMisuse, Cause, ChannelId, Grant, Link, MemoryError, Outcome, Revoking, State, Subscriber,
    backend::{Engine, Raw},
    node::{
        after,
        control::{Command, ConnectionId, Frame},
    },
    upkeep::Upkeep,
};

impl<S: Subscriber> Poller<S> {
    /// Ends a channel: closes its link, ends its transfers, tells the state. Nothing happens to one that has ended.
    pub(super) fn finish(&mut self, link: Link, state: State) {
        let cause = match state {
            State::Broken(cause) => cause,
            // This side closes only what is quiet, so what is in flight is cut off by the peer.
            _ => Cause::PeerClosed,
        };
        self.finish_for(link, state, cause);
    }

    /// As [`finish`](Self::finish), where the transfers in flight end with a cause of their own.
    pub(super) fn finish_for(&mut self, link: Link, state: State, cause: Cause) {
        let Some(channel) = self.channels[link.index()].as_deref_mut() else {
            return;
        };
        if channel.is_over() {
            return;
        }
        // Said first: the peer's end fails once this one is gone, and he is to know why.
        let last_word = match state {
            State::Closed => Some(Frame::Bye),
            State::Broken(Cause::Fenced) => Some(Frame::Fence),
            _ => None,
        };
        if let (Some(frame), Some(connection)) = (last_word, channel.connection) {
            self.node.control.command(Command::Send { connection, frame });
        }
        self.engine.close(link);
        channel.state = state;
        channel.tell_state = true;
        channel.may_post = false;
        let now = Instant::now();
        while let Some(slot) = self.channels[link.index()].as_deref().and_then(|channel| channel.next_due(None)) {
            self.end(link, slot, Outcome::Failed(cause), now);
        }
        let Some(channel) = self.channels[link.index()].as_deref_mut() else {
            return;
        };
        channel.drop_aborts();
        self.subscriber.channel(channel.on(), state);
        let (id, connection) = (channel.id, channel.connection);
        channel.end.left = self.fence_is_proof || connection.is_none();
        if channel.end.left {
            channel.connection = None;
        }
        self.disconnect(id, connection);
    }

    /// Tells the control thread, and through it the peer, that a channel has ended here.
    fn disconnect(&mut self, channel: ChannelId, connection: Option<ConnectionId>) {
        self.node.registry.disconnected(channel);
        self.node.control.command(match connection {
            Some(connection) if self.fence_is_proof => Command::Close { connection },
            Some(connection) => Command::Leave { connection, inbox: Arc::clone(&self.inbox) },
            None => Command::GiveUp { channel },
        });
    }

    /// The engine has taken a link down.
    pub(super) fn link_closed(&mut self, link: Link, quiet: bool) {
        let Some(channel) = self.channels[link.index()].as_deref_mut() else {
            return;
        };
        channel.link_closed(quiet, &self.node.upkeep);
        channel.settle_revokes(&self.node.upkeep);
    }

    /// The peer of a channel that has ended can't touch this side's memory any more.
    pub(super) fn peer_left(&mut self, connection: ConnectionId) {
        let upkeep = Arc::clone(&self.node.upkeep);
        if let Some(channel) = self.by_connection(connection) {
            channel.connection = None;
            channel.end.left = true;
            channel.settle_revokes(&upkeep);
        }
    }

    /// The peer wants a grant back that is in use: what is not posted of it is withdrawn.
    pub(super) fn withdraw_revoked(&mut self, connection: ConnectionId) {
        let Some(link) = self.by_connection(connection).map(|channel| channel.id.link()) else {
            return;
        };
        let now = Instant::now();
        while let Some(slot) = self.channels[link.index()].as_deref().and_then(Channel::next_revoked) {
            self.end(link, slot, Outcome::Failed(Cause::Revoked), now);
        }
    }

    /// Tells peers which of their grants are used no more.
    pub(super) fn give_back(&mut self) {
        for &link in &self.active {
            let Some(channel) = self.channels[usize::from(link)].as_deref_mut() else {
                continue;
            };
            while let Some(epoch) = channel.given_back.pop() {
                if let (Some(connection), false) = (channel.connection, channel.is_over()) {
                    self.node.control.command(Command::Send { connection, frame: Frame::Revoked { epoch } });
                }
            }
        }
    }

    pub(super) fn begin_revoke(
        &mut self,
        grant: &Grant,
        from: ChannelId,
        fence_after: Duration,
    ) -> Result<Revoking, ApiMisuse> {
        if !std::ptr::eq(grant.registry.as_ptr(), Arc::as_ptr(&self.node.registry)) {
            return Err(ApiMisuse::WrongNode("the grant"));
        }
        let due = after(fence_after);
        let upkeep = Arc::clone(&self.node.upkeep);
        let channel = self.channel_mut(from)?;
        if channel.state == State::Connecting {
            return Err(ApiMisuse::NotUp { channel: from, state: channel.state.name() });
        }
        let asked = channel.revokes.ask(&grant.inner, due);
        if asked == Revoking::Full {
            return Ok(asked);
        }
        if channel.is_over() {
            channel.settle_revokes(&upkeep);
        } else if let Some(connection) = channel.connection {
            self.node.control.command(Command::Revoke { connection, epoch: grant.epoch() });
            self.due_at(due);
        }
        Ok(asked)
    }

    pub(super) fn swap_revoked(&mut self, grant: &Grant, from: ChannelId) -> Result<(), MemoryError> {
        let backend = self.node.domain.capabilities().backend;
        let refused = |why: &str| MemoryError::Refused { backend, why: why.to_owned() };
        if !self.node.domain.capabilities().revoke_swap {
            return Err(refused("it can't put other memory in the place of granted memory"));
        }
        let upkeep = Arc::clone(&self.node.upkeep);
        let channel = self.channel_mut(from).ok();
        let channel = channel.filter(|channel| channel.revokes.is_unproven(grant.epoch()));
        let channel = channel.ok_or_else(|| refused("no revoke of this grant from this channel is unproven"))?;
        // While it is unproven the connection waits for the peer, and holds what he has imported.
        let connection = channel.connection.ok_or_else(|| refused("the channel has no peer"))?;
        if grant.inner.regions.iter().any(|region| region.has_other_importers(connection)) {
            return Err(refused("another peer has imported a region of this grant, and would lose it"));
        }
        for region in &grant.inner.regions {
            region.swap()?;
        }
        channel.revokes.put_aside(grant.epoch(), &upkeep);
        Ok(())
    }
}

/// A port goes, and its links are not down yet: the engine and the memory that it may touch live on until they are.
pub(super) fn outlive(engine: Box<dyn Engine>, channels: Box<[Option<Box<Channel>>]>, upkeep: &Arc<Upkeep>) {
    let kept = Arc::clone(upkeep);
    // What the engine has the reaper do for a link was given to it before this.
    upkeep.reaper.take(move || close_all(engine, channels.into_vec(), &kept));
}

/// Waits until every link is down, then lets go of everything.
fn close_all(mut engine: Box<dyn Engine>, mut channels: Vec<Option<Box<Channel>>>, upkeep: &Upkeep) {
    /// How long a device may take that says nothing; its memory is kept then.
    const PATIENCE: Duration = Duration::from_secs(10);
    let until = Instant::now() + PATIENCE;
    let mut raw = [Raw::Credit { link: Link(0), messages: 0 }; 16];
    while channels.iter().flatten().any(|channel| !channel.end.closed) {
        let count = engine.poll(&mut raw);
        for fact in &raw[..count] {
            if let Raw::Closed { link, quiet } = *fact
                && let Some(channel) = channels.get_mut(link.index()).and_then(Option::as_deref_mut)
            {
                channel.link_closed(quiet, upkeep);
            }
        }
        if count == 0 {
            if Instant::now() >= until {
                for channel in channels.iter_mut().flatten().filter(|channel| !channel.end.closed) {
                    channel.link_closed(false, upkeep);
                }
                tracing::error!("a link is not down after {PATIENCE:?}: its memory is kept for good");
                // The engine may still be in use by the device.
                std::mem::forget(engine);
                return;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

impl Channel {
    fn link_closed(&mut self, quiet: bool, upkeep: &Upkeep) {
        self.end.closed = true;
        if quiet {
            self.silence();
        } else {
            self.end.left = false;
            upkeep.keep(self.keep_unquiet());
        }
    }

    /// Says of what is being taken back what this channel's end proves.
    fn settle_revokes(&mut self, upkeep: &Upkeep) {
        if self.is_over() && self.end.closed {
            self.revokes.channel_ended(self.end == End { closed: true, left: true }, upkeep);
        }
    }
}
