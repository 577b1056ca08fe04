//! The shapes that a caller describes his memory with.

/// One plane of a paged table: a layer's K or V, in its own allocation or somewhere in a larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Plane {
    /// Index into the windows given with the shape.
    pub window: u32,
    /// Bytes from the window's start to block 0.
    pub offset: u64,
}

/// Paged memory: the same blocks in every plane. Block `id` begins at
/// `plane.offset + (id / split) * stride_bytes + (id % split) * split_bytes` of its plane's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table<'a> {
    /// `[plane]`, in the order in which batches name them.
    pub planes: &'a [Plane],
    /// Block ids are `0..blocks`.
    pub blocks: u32,
    /// Bytes from one group of `split` blocks to the next; from block to block where `split` is 1.
    pub stride_bytes: u64,
    /// Blocks in a group; 1 unless this side's pages hold several of the blocks that are moved (16-token blocks in
    /// 64-token pages: 4).
    pub split: u32,
    /// Bytes from block to block within a group; of no meaning where `split` is 1.
    pub split_bytes: u64,
}

impl<'a> Table<'a> {
    /// Blocks `stride_bytes` apart, in no groups.
    #[must_use]
    pub const fn plain(planes: &'a [Plane], blocks: u32, stride_bytes: u64) -> Self {
        Self { planes, blocks, stride_bytes, split: 1, split_bytes: 0 }
    }
}

/// Part of a block: `count` runs of `bytes`, the first at `at`, then every `step` bytes from the block's start. A whole
/// block is one piece; a slice of heads in `[token, head, dim]` is a run per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Piece {
    /// Bytes from the block's start to the first run.
    pub at: u32,
    /// Bytes from one run's start to the next's.
    pub step: u32,
    /// Bytes of one run.
    pub bytes: u32,
    /// Runs.
    pub count: u32,
}

impl Piece {
    /// A block of `bytes` in one run.
    #[must_use]
    pub const fn whole(bytes: u32) -> Self {
        Self { at: 0, step: 0, bytes, count: 1 }
    }
}

/// A range of a window: weights, descriptor lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    /// Index into the windows given with the shape.
    pub window: u32,
    /// Bytes from the window's start.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// One side of a plan. Both sides are of the same kind; their blocks have equal payload, or the spans paired by a
/// batch equal length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape<'a> {
    /// Blocks of one size in planes; the pieces say which bytes of a block move, in the order in which they are
    /// paired with the other side's.
    Paged(Table<'a>, &'a [Piece]),
    /// A list of ranges. A batch names them by their position, as it names blocks.
    Spans(&'a [Span]),
}
