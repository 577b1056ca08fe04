//! Random blocks against a model that copies byte by byte.

use std::cell::RefCell;

use pegaflow_core::{Access, Batch, Op, Piece, Plane, Port, Region, Shape, Submitted, Table, Then, Window};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::Case;
use crate::{
    pair::{Context, Pair, There},
    protocol::{Command, Limits},
    side::{far, read, seeded},
};

pub(super) const CASES: &[Case] = &[
    Case::both("random_blocks_written_as_the_model_says", |context| {
        random_blocks(context, Op::Write);
    }),
    Case::both("random_blocks_read_as_the_model_says", |context| {
        random_blocks(context, Op::Read);
    }),
];

const CASES_TRIED: u32 = 64;
/// Each side is one region, granted or named as two windows with a gap between them.
const WINDOW_BYTES: u64 = 160 << 10;
const GAP_BYTES: u64 = 77;
const REGION_BYTES: u64 = 2 * WINDOW_BYTES + GAP_BYTES;

/// How one side lays its blocks out.
#[derive(Debug, Clone)]
struct Layout {
    pieces: Vec<Piece>,
    blocks: u32,
    stride_bytes: u64,
    split: u32,
    split_bytes: u64,
    planes: Vec<Plane>,
}

/// One batch over two layouts.
#[derive(Debug, Clone)]
struct Move {
    here: Layout,
    there: Layout,
    planes: std::ops::Range<u32>,
    ids_here: Vec<u32>,
    ids_there: Vec<u32>,
    seed: u64,
}

impl Layout {
    /// Where byte `at` of a block's payload lies: window and offset. Written from the documentation of `Table` and
    /// `Piece`, with nothing of the library's.
    fn place(&self, plane: u32, id: u32, mut at: u64) -> (u32, u64) {
        let plane = self.planes[plane as usize];
        let group = u64::from(id / self.split) * self.stride_bytes;
        let within = if self.split == 1 { 0 } else { u64::from(id % self.split) * self.split_bytes };
        for piece in &self.pieces {
            let all = u64::from(piece.bytes) * u64::from(piece.count);
            if at < all {
                let run = at / u64::from(piece.bytes);
                let offset = u64::from(piece.at) + run * u64::from(piece.step) + at % u64::from(piece.bytes);
                return (plane.window, plane.offset + group + within + offset);
            }
            at -= all;
        }
        panic!("byte {at} beyond the block");
    }

    fn payload(&self) -> u64 {
        let bytes = |piece: &Piece| u64::from(piece.bytes) * u64::from(piece.count);
        self.pieces.iter().map(bytes).sum()
    }

    fn table(&self) -> Table<'_> {
        Table {
            planes: &self.planes,
            blocks: self.blocks,
            stride_bytes: self.stride_bytes,
            split: self.split,
            split_bytes: self.split_bytes,
        }
    }
}

/// The offset in the region of a place in a window.
fn in_region((window, offset): (u32, u64)) -> usize {
    let start = u64::from(window) * (WINDOW_BYTES + GAP_BYTES);
    usize::try_from(start + offset).expect("small")
}

/// A block's pieces: `tokens` slices of `slice` bytes, one by one with room between them (a head slice), or in one
/// run, or in two pieces; and its extent.
fn pieces(tokens: u32, slice: u32, dense: bool) -> impl Strategy<Value = (Vec<Piece>, u32)> {
    let styles = if dense { 0..1_u8 } else { 0..4 };
    (styles, 0..40_u32, 0..50_u32).prop_map(move |(style, at, room)| {
        let step = slice + room;
        let all = tokens * slice;
        match style {
            0 => (vec![Piece::whole(all)], all),
            1 if all > 1 => {
                let first = Piece { at: all, step: 0, bytes: all / 2, count: 1 };
                let second = Piece { at: 0, step: 0, bytes: all - all / 2, count: 1 };
                (vec![first, second], 2 * all)
            }
            _ => {
                let one = Piece { at, step, bytes: slice, count: tokens };
                (vec![one], at + step * tokens)
            }
        }
    })
}

fn layout(tokens: u32, slice: u32, planes: usize, dense: bool) -> impl Strategy<Value = Layout> {
    let windows = proptest::collection::vec((0..2_u32, 0..3000_u64), planes);
    let rooms = if dense { 0..1_u64 } else { 0..3 };
    let blocks = if dense { 16..24_u32 } else { 1..24 };
    (pieces(tokens, slice, dense), blocks, any::<bool>(), rooms, windows).prop_map(
        move |((pieces, extent), blocks, grouped, room, windows)| {
            let room = room * 13;
            let split = if grouped { 4 } else { 1 };
            let split_bytes = u64::from(extent) + room;
            let stride_bytes = split_bytes * u64::from(split) + 3 * room;
            let plane_bytes = stride_bytes * u64::from(blocks.div_ceil(split));
            let mut used = [0; 2];
            let planes = windows
                .into_iter()
                .map(|(window, gap)| {
                    let offset = used[window as usize] + gap;
                    used[window as usize] = offset + plane_bytes;
                    Plane { window, offset }
                })
                .collect();
            Layout { pieces, blocks, stride_bytes, split, split_bytes, planes }
        },
    )
}

