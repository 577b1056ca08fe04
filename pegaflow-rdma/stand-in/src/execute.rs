//! Carries requests out: checks of keys and ranges, and copies.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::abi::*;
use crate::context::MESSAGE_MAX;
use crate::lies::{self, Lies};
use crate::memory;
use crate::numbers::*;
use crate::queue_pair::Qp;
use crate::receive::{Receive, complete};
use crate::send::Peer;
use crate::world::Aftermath;

/// What came of an attempt.
pub(crate) enum Outcome {
    /// Carried out; so many bytes.
    Done(u64),
    /// The peer has no receive request.
    NotReady,
    /// Nobody answers.
    Unreachable,
    /// Failed for good; the peer too, with an event, if there is one.
    Failed { status: u32, peer: Option<u32> },
}

/// A failure of this side, which the peer hears nothing of.
pub(crate) fn own(status: u32) -> Outcome {
    Outcome::Failed { status, peer: None }
}

/// The peer refuses.
fn refused() -> Outcome {
    Outcome::Failed { status: IBV_WC_REM_ACCESS_ERR, peer: Some(IBV_EVENT_QP_ACCESS_ERR) }
}

fn invalid() -> Outcome {
    Outcome::Failed { status: IBV_WC_REM_INV_REQ_ERR, peer: Some(IBV_EVENT_QP_REQ_ERR) }
}

/// A list of ranges; none where it can't be one.
///
/// # Safety
/// - `list` is null or has `count` ranges.
#[inline]
pub(crate) unsafe fn segments<'a>(list: *const ibv_sge, count: c_int) -> Option<&'a [ibv_sge]> {
    let count = usize::try_from(count).ok()?;
    if count == 0 {
        return Some(&[]);
    }
    // SAFETY: the caller's promise.
    (!list.is_null()).then(|| unsafe { std::slice::from_raw_parts(list, count) })
}

/// Copies as a NIC does: aligned words whole, and after all that was copied before.
///
/// # Safety
/// - `from` may be read and `to` written for `length` bytes.
#[inline]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    let together = from.addr() | to.addr();
    // SAFETY: the caller's promise; words are aligned where they are copied as words.
    unsafe {
        if length == 8 && together.is_multiple_of(8) {
            let word = AtomicU64::from_ptr(from.cast_mut().cast()).load(Ordering::Relaxed);
            AtomicU64::from_ptr(to.cast()).store(word, Ordering::Release);
        } else if length == 4 && together.is_multiple_of(4) {
            let word = AtomicU32::from_ptr(from.cast_mut().cast()).load(Ordering::Relaxed);
            AtomicU32::from_ptr(to.cast()).store(word, Ordering::Release);
        } else {
            // The two may overlap: they are one process's memory.
            std::ptr::copy(from, to, length);
        }
    }
}

/// The bytes of ranges that need no key.
///
/// # Safety
/// - The ranges may be read.
pub(crate) unsafe fn source_bytes(ranges: &[ibv_sge]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for range in ranges.iter().filter(|range| range.length > 0) {
        // SAFETY: the caller's promise.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(pointer(range.addr), range.length as usize) });
    }
    bytes
}

/// Copies bytes into registered ranges of this side; no where a key or range is wrong.
///
/// # Safety
/// - `from` may be read for as many bytes as the ranges have.
pub(crate) unsafe fn scatter(domain: usize, ranges: &[ibv_sge], mut from: *const u8) -> bool {
    for range in ranges.iter().filter(|range| range.length > 0) {
        let length = u64::from(range.length);
        let Some(to) = memory::local(range.lkey, domain, range.addr, length, IBV_ACCESS_LOCAL_WRITE) else {
            return false;
        };
        // SAFETY: the caller's promise, and the range was checked.
        unsafe {
            copy(from, to, range.length as usize);
            from = from.add(range.length as usize);
        }
    }
    true
}

fn pointer(address: u64) -> *const u8 {
    std::ptr::with_exposed_provenance(usize::try_from(address).unwrap_or(0))
}

/// Where a range's bytes lie, for reading.
#[inline]
pub(crate) fn source(qp: &Qp, request: &ibv_send_wr, range: &ibv_sge) -> Option<*const u8> {
    if request.send_flags & IBV_SEND_INLINE != 0 {
        return Some(pointer(range.addr));
    }
    memory::local(range.lkey, qp.domain, range.addr, u64::from(range.length), 0).map(<*mut u8>::cast_const)
}

/// The request's ranges, and their bytes together.
#[inline]
pub(crate) fn ranges(request: &ibv_send_wr) -> (&[ibv_sge], u64) {
    // SAFETY: checked when it was posted, and it is being posted or a copy with ranges of its own.
    let ranges = unsafe { segments(request.sg_list, request.num_sge) }.unwrap_or_default();
    (ranges, ranges.iter().map(|range| u64::from(range.length)).sum())
}

