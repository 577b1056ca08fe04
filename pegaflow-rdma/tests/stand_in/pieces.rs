//! Memory that is more than one registration, and memory that is a dmabuf.

use std::{os::fd::OwnedFd, ptr::NonNull};

use libtest_mimic::{Completion, Trial};
use pegaflow_core::{AllocateOptions, Class, MemoryError, Node, Op, Then};
use pegaflow_rdma::{RdmaConfig, testing};

use crate::{
    Test,
    devices::{ALWAYS, Schedule, counts, device, nothing_registered},
    provider::config,
    rig::Pair,
    tests,
};

pub(crate) const TESTS: &[Test] = tests!["pieces": dmabuf_written_and_read];

/// As `region` cuts them.
const PIECE: u64 = 2 << 30;
/// Two cuts, and a rest.
const LONG: u64 = 2 * PIECE + 8192;

/// They need room for long memory, of which next to nothing is touched.
pub(crate) fn trials() -> Vec<Trial> {
    [
        ("moves_across_the_cuts", moves_across_the_cuts as fn() -> Option<String>),
        ("moves_across_the_cuts_in_parts", in_parts),
        ("blocks_merged_across_a_cut", merged),
    ]
    .into_iter()
    .map(|(name, run)| {
        Trial::ignorable_test(format!("pieces::{name}"), move || {
            Ok(run().map_or(Completion::Completed, Completion::ignored_with))
        })
    })
    .collect()
}

fn moves_across_the_cuts() -> Option<String> {
    across(&Schedule::default(), |_| {})
}

/// The queue has room for two moves that are cut, and the device takes some of most chains.
fn in_parts() -> Option<String> {
    across(&Schedule { seed: 3, partial_posts: ALWAYS / 4 * 3, late_calls: 2, ..Schedule::default() }, |config| {
        (config.send_depth, config.signal_every, config.chain) = (8, 4, 4);
    })
}

/// Bytes of which no two neighbours are the same, and none is 0.
fn pattern(bytes: u64, seed: u64) -> Vec<u8> {
    (0..bytes).map(|at| (at * 6 + at / 100 * 2 + seed).to_le_bytes()[0] | 1).collect()
}

/// Moves bytes across the cuts of both sides; gives why that is not possible here.
fn across(schedule: &Schedule, change: impl Fn(&mut RdmaConfig)) -> Option<String> {
    let names = [device(schedule), device(schedule)];
    let [here, there] = names.each_ref().map(|name| {
        let mut config = config(name);
        change(&mut config);
        testing::open(&config).expect("a device of the stand-in's")
    });
    let mut pair = Pair::new(here, there);
    let allocate = |node: &Node| node.allocate(LONG, &AllocateOptions::default());
    let (long_here, long_there) = match (allocate(&pair.here.node), allocate(&pair.there.node)) {
        (Ok(here), Ok(there)) => (here, there),
        (Err(error), _) | (_, Err(error)) => return Some(format!("no room for {LONG} bytes twice: {error}")),
    };
    assert_eq!(names.each_ref().map(|name| counts(name).regions), [3, 3], "three pieces a side");
    let on = pair.connect(Class::Kv);
    let mut tag = 0;
    for (at_here, at_there, bytes) in [
        // The cut in both at once; here first; there first; from the last byte; to the last byte.
        (PIECE - 100, PIECE - 100, 200),
        (PIECE - 100, PIECE - 333, 1000),
        (PIECE - 333, PIECE - 101, 1000),
        (PIECE - 1, 2 * PIECE - 999, 1000),
        (2 * PIECE - 999, PIECE - 1, 1000),
        (PIECE - 1000, 2 * PIECE - 1000, 1000),
        // One side alone; none.
        (2 * PIECE - 7, 12, 4096),
        (4097, 2 * PIECE - 4095, 4096),
        (2 * PIECE, PIECE, 4096),
    ] {
        // Alone, and with a short one before it, or behind it, or both: the chain that it does not fit into is not empty.
        let orders: [&[u32]; 4] = [&[1], &[0, 1, 2], &[1, 2, 0], &[2, 0, 1]];
        for (op, ids) in [Op::Write, Op::Read].into_iter().flat_map(|op| orders.map(|ids| (op, ids))) {
            let case = format!("{op:?} {ids:?} of {bytes} bytes, {at_here:#x} here, {at_there:#x} there");
            let ranges = [(PIECE / 2, 3 * PIECE / 2, 64), (at_here, at_there, bytes), (PIECE / 4, PIECE / 3, 77)];
            let (from, to) = if op == Op::Write { (&long_here, &long_there) } else { (&long_there, &long_here) };
            let places = ranges.map(|(here, there, bytes)| {
                let (at_from, at_to) = if op == Op::Write { (here, there) } else { (there, here) };
                let source = pattern(bytes, tag);
                from.write(at_from, &source).expect("inside");
                to.write(at_to - 1, &vec![0; source.len() + 2]).expect("inside");
                (at_to, source)
            });
            let blocks = pair.spans(on, op, (&long_here, &long_there), &ranges);
            let (counter, id) = pair.counter(on);
            pair.submit(on, &blocks, ids, Then::Count(id), tag);
            pair.quiet(tag..tag + 1);
            pair.until("its count", |_| (counter.value() == 1).then_some(()));
            for (number, (at, source)) in (0..).zip(places) {
                let mut got = vec![1; source.len() + 2];
                to.read(at - 1, &mut got).expect("inside");
                assert_eq!((got[0], got[got.len() - 1]), (0, 0), "beside {at:#x}: {case}");
                let expected = if ids.contains(&number) { source } else { vec![0; source.len()] };
                assert!(got[1..=expected.len()] == expected, "at {at:#x}: {case}");
            }
            tag += 1;
        }
    }
    drop((pair, long_here, long_there));
    names.iter().for_each(|name| nothing_registered(name));
    None
}

