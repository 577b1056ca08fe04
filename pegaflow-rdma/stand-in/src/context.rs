//! An open device, and what it says of itself.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fd::AsRawFd;

use crate::abi::*;
use crate::completion::{Cq, poll_cq, req_notify_cq};
use crate::device::Device;
use crate::events::Events;
use crate::numbers::*;
use crate::queue_pair::Qp;
use crate::receive::post_recv;
use crate::schedule::{Counts, Schedule};
use crate::send::post_send;
use crate::world::{self, Aftermath};

/// The longest message, 1 GiB.
pub(crate) const MESSAGE_MAX: u64 = 1 << 30;
/// Reads on their way, per queue pair and direction.
pub(crate) const READS_MAX: u8 = 16;
/// Entries of the table of GIDs on RoCE; the last one is empty.
const GIDS: u32 = 3;

/// An open device as the caller sees it.
#[repr(C)]
pub(crate) struct Context {
    base: ibv_context,
    pub(crate) shared: Arc<Shared>,
}

/// What a context and all that was made in it hold together.
pub(crate) struct Shared {
    pub(crate) schedule: Schedule,
    pub(crate) device: &'static Device,
    pub(crate) events: Events,
    /// Domains, channels, completion queues: a context with some left can't be closed.
    pub(crate) children: AtomicUsize,
    pub(crate) regions: AtomicU32,
    /// Queue pairs and completion queues made so far, for their seeds.
    pub(crate) made: AtomicU64,
    live: Mutex<Live>,
    totals: Mutex<Counts>,
}

/// What was made and not destroyed.
#[derive(Default)]
struct Live {
    qps: Vec<Weak<Qp>>,
    cqs: Vec<Weak<Cq>>,
}

impl Context {
    /// # Safety
    /// - `context` is open.
    pub(crate) unsafe fn of<'a>(context: *mut ibv_context) -> &'a Self {
        // SAFETY: contexts are made in `ibv_open_device`, as this type.
        unsafe { &*context.cast::<Self>() }
    }
}

impl Shared {
    pub(crate) fn counts(&self) -> Counts {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts = *self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        live.qps.iter().filter_map(Weak::upgrade).for_each(|qp| counts.add(&qp.counts()));
        live.cqs.iter().filter_map(Weak::upgrade).for_each(|cq| counts.add(&cq.counts()));
        (counts.pairs, counts.queues) = (live.qps.len() as u64, live.cqs.len() as u64);
        counts.regions = self.regions.load(Ordering::Relaxed).into();
        counts
    }

    /// Fails everything of one kind: each queue pair, or each completion queue and the queue pairs on it.
    pub(crate) fn fail_all(&self, event: u32) {
        let mut aftermath = Aftermath::default();
        {
            let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            if event == IBV_EVENT_CQ_ERR {
                live.cqs.iter().filter_map(Weak::upgrade).for_each(|cq| cq.fail(&mut aftermath));
            } else {
                let numbers = live.qps.iter().filter_map(Weak::upgrade).map(|qp| qp.number);
                numbers.for_each(|number| aftermath.fail(number, Some(event)));
            }
        }
        aftermath.settle();
    }

