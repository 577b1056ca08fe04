//! Devices, and the order in which things are made and destroyed.

use std::ffi::{CStr, c_int};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use pegaflow_rdma_stand_in::abi::*;
use pegaflow_rdma_stand_in::*;

use crate::rig::*;

const EBUSY: c_int = 16;
const EINVAL: c_int = 22;

fn errno() -> Option<c_int> {
    std::io::Error::last_os_error().raw_os_error()
}

fn port(side: &Side) -> ibv_port_attr {
    let mut port = MaybeUninit::<ibv_port_attr>::zeroed();
    // SAFETY: the context is open; all zero is a value, and the call fills the rest.
    unsafe {
        assert_eq!(ibv_query_port(side.context, 1, port.as_mut_ptr()), 0);
        port.assume_init()
    }
}

#[test]
fn there_is_one_device_to_begin_with() {
    let device = named(c"stand-in0");
    // SAFETY: the device is of the list; the context is closed once.
    unsafe {
        let context = ibv_open_device(device);
        let mut attributes = MaybeUninit::<ibv_device_attr>::uninit();
        assert_eq!(ibv_query_device(context, attributes.as_mut_ptr()), 0);
        let attributes = attributes.assume_init();
        assert_eq!((attributes.phys_port_cnt, attributes.max_qp_wr), (1, 16384));
        let mut entry = MaybeUninit::<ibv_gid_entry>::uninit();
        let mut query = |index| _ibv_query_gid_ex(context, 1, index, entry.as_mut_ptr(), 0, 32);
        assert_eq!([query(3), query(2), query(0), query(1)], [EINVAL, 61, 0, 0]);
        let entry = entry.assume_init();
        assert_eq!(
            (entry.gid.raw[10..].to_vec(), entry.gid_type),
            (vec![0xff, 0xff, 10, 77, 0, 1], IBV_GID_TYPE_ROCE_V2)
        );
        assert_eq!(ibv_close_device(context), 0);
        assert_eq!(pegaflow_stand_in_device(c"stand-in0".as_ptr(), std::ptr::null()), 17, "the name is taken");
    }
}

#[test]
fn a_table_of_gids_may_be_short() {
    let side = Side::new(Schedule { gids_max: 1, ..Schedule::default() }, PLAIN, 0);
    assert_eq!(port(&side).gid_tbl_len, 1);
    let mut entry = MaybeUninit::<ibv_gid_entry>::uninit();
    // SAFETY: the context is open; the entry is written where 0 is returned.
    unsafe {
        let mut query = |index| _ibv_query_gid_ex(side.context, 1, index, entry.as_mut_ptr(), 0, 32);
        assert_eq!([query(1), query(0)], [EINVAL, 0]);
        assert_eq!(entry.assume_init().gid.raw[..2], [0xfe, 0x80], "link-local");
    }
}

#[test]
fn devices_are_hidden_from_one_thread() {
    let list = || {
        let mut count = 99;
        // SAFETY: the count is written where there is a list, which is freed once.
        unsafe {
            let list = ibv_get_device_list(&raw mut count);
            ibv_free_device_list(list);
            (list.is_null(), count)
        }
    };
    pegaflow_stand_in_hide(0);
    assert_eq!(list(), (false, 0));
    pegaflow_stand_in_hide(38);
    assert_eq!((list(), errno()), ((true, 99), Some(38)));
    assert!(std::thread::spawn(list).join().unwrap().1 > 0, "others see them");
    pegaflow_stand_in_hide(-1);
    assert!(list().1 > 0);
}

#[test]
fn regions_are_counted() {
    let side = Side::new(Schedule::default(), PLAIN, 0);
    assert_eq!(side.counts().regions, 1);
}

#[test]
fn names_are_told() {
    // SAFETY: the texts are constants.
    let texts = unsafe {
        [ibv_wc_status_str(12), ibv_wc_status_str(99), ibv_event_type_str(18)].map(|text| CStr::from_ptr(text))
    };
    assert_eq!(texts, [c"transport retry counter exceeded", c"unknown", c"GID table change"]);
}

#[test]
fn limits_are_kept() {
    let schedule =
        Schedule { queue_max: 32, completions_max: 100, inline_max: 64, segments_max: 4, ..Default::default() };
    let side = Side::new(schedule, PLAIN, 0);
    assert!(side.create(Depth { send: 33, ..PLAIN }).is_null());
    assert_eq!(errno(), Some(EINVAL));
    // SAFETY: the context is open.
    assert!(unsafe { ibv_create_cq(side.context, 101, null_mut(), null_mut(), 0) }.is_null());
}

#[test]
fn states_go_one_way_and_need_their_attributes() {
    let mut side = Side::new(Schedule::default(), PLAIN, 1);
    let (qp, to) = (side.qps[0], |state| attributes(state, 1, 0x11));
    let request = |side: &Side| vec![Request::write(side, side, 0, 8)];
    assert_eq!(modify(qp, to(IBV_QPS_RTR)), EINVAL);
    assert_eq!(side.receive(0, 0, &mut []), EINVAL);
    let (values, mask) = to(IBV_QPS_INIT);
    assert_eq!(modify(qp, (values, mask & !(IBV_QP_PORT as c_int))), EINVAL);
    assert_eq!(modify(qp, (ibv_qp_attr { port_num: 2, ..values }, mask)), EINVAL);
    assert_eq!(modify(qp, (values, mask)), 0);
    assert_eq!((side.receive(0, 0, &mut []), post(qp, request(&side))), (0, (EINVAL, 0)));
    let (mut values, mask) = to(IBV_QPS_RTR);
    values.ah_attr.is_global = 0;
    assert_eq!(modify(qp, (values, mask)), EINVAL, "RoCE needs a GID");
    values.ah_attr.is_global = 1;
    values.ah_attr.grh.sgid_index = 2;
    assert_eq!(modify(qp, (values, mask)), EINVAL, "this entry is empty");
    assert_eq!((modify(qp, to(IBV_QPS_RTS)), modify(qp, to(IBV_QPS_RTR))), (EINVAL, 0));
    assert_eq!(post(qp, request(&side)), (EINVAL, 0));
    assert_eq!((modify(qp, to(IBV_QPS_RTS)), modify(qp, to(IBV_QPS_RTR))), (0, EINVAL));
    // SAFETY: it is not used again.
    assert_eq!(unsafe { ibv_destroy_qp(side.qps.remove(0)) }, 0);
}