/// Carries a request out, with the send queue held.
#[inline]
pub(crate) fn carry_out(
    qp: &Qp,
    peer: &Peer,
    request: &ibv_send_wr,
    lies: &mut Lies,
    aftermath: &mut Aftermath,
) -> Outcome {
    if !peer.fits {
        return invalid();
    }
    match request.opcode {
        IBV_WR_RDMA_WRITE => write(qp, &peer.qp, request, lies).map_or_else(|failed| failed, Outcome::Done),
        IBV_WR_RDMA_WRITE_WITH_IMM => write_with_immediate(qp, &peer.qp, request, lies, aftermath),
        IBV_WR_RDMA_READ => read(qp, peer, request),
        _ => send(qp, &peer.qp, request, aftermath),
    }
}

/// The plain case, quickly: a write of one registered range by a queue pair that is prompt and honest. None leaves all
/// to [`carry_out`], with nothing done.
#[inline]
pub(crate) fn quick_write(qp: &Qp, peer: &Peer, request: &ibv_send_wr) -> Option<u64> {
    let one = request.num_sge == 1 && !request.sg_list.is_null() && qp.cap.max_send_sge > 0;
    if request.opcode != IBV_WR_RDMA_WRITE || !one || !peer.fits {
        return None;
    }
    // SAFETY: whoever posts gives a list of this length.
    let range = unsafe { &*request.sg_list };
    let (length, bytes) = (range.length as usize, u64::from(range.length));
    let allowed = peer.qp.access.load(Ordering::Relaxed) & IBV_ACCESS_REMOTE_WRITE != 0;
    if request.send_flags & IBV_SEND_INLINE != 0 || length == 0 || bytes > MESSAGE_MAX || !allowed {
        return None;
    }
    let from = memory::local(range.lkey, qp.domain, range.addr, bytes, 0)?;
    let to = memory::remote(request.rkey, peer.qp.domain, request.remote_addr, bytes, IBV_ACCESS_REMOTE_WRITE)?;
    // SAFETY: both ranges were checked, and their regions stay while the send queue is held.
    unsafe { copy(from, to, length) };
    Some(bytes)
}

/// Where a write goes.
#[inline]
pub(crate) fn target(qp: &Qp, peer: &Qp, request: &ibv_send_wr, bytes: u64) -> Result<*mut u8, Outcome> {
    let to = if peer.access.load(Ordering::Relaxed) & IBV_ACCESS_REMOTE_WRITE == 0 {
        None
    } else {
        memory::remote(request.rkey, peer.domain, request.remote_addr, bytes, IBV_ACCESS_REMOTE_WRITE)
    };
    to.ok_or_else(|| {
        // This side looks at its own ranges first.
        let fine = ranges(request).0.iter().all(|range| range.length == 0 || source(qp, request, range).is_some());
        if fine { refused() } else { own(IBV_WC_LOC_PROT_ERR) }
    })
}

#[inline]
fn write(qp: &Qp, peer: &Qp, request: &ibv_send_wr, lies: &mut Lies) -> Result<u64, Outcome> {
    let (ranges, bytes) = ranges(request);
    if bytes == 0 {
        return Ok(0);
    }
    if bytes > MESSAGE_MAX {
        return Err(own(IBV_WC_LOC_LEN_ERR));
    }
    let mut to = target(qp, peer, request, bytes)?;
    if !qp.honest && lies::write(qp, peer, request, lies, to)? {
        return Ok(bytes);
    }
    for range in ranges.iter().filter(|range| range.length > 0) {
        let Some(from) = source(qp, request, range) else { return Err(own(IBV_WC_LOC_PROT_ERR)) };
        // SAFETY: both ranges were checked, and their regions stay while the send queue is held.
        unsafe {
            copy(from, to, range.length as usize);
            to = to.add(range.length as usize);
        }
    }
    Ok(bytes)
}

fn write_with_immediate(
    qp: &Qp,
    peer: &Qp,
    request: &ibv_send_wr,
    lies: &mut Lies,
    aftermath: &mut Aftermath,
) -> Outcome {
    if peer.receive.hold().is_empty() {
        return Outcome::NotReady;
    }
    let bytes = match write(qp, peer, request, lies) {
        Ok(bytes) => bytes,
        Err(failed) => return failed,
    };
    if !qp.honest && lies.loses_immediate(&qp.shared.schedule) {
        return Outcome::Done(bytes);
    }
    let mut queue = peer.receive.hold();
    // It was there, and only this queue pair uses them: the peer has failed since.
    let Some(receive) = queue.take() else { return Outcome::Unreachable };
    let mut wc = arrival(qp, peer, &receive, request, IBV_WC_RECV_RDMA_WITH_IMM, bytes);
    if !qp.honest
        && let Some(other) = lies.garbles_immediate(&qp.shared.schedule)
    {
        wc.imm_data = other;
    }
    complete(peer, &receive, wc, request.send_flags & IBV_SEND_SOLICITED != 0, aftermath);
    Outcome::Done(bytes)
}

