//! The binary interface of libibverbs, as far as it is used: names, types and numbers of `infiniband/verbs.h`
//! (rdma-core 15 and later, whose ABI has been stable since). `tests/layout.rs` compares every size, offset and number
//! with the headers of the machine where they are installed.
//!
//! Of structs that the library makes (context, queue pair, ...) only the leading fields are here: they are read through
//! a pointer, never made or copied.

use std::ffi::{c_char, c_int, c_uint, c_void};

/// A device in the library's list; opaque.
#[repr(C)]
#[derive(Debug)]
pub struct ibv_device {
    _opaque: [u8; 0],
}

/// A protection domain.
#[repr(C)]
#[derive(Debug)]
pub struct ibv_pd {
    /// Whose it is.
    pub context: *mut ibv_context,
    /// The kernel's number.
    pub handle: u32,
}

/// The data path's entry points stand in the context; the rest of the table is only skipped over.
#[repr(C)]
#[derive(Debug)]
pub struct ibv_context_ops {
    _set_up: [*mut c_void; 7],
    _memory_windows: [*mut c_void; 3],
    _create_cq: *mut c_void,
    /// `ibv_poll_cq`: how many completions were taken, negative on failure.
    pub poll_cq: Option<unsafe extern "C" fn(*mut ibv_cq, c_int, *mut ibv_wc) -> c_int>,
    /// `ibv_req_notify_cq`: 0, or an errno.
    pub req_notify_cq: Option<unsafe extern "C" fn(*mut ibv_cq, c_int) -> c_int>,
    _completion: [*mut c_void; 3],
    _shared_receive: [*mut c_void; 4],
    _post_srq_recv: *mut c_void,
    _queue_pair: [*mut c_void; 4],
    /// `ibv_post_send`: 0, or an errno with the first request that was not posted.
    pub post_send: Option<unsafe extern "C" fn(*mut ibv_qp, *mut ibv_send_wr, *mut *mut ibv_send_wr) -> c_int>,
    /// `ibv_post_recv`: 0, or an errno with the first request that was not posted.
    pub post_recv: Option<unsafe extern "C" fn(*mut ibv_qp, *mut ibv_recv_wr, *mut *mut ibv_recv_wr) -> c_int>,
    _address_handles: [*mut c_void; 2],
    _multicast: [*mut c_void; 2],
    _async_event: *mut c_void,
}

/// An open device.
#[repr(C)]
#[derive(Debug)]
pub struct ibv_context {
    /// Which device.
    pub device: *mut ibv_device,
    /// The data path.
    pub ops: ibv_context_ops,
    /// The command channel.
    pub cmd_fd: c_int,
    /// Readable when there is an asynchronous event.
    pub async_fd: c_int,
    /// Completion vectors (interrupts).
    pub num_comp_vectors: c_int,
}

/// A memory region.
#[repr(C)]
#[derive(Debug)]
pub struct ibv_mr {
    /// Whose it is.
    pub context: *mut ibv_context,
    /// In which domain.
    pub pd: *mut ibv_pd,
    /// Its first byte.
    pub addr: *mut c_void,
    /// Its length in bytes.
    pub length: usize,
    /// The kernel's number.
    pub handle: u32,
    /// The key for this side's requests.
    pub lkey: u32,
    /// The key for the peer's requests.
    pub rkey: u32,
}

/// A completion channel: the descriptor that completion events come through.
#[repr(C)]
#[derive(Debug)]
pub struct ibv_comp_channel {
    /// Whose it is.
    pub context: *mut ibv_context,
    /// Readable when there is a completion event.
    pub fd: c_int,
    /// Completion queues that use it.
    pub refcnt: c_int,
}

/// A completion queue.
#[repr(C)]
#[derive(Debug)]
pub struct ibv_cq {
    /// Whose it is.
    pub context: *mut ibv_context,
    /// Its channel.
    pub channel: *mut ibv_comp_channel,
    /// The caller's own mark, given back with events.
    pub cq_context: *mut c_void,
    /// The kernel's number.
    pub handle: u32,
    /// How many completions it holds.
    pub cqe: c_int,
}

