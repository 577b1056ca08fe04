//! Plans: two immutable tables, here and there, checked once. Block ids come later, with each batch.

mod address;
mod check;
mod shape;

use std::{fmt, ops::Range, sync::Arc};

pub(crate) use address::{At, Base, Side, Sub};
pub use shape::{Piece, Plane, Shape, Span, Table};

use crate::{ApiMisuse, Region, Remote};

/// What a plan moves, seen from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// From here to there.
    Write,
    /// From there to here.
    Read,
}

impl Op {
    /// The label of this operation in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

/// A range of a region, as one side of a plan or as part of a grant.
#[derive(Debug, Clone)]
pub struct Window {
    pub(crate) region: Region,
    pub(crate) range: Range<u64>,
}

impl Window {
    /// Bytes `range` of `region`; checked where the window is used.
    #[must_use]
    pub fn new(region: &Region, range: Range<u64>) -> Self {
        Self { region: region.clone(), range }
    }

    /// The whole region.
    #[must_use]
    pub fn whole(region: &Region) -> Self {
        Self { region: region.clone(), range: 0..region.bytes() }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.range.end.saturating_sub(self.range.start)
    }
}

/// Two tables over windows, made by [`Node::plan`](crate::Node::plan). Immutable, cheap to clone, used by any number
/// of batches at once; it keeps the memory of both sides.
#[derive(Clone)]
pub struct Plan(pub(crate) Arc<PlanInner>);

pub(crate) struct PlanInner {
    pub(crate) op: Op,
    pub(crate) here: Side,
    pub(crate) there: Side,
    /// Paged only: the pieces of one block, both sides' cut to the finer of the two, adjacent ones joined.
    pub(crate) subs: Box<[Sub]>,
    pub(crate) block_bytes: u64,
    pub(crate) remote: Remote,
    regions: Box<[Region]>,
}

impl PlanInner {
    /// The sum of bytes on this side that a move of the plan names.
    pub(crate) fn sum(&self, address: u64, bytes: u64) -> Option<u32> {
        let inside =
            |region: &&Region| address.checked_sub(region.0.base()).is_some_and(|offset| offset < region.bytes());
        let region = self.regions.iter().find(inside)?;
        region.0.sum(address - region.0.base(), bytes)
    }

    /// This side's memory.
    pub(crate) fn regions(&self) -> &[Region] {
        &self.regions
    }
}

impl Plan {
    pub(crate) fn new(op: Op, here: (&[Window], &Shape<'_>), there: (&Remote, &Shape<'_>)) -> Result<Self, ApiMisuse> {
        let wanted = there.0.access();
        match op {
            Op::Write if !wanted.write => {
                return Err(ApiMisuse::AccessDenied { granted: wanted.name(), wanted: "write" });
            }
            Op::Read if !wanted.read => {
                return Err(ApiMisuse::AccessDenied { granted: wanted.name(), wanted: "read" });
            }
            _ => {}
        }
        for window in here.0 {
            crate::region::check_range(&window.range, window.region.bytes()).map_err(|_| ApiMisuse::BeyondWindow {
                side: "here",
                what: format!("window {}..{}", window.range.start, window.range.end),
                end: window.range.end.into(),
                bytes: window.region.bytes(),
            })?;
        }
        let here_windows: Vec<_> = here.0.iter().map(Base::of_window).collect();
        let there_windows: Vec<_> = there.0.windows().collect();
        let checked = check::shapes((&here_windows, here.1), (&there_windows, there.1))?;
        Ok(Self(Arc::new(PlanInner {
            op,
            here: checked.here,
            there: checked.there,
            subs: checked.subs,
            block_bytes: checked.block_bytes,
            remote: there.0.clone(),
            regions: here.0.iter().map(|window| window.region.clone()).collect(),
        })))
    }

    /// What it moves.
    #[must_use]
    pub fn op(&self) -> Op {
        self.0.op
    }

    /// Planes of each side; 1 where the shapes are spans.
    #[must_use]
    pub fn planes(&self) -> u32 {
        self.0.here.planes()
    }

    /// Payload bytes of one block in one plane; 0 where the shapes are spans.
    #[must_use]
    pub fn block_bytes(&self) -> u64 {
        self.0.block_bytes
    }

    /// Blocks (or spans) of this side's table.
    #[must_use]
    pub fn blocks_here(&self) -> u32 {
        self.0.here.blocks()
    }

    /// Blocks (or spans) of the peer's table.
    #[must_use]
    pub fn blocks_there(&self) -> u32 {
        self.0.there.blocks()
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("op", &self.0.op)
            .field("planes", &self.planes())
            .field("block_bytes", &self.0.block_bytes)
            .field("blocks_here", &self.blocks_here())
            .field("blocks_there", &self.blocks_there())
            .finish_non_exhaustive()
    }
}