    /// How many queue pairs there are.
    pub(crate) fn pairs(&self) -> usize {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).qps.len()
    }

    pub(crate) fn add_qp(&self, qp: &Arc<Qp>) {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).qps.push(Arc::downgrade(qp));
    }

    pub(crate) fn add_cq(&self, cq: &Arc<Cq>) {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).cqs.push(Arc::downgrade(cq));
    }

    /// Takes a queue pair off the books; what it counted stays.
    pub(crate) fn remove_qp(&self, qp: &Qp) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.qps.retain(|weak| !std::ptr::eq(weak.as_ptr(), qp));
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).add(&qp.counts());
    }

    /// Takes a completion queue off the books; what it counted stays.
    pub(crate) fn remove_cq(&self, cq: &Cq) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.cqs.retain(|weak| !std::ptr::eq(weak.as_ptr(), cq));
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).add(&cq.counts());
    }

    /// A seed of its own for each thing that is made, the same in every run.
    pub(crate) fn next_seed(&self) -> u64 {
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        self.schedule.seed ^ made.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    pub(crate) fn lid(&self) -> u16 {
        u16::try_from(self.schedule.lid).unwrap_or(u16::MAX)
    }

    /// Whether packets for this GID reach the port.
    pub(crate) fn has_gid(&self, gid: &ibv_gid) -> bool {
        (0..self.gid_count()).filter_map(|index| self.gid(index)).any(|own| own == *gid)
    }

    fn gid(&self, index: u32) -> Option<ibv_gid> {
        let [high, low] = self.device.ordinal.wrapping_add(1).to_be_bytes();
        let raw = match index {
            0 => [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x02, 0x50, 0x47, 0xff, 0xfe, 0, high, low],
            1 if self.gid_count() > 1 => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 77, high, low],
            _ => return None,
        };
        Some(ibv_gid { raw })
    }

    fn gid_count(&self) -> u32 {
        match (self.lid(), self.schedule.gids_max) {
            (0, 0) => GIDS,
            (0, most) => most.min(GIDS),
            _ => 1,
        }
    }

    pub(crate) fn takes_gid_index(&self, index: u8) -> bool {
        self.gid(u32::from(index)).is_some()
    }
}

/// Opens a device.
///
/// # Safety
/// - `device` is from `ibv_get_device_list`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_open_device(device: *mut ibv_device) -> *mut ibv_context {
    // SAFETY: the caller's promise.
    let opened = unsafe { Device::of(device) };
    let Ok(events) = Events::new() else { return null(ENOMEM) };
    let shared = Arc::new(Shared {
        schedule: opened.schedule,
        device: opened,
        events,
        children: AtomicUsize::new(0),
        regions: AtomicU32::new(0),
        made: AtomicU64::new(0),
        live: Mutex::default(),
        totals: Mutex::default(),
    });
    // SAFETY: all zero is a context: numbers, null pointers and absent functions.
    let mut base: ibv_context = unsafe { std::mem::zeroed() };
    base.device = device;
    base.cmd_fd = -1;
    base.async_fd = shared.events.descriptor().as_raw_fd();
    base.num_comp_vectors = 1;
    base.ops.post_send = Some(post_send);
    base.ops.post_recv = Some(post_recv);
    base.ops.poll_cq = Some(poll_cq);
    base.ops.req_notify_cq = Some(req_notify_cq);
    opened.contexts().push(Arc::clone(&shared));
    world::enter();
    Box::into_raw(Box::new(Context { base, shared })).cast()
}

/// Closes a device. Returns 0, or EBUSY and does nothing where something made in it is still there; a real library
/// would leak it.
///
/// # Safety
/// - `context` is open, and not used again once 0 was returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_close_device(context: *mut ibv_context) -> c_int {
    // SAFETY: the caller's promise.
    if unsafe { Context::of(context) }.shared.children.load(Ordering::Acquire) != 0 {
        return EBUSY;
    }
    // SAFETY: as above.
    let shared = Arc::clone(&unsafe { Context::of(context) }.shared);
    shared.device.close(&shared);
    // SAFETY: made by a box, nothing else refers to it, and the caller gives it up.
    drop(unsafe { Box::from_raw(context.cast::<Context>()) });
    world::leave();
    0
}

/// Says what the context saw.
///
/// # Safety
/// - `context` is open, `counts` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pegaflow_stand_in_counts(context: *mut ibv_context, counts: *mut Counts) -> c_int {
    // SAFETY: the caller's promises.
    unsafe { counts.write(Context::of(context).shared.counts()) };
    0
}

