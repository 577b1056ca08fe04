//! The walk over a batch: merged moves, pulled by the engine straight into its work requests. No list is built.

use std::{fmt, ops::Range};

use crate::{
    CounterId, Op,
    plan::{At, PlanInner},
};

/// One contiguous move, adjacent blocks merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Address on this side.
    pub here: u64,
    /// Its key, as [`Domain::register`](crate::backend::Domain::register) gave it.
    pub here_key: u64,
    /// Address on the peer's side, as [`Domain::import`](crate::backend::Domain::import) gave it.
    pub there: u64,
    /// Its key, likewise.
    pub there_key: u64,
    /// Length; at least 1, at most what was asked for.
    pub bytes: u64,
}

/// A place in a run to come back to, see [`Run::seek`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    plane: u32,
    position: u32,
    sub: u32,
    /// Bytes of the current piece that were yielded before.
    within: u64,
    /// Moves and bytes yielded before this place.
    moves: u64,
    bytes: u64,
}

impl Cursor {
    pub(crate) fn moves(&self) -> u64 {
        self.moves
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What follows the moves of a run, as the engine posts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow<'a> {
    /// Nothing.
    Nothing,
    /// One increment on every lane of the link, whichever the run used: the value is the minimum over them all.
    Count(CounterId),
    /// A message; its credit is taken already.
    Message(&'a [u8]),
    /// One abort on every lane of the link, behind all that was posted before: a transfer that was to be counted will not
    /// be. It comes in a run of its own, without moves.
    Abort(CounterId),
}

/// The ids of one batch inside its channel's ring of pairs.
#[derive(Clone, Copy)]
pub(crate) struct Ids<'a> {
    pub(crate) ring: &'a [(u32, u32)],
    pub(crate) start: u64,
    pub(crate) count: u32,
}

impl Ids<'_> {
    #[inline]
    fn pair(&self, position: u32) -> (u32, u32) {
        #[expect(clippy::cast_possible_truncation, reason = "masked to the length of a slice")]
        let at = (self.start + u64::from(position)) as usize & (self.ring.len() - 1);
        self.ring[at]
    }
}

