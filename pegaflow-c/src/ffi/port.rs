//! A port: the data path. One thread at a time; a second one is refused.

use std::{
    ffi::{c_char, c_int},
    os::fd::AsRawFd,
    sync::{Mutex, MutexGuard, TryLockError},
    time::Duration,
};

use pegaflow::{
    Armed, Batch, ChannelId, Counter, CounterId, Event, Poller, Port, Revoking, Submitted, Then, TransferId,
};

use super::{instant, memory::pf_grant, nanoseconds, node::pf_node, plan::pf_plan, raw};
use crate::{
    status::{Failure, count, full, guard, pf_status},
    twins::{self, PF_NEVER, pf_batch, pf_channel, pf_channel_state, pf_event, pf_slot, pf_then, pf_transfer},
};

/// Most events of one poll: they pass through a buffer on the stack.
const EVENTS: usize = 64;

/// One thread's handle to channels.
#[derive(Debug)]
pub struct pf_port(Mutex<Poller<()>>);

impl pf_port {
    /// Nobody waits here: whoever finds another thread inside is told.
    pub(super) fn enter(&self) -> Result<MutexGuard<'_, Poller<()>>, Failure> {
        self.0.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                Failure::new(pf_status::PF_MISUSE, "the port is in use by another thread: give each thread its own")
            }
            TryLockError::Poisoned(_) => {
                Failure::new(pf_status::PF_PANIC, "an earlier call panicked in this port: give it back")
            }
        })
    }
}

/// A counter of this side, for one peer to count on.
#[derive(Debug)]
pub struct pf_counter(Counter);

const _: () = {
    const fn from_any_thread<T: Send + Sync>() {}
    from_any_thread::<pf_node>();
    from_any_thread::<pf_plan>();
    from_any_thread::<pf_port>();
    from_any_thread::<pf_counter>();
};

/// Opens a port.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_open(node: *const pf_node, port: *mut *mut pf_port) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (node, port) = unsafe { (raw::borrow(node, "node")?, raw::out(port, "port")?) };
        port.write(raw::handle(pf_port(Mutex::new(node.0.node().port(())?))));
        Ok(pf_status::PF_OK)
    })
}

/// Gives a port back: its channels end, and nothing touches memory for it any more.
///
/// # Safety
/// - Pointers are as the head of the header says; nobody uses the handle any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_free(port: *mut pf_port) -> pf_status {
    // SAFETY: the caller's word, passed on.
    guard(|| unsafe { raw::free(port, "port") })
}

/// Takes the dials of peers for a class; each gives a channel, made known by its `PF_EVENT_CHANNEL`.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_listen(port: *const pf_port, class: u32) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        unsafe { raw::borrow(port, "port")? }.enter()?.listen(twins::class(class)?)?;
        Ok(pf_status::PF_OK)
    })
}

/// Begins to connect to the node at `address`. An event says `PF_UP`, or after `patience_ns` `PF_BROKEN`.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_dial(
    port: *const pf_port,
    address: *const u8,
    length: usize,
    class: u32,
    patience_ns: u64,
    channel: *mut pf_channel,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (port, address, channel) = unsafe {
            (raw::borrow(port, "port")?, raw::many(address, length, "address")?, raw::out(channel, "channel")?)
        };
        let patience = Duration::from_nanos(patience_ns);
        channel.write(port.enter()?.dial(address, twins::class(class)?, patience)?.to_bits());
        Ok(pf_status::PF_OK)
    })
}

/// Tells the state of a channel. `PF_MISUSE` for one that this port never had, or has forgotten.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_state(
    port: *const pf_port,
    channel: pf_channel,
    state: *mut pf_channel_state,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (port, state) = unsafe { (raw::borrow(port, "port")?, raw::out(state, "state")?) };
        let id = ChannelId::from_bits(channel);
        let now = port.enter()?.state(id).ok_or(pegaflow::ApiMisuse::UnknownChannel(id))?;
        state.write(pf_channel_state::new(id, now));
        Ok(pf_status::PF_OK)
    })
}

/// Copies out the name of the node at the other end; a length of 0 before it is known.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_peer(
    port: *const pf_port,
    channel: pf_channel,
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let port = unsafe { raw::borrow(port, "port")? }.enter()?;
        let name = port.peer(ChannelId::from_bits(channel)).unwrap_or("");
        // SAFETY: as above.
        unsafe { raw::copy_out(name.as_bytes(), buffer, capacity, length) }
    })
}

/// Tells the channel of a class that leads to the node called `peer` and is up; 0 where there is none.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_find(
    port: *const pf_port,
    peer: *const c_char,
    class: u32,
    channel: *mut pf_channel,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (port, peer, channel) =
            unsafe { (raw::borrow(port, "port")?, raw::text(peer, "peer")?, raw::out(channel, "channel")?) };
        let found = port.enter()?.find(peer, twins::class(class)?);
        channel.write(found.map_or(0, ChannelId::to_bits));
        Ok(pf_status::PF_OK)
    })
}

