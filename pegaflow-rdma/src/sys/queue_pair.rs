//! A reliable connection: made, connected, posted to, taken down.

use std::{
    ffi::c_int,
    fmt, io,
    mem::MaybeUninit,
    ptr::{self, NonNull},
    sync::Arc,
};

use pegaflow_core::BackendError;

use super::{CompletionQueue, Device, abi::*};
use crate::error::{failed, failed_so};

/// Where a peer's queue pair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) number: u32,
    pub(crate) first_packet: u32,
    pub(crate) lid: u16,
    pub(crate) gid: [u8; 16],
    /// The specification's number.
    pub(crate) mtu: u32,
    pub(crate) reads: u8,
}

/// What `[transport.rdma]` says of a connection, and which way it leaves this host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) port: u8,
    pub(crate) gid_index: u8,
    /// Whether a global route is written: on RoCE, where it is the whole address; within a subnet of InfiniBand LIDs do.
    pub(crate) global: bool,
    pub(crate) service_level: u8,
    pub(crate) traffic_class: u8,
    pub(crate) ack_timeout: u8,
    pub(crate) retries: u8,
    pub(crate) rnr_retries: u8,
    pub(crate) rnr_timer: u8,
}

/// Beyond any router of a data centre.
const HOP_LIMIT: u8 = 64;

pub(crate) struct QueuePair {
    device: Arc<Device>,
    raw: NonNull<ibv_qp>,
    destroyed: bool,
}

// SAFETY: used by one thread at a time, which its engine's `&mut self` sees to.
unsafe impl Send for QueuePair {}

impl QueuePair {
    /// A queue pair in state INIT: receives may be posted. Its completions go to `queue`, which outlives it.
    pub(crate) fn new(
        device: &Arc<Device>,
        queue: &CompletionQueue,
        capacity: ibv_qp_cap,
        port: u8,
    ) -> Result<Self, BackendError> {
        let mut wanted = ibv_qp_init_attr {
            qp_context: ptr::null_mut(),
            send_cq: queue.raw.as_ptr(),
            recv_cq: queue.raw.as_ptr(),
            srq: ptr::null_mut(),
            cap: capacity,
            qp_type: IBV_QPT_RC,
            sq_sig_all: 0,
        };
        // SAFETY: both are of this device.
        let raw = NonNull::new(unsafe { (device.verbs.create_qp)(device.domain.as_ptr(), &raw mut wanted) });
        let raw = raw.ok_or_else(|| {
            let what = format!(
                "ibv_create_qp of device {} with {} send and {} receive requests, {} bytes inline",
                device.name(),
                capacity.max_send_wr,
                capacity.max_recv_wr,
                capacity.max_inline_data
            );
            // Of the limits this is the one that no device tells before.
            failed_so(&what, io::Error::last_os_error(), "try a smaller transport.rdma.inline_bytes")
        })?;
        let mut made = Self { device: Arc::clone(device), raw, destroyed: false };
        let mut to = blank();
        to.qp_state = IBV_QPS_INIT;
        to.port_num = port;
        to.qp_access_flags = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;
        made.modify("INIT", &mut to, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS)?;
        Ok(made)
    }

    pub(crate) fn number(&self) -> u32 {
        // SAFETY: made, until the drop.
        unsafe { self.raw.as_ref() }.qp_num
    }

    /// Connects: INIT, ready to receive, ready to send. `here.mtu` and `here.reads` are those agreed upon.
    pub(crate) fn connect(&mut self, here: &Address, peer: &Address, timing: &Timing) -> Result<(), BackendError> {
        let mut to = blank();
        to.qp_state = IBV_QPS_RTR;
        to.path_mtu = here.mtu;
        to.dest_qp_num = peer.number;
        to.rq_psn = peer.first_packet;
        to.max_dest_rd_atomic = here.reads;
        to.min_rnr_timer = timing.rnr_timer;
        to.ah_attr.dlid = peer.lid;
        to.ah_attr.sl = timing.service_level;
        to.ah_attr.port_num = timing.port;
        if timing.global {
            to.ah_attr.is_global = 1;
            to.ah_attr.grh.dgid = ibv_gid { raw: peer.gid };
            to.ah_attr.grh.sgid_index = timing.gid_index;
            to.ah_attr.grh.hop_limit = HOP_LIMIT;
            to.ah_attr.grh.traffic_class = timing.traffic_class;
        }
        let ready_to_receive = IBV_QP_STATE
            | IBV_QP_AV
            | IBV_QP_PATH_MTU
            | IBV_QP_DEST_QPN
            | IBV_QP_RQ_PSN
            | IBV_QP_MAX_DEST_RD_ATOMIC
            | IBV_QP_MIN_RNR_TIMER;
        self.modify("RTR", &mut to, ready_to_receive)?;
        let mut to = blank();
        to.qp_state = IBV_QPS_RTS;
        to.timeout = timing.ack_timeout;
        to.retry_cnt = timing.retries;
        to.rnr_retry = timing.rnr_retries;
        to.sq_psn = here.first_packet;
        to.max_rd_atomic = here.reads;
        let ready_to_send = IBV_QP_STATE
            | IBV_QP_TIMEOUT
            | IBV_QP_RETRY_CNT
            | IBV_QP_RNR_RETRY
            | IBV_QP_SQ_PSN
            | IBV_QP_MAX_QP_RD_ATOMIC;
        self.modify("RTS", &mut to, ready_to_send)
    }