/// Says what the device can do.
///
/// # Safety
/// - `context` is open, `attributes` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_query_device(context: *mut ibv_context, attributes: *mut ibv_device_attr) -> c_int {
    // SAFETY: the caller's promise.
    let schedule = &unsafe { Context::of(context) }.shared.schedule;
    // SAFETY: all zero is a value of this struct of numbers.
    let mut all: ibv_device_attr = unsafe { std::mem::zeroed() };
    for (place, byte) in all.fw_ver.iter_mut().zip(b"stand-in") {
        *place = byte.cast_signed();
    }
    all.max_mr_size = 1 << 40;
    all.page_size_cap = 4096;
    all.max_qp = schedule.pairs_max().cast_signed();
    all.max_qp_wr = schedule.queue_max().cast_signed();
    all.max_sge = schedule.segments_max().cast_signed();
    all.max_sge_rd = schedule.segments_max().cast_signed();
    all.max_cq = 1 << 18;
    all.max_cqe = schedule.completions_max().cast_signed();
    all.max_mr = schedule.regions_max().cast_signed();
    all.max_pd = 1 << 18;
    all.max_qp_rd_atom = c_int::from(READS_MAX);
    all.max_qp_init_rd_atom = c_int::from(READS_MAX);
    all.max_pkeys = 1;
    all.phys_port_cnt = 1;
    // SAFETY: the caller's promise.
    unsafe { attributes.write(all) };
    0
}

/// Says what the port is.
///
/// # Safety
/// - `context` is open, `attributes` may be written up to and with `link_layer`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_query_port(context: *mut ibv_context, port: u8, attributes: *mut ibv_port_attr) -> c_int {
    if port != 1 {
        return EINVAL;
    }
    // SAFETY: the caller's promise.
    let shared = &unsafe { Context::of(context) }.shared;
    // SAFETY: all zero is a value of this struct of numbers.
    let mut all: ibv_port_attr = unsafe { std::mem::zeroed() };
    all.state = shared.device.port_state.load(Ordering::Acquire);
    all.max_mtu = IBV_MTU_4096;
    all.active_mtu = IBV_MTU_4096;
    all.gid_tbl_len = shared.gid_count().cast_signed();
    all.max_msg_sz = u32::try_from(MESSAGE_MAX).unwrap_or(u32::MAX);
    all.pkey_tbl_len = 1;
    all.lid = shared.lid();
    all.sm_lid = u16::from(shared.lid() != 0);
    all.max_vl_num = 1;
    all.active_width = 2;
    all.active_speed = 128;
    all.phys_state = 5;
    all.link_layer = if shared.lid() == 0 { 2 } else { 1 };
    let filled = std::mem::offset_of!(ibv_port_attr, link_layer) + 1;
    // SAFETY: the caller's promise; the old symbol knows no field after this one.
    unsafe { std::ptr::copy_nonoverlapping((&raw const all).cast::<u8>(), attributes.cast::<u8>(), filled) };
    0
}

/// Reads an entry of the table of GIDs: 0, EINVAL beyond its end, ENODATA where it is empty.
///
/// # Safety
/// - `context` is open, `entry` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _ibv_query_gid_ex(
    context: *mut ibv_context,
    port: u32,
    index: u32,
    entry: *mut ibv_gid_entry,
    flags: u32,
    entry_size: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    let shared = &unsafe { Context::of(context) }.shared;
    if port != 1 || flags != 0 || entry_size < size_of::<ibv_gid_entry>() || index >= shared.gid_count() {
        return EINVAL;
    }
    let Some(gid) = shared.gid(index) else { return ENODATA };
    let (gid_type, ndev_ifindex) = if shared.lid() == 0 { (IBV_GID_TYPE_ROCE_V2, 1) } else { (IBV_GID_TYPE_IB, 0) };
    // SAFETY: the caller's promise.
    unsafe { entry.write(ibv_gid_entry { gid, gid_index: index, port_num: port, gid_type, ndev_ifindex }) };
    0
}
