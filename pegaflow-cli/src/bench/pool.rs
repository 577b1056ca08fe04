//! One side's pool: a region of blocks, the lists that name them, and their contents.

use pegaflow::{Piece, Plane, Region, Session, Shape, Table, Window};
use pegaflow_bench::Shuffle;

use super::{
    args::{Pattern, Regions},
    contents,
    job::Job,
    raw,
};
use crate::Failure;

pub(super) struct Pool {
    pub(super) region: Region,
    blocks: u32,
    block_bytes: u32,
    plane: [Plane; 1],
    piece: [Piece; 1],
}

impl Pool {
    pub(super) fn new(session: &Session, job: &Job) -> Result<Self, Failure> {
        let bytes = job.pool_bytes();
        let region = match job.regions {
            Regions::Owned => session.allocate(bytes)?,
            Regions::Foreign => raw::register_own(session, bytes)?,
        };
        let (plane, piece) = ([Plane { window: 0, offset: 0 }], [Piece::whole(job.block_bytes)]);
        Ok(Self { region, blocks: job.pool_blocks, block_bytes: job.block_bytes, plane, piece })
    }

    pub(super) fn windows(&self) -> [Window; 1] {
        [Window::whole(&self.region)]
    }

    /// The table; the other side's looks the same.
    pub(super) fn shape(&self) -> Shape<'_> {
        Shape::Paged(Table::plain(&self.plane, self.blocks, self.block_bytes.into()), &self.piece)
    }

    /// Gives the blocks `ids` the contents of transfers from `first` on.
    pub(super) fn fill(&self, job: &Job, first: u64, ids: &[u32]) -> Result<(), Failure> {
        self.for_each(job, first, ids, |region, offset, (transfer, block), buffer| {
            contents::fill(job.seed, transfer, block, buffer);
            Ok(region.write(offset, buffer)?)
        })
    }

    /// Compares the blocks `ids` with the contents of transfers from `first` on; gives how many were right, and the first
    /// that was not.
    pub(super) fn check(&self, job: &Job, first: u64, ids: &[u32]) -> Result<(u64, Option<String>), Failure> {
        let mut expected = vec![0; self.block_bytes as usize];
        let (mut right, mut wrong) = (0, None);
        self.for_each(job, first, ids, |region, offset, (transfer, block), got| {
            region.read(offset, got)?;
            if job.corrupt.is_some_and(|(t, b)| (u64::from(t), u64::from(b)) == (transfer, block)) {
                got[0] ^= 1;
            }
            contents::fill(job.seed, transfer, block, &mut expected);
            if *got == *expected {
                right += 1;
            } else if wrong.is_none() {
                let byte = got.iter().zip(&expected).position(|(got, expected)| got != expected).unwrap_or(0);
                wrong = Some(format!(
                    "wrong block: transfer {transfer}, block {block} (block {} of the pool where it landed), byte {byte}: \
                     expected {:#04x}, got {:#04x}",
                    offset / u64::from(self.block_bytes),
                    expected[byte],
                    got[byte]
                ));
            }
            Ok(())
        })?;
        Ok((right, wrong))
    }

    fn for_each(
        &self,
        job: &Job,
        first: u64,
        ids: &[u32],
        mut each: impl FnMut(&Region, u64, (u64, u64), &mut [u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut buffer = vec![0; self.block_bytes as usize];
        for (transfer, ids) in (first..).zip(ids.chunks(job.blocks as usize)) {
            for (block, &id) in (0..).zip(ids) {
                let offset = u64::from(id) * u64::from(self.block_bytes);
                each(&self.region, offset, (transfer, block), &mut buffer)?;
            }
        }
        Ok(())
    }
}

/// Lists for slice after slice: within one, no block is named twice.
pub(super) struct Lists {
    shuffle: Shuffle,
    /// Neighbours a list consists of: 1, or all of its blocks.
    neighbours: u32,
    blocks: u32,
    ids: Vec<u32>,
}

impl Lists {
    /// `side` tells apart the lists of one seed.
    pub(super) fn new(job: &Job, side: u64) -> Self {
        let neighbours = match job.pattern {
            Pattern::Scattered => 1,
            Pattern::Contiguous => job.blocks.max(1),
        };
        let seed = job.seed.wrapping_mul(4).wrapping_add(side);
        Self {
            shuffle: Shuffle::new(job.pool_blocks / neighbours, seed),
            neighbours,
            blocks: job.blocks,
            ids: Vec::new(),
        }
    }

    /// Fresh lists for so many transfers, one behind the other.
    pub(super) fn fresh(&mut self, transfers: u64) -> Result<&[u32], Failure> {
        let count = usize::try_from(transfers)? * self.blocks as usize;
        let taken = self.shuffle.take(count / self.neighbours as usize);
        self.ids.clear();
        let neighbours = self.neighbours;
        self.ids.extend(taken.iter().flat_map(|&place| place * neighbours..(place + 1) * neighbours));
        if self.ids.len() == count {
            Ok(&self.ids)
        } else {
            Err(format!("{transfers} transfers of {} blocks: the pool holds fewer", self.blocks).into())
        }
    }
}
