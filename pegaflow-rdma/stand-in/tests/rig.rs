//! Two connected sides of one process, and short names for the calls.

use std::ffi::{CStr, CString, c_int};
use std::os::fd::BorrowedFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};

use pegaflow_rdma_stand_in::abi::*;
use pegaflow_rdma_stand_in::*;
use rustix::fs::{OFlags, fcntl_setfl};

pub(crate) const SIZE: usize = 1 << 16;

/// How deep the queues of a side are.
#[derive(Clone, Copy)]
pub(crate) struct Depth {
    pub(crate) send: u32,
    pub(crate) receive: u32,
    pub(crate) completions: c_int,
}

pub(crate) const PLAIN: Depth = Depth { send: 16, receive: 16, completions: 64 };
pub(crate) const ACCESS: u32 = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;

/// A context, a domain, a channel, a completion queue, queue pairs that use it, and registered memory.
pub(crate) struct Side {
    pub(crate) context: *mut ibv_context,
    pub(crate) pd: *mut ibv_pd,
    pub(crate) channel: *mut ibv_comp_channel,
    pub(crate) cq: *mut ibv_cq,
    pub(crate) qps: Vec<*mut ibv_qp>,
    pub(crate) mr: *mut ibv_mr,
    pub(crate) memory: *mut u8,
}

// SAFETY: verbs may be called from any thread.
unsafe impl Send for Side {}

/// A device of its own with this behaviour.
pub(crate) fn device(schedule: Schedule) -> *mut ibv_device {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = CString::new(format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed))).unwrap();
    // SAFETY: a name and a schedule.
    assert_eq!(unsafe { pegaflow_stand_in_device(name.as_ptr(), &raw const schedule) }, 0);
    named(&name)
}

pub(crate) fn named(name: &CStr) -> *mut ibv_device {
    let mut count = 0;
    // SAFETY: the list is read up to its length, and freed once.
    unsafe {
        let list = ibv_get_device_list(&raw mut count);
        let mut all = (0..count as usize).map(|at| *list.add(at));
        let found = all.find(|device| CStr::from_ptr(ibv_get_device_name(*device)) == name).unwrap();
        ibv_free_device_list(list);
        found
    }
}

impl Side {
    pub(crate) fn new(schedule: Schedule, depth: Depth, pairs: usize) -> Self {
        // SAFETY: each call gets what the calls before it made.
        unsafe {
            let context = ibv_open_device(device(schedule));
            let pd = ibv_alloc_pd(context);
            let channel = ibv_create_comp_channel(context);
            // What does not come fails a test, and does not stop it.
            for descriptor in [(*context).async_fd, (*channel).fd] {
                fcntl_setfl(BorrowedFd::borrow_raw(descriptor), OFlags::NONBLOCK).unwrap();
            }
            let cq = ibv_create_cq(context, depth.completions, null_mut(), channel, 0);
            assert!(!cq.is_null());
            let memory = Box::into_raw(vec![0_u64; SIZE / 8].into_boxed_slice()).cast::<u8>();
            let mr = ibv_reg_mr(pd, memory.cast(), SIZE, ACCESS as c_int);
            assert!(!mr.is_null());
            let mut side = Self { context, pd, channel, cq, qps: Vec::new(), mr, memory };
            for _ in 0..pairs {
                let qp = side.create(depth);
                assert!(!qp.is_null());
                side.qps.push(qp);
            }
            side
        }
    }

    pub(crate) fn create(&self, depth: Depth) -> *mut ibv_qp {
        let cap = ibv_qp_cap {
            max_send_wr: depth.send,
            max_recv_wr: depth.receive,
            max_send_sge: 4,
            max_recv_sge: 2,
            max_inline_data: 64,
        };
        let mut attributes = ibv_qp_init_attr {
            qp_context: null_mut(),
            send_cq: self.cq,
            recv_cq: self.cq,
            srq: null_mut(),
            cap,
            qp_type: IBV_QPT_RC,
            sq_sig_all: 0,
        };
        // SAFETY: domain and queue are alive.
        unsafe { ibv_create_qp(self.pd, &raw mut attributes) }
    }

