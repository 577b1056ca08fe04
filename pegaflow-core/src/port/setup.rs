//! How channels of a port come and go: what the control thread reports, and what it is asked. Off the hot path.

use std::{sync::Arc, time::Duration};

use super::{
    channel::{Channel, How, Peer},
    messages::Outgoing,
    poller::Poller,
};
use crate::{
    ApiMisuse, Cause, ChannelId, Class, ConnectError, Event, Refusal, State, Subscriber,
    backend::Parcel,
    counter::CounterPool,
    node::{
        self, Address,
        control::{Command, ConnectionId, Frame, VERSIONS, random},
        inbox::{Met, Note},
    },
};

impl<S: Subscriber> Poller<S> {
    pub(super) fn begin_dial(
        &mut self,
        address: &[u8],
        class: Class,
        patience: Duration,
    ) -> Result<ChannelId, ConnectError> {
        let address = Address::decode(address)?;
        if address.backend != self.node.identity.backend {
            return Err(ConnectError::OtherBackend {
                peer: address.name,
                theirs: address.backend,
                ours: self.node.identity.backend,
            });
        }
        if !address.way.fits(self.node.domain.capabilities().meets) {
            let why = format!("`{}` meets in another way than nodes of this backend do here", address.name);
            return Err(ConnectError::Malformed { what: "node address", why });
        }
        let (channel, parcel) = self.open(class)?;
        let met = self.introduce(class, parcel);
        let (inbox, until) = (self.inbox.clone(), node::after(patience));
        self.node.control.command(Command::Dial { address, class, channel, inbox, met, until });
        Ok(channel)
    }

    /// What this side says of itself in a hand-shake.
    fn introduce(&self, class: Class, parcel: Parcel) -> Met {
        let identity = &self.node.identity;
        let bounds = *self.node.options.bounds(class);
        let life = self.node.share_life();
        Met { name: identity.name.clone(), incarnation: identity.incarnation, bounds, parcel, life }
    }

    /// Makes this side of a channel.
    fn open(&mut self, class: Class) -> Result<(ChannelId, Parcel), ConnectError> {
        let capabilities = self.node.domain.capabilities();
        let count = capabilities.max_channels;
        let index = (0..count)
            .find(|&index| self.channels[usize::from(index)].is_none())
            .ok_or(ConnectError::TooManyChannels { channels: count })?;
        let id = ChannelId { index, serial: self.node.next_channel() };
        let bounds = *self.node.options.bounds(class);
        let options = &self.node.options;
        let how = How { fence_after: options.fence_after[class as usize], checksum: options.checksum };
        let parcel = self.engine.open(id.link(), class, &bounds)?.check(capabilities);
        let made = Channel::new(id, class, bounds, how, self.serials[usize::from(index)]);
        self.channels[usize::from(index)] = Some(Box::new(made));
        self.active.push(index);
        match parcel {
            Ok(parcel) => Ok((id, parcel)),
            Err(error) => {
                self.abandon(id);
                Err(error.into())
            }
        }
    }

    /// Completes this side with what the peer said.
    fn join(&mut self, id: ChannelId, connection: ConnectionId, epoch: u64, met: Met) -> Result<(), ConnectError> {
        let link = id.link();
        self.engine.join(link, met.parcel, &met.bounds)?;
        let counters = self.engine.counters(link).map(|table| CounterPool::new(id, table));
        let name = met.name.clone();
        let peer = node::Peer { connection, name: met.name.clone(), incarnation: met.incarnation };
        self.node.registry.connected(id, peer);
        if let Ok(channel) = self.channel_mut(id) {
            let outgoing = Outgoing::new(met.bounds.messages, met.bounds.message_bytes);
            channel.peer = Some(Peer { name: met.name, bounds: met.bounds, outgoing, counters });
            channel.state = State::Up { epoch };
            channel.tell_state = true;
            channel.connection = Some(connection);
            let on = channel.on();
            self.subscriber.met(on, &name, self.node.options.bounds(on.class));
            self.subscriber.channel(on, State::Up { epoch });
        }
        Ok(())
    }

