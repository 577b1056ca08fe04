//! One side's port and channel while two nodes work together, with the few messages that keep both in step.

use std::{
    collections::VecDeque,
    fmt::Debug,
    time::{Duration, Instant},
};

use pegaflow::metrics::Recorder;
use pegaflow::{ChannelId, Class, Event, Outcome, Poller, Port, Session, State, Submitted, Waiter};
use serde::{Serialize, de::DeserializeOwned};

use crate::Failure;

/// How long either side waits for the other, and every transfer's deadline.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The error of a side that the other has left.
pub(crate) const PEER_CLOSED: &str = "the peer closed the channel";

/// What the sides say to each other: short enough for a message of the smallest bound.
pub(crate) trait Word: Debug + PartialEq + Serialize + DeserializeOwned {}

impl<T: Debug + PartialEq + Serialize + DeserializeOwned> Word for T {}

pub(crate) struct Line<W> {
    pub(crate) port: Poller<Recorder>,
    pub(crate) channel: ChannelId,
    /// How this side waits for what it hears.
    pub(crate) waiter: Waiter,
    words: VecDeque<W>,
    /// Batches that have ended, all of them done.
    pub(crate) ended: u64,
    state: State,
}

/// Tags of words; batches have smaller ones.
const WORD_TAG: u64 = u64::MAX;

impl<W: Word> Line<W> {
    pub(crate) fn open(session: &Session, peer: &str) -> Result<Self, Failure> {
        let mut port = session.node().port(session.metrics().recorder())?;
        let channel = session.connect(&mut port, peer, Class::Kv)?;
        let state = port.state(channel).unwrap_or(State::Closed);
        let (words, ended) = (VecDeque::new(), 0);
        Ok(Self { port, channel, waiter: session.waiter(), words, ended, state })
    }

    pub(crate) fn say(&mut self, word: &W) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let word = serde_json::to_vec(word)?;
        loop {
            match self.port.send(self.channel, &word, deadline, WORD_TAG)? {
                Submitted::Accepted(_) => return Ok(()),
                Submitted::Full(_) => self.step(deadline)?,
                Submitted::Revoked => return Err("a message names no memory that could be taken back".into()),
            }
        }
    }

    pub(crate) fn hear(&mut self, expected: &W) -> Result<(), Failure> {
        match self.next_word()? {
            word if word == *expected => Ok(()),
            other => Err(format!("the peer said {other:?}, expected {expected:?}").into()),
        }
    }

    /// The peer's next word, waited for.
    pub(crate) fn next_word(&mut self) -> Result<W, Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(word) = self.words.pop_front() {
                return Ok(word);
            }
            self.step(until)?;
        }
    }

    /// Moves on until something happened. An end that is not `Done`, a channel that is not up any more, and no sign of
    /// life until `until` are errors.
    pub(crate) fn step(&mut self, until: Instant) -> Result<(), Failure> {
        let mut events = [Event::NONE; 64];
        let count = self.waiter.wait(&mut self.port, &mut events, until);
        if count == 0 {
            return Err(format!("nothing from the peer within {PATIENCE:?}").into());
        }
        self.take(&events[..count])
    }

    /// Moves on until `until` has come, whatever happens before.
    pub(crate) fn pass(&mut self, until: Instant) -> Result<(), Failure> {
        let mut events = [Event::NONE; 64];
        while Instant::now() < until {
            let count = self.waiter.wait(&mut self.port, &mut events, until);
            self.take(&events[..count])?;
        }
        Ok(())
    }

    /// Moves on without waiting.
    pub(crate) fn poll(&mut self) -> Result<(), Failure> {
        let mut events = [Event::NONE; 64];
        let count = self.port.poll(&mut events);
        self.take(&events[..count])
    }

    /// Takes what happened, as [`step`](Self::step) does.
    pub(crate) fn take(&mut self, events: &[Event]) -> Result<(), Failure> {
        for event in events {
            match *event {
                Event::Ended { tag, outcome: Outcome::Done, .. } if tag == WORD_TAG => {}
                Event::Ended { outcome: Outcome::Done, .. } => self.ended += 1,
                Event::Ended { outcome: Outcome::Failed(cause), .. } => {
                    return Err(format!("a transfer failed: {cause}").into());
                }
                Event::Ended { outcome, .. } => return Err(format!("a transfer ended {outcome:?}").into()),
                Event::Message { slot, .. } => {
                    let word = serde_json::from_slice(self.port.message(slot)?);
                    self.words.push_back(word.map_err(|error| format!("a message that is no word: {error}"))?);
                    self.port.release(slot)?;
                }
                Event::Channel { state, .. } => self.state = state,
                _ => {}
            }
        }
        match self.state {
            State::Broken(cause) => Err(format!("the channel broke: {cause}").into()),
            // What came before the end still counts.
            State::Closed if self.words.is_empty() => Err(PEER_CLOSED.into()),
            _ => Ok(()),
        }
    }

    /// Closes the channel, and waits until it is.
    pub(crate) fn close(mut self) -> Result<(), Failure> {
        self.port.close(self.channel)?;
        let until = Instant::now() + PATIENCE;
        while !matches!(self.state, State::Closed | State::Broken(_)) && Instant::now() < until {
            let mut events = [Event::NONE; 64];
            let count = self.waiter.wait(&mut self.port, &mut events, until);
            for event in &events[..count] {
                if let Event::Channel { state, .. } = *event {
                    self.state = state;
                }
            }
        }
        Ok(())
    }
}

/// Processor time of this process so far.
pub(crate) fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default().as_secs_f64()
}
