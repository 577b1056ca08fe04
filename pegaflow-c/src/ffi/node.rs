//! A node of a config file: set-up, any thread.

use std::{
    ffi::{c_char, c_void},
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pegaflow::{Access, AllocateOptions, Audience, ChannelId, Kind, Session, config::Config};

use super::{memory::pf_grant, memory::pf_region, memory::pf_remote, memory::windows, port::pf_port, raw};
use crate::{
    status::{Failure, guard, pf_status},
    twins::{self, PF_ANYONE, pf_access, pf_allocate_options, pf_capabilities, pf_channel, pf_kind, pf_window},
};

/// A node: its backend is open, and its board answers at its listen address.
#[derive(Debug)]
pub struct pf_node(pub(super) Session);

/// Opens node `name` of the config file at `config_path`.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_node_open(
    config_path: *const c_char,
    name: *const c_char,
    node: *mut *mut pf_node,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (path, name, node) =
            unsafe { (raw::text(config_path, "config_path")?, raw::text(name, "name")?, raw::out(node, "node")?) };
        let config = Config::load(path).map_err(pegaflow::Error::from)?;
        node.write(raw::handle(pf_node(Session::open(&config, name)?)));
        Ok(pf_status::PF_OK)
    })
}

/// Gives a node back. It lives on until its ports are given back too.
///
/// # Safety
/// - Pointers are as the head of the header says; nobody uses the handle any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_node_free(node: *mut pf_node) -> pf_status {
    // SAFETY: the caller's word, passed on.
    guard(|| unsafe { raw::free(node, "node") })
}

/// Tells what the backend can do here. The caller sets `struct_size` before.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_node_capabilities(node: *const pf_node, capabilities: *mut pf_capabilities) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        unsafe { raw::fill(capabilities, &raw::borrow(node, "node")?.0.node().capabilities().into()) }
    })
}

/// Copies out the node's address: opaque bytes that any peer may dial, good for the node's life.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_node_address(
    node: *const pf_node,
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> pf_status {
    // SAFETY: the caller's word, passed on.
    guard(|| unsafe { raw::copy_out(&raw::borrow(node, "node")?.0.node().address(), buffer, capacity, length) })
}

/// Puts bytes on this node's board, for other nodes of the config to fetch.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_node_publish(
    node: *const pf_node,
    key: *const c_char,
    bytes: *const u8,
    length: usize,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (node, key, bytes) =
            unsafe { (raw::borrow(node, "node")?, raw::text(key, "key")?, raw::many(bytes, length, "bytes")?) };
        node.0.publish(key, bytes)?;
        Ok(pf_status::PF_OK)
    })
}

/// Fetches what `peer` has published; blocks until it is there, up to the config's patience.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_node_fetch(
    node: *const pf_node,
    peer: *const c_char,
    key: *const c_char,
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (node, peer, key) =
            unsafe { (raw::borrow(node, "node")?, raw::text(peer, "peer")?, raw::text(key, "key")?) };
        // SAFETY: as above. The length alone may be the caller's question, so it is checked before the wait.
        unsafe { raw::out(length, "length")? };
        let bytes = node.0.fetch(peer, key)?;
        // SAFETY: as above.
        unsafe { raw::copy_out(&bytes, buffer, capacity, length) }
    })
}

/// Brings up the channel that the config has between this node and `peer`; blocks up to the config's patience, and
/// needs the peer to do the same at the same time. One thread that holds both ends dials and listens instead.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_node_connect(
    node: *const pf_node,
    port: *const pf_port,
    peer: *const c_char,
    class: u32,
    channel: *mut pf_channel,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (node, port, peer, channel) = unsafe {
            let (node, port) = (raw::borrow(node, "node")?, raw::borrow(port, "port")?);
            (node, port, raw::text(peer, "peer")?, raw::out(channel, "channel")?)
        };
        let found = node.0.connect(&mut *port.enter()?, peer, twins::class(class)?)?;
        channel.write(found.to_bits());
        Ok(pf_status::PF_OK)
    })
}

/// Allocates and registers zeroed memory. `options` may be NULL: base pages, untouched.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_node_allocate(
    node: *const pf_node,
    bytes: u64,
    options: *const pf_allocate_options,
    region: *mut *mut pf_region,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (node, region) = unsafe { (raw::borrow(node, "node")?, raw::out(region, "region")?) };
        let mut how = AllocateOptions::default();
        if !options.is_null() {
            // SAFETY: as above.
            let options = unsafe { raw::grown(options)? };
            how = AllocateOptions { page: twins::page(options.page)?, touch: options.touch != 0 };
        }
        region.write(raw::handle(pf_region(node.0.node().allocate(bytes, &how)?)));
        Ok(pf_status::PF_OK)
    })
}

