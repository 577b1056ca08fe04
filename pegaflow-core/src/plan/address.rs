//! Shapes turned into addresses: what the walk over a batch reads, nothing else.

use super::Window;

/// Where a window begins, as the backend addresses it, and how long it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base {
    pub(crate) address: u64,
    pub(crate) key: u64,
    pub(crate) bytes: u64,
}

impl Base {
    pub(crate) fn of_window(window: &Window) -> Self {
        let region = &window.region.0;
        Self { address: region.base() + window.range.start, key: region.key.0, bytes: window.bytes() }
    }
}

/// An address with the key that opens it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) address: u64,
    pub(crate) key: u64,
}

/// A run of bytes inside a block, the same length on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sub {
    pub(crate) here: u32,
    pub(crate) there: u32,
    pub(crate) bytes: u32,
}

/// One side of a plan, ready to be walked.
#[derive(Debug)]
pub(crate) enum Side {
    Paged { planes: Box<[At]>, blocks: u32, stride: u64, split: u32, split_bytes: u64 },
    Spans(Box<[(At, u64)]>),
}

impl Side {
    pub(crate) fn planes(&self) -> u32 {
        match self {
            #[expect(clippy::cast_possible_truncation, reason = "checked when the plan was made")]
            Self::Paged { planes, .. } => planes.len() as u32,
            Self::Spans(_) => 1,
        }
    }

    pub(crate) fn blocks(&self) -> u32 {
        match self {
            Self::Paged { blocks, .. } => *blocks,
            #[expect(clippy::cast_possible_truncation, reason = "checked when the plan was made")]
            Self::Spans(spans) => spans.len() as u32,
        }
    }

    /// Where block `id` of plane `plane` begins. Both are in range: `submit` has checked them.
    #[inline]
    pub(crate) fn at(&self, plane: u32, id: u32) -> At {
        match self {
            Self::Paged { planes, stride, split, split_bytes, .. } => {
                let At { address, key } = planes[plane as usize];
                let offset = if *split == 1 {
                    u64::from(id) * stride
                } else {
                    u64::from(id / split) * stride + u64::from(id % split) * split_bytes
                };
                At { address: address + offset, key }
            }
            Self::Spans(spans) => spans[id as usize].0,
        }
    }

    /// Where block 0 of plane `plane` begins, and the bytes from block to block; `None` for blocks in groups, and spans.
    pub(crate) fn plain(&self, plane: u32) -> Option<(At, u64)> {
        match self {
            Self::Paged { planes, stride, split: 1, .. } => planes.get(plane as usize).map(|&at| (at, *stride)),
            _ => None,
        }
    }

    /// Length of span `id`; `None` for blocks.
    #[inline]
    pub(crate) fn span_bytes(&self, id: u32) -> Option<u64> {
        match self {
            Self::Paged { .. } => None,
            Self::Spans(spans) => Some(spans[id as usize].1),
        }
    }
}
