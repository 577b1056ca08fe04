//! Slots, room, and what happens beyond it.

use pegaflow_rdma_stand_in::abi::*;
use pegaflow_rdma_stand_in::*;

use crate::rig::*;

const SUCCESS: u32 = IBV_WC_SUCCESS;
const ENOMEM: i32 = 12;

#[test]
fn slots_come_back_with_polled_completions_only() {
    let depth = Depth { send: 4, ..PLAIN };
    let (a, b) = sides(Schedule::default(), depth, 1);
    let write = || Request::write(&a, &b, 0, 8);
    assert_eq!(post(a.qps[0], vec![write(), write(), write().signalled()]), (0, 3));
    assert_eq!(post(a.qps[0], vec![write(), write(), write()]), (ENOMEM, 1), "one slot is left");
    assert_eq!(post(a.qps[0], vec![write()]), (ENOMEM, 0), "carried out is not enough");
    assert_eq!(a.poll().len(), 1);
    assert_eq!(post(a.qps[0], vec![write(); 4]), (ENOMEM, 3), "three came back, and one is after the signal");
    assert!(a.poll().is_empty());
    assert_eq!(post(a.qps[0], vec![write().signalled()]), (ENOMEM, 0), "a queue without a signal is stuck for ever");
}

#[test]
fn receive_slots_too() {
    let depth = Depth { receive: 2, ..PLAIN };
    let (a, b) = sides(Schedule::default(), depth, 1);
    assert_eq!([0; 3].map(|_| b.receive(0, 0, &mut [])), [0, 0, ENOMEM]);
    assert_eq!(post(a.qps[0], vec![Request::write(&a, &b, 0, 0).immediate(0)]).0, 0);
    assert_eq!(b.receive(0, 0, &mut []), ENOMEM, "arrived, but not polled");
    assert_eq!(b.poll().len(), 1);
    assert_eq!([0; 2].map(|_| b.receive(0, 0, &mut [])), [0, ENOMEM]);
}

#[test]
fn an_overrun_is_the_end_of_the_queue_and_of_all_that_use_it() {
    let depth = Depth { completions: 4, ..PLAIN };
    let (a, b) = sides(Schedule::default(), depth, 2);
    let write = || Request::write(&a, &b, 0, 8).signalled();
    assert_eq!(post(a.qps[0], vec![write(); 5]), (0, 5));
    let event = a.event();
    assert_eq!((event.event_type, event.element), (IBV_EVENT_CQ_ERR, a.cq.cast()));
    let mut fatal = [a.event(), a.event()];
    assert!(fatal.iter().all(|event| event.event_type == IBV_EVENT_QP_FATAL));
    fatal.sort_by_key(|event| event.element);
    let mut expected = [a.qps[0].cast(), a.qps[1].cast()];
    expected.sort();
    assert_eq!(fatal.map(|event| event.element), expected);
    assert_eq!([a.state(0), a.state(1)], [IBV_QPS_ERR; 2]);
    assert_eq!(a.poll().len(), 4);
    assert_eq!(post(a.qps[1], vec![write()]), (0, 1));
    assert!(a.poll().is_empty(), "nothing more comes");
    // SAFETY: got and not acknowledged before; the queue and the queue pairs are alive.
    unsafe {
        assert_eq!((ibv_destroy_qp(a.qps[0]), ibv_destroy_cq(a.cq)), (16, 16), "events want to be acknowledged");
        for mut event in fatal.into_iter().chain([event]) {
            ibv_ack_async_event(&raw mut event);
        }
    }
    drop(a);
    assert_eq!(b.state(0), IBV_QPS_RTS, "the peer hears nothing");
}

#[test]
fn credits_count_flushes_too() {
    // 3 signalled requests fit the completion queue, the flushes of all 12 do not.
    let depth = Depth { completions: 8, send: 16, receive: 0 };
    let (a, b) = sides(Schedule::default(), depth, 1);
    let mut chain: Vec<_> = (0..12).map(|id| Request::write(&a, &b, 0, 8).id(id)).collect();
    chain[0].wr.rkey ^= 1;
    chain[11] = chain[11].clone().signalled();
    assert_eq!(post(a.qps[0], chain), (0, 12));
    assert_eq!(a.poll().len(), 8);
    let mut events: Vec<_> = [a.event()].into();
    assert_eq!(events[0].event_type, IBV_EVENT_CQ_ERR);
    // SAFETY: got just now.
    events.iter_mut().for_each(|event| unsafe { ibv_ack_async_event(event) });
    events = vec![b.event()];
    assert_eq!(events[0].event_type, IBV_EVENT_QP_ACCESS_ERR);
    // SAFETY: got just now.
    events.iter_mut().for_each(|event| unsafe { ibv_ack_async_event(event) });
}

#[test]
fn destroying_a_queue_pair_takes_its_completions_along() {
    let (mut a, b) = sides(Schedule::default(), PLAIN, 2);
    for qp in [0, 1] {
        post(a.qps[qp], vec![Request::write(&a, &b, 0, 8).id(qp as u64).signalled()]);
    }
    // SAFETY: it is not used again.
    assert_eq!(unsafe { ibv_destroy_qp(a.qps.remove(0)) }, 0);
    let seen: Vec<_> = a.poll().iter().map(|wc| (wc.wr_id, wc.status)).collect();
    assert_eq!(seen, [(1, SUCCESS)]);
}
