//! What either side sets up: its pool, its channel, and what it needs of the other.

use pegaflow::{
    Access, Audience, Batch, Counter, CounterId, Grant, Op as PlanOp, Plan, Port, Remote, Session, State, Submitted,
    Then,
};
use serde::{Deserialize, Serialize};

use super::{
    job::{Job, Op, Word},
    pool::Pool,
};
use crate::{Failure, line::Line};

/// On each side's board; read only once the other side has said that it is there.
const OFFER: &str = "bench/offer";

/// What one side gives the other.
#[derive(Serialize, Deserialize)]
struct Offer {
    grant: Vec<u8>,
    counter: u32,
}

/// One side of a bench, connected.
pub(super) struct End {
    pub(super) line: Line<Word>,
    pub(super) pool: Pool,
    /// The other side's pool; only where this side moves or counts.
    pub(super) over: Option<(Remote, Plan)>,
    /// What the other side counts on.
    pub(super) counter: Counter,
    pub(super) theirs: CounterId,
    _grant: Grant,
}

impl End {
    pub(super) fn open(session: &Session, job: &Job) -> Result<Self, Failure> {
        let near = session.name() == job.near;
        let peer = if near { &job.far } else { &job.near };
        let pool = Pool::new(session, job)?;
        let mut line = Line::open(session, peer)?;
        let access = if job.op == Op::Read { Access::READ } else { Access::WRITE };
        let grant = session.node().grant(&pool.windows(), access, Audience::Channel(line.channel))?;
        let counter = line.port.counter(line.channel)?.ok_or("no counter is free: raise class.kv.counters")?;
        let offer = Offer { grant: grant.as_bytes().to_vec(), counter: counter.id().to_bits() };
        session.publish(OFFER, serde_json::to_vec(&offer)?)?;
        line.say(&Word::Open)?;
        line.hear(&Word::Open)?;
        let offer: Offer = serde_json::from_slice(&session.fetch(peer, OFFER)?)?;
        let over = if (near && job.op != Op::Message) || job.op == Op::Count {
            let remote = session.node().import(line.channel, &offer.grant, session.patience())?;
            let what = if job.op == Op::Read { PlanOp::Read } else { PlanOp::Write };
            let plan = session.node().plan(what, (&pool.windows(), pool.shape()), (&remote, pool.shape()))?;
            Some((remote, plan))
        } else {
            None
        };
        Ok(Self { line, pool, over, counter, theirs: CounterId::from_bits(offer.counter), _grant: grant })
    }

    pub(super) fn remote(&self) -> Result<&Remote, Failure> {
        Ok(&self.over.as_ref().ok_or("this side has no memory of the other's")?.0)
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.line.port.state(self.line.channel), Some(State::Up { .. }))
    }

    /// Submits a batch over the plan, followed by a count at the other side; gives whether there was room.
    pub(super) fn submit(
        &mut self,
        lists: (&[u32], &[u32]),
        deadline: std::time::Instant,
        tag: u64,
    ) -> Result<bool, Failure> {
        let (_, plan) = self.over.as_ref().ok_or("this side has no memory of the other's")?;
        let (here, there) = lists;
        let batch = Batch { plan, planes: 0..1, here, there, then: Then::Count(self.theirs), deadline, tag };
        match self.line.port.submit(self.line.channel, &batch)? {
            Submitted::Accepted(_) => Ok(true),
            Submitted::Full(_) => Ok(false),
            Submitted::Revoked => Err("the peer has taken its memory back".into()),
        }
    }
}
