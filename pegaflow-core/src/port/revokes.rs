//! Grants that are being taken back from the peer of one channel.
//!
//! A revoke ends when the peer acknowledges it, or with the channel: what the end of a channel proves is in
//! [`Revokes::channel_ended`].

use std::{collections::VecDeque, sync::Arc, time::Instant};

use crate::{Revoked, Revoking, grant::GrantInner, upkeep::Upkeep};

/// Most revokes under way on one channel.
const MOST: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Revokes {
    asked: Vec<Revoke>,
    /// To be handed out.
    news: VecDeque<(u64, Revoked)>,
}

#[derive(Debug)]
struct Revoke {
    /// Keeps the memory.
    grant: Arc<GrantInner>,
    /// When the channel is fenced.
    due: Instant,
    unproven: bool,
}

impl Revokes {
    /// Whether nothing is under way or to be told.
    pub(crate) fn none(&self) -> bool {
        self.asked.is_empty() && self.news.is_empty()
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    pub(crate) fn next_news(&mut self) -> Option<(u64, Revoked)> {
        self.news.pop_front()
    }

    /// When the nearest one is not to be waited for any longer.
    pub(crate) fn nearest(&self) -> Option<Instant> {
        self.asked.iter().map(|one| one.due).min()
    }

    /// Notes a revoke. One that is under way already is asked once, and due at the earlier time.
    pub(crate) fn ask(&mut self, grant: &Arc<GrantInner>, due: Instant) -> Revoking {
        if let Some(at) = self.position(grant.epoch) {
            let known = &mut self.asked[at];
            known.due = known.due.min(due);
            return Revoking::Asked;
        }
        // The answer is there already, and waits to be handed out.
        if self.news.iter().any(|(epoch, _)| *epoch == grant.epoch) {
            return Revoking::Asked;
        }
        if self.asked.len() + self.news.len() >= MOST {
            return Revoking::Full;
        }
        self.asked.push(Revoke { grant: Arc::clone(grant), due, unproven: false });
        Revoking::Asked
    }

    fn position(&self, epoch: u64) -> Option<usize> {
        self.asked.iter().position(|one| one.grant.epoch == epoch)
    }

    /// The peer uses the grant no more. Where the channel is `over` this side has fenced it, and his word is the proof.
    pub(crate) fn acknowledged(&mut self, epoch: u64, over: bool, upkeep: &Upkeep) {
        if let Some(at) = self.position(epoch) {
            let gone = self.asked.swap_remove(at);
            if gone.unproven {
                upkeep.free(gone.grant.size());
            }
            self.news.push_back((epoch, if over { Revoked::Fenced } else { Revoked::Acknowledged }));
        }
    }

    /// The channel is down on this side; `shut_out`: nothing of the peer's comes through any more.
    pub(crate) fn channel_ended(&mut self, shut_out: bool, upkeep: &Upkeep) {
        if !shut_out {
            for one in self.asked.iter_mut().filter(|one| !one.unproven) {
                one.unproven = true;
                upkeep.keep(one.grant.size());
                self.news.push_back((one.grant.epoch, Revoked::Unproven));
            }
            return;
        }
        for one in self.asked.drain(..) {
            if one.unproven {
                upkeep.free(one.grant.size());
            }
            self.news.push_back((one.grant.epoch, Revoked::Fenced));
        }
    }

    /// Whether a revoke of this grant is unproven.
    pub(crate) fn is_unproven(&self, epoch: u64) -> bool {
        self.position(epoch).is_some_and(|at| self.asked[at].unproven)
    }

    /// Its memory was put aside: the peer reaches nothing of this side's any more.
    pub(crate) fn put_aside(&mut self, epoch: u64, upkeep: &Upkeep) {
        if let Some(at) = self.position(epoch).filter(|&at| self.asked[at].unproven) {
            upkeep.free(self.asked.swap_remove(at).grant.size());
            self.news.push_back((epoch, Revoked::Fenced));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Audience, backend::Reaper};

    #[test]
    fn asking_again_before_the_answer_is_handed_out_is_asking_once() {
        let upkeep = Upkeep::new(Reaper::start().unwrap());
        let grant = Arc::new(GrantInner { epoch: 7, audience: Audience::Anyone, regions: Vec::new() });
        let mut revokes = Revokes::default();
        for over in [false, true] {
            assert_eq!(revokes.ask(&grant, Instant::now()), Revoking::Asked);
            if over {
                revokes.channel_ended(true, &upkeep);
            } else {
                revokes.acknowledged(7, false, &upkeep);
            }
            assert_eq!(revokes.ask(&grant, Instant::now()), Revoking::Asked);
            revokes.channel_ended(true, &upkeep);
            assert!(revokes.next_news().is_some());
            assert_eq!(revokes.next_news(), None, "one answer");
        }
        assert!(revokes.none());
    }
}
