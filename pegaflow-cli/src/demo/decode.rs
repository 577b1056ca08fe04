//! The decode side: grants its pages, says which, sees each layer's count, and verifies every block.

use std::time::Instant;

use pegaflow::{Access, Audience, Counter, Port, Region, Session};
use serde::{Deserialize, Serialize};

use super::{
    Job,
    contents::{Which, checksum},
    keys,
    line::{Line, PATIENCE, Word, cpu_seconds},
    phase::Phase,
    pool::Pool,
};
use crate::{
    Failure,
    nodes::{self, Progress},
};

/// What pages are filled with before each round, so that nothing of an earlier one can pass for this one's.
const POISON: u8 = 0xa5;

/// What the decode side measured and found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Decoded {
    /// From asking for the layers to the first one's count, in this side's clock, without compute; by round.
    pub(crate) first_layer_us: Vec<f64>,
    /// To the last layer's count.
    pub(crate) last_layer_us: Vec<f64>,
    /// Blocks whose checksum was right, over all rounds.
    pub(crate) verified_blocks: u64,
    /// The first that was not.
    pub(crate) wrong: Option<Wrong>,
    /// Processor time while waiting for the transfers that are not behind compute.
    pub(crate) cpu_seconds: f64,
}

/// A block that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wrong {
    pub(crate) round: u32,
    pub(crate) layer: u32,
    pub(crate) plane: u32,
    pub(crate) block: u32,
    pub(crate) page: u32,
    /// First byte that differs, within the block.
    pub(crate) byte: usize,
    pub(crate) expected: u8,
    pub(crate) got: u8,
}

pub(crate) fn run(session: &Session, job: &Job) -> Result<Decoded, Failure> {
    let pool = Pool::new(session, job)?;
    let mut line = Line::open(session, &job.prefill)?;
    let grant = session.node().grant(&pool.windows(), Access::WRITE, Audience::Channel(line.channel))?;
    let counters = (0..job.model.layers)
        .map(|_| line.port.counter(line.channel)?.ok_or_else(|| "no counter is free: raise class.kv.counters".into()))
        .collect::<Result<Vec<Counter>, Failure>>()?;
    let ids: Vec<u32> = counters.iter().map(|counter| counter.id().to_bits()).collect();
    session.publish(keys::COUNTERS, serde_json::to_vec(&ids)?)?;
    session.publish(keys::GRANT, grant.as_bytes())?;
    line.say(&Word::Open)?;
    let mut random = fastrand::Rng::with_seed(job.seed ^ 0xdec0de);
    let mut done = Decoded {
        first_layer_us: Vec::new(),
        last_layer_us: Vec::new(),
        verified_blocks: 0,
        wrong: None,
        cpu_seconds: 0.0,
    };
    let maps = session.node().capabilities().maps_peer_memory;
    let mut transfers = 0;
    'rounds: for round in 0..job.rounds {
        let pages = super::scattered(pool.pages(), job.blocks(), &mut random)?;
        session.publish(keys::PAGES, serde_json::to_vec(&pages)?)?;
        line.say(&Word::Pages)?;
        line.hear(&Word::Filled)?;
        for phase in job.phases(round, maps) {
            pool.for_each(job, round, &pages, |_, region, offset, buffer| {
                buffer.fill(POISON);
                Ok(region.write(offset, buffer)?)
            })?;
            if phase == Phase::Copy {
                line.say(&Word::Ready)?;
                line.hear(&Word::Copied)?;
            } else {
                let cpu = cpu_seconds();
                let (first, last) = await_layers(session, job, &mut line, &counters, transfers)?;
                transfers += 1;
                if phase == Phase::Transfer {
                    done.first_layer_us.push(first);
                    done.last_layer_us.push(last);
                    done.cpu_seconds += cpu_seconds() - cpu;
                }
                if let Some((layer, block)) = job.corrupt {
                    flip(&pool, layer, *pages.get(block as usize).ok_or("--corrupt names no block of the prompt")?)?;
                }
            }
            verify(job, &pool, round, &pages, phase != Phase::Copy, &mut done)?;
            if done.wrong.is_some() {
                break 'rounds;
            }
        }
    }
    if done.wrong.is_none() {
        line.say(&Word::Over)?;
    }
    line.close()?;
    Ok(done)
}

/// Asks for the layers, of which `transfers` have come before, and waits for each one's count; gives when the first and
/// the last came, in microseconds.
fn await_layers(
    session: &Session,
    job: &Job,
    line: &mut Line,
    counters: &[Counter],
    transfers: u64,
) -> Result<(f64, f64), Failure> {
    let start = Instant::now();
    line.say(&Word::Ready)?;
    let (mut first, mut last) = (f64::NAN, f64::NAN);
    for (layer, counter) in (0..).zip(counters) {
        let until = Instant::now() + PATIENCE;
        while counter.value() <= transfers {
            line.step(until)?;
        }
        last = start.elapsed().as_secs_f64() * 1e6;
        if layer == 0 {
            first = last;
        }
        let layers_done = transfers * u64::from(job.model.layers) + layer + 1;
        let progress = Progress { id: job.id.clone(), done: layers_done };
        session.publish(nodes::keys::PROGRESS, serde_json::to_vec(&progress)?)?;
    }
    Ok((first, last))
}

fn verify(job: &Job, pool: &Pool, round: u32, pages: &[u32], counts: bool, done: &mut Decoded) -> Result<(), Failure> {
    let mut expected = vec![0; usize::try_from(job.block_bytes())?];
    let mut check = |which: Which, region: &Region, offset: u64, got: &mut [u8]| {
        region.read(offset, got)?;
        which.fill(&mut expected);
        if checksum(got) == checksum(&expected) {
            done.verified_blocks += u64::from(counts);
        } else if done.wrong.is_none() {
            let byte = got.iter().zip(&expected).position(|(a, b)| a != b).unwrap_or(0);
            let Which { layer, plane, block, .. } = which;
            let page = pages[block as usize];
            done.wrong =
                Some(Wrong { round, layer, plane, block, page, byte, expected: expected[byte], got: got[byte] });
        }
        Ok(())
    };
    pool.for_each(job, round, pages, &mut check)
}

fn flip(pool: &Pool, layer: u32, page: u32) -> Result<(), Failure> {
    let (region, offset, mut byte) = (pool.region(layer), pool.offset(0, page), [0]);
    region.read(offset, &mut byte)?;
    byte[0] ^= 1;
    Ok(region.write(offset, &byte)?)
}