/// One transfer on its way to the backend. The engine pulls moves until there is no more, then posts what follows.
///
/// Each move taken, and the follow-up unless it is [`Follow::Nothing`], is one **part**. The engine reports every part
/// once: in the same call with [`Run::finished`], or later in [`Raw::Completed`](crate::backend::Raw::Completed).
pub struct Run<'a> {
    plan: Option<&'a PlanInner>,
    planes: Range<u32>,
    ids: Ids<'a>,
    cursor: Cursor,
    /// How the blocks of the cursor's plane lie, where they lie simply.
    simple: Option<Simple>,
    follow: Follow<'a>,
    cookie: u64,
    finished: u64,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        plan: Option<&'a PlanInner>,
        planes: Range<u32>,
        ids: Ids<'a>,
        cursor: Cursor,
        follow: Follow<'a>,
        cookie: u64,
    ) -> Self {
        let mut made = Self { plan, planes, ids, cursor, simple: None, follow, cookie, finished: 0 };
        made.simple = made.simple_plane();
        made
    }

    /// An abort alone. Its completion names no transfer.
    pub(crate) fn abort(id: CounterId) -> Self {
        let ids = Ids { ring: &[], start: 0, count: 0 };
        Self::new(None, 0..0, ids, Cursor::default(), Follow::Abort(id), u64::MAX)
    }

    /// What the moves do; of no meaning where there are none.
    #[must_use]
    pub fn op(&self) -> Op {
        self.plan.map_or(Op::Write, |plan| plan.op)
    }

    /// Goes back in [`Raw::Completed`](crate::backend::Raw::Completed) with the parts it is about.
    #[must_use]
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// What to post after the last move.
    #[must_use]
    pub fn follow(&self) -> Follow<'a> {
        self.follow
    }

    /// The next move of at most `max_bytes` (taken as at least 1); `None` after the last.
    #[inline]
    pub fn next_move(&mut self, max_bytes: u64) -> Option<Move> {
        let simple = match self.simple {
            Some(simple) if self.cursor.within == 0 && simple.bytes <= max_bytes => simple,
            _ => return self.next_of_any(max_bytes.max(1)),
        };
        // Everything that the loop needs is in registers: this is the whole cost of a block.
        let (ids, mut position) = (self.ids, self.cursor.position);
        if position >= ids.count {
            return None;
        }
        let (here, there) = simple.at(ids.pair(position));
        let mut bytes = simple.bytes;
        position += 1;
        while position < ids.count {
            let next = simple.at(ids.pair(position));
            if next != (here + bytes, there + bytes) || bytes + simple.bytes > max_bytes {
                break;
            }
            bytes += simple.bytes;
            position += 1;
        }
        self.cursor.position = position;
        let mut whole = Move { here, here_key: simple.here.key, there, there_key: simple.there.key, bytes };
        if position == ids.count {
            self.next_plane();
            self.extend(&mut whole, max_bytes);
        }
        self.cursor.moves += 1;
        self.cursor.bytes += whole.bytes;
        Some(whole)
    }

    /// The same for blocks in groups, blocks of several runs, spans, and whatever has to be cut.
    #[inline(never)]
    fn next_of_any(&mut self, max_bytes: u64) -> Option<Move> {
        let mut whole = self.piece()?;
        if whole.bytes > max_bytes {
            whole.bytes = max_bytes;
            self.cursor.within += max_bytes;
        } else {
            self.step();
            self.extend(&mut whole, max_bytes);
        }
        self.cursor.moves += 1;
        self.cursor.bytes += whole.bytes;
        Some(whole)
    }

    /// Adds the pieces that follow a move on both sides.
    #[inline(never)]
    fn extend(&mut self, whole: &mut Move, max_bytes: u64) {
        while let Some(next) = self.piece() {
            let adjacent = whole.here + whole.bytes == next.here
                && whole.there + whole.bytes == next.there
                && whole.here_key == next.here_key
                && whole.there_key == next.there_key;
            if !adjacent || whole.bytes + next.bytes > max_bytes {
                return;
            }
            whole.bytes += next.bytes;
            self.step();
        }
    }

    /// Whether there is no further move.
    #[inline]
    #[must_use]
    pub fn ended(&self) -> bool {
        self.cursor.plane >= self.planes.end - self.planes.start || self.ids.count == 0
    }

    /// Where the run stands: before the next move.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes back to a place that [`Run::cursor`] gave: what was taken after it was not posted.
    pub fn seek(&mut self, cursor: Cursor) {
        self.cursor = cursor;
        self.simple = self.simple_plane();
    }

    /// Says that `parts` of this run are complete already.
    pub fn finished(&mut self, parts: u64) {
        self.finished += parts;
    }

    pub(crate) fn parts_finished(&self) -> u64 {
        self.finished
    }

    /// The piece at the cursor, less what was yielded of it.
    fn piece(&self) -> Option<Move> {
        let plan = self.plan?;
        let plane = self.planes.start + self.cursor.plane;
        if self.cursor.position >= self.ids.count || plane >= self.planes.end {
            return None;
        }
        let (here_id, there_id) = self.ids.pair(self.cursor.position);
        let (here, there) = (plan.here.at(plane, here_id), plan.there.at(plane, there_id));
        let (here_offset, there_offset, bytes) = match plan.here.span_bytes(here_id) {
            None => {
                let sub = plan.subs[self.cursor.sub as usize];
                (u64::from(sub.here), u64::from(sub.there), u64::from(sub.bytes))
            }
            Some(bytes) => (0, 0, bytes),
        };
        Some(Move {
            here: here.address + here_offset + self.cursor.within,
            here_key: here.key,
            there: there.address + there_offset + self.cursor.within,
            there_key: there.key,
            bytes: bytes - self.cursor.within,
        })
    }

    /// The cursor's plane, where all of a block is one run on both sides, and no side has blocks in groups: what a
    /// walk reads for each block is then four numbers and not two tables.
    fn simple_plane(&self) -> Option<Simple> {
        let plan = self.plan?;
        let [sub] = *plan.subs else { return None };
        let plane = self.planes.start + self.cursor.plane;
        if plane >= self.planes.end {
            return None;
        }
        let (here, here_stride) = plan.here.plain(plane)?;
        let (there, there_stride) = plan.there.plain(plane)?;
        Some(Simple {
            here: At { address: here.address + u64::from(sub.here), ..here },
            here_stride,
            there: At { address: there.address + u64::from(sub.there), ..there },
            there_stride,
            bytes: sub.bytes.into(),
        })
    }

    /// Moves the cursor to the next piece: the next run of the block, the next block, the next plane.
    fn step(&mut self) {
        let runs = self.plan.map_or(0, |plan| plan.subs.len());
        self.cursor.within = 0;
        self.cursor.sub += 1;
        if (self.cursor.sub as usize) < runs {
            return;
        }
        self.cursor.sub = 0;
        self.cursor.position += 1;
        if self.cursor.position == self.ids.count {
            self.next_plane();
        }
    }

    fn next_plane(&mut self) {
        self.cursor.position = 0;
        self.cursor.plane += 1;
        self.simple = self.simple_plane();
    }
}

/// See [`Run::simple_plane`].
#[derive(Debug, Clone, Copy)]
struct Simple {
    here: At,
    here_stride: u64,
    there: At,
    there_stride: u64,
    bytes: u64,
}

impl Simple {
    /// Where a pair of blocks begins, here and there.
    #[inline]
    fn at(&self, (here, there): (u32, u32)) -> (u64, u64) {
        let here = self.here.address + u64::from(here) * self.here_stride;
        (here, self.there.address + u64::from(there) * self.there_stride)
    }
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("cookie", &self.cookie).field("cursor", &self.cursor).finish_non_exhaustive()
    }
}
