//! Devices that are late or short of room, and the same in every run.

use pegaflow_rdma_stand_in::abi::*;
use pegaflow_rdma_stand_in::*;

use crate::rig::*;

const PAIRS: usize = 3;

/// Posts writes in turn to three queue pairs; in which order they complete.
fn order(seed: u64, late_calls: u32) -> Vec<u64> {
    let (a, b) = sides(Schedule { seed, late_calls, ..Schedule::default() }, PLAIN, PAIRS);
    for id in 0..12_u64 {
        let request = Request::write(&a, &b, id as usize * 8, 8).id(id).signalled();
        assert_eq!(post(a.qps[id as usize % PAIRS], vec![request]), (0, 1));
    }
    a.wait(12).iter().map(|wc| wc.wr_id).collect()
}

#[test]
fn queue_pairs_pass_each_other_and_keep_their_own_order() {
    let seed = seed();
    let first = order(seed, 5);
    assert_eq!(first, order(seed, 5), "the same seed, the same run");
    assert!((0..40).any(|more| order(seed ^ more, 5) != (0..12).collect::<Vec<_>>()));
    for pair in 0..PAIRS as u64 {
        let own: Vec<_> = first.iter().copied().filter(|id| id % PAIRS as u64 == pair).collect();
        assert!(own.is_sorted(), "{first:?}");
    }
    assert_eq!(order(seed, 0), (0..12).collect::<Vec<_>>(), "off at 0");
}

#[test]
fn an_immediate_overtakes_data_of_another_queue_pair() {
    let seed = seed();
    let overtakes = (0..200).any(|more| {
        let (a, b) = sides(Schedule { seed: seed ^ more, late_calls: 8, ..Schedule::default() }, PLAIN, 2);
        a.bytes()[..8].fill(1);
        b.receive(1, 0, &mut []);
        post(a.qps[0], vec![Request::write(&a, &b, 0, 8).signalled()]);
        post(a.qps[1], vec![Request::write(&a, &b, 8, 0).immediate(0).signalled()]);
        b.wait(1);
        let early = b.bytes()[..8] == [0; 8];
        a.wait(2);
        assert_eq!(b.bytes()[..8], [1; 8], "late, not lost");
        early
    });
    assert!(overtakes);
}

#[test]
fn chains_are_taken_in_part() {
    let (a, b) = sides(Schedule { seed: seed(), partial_posts: ALWAYS / 2, ..Schedule::default() }, PLAIN, 1);
    let mut kinds = [0; 2];
    for _ in 0..200 {
        let chain = (0..4).map(|_| Request::write(&a, &b, 0, 8).signalled()).collect();
        let (errno, taken) = post(a.qps[0], chain);
        assert_eq!(errno, if taken < 4 { 12 } else { 0 });
        assert_eq!(a.wait(taken).len(), taken);
        kinds[usize::from(taken < 4)] += 1;
    }
    assert!(kinds.iter().all(|kind| *kind > 50), "{kinds:?}");
}

#[test]
fn reads_arrive_late_and_a_fence_waits_for_them() {
    let seed = seed();
    for fence in [false, true] {
        let stale = (0..100).any(|more| {
            let (a, b) = sides(Schedule { seed: seed ^ more, late_reads: 6, ..Schedule::default() }, PLAIN, 1);
            b.bytes()[..8].fill(9);
            // Reads a word, then writes what it read to another place.
            let read = Request::new(IBV_WR_RDMA_READ, &[a.range(0, 8)], &b, 0).id(1).signalled();
            let mut write = Request::new(IBV_WR_RDMA_WRITE, &[a.range(0, 8)], &b, 64).id(2).signalled();
            write.wr.send_flags |= if fence { IBV_SEND_FENCE } else { 0 };
            post(a.qps[0], vec![read, write]);
            assert_eq!(a.wait(2).iter().map(|wc| wc.wr_id).collect::<Vec<_>>(), [1, 2], "completions keep their order");
            assert_eq!(a.bytes()[..8], [9; 8]);
            b.bytes()[64..72] != [9; 8]
        });
        assert_eq!(stale, !fence);
    }
}

#[test]
fn a_late_request_that_fails_flushes_the_others() {
    let (a, b) = sides(Schedule { seed: seed(), late_calls: 4, late_reads: 4, ..Schedule::default() }, PLAIN, 1);
    let read = Request::new(IBV_WR_RDMA_READ, &[a.range(0, 8)], &b, 0).id(1);
    let mut chain = vec![read.clone(), read.clone().signalled().id(2), read.id(3), Request::write(&a, &b, 0, 8).id(4)];
    chain[2].wr.rkey ^= 1;
    post(a.qps[0], chain);
    let seen: Vec<_> = a.wait(3).iter().map(|wc| (wc.wr_id, wc.status)).collect();
    assert_eq!(seen, [(2, 0), (3, IBV_WC_REM_ACCESS_ERR), (4, IBV_WC_WR_FLUSH_ERR)]);
    // SAFETY: got just now.
    unsafe { ibv_ack_async_event(&mut b.event()) };
}

#[test]
fn inline_bytes_are_taken_when_posted() {
    let (a, b) = sides(Schedule { seed: seed(), late_calls: 50, ..Schedule::default() }, PLAIN, 1);
    a.bytes()[..8].fill(3);
    let mut request = Request::write(&a, &b, 0, 8).signalled();
    request.wr.send_flags |= IBV_SEND_INLINE;
    post(a.qps[0], vec![request]);
    a.bytes()[..8].fill(4);
    a.wait(1);
    assert_eq!(b.bytes()[..8], [3; 8]);
}