/// Registers memory that the caller brings. Once nothing of the library's can touch it any more, whichever handles are
/// gone, `released(context)` is called, once and by any thread; never where this call fails. It may be NULL.
///
/// `kind` is `PF_HOST` or `PF_DEVICE`; `ordinal` is the device's number.
///
/// # Safety
/// - Pointers are as the head of the header says.
/// - `base .. base + bytes` stays mapped, readable and writable until `released` is called.
/// - `released` may be called with `context` by any thread, and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_node_register(
    node: *const pf_node,
    base: *mut c_void,
    bytes: u64,
    kind: u32,
    ordinal: u32,
    released: Option<unsafe extern "C" fn(context: *mut c_void)>,
    context: *mut c_void,
    region: *mut *mut pf_region,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (node, region) = unsafe { (raw::borrow(node, "node")?, raw::out(region, "region")?) };
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(|| Failure::argument("`base` is NULL"))?;
        let kind = match twins::kind(kind)? {
            pf_kind::PF_HOST => Kind::Host,
            pf_kind::PF_DEVICE => Kind::Device { ordinal },
        };
        let taken = Arc::new(AtomicBool::new(false));
        let keep = Box::new(Keep { released, context, taken: Arc::clone(&taken) });
        // SAFETY: the caller's word, passed on.
        let made = unsafe { node.0.node().register(base, bytes, kind, keep)? };
        taken.store(true, Ordering::Release);
        region.write(raw::handle(pf_region(made)));
        Ok(pf_status::PF_OK)
    })
}

/// Memory of the caller's, until it is released. Core drops it where `register` fails too; the caller is not told then.
struct Keep {
    released: Option<unsafe extern "C" fn(*mut c_void)>,
    context: *mut c_void,
    taken: Arc<AtomicBool>,
}

// SAFETY: the context is only handed back, and the caller lets any thread do that.
unsafe impl Send for Keep {}
// SAFETY: as above; nothing is done through a shared reference.
unsafe impl Sync for Keep {}

impl Drop for Keep {
    fn drop(&mut self) {
        if let (Some(released), true) = (self.released, self.taken.load(Ordering::Acquire)) {
            // SAFETY: the caller's word, given with both.
            unsafe { released(self.context) };
        }
    }
}

/// Gives the peer of `channel`, or with `PF_ANYONE` every peer, leave to reach windows of this node. `access` is
/// `PF_ACCESS_WRITE`, `PF_ACCESS_READ` or their sum.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_node_grant(
    node: *const pf_node,
    window: *const pf_window,
    window_count: usize,
    access: u32,
    channel: pf_channel,
    grant: *mut *mut pf_grant,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (node, windows, grant) = unsafe {
            let given = raw::many(window, window_count, "window")?;
            (raw::borrow(node, "node")?, windows(given)?, raw::out(grant, "grant")?)
        };
        let (write, read) = (pf_access::PF_ACCESS_WRITE as u32, pf_access::PF_ACCESS_READ as u32);
        if access == 0 || access & !(write | read) != 0 {
            return Err(Failure::argument(format!("access {access}: expected {write}, {read} or their sum")));
        }
        let access = Access { write: access & write != 0, read: access & read != 0 };
        let audience = match channel {
            PF_ANYONE => Audience::Anyone,
            bits => Audience::Channel(ChannelId::from_bits(bits)),
        };
        grant.write(raw::handle(pf_grant(node.0.node().grant(&windows, access, audience)?)));
        Ok(pf_status::PF_OK)
    })
}

/// Makes a peer's grant usable over a connected channel; blocks up to `wait_ns` for the peer's control thread.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_node_import(
    node: *const pf_node,
    channel: pf_channel,
    grant: *const u8,
    length: usize,
    wait_ns: u64,
    remote: *mut *mut pf_remote,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (node, grant, remote) =
            unsafe { (raw::borrow(node, "node")?, raw::many(grant, length, "grant")?, raw::out(remote, "remote")?) };
        let channel = ChannelId::from_bits(channel);
        let made = node.0.node().import(channel, grant, Duration::from_nanos(wait_ns))?;
        remote.write(raw::handle(pf_remote(made)));
        Ok(pf_status::PF_OK)
    })
}
