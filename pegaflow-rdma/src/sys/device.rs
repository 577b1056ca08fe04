//! Devices: the list, an open one with its protection domain, its ports and GIDs.

use std::{
    ffi::{CStr, c_int},
    fmt, io,
    mem::MaybeUninit,
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
};

use pegaflow_core::{BackendError, backend::Origin};

use super::{Verbs, abi::*};
use crate::error::{NAME, failed, failed_so};

/// The devices of this machine.
pub(crate) struct DeviceList {
    verbs: &'static Verbs,
    list: NonNull<*mut ibv_device>,
    count: usize,
}

impl DeviceList {
    pub(crate) fn new(verbs: &'static Verbs) -> Result<Self, BackendError> {
        let mut count: c_int = 0;
        // SAFETY: `count` is written.
        let list = unsafe { (verbs.get_device_list)(&raw mut count) };
        match NonNull::new(list) {
            Some(list) => Ok(Self { verbs, list, count: usize::try_from(count).unwrap_or(0) }),
            None => {
                let error = io::Error::last_os_error();
                let remedy = if error.kind() == io::ErrorKind::Unsupported {
                    "the kernel has no RDMA support loaded: run `modprobe ib_uverbs`, and rdma_rxe for Soft-RoCE"
                } else {
                    "this process needs /dev/infiniband readable and writable: in a container, pass the devices in"
                };
                Err(failed_so("ibv_get_device_list", error, remedy))
            }
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        (0..self.count).map(|at| self.name(at)).collect()
    }

    fn raw(&self, at: usize) -> *mut ibv_device {
        // SAFETY: below the count that the library gave.
        unsafe { self.list.add(at).read() }
    }

    fn name(&self, at: usize) -> String {
        // SAFETY: a device of the list; its name lives as long.
        let name = unsafe { (self.verbs.get_device_name)(self.raw(at)) };
        if name.is_null() {
            return String::new();
        }
        // SAFETY: a string of the library's, ended by zero.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }

    /// Opens the device at a position of [`names`](Self::names).
    pub(crate) fn open(&self, at: usize) -> Result<Device, BackendError> {
        let name = self.name(at);
        let refused = |call: &str| failed(call, format_args!("of device {name}"), io::Error::last_os_error());
        // SAFETY: a device of the list, which lives until the end of this call.
        let context = NonNull::new(unsafe { (self.verbs.open_device)(self.raw(at)) });
        let context = context.ok_or_else(|| refused("ibv_open_device"))?;
        // SAFETY: open.
        let Some(domain) = NonNull::new(unsafe { (self.verbs.alloc_pd)(context.as_ptr()) }) else {
            let error = refused("ibv_alloc_pd");
            // SAFETY: open, and nothing was made of it.
            unsafe { (self.verbs.close_device)(context.as_ptr()) };
            return Err(error);
        };
        Ok(Device { verbs: self.verbs, context, domain, name, origin: Origin::here() })
    }
}

impl Drop for DeviceList {
    fn drop(&mut self) {
        // SAFETY: the library's list, freed once; open devices do not need it.
        unsafe { (self.verbs.free_device_list)(self.list.as_ptr()) };
    }
}

/// An open device and its protection domain. Whatever is made of it holds an `Arc` of it.
pub(crate) struct Device {
    pub(super) verbs: &'static Verbs,
    pub(super) context: NonNull<ibv_context>,
    pub(super) domain: NonNull<ibv_pd>,
    name: String,
    origin: Origin,
}

// SAFETY: the verbs are thread-safe (man ibv_open_device and rdma-core's documentation); the pointers are never
// written through by this crate.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Sync for Device {}

/// What is known of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortAttributes {
    pub(crate) active: bool,
    /// The specification's number of the state.
    pub(crate) state: u32,
    pub(crate) ethernet: bool,
    /// The specification's number: 5 is 4096 bytes.
    pub(crate) active_mtu: u32,
    pub(crate) max_message_bytes: u32,
    pub(crate) lid: u16,
    pub(crate) gids: u32,
}

impl Device {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where it was opened. In a child of a fork it is the parent's, and nothing that was made of it is taken down there.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    pub(crate) fn library(&self) -> &'static str {
        &self.verbs.path
    }

    pub(crate) fn attributes(&self) -> Result<ibv_device_attr, BackendError> {
        let mut attributes = MaybeUninit::<ibv_device_attr>::zeroed();
        // SAFETY: the struct is the header's, and zero is a value of every field.
        let code = unsafe { (self.verbs.query_device)(self.context.as_ptr(), attributes.as_mut_ptr()) };
        self.check("ibv_query_device", code)?;
        // SAFETY: as above.
        Ok(unsafe { attributes.assume_init() })
    }

