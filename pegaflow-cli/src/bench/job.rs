//! What both nodes of a bench are told, and what they say to each other.

use pegaflow::Waiter;
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::args::{Idle, Pattern, Regions, Rival};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    Write,
    Read,
    Count,
    Message,
}

impl Op {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Count => "count",
            Self::Message => "message",
        }
    }

    /// Whether blocks are moved; otherwise something goes there and back.
    pub(crate) fn moves(self) -> bool {
        matches!(self, Self::Write | Self::Read)
    }
}

/// What both nodes of a bench are told to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Names this run on the boards.
    pub(crate) id: String,
    /// The node that moves, and the one that is only there.
    pub(crate) near: String,
    pub(crate) far: String,
    pub(crate) op: Op,
    /// Of a block, or of a message.
    pub(crate) block_bytes: u32,
    /// Of a transfer.
    pub(crate) blocks: u32,
    pub(crate) pool_blocks: u32,
    pub(crate) pattern: Pattern,
    pub(crate) depth: u32,
    pub(crate) regions: Regions,
    pub(crate) idle: Idle,
    pub(crate) seconds: f64,
    pub(crate) rate: Option<f64>,
    pub(crate) verify: bool,
    pub(crate) rival: Option<Rival>,
    pub(crate) seed: u64,
    pub(crate) corrupt: Option<(u32, u32)>,
}

impl Job {
    pub(crate) fn transfer_bytes(&self) -> u64 {
        u64::from(self.blocks) * u64::from(self.block_bytes)
    }

    pub(crate) fn pool_bytes(&self) -> u64 {
        u64::from(self.pool_blocks) * u64::from(self.block_bytes)
    }

    /// Transfers of which no two name the same block.
    pub(crate) fn transfers_in_pool(&self) -> u64 {
        u64::from(self.pool_blocks / self.blocks.max(1))
    }

    /// How a side waits while it is measured.
    pub(crate) fn waiter(&self) -> Waiter {
        match self.idle {
            // Longer than any wait.
            Idle::Spin => Waiter { spin: Duration::from_secs(24 * 3600) },
            Idle::Sleep => Waiter { spin: Duration::ZERO },
        }
    }
}

/// What the sides say to each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Word {
    /// Both: what the other side needs is on this side's board.
    Open,
    /// Near: a slice of so many transfers begins.
    Begin(u64),
    /// Far: it may.
    Begun,
    /// Near: the slice is over.
    End,
    /// Far: likewise.
    Ended(Slice),
    /// Near: the rival is to do so many transfers.
    Rival(u64),
    /// Far: it may begin; on this port, where it is a program.
    RivalReady(u16),
    /// Near: the rival has done what it was to.
    RivalEnd,
    /// Near: that was all.
    Over,
}

/// What the far side has to say of a slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Slice {
    pub(crate) cpu_seconds: f64,
    /// What this side's counter says.
    pub(crate) counted: u64,
    /// Of this slice.
    pub(crate) verified: u64,
    /// The first that was not what it should be.
    pub(crate) wrong: Option<String>,
}
