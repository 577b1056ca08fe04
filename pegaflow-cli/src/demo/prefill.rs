//! The prefill side: fills its pages, writes them layer by layer, and copies as many with plain memcpy in turn.

use std::time::{Duration, Instant};

use pegaflow::{Batch, CounterId, Op, Plan, Port, Remote, Session, Submitted, Then};
use serde::{Deserialize, Serialize};

use super::{
    Job, keys,
    limit::{self, Sides},
    line::{Line, PATIENCE, Word, cpu_seconds},
    phase::Phase,
    pool::Pool,
};
use crate::Failure;

/// What the prefill side measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Prefilled {
    /// Seconds from the first submit to the last end, by round.
    pub(crate) seconds: Vec<f64>,
    /// Seconds from the begin of the first layer's compute to the last end, by round; empty without compute.
    pub(crate) overlapped_seconds: Vec<f64>,
    /// Seconds of the plain copy, by round; empty where the peer's memory is not mapped.
    pub(crate) copy_seconds: Vec<f64>,
    /// From a layer's first move to its end.
    pub(crate) layer_p50_us: f64,
    pub(crate) layer_p99_us: f64,
    /// Processor time during the transfers that are not behind compute.
    pub(crate) cpu_seconds: f64,
    /// As the port's recorder counted them.
    pub(crate) bytes: u64,
}

pub(crate) fn run(session: &Session, job: &Job) -> Result<Prefilled, Failure> {
    let pool = Pool::new(session, job)?;
    let mut line = Line::open(session, &job.decode)?;
    line.hear(&Word::Open)?;
    let remote = session.import(line.channel, &job.decode, keys::GRANT)?;
    let counters: Vec<u32> = serde_json::from_slice(&session.fetch(&job.decode, keys::COUNTERS)?)?;
    if counters.len() != job.model.layers as usize {
        return Err(format!("{} counters came, {} are expected", counters.len(), job.model.layers).into());
    }
    let plan = session.node().plan(Op::Write, (&pool.windows(), pool.shape()), (&remote, pool.shape()))?;
    let mut random = fastrand::Rng::with_seed(job.seed ^ 0x5eed);
    let mut done = Prefilled {
        seconds: Vec::new(),
        overlapped_seconds: Vec::new(),
        copy_seconds: Vec::new(),
        layer_p50_us: 0.0,
        layer_p99_us: 0.0,
        cpu_seconds: 0.0,
        bytes: 0,
    };
    for round in 0..job.rounds {
        line.hear(&Word::Pages)?;
        let there: Vec<u32> = serde_json::from_slice(&session.fetch(&job.decode, keys::PAGES)?)?;
        let here = super::scattered(pool.pages(), job.blocks(), &mut random)?;
        pool.for_each(job, round, &here, |which, region, offset, buffer| {
            which.fill(buffer);
            Ok(region.write(offset, buffer)?)
        })?;
        line.say(&Word::Filled)?;
        for phase in job.phases(round, remote.mapped(0).is_some()) {
            line.hear(&Word::Ready)?;
            let lists = (&here[..], &there[..]);
            match phase {
                Phase::Copy => {
                    done.copy_seconds.push(copy(job, &pool, &remote, lists)?.as_secs_f64());
                    line.say(&Word::Copied)?;
                }
                Phase::Transfer => {
                    let cpu = cpu_seconds();
                    let time = write(job, &mut line, &plan, &counters, lists, None)?;
                    done.seconds.push(time.as_secs_f64());
                    done.cpu_seconds += cpu_seconds() - cpu;
                }
                Phase::Overlapped => {
                    let time = write(job, &mut line, &plan, &counters, lists, job.layer_time)?;
                    done.overlapped_seconds.push(time.as_secs_f64());
                }
            }
        }
    }
    line.hear(&Word::Over)?;
    let figures = line.port.subscriber().snapshot();
    if let Some(layers) = figures.times("pegaflow_posted_to_done_seconds", &[("op", "write")]) {
        (done.layer_p50_us, done.layer_p99_us) = (layers.p50_us, layers.p99_us);
    }
    done.bytes = figures.sum("pegaflow_bytes_total", &[]);
    line.close()?;
    Ok(done)
}

/// Writes every layer, each followed by one count, and each once its compute of `layer_time` has ended; gives the time
/// until the last has ended.
fn write(
    job: &Job,
    line: &mut Line,
    plan: &Plan,
    counters: &[u32],
    (here, there): (&[u32], &[u32]),
    layer_time: Option<Duration>,
) -> Result<Duration, Failure> {
    let start = Instant::now();
    let mut deadline = start + PATIENCE;
    let all = line.ended + u64::from(job.model.layers);
    for (layer, &counter) in (0..job.model.layers).zip(counters) {
        if let Some(time) = layer_time {
            // An engine computes on a GPU, whose queue goes on by itself while this thread polls: a layer is ready when it
            // is, however late the one before was noticed.
            let ready = start + time * (layer + 1);
            line.pass(ready)?;
            deadline = ready + PATIENCE;
        }
        let (in_layer, then) = (job.model.planes, Then::Count(CounterId::from_bits(counter)));
        let planes = in_layer * layer..in_layer * (layer + 1);
        let batch = Batch { plan, planes, here, there, then, deadline, tag: u64::from(layer) };
        loop {
            match line.port.submit(line.channel, &batch)? {
                Submitted::Accepted(_) => break,
                Submitted::Full(_) => line.step(deadline)?,
                Submitted::Revoked => return Err("the peer has taken its memory back".into()),
            }
        }
        line.poll()?;
    }
    while line.ended < all {
        line.step(deadline)?;
    }
    Ok(start.elapsed())
}

/// Copies the same lists between the same mappings with one thread's memcpy.
fn copy(job: &Job, pool: &Pool, remote: &Remote, (here, there): (&[u32], &[u32])) -> Result<Duration, Failure> {
    let mut sides = Vec::new();
    for layer in 0..job.model.layers {
        let to = remote.mapped(layer).ok_or("the peer's memory is not mapped")?;
        for plane in 0..job.model.planes {
            let plane = usize::try_from(pool.offset(plane, 0))?;
            sides.push(Sides { from: pool.region(layer).as_ptr().wrapping_add(plane), to: to.wrapping_add(plane) });
        }
    }
    Ok(limit::copy(pool, remote, &sides, usize::try_from(job.block_bytes())?, here, there))
}
