//! Following what C hands in. What can be seen of a pointer is checked; the rest is the caller's word.

use std::{
    ffi::{CStr, c_char},
    mem::MaybeUninit,
    slice,
};

use crate::{
    status::{Failure, pf_status},
    twins::{pf_allocate_options, pf_batch, pf_capabilities, pf_shape},
};

fn check<T>(pointer: *const T, what: &str) -> Result<(), Failure> {
    if pointer.is_null() {
        Err(Failure::argument(format!("`{what}` is NULL")))
    } else if !pointer.is_aligned() {
        Err(Failure::argument(format!("`{what}` is {pointer:p}: expected a multiple of {}", align_of::<T>())))
    } else {
        Ok(())
    }
}

/// What `pointer` points to.
///
/// # Safety
/// - A pointer that is neither null nor misaligned points to a `T` that lives, unchanged, as long as `'a`.
pub(super) unsafe fn borrow<'a, T>(pointer: *const T, what: &str) -> Result<&'a T, Failure> {
    check(pointer, what)?;
    // SAFETY: checked above, and the caller's word.
    Ok(unsafe { &*pointer })
}

/// `count` values at `pointer`, which may be null where there are none.
///
/// # Safety
/// - A pointer that is neither null nor misaligned points to `count` values that live, unchanged, as long as `'a`.
pub(super) unsafe fn many<'a, T>(pointer: *const T, count: usize, what: &str) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    check(pointer, what)?;
    check_count::<T>(count, what)?;
    // SAFETY: checked above, and the caller's word.
    Ok(unsafe { slice::from_raw_parts(pointer, count) })
}

/// Room for `count` values at `pointer`, which may be null where there is none.
///
/// # Safety
/// - A pointer that is neither null nor misaligned points to room for `count` values that nobody else uses during `'a`.
pub(super) unsafe fn room<'a, T>(
    pointer: *mut T,
    count: usize,
    what: &str,
) -> Result<&'a mut [MaybeUninit<T>], Failure> {
    if count == 0 {
        return Ok(&mut []);
    }
    check(pointer, what)?;
    check_count::<T>(count, what)?;
    // SAFETY: checked above, and the caller's word; room needs no value in it.
    Ok(unsafe { slice::from_raw_parts_mut(pointer.cast(), count) })
}

/// As [`room`], filled with zeros: what is copied into must have been written once.
///
/// # Safety
/// - As [`room`].
pub(super) unsafe fn zeroed<'a>(pointer: *mut u8, count: usize, what: &str) -> Result<&'a mut [u8], Failure> {
    // SAFETY: the caller's word, passed on.
    let room = unsafe { room(pointer, count, what)? };
    room.fill(MaybeUninit::new(0));
    // SAFETY: every byte was written just now.
    Ok(unsafe { room.assume_init_mut() })
}

fn check_count<T>(count: usize, what: &str) -> Result<(), Failure> {
    match count.checked_mul(size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(Failure::argument(format!("`{what}`: {count} of them do not fit into memory"))),
    }
}

/// Where a result goes. Asked for before anything is done, so that a call that fails here has done nothing.
///
/// # Safety
/// - As [`room`], for one value.
pub(super) unsafe fn out<'a, T>(pointer: *mut T, what: &str) -> Result<&'a mut MaybeUninit<T>, Failure> {
    check(pointer, what)?;
    // SAFETY: checked above, and the caller's word.
    Ok(unsafe { &mut *pointer.cast() })
}

/// A NUL-terminated text in UTF-8.
///
/// # Safety
/// - A pointer that is not null points to bytes that end with a NUL and live, unchanged, as long as `'a`.
pub(super) unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Result<&'a str, Failure> {
    check(pointer, what)?;
    // SAFETY: checked above, and the caller's word.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|error| Failure::argument(format!("`{what}` is not UTF-8: {error}")))
}

