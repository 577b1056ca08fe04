//! Writes without end into memory that its owner will take back.

use pegaflow_core::{ApiMisuse, Batch, ChannelId, CounterId, Op, Plan, Port, Submitted, Then};

use crate::side::{PATIENCE, Side, far};

/// Writes under way at most.
const UNDER_WAY: u64 = 4;

pub(super) struct Storm {
    channel: ChannelId,
    plan: Plan,
    ids: Vec<u32>,
    counter: Option<CounterId>,
    submitted: u64,
    /// Ends when it began.
    before: u64,
    state: &'static str,
}

impl Storm {
    /// A grant of one window, of a whole number of blocks.
    pub(super) fn new(
        side: &mut Side,
        channel: ChannelId,
        grant: &[u8],
        (block_bytes, counter): (u32, Option<u32>),
    ) -> Self {
        let remote = side.node().import(channel, grant, PATIENCE).expect("an import");
        let bytes = remote.window_bytes(0).expect("a window");
        let blocks = u32::try_from(bytes / u64::from(block_bytes)).expect("few blocks");
        let region = side.allocate(bytes);
        region.write(0, &vec![0xaa; usize::try_from(bytes).expect("memory")]).expect("its whole");
        let plan = side.blocks(Op::Write, &region, &remote, block_bytes, blocks);
        let (ids, before) = ((0..blocks).collect(), side.log.ends.len() as u64);
        let counter = counter.map(CounterId::from_bits);
        Self { channel, plan, ids, counter, submitted: 0, before, state: "blowing" }
    }

    pub(super) fn state(&self) -> &'static str {
        self.state
    }

    pub(super) fn blow(&mut self, side: &mut Side) {
        let ended = side.log.ends.len() as u64 - self.before;
        while self.state == "blowing" && self.submitted - ended < UNDER_WAY {
            let then = self.counter.map_or(Then::Nothing, Then::Count);
            let (plan, ids, tag) = (&self.plan, self.ids.as_slice(), self.submitted);
            let batch = Batch { plan, planes: 0..1, here: ids, there: ids, then, deadline: far(), tag };
            match side.port().submit(self.channel, &batch) {
                Ok(Submitted::Accepted(_)) => self.submitted += 1,
                Ok(Submitted::Full(_)) => return,
                Ok(Submitted::Revoked) => self.state = "revoked",
                Err(ApiMisuse::NotUp { .. } | ApiMisuse::UnknownChannel(_)) => self.state = "over",
                Err(error) => panic!("{error}"),
            }
        }
    }
}
