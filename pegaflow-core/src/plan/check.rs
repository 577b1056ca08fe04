//! The one check of a plan: nothing that it can yield leaves its windows.

use super::{
    address::{At, Base, Side, Sub},
    shape::{Piece, Shape, Span, Table},
};
use crate::ApiMisuse;

/// Most runs that one block may be cut into.
const MAX_RUNS: usize = 65_536;

pub(crate) struct Checked {
    pub(crate) here: Side,
    pub(crate) there: Side,
    pub(crate) subs: Box<[Sub]>,
    pub(crate) block_bytes: u64,
}

pub(crate) fn shapes(here: (&[Base], &Shape<'_>), there: (&[Base], &Shape<'_>)) -> Result<Checked, ApiMisuse> {
    match (here.1, there.1) {
        (Shape::Paged(table_here, pieces_here), Shape::Paged(table_there, pieces_there)) => {
            if table_here.planes.len() != table_there.planes.len() {
                return Err(bad(format!(
                    "{} planes here, {} there: expected as many on both sides",
                    table_here.planes.len(),
                    table_there.planes.len()
                )));
            }
            let runs_here = runs("here", pieces_here)?;
            let runs_there = runs("there", pieces_there)?;
            let subs = pair(&runs_here, &runs_there)?;
            Ok(Checked {
                here: paged("here", here.0, table_here, &runs_here)?,
                there: paged("there", there.0, table_there, &runs_there)?,
                block_bytes: subs.iter().map(|sub| u64::from(sub.bytes)).sum(),
                subs,
            })
        }
        (Shape::Spans(spans_here), Shape::Spans(spans_there)) => Ok(Checked {
            here: spans("here", here.0, spans_here)?,
            there: spans("there", there.0, spans_there)?,
            subs: Box::default(),
            block_bytes: 0,
        }),
        _ => Err(bad("one side is paged and the other a list of spans: expected the same kind on both".to_owned())),
    }
}

/// The pieces of one side, run by run: (offset in the block, bytes).
fn runs(side: &'static str, pieces: &[Piece]) -> Result<Vec<(u32, u32)>, ApiMisuse> {
    let mut all = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        if piece.bytes == 0 || piece.count == 0 {
            return Err(bad(format!("{side}: piece {number} is empty: {} runs of {} bytes", piece.count, piece.bytes)));
        }
        if all.len() + piece.count as usize > MAX_RUNS {
            return Err(bad(format!("{side}: more than {MAX_RUNS} runs in a block")));
        }
        for run in 0..piece.count {
            let at = u64::from(piece.at) + u64::from(run) * u64::from(piece.step);
            match u32::try_from(at) {
                Ok(at) if at.checked_add(piece.bytes).is_some() => all.push((at, piece.bytes)),
                _ => {
                    return Err(bad(format!("{side}: run {run} of piece {number} ends beyond 4 GiB of its block")));
                }
            }
        }
    }
    if all.is_empty() { Err(bad(format!("{side}: no piece"))) } else { Ok(all) }
}

/// Cuts both lists of runs to the finer of the two, and joins what is adjacent on both sides.
fn pair(here: &[(u32, u32)], there: &[(u32, u32)]) -> Result<Box<[Sub]>, ApiMisuse> {
    let total = |runs: &[(u32, u32)]| runs.iter().map(|run| u64::from(run.1)).sum::<u64>();
    if total(here) != total(there) {
        return Err(bad(format!("a block has {} bytes here and {} there", total(here), total(there))));
    }
    let mut subs: Vec<Sub> = Vec::with_capacity(here.len().max(there.len()));
    let (mut left, mut right) = (here.iter().copied(), there.iter().copied());
    let (mut a, mut b) = (left.next(), right.next());
    while let (Some((here_at, here_bytes)), Some((there_at, there_bytes))) = (a, b) {
        let bytes = here_bytes.min(there_bytes);
        match subs.last_mut() {
            Some(last) if last.here + last.bytes == here_at && last.there + last.bytes == there_at => {
                last.bytes += bytes;
            }
            _ => subs.push(Sub { here: here_at, there: there_at, bytes }),
        }
        a = if here_bytes > bytes { Some((here_at + bytes, here_bytes - bytes)) } else { left.next() };
        b = if there_bytes > bytes { Some((there_at + bytes, there_bytes - bytes)) } else { right.next() };
    }
    Ok(subs.into())
}

fn paged(side: &'static str, windows: &[Base], table: &Table<'_>, runs: &[(u32, u32)]) -> Result<Side, ApiMisuse> {
    if table.planes.is_empty() || table.blocks == 0 || table.split == 0 {
        return Err(bad(format!(
            "{side}: {} planes, {} blocks, split {}: expected at least 1 of each",
            table.planes.len(),
            table.blocks,
            table.split
        )));
    }
    if u32::try_from(table.planes.len()).is_err() {
        return Err(bad(format!("{side}: {} planes", table.planes.len())));
    }
    let within = runs.iter().map(|&(at, bytes)| u128::from(at) + u128::from(bytes)).max().unwrap_or(0);
    // The block that ends last is the last of the last full group, or the very last one.
    let end_of = |id: u32| {
        u128::from(id / table.split) * u128::from(table.stride_bytes)
            + u128::from(id % table.split) * u128::from(if table.split == 1 { 0 } else { table.split_bytes })
            + within
    };
    let full_groups = table.blocks / table.split;
    let mut last = end_of(table.blocks - 1);
    if full_groups > 0 {
        last = last.max(end_of(full_groups * table.split - 1));
    }
    let planes = table
        .planes
        .iter()
        .enumerate()
        .map(|(number, plane)| {
            let base = window(side, windows, plane.window)?;
            let end = u128::from(plane.offset) + last;
            if end > u128::from(base.bytes) {
                let what = format!("plane {number} with {} blocks", table.blocks);
                return Err(ApiMisuse::BeyondWindow { side, what, end, bytes: base.bytes });
            }
            Ok(At { address: base.address + plane.offset, key: base.key })
        })
        .collect::<Result<_, _>>()?;
    Ok(Side::Paged {
        planes,
        blocks: table.blocks,
        stride: table.stride_bytes,
        split: table.split,
        split_bytes: table.split_bytes,
    })
}

