//! The side that moves and measures: slices of its own and the rival's, in turn.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pegaflow::Session;
use serde::{Deserialize, Serialize};

use super::{
    end::End,
    job::{Job, Op, Word},
    moving,
    ping::Ping,
    pool::Lists,
    rival::{self, micros},
};
use crate::{
    Failure,
    line::cpu_seconds,
    nodes::{Progress, keys},
};

/// A slice shorter than this says little.
const SHORTEST: Duration = Duration::from_millis(4);
/// Slices that the time is cut into at least, where they are not shorter than that.
const SLICES: f64 = 16.0;
/// Rounds, where each starts programs.
const ROUNDS_OF_PROGRAMS: f64 = 6.0;
/// Rounds there and back in a slice at most.
const MOST_PINGS: u64 = 1 << 20;
/// How often the progress is told.
const TELL: Duration = Duration::from_millis(100);

/// What was measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Measured {
    /// Ours, by round: seconds of the slices, and the median latency.
    pub(super) seconds: Vec<f64>,
    pub(super) median_us: Vec<f64>,
    /// The rival's, by round: seconds, or its median latency in microseconds.
    pub(super) rival: Vec<f64>,
    /// Transfers of one round.
    pub(super) round: u64,
    /// Of all rounds.
    pub(super) transfers: u64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    /// Processor time of both sides during our slices.
    pub(super) cpu_seconds: f64,
    pub(super) verified: u64,
}

pub(super) fn run(session: &Session, job: &Job) -> Result<Measured, Failure> {
    let end = End::open(session, job)?;
    let rival = job.rival.map(|rival| rival::Near::new(session, job, rival)).transpose()?;
    let mut near = Near {
        session,
        job,
        end,
        here: Lists::new(job, 0),
        there: Lists::new(job, 1),
        ping: Ping::new(job),
        begun: Vec::new(),
        slice: moving::histogram()?,
        counted: 0,
        first: 0,
        done: Measured::default(),
    };
    let measured = near.measure(rival)?;
    // After an error the other side may be gone.
    if measured.errors == 0 {
        near.end.line.say(&Word::Over)?;
        near.end.line.close()?;
    }
    Ok(measured)
}

struct Near<'a> {
    session: &'a Session,
    job: &'a Job,
    end: End,
    here: Lists,
    there: Lists,
    ping: Ping,
    begun: Vec<Instant>,
    /// Latencies of a round.
    slice: Histogram<u64>,
    /// What the far side's counter has to say.
    counted: u64,
    /// Number of the next transfer.
    first: u64,
    done: Measured,
}

