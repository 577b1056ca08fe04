//! The integrity mode, `NodeOptions::checksum`: between the bytes of a batch and what follows them, the peer compares sums.
//!
//! A batch is posted without what follows it. Once its bytes have landed, the sums of what lies here go to the peer's
//! control thread, so many moves at a time; when all were found to be the same there, what follows is posted. Meanwhile the
//! batch stands at the head of its channel's queue: nothing overtakes it.

use super::{channel::Channel, poller::Poller};
use crate::{
    Cause, Link, Outcome, Subscriber,
    node::control::{Command, ConnectionId, Frame, MAX_PIECES, Piece},
    run::{Cursor, Follow, Run},
};

/// Most bytes of a piece, and of a question: what a poll sums at most.
const PIECE_BYTES: u64 = 1 << 20;
const QUESTION_BYTES: u64 = 64 << 20;

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// Not to be checked, or found to be right.
    None,
    /// Bytes are being posted.
    Wanted,
    /// All bytes are posted.
    Posted,
    /// The peer was asked of the moves from the `first` on, before this place.
    Asked { first: u64, next: Cursor },
}

impl<S: Subscriber> Poller<S> {
    /// What is to be done with the batch at the head of a queue, before it is given to the engine; `false` where it waits.
    pub(super) fn check(&mut self, link: Link, slot: u16) -> bool {
        let Some(channel) = self.channels[link.index()].as_deref_mut() else {
            return false;
        };
        let (check, quiet) = (channel.transfer(slot).check, channel.transfer(slot).quiet());
        match check {
            Check::None | Check::Wanted => true,
            // A question is answered before the next, also where whoever it was for has ended meanwhile.
            Check::Posted if quiet && !channel.asking => self.ask(link, slot, Cursor::default()),
            Check::Posted | Check::Asked { .. } => false,
        }
    }

    /// Asks of the moves from a place on; after the last there is nothing more to ask, and the batch goes on.
    fn ask(&mut self, link: Link, slot: u16, from: Cursor) -> bool {
        let Some(channel) = self.channels[link.index()].as_deref_mut() else {
            return false;
        };
        let Some((frame, next)) = channel.question(slot, from) else {
            channel.transfer(slot).check = Check::None;
            return true;
        };
        channel.transfer(slot).check = Check::Asked { first: from.moves(), next };
        channel.asking = true;
        if let Some(connection) = channel.connection {
            self.node.control.command(Command::Send { connection, frame });
        }
        false
    }

    /// The peer has answered.
    pub(super) fn checked(&mut self, connection: ConnectionId, request: u32, wrong: Option<u32>) {
        let Some(channel) = self.by_connection(connection) else {
            return;
        };
        channel.asking = false;
        let link = channel.id.link();
        let Some(&slot) = channel.queue.front() else {
            return;
        };
        let transfer = channel.transfer(slot);
        // One that was withdrawn meanwhile is not asked for any more.
        let (Check::Asked { first, next }, true) = (transfer.check, transfer.generation == request) else {
            return;
        };
        match wrong {
            None => {
                self.ask(link, slot, next);
            }
            Some(wrong) => {
                let position = first + u64::from(wrong);
                let (tag, on) = (channel.transfer(slot).tag, channel.id);
                tracing::error!(%on, tag, position, "the bytes at the peer are not those that lie here");
                self.end(link, slot, Outcome::Failed(Cause::Corrupt { position }), std::time::Instant::now());
            }
        }
    }
}

impl Channel {
    /// The moves of a transfer from a place on.
    fn moves(&self, slot: u16, from: Cursor) -> Run<'_> {
        let mut run = self.run(slot);
        run.seek(from);
        run
    }

    /// The sums of the moves from a place on, as many as fit one question, and the place after them; `None` after the last.
    fn question(&self, slot: u16, from: Cursor) -> Option<(Frame, Cursor)> {
        let plan = self.plan_of(slot)?;
        let mut run = self.moves(slot, from);
        let (mut pieces, mut sum) = (Vec::new(), 0);
        while pieces.len() < MAX_PIECES
            && sum < QUESTION_BYTES
            && let Some(one) = run.next_move(PIECE_BYTES)
        {
            let (region, offset) = plan.remote.0.place(one.there, one.there_key)?;
            let bytes = u32::try_from(one.bytes).ok()?;
            pieces.push(Piece { region, offset, bytes, sum: plan.sum(one.here, one.bytes)? });
            sum += one.bytes;
        }
        let request = self.generation_of(slot);
        let frame = Frame::Check { request, epoch: plan.remote.epoch(), pieces };
        (run.cursor() != from).then_some((frame, run.cursor()))
    }
}

/// What follows, where it is withheld.
pub(super) fn withheld<'a>(follow: Follow<'a>, check: Check) -> Follow<'a> {
    if check == Check::Wanted { Follow::Nothing } else { follow }
}
