//! What fails, how it is told, and what goes down with it.

use pegaflow_rdma_stand_in::abi::*;
use pegaflow_rdma_stand_in::*;

use crate::rig::*;

const FLUSH: u32 = IBV_WC_WR_FLUSH_ERR;

fn statuses(side: &Side) -> Vec<(u64, u32)> {
    side.poll().iter().map(|wc| (wc.wr_id, wc.status)).collect()
}

/// Gets and acknowledges an event.
fn event(side: &Side) -> u32 {
    let mut event = side.event();
    // SAFETY: got just now.
    unsafe { ibv_ack_async_event(&raw mut event) };
    event.event_type
}

#[test]
fn a_refused_request_flushes_all_others_in_order_on_both_sides() {
    type Spoil = fn(&mut Request, &Side, &Side);
    let spoils: [(&str, Spoil); 4] = [
        ("another key", |request, _, _| request.wr.rkey ^= 1),
        ("a local key", |request, _, b| request.wr.rkey = b.range(0, 0).lkey),
        ("beyond the end", |request, _, b| request.wr.remote_addr = b.at(SIZE - 7)),
        ("before the beginning", |request, _, b| request.wr.remote_addr = b.at(0) - 1),
    ];
    for (name, spoil) in spoils {
        let (a, b) = sides(Schedule::default(), PLAIN, 1);
        b.receive(0, 50, &mut []);
        b.receive(0, 51, &mut []);
        a.receive(0, 60, &mut []);
        let mut chain: Vec<_> = (0..5).map(|id| Request::write(&a, &b, 0, 8).id(id)).collect();
        spoil(&mut chain[1], &a, &b);
        assert_eq!(post(a.qps[0], chain), (0, 5));
        assert_eq!(post(a.qps[0], vec![Request::write(&a, &b, 0, 8).id(5)]), (0, 1));
        a.receive(0, 61, &mut []);
        let expected =
            [(1, IBV_WC_REM_ACCESS_ERR), (60, FLUSH), (2, FLUSH), (3, FLUSH), (4, FLUSH), (5, FLUSH), (61, FLUSH)];
        assert_eq!(statuses(&a), expected, "{name}; unsignalled ones too");
        assert_eq!(statuses(&b), [(50, FLUSH), (51, FLUSH)]);
        assert_eq!([a.state(0), b.state(0)], [IBV_QPS_ERR; 2]);
        assert_eq!(event(&b), IBV_EVENT_QP_ACCESS_ERR);
    }
}

#[test]
fn a_device_fails_its_queue_pairs_or_its_completion_queues() {
    for (raised, flushed) in [(IBV_EVENT_QP_FATAL, vec![(60, FLUSH)]), (IBV_EVENT_CQ_ERR, vec![])] {
        let (a, b) = sides(Schedule::default(), PLAIN, 1);
        a.receive(0, 60, &mut []);
        // SAFETY: context and device are alive.
        assert_eq!(unsafe { pegaflow_stand_in_raise(ibv_get_device_name((*a.context).device), raised) }, 0);
        assert_eq!(event(&a), raised);
        if raised == IBV_EVENT_CQ_ERR {
            assert_eq!(event(&a), IBV_EVENT_QP_FATAL);
        }
        assert_eq!((a.state(0), statuses(&a)), (IBV_QPS_ERR, flushed));
        assert_eq!(post(b.qps[0], vec![Request::write(&b, &a, 0, 8).id(1)]), (0, 1));
        assert_eq!(statuses(&b), [(1, IBV_WC_RETRY_EXC_ERR)], "nobody answers");
    }
}

#[test]
fn a_device_refuses_whole_chains() {
    let (a, b) = sides(Schedule { refused_posts: ALWAYS, ..Schedule::default() }, PLAIN, 1);
    assert_eq!(post(a.qps[0], vec![Request::write(&a, &b, 0, 8).signalled()]), (22, 0));
    assert_eq!(a.poll().len(), 0);
}

#[test]
fn failed_completions_hold_garbage() {
    let (a, b) = sides(Schedule::default(), PLAIN, 1);
    let mut request = Request::write(&a, &b, 0, 8);
    request.wr.rkey = 0;
    post(a.qps[0], vec![request]);
    event(&b);
    let chain = (0..10).map(|id| Request::write(&a, &b, 0, 8).id(id)).collect();
    post(a.qps[0], chain);
    let all = a.poll();
    assert!(all.iter().any(|wc| wc.opcode & IBV_WC_RECV != 0), "a reader of `opcode` takes sends for receives");
    assert!(all.iter().all(|wc| wc.byte_len != 8 && wc.wc_flags & IBV_WC_WITH_IMM != 0));
}

