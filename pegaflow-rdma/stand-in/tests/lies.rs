//! Each lie does what it says, or tests that are to notice it prove nothing.

use pegaflow_rdma_stand_in::*;

use crate::rig::*;

#[test]
fn an_immediate_comes_before_its_data() {
    let (a, b) = sides(Schedule { late_landings: ALWAYS, ..Schedule::default() }, PLAIN, 1);
    a.bytes()[..8].fill(1);
    b.receive(0, 0, &mut []);
    post(a.qps[0], vec![Request::write(&a, &b, 0, 8).immediate(0).signalled()]);
    a.bytes()[..8].fill(2);
    assert_eq!((a.poll().len(), b.poll().len()), (1, 1));
    assert_eq!(b.bytes()[..8], [0; 8]);
    (0..20).for_each(|_| drop(b.poll()));
    assert_eq!(b.bytes()[..8], [1; 8], "the bytes of then");
}

#[test]
fn a_completion_comes_before_its_source_was_read() {
    let (a, b) = sides(Schedule { late_sources: ALWAYS, lie_calls: 5, ..Schedule::default() }, PLAIN, 1);
    a.bytes()[..8].fill(1);
    post(a.qps[0], vec![Request::write(&a, &b, 0, 8).signalled()]);
    assert_eq!(a.poll().len(), 1);
    a.bytes()[..8].fill(2);
    (0..5).for_each(|_| drop(a.poll()));
    assert_eq!(b.bytes()[..8], [2; 8], "the bytes of later");
}

#[test]
fn immediates_get_lost() {
    let (a, b) = sides(Schedule { lost_immediates: ALWAYS, ..Schedule::default() }, PLAIN, 1);
    a.bytes()[..8].fill(1);
    b.receive(0, 0, &mut []);
    post(a.qps[0], vec![Request::write(&a, &b, 0, 8).immediate(0).signalled()]);
    assert_eq!((a.poll().len(), b.poll().len()), (1, 0));
    assert_eq!(b.bytes()[..8], [1; 8]);
}

#[test]
fn the_second_half_of_a_long_write_is_displaced() {
    let (a, b) = sides(Schedule { displaced_over: 16, ..Schedule::default() }, PLAIN, 1);
    a.bytes()[..64].iter_mut().enumerate().for_each(|(at, byte)| *byte = at as u8);
    post(a.qps[0], vec![Request::write(&a, &b, 0, 16)]);
    assert_eq!(a.bytes()[..16], b.bytes()[..16], "short enough");
    post(a.qps[0], vec![Request::write(&a, &b, 0, 64)]);
    let displaced = [&a.bytes()[..32], &a.bytes()[48..64], &a.bytes()[32..48]].concat();
    assert_eq!(b.bytes()[..64], displaced);
}

#[test]
fn some_of_the_time_is_some_of_the_time() {
    let (a, b) = sides(Schedule { seed: seed(), lost_immediates: ALWAYS / 2, ..Schedule::default() }, PLAIN, 1);
    let mut heard = 0;
    for _ in 0..400 {
        b.receive(0, 0, &mut []);
        post(a.qps[0], vec![Request::write(&a, &b, 0, 0).immediate(0).signalled()]);
        a.wait(1);
        heard += b.poll().len();
    }
    assert!((100..300).contains(&heard), "{heard}");
}
