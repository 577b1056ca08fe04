//! The process-wide list of devices.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::abi::{IBV_PORT_ACTIVE, ibv_device};
use crate::context::Shared;
use crate::numbers::{EEXIST, EINVAL, ENODEV, null};
use crate::schedule::{Counts, Schedule};

/// A device; it stays until the process ends.
pub(crate) struct Device {
    pub(crate) name: CString,
    pub(crate) schedule: Schedule,
    /// Its position in the list, from 0: in its addresses.
    pub(crate) ordinal: u16,
    pub(crate) port_state: AtomicU32,
    /// Calls through it so far, while something waited.
    pub(crate) calls: AtomicU64,
    /// Its completion queues that are armed: somebody may sleep.
    pub(crate) armed: AtomicUsize,
    /// Every context that is open.
    pub(crate) opened: Mutex<Vec<Arc<Shared>>>,
    /// What those saw that were closed.
    closed: Mutex<Counts>,
}

static DEVICES: OnceLock<Mutex<Vec<&'static Device>>> = OnceLock::new();

fn devices() -> MutexGuard<'static, Vec<&'static Device>> {
    let plain = || Mutex::new(vec![Device::leak(c"stand-in0".to_owned(), Schedule::default(), 0)]);
    DEVICES.get_or_init(plain).lock().unwrap_or_else(PoisonError::into_inner)
}

impl Device {
    fn leak(name: CString, schedule: Schedule, ordinal: u16) -> &'static Self {
        Box::leak(Box::new(Self {
            name,
            schedule,
            ordinal,
            port_state: AtomicU32::new(IBV_PORT_ACTIVE),
            calls: AtomicU64::new(0),
            armed: AtomicUsize::new(0),
            opened: Mutex::new(Vec::new()),
            closed: Mutex::new(Counts::default()),
        }))
    }

    /// # Safety
    /// - `device` is from [`ibv_get_device_list`].
    pub(crate) unsafe fn of(device: *mut ibv_device) -> &'static Self {
        // SAFETY: pointers of the list are to devices, and devices stay.
        unsafe { &*device.cast::<Self>() }
    }

    pub(crate) fn pointer(&'static self) -> *mut ibv_device {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    pub(crate) fn contexts(&self) -> MutexGuard<'_, Vec<Arc<Shared>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A context is closed: what it saw stays.
    pub(crate) fn close(&self, shared: &Arc<Shared>) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.add(&shared.counts());
        drop(closed);
        self.contexts().retain(|other| !Arc::ptr_eq(other, shared));
    }
}

/// The device of a name.
///
/// # Safety
/// - `name` is null or a C string.
pub(crate) unsafe fn find(name: *const c_char) -> Option<&'static Device> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    devices().iter().copied().find(|device| device.name.as_c_str() == name)
}

/// Adds a device that behaves as `schedule` says; null: plainly. Returns 0, or an errno: EINVAL without a name, EEXIST
/// where the name is taken.
///
/// # Safety
/// - `name` is null or a C string, `schedule` null or a schedule.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pegaflow_stand_in_device(name: *const c_char, schedule: *const Schedule) -> c_int {
    if name.is_null() {
        return EINVAL;
    }
    // SAFETY: the caller's promises.
    let (name, schedule) = unsafe { (CStr::from_ptr(name), schedule.as_ref().copied().unwrap_or_default()) };
    let mut devices = devices();
    if devices.iter().any(|device| device.name.as_c_str() == name) {
        return EEXIST;
    }
    let Ok(ordinal) = u16::try_from(devices.len()) else { return EINVAL };
    devices.push(Device::leak(name.to_owned(), schedule, ordinal));
    0
}

/// Sums what all contexts of the device of this name saw, closed ones too. Returns 0, or ENODEV.
///
/// # Safety
/// - `name` is null or a C string, `counts` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pegaflow_stand_in_device_counts(name: *const c_char, counts: *mut Counts) -> c_int {
    // SAFETY: the caller's promise.
    let Some(device) = (unsafe { find(name) }) else { return ENODEV };
    let mut sum = *device.closed.lock().unwrap_or_else(PoisonError::into_inner);
    for shared in device.contexts().iter() {
        sum.add(&shared.counts());
    }
    // SAFETY: the caller's promise.
    unsafe { counts.write(sum) };
    0
}

thread_local! {
    /// See [`pegaflow_stand_in_hide`].
    static HIDDEN: Cell<c_int> = const { Cell::new(-1) };
}

/// Hides the devices from this thread: `errno` 0 makes its lists empty, another one makes them fail with it, and -1
/// shows them again.
#[unsafe(no_mangle)]
pub extern "C" fn pegaflow_stand_in_hide(errno: c_int) {
    HIDDEN.set(errno);
}

/// Lists the devices; the array ends with null. Null, with errno, where it can't.
///
/// # Safety
/// - `count` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_get_device_list(count: *mut c_int) -> *mut *mut ibv_device {
    let mut list: Vec<_> = match HIDDEN.get() {
        -1 => devices().iter().map(|device| device.pointer()).collect(),
        0 => Vec::new(),
        errno => return null(errno),
    };
    if !count.is_null() {
        // SAFETY: the caller's promise.
        unsafe { count.write(c_int::try_from(list.len()).unwrap_or(c_int::MAX)) };
    }
    list.push(std::ptr::null_mut());
    Box::into_raw(list.into_boxed_slice()).cast()
}

/// Frees a list, not its devices.
///
/// # Safety
/// - `list` is null or from [`ibv_get_device_list`], and not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_free_device_list(list: *mut *mut ibv_device) {
    if list.is_null() {
        return;
    }
    let mut length = 0;
    // SAFETY: the list ends with null, within its allocation.
    while unsafe { !(*list.add(length)).is_null() } {
        length += 1;
    }
    // SAFETY: made as a boxed slice of this length, and the caller gives it up.
    drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(list, length + 1)) });
}

/// A device's name.
///
/// # Safety
/// - `device` is from [`ibv_get_device_list`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_get_device_name(device: *mut ibv_device) -> *const c_char {
    // SAFETY: the caller's promise.
    unsafe { Device::of(device) }.name.as_ptr()
}
