//! A slice of writes or reads: so many transfers, some in flight at once, each timed from submit to end.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pegaflow::{Event, Outcome, State};

use super::{end::End, job::Job};
use crate::{Failure, line::PATIENCE};

/// What a slice came to.
pub(super) struct Moved {
    pub(super) time: Duration,
    pub(super) done: u64,
    /// How those ended that were not done: how many, and the first.
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
}

/// When transfers are to start, one after the other; `None` as soon as there is room.
pub(super) fn interval(job: &Job) -> Option<Duration> {
    job.rate.map(|rate| Duration::from_secs_f64(1.0 / rate))
}

/// Moves the blocks of `here` and `there`, whose lists lie one behind the other. `begun` is room for their start times.
pub(super) fn slice(
    end: &mut End,
    job: &Job,
    (here, there): (&[u32], &[u32]),
    begun: &mut Vec<Instant>,
    latency: &mut Histogram<u64>,
) -> Result<Moved, Failure> {
    let (blocks, interval, waiter) = (job.blocks as usize, interval(job), job.waiter());
    let lists = here.chunks_exact(blocks).zip(there.chunks_exact(blocks));
    let (transfers, depth) = (lists.len(), job.depth as usize);
    begun.clear();
    begun.reserve(transfers);
    let (mut lists, mut next, mut ended) = (lists, None, 0);
    let mut moved = Moved { time: Duration::ZERO, done: 0, errors: 0, first_error: None };
    let (mut events, mut up) = ([Event::NONE; 64], true);
    let start = Instant::now();
    while ended < if up { transfers } else { begun.len() } {
        let mut wait = None;
        while up && begun.len() < transfers && begun.len() - ended < depth {
            let Some(list) = next.take().or_else(|| lists.next()) else { break };
            let mut now = Instant::now();
            if let (Some(interval), Ok(before)) = (interval, u32::try_from(begun.len())) {
                let due = start + interval * before;
                if due > now {
                    (next, wait) = (Some(list), Some(due));
                    break;
                }
                // It counts from when it should have begun, whatever held it up.
                now = due;
            }
            match end.submit(list, Instant::now() + PATIENCE, begun.len() as u64) {
                Ok(true) => begun.push(now),
                Ok(false) => {
                    next = Some(list);
                    break;
                }
                // It has ended, and what was in flight is told so.
                Err(_) if !end.is_up() => up = false,
                Err(error) => return Err(error),
            }
        }
        let count = waiter.wait(&mut end.line.port, &mut events, wait.unwrap_or_else(|| Instant::now() + PATIENCE));
        if count == 0 && wait.is_none() {
            return Err(format!("no transfer has ended within {PATIENCE:?}").into());
        }
        for event in &events[..count] {
            match *event {
                Event::Ended { tag, outcome, .. } if let Some(begun) = index(begun, tag) => {
                    ended += 1;
                    if outcome == Outcome::Done {
                        moved.done += 1;
                        latency.saturating_record(nanoseconds(begun.elapsed()));
                    } else {
                        moved.errors += 1;
                        moved.first_error.get_or_insert_with(|| ended_otherwise(outcome));
                    }
                }
                Event::Channel { state: State::Broken(_) | State::Closed, .. } => up = false,
                ref other => end.line.take(std::slice::from_ref(other))?,
            }
        }
    }
    moved.time = start.elapsed();
    if !up && moved.errors == 0 {
        // Between two transfers; the next one would have failed.
        (moved.errors, moved.first_error) = (1, Some("the channel ended with the peer".to_owned()));
    }
    Ok(moved)
}

fn ended_otherwise(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(cause) => format!("a transfer failed: {cause}"),
        Outcome::DeadlinePassed => format!("a transfer was not done within {PATIENCE:?}"),
        Outcome::Done | Outcome::Cancelled => format!("a transfer ended {outcome:?}"),
    }
}

/// For latencies in nanoseconds, up to an hour, in fixed memory.
pub(super) fn histogram() -> Result<Histogram<u64>, Failure> {
    Ok(Histogram::new_with_bounds(1, 3_600_000_000_000, 3)?)
}

fn index(begun: &[Instant], tag: u64) -> Option<Instant> {
    begun.get(usize::try_from(tag).ok()?).copied()
}

/// At least 1, which is the least that a histogram has.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
}
