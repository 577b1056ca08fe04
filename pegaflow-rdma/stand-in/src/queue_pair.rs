//! Queue pairs: how they are made, found by number, fail and go.

use std::cell::UnsafeCell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_uint};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::abi::*;
use crate::completion::{Cq, Entry};
use crate::context::{Context, Shared};
use crate::events::wait_for_acknowledgement;
use crate::lock::Lock;
use crate::memory::Pd;
use crate::numbers::*;
use crate::receive::ReceiveQueue;
use crate::schedule::Counts;
use crate::send::SendQueue;
use crate::states::Address;
use crate::world::Aftermath;

/// A state beyond those of verbs: destroyed, and kept by the peer's reference alone.
pub(crate) const GONE: u32 = 0xff;

/// A queue pair.
#[repr(C)]
pub(crate) struct Qp {
    base: UnsafeCell<ibv_qp>,
    /// Epoch and state in one: `epoch << 8 | state`. Changed with the send queue held.
    life: AtomicU64,
    /// What the peer may do.
    pub(crate) access: AtomicU32,
    /// Slots given back by polled completions.
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) number: u32,
    pub(crate) domain: usize,
    pub(crate) cap: ibv_qp_cap,
    pub(crate) signals_all: bool,
    pub(crate) prompt: bool,
    pub(crate) honest: bool,
    pub(crate) send: Lock<SendQueue>,
    pub(crate) receive: Lock<ReceiveQueue>,
    pub(crate) send_cq: Arc<Cq>,
    pub(crate) recv_cq: Arc<Cq>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) address: Mutex<Address>,
    pub(crate) async_unacknowledged: AtomicU32,
}

// SAFETY: `base` is written with the send queue held and not read here; the rest is atomics, locks and constants.
unsafe impl Sync for Qp {}
// SAFETY: the pointers in `base` are never followed here but by the thread that destroys it.
unsafe impl Send for Qp {}

/// Every queue pair of the process by its number, and the number of the next.
static PAIRS: Mutex<(BTreeMap<u32, Arc<Qp>>, u32)> = Mutex::new((BTreeMap::new(), 0x11));

fn pairs() -> MutexGuard<'static, (BTreeMap<u32, Arc<Qp>>, u32)> {
    PAIRS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The queue pair of a number.
pub(crate) fn find(number: u32) -> Option<Arc<Qp>> {
    pairs().0.get(&number).cloned()
}

/// Returns when every request that was being carried out has been.
pub(crate) fn pass_every_send_queue() {
    let all: Vec<_> = pairs().0.values().cloned().collect();
    for qp in all {
        drop(qp.send.hold());
    }
}

impl Qp {
    /// # Safety
    /// - `qp` was not destroyed.
    #[inline]
    pub(crate) unsafe fn of<'a>(qp: *mut ibv_qp) -> &'a Self {
        // SAFETY: queue pairs are made in `ibv_create_qp`, as this type.
        unsafe { &*qp.cast_const().cast::<Self>() }
    }

    #[inline]
    pub(crate) fn state(&self) -> u32 {
        u32::from(self.life.load(Ordering::Acquire).to_le_bytes()[0])
    }

    /// How often it was connected.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.life.load(Ordering::Acquire) >> 8
    }

    /// Whether it takes what peers send, in this epoch.
    #[inline]
    pub(crate) fn takes(&self, epoch: u64) -> bool {
        let life = self.life.load(Ordering::Acquire);
        life == (epoch << 8 | u64::from(IBV_QPS_RTR)) || life == (epoch << 8 | u64::from(IBV_QPS_RTS))
    }

    /// Changes the state; becoming ready to receive begins an epoch.
    pub(crate) fn set_state(&self, _held: &SendQueue, state: u32) {
        let epoch = self.epoch() + u64::from(state == IBV_QPS_RTR);
        self.life.store(epoch << 8 | u64::from(state), Ordering::SeqCst);
        if state != GONE {
            // SAFETY: the send queue is held, so nobody else writes it.
            unsafe { (*self.base.get()).state = state };
        }
    }

    fn about(&self) -> usize {
        std::ptr::from_ref(self).expose_provenance()
    }

    pub(crate) fn raise(&self, event: c_uint) {
        self.shared.events.raise(event, self.about());
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = self.send.hold().counts;
        counts.receives = self.receive.hold().posted_ever;
        counts
    }

    /// Fails, unless it has failed or is gone.
    pub(crate) fn fail(&self, event: Option<c_uint>, aftermath: &mut Aftermath) {
        let mut send = self.send.hold();
        if matches!(self.state(), IBV_QPS_ERR | GONE) {
            return;
        }
        if let Some(event) = event {
            self.raise(event);
        }
        self.fail_held(&mut send, aftermath);
    }

    /// Fails, and flushes all that waits, in order.
    pub(crate) fn fail_held(&self, send: &mut SendQueue, aftermath: &mut Aftermath) {
        self.set_state(send, IBV_QPS_ERR);
        send.flush(self, aftermath);
        self.receive.hold().flush(self, aftermath);
    }

    /// Adds a completion of a send request.
    #[inline]
    pub(crate) fn complete_send(&self, wc: ibv_wc, index: u64, aftermath: &mut Aftermath) {
        let entry = Entry { wc, freed: &raw const self.sent, to: index + 1, solicited: false };
        self.send_cq.push(entry, aftermath);
    }

    /// A completion that failed: four fields mean something, the rest is what a careless reader falls for.
    #[cold]
    pub(crate) fn failed(&self, wr_id: u64, status: u32) -> ibv_wc {
        let opcodes = [IBV_WC_RECV_RDMA_WITH_IMM, IBV_WC_RECV, IBV_WC_SEND, IBV_WC_RDMA_WRITE, IBV_WC_RDMA_READ, 0xbad];
        let pick = wr_id.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
        ibv_wc {
            wr_id,
            status,
            opcode: opcodes[usize::from(pick[7]) % opcodes.len()],
            vendor_err: 0x5d00 | status,
            byte_len: 0xdead_beef,
            imm_data: u32::from_le_bytes([pick[3], pick[4], pick[5], pick[6]]),
            qp_num: self.number,
            src_qp: 0xdead,
            wc_flags: u32::MAX,
            pkey_index: u16::MAX,
            slid: u16::MAX,
            sl: u8::MAX,
            dlid_path_bits: u8::MAX,
        }
    }
}