/// Ids: half of them in runs, or all, and long ones, for dense layouts; never twice the same where bytes arrive.
fn ids(blocks: u32, dense: bool) -> impl Strategy<Value = Vec<u32>> {
    let scattered = proptest::sample::subsequence((0..blocks).collect::<Vec<_>>(), 1..=blocks as usize).prop_shuffle();
    let (firsts, least) = if dense { (0..blocks / 4, blocks / 2) } else { (0..blocks, 1) };
    let run = firsts.prop_flat_map(move |first| (Just(first), least..=blocks - first));
    let run = run.prop_map(|(first, count)| (first..first + count).collect());
    prop_oneof![u32::from(!dense) => scattered, 1 => run]
}

fn one_move() -> impl Strategy<Value = Move> {
    // Blocks are merged only where they lie close on both sides at once: by chance that is seldom.
    (1..8_u32, 1..90_u32, 1..4_usize, proptest::bool::weighted(0.3))
        .prop_flat_map(|(tokens, slice, planes, dense)| {
            let layout = || layout(tokens, slice, planes, dense);
            (layout(), layout(), Just(dense))
        })
        .prop_flat_map(|(here, there, dense)| {
            let count = u32::try_from(here.planes.len()).expect("few planes");
            // Some, and seldom none.
            let some = (0..count).prop_flat_map(move |start| (Just(start), start + 1..=count));
            let planes = prop_oneof![7 => some, 1 => (0..=count).prop_map(|at| (at, at))];
            let sides = (ids(here.blocks, dense), ids(there.blocks, dense));
            (Just(here), Just(there), planes, sides, any::<u64>())
        })
        .prop_map(|(here, there, (start, end), (mut ids_here, mut ids_there), seed)| {
            let count = ids_here.len().min(ids_there.len());
            ids_here.truncate(count);
            ids_there.truncate(count);
            Move { here, there, planes: start..end, ids_here, ids_there, seed }
        })
}

/// Promise "one end": `Done` says that all bytes are where they belong; and no byte beside them moved, on either side.
fn random_blocks(context: &Context, op: Op) {
    let seed = match std::env::var("PEGAFLOW_SEED") {
        Ok(text) => text.parse().expect("PEGAFLOW_SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    eprintln!("random blocks: PEGAFLOW_SEED={seed}");
    let mut pair = Pair::with(context, Limits::USUAL);
    let here = pair.here.allocate(REGION_BYTES);
    let second = WINDOW_BYTES + GAP_BYTES;
    let windows = [(0, WINDOW_BYTES), (second, second + WINDOW_BYTES)];
    let there = pair.there_with(REGION_BYTES, &windows, Access::READ_WRITE);
    let state = RefCell::new((pair, 0));
    let config = Config { cases: CASES_TRIED, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let tried = runner.run(&one_move(), |one| {
        let (pair, tag) = &mut *state.borrow_mut();
        *tag += 1;
        check(pair, op, (&here, &there), &one, *tag);
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{error}\nrun it again with PEGAFLOW_SEED={seed}");
    }
}

fn check(pair: &mut Pair, op: Op, (here, there): (&Region, &There), one: &Move, tag: u64) {
    let mut model_here = seeded(one.seed, REGION_BYTES);
    let mut model_there = seeded(!one.seed, REGION_BYTES);
    here.write(0, &model_here).expect("its whole");
    pair.call(Command::Fill { region: there.region, seed: !one.seed });
    let second = WINDOW_BYTES + GAP_BYTES;
    let windows = [Window::new(here, 0..WINDOW_BYTES), Window::new(here, second..second + WINDOW_BYTES)];
    let plan = pair
        .here
        .node()
        .plan(
            op,
            (&windows, Shape::Paged(one.here.table(), &one.here.pieces)),
            (&there.remote, Shape::Paged(one.there.table(), &one.there.pieces)),
        )
        .expect("layouts that fit");
    let batch = Batch {
        plan: &plan,
        planes: one.planes.clone(),
        here: &one.ids_here,
        there: &one.ids_there,
        then: Then::Nothing,
        deadline: far(),
        tag,
    };
    let submitted = pair.here.port().submit(pair.channel, &batch).expect("no fault");
    assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
    let end = pair.here.done(tag);

    let mut moved = 0;
    for plane in one.planes.clone() {
        for (&id_here, &id_there) in one.ids_here.iter().zip(&one.ids_there) {
            for at in 0..one.here.payload() {
                let ours = in_region(one.here.place(plane, id_here, at));
                let theirs = in_region(one.there.place(plane, id_there, at));
                match op {
                    Op::Write => model_there[theirs] = model_here[ours],
                    Op::Read => model_here[ours] = model_there[theirs],
                }
                moved += 1;
            }
        }
    }
    assert_eq!(end.bytes, moved, "bytes of the end");
    pair.compare(there.region, &model_there);
    let got = read(here, 0, REGION_BYTES);
    let wrong = (got != model_here).then(|| got.iter().zip(&model_here).position(|(got, model)| got != model));
    assert_eq!(wrong, None, "byte of this side's region");
}
