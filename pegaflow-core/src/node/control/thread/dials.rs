//! Dials: tried until somebody answers, or their time has come.

use super::*;

impl State {
    pub(super) fn give_up(&mut self, which: impl Fn(&Dial) -> bool) {
        for dial in self.dials.extract_if(.., |dial| which(dial)) {
            if let Some(connection) = dial.step.connection() {
                self.connections.remove(&connection);
            }
        }
    }

    /// Tries what is not connected, and ends what has had its time.
    pub(super) fn drive_dials(&mut self) {
        let now = Instant::now();
        let mut at = 0;
        while at < self.dials.len() {
            if self.dials[at].until <= now {
                let dial = self.dials.swap_remove(at);
                if let Some(connection) = dial.step.connection() {
                    self.connections.remove(&connection);
                }
                dial.inbox.put(Note::NotMet { channel: dial.channel, cause: Cause::Unreachable });
                continue;
            }
            match self.dials[at].step {
                Step::Connecting(connection, then) if then <= now => {
                    self.connections.remove(&connection);
                    self.try_dial(at);
                }
                Step::Wait(then) if then <= now => self.try_dial(at),
                _ => {}
            }
            at += 1;
        }
    }

    pub(super) fn try_dial(&mut self, at: usize) {
        let dial = &self.dials[at];
        let (channel, inbox) = (dial.channel, Arc::clone(&dial.inbox));
        let begun = self
            .listener
            .connect(&dial.address.way)
            .and_then(|socket| self.enter(socket, Stage::Connecting(channel), Some(inbox)));
        let now = Instant::now();
        let dial = &mut self.dials[at];
        dial.step = match begun {
            Ok(connection) => Step::Connecting(connection, now + CONNECT_WITHIN),
            Err(error) => {
                tracing::debug!(node = %self.identity.name, peer = %dial.address.name, %error, "a dial is tried again");
                Step::Wait(now + listener::pause(&dial.address.way))
            }
        };
    }

    /// A try to connect has come to its end, good or bad.
    pub(super) fn connected(&mut self, id: ConnectionId, channel: ChannelId) {
        let (Some(known), Some(dial)) =
            (self.connections.get_mut(&id), self.dials.iter_mut().find(|dial| dial.channel == channel))
        else {
            self.connections.remove(&id);
            return;
        };
        if let Err(error) = listener::connected(&dial.address.way, known.stream.fd()) {
            tracing::debug!(node = %self.identity.name, peer = %dial.address.name, %error, "a dial is tried again");
            dial.step = Step::Wait(Instant::now() + listener::pause(&dial.address.way));
            self.connections.remove(&id);
            return;
        }
        known.stage = Stage::Dialled(channel);
        dial.step = Step::Asked(id);
        let Some(met) = dial.met.take() else { return };
        let hello = Frame::Hello {
            versions: VERSIONS,
            backend: self.identity.backend.to_owned(),
            to: (dial.address.name.clone(), dial.address.incarnation),
            class: dial.class,
            met,
        };
        self.send(id, hello);
    }
}
