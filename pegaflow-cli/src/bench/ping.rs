//! There and back: counts, or messages alone.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pegaflow::{Event, Outcome, Port, Submitted};

use super::{
    contents,
    end::End,
    job::{Job, Op},
    moving::{interval, nanoseconds},
};
use crate::{Failure, line::PATIENCE};

/// One side's part in it.
pub(super) struct Ping {
    /// Rounds so far.
    number: u64,
    /// What is sent, and room for what is expected.
    message: Vec<u8>,
    expected: Vec<u8>,
    /// What was right.
    pub(super) verified: u64,
    pub(super) wrong: Option<String>,
}

impl Ping {
    pub(super) fn new(job: &Job) -> Self {
        let message = vec![0; if job.op == Op::Message { job.block_bytes as usize } else { 0 }];
        Self { number: 0, expected: message.clone(), message, verified: 0, wrong: None }
    }

    /// So many rounds, from the side that begins them; half of each one's time goes to `latency`.
    pub(super) fn begin(
        &mut self,
        end: &mut End,
        job: &Job,
        rounds: u64,
        latency: &mut Histogram<u64>,
    ) -> Result<Duration, Failure> {
        let start = Instant::now();
        let interval = interval(job);
        for round in 0..rounds {
            let mut begun = Instant::now();
            if let (Some(interval), Ok(before)) = (interval, u32::try_from(round)) {
                let due = start + interval * before;
                while Instant::now() < due {
                    let mut events = [Event::NONE; 16];
                    let count = job.waiter().wait(&mut end.line.port, &mut events, due);
                    end.line.take(&events[..count])?;
                }
                begun = due;
            }
            self.there(end, job, true)?;
            self.back(end, job, false)?;
            latency.saturating_record(nanoseconds(begun.elapsed() / 2));
            self.number += 1;
        }
        Ok(start.elapsed())
    }

    /// As many, from the side that answers.
    pub(super) fn answer(&mut self, end: &mut End, job: &Job, rounds: u64) -> Result<(), Failure> {
        for _ in 0..rounds {
            self.back(end, job, true)?;
            self.there(end, job, false)?;
            self.number += 1;
        }
        Ok(())
    }

    /// Lets one go.
    fn there(&mut self, end: &mut End, job: &Job, ping: bool) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        if job.op == Op::Message && job.verify {
            contents::fill(job.seed, self.number, ping.into(), &mut self.message);
        }
        loop {
            let accepted = match job.op {
                Op::Message => {
                    let sent = end.line.port.send(end.line.channel, &self.message, deadline, self.number)?;
                    matches!(sent, Submitted::Accepted(_))
                }
                _ => end.submit((&[], &[]), deadline, self.number)?,
            };
            if accepted {
                return Ok(());
            }
            end.line.step(deadline)?;
        }
    }

    /// Waits for the other side's.
    fn back(&mut self, end: &mut End, job: &Job, ping: bool) -> Result<(), Failure> {
        let (until, waiter) = (Instant::now() + PATIENCE, job.waiter());
        let mut events = [Event::NONE; 16];
        loop {
            if job.op == Op::Count && end.counter.value() > self.number {
                self.compare(job, end.counter.value() == self.number + 1, "a count");
                return Ok(());
            }
            let count = waiter.wait(&mut end.line.port, &mut events, until);
            if count == 0 {
                return Err(format!("nothing from the peer within {PATIENCE:?}").into());
            }
            let mut came = false;
            for event in &events[..count] {
                match *event {
                    Event::Message { slot, .. } if job.op == Op::Message && !came => {
                        came = true;
                        let message = end.line.port.message(slot)?;
                        let mut right = message.len() == self.expected.len();
                        if job.verify {
                            contents::fill(job.seed, self.number, ping.into(), &mut self.expected);
                            right = message == self.expected;
                        }
                        end.line.port.release(slot)?;
                        self.compare(job, right, "a message");
                    }
                    Event::Ended { outcome: Outcome::Done, .. } => {}
                    ref other => end.line.take(std::slice::from_ref(other))?,
                }
            }
            if came {
                return Ok(());
            }
        }
    }

    fn compare(&mut self, job: &Job, right: bool, what: &str) {
        let flip = job.corrupt.is_some_and(|(round, _)| u64::from(round) == self.number);
        if right && !flip {
            self.verified += u64::from(job.verify);
        } else if self.wrong.is_none() {
            self.wrong = Some(format!("{what} that is not what was sent: the one of round {}", self.number));
        }
    }
}
