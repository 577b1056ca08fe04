//! Two threads, one at each end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use pegaflow_rdma_stand_in::abi::*;
use pegaflow_rdma_stand_in::*;

use crate::rig::*;

const ROUNDS: u64 = 2_000;

/// Writes a word and tells of it, as often as the peer does; checks each word as it comes.
fn exchange(own: &Side, peer_memory: u64, peer_key: u32) {
    for at in 0..8 {
        assert_eq!(own.receive(0, at, &mut []), 0);
    }
    let (mut sent, mut seen, mut acknowledged) = (0_u64, 0_u64, 0_u64);
    while seen < ROUNDS || acknowledged < ROUNDS {
        if sent < ROUNDS && sent < seen + 8 && sent < acknowledged + 4 {
            let slot = (sent % 8) as usize * 64;
            let mut chain = [Request::write(own, own, slot, 64), Request::write(own, own, 1024, 8)];
            own.bytes()[slot..slot + 64].fill(sent as u8);
            own.bytes()[1024..1032].copy_from_slice(&(sent + 1).to_ne_bytes());
            for request in &mut chain {
                request.wr.rkey = peer_key;
                request.wr.remote_addr = peer_memory + 4096 + request.wr.remote_addr - own.at(0);
            }
            chain[0] = chain[0].clone().immediate(sent as u32).signalled();
            chain[1].wr.send_flags |= IBV_SEND_INLINE;
            if post(own.qps[0], chain.to_vec()) == (0, 2) {
                sent += 1;
            } else {
                panic!("there is room");
            }
        }
        for wc in own.poll() {
            assert_eq!(wc.status, 0);
            if wc.opcode == IBV_WC_RECV_RDMA_WITH_IMM {
                let slot = 4096 + (seen % 8) as usize * 64;
                assert_eq!(wc.imm_data, seen as u32);
                assert_eq!(own.bytes()[slot..slot + 64], [seen as u8; 64]);
                assert_eq!(own.receive(0, wc.wr_id, &mut []), 0);
                seen += 1;
            } else {
                acknowledged += 1;
            }
        }
        thread::yield_now();
    }
}

#[test]
fn both_ends_at_once() {
    let depth = Depth { send: 64, ..PLAIN };
    for schedule in [Schedule::default(), Schedule { seed: seed(), late_calls: 1, ..Schedule::default() }] {
        let (a, b) = sides(schedule, depth, 1);
        let (to_a, to_b) = ((a.at(0), a.rkey()), (b.at(0), b.rkey()));
        let (a, b) = (&AsOne(a), &AsOne(b));
        thread::scope(|scope| {
            scope.spawn(move || exchange(&a.0, to_b.0, to_b.1));
            scope.spawn(move || exchange(&b.0, to_a.0, to_a.1));
        });
    }
}

/// A side that another thread uses alone.
struct AsOne(Side);
// SAFETY: one thread uses it.
unsafe impl Sync for AsOne {}

#[test]
fn a_counter_is_seen_after_what_it_counts() {
    let (a, b) = sides(Schedule::default(), PLAIN, 1);
    let (word, peer) = (b.at(4096), b.at(0));
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut last = 0;
            while last < ROUNDS {
                // SAFETY: the memory stays for as long as the sides do; the words are aligned.
                unsafe {
                    let counter: *mut u64 = std::ptr::with_exposed_provenance_mut(word as usize);
                    let data: *mut u64 = std::ptr::with_exposed_provenance_mut(peer as usize);
                    let now = AtomicU64::from_ptr(counter).load(Ordering::Acquire);
                    assert!(AtomicU64::from_ptr(data).load(Ordering::Relaxed) >= now && now >= last);
                    last = now;
                }
                thread::yield_now();
            }
        });
        for round in 1..=ROUNDS {
            a.bytes()[..8].copy_from_slice(&round.to_ne_bytes());
            a.bytes()[4096..4104].copy_from_slice(&round.to_ne_bytes());
            let chain = vec![Request::write(&a, &b, 0, 8), Request::write(&a, &b, 4096, 8).signalled()];
            assert_eq!(post(a.qps[0], chain), (0, 2));
            assert_eq!(a.poll().len(), 1);
        }
    });
}

#[test]
fn a_peer_may_go_in_the_middle() {
    for _ in 0..50 {
        let (a, mut b) = sides(Schedule::default(), PLAIN, 1);
        let (a, target) = (&AsOne(a), (b.at(0), b.rkey()));
        thread::scope(|scope| {
            let sender = scope.spawn(move || {
                loop {
                    let AsOne(a) = &a;
                    let mut request = Request::write(a, a, 0, SIZE as u32).signalled();
                    (request.wr.remote_addr, request.wr.rkey) = target;
                    post(a.qps[0], vec![request]);
                    if a.wait(1)[0].status != 0 {
                        return a.state(0);
                    }
                }
            });
            while a.0.counts().requests == 0 {
                thread::yield_now();
            }
            // SAFETY: neither is used again here.
            unsafe {
                assert_eq!(ibv_dereg_mr(b.mr), 0);
                // Nobody writes any more: it can be written here.
                b.bytes().fill(5);
                thread::sleep(Duration::from_micros(50));
                assert!(b.bytes().iter().all(|byte| *byte == 5));
                assert_eq!(ibv_destroy_qp(b.qps.remove(0)), 0);
                b.mr = ibv_reg_mr(b.pd, b.memory.cast(), SIZE, 0);
            }
            assert_eq!(sender.join().unwrap(), IBV_QPS_ERR);
        });
    }
}