    #[expect(
        clippy::mut_from_ref,
        reason = "memory that a device writes belongs to no borrow; tests look, or fill, at once"
    )]
    pub(crate) fn bytes(&self) -> &mut [u8] {
        // SAFETY: allocated with this length; tests look when nothing is on its way.
        unsafe { std::slice::from_raw_parts_mut(self.memory, SIZE) }
    }

    pub(crate) fn at(&self, offset: usize) -> u64 {
        self.memory as u64 + offset as u64
    }

    pub(crate) fn range(&self, offset: usize, length: u32) -> ibv_sge {
        // SAFETY: the region is alive.
        ibv_sge { addr: self.at(offset), length, lkey: unsafe { (*self.mr).lkey } }
    }

    pub(crate) fn rkey(&self) -> u32 {
        // SAFETY: the region is alive.
        unsafe { (*self.mr).rkey }
    }

    pub(crate) fn poll(&self) -> Vec<ibv_wc> {
        let mut wc = [ibv_wc::default(); 64];
        // SAFETY: the queue is alive, and there is room for 64.
        let count = unsafe { (*self.context).ops.poll_cq.unwrap()(self.cq, 64, wc.as_mut_ptr()) };
        wc[..usize::try_from(count).unwrap()].to_vec()
    }

    /// Polls until so many came.
    pub(crate) fn wait(&self, count: usize) -> Vec<ibv_wc> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.poll());
        }
        assert_eq!(all.len(), count);
        all
    }

    pub(crate) fn receive(&self, qp: usize, wr_id: u64, ranges: &mut [ibv_sge]) -> c_int {
        let (sg_list, num_sge) = (ranges.as_mut_ptr(), ranges.len() as c_int);
        let mut request = ibv_recv_wr { wr_id, next: null_mut(), sg_list, num_sge };
        let mut bad = null_mut();
        // SAFETY: the queue pair is alive; the request is there during the call.
        let errno = unsafe { (*self.context).ops.post_recv.unwrap()(self.qps[qp], &raw mut request, &raw mut bad) };
        assert_eq!(errno == 0, bad.is_null());
        errno
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        // SAFETY: the context is open.
        assert_eq!(unsafe { pegaflow_stand_in_counts(self.context, &raw mut counts) }, 0);
        counts
    }

    pub(crate) fn state(&self, qp: usize) -> u32 {
        // SAFETY: the queue pair is alive.
        unsafe { (*self.qps[qp]).state }
    }

    /// The next asynchronous event, which is there.
    pub(crate) fn event(&self) -> ibv_async_event {
        let mut event = ibv_async_event { element: null_mut(), event_type: 99 };
        // SAFETY: the context is open.
        assert_eq!(unsafe { ibv_get_async_event(self.context, &raw mut event) }, 0);
        event
    }

    pub(crate) fn arm(&self) {
        // SAFETY: the queue is alive.
        assert_eq!(unsafe { (*self.context).ops.req_notify_cq.unwrap()(self.cq, 0) }, 0);
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: each is destroyed once, after what uses it.
        unsafe {
            for qp in self.qps.drain(..) {
                assert_eq!(ibv_destroy_qp(qp), 0);
            }
            assert_eq!(ibv_destroy_cq(self.cq), 0);
            assert_eq!(ibv_destroy_comp_channel(self.channel), 0);
            assert_eq!(ibv_dereg_mr(self.mr), 0);
            assert_eq!(ibv_dealloc_pd(self.pd), 0);
            assert_eq!(ibv_close_device(self.context), 0);
            drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(self.memory.cast::<u64>(), SIZE / 8)));
        }
    }
}

/// One request of a chain.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) wr: ibv_send_wr,
    pub(crate) ranges: Vec<ibv_sge>,
}

impl Request {
    pub(crate) fn new(opcode: u32, ranges: &[ibv_sge], to: &Side, offset: usize) -> Self {
        let mut wr = ibv_send_wr::NONE;
        (wr.opcode, wr.remote_addr, wr.rkey) = (opcode, to.at(offset), to.rkey());
        Self { wr, ranges: ranges.to_vec() }
    }

    pub(crate) fn write(from: &Side, to: &Side, offset: usize, length: u32) -> Self {
        Self::new(IBV_WR_RDMA_WRITE, &[from.range(offset, length)], to, offset)
    }

    pub(crate) fn id(mut self, id: u64) -> Self {
        self.wr.wr_id = id;
        self
    }

    pub(crate) fn signalled(mut self) -> Self {
        self.wr.send_flags |= IBV_SEND_SIGNALED;
        self
    }

    pub(crate) fn immediate(mut self, immediate: u32) -> Self {
        self.wr.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
        self.wr.imm_data = immediate;
        self
    }
}

