//! Numbers of `verbs.h` that only this side of the interface needs, and errno.

use std::ffi::{c_int, c_uint};

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => { $($(#[$doc])* pub const $name: c_uint = $value;)* };
}

numbers! {
    /// A message was longer than what it should fill.
    IBV_WC_LOC_LEN_ERR = 1;
    /// The queue pair can't do this.
    IBV_WC_LOC_QP_OP_ERR = 2;
    /// A local key or range is wrong.
    IBV_WC_LOC_PROT_ERR = 4;
    /// The peer found the request invalid.
    IBV_WC_REM_INV_REQ_ERR = 9;
    /// A message was sent.
    IBV_WC_SEND = 0;
    /// A write ended.
    IBV_WC_RDMA_WRITE = 1;
    /// A read ended.
    IBV_WC_RDMA_READ = 2;
    /// A message for a receive request.
    IBV_WR_SEND = 2;
    /// A message with immediate data.
    IBV_WR_SEND_WITH_IMM = 3;
    /// Wake a peer that armed for solicited completions only.
    IBV_SEND_SOLICITED = 4;
    /// A queue pair's first state.
    IBV_QPS_RESET = 0;
    /// The port is down.
    IBV_PORT_DOWN = 1;
    /// A bit of `ibv_modify_qp`'s mask.
    IBV_QP_CUR_STATE = 1 << 1;
}

pub(crate) const EBADF: c_int = 9;
pub(crate) const ENOMEM: c_int = 12;
pub(crate) const EBUSY: c_int = 16;
pub(crate) const EEXIST: c_int = 17;
pub(crate) const ENODEV: c_int = 19;
pub(crate) const EINVAL: c_int = 22;
pub(crate) const ENODATA: c_int = 61;
pub(crate) const EOPNOTSUPP: c_int = 95;

unsafe extern "C" {
    fn __errno_location() -> *mut c_int;
}

/// Sets the C library's errno.
pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: the C library gives the address of this thread's errno.
    unsafe { *__errno_location() = errno };
}

/// What functions return that make something: nothing, and errno says why.
pub(crate) fn null<T>(errno: c_int) -> *mut T {
    set_errno(errno);
    std::ptr::null_mut()
}