/// A queue pair.
#[repr(C)]
#[derive(Debug)]
pub struct ibv_qp {
    /// Whose it is.
    pub context: *mut ibv_context,
    /// The caller's own mark.
    pub qp_context: *mut c_void,
    /// In which domain.
    pub pd: *mut ibv_pd,
    /// Completions of what is sent.
    pub send_cq: *mut ibv_cq,
    /// Completions of what is received.
    pub recv_cq: *mut ibv_cq,
    /// Shared receive queue.
    pub srq: *mut c_void,
    /// The kernel's number.
    pub handle: u32,
    /// Its number on the wire, 24 bits.
    pub qp_num: u32,
    /// Its state as the library last knew it.
    pub state: c_uint,
    /// RC, UC, UD...
    pub qp_type: c_uint,
}

/// 128 bits that name a port: an InfiniBand GID, or an IP address.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
// The header's union has a part of two 64-bit numbers, which gives it their alignment.
#[repr(align(8))]
pub struct ibv_gid {
    /// In network order.
    pub raw: [u8; 16],
}

/// One entry of a port's table of GIDs.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ibv_gid_entry {
    /// The GID.
    pub gid: ibv_gid,
    /// Its position.
    pub gid_index: u32,
    /// Of which port.
    pub port_num: u32,
    /// InfiniBand, RoCE v1, RoCE v2.
    pub gid_type: u32,
    /// The network interface below it.
    pub ndev_ifindex: u32,
}

/// What a device can do.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct ibv_device_attr {
    pub fw_ver: [c_char; 64],
    pub node_guid: u64,
    pub sys_image_guid: u64,
    pub max_mr_size: u64,
    pub page_size_cap: u64,
    pub vendor_id: u32,
    pub vendor_part_id: u32,
    pub hw_ver: u32,
    pub max_qp: c_int,
    pub max_qp_wr: c_int,
    pub device_cap_flags: c_uint,
    pub max_sge: c_int,
    pub max_sge_rd: c_int,
    pub max_cq: c_int,
    pub max_cqe: c_int,
    pub max_mr: c_int,
    pub max_pd: c_int,
    pub max_qp_rd_atom: c_int,
    pub max_ee_rd_atom: c_int,
    pub max_res_rd_atom: c_int,
    pub max_qp_init_rd_atom: c_int,
    pub max_ee_init_rd_atom: c_int,
    pub atomic_cap: c_uint,
    pub max_ee: c_int,
    pub max_rdd: c_int,
    pub max_mw: c_int,
    pub max_raw_ipv6_qp: c_int,
    pub max_raw_ethy_qp: c_int,
    pub max_mcast_grp: c_int,
    pub max_mcast_qp_attach: c_int,
    pub max_total_mcast_qp_attach: c_int,
    pub max_ah: c_int,
    pub max_fmr: c_int,
    pub max_map_per_fmr: c_int,
    pub max_srq: c_int,
    pub max_srq_wr: c_int,
    pub max_srq_sge: c_int,
    pub max_pkeys: u16,
    pub local_ca_ack_delay: u8,
    pub phys_port_cnt: u8,
}

/// What a port is. `ibv_query_port`, the symbol, fills it up to and with `link_layer`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct ibv_port_attr {
    pub state: c_uint,
    pub max_mtu: c_uint,
    pub active_mtu: c_uint,
    pub gid_tbl_len: c_int,
    pub port_cap_flags: u32,
    pub max_msg_sz: u32,
    pub bad_pkey_cntr: u32,
    pub qkey_viol_cntr: u32,
    pub pkey_tbl_len: u16,
    pub lid: u16,
    pub sm_lid: u16,
    pub lmc: u8,
    pub max_vl_num: u8,
    pub sm_sl: u8,
    pub subnet_timeout: u8,
    pub init_type_reply: u8,
    pub active_width: u8,
    pub active_speed: u8,
    pub phys_state: u8,
    pub link_layer: u8,
    pub flags: u8,
    pub port_cap_flags2: u16,
}

/// How deep the queues of a queue pair are.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct ibv_qp_cap {
    pub max_send_wr: u32,
    pub max_recv_wr: u32,
    pub max_send_sge: u32,
    pub max_recv_sge: u32,
    pub max_inline_data: u32,
}

/// What a queue pair is made with.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct ibv_qp_init_attr {
    pub qp_context: *mut c_void,
    pub send_cq: *mut ibv_cq,
    pub recv_cq: *mut ibv_cq,
    pub srq: *mut c_void,
    pub cap: ibv_qp_cap,
    pub qp_type: c_uint,
    pub sq_sig_all: c_int,
}