/// Makes a counter for the peer of `channel` to count on. `PF_FULL_COUNTERS` where all are taken.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_counter(
    port: *const pf_port,
    channel: pf_channel,
    counter: *mut *mut pf_counter,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (port, counter) = unsafe { (raw::borrow(port, "port")?, raw::out(counter, "counter")?) };
        let Some(made) = port.enter()?.counter(ChannelId::from_bits(channel))? else {
            return Ok(pf_status::PF_FULL_COUNTERS);
        };
        counter.write(raw::handle(pf_counter(made)));
        Ok(pf_status::PF_OK)
    })
}

/// Tells the number that the sender names in `pf_batch.counter`.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_counter_id(counter: *const pf_counter, id: *mut u32) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (counter, id) = unsafe { (raw::borrow(counter, "counter")?, raw::out(id, "id")?) };
        id.write(counter.0.id().to_bits());
        Ok(pf_status::PF_OK)
    })
}

/// Tells how many counted transfers have landed; all their bytes are visible to this thread. Any thread, never blocks.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_counter_value(counter: *const pf_counter, value: *mut u64) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (counter, value) = unsafe { (raw::borrow(counter, "counter")?, raw::out(value, "value")?) };
        value.write(counter.0.value());
        Ok(pf_status::PF_OK)
    })
}

/// Tells how many transfers that were to be counted will not be: cancelled by their sender, or past their deadline. Any
/// thread, never blocks.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_counter_aborted(counter: *const pf_counter, value: *mut u64) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (counter, value) = unsafe { (raw::borrow(counter, "counter")?, raw::out(value, "value")?) };
        value.write(counter.0.aborted());
        Ok(pf_status::PF_OK)
    })
}

/// Retires a counter: what comes late finds none and changes nothing.
///
/// # Safety
/// - Pointers are as the head of the header says; nobody uses the handle any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_counter_free(counter: *mut pf_counter) -> pf_status {
    // SAFETY: the caller's word, passed on.
    guard(|| unsafe { raw::free(counter, "counter") })
}

/// Submits a batch. Everything is checked and copied now. `PF_OK`: it ends once, with an event that carries its tag;
/// `PF_FULL_*`: nothing was taken. `transfer` may be NULL.
///
/// # Safety
/// - Pointers are as the head of the header says, those in the batch too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_submit(
    port: *const pf_port,
    channel: pf_channel,
    batch: *const pf_batch,
    transfer: *mut pf_transfer,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (port, batch) = unsafe { (raw::borrow(port, "port")?, raw::grown(batch)?) };
        // SAFETY: as above.
        let (plan, here, there, message) = unsafe {
            (
                raw::borrow(batch.plan, "batch.plan")?,
                raw::many(batch.here, batch.count, "batch.here")?,
                raw::many(batch.there, batch.count, "batch.there")?,
                raw::many(batch.message, batch.message_bytes, "batch.message")?,
            )
        };
        let then = match twins::then(batch.then)? {
            pf_then::PF_THEN_NOTHING => Then::Nothing,
            pf_then::PF_THEN_COUNT => Then::Count(CounterId::from_bits(batch.counter)),
            pf_then::PF_THEN_MESSAGE => Then::Message(message),
        };
        let whole = Batch {
            plan: &plan.0,
            planes: batch.planes_begin..batch.planes_end,
            here,
            there,
            then,
            deadline: instant(batch.deadline_ns),
            tag: batch.tag,
        };
        // SAFETY: as above.
        unsafe { submitted(transfer, || Ok(port.enter()?.submit(ChannelId::from_bits(channel), &whole)?)) }
    })
}

/// Sends a message alone, after all that was submitted before on this channel. `transfer` may be NULL.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_send(
    port: *const pf_port,
    channel: pf_channel,
    message: *const u8,
    length: usize,
    deadline_ns: u64,
    tag: u64,
    transfer: *mut pf_transfer,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (port, message) = unsafe { (raw::borrow(port, "port")?, raw::many(message, length, "message")?) };
        let (on, deadline) = (ChannelId::from_bits(channel), instant(deadline_ns));
        // SAFETY: as above.
        unsafe { submitted(transfer, || Ok(port.enter()?.send(on, message, deadline, tag)?)) }
    })
}

/// Does a submit, with the place for its id checked before.
///
/// # Safety
/// - As [`raw::out`]; null is let pass.
unsafe fn submitted(
    transfer: *mut pf_transfer,
    submit: impl FnOnce() -> Result<Submitted, Failure>,
) -> Result<pf_status, Failure> {
    // SAFETY: the caller's word, passed on.
    let place = if transfer.is_null() { None } else { Some(unsafe { raw::out(transfer, "transfer")? }) };
    match submit()? {
        Submitted::Accepted(id) => {
            place.map(|place| place.write(id.to_bits()));
            Ok(pf_status::PF_OK)
        }
        Submitted::Full(short) => Ok(full(short)),
        Submitted::Revoked => Ok(pf_status::PF_REVOKED),
    }
}

