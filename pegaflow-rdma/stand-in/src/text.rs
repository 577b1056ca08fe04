//! Names for statuses and events.

use std::ffi::{CStr, c_char, c_uint};

const STATUSES: [&CStr; 14] = [
    c"success",
    c"local length error",
    c"local QP operation error",
    c"local EE context operation error",
    c"local protection error",
    c"Work Request Flushed Error",
    c"memory management operation error",
    c"bad response error",
    c"local access error",
    c"remote invalid request error",
    c"remote access error",
    c"remote operation error",
    c"transport retry counter exceeded",
    c"RNR retry counter exceeded",
];

const EVENTS: [&CStr; 19] = [
    c"CQ error",
    c"local work queue catastrophic error",
    c"invalid request local work queue error",
    c"local access violation work queue error",
    c"communication established",
    c"send queue drained",
    c"path migrated",
    c"path migration request error",
    c"local catastrophic error",
    c"port active",
    c"port error",
    c"LID change",
    c"P_Key change",
    c"SM change",
    c"SRQ catastrophic error",
    c"SRQ limit reached",
    c"last WQE reached",
    c"client reregistration",
    c"GID table change",
];

/// Names a completion's status.
#[unsafe(no_mangle)]
pub extern "C" fn ibv_wc_status_str(status: c_uint) -> *const c_char {
    name(&STATUSES, status, c"unknown")
}

/// Names an asynchronous event.
#[unsafe(no_mangle)]
pub extern "C" fn ibv_event_type_str(event: c_uint) -> *const c_char {
    name(&EVENTS, event, c"unknown")
}

fn name(names: &[&'static CStr], number: c_uint, unknown: &'static CStr) -> *const c_char {
    usize::try_from(number).ok().and_then(|number| names.get(number)).unwrap_or(&unknown).as_ptr()
}
