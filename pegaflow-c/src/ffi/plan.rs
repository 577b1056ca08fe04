//! Plans: shapes come in, a checked plan goes out.

use pegaflow::{Piece, Plan, Plane, Shape, Span, Table};

use super::{
    memory::{pf_remote, windows},
    node::pf_node,
    raw,
};
use crate::{
    status::{Failure, guard, pf_status},
    twins::{self, pf_shape, pf_shape_kind, pf_window},
};

/// Two checked tables, here and there.
#[derive(Debug)]
pub struct pf_plan(pub(super) Plan);

/// A shape whose lists are this side's own.
enum Owned {
    Paged { planes: Vec<Plane>, pieces: Vec<Piece>, shape: pf_shape },
    Spans(Vec<Span>),
}

impl Owned {
    /// # Safety
    /// - As [`raw::grown`], and the lists are as long as the counts beside them say.
    unsafe fn read(shape: *const pf_shape) -> Result<Self, Failure> {
        // SAFETY: the caller's word, passed on.
        let shape = unsafe { raw::grown(shape)? };
        match twins::shape_kind(shape.kind)? {
            pf_shape_kind::PF_SHAPE_PAGED => {
                // SAFETY: the caller's word, passed on.
                let (planes, pieces) = unsafe {
                    (
                        raw::many(shape.planes, shape.plane_count as usize, "planes")?,
                        raw::many(shape.pieces, shape.piece_count as usize, "pieces")?,
                    )
                };
                let (planes, pieces) = (planes.iter().map(Plane::from), pieces.iter().map(Piece::from));
                Ok(Self::Paged { planes: planes.collect(), pieces: pieces.collect(), shape })
            }
            pf_shape_kind::PF_SHAPE_SPANS => {
                // SAFETY: the caller's word, passed on.
                let spans = unsafe { raw::many(shape.spans, shape.span_count as usize, "spans")? };
                Ok(Self::Spans(spans.iter().map(Span::from).collect()))
            }
        }
    }

    fn shape(&self) -> Shape<'_> {
        match self {
            Self::Paged { planes, pieces, shape } => {
                let &pf_shape { blocks, stride_bytes, split, split_bytes, .. } = shape;
                Shape::Paged(Table { planes, blocks, stride_bytes, split: split.max(1), split_bytes }, pieces)
            }
            Self::Spans(spans) => Shape::Spans(spans),
        }
    }
}

/// Makes a plan: what lies here, what lies there, how they are paired. `op` is `PF_WRITE` or `PF_READ`. All offsets are
/// checked now; the lists are copied.
///
/// # Safety
/// - Pointers are as the head of the header says, those in the shapes and windows too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_node_plan(
    node: *const pf_node,
    op: u32,
    window: *const pf_window,
    window_count: usize,
    here: *const pf_shape,
    remote: *const pf_remote,
    there: *const pf_shape,
    plan: *mut *mut pf_plan,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (node, remote, plan) =
            unsafe { (raw::borrow(node, "node")?, raw::borrow(remote, "remote")?, raw::out(plan, "plan")?) };
        // SAFETY: as above.
        let (windows, here, there) =
            unsafe { (windows(raw::many(window, window_count, "window")?)?, Owned::read(here)?, Owned::read(there)?) };
        let op = twins::op(op)?;
        let made = node.0.node().plan(op, (&windows, here.shape()), (&remote.0, there.shape()))?;
        plan.write(raw::handle(pf_plan(made)));
        Ok(pf_status::PF_OK)
    })
}

/// Gives a plan back. Transfers over it go on.
///
/// # Safety
/// - Pointers are as the head of the header says; nobody uses the handle any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_plan_free(plan: *mut pf_plan) -> pf_status {
    // SAFETY: the caller's word, passed on.
    guard(|| unsafe { raw::free(plan, "plan") })
}
