//! Completion events and asynchronous events.

use std::ffi::{CStr, c_int};
use std::os::fd::BorrowedFd;
use std::ptr::null_mut;

use pegaflow_rdma_stand_in::abi::*;
use pegaflow_rdma_stand_in::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::rig::*;

fn readable(descriptor: c_int, milliseconds: i64) -> bool {
    // SAFETY: the descriptor is open while its owner is.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let patience = Timespec { tv_sec: milliseconds / 1000, tv_nsec: milliseconds % 1000 * 1_000_000 };
    poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&patience)).expect("poll") == 1
}

fn woken(side: &Side, milliseconds: i64) -> bool {
    // SAFETY: the channel is alive.
    readable(unsafe { (*side.channel).fd }, milliseconds)
}

/// Takes an event.
fn take(side: &Side) {
    let (mut cq, mut mark) = (null_mut(), null_mut());
    // SAFETY: the channel is alive.
    assert_eq!(unsafe { ibv_get_cq_event(side.channel, &raw mut cq, &raw mut mark) }, 0);
    assert_eq!(cq, side.cq);
}

fn acknowledge(side: &Side, count: u32) {
    // SAFETY: the queue is alive.
    unsafe { ibv_ack_cq_events(side.cq, count) };
}

fn signal(a: &Side, b: &Side) {
    assert_eq!(post(a.qps[0], vec![Request::write(a, b, 0, 8).signalled()]), (0, 1));
    assert_eq!(a.poll().len(), 1);
}

#[test]
fn arming_brings_one_event_with_the_next_completion() {
    let (a, b) = sides(Schedule::default(), PLAIN, 1);
    signal(&a, &b);
    assert!(!woken(&a, 0), "not armed");
    a.arm();
    assert!(!woken(&a, 0), "what was there does not count");
    signal(&a, &b);
    signal(&a, &b);
    assert!(woken(&a, 0));
    take(&a);
    assert!(!woken(&a, 0), "one");
    // SAFETY: the queue is alive; without its queue pair it could go.
    let qp = unsafe {
        let mut a = a;
        assert_eq!(ibv_destroy_qp(a.qps.remove(0)), 0);
        assert_eq!(ibv_destroy_cq(a.cq), 16, "an event is not acknowledged");
        a
    };
    acknowledge(&qp, 1);
}

#[test]
fn an_event_that_nobody_got_goes_with_its_queue() {
    let (a, b) = sides(Schedule::default(), PLAIN, 1);
    a.arm();
    signal(&a, &b);
    drop(a);
}

#[test]
fn events_get_lost_and_come_twice() {
    for (lost_events, duplicate_events, expected) in [(ALWAYS, 0, 0), (0, ALWAYS, 2)] {
        let (a, b) = sides(Schedule { lost_events, duplicate_events, ..Schedule::default() }, PLAIN, 1);
        a.arm();
        signal(&a, &b);
        let mut seen = 0;
        while woken(&a, 0) {
            take(&a);
            seen += 1;
        }
        assert_eq!(seen, expected);
        acknowledge(&a, seen);
    }
}

#[test]
fn a_sleeper_is_woken_though_nobody_calls() {
    let (a, b) = sides(Schedule { seed: 1, late_calls: 100, ..Schedule::default() }, PLAIN, 1);
    a.arm();
    post(a.qps[0], (0..3).map(|_| Request::write(&a, &b, 0, 8).signalled()).collect());
    assert!(woken(&a, 60_000));
    take(&a);
    acknowledge(&a, 1);
}

#[test]
fn ports_go_down_and_up() {
    let side = Side::new(Schedule::default(), PLAIN, 0);
    // SAFETY: context and device are alive.
    unsafe {
        let name = ibv_get_device_name((*side.context).device);
        for (event, state) in [(IBV_EVENT_PORT_ERR, 1), (IBV_EVENT_PORT_ACTIVE, 4), (IBV_EVENT_GID_CHANGE, 4)] {
            assert!(!readable((*side.context).async_fd, 0));
            assert_eq!(pegaflow_stand_in_raise(name, event), 0);
            assert!(readable((*side.context).async_fd, 0));
            let mut got = side.event();
            assert_eq!((got.event_type, got.element.addr()), (event, 1), "of port 1");
            ibv_ack_async_event(&raw mut got);
            let mut port = std::mem::zeroed::<ibv_port_attr>();
            assert_eq!((ibv_query_port(side.context, 1, &raw mut port), port.state), (0, state));
        }
        assert_eq!(pegaflow_stand_in_raise(name, IBV_EVENT_QP_REQ_ERR), 22);
        assert_eq!(pegaflow_stand_in_raise(CStr::as_ptr(c"nobody"), IBV_EVENT_PORT_ERR), 19);
    }
}