#[test]
fn what_is_in_use_is_not_destroyed() {
    let side = Side::new(Schedule::default(), PLAIN, 1);
    // SAFETY: all are alive, and stay so.
    unsafe {
        let busy = [
            ibv_destroy_cq(side.cq),
            ibv_destroy_comp_channel(side.channel),
            ibv_dealloc_pd(side.pd),
            ibv_close_device(side.context),
        ];
        assert_eq!(busy, [EBUSY; 4]);
    }
}

#[test]
fn wrong_addresses_and_numbers_reach_nobody() {
    type Spoil = fn(&mut ibv_qp_attr);
    let spoils: [(&str, u32, Spoil); 4] = [
        ("another host", IBV_QPS_RTR, |values| values.ah_attr.grh.dgid.raw[15] ^= 0x40),
        ("another queue pair", IBV_QPS_RTR, |values| values.dest_qp_num = 1),
        ("another sequence", IBV_QPS_RTS, |values| values.sq_psn = 7),
        ("another sequence there", IBV_QPS_RTR, |values| values.rq_psn = 7),
    ];
    for (at, (name, spoiled, spoil)) in spoils.into_iter().enumerate() {
        let (a, b) = (Side::new(Schedule::default(), PLAIN, 1), Side::new(Schedule::default(), PLAIN, 1));
        for state in [IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_RTS] {
            for (side, other, is_spoiled) in [(&a, &b, at < 3), (&b, &a, at == 3)] {
                // SAFETY: the queue pair is alive.
                let (mut values, mask) = attributes(state, host(other), unsafe { (*other.qps[0]).qp_num });
                if is_spoiled && state == spoiled {
                    spoil(&mut values);
                }
                assert_eq!(modify(side.qps[0], (values, mask)), 0);
            }
        }
        post(a.qps[0], vec![Request::write(&a, &b, 0, 8)]);
        assert_eq!(a.poll()[0].status, IBV_WC_RETRY_EXC_ERR, "{name}");
    }
}

#[test]
fn infiniband_goes_by_lid() {
    let sides = [11, 12].map(|lid| Side::new(Schedule { lid, ..Schedule::default() }, PLAIN, 1));
    let [a, b] = &sides;
    assert_eq!((port(a).link_layer, port(a).lid, port(a).gid_tbl_len), (1, 11, 1));
    for state in [IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_RTS] {
        for (side, other) in [(a, b), (b, a)] {
            // SAFETY: the queue pair is alive.
            let (mut values, mask) = attributes(state, 0, unsafe { (*other.qps[0]).qp_num });
            values.ah_attr.is_global = 0;
            values.ah_attr.dlid = port(other).lid;
            assert_eq!(modify(side.qps[0], (values, mask)), 0);
        }
    }
    post(a.qps[0], vec![Request::write(a, b, 0, 8).signalled()]);
    assert_eq!(a.poll()[0].status, 0);
}

#[test]
fn memory_behind_a_descriptor_where_the_device_takes_it() {
    let file = rustix::fs::memfd_create("dmabuf", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, 8192).unwrap();
    for (dmabuf, expected) in [(0, Some(95)), (1, None)] {
        let (a, b) = sides(Schedule { dmabuf, ..Schedule::default() }, PLAIN, 1);
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file);
        // SAFETY: the domain is alive, the descriptor open.
        let mr = unsafe { ibv_reg_dmabuf_mr(a.pd, 4096, 4096, 0, descriptor, ACCESS as c_int) };
        if expected.is_some() {
            assert_eq!((mr.is_null(), errno()), (true, expected));
            continue;
        }
        // SAFETY: the domain is alive.
        let none = unsafe { ibv_reg_dmabuf_mr(a.pd, 0, 4096, 0, -1, ACCESS as c_int) };
        assert_eq!((none.is_null(), errno()), (true, Some(9)), "as a kernel that knows the call");
        b.bytes()[..5].copy_from_slice(b"hello");
        let mut request = Request::write(&b, &a, 0, 5);
        // SAFETY: registered just now, with 0 as the first address.
        (request.wr.rkey, request.wr.remote_addr) = (unsafe { (*mr).rkey }, 10);
        post(b.qps[0], vec![request]);
        let mut bytes = [0; 5];
        rustix::io::pread(&file, &mut bytes, 4096 + 10).unwrap();
        assert_eq!(&bytes, b"hello");
        // SAFETY: not used again.
        assert_eq!(unsafe { ibv_dereg_mr(mr) }, 0);
    }
}

#[test]
fn memory_that_nobody_may_write_here_is_not_written_from_there() {
    let side = Side::new(Schedule::default(), PLAIN, 0);
    // SAFETY: domain and memory are alive.
    let mr = unsafe { ibv_reg_mr(side.pd, side.memory.cast(), 8, IBV_ACCESS_REMOTE_WRITE as c_int) };
    assert_eq!((mr.is_null(), errno()), (true, Some(EINVAL)));
}