/// Posts a chain: errno, and how many were taken.
pub(crate) fn post(qp: *mut ibv_qp, mut chain: Vec<Request>) -> (c_int, usize) {
    let mut next: *mut ibv_send_wr = null_mut();
    for request in chain.iter_mut().rev() {
        request.wr.next = next;
        request.wr.sg_list = request.ranges.as_mut_ptr();
        request.wr.num_sge = request.ranges.len() as c_int;
        next = &raw mut request.wr;
    }
    let mut bad = null_mut();
    // SAFETY: the queue pair is alive; the chain is there during the call.
    let errno = unsafe { (*(*qp).context).ops.post_send.unwrap()(qp, next, &raw mut bad) };
    let taken = chain.iter().position(|request| std::ptr::eq(&raw const request.wr, bad)).unwrap_or(chain.len());
    (errno, taken)
}

/// What leads to each state.
pub(crate) fn attributes(state: u32, device: u16, peer: u32) -> (ibv_qp_attr, c_int) {
    // SAFETY: all zero is a value of this struct of numbers.
    let mut values: ibv_qp_attr = unsafe { std::mem::zeroed() };
    values.qp_state = state;
    values.port_num = 1;
    values.qp_access_flags = ACCESS;
    values.path_mtu = IBV_MTU_4096;
    values.dest_qp_num = peer;
    values.ah_attr.is_global = 1;
    values.ah_attr.port_num = 1;
    values.ah_attr.grh.sgid_index = 1;
    let [high, low] = device.to_be_bytes();
    values.ah_attr.grh.dgid = ibv_gid { raw: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 77, high, low] };
    (values.max_rd_atomic, values.max_dest_rd_atomic) = (16, 16);
    (values.timeout, values.retry_cnt, values.rnr_retry) = (14, 7, 7);
    let mask = match state {
        IBV_QPS_INIT => IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS,
        IBV_QPS_RTR => {
            IBV_QP_STATE
                | IBV_QP_AV
                | IBV_QP_PATH_MTU
                | IBV_QP_DEST_QPN
                | IBV_QP_RQ_PSN
                | IBV_QP_MAX_DEST_RD_ATOMIC
                | IBV_QP_MIN_RNR_TIMER
        }
        IBV_QPS_RTS => {
            IBV_QP_STATE
                | IBV_QP_TIMEOUT
                | IBV_QP_RETRY_CNT
                | IBV_QP_RNR_RETRY
                | IBV_QP_SQ_PSN
                | IBV_QP_MAX_QP_RD_ATOMIC
        }
        _ => IBV_QP_STATE,
    };
    (values, mask as c_int)
}

pub(crate) fn modify(qp: *mut ibv_qp, (mut values, mask): (ibv_qp_attr, c_int)) -> c_int {
    // SAFETY: the queue pair is alive.
    unsafe { ibv_modify_qp(qp, &raw mut values, mask) }
}

/// The last two bytes of a side's IPv4 address.
pub(crate) fn host(side: &Side) -> u16 {
    let mut entry = std::mem::MaybeUninit::<ibv_gid_entry>::uninit();
    // SAFETY: the context is open; the entry is written where 0 is returned.
    unsafe {
        let size = size_of::<ibv_gid_entry>();
        assert_eq!(_ibv_query_gid_ex(side.context, 1, 1, entry.as_mut_ptr(), 0, size), 0);
        let gid = entry.assume_init().gid.raw;
        u16::from_be_bytes([gid[14], gid[15]])
    }
}

/// Connects a queue pair of each side, which is in RESET.
pub(crate) fn connect(a: &Side, b: &Side, at: usize, rnr_retry: u8) {
    // SAFETY: the queue pairs are alive.
    let numbers = unsafe { ((*a.qps[at]).qp_num, (*b.qps[at]).qp_num) };
    for state in [IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_RTS] {
        for (side, other, peer) in [(a, b, numbers.1), (b, a, numbers.0)] {
            let (mut values, mask) = attributes(state, host(other), peer);
            values.rnr_retry = rnr_retry;
            assert_eq!(modify(side.qps[at], (values, mask)), 0, "{state}");
        }
    }
}

/// Two sides with so many connected queue pairs; the schedule is the first one's.
pub(crate) fn sides(schedule: Schedule, depth: Depth, pairs: usize) -> (Side, Side) {
    let (a, b) = (Side::new(schedule, depth, pairs), Side::new(Schedule::default(), depth, pairs));
    (0..pairs).for_each(|at| connect(&a, &b, at, 7));
    (a, b)
}

/// A seed, printed so that a failed run can be repeated.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("PEGAFLOW_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("PEGAFLOW_SEED={seed}");
    seed
}
