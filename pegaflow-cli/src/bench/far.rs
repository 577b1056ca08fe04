//! The side that is only there: it says when it is ready, answers, and compares what it was sent.

use pegaflow::Session;

use super::{
    end::End,
    job::{Job, Op, Slice, Word},
    ping::Ping,
    pool::Lists,
    rival,
};
use crate::{Failure, line::cpu_seconds};

pub(super) fn run(session: &Session, job: &Job) -> Result<(), Failure> {
    let mut rival = job.rival.map(|rival| rival::Far::new(session, job, rival)).transpose()?;
    let mut end = End::open(session, job)?;
    // The same lists as the near side's, where they are needed.
    let mut lists = Lists::new(job, 1);
    let (mut first, mut ping) = (0, Ping::new(job));
    loop {
        match end.line.next_word()? {
            Word::Begin(transfers) => {
                let ids = if job.verify && job.op.moves() { lists.fresh(transfers)? } else { &[] };
                if job.op == Op::Read {
                    end.pool.fill(job, first, ids)?;
                }
                let idle = std::mem::replace(&mut end.line.waiter, job.waiter());
                let begun = cpu_seconds();
                end.line.say(&Word::Begun)?;
                let verified = ping.verified;
                if !job.op.moves() {
                    ping.answer(&mut end, job, transfers)?;
                }
                end.line.hear(&Word::End)?;
                let mut said = Slice {
                    cpu_seconds: cpu_seconds() - begun,
                    counted: end.counter.value(),
                    verified: ping.verified - verified,
                    wrong: ping.wrong.take(),
                };
                end.line.waiter = idle;
                if job.op == Op::Write {
                    (said.verified, said.wrong) = end.pool.check(job, first, ids)?;
                }
                first += transfers;
                end.line.say(&Word::Ended(said))?;
            }
            Word::Rival(transfers) => {
                let rival = rival.as_mut().ok_or("the job has no rival")?;
                rival.slice(session, &mut end, job, transfers)?;
            }
            Word::Over => return end.line.close(),
            other => return Err(format!("the peer is out of step: {other:?}").into()),
        }
    }
}
