//! What requests do when all is well.

use pegaflow_rdma_stand_in::abi::*;
use pegaflow_rdma_stand_in::*;

use crate::rig::*;

fn plain() -> (Side, Side) {
    sides(Schedule::default(), PLAIN, 1)
}

#[test]
fn writes_gather_and_land() {
    let (a, b) = plain();
    for length in [0, 1, 4, 7, 8, 4096, 30000] {
        a.bytes().iter_mut().for_each(|byte| *byte = fastrand::u8(1..));
        b.bytes().fill(0);
        let ranges = [a.range(8, length), a.range(0, 0), a.range(3, 5), a.range(64, length)];
        let request = Request::new(IBV_WR_RDMA_WRITE, &ranges, &b, 16).id(5).signalled();
        assert_eq!(post(a.qps[0], vec![request]), (0, 1));
        let length = length as usize;
        let expected = [&a.bytes()[8..8 + length], &a.bytes()[3..8], &a.bytes()[64..64 + length]].concat();
        assert_eq!(b.bytes()[16..16 + expected.len()], expected);
        assert!(b.bytes()[16 + expected.len()..].iter().all(|byte| *byte == 0));
        let [wc] = a.poll()[..] else { panic!("one completion") };
        assert_eq!((wc.wr_id, wc.status, wc.opcode), (5, 0, IBV_WC_RDMA_WRITE));
    }
}

#[test]
fn reads_scatter() {
    let (a, b) = plain();
    b.bytes()[..12].copy_from_slice(b"hello, world");
    let ranges = [a.range(100, 5), a.range(200, 7)];
    let request = Request::new(IBV_WR_RDMA_READ, &ranges, &b, 0).signalled();
    assert_eq!(post(a.qps[0], vec![request]), (0, 1));
    assert_eq!((&a.bytes()[100..105], &a.bytes()[200..207]), (&b"hello"[..], &b", world"[..]));
    assert_eq!(a.poll()[0].opcode, IBV_WC_RDMA_READ);
}

#[test]
fn immediates_consume_receives_in_order() {
    let (a, b) = plain();
    for id in 0..3 {
        assert_eq!(b.receive(0, id, &mut []), 0);
    }
    let chain = (0..3).map(|at| Request::write(&a, &b, at * 8, 8).immediate(70 + at as u32)).collect();
    assert_eq!(post(a.qps[0], chain), (0, 3));
    assert!(a.poll().is_empty(), "none is signalled");
    let seen: Vec<_> = b.poll().iter().map(|wc| (wc.wr_id, wc.opcode, wc.imm_data, wc.byte_len, wc.wc_flags)).collect();
    let expected: Vec<_> =
        (0..3).map(|at| (at, IBV_WC_RECV_RDMA_WITH_IMM, 70 + at as u32, 8, IBV_WC_WITH_IMM)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn inline_needs_no_key_and_has_a_limit() {
    let (a, b) = plain();
    let word = 0x1122_3344_5566_7788_u64;
    let range = ibv_sge { addr: (&raw const word).expose_provenance() as u64, length: 8, lkey: 0 };
    let mut request = Request::new(IBV_WR_RDMA_WRITE, &[range], &b, 8);
    request.wr.send_flags = IBV_SEND_INLINE;
    assert_eq!(post(a.qps[0], vec![request.clone()]), (0, 1));
    assert_eq!(b.bytes()[8..16], word.to_ne_bytes());
    request.ranges[0].length = 65;
    assert_eq!(post(a.qps[0], vec![request]), (22, 0));
}

#[test]
fn messages_fill_receives() {
    let (a, b) = plain();
    assert_eq!(b.receive(0, 9, &mut [b.range(0, 3), b.range(100, 50)]), 0);
    a.bytes()[..5].copy_from_slice(b"abcde");
    let mut request = Request::write(&a, &b, 0, 5);
    (request.wr.opcode, request.wr.imm_data) = (IBV_WR_SEND_WITH_IMM, 3);
    assert_eq!(post(a.qps[0], vec![request]), (0, 1));
    assert_eq!((&b.bytes()[..3], &b.bytes()[100..102]), (&b"abc"[..], &b"de"[..]));
    let wc = b.poll()[0];
    assert_eq!((wc.wr_id, wc.opcode, wc.byte_len, wc.imm_data), (9, IBV_WC_RECV, 5, 3));
}

#[test]
fn a_write_without_a_receive_waits_with_all_behind_it() {
    let (a, b) = plain();
    a.bytes().fill(7);
    let chain = vec![Request::write(&a, &b, 0, 8).immediate(1), Request::write(&a, &b, 8, 8).signalled()];
    assert_eq!(post(a.qps[0], chain), (0, 2));
    assert!(a.poll().is_empty() && b.poll().is_empty());
    assert_eq!(b.bytes()[..16], [0; 16]);
    assert_eq!(b.receive(0, 4, &mut []), 0);
    assert_eq!(b.bytes()[..16], [7; 16], "carried out as the receive was posted");
    assert_eq!((b.poll()[0].wr_id, a.poll().len()), (4, 1));
}

#[test]
fn counts_are_what_was_done() {
    let (a, b) = plain();
    b.receive(0, 0, &mut []);
    let chain = vec![Request::write(&a, &b, 0, 100), Request::write(&a, &b, 0, 28).immediate(1).signalled()];
    post(a.qps[0], chain);
    a.poll();
    a.poll();
    let counts = a.counts();
    assert_eq!((counts.chains, counts.requests, counts.signalled, counts.bytes), (1, 2, 1, 128));
    assert_eq!((counts.polls, counts.empty_polls, b.counts().receives), (2, 1, 1));
    // SAFETY: the device stays, and so does its name.
    unsafe {
        let name = ibv_get_device_name((*a.context).device);
        drop(a);
        let mut after = Counts::default();
        assert_eq!(pegaflow_stand_in_device_counts(name, &raw mut after), 0);
        assert_eq!(after, Counts { regions: 0, pairs: 0, queues: 0, ..counts }, "closed contexts count");
    }
}