fn spans(side: &'static str, windows: &[Base], spans: &[Span]) -> Result<Side, ApiMisuse> {
    if spans.is_empty() || u32::try_from(spans.len()).is_err() {
        return Err(bad(format!("{side}: {} spans", spans.len())));
    }
    spans
        .iter()
        .enumerate()
        .map(|(number, span)| {
            let base = window(side, windows, span.window)?;
            let end = u128::from(span.offset) + u128::from(span.bytes);
            if span.bytes == 0 {
                return Err(bad(format!("{side}: span {number} is empty")));
            }
            if end > u128::from(base.bytes) {
                return Err(ApiMisuse::BeyondWindow { side, what: format!("span {number}"), end, bytes: base.bytes });
            }
            Ok((At { address: base.address + span.offset, key: base.key }, span.bytes))
        })
        .collect::<Result<_, _>>()
        .map(Side::Spans)
}

fn window(side: &'static str, windows: &[Base], index: u32) -> Result<Base, ApiMisuse> {
    let windows_there_are = windows.len();
    windows.get(index as usize).copied().ok_or(ApiMisuse::WindowOutOfRange {
        side,
        window: index,
        windows: windows_there_are,
    })
}

fn bad(what: String) -> ApiMisuse {
    ApiMisuse::BadShape(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Plane;

    fn base(bytes: u64) -> [Base; 1] {
        [Base { address: 1 << 40, key: 7, bytes }]
    }

    const PLANE: [Plane; 1] = [Plane { window: 0, offset: 8 }];

    fn table(blocks: u32, stride_bytes: u64, split: u32, split_bytes: u64) -> Table<'static> {
        Table { planes: &PLANE, blocks, stride_bytes, split, split_bytes }
    }

    fn check(bytes: u64, table: Table<'_>, pieces: &[Piece]) -> Result<Checked, ApiMisuse> {
        let windows = base(bytes);
        let shape = Shape::Paged(table, pieces);
        shapes((&windows, &shape), (&windows, &shape))
    }

    #[test]
    fn a_table_may_end_at_its_windows_last_byte_and_not_one_further() {
        let exact = 8 + 3 * 100 + 64;
        assert!(check(exact, table(4, 100, 1, 0), &[Piece::whole(64)]).is_ok());
        assert!(matches!(
            check(exact - 1, table(4, 100, 1, 0), &[Piece::whole(64)]),
            Err(ApiMisuse::BeyondWindow { end: 372, bytes: 371, .. })
        ));
    }

    #[test]
    fn the_block_that_ends_last_counts_even_if_it_is_not_the_last_one() {
        // Groups of 4 at 32 bytes each inside a stride of 64: block 3 ends at 128, block 4 at 96.
        let exact = 8 + 128;
        assert!(check(exact, table(5, 64, 4, 32), &[Piece::whole(32)]).is_ok());
        assert!(check(exact - 1, table(5, 64, 4, 32), &[Piece::whole(32)]).is_err());
    }

    #[test]
    fn no_number_overflows() {
        let huge = Table { stride_bytes: u64::MAX, ..table(u32::MAX, 1, 1, 0) };
        assert!(matches!(check(u64::MAX >> 1, huge, &[Piece::whole(u32::MAX)]), Err(ApiMisuse::BeyondWindow { .. })));
        let far = Piece { at: u32::MAX, step: u32::MAX, bytes: u32::MAX, count: 2 };
        assert!(matches!(check(1 << 40, table(1, 1, 1, 0), &[far]), Err(ApiMisuse::BadShape(_))));
    }

    #[test]
    fn runs_are_cut_to_the_finer_side_and_joined_where_adjacent() {
        let subs = pair(&[(0, 8), (8, 8)], &[(0, 4), (100, 12)]).unwrap();
        assert_eq!(
            &subs[..],
            [Sub { here: 0, there: 0, bytes: 4 }, Sub { here: 4, there: 100, bytes: 12 }],
            "the second of here is adjacent to the first on both sides"
        );
        assert!(pair(&[(0, 8)], &[(0, 9)]).is_err());
    }

    #[test]
    fn kinds_are_not_mixed_and_nothing_is_empty() {
        let windows = base(100);
        let spans = [Span { window: 0, offset: 0, bytes: 1 }];
        let paged = Shape::Paged(table(1, 1, 1, 0), &[Piece { at: 0, step: 0, bytes: 1, count: 1 }]);
        assert!(shapes((&windows, &paged), (&windows, &Shape::Spans(&spans))).is_err());
        assert!(check(100, table(0, 1, 1, 0), &[Piece::whole(1)]).is_err());
        assert!(check(100, table(1, 1, 0, 0), &[Piece::whole(1)]).is_err());
        assert!(check(100, table(1, 1, 1, 0), &[]).is_err());
        assert!(check(100, table(1, 1, 1, 0), &[Piece::whole(0)]).is_err());
        let none = Shape::Spans(&[]);
        assert!(shapes((&windows, &none), (&windows, &none)).is_err());
    }
}