/// Neighbours become one move, and the cut falls into the middle of one of them: what goes before it is less than what
/// there is room for, since blocks are merged whole.
fn merged() -> Option<String> {
    const BLOCK: u64 = 1000;
    let [here, there] = [(), ()].map(|()| testing::open(&config(&device(&Schedule::default()))).expect("a device"));
    let mut pair = Pair::new(here, there);
    let (bytes, how) = (8 * BLOCK, AllocateOptions::default());
    let short = pair.here.node.allocate(bytes, &how).expect("memory");
    let long = match pair.there.node.allocate(PIECE + bytes, &how) {
        Ok(long) => long,
        Err(error) => return Some(format!("no room for {} bytes: {error}", PIECE + bytes)),
    };
    let on = pair.connect(Class::Kv);
    for (tag, before) in (0..).zip([500, 1000, 2500, 6999, 7001]) {
        let start = PIECE - before;
        let ranges: Vec<_> = (0..8).map(|block| (block * BLOCK, start + block * BLOCK, BLOCK)).collect();
        let blocks = pair.spans(on, Op::Write, (&short, &long), &ranges);
        let source = pattern(bytes, tag);
        short.write(0, &source).expect("its whole");
        long.write(start, &vec![0; source.len()]).expect("inside");
        let (counter, id) = pair.counter(on);
        pair.submit(on, &blocks, &[0, 1, 2, 3, 4, 5, 6, 7], Then::Count(id), tag);
        pair.quiet(tag..tag + 1);
        pair.until("its count", |_| (counter.value() == 1).then_some(()));
        let mut got = vec![0; source.len()];
        long.read(start, &mut got).expect("inside");
        assert!(got == source, "{before} bytes before the cut");
    }
    None
}

/// Memory of a device, which is a file here: peers write and read it, this process is refused.
fn dmabuf_written_and_read() {
    const ALL: u64 = 1 << 16;
    const OFFSET: u64 = 4096;
    let names = [device(&Schedule::default()), device(&Schedule { dmabuf: 1, ..Schedule::default() })];
    let [here, there] = names.each_ref().map(|name| testing::open(&config(name)).expect("a device"));
    let mut pair = Pair::new(here, there);
    let file = rustix::fs::memfd_create("dmabuf", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
    rustix::fs::ftruncate(&file, OFFSET + ALL).expect("its length");
    let dmabuf = |file: &OwnedFd| (file.try_clone().expect("a descriptor"), OFFSET);
    // An address of the device's, where this process has nothing.
    let base = NonNull::without_provenance(0x7_0000_0000_usize.try_into().expect("not zero"));
    // SAFETY: the file keeps the memory.
    let refused = unsafe { pair.here.node.register_dmabuf((base, ALL), 0, dmabuf(&file), Box::new(())) };
    let said = refused.expect_err("a device without dmabufs").to_string();
    assert_eq!(said, "backend `rdma` refuses it: memory of device 0 can't be reached");
    // SAFETY: the file keeps the memory.
    let region = unsafe { pair.there.node.register_dmabuf((base, ALL), 0, dmabuf(&file), Box::new(())) };
    let region = region.expect("a device with dmabufs");
    let on = pair.connect(Class::Kv);
    let host = pair.here.node.allocate(ALL, &AllocateOptions::default()).expect("memory");
    let source = pattern(ALL, 0);
    host.write(0, &source).expect("its whole");
    let write = pair.plan(on, Op::Write, (host.clone(), region.clone()), 4096, 16);
    let ids: Vec<u32> = (0..16).collect();
    pair.submit(on, &write, &ids, Then::Nothing, 0);
    pair.quiet(0..1);
    let mut got = vec![0; source.len()];
    rustix::io::pread(&file, &mut got, OFFSET).expect("its whole");
    assert!(got == source, "written");
    host.write(0, &vec![0; source.len()]).expect("its whole");
    let read = pair.plan(on, Op::Read, (host.clone(), region.clone()), 4096, 16);
    pair.submit(on, &read, &ids, Then::Nothing, 1);
    pair.quiet(1..2);
    host.read(0, &mut got).expect("its whole");
    assert!(got == source, "read");
    let touched = region.read(0, &mut got);
    assert!(matches!(touched, Err(MemoryError::Refused { .. })), "{touched:?}");
    let touched = region.write(0, &got);
    assert!(matches!(touched, Err(MemoryError::Refused { .. })), "{touched:?}");
    drop((pair, write, read, region, host));
    names.iter().for_each(|name| nothing_registered(name));
}