#[test]
fn local_mistakes_are_this_sides_alone() {
    let (a, b) = sides(Schedule::default(), PLAIN, 1);
    let mut request = Request::write(&a, &b, 0, 8).id(1);
    request.ranges[0].lkey ^= 1;
    request.wr.rkey ^= 1;
    post(a.qps[0], vec![request, Request::write(&a, &b, 0, 8).id(2)]);
    assert_eq!(statuses(&a), [(1, IBV_WC_LOC_PROT_ERR), (2, FLUSH)], "looked at before anything is sent");
    assert_eq!((a.state(0), b.state(0)), (IBV_QPS_ERR, IBV_QPS_RTS));
    post(b.qps[0], vec![Request::write(&b, &a, 0, 8).id(3)]);
    assert_eq!(statuses(&b), [(3, IBV_WC_RETRY_EXC_ERR)], "nobody answers it any more");
}

#[test]
fn access_is_what_was_granted() {
    let (a, b) = sides(Schedule::default(), PLAIN, 1);
    // SAFETY: domain and memory are alive.
    let mr = unsafe { ibv_reg_mr(b.pd, b.memory.cast(), SIZE, IBV_ACCESS_REMOTE_READ as i32) };
    let mut read = Request::new(IBV_WR_RDMA_READ, &[a.range(0, 8)], &b, 0).id(1).signalled();
    let mut write = Request::write(&a, &b, 0, 8).id(2);
    // SAFETY: registered just now.
    (read.wr.rkey, write.wr.rkey) = unsafe { ((*mr).rkey, (*mr).rkey) };
    post(a.qps[0], vec![read, write]);
    assert_eq!(statuses(&a), [(1, 0), (2, IBV_WC_REM_ACCESS_ERR)]);
    event(&b);
    // SAFETY: not used again.
    assert_eq!(unsafe { ibv_dereg_mr(mr) }, 0);
}

#[test]
fn a_key_ends_with_its_region() {
    let (a, b) = sides(Schedule::default(), PLAIN, 1);
    // SAFETY: domain and memory are alive; the region is not used again.
    let rkey = unsafe {
        let mr = ibv_reg_mr(b.pd, b.memory.cast(), SIZE, ACCESS as i32);
        let rkey = (*mr).rkey;
        ibv_dereg_mr(mr);
        rkey
    };
    let mut request = Request::write(&a, &b, 0, 8).id(1);
    request.wr.rkey = rkey;
    post(a.qps[0], vec![request]);
    assert_eq!(statuses(&a), [(1, IBV_WC_REM_ACCESS_ERR)]);
    event(&b);
}

#[test]
fn a_peer_that_is_gone_is_noticed_after_the_retries() {
    for calls in [0, 5] {
        let (a, mut b) = sides(Schedule { retry_calls: calls, ..Schedule::default() }, PLAIN, 1);
        // SAFETY: it is not used again.
        assert_eq!(unsafe { ibv_destroy_qp(b.qps.remove(0)) }, 0);
        post(a.qps[0], vec![Request::write(&a, &b, 0, 8).id(1), Request::write(&a, &b, 0, 8).id(2)]);
        let (mut polls, mut seen) = (0, Vec::new());
        while seen.len() < 2 {
            seen.extend(statuses(&a));
            polls += 1;
        }
        assert_eq!(seen, [(1, IBV_WC_RETRY_EXC_ERR), (2, FLUSH)]);
        assert_eq!(polls > 1, calls > 0);
        assert_eq!(a.state(0), IBV_QPS_ERR);
    }
}

#[test]
fn without_a_receive_the_retries_may_end() {
    let (a, b) = sides(Schedule::default(), PLAIN, 1);
    for side in [&a, &b] {
        assert_eq!(modify(side.qps[0], attributes(IBV_QPS_RESET, 0, 0)), 0);
    }
    connect(&a, &b, 0, 3);
    post(a.qps[0], vec![Request::write(&a, &b, 0, 8).immediate(1).id(1)]);
    let [wc] = a.wait(1)[..] else { unreachable!() };
    assert_eq!(wc.status, IBV_WC_RNR_RETRY_EXC_ERR);
    assert_eq!((a.state(0), b.state(0)), (IBV_QPS_ERR, IBV_QPS_RTS));
}

