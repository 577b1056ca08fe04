//! Transfers without end: writes into memory that its owner will take back, reads of it, or messages.

use pegaflow_core::{ApiMisuse, Batch, ChannelId, CounterId, Op, Plan, Port, Submitted, Then};

use crate::side::{PATIENCE, Side, far, seeded};

/// Transfers under way at most.
const UNDER_WAY: u64 = 4;

/// What blows.
enum Kind {
    Moves { plan: Plan, ids: Vec<u32>, counter: Option<CounterId> },
    Messages,
}

pub(super) struct Storm {
    channel: ChannelId,
    kind: Kind,
    submitted: u64,
    /// Ends when it began.
    before: u64,
    state: &'static str,
}

/// What message `number` says: its number, and what follows of it.
pub(crate) fn call(number: u64) -> Vec<u8> {
    let mut bytes = seeded(number, 500);
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

impl Storm {
    /// A grant of one window, of a whole number of blocks.
    pub(super) fn new(
        side: &mut Side,
        channel: ChannelId,
        grant: &[u8],
        (block_bytes, counter): (u32, Option<u32>),
    ) -> Self {
        let counter = counter.map(CounterId::from_bits);
        Self::of_moves(side, channel, (Op::Write, grant), (block_bytes, counter))
    }

    /// As [`Storm::new`], the other way.
    pub(super) fn of_reads(side: &mut Side, channel: ChannelId, grant: &[u8], block_bytes: u32) -> Self {
        Self::of_moves(side, channel, (Op::Read, grant), (block_bytes, None))
    }

    fn of_moves(
        side: &mut Side,
        channel: ChannelId,
        (op, grant): (Op, &[u8]),
        (block_bytes, counter): (u32, Option<CounterId>),
    ) -> Self {
        let remote = side.node().import(channel, grant, PATIENCE).expect("an import");
        let bytes = remote.window_bytes(0).expect("a window");
        let blocks = u32::try_from(bytes / u64::from(block_bytes)).expect("few blocks");
        let region = side.allocate(bytes);
        region.write(0, &vec![0xaa; usize::try_from(bytes).expect("memory")]).expect("its whole");
        let plan = side.blocks(op, &region, &remote, block_bytes, blocks);
        Self::begin(side, channel, Kind::Moves { plan, ids: (0..blocks).collect(), counter })
    }

    /// Message `n` is [`call`]`(n)`.
    pub(super) fn of_messages(side: &Side, channel: ChannelId) -> Self {
        Self::begin(side, channel, Kind::Messages)
    }

    fn begin(side: &Side, channel: ChannelId, kind: Kind) -> Self {
        Self { channel, kind, submitted: 0, before: side.log.ends.len() as u64, state: "blowing" }
    }

    pub(super) fn state(&self) -> &'static str {
        self.state
    }

    pub(super) fn blow(&mut self, side: &mut Side) {
        let ended = side.log.ends.len() as u64 - self.before;
        while self.state == "blowing" && self.submitted - ended < UNDER_WAY {
            let tag = self.submitted;
            let submitted = match &self.kind {
                Kind::Moves { plan, ids, counter } => {
                    let then = counter.map_or(Then::Nothing, Then::Count);
                    let batch = Batch { plan, planes: 0..1, here: ids, there: ids, then, deadline: far(), tag };
                    side.port().submit(self.channel, &batch)
                }
                Kind::Messages => side.port().send(self.channel, &call(tag), far(), tag),
            };
            match submitted {
                Ok(Submitted::Accepted(_)) => self.submitted += 1,
                Ok(Submitted::Full(_)) => return,
                Ok(Submitted::Revoked) => self.state = "revoked",
                Err(ApiMisuse::NotUp { .. } | ApiMisuse::UnknownChannel(_)) => self.state = "over",
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Waits for the ends of all that it had; gives how many.
    pub(super) fn calm(self, side: &mut Side) -> u64 {
        let all = self.before + self.submitted;
        side.until("the ends of a storm", |side| (side.log.ends.len() as u64 >= all).then_some(()));
        self.submitted
    }
}
