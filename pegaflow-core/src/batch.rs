//! What is submitted: a plan plus block ids.

use std::{ops::Range, time::Instant};

use crate::{CounterId, Plan};

/// What follows the data of a batch. When the receiver sees it, all bytes of the batch are visible to the processors
/// in [`Capabilities::visible_to`](crate::Capabilities::visible_to).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then<'a> {
    /// Nothing: only this side learns that the batch is done.
    Nothing,
    /// One is added to a counter of the peer's. Never full.
    Count(CounterId),
    /// A message, at most the peer's `message_bytes` long, on the peer's credits.
    Message(&'a [u8]),
}

/// One batch: for each plane in `planes` and each position `i`, block `here[i]` of this side's table is paired with
/// block `there[i]` of the peer's.
///
/// Overlapping destinations leave undefined bytes and nothing worse; they are not looked for.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    /// Over which tables. Its remote side was imported over the channel that the batch is submitted on.
    pub plan: &'a Plan,
    /// Which planes (layers), `[start, end)`; `0..1` where the shapes are spans.
    pub planes: Range<u32>,
    /// Block (or span) ids of this side, `[position]`.
    pub here: &'a [u32],
    /// Block (or span) ids of the peer's side, `[position]`, as many.
    pub there: &'a [u32],
    /// What follows the data.
    pub then: Then<'a>,
    /// When the transfer ends if it has not ended before; never earlier, and at the first `poll` after it.
    pub deadline: Instant,
    /// The caller's own mark, given back with the end.
    pub tag: u64,
}
