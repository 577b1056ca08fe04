//! What a broken device would do. Each lie is one that a test of a correct caller must notice.

use fastrand::Rng;

use crate::abi::*;
use crate::execute::{Outcome, copy, own, ranges, source};
use crate::memory;
use crate::numbers::IBV_WC_LOC_PROT_ERR;
use crate::queue_pair::Qp;
use crate::schedule::{Schedule, happens};

/// A queue pair's chances, and the copies that it owes.
pub(crate) struct Lies {
    pub(crate) random: Rng,
    owed: Vec<Owed>,
}

/// A copy that was told to be done.
struct Owed {
    /// Calls until it is done.
    calls: u32,
    from: From,
    key: u32,
    domain: usize,
    at: u64,
}

enum From {
    /// Bytes that were read in time.
    Bytes(Vec<u8>),
    /// Ranges of this domain, read late.
    Ranges(Vec<ibv_sge>, usize),
}

impl Lies {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed), owed: Vec::new() }
    }

    pub(crate) fn clear(&mut self) {
        self.owed.clear();
    }

    pub(crate) fn wait(&self) -> bool {
        !self.owed.is_empty()
    }

    pub(crate) fn loses_immediate(&mut self, schedule: &Schedule) -> bool {
        happens(schedule.lost_immediates, &mut self.random)
    }

    pub(crate) fn garbles_immediate(&mut self, schedule: &Schedule) -> Option<u32> {
        happens(schedule.garbled_immediates, &mut self.random).then(|| self.random.u32(..))
    }

    /// Does the copies whose time has come. With the send queue held, so regions stay.
    pub(crate) fn land(&mut self) {
        self.owed.retain_mut(|owed| {
            owed.calls = owed.calls.saturating_sub(1);
            if owed.calls == 0 {
                owed.pay();
            }
            owed.calls > 0
        });
    }
}

impl Owed {
    /// Copies; or does not, where a region is gone.
    fn pay(&self) {
        let bytes = match &self.from {
            From::Bytes(bytes) => bytes.clone(),
            From::Ranges(ranges, domain) => {
                let place = |range: &ibv_sge| memory::local(range.lkey, *domain, range.addr, range.length.into(), 0);
                match gather(ranges, |range| place(range).map(<*mut u8>::cast_const)) {
                    Some(bytes) => bytes,
                    None => return,
                }
            }
        };
        let access = IBV_ACCESS_REMOTE_WRITE;
        if let Some(to) = memory::remote(self.key, self.domain, self.at, bytes.len() as u64, access) {
            // SAFETY: the range was checked, and its region stays while the send queue is held.
            unsafe { copy(bytes.as_ptr(), to, bytes.len()) };
        }
    }
}

fn gather(ranges: &[ibv_sge], place: impl Fn(&ibv_sge) -> Option<*const u8>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for range in ranges.iter().filter(|range| range.length > 0) {
        let from = place(range)?;
        // SAFETY: `place` checks the range, and its region stays while the send queue is held.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(from, range.length as usize) });
    }
    Some(bytes)
}

/// Writes dishonestly, or says that it did not and leaves it to honest hands. `to` was checked.
#[cold]
pub(crate) fn write(qp: &Qp, peer: &Qp, request: &ibv_send_wr, lies: &mut Lies, to: *mut u8) -> Result<bool, Outcome> {
    let schedule = &qp.shared.schedule;
    let late_source = request.send_flags & IBV_SEND_INLINE == 0 && happens(schedule.late_sources, &mut lies.random);
    let late_landing = !late_source && happens(schedule.late_landings, &mut lies.random);
    let (ranges, length) = ranges(request);
    let displaced = schedule.displaced_over != 0 && length > u64::from(schedule.displaced_over) && length >= 4;
    if !(late_source || late_landing || displaced) {
        return Ok(false);
    }
    let Some(mut bytes) = gather(ranges, |range| source(qp, request, range)) else {
        return Err(own(IBV_WC_LOC_PROT_ERR));
    };
    let calls = schedule.lie_calls();
    let owed = |from| Owed { calls, from, key: request.rkey, domain: peer.domain, at: request.remote_addr };
    if late_source {
        lies.owed.push(owed(From::Ranges(ranges.to_vec(), qp.domain)));
        return Ok(true);
    }
    if displaced {
        let half = bytes.len() / 2;
        let tail = &mut bytes[half..];
        let quarter = tail.len() / 2;
        tail.rotate_left(quarter);
    }
    if late_landing {
        lies.owed.push(owed(From::Bytes(bytes)));
    } else {
        // SAFETY: the caller checked the target for this many bytes, and its region stays while the send queue is held.
        unsafe { copy(bytes.as_ptr(), to, bytes.len()) };
    }
    Ok(true)
}