impl Near<'_> {
    fn measure(&mut self, mut rival: Option<rival::Near>) -> Result<Measured, Failure> {
        let job = self.job;
        let (transfers, mut slices) = self.warm_up()?;
        if self.done.errors > 0 {
            return Ok(std::mem::take(&mut self.done));
        }
        if let Some(rival) = &mut rival {
            rival.slice(self.session, &mut self.end, job, transfers)?;
        }
        // A program takes its time to start: a pair is worth it when it is long.
        if job.rival.is_none_or(|rival| rival::program(rival, job.op).is_none()) {
            slices = 1;
        }
        self.done = Measured { round: transfers * slices, ..Measured::default() };
        let mut latency = self.slice.clone();
        latency.reset();
        let (mut total, mut told) = (0.0, Instant::now());
        'rounds: while total < job.seconds {
            let even = self.done.seconds.len().is_multiple_of(2);
            for ours in [even, !even] {
                if ours {
                    self.slice.reset();
                    let mut seconds = 0.0;
                    for _ in 0..slices {
                        seconds += self.slice(transfers)?;
                        if self.done.errors > 0 {
                            break 'rounds;
                        }
                    }
                    total += seconds;
                    self.done.seconds.push(seconds);
                    self.done.median_us.push(micros(&self.slice, 0.5));
                    latency.add(&self.slice)?;
                } else if let Some(rival) = &mut rival {
                    let figure = rival.slice(self.session, &mut self.end, job, transfers * slices)?;
                    self.done.rival.push(figure);
                }
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                let done = Duration::from_secs_f64(total).as_millis();
                let progress = Progress { id: job.id.clone(), done: u64::try_from(done)? };
                self.session.publish(keys::PROGRESS, serde_json::to_vec(&progress)?)?;
            }
        }
        self.done.p50_us = micros(&latency, 0.5);
        self.done.p99_us = micros(&latency, 0.99);
        self.done.p999_us = micros(&latency, 0.999);
        Ok(std::mem::take(&mut self.done))
    }

    /// Runs slices until one is long enough to tell how many transfers make one, and how many of those a round where that
    /// is to be long. Touches everything once.
    fn warm_up(&mut self) -> Result<(u64, u64), Failure> {
        let job = self.job;
        let most = if job.op.moves() { job.transfers_in_pool() } else { MOST_PINGS };
        let wanted = Duration::from_secs_f64(job.seconds / SLICES).clamp(SHORTEST, Duration::from_millis(100));
        let mut transfers = u64::from(job.depth).min(most);
        // The first of all is slow, and tells nothing of the others.
        self.slice(transfers)?;
        while self.done.errors == 0 {
            let seconds = self.slice(transfers)?;
            let (wanted, least) = (wanted.as_secs_f64(), SHORTEST.as_secs_f64());
            if seconds >= least || transfers == most {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "rounded, and bounded below and above"
                )]
                let many = |times: f64, most: u64| (times.ceil() as u64).clamp(1, most);
                #[expect(clippy::cast_precision_loss, reason = "rounded")]
                let one = seconds / transfers as f64;
                let chosen = many(wanted / one, most).max(u64::from(job.depth).min(most));
                #[expect(clippy::cast_precision_loss, reason = "rounded")]
                let slices = many(job.seconds / ROUNDS_OF_PROGRAMS / (one * chosen as f64), 1 << 20);
                return Ok((chosen, slices));
            }
            transfers = (transfers * 2).min(most);
        }
        Ok((transfers, 1))
    }

    /// One of ours; gives its seconds. Where a transfer did not end done, that is noted, and the other side is not asked
    /// any more.
    fn slice(&mut self, transfers: u64) -> Result<f64, Failure> {
        let (job, end) = (self.job, &mut self.end);
        let (here, there): (&[u32], &[u32]) =
            if job.op.moves() { (self.here.fresh(transfers)?, self.there.fresh(transfers)?) } else { (&[], &[]) };
        if job.verify && job.op == Op::Write {
            end.pool.fill(job, self.first, here)?;
        }
        end.line.say(&Word::Begin(transfers))?;
        end.line.hear(&Word::Begun)?;
        let (begun, verified) = (cpu_seconds(), self.ping.verified);
        let time = if job.op.moves() {
            let moved = moving::slice(end, job, (here, there), &mut self.begun, &mut self.slice)?;
            self.done.errors += moved.errors;
            self.done.transfers += moved.done;
            self.done.first_error = self.done.first_error.take().or(moved.first_error);
            self.counted += moved.done;
            if moved.errors > 0 {
                return Ok(moved.time.as_secs_f64());
            }
            moved.time
        } else {
            let time = self.ping.begin(end, job, transfers, &mut self.slice)?;
            self.done.transfers += transfers;
            self.counted += if job.op == Op::Count { transfers } else { 0 };
            time
        };
        self.done.cpu_seconds += cpu_seconds() - begun;
        end.line.say(&Word::End)?;
        let Word::Ended(far) = end.line.next_word()? else { return Err("the peer is out of step".into()) };
        self.done.cpu_seconds += far.cpu_seconds;
        if far.counted != self.counted {
            return Err(
                format!("the peer's counter is at {}, {} transfers were done", far.counted, self.counted).into()
            );
        }
        let mut wrong = far.wrong.or(self.ping.wrong.take());
        let mut right = far.verified + self.ping.verified - verified;
        if job.verify && job.op == Op::Read {
            (right, wrong) = end.pool.check(job, self.first, here)?;
        }
        if let Some(wrong) = wrong {
            return Err(wrong.into());
        }
        self.done.verified += right;
        self.first += transfers;
        Ok(time.as_secs_f64())
    }
}