/// Makes a queue pair, with exactly the room that was asked for.
///
/// # Safety
/// - `pd` and the completion queues are alive; `attributes` may be read and written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_create_qp(pd: *mut ibv_pd, attributes: *mut ibv_qp_init_attr) -> *mut ibv_qp {
    // SAFETY: the caller's promises.
    let (asked, domain, context) = unsafe { (&*attributes, Pd::of(pd), (*pd).context) };
    // SAFETY: a context with a domain can't be closed.
    let shared = &unsafe { Context::of(context) }.shared;
    let (schedule, cap) = (&shared.schedule, asked.cap);
    if asked.qp_type != IBV_QPT_RC
        || !asked.srq.is_null()
        || asked.send_cq.is_null()
        || asked.recv_cq.is_null()
        || cap.max_send_wr.max(cap.max_recv_wr) > schedule.queue_max()
        || cap.max_send_sge.max(cap.max_recv_sge) > schedule.segments_max()
        || cap.max_inline_data > schedule.inline_max()
    {
        return null(EINVAL);
    }
    if shared.pairs() >= schedule.pairs_max() as usize {
        return null(ENOMEM);
    }
    let seed = shared.next_seed();
    let mut pairs = pairs();
    let number = pairs.1;
    pairs.1 = (number + 1) & 0x00ff_ffff;
    let base = ibv_qp {
        context,
        qp_context: asked.qp_context,
        pd,
        send_cq: asked.send_cq,
        recv_cq: asked.recv_cq,
        srq: std::ptr::null_mut(),
        handle: number,
        qp_num: number,
        state: IBV_QPS_RESET,
        qp_type: asked.qp_type,
    };
    // SAFETY: the caller's promise.
    let (send_cq, recv_cq) = unsafe { (Cq::join(asked.send_cq, number), Cq::join(asked.recv_cq, number)) };
    let qp = Arc::new(Qp {
        base: UnsafeCell::new(base),
        life: AtomicU64::new(u64::from(IBV_QPS_RESET)),
        access: AtomicU32::new(0),
        sent: AtomicU64::new(0),
        received: AtomicU64::new(0),
        number,
        domain: pd.addr(),
        cap,
        signals_all: asked.sq_sig_all != 0,
        prompt: schedule.is_prompt(),
        honest: schedule.is_honest(),
        send: Lock::new(SendQueue::new(seed)),
        receive: Lock::new(ReceiveQueue::new(&cap)),
        send_cq,
        recv_cq,
        shared: Arc::clone(shared),
        address: Mutex::default(),
        async_unacknowledged: AtomicU32::new(0),
    });
    domain.users.fetch_add(1, Ordering::AcqRel);
    pairs.0.insert(number, Arc::clone(&qp));
    drop(pairs);
    shared.add_qp(&qp);
    Arc::into_raw(qp).cast_mut().cast()
}

/// Destroys a queue pair; completions that nobody polled go with it. Returns 0, or EBUSY where its device keeps it, or an
/// event was got and not acknowledged within a second; a real library would wait for the acknowledgement, for ever.
///
/// # Safety
/// - `qp` was not destroyed, and is not used again once 0 was returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_destroy_qp(qp: *mut ibv_qp) -> c_int {
    // SAFETY: made by `Arc::into_raw`, whose reference the caller still has; it is taken back at the end.
    let pair = unsafe { Qp::of(qp) };
    if pair.shared.schedule.kept_pairs != 0 || !wait_for_acknowledgement(&[&pair.async_unacknowledged]) {
        return EBUSY;
    }
    {
        let mut send = pair.send.hold();
        pair.set_state(&send, GONE);
        send.clear(pair);
        pair.receive.hold().clear();
    }
    pairs().0.remove(&pair.number);
    // What a peer's request was doing here, in another thread, is done.
    pass_every_send_queue();
    pair.send_cq.part(pair.number);
    pair.recv_cq.part(pair.number);
    // It is gone: nothing is raised about it any more.
    pair.shared.events.forget(pair.about());
    pair.shared.remove_qp(pair);
    // SAFETY: a domain with queue pairs can't be deallocated.
    unsafe { Pd::of((*qp).pd) }.users.fetch_sub(1, Ordering::AcqRel);
    // An event that was got meanwhile is acknowledged first; else the memory stays.
    if wait_for_acknowledgement(&[&pair.async_unacknowledged]) {
        // SAFETY: the caller gives its reference up.
        drop(unsafe { Arc::from_raw(qp.cast_const().cast::<Qp>()) });
    }
    0
}
