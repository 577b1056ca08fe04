//! One side's KV cache: a region per layer, its planes one behind the other (K before V), pages of one block.

use pegaflow::{MemoryError, Piece, Plane, Region, Session, Table, Window};

use super::{Job, contents::Which};

pub(crate) struct Pool {
    regions: Vec<Region>,
    planes: Vec<Plane>,
    pages: u32,
    block_bytes: u64,
    piece: [Piece; 1],
}

impl Pool {
    pub(crate) fn new(session: &Session, job: &Job) -> Result<Self, crate::Failure> {
        let (pages, block_bytes) = (job.pool_blocks(), job.block_bytes());
        let (plane_bytes, in_layer) = (u64::from(pages) * block_bytes, job.model.planes);
        let regions = (0..job.model.layers)
            .map(|_| session.allocate(u64::from(in_layer) * plane_bytes))
            .collect::<Result<Vec<_>, MemoryError>>()?;
        let plane =
            |number: u32| Plane { window: number / in_layer, offset: u64::from(number % in_layer) * plane_bytes };
        let planes = (0..in_layer * job.model.layers).map(plane).collect();
        let piece = [Piece::whole(u32::try_from(block_bytes)?)];
        Ok(Self { regions, planes, pages, block_bytes, piece })
    }

    /// A window per layer.
    pub(crate) fn windows(&self) -> Vec<Window> {
        self.regions.iter().map(Window::whole).collect()
    }

    /// The table, every layer's planes; the other side's looks the same.
    pub(crate) fn shape(&self) -> pegaflow::Shape<'_> {
        pegaflow::Shape::Paged(Table::plain(&self.planes, self.pages, self.block_bytes), &self.piece)
    }

    pub(crate) fn region(&self, layer: u32) -> &Region {
        &self.regions[layer as usize]
    }

    pub(crate) fn offset(&self, plane: u32, page: u32) -> u64 {
        (u64::from(plane) * u64::from(self.pages) + u64::from(page)) * self.block_bytes
    }

    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// Calls `each` for every block of the prompt, with the page that `pages` has for it and a buffer of its size.
    pub(crate) fn for_each(
        &self,
        job: &Job,
        round: u32,
        pages: &[u32],
        mut each: impl FnMut(Which, &Region, u64, &mut [u8]) -> Result<(), crate::Failure>,
    ) -> Result<(), crate::Failure> {
        let mut buffer = vec![0; usize::try_from(self.block_bytes)?];
        for layer in 0..job.model.layers {
            for plane in 0..job.model.planes {
                for (block, &page) in (0..).zip(pages) {
                    let which = Which { seed: job.seed, round, layer, plane, block };
                    each(which, self.region(layer), self.offset(plane, page), &mut buffer)?;
                }
            }
        }
        Ok(())
    }
}
