//! The states of a queue pair, with the checks of a real device.

use std::ffi::c_int;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::abi::*;
use crate::context::READS_MAX;
use crate::device::Device;
use crate::numbers::*;
use crate::queue_pair::{Qp, find};
use crate::send::{Peer, SendQueue};
use crate::world::{self, Aftermath};

/// What a queue pair was told of its connection.
#[derive(Default)]
pub(crate) struct Address {
    peer: u32,
    mtu: u32,
    receive_psn: u32,
    send_psn: u32,
    /// Whose GID or LID packets go to.
    gid: Option<ibv_gid>,
    lid: u16,
    /// Reads on their way that it begins, and that it takes.
    reads: u8,
    reads_taken: u8,
    pub(crate) rnr_retry: u8,
}

const ERROR: u32 = IBV_QPS_ERR;

/// Which bits a change needs, and which it may have besides; none where there is no such change.
fn bits(from: u32, to: u32) -> Option<(u32, u32)> {
    let ready = IBV_QP_CUR_STATE | IBV_QP_ACCESS_FLAGS | IBV_QP_MIN_RNR_TIMER;
    match (from, to) {
        (_, IBV_QPS_RESET | ERROR) => Some((0, 0)),
        (IBV_QPS_RESET, IBV_QPS_INIT) => Some((IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, 0)),
        (IBV_QPS_INIT, IBV_QPS_INIT) => Some((0, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS)),
        (IBV_QPS_INIT, IBV_QPS_RTR) => Some((
            IBV_QP_AV
                | IBV_QP_PATH_MTU
                | IBV_QP_DEST_QPN
                | IBV_QP_RQ_PSN
                | IBV_QP_MAX_DEST_RD_ATOMIC
                | IBV_QP_MIN_RNR_TIMER,
            IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX,
        )),
        (IBV_QPS_RTR, IBV_QPS_RTS) => Some((
            IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC,
            ready,
        )),
        (IBV_QPS_RTS, IBV_QPS_RTS) => Some((0, ready)),
        _ => None,
    }
}

/// Whether the values that `mask` names can be.
fn is_valid(qp: &Qp, values: &ibv_qp_attr, mask: u32) -> bool {
    let has = |bit| mask & bit != 0;
    let route = &values.ah_attr;
    let addressed = if qp.shared.lid() == 0 {
        route.is_global == 1 && qp.shared.takes_gid_index(route.grh.sgid_index)
    } else {
        route.dlid != 0
    };
    (!has(IBV_QP_PORT) || values.port_num == 1)
        && (!has(IBV_QP_PKEY_INDEX) || values.pkey_index == 0)
        && (!has(IBV_QP_AV) || addressed && route.port_num == 1)
        && (!has(IBV_QP_PATH_MTU) || (IBV_MTU_256..=IBV_MTU_4096).contains(&values.path_mtu))
        && (!has(IBV_QP_DEST_QPN) || values.dest_qp_num >> 24 == 0)
        && (!has(IBV_QP_RQ_PSN) || values.rq_psn >> 24 == 0)
        && (!has(IBV_QP_SQ_PSN) || values.sq_psn >> 24 == 0)
        && (!has(IBV_QP_MAX_QP_RD_ATOMIC) || values.max_rd_atomic <= READS_MAX)
        && (!has(IBV_QP_MAX_DEST_RD_ATOMIC) || values.max_dest_rd_atomic <= READS_MAX)
        && (!has(IBV_QP_RETRY_CNT) || values.retry_cnt <= 7)
        && (!has(IBV_QP_RNR_RETRY) || values.rnr_retry <= 7)
        && (!has(IBV_QP_TIMEOUT) || values.timeout <= 31)
        && (!has(IBV_QP_MIN_RNR_TIMER) || values.min_rnr_timer <= 31)
}

/// Changes a queue pair's state and what it knows of its connection: 0, or EINVAL where a real device refuses.
///
/// # Safety
/// - `qp` is alive, `attributes` may be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_modify_qp(qp: *mut ibv_qp, attributes: *mut ibv_qp_attr, mask: c_int) -> c_int {
    // SAFETY: the caller's promises.
    let (qp, values) = unsafe { (Qp::of(qp), &*attributes) };
    let mask = mask.cast_unsigned();
    let mut aftermath = Aftermath::default();
    let changed = change(qp, values, mask, &mut qp.send.hold(), &mut aftermath);
    aftermath.settle();
    world::step(qp.shared.device);
    if changed { 0 } else { EINVAL }
}