    fn modify(&mut self, state: &str, to: &mut ibv_qp_attr, mask: u32) -> Result<(), BackendError> {
        #[expect(clippy::cast_possible_wrap, reason = "a set of bits")]
        // SAFETY: the struct is the header's, and the mask names the fields that are set.
        let code = unsafe { (self.device.verbs.modify_qp)(self.raw.as_ptr(), to, mask as c_int) };
        if code == 0 {
            return Ok(());
        }
        let what = format!("of queue pair {:#x} of device {} to {state}", self.number(), self.device.name());
        Err(failed("ibv_modify_qp", what, io::Error::from_raw_os_error(code.abs())))
    }

    /// Posts the chain that begins at `first`: as many as `length`, or as many as went in before the errno.
    ///
    /// # Safety
    /// - `first` and all that it leads to are valid requests, `length` of them, their lists too, until the return.
    /// - The memory they name is registered, and stays so until they are complete.
    #[inline]
    pub(crate) unsafe fn post_send(&mut self, first: *mut ibv_send_wr) -> Result<(), (i32, *mut ibv_send_wr)> {
        let mut bad = ptr::null_mut();
        // SAFETY: made; and the caller's word.
        let code = unsafe {
            match (*(*self.raw.as_ptr()).context).ops.post_send {
                Some(call) => call(self.raw.as_ptr(), first, &raw mut bad),
                None => return Err((rustix::io::Errno::NOSYS.raw_os_error(), first)),
            }
        };
        if code == 0 { Ok(()) } else { Err((code.abs(), bad)) }
    }

    /// Posts a chain of receives without memory: they are for immediates alone.
    ///
    /// # Safety
    /// - `first` and all that it leads to are valid requests until the return.
    #[inline]
    pub(crate) unsafe fn post_receive(&mut self, first: *mut ibv_recv_wr) -> Result<(), (i32, *mut ibv_recv_wr)> {
        let mut bad = ptr::null_mut();
        // SAFETY: made; and the caller's word.
        let code = unsafe {
            match (*(*self.raw.as_ptr()).context).ops.post_recv {
                Some(call) => call(self.raw.as_ptr(), first, &raw mut bad),
                None => return Err((rustix::io::Errno::NOSYS.raw_os_error(), first)),
            }
        };
        if code == 0 { Ok(()) } else { Err((code.abs(), bad)) }
    }
}

fn blank() -> ibv_qp_attr {
    // SAFETY: numbers only, and zero is a value of each.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

impl QueuePair {
    /// Ends it: everything that is posted completes from here on, flushed.
    pub(crate) fn fail(&mut self) -> Result<(), BackendError> {
        let mut to = blank();
        to.qp_state = IBV_QPS_ERR;
        self.modify("ERR", &mut to, IBV_QP_STATE)
    }

    /// Destroys it; gives whether the device has let go of it, and touches no memory for it any more.
    pub(crate) fn destroy(mut self) -> bool {
        self.destroy_once()
    }

    fn destroy_once(&mut self) -> bool {
        if std::mem::replace(&mut self.destroyed, true) || !self.device.origin().is_here() {
            return true;
        }
        // SAFETY: made by this library, and destroyed once.
        let code = unsafe { (self.device.verbs.destroy_qp)(self.raw.as_ptr()) };
        if code != 0 {
            tracing::error!(device = self.device.name(), code, "ibv_destroy_qp failed");
        }
        code == 0
    }
}

impl Drop for QueuePair {
    fn drop(&mut self) {
        self.destroy_once();
    }
}

impl fmt::Debug for QueuePair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueuePair({:#x} of {:?})", self.number(), self.device)
    }
}
