//! How a device behaves beyond the rules, and what it saw.

use fastrand::Rng;

/// A chance that always comes true. Chances are counted in 1/65536.
pub const ALWAYS: u32 = 65536;

/// How a device behaves. Every number is off at 0, so a failing schedule is made smaller by setting numbers to 0. Two
/// devices with the same schedule that see the same calls in the same order do the same.
///
/// A *call* is any `post_send`, `post_recv` or `poll_cq` at the device or at a peer's; while a completion queue there is
/// armed and nobody calls, each millisecond counts as one, or sleepers would sleep for ever. So tests that run beside
/// each other, and want the same run again, have a device each.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Where all chances below come from.
    pub seed: u64,

    /// The deepest send or receive queue; 0: 16384.
    pub queue_max: u32,
    /// The most entries of a completion queue; 0: 4194303.
    pub completions_max: u32,
    /// The most bytes inline; 0: 220.
    pub inline_max: u32,
    /// The most ranges of a request; 0: 30.
    pub segments_max: u32,
    /// The most memory regions that a process may have at the device; 0: 32767.
    pub regions_max: u32,
    /// The most queue pairs that a process may have at the device; 0: 262144.
    pub pairs_max: u32,
    /// The port's LID: InfiniBand. 0: RoCE.
    pub lid: u32,
    /// Not 0: `ibv_reg_dmabuf_mr` takes any descriptor that can be mapped. 0: EOPNOTSUPP.
    pub dmabuf: u32,
    /// The most entries of a RoCE port's table of GIDs, the link-local one first; 0: 3, the last one empty.
    pub gids_max: u32,

    /// Each request waits for 0 to this many calls, once it is first of its queue pair. So requests of different queue
    /// pairs are carried out, and complete, in any order.
    pub late_calls: u32,
    /// What a read has read arrives 0 to this many calls later; requests after it without a fence don't wait, their
    /// completions do.
    pub late_reads: u32,
    /// Calls until a request to a peer that can't be reached fails with status 12; 0: at once.
    pub retry_calls: u32,
    /// Attempts until a request that found no receive fails with status 13, where the queue pair's `rnr_retry` is below
    /// 7; 0: `rnr_retry` + 1. One attempt a call.
    pub rnr_attempts: u32,

    /// Chance, for each `post_send`, that only some of the chain is taken (none, even) and the rest refused, ENOMEM.
    pub partial_posts: u32,
    /// Chance, for each `post_send`, that it is refused, EINVAL, with nothing taken.
    pub refused_posts: u32,
    /// Chance, for each completion event, that it is lost.
    pub lost_events: u32,
    /// Chance, for each completion event, that it comes twice.
    pub duplicate_events: u32,

    /// Lie, a chance for each write: its bytes come to their place `lie_calls` calls after its
    /// completion, its immediate and all that follows.
    pub late_landings: u32,
    /// Lie, a chance for each write that is not inline: its source is read `lie_calls` calls after
    /// its completion.
    pub late_sources: u32,
    /// Lie, a chance for each write with immediate: the peer never hears of it.
    pub lost_immediates: u32,
    /// Lie, a chance for each write with immediate: the peer hears of any other 32 bits.
    pub garbled_immediates: u32,
    /// Lie: of a write longer than this many bytes, the last quarter and the one before it change places. 0: off.
    pub displaced_over: u32,
    /// How many calls the late lies are late, the one that posts counted; 0: 16.
    pub lie_calls: u32,
    /// Not 0: no queue pair can be destroyed.
    pub kept_pairs: u32,
    /// Not 0: no memory region can be deregistered.
    pub kept_regions: u32,
    /// Not 0: what a queue pair has when it fails, and what it is given from then on, never completes.
    pub lost_flushes: u32,
}

/// What a device saw, through one context or all.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Send requests taken.
    pub requests: u64,
    /// Calls of `post_send`: doorbells.
    pub chains: u64,
    /// Send requests taken that were to make a completion.
    pub signalled: u64,
    /// Receive requests taken.
    pub receives: u64,
    /// Calls of `poll_cq`.
    pub polls: u64,
    /// Those that found nothing.
    pub empty_polls: u64,
    /// Bytes moved by send requests, either way.
    pub bytes: u64,
    /// Memory regions that are registered now.
    pub regions: u64,
    /// Queue pairs that there are now.
    pub pairs: u64,
    /// Completion queues that there are now.
    pub queues: u64,
}

impl Schedule {
    /// Whether requests are carried out as they are posted.
    pub(crate) fn is_prompt(&self) -> bool {
        self.late_calls == 0 && self.late_reads == 0
    }

    pub(crate) fn is_honest(&self) -> bool {
        let immediates = self.lost_immediates == 0 && self.garbled_immediates == 0;
        immediates && self.late_landings == 0 && self.late_sources == 0 && self.displaced_over == 0
    }

    pub(crate) fn queue_max(&self) -> u32 {
        or(self.queue_max, 16384)
    }

    pub(crate) fn completions_max(&self) -> u32 {
        or(self.completions_max, 4_194_303)
    }

    pub(crate) fn inline_max(&self) -> u32 {
        or(self.inline_max, 220)
    }

    pub(crate) fn segments_max(&self) -> u32 {
        or(self.segments_max, 30)
    }

    pub(crate) fn regions_max(&self) -> u32 {
        or(self.regions_max, 32767)
    }

    pub(crate) fn pairs_max(&self) -> u32 {
        or(self.pairs_max, 1 << 18)
    }

    pub(crate) fn lie_calls(&self) -> u32 {
        or(self.lie_calls, 16)
    }
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.chains += other.chains;
        self.signalled += other.signalled;
        self.receives += other.receives;
        self.polls += other.polls;
        self.empty_polls += other.empty_polls;
        self.bytes += other.bytes;
        self.regions += other.regions;
        self.pairs += other.pairs;
        self.queues += other.queues;
    }
}

/// Whether something with this chance happens now. What never happens costs no number, so that setting one chance to 0
/// leaves fewer draws, not others.
pub(crate) fn happens(chance: u32, random: &mut Rng) -> bool {
    chance != 0 && random.u32(0..ALWAYS) < chance
}

/// A number from 0 to `most`.
pub(crate) fn up_to(most: u32, random: &mut Rng) -> u32 {
    if most == 0 { 0 } else { random.u32(0..=most) }
}

fn or(value: u32, default: u32) -> u32 {
    if value == 0 { default } else { value }
}