fn arrival(qp: &Qp, peer: &Qp, receive: &Receive, request: &ibv_send_wr, opcode: u32, bytes: u64) -> ibv_wc {
    let with_immediate = matches!(request.opcode, IBV_WR_RDMA_WRITE_WITH_IMM | IBV_WR_SEND_WITH_IMM);
    ibv_wc {
        wr_id: receive.wr_id,
        opcode,
        byte_len: u32::try_from(bytes).unwrap_or(u32::MAX),
        imm_data: if with_immediate { request.imm_data } else { 0 },
        qp_num: peer.number,
        src_qp: qp.number,
        wc_flags: if with_immediate { IBV_WC_WITH_IMM } else { 0 },
        ..ibv_wc::default()
    }
}

/// A message: into the ranges of the peer's receive request.
fn send(qp: &Qp, peer: &Qp, request: &ibv_send_wr, aftermath: &mut Aftermath) -> Outcome {
    let (from, length) = ranges(request);
    if length > MESSAGE_MAX {
        return own(IBV_WC_LOC_LEN_ERR);
    }
    let mut bytes = Vec::new();
    for range in from.iter().filter(|range| range.length > 0) {
        let Some(place) = source(qp, request, range) else { return own(IBV_WC_LOC_PROT_ERR) };
        // SAFETY: the range was checked, and its region stays while the send queue is held.
        bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(place, range.length as usize) });
    }
    let mut queue = peer.receive.hold();
    let Some(receive) = queue.take() else { return Outcome::NotReady };
    let mut rest = length;
    let mut into = queue.ranges(&receive).to_vec();
    for range in &mut into {
        range.length = u32::try_from(rest.min(u64::from(range.length))).unwrap_or(range.length);
        rest -= u64::from(range.length);
    }
    // SAFETY: the ranges were cut to the message's length.
    let failed = if rest > 0 {
        Some((IBV_WC_LOC_LEN_ERR, invalid()))
    } else if unsafe { scatter(peer.domain, &into, bytes.as_ptr()) } {
        None
    } else {
        Some((IBV_WC_LOC_PROT_ERR, Outcome::Failed { status: 11, peer: Some(IBV_EVENT_QP_FATAL) }))
    };
    let wc = match failed {
        Some((status, _)) => peer.failed(receive.wr_id, status),
        None => arrival(qp, peer, &receive, request, IBV_WC_RECV, length),
    };
    complete(peer, &receive, wc, request.send_flags & IBV_SEND_SOLICITED != 0, aftermath);
    failed.map_or(Outcome::Done(length), |(_, outcome)| outcome)
}

/// Checks a read; where the peer's bytes lie, and how many.
pub(crate) fn fetch(qp: &Qp, peer: &Peer, request: &ibv_send_wr) -> Result<(*const u8, usize), Outcome> {
    let (ranges, bytes) = ranges(request);
    if peer.reads == 0 {
        return Err(own(IBV_WC_LOC_QP_OP_ERR));
    }
    if peer.reads_taken == 0 {
        return Err(invalid());
    }
    if bytes > MESSAGE_MAX {
        return Err(own(IBV_WC_LOC_LEN_ERR));
    }
    for range in ranges.iter().filter(|range| range.length > 0) {
        let length = u64::from(range.length);
        if memory::local(range.lkey, qp.domain, range.addr, length, IBV_ACCESS_LOCAL_WRITE).is_none() {
            return Err(own(IBV_WC_LOC_PROT_ERR));
        }
    }
    if bytes == 0 {
        return Ok((std::ptr::null(), 0));
    }
    if peer.qp.access.load(Ordering::Relaxed) & IBV_ACCESS_REMOTE_READ == 0 {
        return Err(refused());
    }
    let from = memory::remote(request.rkey, peer.qp.domain, request.remote_addr, bytes, IBV_ACCESS_REMOTE_READ);
    from.map(|from| (from.cast_const(), usize::try_from(bytes).unwrap_or(0))).ok_or_else(refused)
}

fn read(qp: &Qp, peer: &Peer, request: &ibv_send_wr) -> Outcome {
    let (from, length) = match fetch(qp, peer, request) {
        Ok(found) => found,
        Err(failed) => return failed,
    };
    // SAFETY: as many bytes as the ranges have were checked.
    if unsafe { scatter(qp.domain, ranges(request).0, from) } {
        Outcome::Done(length as u64)
    } else {
        own(IBV_WC_LOC_PROT_ERR)
    }
}