fn change(qp: &Qp, values: &ibv_qp_attr, mask: u32, send: &mut SendQueue, aftermath: &mut Aftermath) -> bool {
    let from = qp.state();
    let to = if mask & IBV_QP_STATE != 0 { values.qp_state } else { from };
    let Some((needed, optional)) = bits(from, to) else { return false };
    if mask & needed != needed || mask & !(needed | optional | IBV_QP_STATE) != 0 || !is_valid(qp, values, mask) {
        return false;
    }
    if mask & IBV_QP_CUR_STATE != 0 && values.cur_qp_state != from {
        return false;
    }
    remember(qp, values, mask);
    match to {
        IBV_QPS_ERR if from == IBV_QPS_ERR => {}
        IBV_QPS_ERR => qp.fail_held(send, aftermath),
        IBV_QPS_RESET => reset(qp, send),
        _ if to == from => {}
        _ => qp.set_state(send, to),
    }
    true
}

fn remember(qp: &Qp, values: &ibv_qp_attr, mask: u32) {
    let has = |bit| mask & bit != 0;
    let mut address = qp.address.lock().unwrap_or_else(PoisonError::into_inner);
    if has(IBV_QP_ACCESS_FLAGS) {
        qp.access.store(values.qp_access_flags, Ordering::Release);
    }
    if has(IBV_QP_AV) {
        address.gid = (values.ah_attr.is_global == 1).then_some(values.ah_attr.grh.dgid);
        address.lid = values.ah_attr.dlid;
    }
    if has(IBV_QP_DEST_QPN) {
        address.peer = values.dest_qp_num;
        address.mtu = values.path_mtu;
        address.receive_psn = values.rq_psn;
        address.reads_taken = values.max_dest_rd_atomic;
    }
    if has(IBV_QP_SQ_PSN) {
        address.send_psn = values.sq_psn;
        address.rnr_retry = values.rnr_retry;
        address.reads = values.max_rd_atomic;
    }
}

/// Forgets everything, completions that nobody polled too.
fn reset(qp: &Qp, send: &mut SendQueue) {
    qp.set_state(send, IBV_QPS_RESET);
    send.clear(qp);
    qp.receive.hold().clear();
    qp.send_cq.purge(qp.number);
    qp.recv_cq.purge(qp.number);
    qp.sent.store(0, Ordering::Release);
    qp.received.store(0, Ordering::Release);
    *qp.address.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
}

/// The device at the other end, if there is one.
pub(crate) fn other_end(qp: &Qp) -> Option<&'static Device> {
    let number = qp.address.lock().unwrap_or_else(PoisonError::into_inner).peer;
    find(number).map(|peer| peer.shared.device)
}

/// The peer that this queue pair was connected to, if packets reach it: it is there, ready, connected back, with the
/// addresses and the first sequence number that it was told.
pub(crate) fn reach(qp: &Qp) -> Option<Peer> {
    let (number, mtu, psn, gid, lid, reads, rnr_retry) = {
        let own = qp.address.lock().unwrap_or_else(PoisonError::into_inner);
        (own.peer, own.mtu, own.send_psn, own.gid, own.lid, own.reads, own.rnr_retry)
    };
    let peer = find(number)?;
    let epoch = peer.epoch();
    let addressed = if qp.shared.lid() == 0 {
        peer.shared.lid() == 0 && gid.is_some_and(|gid| peer.shared.has_gid(&gid))
    } else {
        peer.shared.lid() == lid
    };
    let (back, expected, smallest, reads_taken) = {
        let his = peer.address.lock().unwrap_or_else(PoisonError::into_inner);
        (his.peer, his.receive_psn, his.mtu, his.reads_taken)
    };
    let reached = addressed && peer.takes(epoch) && back == qp.number && expected == psn;
    reached.then_some(Peer { qp: peer, epoch, fits: mtu <= smallest, reads, reads_taken, rnr_retry })
}