/// The part of an address that RoCE needs, and InfiniBand across subnets.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct ibv_global_route {
    pub dgid: ibv_gid,
    pub flow_label: u32,
    pub sgid_index: u8,
    pub hop_limit: u8,
    pub traffic_class: u8,
}

/// The way to a peer.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct ibv_ah_attr {
    pub grh: ibv_global_route,
    pub dlid: u16,
    pub sl: u8,
    pub src_path_bits: u8,
    pub static_rate: u8,
    pub is_global: u8,
    pub port_num: u8,
}

/// What `ibv_modify_qp` changes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct ibv_qp_attr {
    pub qp_state: c_uint,
    pub cur_qp_state: c_uint,
    pub path_mtu: c_uint,
    pub path_mig_state: c_uint,
    pub qkey: u32,
    pub rq_psn: u32,
    pub sq_psn: u32,
    pub dest_qp_num: u32,
    pub qp_access_flags: c_uint,
    pub cap: ibv_qp_cap,
    pub ah_attr: ibv_ah_attr,
    pub alt_ah_attr: ibv_ah_attr,
    pub pkey_index: u16,
    pub alt_pkey_index: u16,
    pub en_sqd_async_notify: u8,
    pub sq_draining: u8,
    pub max_rd_atomic: u8,
    pub max_dest_rd_atomic: u8,
    pub min_rnr_timer: u8,
    pub port_num: u8,
    pub timeout: u8,
    pub retry_cnt: u8,
    pub rnr_retry: u8,
    pub alt_port_num: u8,
    pub alt_timeout: u8,
    pub rate_limit: u32,
}

/// A range of registered memory of this side.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct ibv_sge {
    pub addr: u64,
    pub length: u32,
    pub lkey: u32,
}

/// A send request. Of the header's unions only the variant for RDMA is here; the others are padding.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct ibv_send_wr {
    pub wr_id: u64,
    pub next: *mut ibv_send_wr,
    pub sg_list: *mut ibv_sge,
    pub num_sge: c_int,
    pub opcode: c_uint,
    pub send_flags: c_uint,
    /// In network order.
    pub imm_data: u32,
    pub remote_addr: u64,
    pub rkey: u32,
    _of_other_operations: [u64; 9],
}

impl ibv_send_wr {
    /// Every field zero.
    pub const NONE: Self = Self {
        wr_id: 0,
        next: std::ptr::null_mut(),
        sg_list: std::ptr::null_mut(),
        num_sge: 0,
        opcode: 0,
        send_flags: 0,
        imm_data: 0,
        remote_addr: 0,
        rkey: 0,
        _of_other_operations: [0; 9],
    };
}

/// A receive request.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct ibv_recv_wr {
    pub wr_id: u64,
    pub next: *mut ibv_recv_wr,
    pub sg_list: *mut ibv_sge,
    pub num_sge: c_int,
}

/// A completion. Where `status` is not [`IBV_WC_SUCCESS`] only `wr_id`, `status`, `qp_num` and `vendor_err` are valid.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct ibv_wc {
    pub wr_id: u64,
    pub status: c_uint,
    pub opcode: c_uint,
    pub vendor_err: u32,
    pub byte_len: u32,
    /// In network order.
    pub imm_data: u32,
    pub qp_num: u32,
    pub src_qp: u32,
    pub wc_flags: c_uint,
    pub pkey_index: u16,
    pub slid: u16,
    pub sl: u8,
    pub dlid_path_bits: u8,
}

/// An asynchronous event.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ibv_async_event {
    /// What it is about: a pointer, or in its first four bytes a port's number.
    pub element: *mut c_void,
    /// Which event.
    pub event_type: c_uint,
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: c_uint = $value;)*
        /// Every number above by name, for the comparison with the header.
        pub const NUMBERS: &[(&str, c_uint)] = &[$((stringify!($name), $name)),*];
    };
}