/// Copies `bytes` to the caller's buffer and tells the length; where it is too short only that.
///
/// # Safety
/// - As [`room`] for `buffer` and `capacity`, and as [`out`] for `length`.
pub(super) unsafe fn copy_out(
    bytes: &[u8],
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> Result<pf_status, Failure> {
    // SAFETY: the caller's word, passed on.
    let (room, length) = unsafe { (room(buffer, capacity, "buffer")?, out(length, "length")?) };
    length.write(bytes.len());
    let Some(room) = room.get_mut(..bytes.len()) else {
        return Ok(pf_status::PF_SHORT_BUFFER);
    };
    room.write_copy_of_slice(bytes);
    Ok(pf_status::PF_OK)
}

/// Makes a handle of `value`, to be given back with [`free`].
pub(super) fn handle<T>(value: T) -> *mut T {
    Box::into_raw(Box::new(value))
}

/// Takes a handle back; null is let pass.
///
/// # Safety
/// - A pointer that is neither null nor misaligned came from [`handle`] and is used by nobody, now or later.
pub(super) unsafe fn free<T>(handle: *mut T, what: &str) -> Result<pf_status, Failure> {
    if !handle.is_null() {
        check(handle, what)?;
        // SAFETY: the caller's word.
        drop(unsafe { Box::from_raw(handle) });
    }
    Ok(pf_status::PF_OK)
}

/// A struct that begins with its own size and may grow at its end.
///
/// # Safety
/// - It is `repr(C)`, its first field is `struct_size: usize`, and any bytes are a value of it.
pub(super) unsafe trait Grows: Copy {
    const NAME: &str;
    /// The size of its first version.
    const LEAST: usize;
}

// SAFETY: numbers and raw pointers, the size first.
unsafe impl Grows for pf_batch {
    const NAME: &str = "pf_batch";
    const LEAST: usize = Self::LEAST;
}

// SAFETY: as above.
unsafe impl Grows for pf_shape {
    const NAME: &str = "pf_shape";
    const LEAST: usize = size_of::<Self>();
}

// SAFETY: as above.
unsafe impl Grows for pf_allocate_options {
    const NAME: &str = "pf_allocate_options";
    const LEAST: usize = size_of::<usize>();
}

// SAFETY: as above.
unsafe impl Grows for pf_capabilities {
    const NAME: &str = "pf_capabilities";
    const LEAST: usize = size_of::<usize>();
}

/// How much of a struct the caller has.
///
/// # Safety
/// - A pointer that is neither null nor misaligned points to a `struct_size`.
unsafe fn size_given<T: Grows>(pointer: *const T) -> Result<usize, Failure> {
    check(pointer, T::NAME)?;
    // SAFETY: the first field, checked above, and the caller's word.
    let given = unsafe { pointer.cast::<usize>().read() };
    if given < T::LEAST || given > size_of::<T>() {
        let (name, least, most) = (T::NAME, T::LEAST, size_of::<T>());
        return Err(Failure::argument(format!("{name}.struct_size is {given}: expected {least} to {most}")));
    }
    Ok(given)
}

/// A struct as the caller's version has it; what that lacks is zero.
///
/// # Safety
/// - A pointer that is neither null nor misaligned points to as many bytes as its `struct_size` says, at least one size.
pub(super) unsafe fn grown<T: Grows>(pointer: *const T) -> Result<T, Failure> {
    // SAFETY: the caller's word, passed on.
    let given = unsafe { size_given(pointer)? };
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: `given` bytes are there by the caller's word, and not more than the value has.
    unsafe { pointer.cast::<u8>().copy_to_nonoverlapping(value.as_mut_ptr().cast(), given) };
    // SAFETY: any bytes are a value, by `Grows`.
    Ok(unsafe { value.assume_init() })
}

/// Writes as much of `value` as the caller's version has, and leaves its `struct_size` as it is.
///
/// # Safety
/// - As [`grown`], and nobody else uses those bytes.
pub(super) unsafe fn fill<T: Grows>(pointer: *mut T, value: &T) -> Result<pf_status, Failure> {
    // SAFETY: the caller's word, passed on.
    let given = unsafe { size_given(pointer)? };
    let skip = size_of::<usize>();
    // SAFETY: from behind the first field to the `given`th byte, which both have.
    unsafe {
        let from = (&raw const *value).cast::<u8>().add(skip);
        from.copy_to_nonoverlapping(pointer.cast::<u8>().add(skip), given - skip);
    }
    Ok(pf_status::PF_OK)
}
