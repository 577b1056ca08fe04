//! libibverbs, opened at run time: nothing of it is needed to build, and a program starts without it.

use std::{
    ffi::{OsStr, c_char, c_int, c_uint, c_void},
    path::Path,
    sync::{Mutex, PoisonError},
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use pegaflow_core::BackendError;

use super::abi::*;
use crate::error::NAME;

/// What Debian, Ubuntu, Fedora and the vendors call it.
pub(crate) const DEFAULT_LIBRARY: &str = "libibverbs.so.1";
/// The mark of the provider that the tests bring along.
const STAND_IN: &[u8] = b"pegaflow_stand_in_version\0";

macro_rules! verbs {
    ($($(#[$doc:meta])* $field:ident: $symbol:literal = fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The entry points, and where they came from.
        #[derive(Debug)]
        pub(crate) struct Verbs {
            /// The name it was asked for by: a path, or what the loader looks for.
            pub(crate) path: String,
            $($(#[$doc])* pub(crate) $field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// Absent before rdma-core 34.
            pub(crate) reg_dmabuf_mr:
                Option<unsafe extern "C" fn(*mut ibv_pd, u64, usize, u64, c_int, c_int) -> *mut ibv_mr>,
        }

        impl Verbs {
            fn resolve(library: &Library, path: String) -> Result<Self, BackendError> {
                $(
                    // SAFETY: the symbol's type is the header's; see `abi`.
                    let $field = unsafe { library.get($symbol) }.map(|symbol| *symbol).map_err(|_| BackendError::new(
                        NAME,
                        format!(
                            "{path} has no {}: rdma-core 32 or newer is needed (Debian, Ubuntu: libibverbs1)",
                            String::from_utf8_lossy($symbol).trim_end_matches('\0'),
                        ),
                    ))?;
                )*
                // SAFETY: as above.
                let reg_dmabuf_mr = unsafe { library.get(b"ibv_reg_dmabuf_mr\0") }.ok().map(|symbol| *symbol);
                Ok(Self { path, $($field,)* reg_dmabuf_mr })
            }
        }
    };
}

verbs! {
    /// The devices, ended by null; null with errno on failure.
    get_device_list: b"ibv_get_device_list\0" = fn(*mut c_int) -> *mut *mut ibv_device;
    free_device_list: b"ibv_free_device_list\0" = fn(*mut *mut ibv_device);
    get_device_name: b"ibv_get_device_name\0" = fn(*mut ibv_device) -> *const c_char;
    open_device: b"ibv_open_device\0" = fn(*mut ibv_device) -> *mut ibv_context;
    close_device: b"ibv_close_device\0" = fn(*mut ibv_context) -> c_int;
    query_device: b"ibv_query_device\0" = fn(*mut ibv_context, *mut ibv_device_attr) -> c_int;
    query_port: b"ibv_query_port\0" = fn(*mut ibv_context, u8, *mut ibv_port_attr) -> c_int;
    query_gid_ex: b"_ibv_query_gid_ex\0" = fn(*mut ibv_context, u32, u32, *mut ibv_gid_entry, u32, usize) -> c_int;
    alloc_pd: b"ibv_alloc_pd\0" = fn(*mut ibv_context) -> *mut ibv_pd;
    dealloc_pd: b"ibv_dealloc_pd\0" = fn(*mut ibv_pd) -> c_int;
    /// Strips optional access flags that an old kernel does not know, which `ibv_reg_mr` does not.
    reg_mr_iova2: b"ibv_reg_mr_iova2\0" = fn(*mut ibv_pd, *mut c_void, usize, u64, c_uint) -> *mut ibv_mr;
    dereg_mr: b"ibv_dereg_mr\0" = fn(*mut ibv_mr) -> c_int;
    create_comp_channel: b"ibv_create_comp_channel\0" = fn(*mut ibv_context) -> *mut ibv_comp_channel;
    destroy_comp_channel: b"ibv_destroy_comp_channel\0" = fn(*mut ibv_comp_channel) -> c_int;
    create_cq: b"ibv_create_cq\0" =
        fn(*mut ibv_context, c_int, *mut c_void, *mut ibv_comp_channel, c_int) -> *mut ibv_cq;
    destroy_cq: b"ibv_destroy_cq\0" = fn(*mut ibv_cq) -> c_int;
    get_cq_event: b"ibv_get_cq_event\0" = fn(*mut ibv_comp_channel, *mut *mut ibv_cq, *mut *mut c_void) -> c_int;
    ack_cq_events: b"ibv_ack_cq_events\0" = fn(*mut ibv_cq, c_uint);
    create_qp: b"ibv_create_qp\0" = fn(*mut ibv_pd, *mut ibv_qp_init_attr) -> *mut ibv_qp;
    modify_qp: b"ibv_modify_qp\0" = fn(*mut ibv_qp, *mut ibv_qp_attr, c_int) -> c_int;
    destroy_qp: b"ibv_destroy_qp\0" = fn(*mut ibv_qp) -> c_int;
    get_async_event: b"ibv_get_async_event\0" = fn(*mut ibv_context, *mut ibv_async_event) -> c_int;
    ack_async_event: b"ibv_ack_async_event\0" = fn(*mut ibv_async_event);
}

/// Whether the provider that the tests bring along may be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StandIn {
    /// Everywhere but in tests.
    Refused,
    /// Only by [`crate::testing`].
    Allowed,
}

/// Loads the library, once per process and path. It is never unloaded: providers keep state of their own.
pub(crate) fn load(path: Option<&Path>, stand_in: StandIn) -> Result<&'static Verbs, BackendError> {
    static LOADED: Mutex<Vec<&'static Verbs>> = Mutex::new(Vec::new());
    let name = path.map_or_else(|| OsStr::new(DEFAULT_LIBRARY), Path::as_os_str);
    let shown = name.to_string_lossy().into_owned();
    // SAFETY: loading runs the library's constructors; it is the system's own, or one that the config names.
    let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| BackendError {
        backend: NAME,
        message: format!(
            "{shown} can't be loaded: {}; install the packages libibverbs1 and ibverbs-providers (Debian, Ubuntu) \
             or rdma-core (Fedora), or name the library in transport.rdma.library",
            // The loader's own words.
            std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
        ),
        source: None,
    })?;
    // SAFETY: only looked for, never called.
    let marked = unsafe { library.get::<*const c_void>(STAND_IN) }.is_ok();
    if marked && stand_in == StandIn::Refused {
        return Err(BackendError::new(
            NAME,
            format!(
                "{shown} is the stand-in provider of Pegaflow's tests, which moves bytes within one process: it is no device; name the system's {DEFAULT_LIBRARY}"
            ),
        ));
    }
    // SAFETY: only looked for, never called.
    if unsafe { library.get::<*const c_void>(b"ibv_get_device_list\0") }.is_err() {
        return Err(BackendError::new(
            NAME,
            format!(
                "{shown} is no libibverbs, it has no ibv_get_device_list: name {DEFAULT_LIBRARY} in \
                 transport.rdma.library, or leave that out"
            ),
        ));
    }
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = loaded.iter().find(|verbs| verbs.path == shown) {
        return Ok(known);
    }
    let verbs: &'static Verbs = Box::leak(Box::new(Verbs::resolve(&library, shown)?));
    std::mem::forget(library);
    loaded.push(verbs);
    Ok(verbs)
}