    pub(super) fn read_inbox(&mut self) {
        while let Some(note) = self.inbox.take() {
            match note {
                Note::Hello { connection, class, peer } => self.dialled(connection, class, peer),
                Note::Welcome { channel, connection, epoch, peer } => self.welcomed(channel, connection, epoch, peer),
                Note::NotMet { channel, cause } => {
                    if self.channel(channel).is_ok() {
                        self.finish(channel.link(), State::Broken(cause));
                    }
                }
                Note::Ready { connection } => {
                    if let Some(channel) = self.by_connection(connection) {
                        channel.may_post = true;
                    }
                }
                // What the peer sent before it closed is handed out first.
                Note::Bye { connection } => self.end_of(connection, State::Closed),
                Note::Gone { connection, cause } => self.end_of(connection, State::Broken(cause)),
                Note::Revoke { connection } => self.withdraw_revoked(connection),
                Note::Revoked { connection, epoch } => {
                    let upkeep = Arc::clone(&self.node.upkeep);
                    if let Some(channel) = self.by_connection(connection) {
                        let over = channel.is_over();
                        channel.revokes.acknowledged(epoch, over, &upkeep);
                    }
                }
                Note::Left { connection } => self.peer_left(connection),
                Note::Checked { connection, request, wrong } => self.checked(connection, request, wrong),
                Note::Device => self.has_device_news = true,
            }
        }
    }

    /// Hands out what the device has said, as far as there is room; gives how much.
    pub(super) fn tell_device_news(&mut self, events: &mut [Event]) -> usize {
        let mut made = 0;
        while made < events.len() {
            let Some((rail, what)) = self.inbox.news() else {
                self.has_device_news = false;
                break;
            };
            self.subscriber.device(rail, what);
            events[made] = Event::Device { rail, what };
            made += 1;
        }
        made
    }

    pub(super) fn by_connection(&mut self, connection: ConnectionId) -> Option<&mut Channel> {
        self.channels.iter_mut().flatten().map(|channel| &mut **channel).find(|c| c.connection == Some(connection))
    }

    fn end_of(&mut self, connection: ConnectionId, state: State) {
        if let Some(channel) = self.by_connection(connection) {
            channel.may_post = false;
            channel.ending.get_or_insert(state);
        }
    }

    /// A peer dials: make this side, join it, and answer.
    fn dialled(&mut self, connection: ConnectionId, class: Class, met: Met) {
        let answer = self.answer(connection, class, met);
        let frame = match answer {
            Ok(frame) => frame,
            Err(error) => {
                tracing::warn!(node = %self.node.identity.name, %error, "a dial was refused");
                let full = matches!(error, ConnectError::TooManyChannels { .. });
                Frame::Refuse(if full { Refusal::Full } else { Refusal::Failed })
            }
        };
        let refused = matches!(frame, Frame::Refuse(_));
        self.node.control.command(Command::Send { connection, frame });
        if refused {
            self.node.control.command(Command::Close { connection });
        }
    }

    fn answer(&mut self, connection: ConnectionId, class: Class, met: Met) -> Result<Frame, ConnectError> {
        let epoch = random()?;
        let (id, parcel) = self.open(class)?;
        let mine = self.introduce(class, parcel);
        if let Err(error) = self.join(id, connection, epoch, met) {
            self.abandon(id);
            return Err(error);
        }
        Ok(Frame::Welcome { version: VERSIONS.1, epoch, met: mine })
    }

    /// A channel that nobody has heard of yet goes without an event.
    fn abandon(&mut self, id: ChannelId) {
        self.engine.close(id.link());
        if let Ok(channel) = self.channel_mut(id) {
            channel.state = State::Closed;
        }
    }

    /// The dialled peer has made its end: join, and say so.
    fn welcomed(&mut self, id: ChannelId, connection: ConnectionId, epoch: u64, met: Met) {
        if self.channel(id).is_err() {
            self.node.control.command(Command::Close { connection });
            return;
        }
        match self.join(id, connection, epoch, met) {
            Ok(()) => {
                if let Ok(channel) = self.channel_mut(id) {
                    channel.may_post = true;
                }
                self.node.control.command(Command::Send { connection, frame: Frame::Ready });
            }
            Err(error) => {
                tracing::warn!(node = %self.node.identity.name, %error, "the dialled peer's end could not be joined");
                self.node.control.command(Command::Close { connection });
                self.finish(id.link(), State::Broken(Cause::NotJoined));
            }
        }
    }

    pub(super) fn begin_close(&mut self, id: ChannelId) -> Result<(), ApiMisuse> {
        let channel = self.channel_mut(id)?;
        if channel.closing || channel.is_over() {
            return Ok(());
        }
        if channel.state == State::Connecting {
            // Nothing is in flight, and nobody is there to be told.
            channel.closing = true;
            self.finish(id.link(), State::Closed);
            return Ok(());
        }
        channel.closing = true;
        Ok(())
    }
}