    pub(crate) fn port(&self, port: u8) -> Result<PortAttributes, BackendError> {
        let mut attributes = MaybeUninit::<ibv_port_attr>::zeroed();
        // SAFETY: the struct is at least as long as what the symbol fills.
        let code = unsafe { (self.verbs.query_port)(self.context.as_ptr(), port, attributes.as_mut_ptr()) };
        self.check("ibv_query_port", code)?;
        // SAFETY: zero is a value of every field.
        let got = unsafe { attributes.assume_init() };
        Ok(PortAttributes {
            active: matches!(got.state, IBV_PORT_ACTIVE | IBV_PORT_ACTIVE_DEFER),
            state: got.state,
            ethernet: got.link_layer == u8::try_from(IBV_LINK_LAYER_ETHERNET).unwrap_or(0),
            active_mtu: got.active_mtu,
            max_message_bytes: got.max_msg_sz,
            lid: got.lid,
            gids: u32::try_from(got.gid_tbl_len).unwrap_or(0),
        })
    }

    /// An entry of the port's table; `None` for one that is empty or beyond it.
    pub(crate) fn gid(&self, port: u8, index: u32) -> Option<ibv_gid_entry> {
        let mut entry = MaybeUninit::<ibv_gid_entry>::zeroed();
        let (context, size) = (self.context.as_ptr(), size_of::<ibv_gid_entry>());
        // SAFETY: the struct's size goes along.
        let code = unsafe { (self.verbs.query_gid_ex)(context, port.into(), index, entry.as_mut_ptr(), 0, size) };
        // SAFETY: zero is a value of every field.
        (code == 0).then(|| unsafe { entry.assume_init() })
    }

    /// Readable when [`next_event`](Self::next_event) has something.
    pub(crate) fn events(&self) -> BorrowedFd<'_> {
        // SAFETY: the context's own descriptor, open as long as the context.
        unsafe { BorrowedFd::borrow_raw((*self.context.as_ptr()).async_fd) }
    }

    /// Takes one asynchronous event, if there is one, and acknowledges it once `tell` has returned: until then what it is
    /// about can't go. `tell` is given its number, and the number of the port or queue pair or the address of the
    /// completion queue that it is about. The descriptor must not block.
    pub(crate) fn next_event(&self, tell: impl FnOnce(u32, u64)) -> bool {
        let mut event = ibv_async_event { element: ptr::null_mut(), event_type: 0 };
        // SAFETY: the struct is the header's.
        if unsafe { (self.verbs.get_async_event)(self.context.as_ptr(), &raw mut event) } != 0 {
            return false;
        }
        let about = match event.event_type {
            // SAFETY: an event of a queue pair carries it, and it can't be destroyed before the acknowledgement.
            IBV_EVENT_QP_FATAL | IBV_EVENT_QP_REQ_ERR | IBV_EVENT_QP_ACCESS_ERR if !event.element.is_null() => unsafe {
                (*event.element.cast::<ibv_qp>()).qp_num.into()
            },
            IBV_EVENT_CQ_ERR => event.element.addr() as u64,
            // The header's union has an int there.
            _ => event.element.addr() as u64 & u64::from(u32::MAX),
        };
        tell(event.event_type, about);
        // SAFETY: taken above, and acknowledged once.
        unsafe { (self.verbs.ack_async_event)(&raw mut event) };
        true
    }

    /// Whether memory of a device can be registered by its dmabuf: asked with a descriptor that is none, which a
    /// kernel that knows the call refuses with another errno than one that does not.
    pub(crate) fn takes_dmabuf(&self) -> bool {
        let Some(register) = self.verbs.reg_dmabuf_mr else { return false };
        // SAFETY: the descriptor is no dmabuf, so nothing is registered.
        let region = unsafe { register(self.domain.as_ptr(), 0, 4096, 0, -1, 0) };
        let error = io::Error::last_os_error();
        if let Some(region) = NonNull::new(region) {
            // SAFETY: registered just now.
            unsafe { (self.verbs.dereg_mr)(region.as_ptr()) };
            return false;
        }
        error.raw_os_error() == Some(rustix::io::Errno::BADF.raw_os_error())
    }

    fn check(&self, call: &str, code: c_int) -> Result<(), BackendError> {
        match code {
            0 => Ok(()),
            code => {
                Err(failed(call, format_args!("of device {}", self.name), io::Error::from_raw_os_error(code.abs())))
            }
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            return;
        }
        // SAFETY: whatever was made of the domain held this value, so it is gone.
        let freed = unsafe { (self.verbs.dealloc_pd)(self.domain.as_ptr()) };
        // SAFETY: nothing else was made of the context.
        let closed = unsafe { (self.verbs.close_device)(self.context.as_ptr()) };
        if (freed, closed) != (0, 0) {
            tracing::error!(backend = NAME, device = %self.name, freed, closed, "a device could not be closed");
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.name)
    }
}
