//! How connections end: by the peer, by this side, by a death, or because nothing was ever said.

use super::*;

impl State {
    /// A connection has ended: tells the port whose it was.
    pub(super) fn lose(&mut self, id: ConnectionId, cause: Cause) {
        let Some(known) = self.connections.get_mut(&id) else {
            return;
        };
        match (known.stage, known.inbox.clone()) {
            (Stage::Asked | Stage::Met, Some(inbox)) => {
                // Whoever waits for an answer need not any more.
                known.asked.clear();
                known.stage = Stage::Ended;
                known.left = cause == Cause::PeerGone;
                let _ = epoll::delete(&self.epoll, known.stream.fd());
                inbox.put(Note::Gone { connection: id, cause });
                return;
            }
            (Stage::Ended, _) => return,
            (Stage::Leaving, Some(inbox)) => inbox.put(Note::Left { connection: id }),
            (Stage::Dialled(channel), _) => {
                for dial in self.dials.extract_if(.., |dial| dial.channel == channel) {
                    dial.inbox.put(Note::NotMet { channel, cause });
                }
            }
            _ => {}
        }
        self.connections.remove(&id);
    }

    /// The port has taken its end of the channel down, and wants to know when the peer has.
    pub(super) fn leave(&mut self, id: ConnectionId, inbox: &Arc<Inbox>) {
        let Some(known) = self.connections.get_mut(&id).filter(|known| !known.left) else {
            self.connections.remove(&id);
            inbox.put(Note::Left { connection: id });
            return;
        };
        known.asked.clear();
        known.stream.end();
        let was = std::mem::replace(&mut known.stage, Stage::Leaving);
        if was == Stage::Ended {
            let again = epoll::add(&self.epoll, known.stream.fd(), EventData::new_u64(id.0), EventFlags::IN);
            if let Err(errno) = again {
                // It stays, with the memory that the peer has imported.
                tracing::error!(node = %self.identity.name, %errno, "a control connection can't be watched");
            }
        }
    }

    /// Ends all connections to a peer that has died. What it said before counts; its sockets end later than it did.
    pub(super) fn bury(&mut self, watch: WatchId) {
        let led_there = |known: &Connection| known.watch.as_ref().is_some_and(|of| of.id() == watch);
        let ids = self.connections.iter().filter(|(_, known)| led_there(known)).map(|(&id, _)| id);
        for id in ids.collect::<Vec<_>>() {
            // Bounded, as somebody may hold a socket of the dead and write.
            for _ in 0..MAX_LAST_READS {
                let left = self.connections.get(&id).map(|known| rustix::io::ioctl_fionread(known.stream.fd()));
                match left {
                    Some(Ok(1..)) => self.serve(id, EventFlags::IN),
                    _ => break,
                }
            }
            match self.connections.get(&id).map(|known| known.stage) {
                // The end of the socket is waited for: the futex is marked while other threads of the process still run.
                Some(Stage::Leaving) | None => {}
                _ => {
                    self.lose(id, Cause::PeerGone);
                    if let Some(known) = self.connections.get_mut(&id) {
                        known.left = false;
                    }
                }
            }
        }
    }

    /// Closes on those who have connected and said nothing in their time.
    pub(super) fn end_the_mute(&mut self) {
        let now = Instant::now();
        while let Some((_, id)) = self.fresh.pop_front_if(|(then, _)| *then <= now) {
            if self.connections.get(&id).is_some_and(|known| known.stage == Stage::Fresh) {
                tracing::debug!(node = %self.identity.name, "somebody connected and said nothing");
                self.connections.remove(&id);
            }
        }
    }
}
