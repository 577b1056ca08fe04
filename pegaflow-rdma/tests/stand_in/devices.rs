//! Devices of the stand-in's, made and steered through what it exports beside the verbs.

use std::{
    ffi::{CString, c_char, c_int, c_uint},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use libloading::Library;
pub(crate) use pegaflow_rdma_stand_in::{ALWAYS, Counts, Schedule};

use crate::provider;

/// The stand-in as the backend loads it. What is linked into this test is a copy with devices of its own, and lends its
/// types alone.
fn stand_in() -> &'static Library {
    static LOADED: OnceLock<Library> = OnceLock::new();
    LOADED.get_or_init(|| {
        // SAFETY: its constructors do nothing but what a Rust library's do.
        unsafe { Library::new(provider::library()) }.expect("the stand-in, built beside this test")
    })
}

/// Calls an entry point of this type.
macro_rules! call {
    ($name:literal as fn($($kind:ty),*) $(-> $result:ty)?, $($argument:expr),*) => {{
        // SAFETY: the type is the one that the stand-in's source says, and the arguments are alive for the call.
        unsafe {
            let entry = stand_in().get::<unsafe extern "C" fn($($kind),*) $(-> $result)?>($name);
            (entry.expect("an entry point of the stand-in"))($($argument),*)
        }
    }};
}

/// A new device that behaves so; gives its name.
pub(crate) fn device(schedule: &Schedule) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("stand-in{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let text = CString::new(name.as_str()).expect("no zero inside");
    let code =
        call!(b"pegaflow_stand_in_device\0" as fn(*const c_char, *const Schedule) -> c_int, text.as_ptr(), schedule);
    assert_eq!(code, 0, "device {name}");
    name
}

/// Makes an event of a device come true.
pub(crate) fn raise(device: &str, event: c_uint) {
    let text = CString::new(device).expect("no zero inside");
    let code = call!(b"pegaflow_stand_in_raise\0" as fn(*const c_char, c_uint) -> c_int, text.as_ptr(), event);
    assert_eq!(code, 0, "event {event} of {device}");
}

/// What a device has seen.
pub(crate) fn counts(device: &str) -> Counts {
    let text = CString::new(device).expect("no zero inside");
    let mut counts = Counts::default();
    let code = call!(
        b"pegaflow_stand_in_device_counts\0" as fn(*const c_char, *mut Counts) -> c_int,
        text.as_ptr(),
        &raw mut counts
    );
    assert_eq!(code, 0, "counts of {device}");
    counts
}

/// Waits until a device has no region any more: the reaper gives them back in its own time.
#[track_caller]
pub(crate) fn nothing_registered(device: &str) {
    let begin = Instant::now();
    while counts(device).regions > 0 {
        assert!(begin.elapsed() < Duration::from_secs(10), "{} regions of {device} stay", counts(device).regions);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs with all devices hidden from this thread, or with lists that fail.
pub(crate) fn hidden<T>(errno: c_int, run: impl FnOnce() -> T) -> T {
    call!(b"pegaflow_stand_in_hide\0" as fn(c_int), errno);
    let made = run();
    call!(b"pegaflow_stand_in_hide\0" as fn(c_int), -1);
    made
}