numbers! {
    /// The completion's request succeeded.
    IBV_WC_SUCCESS = 0;
    /// The request was flushed: another before it had failed.
    IBV_WC_WR_FLUSH_ERR = 5;
    /// The peer refused the key or the range.
    IBV_WC_REM_ACCESS_ERR = 10;
    /// No acknowledgement after all retries.
    IBV_WC_RETRY_EXC_ERR = 12;
    /// No receive request at the peer after all retries.
    IBV_WC_RNR_RETRY_EXC_ERR = 13;
    /// A message arrived.
    IBV_WC_RECV = 128;
    /// A write with immediate data arrived.
    IBV_WC_RECV_RDMA_WITH_IMM = 129;
    /// `imm_data` is valid.
    IBV_WC_WITH_IMM = 2;
    /// Write.
    IBV_WR_RDMA_WRITE = 0;
    /// Write, then 32 bits that consume a receive request of the peer's.
    IBV_WR_RDMA_WRITE_WITH_IMM = 1;
    /// Read.
    IBV_WR_RDMA_READ = 4;
    /// Begin only once all reads before have ended.
    IBV_SEND_FENCE = 1;
    /// Make a completion.
    IBV_SEND_SIGNALED = 2;
    /// The bytes are copied out when the request is posted.
    IBV_SEND_INLINE = 8;
    /// This side may be written (by receives and reads).
    IBV_ACCESS_LOCAL_WRITE = 1;
    /// The peer may write.
    IBV_ACCESS_REMOTE_WRITE = 2;
    /// The peer may read.
    IBV_ACCESS_REMOTE_READ = 4;
    /// Writes may pass each other on their way to memory.
    IBV_ACCESS_RELAXED_ORDERING = 1 << 20;
    /// Reliable connection.
    IBV_QPT_RC = 2;
    /// Queue pair states.
    IBV_QPS_INIT = 1;
    /// Ready to receive.
    IBV_QPS_RTR = 2;
    /// Ready to send.
    IBV_QPS_RTS = 3;
    /// Everything is flushed.
    IBV_QPS_ERR = 6;
    /// Bits of `ibv_modify_qp`'s mask.
    IBV_QP_STATE = 1;
    /// ...
    IBV_QP_ACCESS_FLAGS = 1 << 3;
    /// ...
    IBV_QP_PKEY_INDEX = 1 << 4;
    /// ...
    IBV_QP_PORT = 1 << 5;
    /// ...
    IBV_QP_AV = 1 << 7;
    /// ...
    IBV_QP_PATH_MTU = 1 << 8;
    /// ...
    IBV_QP_TIMEOUT = 1 << 9;
    /// ...
    IBV_QP_RETRY_CNT = 1 << 10;
    /// ...
    IBV_QP_RNR_RETRY = 1 << 11;
    /// ...
    IBV_QP_RQ_PSN = 1 << 12;
    /// ...
    IBV_QP_MAX_QP_RD_ATOMIC = 1 << 13;
    /// ...
    IBV_QP_MIN_RNR_TIMER = 1 << 15;
    /// ...
    IBV_QP_SQ_PSN = 1 << 16;
    /// ...
    IBV_QP_MAX_DEST_RD_ATOMIC = 1 << 17;
    /// ...
    IBV_QP_DEST_QPN = 1 << 20;
    /// The port is up.
    IBV_PORT_ACTIVE = 4;
    /// The port is up, traffic held back.
    IBV_PORT_ACTIVE_DEFER = 5;
    /// InfiniBand below.
    IBV_LINK_LAYER_INFINIBAND = 1;
    /// Ethernet below: RoCE.
    IBV_LINK_LAYER_ETHERNET = 2;
    /// Path MTU of 256 bytes; each next number doubles it, up to 5 for 4096.
    IBV_MTU_256 = 1;
    /// Path MTU of 4096 bytes.
    IBV_MTU_4096 = 5;
    /// A GID of InfiniBand.
    IBV_GID_TYPE_IB = 0;
    /// A GID of RoCE v1.
    IBV_GID_TYPE_ROCE_V1 = 1;
    /// A GID of RoCE v2.
    IBV_GID_TYPE_ROCE_V2 = 2;
    /// A completion queue overran or failed.
    IBV_EVENT_CQ_ERR = 0;
    /// A queue pair failed without a completion.
    IBV_EVENT_QP_FATAL = 1;
    /// The peer's request was invalid.
    IBV_EVENT_QP_REQ_ERR = 2;
    /// The peer's request was out of bounds.
    IBV_EVENT_QP_ACCESS_ERR = 3;
    /// The first packet came to a queue pair that was not told yet that it may send.
    IBV_EVENT_COMM_EST = 4;
    /// The device failed.
    IBV_EVENT_DEVICE_FATAL = 8;
    /// The port came up.
    IBV_EVENT_PORT_ACTIVE = 9;
    /// The port went down.
    IBV_EVENT_PORT_ERR = 10;
    /// The table of GIDs changed.
    IBV_EVENT_GID_CHANGE = 18;
}