#[test]
fn packets_of_an_old_connection_reach_nobody() {
    let (a, b) = sides(Schedule::default(), PLAIN, 1);
    post(a.qps[0], vec![Request::write(&a, &b, 0, 8)]);
    // One side connects anew, with the same numbers.
    // SAFETY: the queue pair is alive.
    let number = unsafe { (*a.qps[0]).qp_num };
    for state in [IBV_QPS_RESET, IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_RTS] {
        assert_eq!(modify(b.qps[0], attributes(state, host(&a), number)), 0);
    }
    post(a.qps[0], vec![Request::write(&a, &b, 0, 8).id(1)]);
    assert_eq!(statuses(&a), [(1, IBV_WC_RETRY_EXC_ERR)]);
}

#[test]
fn an_error_by_choice_flushes_and_a_reset_forgets() {
    let (a, b) = sides(Schedule::default(), PLAIN, 1);
    b.receive(0, 1, &mut []);
    post(b.qps[0], vec![Request::write(&b, &a, 0, 8).id(2)]);
    assert_eq!(modify(b.qps[0], attributes(IBV_QPS_ERR, 0, 0)), 0);
    post(b.qps[0], vec![Request::write(&b, &a, 0, 8).id(3).signalled()]);
    assert_eq!(statuses(&b), [(1, FLUSH), (3, FLUSH)], "what had succeeded in silence stays silent");
    b.receive(0, 4, &mut []);
    for side in [&a, &b] {
        assert_eq!(modify(side.qps[0], attributes(IBV_QPS_RESET, 0, 0)), 0);
    }
    connect(&a, &b, 0, 7);
    post(a.qps[0], vec![Request::write(&a, &b, 0, 8).id(5).signalled()]);
    assert_eq!((statuses(&a), statuses(&b)), (vec![(5, 0)], vec![]));
}

/// Who takes a queue pair down while another thread looks at its event waits for that one, as over a real library.
#[test]
fn a_queue_pair_goes_once_its_event_is_acknowledged() {
    let (mut a, b) = sides(Schedule::default(), PLAIN, 1);
    let mut request = Request::write(&b, &a, 0, 8);
    request.wr.rkey ^= 1;
    post(b.qps[0], vec![request]);
    let mut got = a.event();
    assert_eq!(got.event_type, IBV_EVENT_QP_ACCESS_ERR);
    let pair = a.qps.remove(0);
    let (event, acknowledged) = (&raw mut got as usize, std::sync::atomic::AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(30));
            acknowledged.store(true, std::sync::atomic::Ordering::Release);
            // SAFETY: got above, and alive until this scope ends.
            unsafe { ibv_ack_async_event(event as *mut ibv_async_event) };
        });
        // SAFETY: it is not used again.
        assert_eq!(unsafe { ibv_destroy_qp(pair) }, 0);
        assert!(acknowledged.load(std::sync::atomic::Ordering::Acquire));
    });
}

/// A request that another thread carries out meanwhile is over when its target's queue pair is gone, as a NIC's is.
#[test]
fn nothing_lands_once_the_queue_pair_is_gone() {
    for round in 0..200 {
        let (a, mut b) = sides(Schedule::default(), PLAIN, 1);
        let chain = || (0..16).map(|_| Request::write(&a, &b, 0, SIZE as u32)).collect::<Vec<_>>();
        a.bytes().fill(7);
        let (chain, from) = (chain(), a.qps[0] as usize);
        let pair = b.qps.remove(0);
        std::thread::scope(|scope| {
            // SAFETY: the memory lives as long as its side; the writer may be at it.
            let first = unsafe { std::sync::atomic::AtomicU8::from_ptr(b.memory) };
            let requests = Chain(chain);
            scope.spawn(move || post(from as *mut ibv_qp, requests.take()));
            while first.load(std::sync::atomic::Ordering::Acquire) != 7 {}
            // SAFETY: it is not used again.
            assert_eq!(unsafe { ibv_destroy_qp(pair) }, 0);
            b.bytes().fill(9);
        });
        assert!(b.bytes().iter().all(|byte| *byte == 9), "bytes came after the end, in round {round}");
    }
}

/// Requests on their way to the thread that posts them.
struct Chain(Vec<Request>);

// SAFETY: they name memory that lives as long as the sides, by address.
unsafe impl Send for Chain {}

impl Chain {
    fn take(self) -> Vec<Request> {
        self.0
    }
}