/// Moves everything on and hands out what happened, at most `capacity` events and 64; gives how many, or a negative
/// status.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_poll(port: *const pf_port, event: *mut pf_event, capacity: usize) -> c_int {
    count(|| {
        // SAFETY: the caller's word, passed on.
        let (port, places) = unsafe { (raw::borrow(port, "port")?, raw::room(event, capacity, "event")?) };
        let mut events = [Event::NONE; EVENTS];
        let room = places.len().min(EVENTS);
        let made = port.enter()?.poll(&mut events[..room]);
        for (place, event) in places.iter_mut().zip(&events[..made]) {
            place.write((*event).into());
        }
        Ok(c_int::try_from(made).unwrap_or(c_int::MAX))
    })
}

/// Copies out the bytes of a received message.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_message(
    port: *const pf_port,
    slot: pf_slot,
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let port = unsafe { raw::borrow(port, "port")? }.enter()?;
        // SAFETY: as above.
        unsafe { raw::copy_out(port.message(slot.into())?, buffer, capacity, length) }
    })
}

/// Gives a message back, and its credit to the sender.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_release(port: *const pf_port, slot: pf_slot) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        unsafe { raw::borrow(port, "port")? }.enter()?.release(slot.into())?;
        Ok(pf_status::PF_OK)
    })
}

/// Withdraws what is not posted of a transfer. Gives 1 where it was in flight, and then ends cancelled; 0 where it had
/// ended; or a negative status.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_cancel(port: *const pf_port, transfer: pf_transfer) -> c_int {
    count(|| {
        // SAFETY: the caller's word, passed on.
        let port = unsafe { raw::borrow(port, "port")? };
        let was_in_flight = port.enter()?.cancel(TransferId::from_bits(transfer));
        Ok(was_in_flight.into())
    })
}

/// Closes a channel in order: nothing more is accepted, what was accepted ends, then the channel is `PF_CLOSED`.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_close(port: *const pf_port, channel: pf_channel) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        unsafe { raw::borrow(port, "port")? }.enter()?.close(ChannelId::from_bits(channel))?;
        Ok(pf_status::PF_OK)
    })
}

/// Breaks a channel, so that everything on this side becomes quiet: what is in flight fails with `PF_CAUSE_FENCED`.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_fence(port: *const pf_port, channel: pf_channel) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        unsafe { raw::borrow(port, "port")? }.enter()?.fence(ChannelId::from_bits(channel))?;
        Ok(pf_status::PF_OK)
    })
}

/// Takes a grant back from the peer of a channel; without an answer within `fence_after_ns` the channel is fenced. One
/// `PF_EVENT_REVOKED` says what is proven. `PF_FULL_REVOKES` where nothing was asked.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_revoke(
    port: *const pf_port,
    grant: *const pf_grant,
    channel: pf_channel,
    fence_after_ns: u64,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (port, grant) = unsafe { (raw::borrow(port, "port")?, raw::borrow(grant, "grant")?) };
        let (from, after) = (ChannelId::from_bits(channel), Duration::from_nanos(fence_after_ns));
        Ok(match port.enter()?.revoke(&grant.0, from, after)? {
            Revoking::Asked => pf_status::PF_OK,
            Revoking::Full => pf_status::PF_FULL_REVOKES,
        })
    })
}

/// After `PF_REVOKED_UNPROVEN`: puts fresh zeroed memory below the grant's regions, at the same addresses. It is then told
/// as `PF_REVOKED_FENCED`; what was in the memory is lost.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_revoke_swap(
    port: *const pf_port,
    grant: *const pf_grant,
    channel: pf_channel,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (port, grant) = unsafe { (raw::borrow(port, "port")?, raw::borrow(grant, "grant")?) };
        port.enter()?.revoke_swap(&grant.0, ChannelId::from_bits(channel))?;
        Ok(pf_status::PF_OK)
    })
}

/// Prepares to sleep. `PF_READY`: poll now. `PF_OK`: wait until the descriptor is readable or `until_ns` has come
/// (`PF_NEVER`: for the descriptor alone), then poll.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_arm(port: *const pf_port, until_ns: *mut u64) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (port, until) = unsafe { (raw::borrow(port, "port")?, raw::out(until_ns, "until_ns")?) };
        match port.enter()?.arm() {
            Armed::Ready => {
                until.write(0);
                Ok(pf_status::PF_READY)
            }
            Armed::Sleep { until: due } => {
                until.write(due.map_or(PF_NEVER, nanoseconds));
                Ok(pf_status::PF_OK)
            }
        }
    })
}

/// Gives the descriptor to wait on, for poll(2), epoll(7) or an event loop, good for the port's life; or a negative
/// status. It is not closed by the caller.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_port_fd(port: *const pf_port) -> c_int {
    count(|| {
        // SAFETY: the caller's word, passed on.
        Ok(unsafe { raw::borrow(port, "port")? }.enter()?.fd().as_raw_fd())
    })
}
