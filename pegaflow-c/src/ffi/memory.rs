//! Regions, and what is said of them to peers.

use std::ffi::c_void;

use pegaflow::{Grant, Region, Remote, Window};

use super::raw;
use crate::{
    status::{Failure, guard, pf_status},
    twins::pf_window,
};

/// Registered memory of a node.
#[derive(Debug)]
pub struct pf_region(pub(super) Region);

/// Leave for peers to reach windows of a node.
#[derive(Debug)]
pub struct pf_grant(pub(super) Grant);

/// Windows of a peer, as they are reached over one channel.
#[derive(Debug)]
pub struct pf_remote(pub(super) Remote);

/// The windows that C names.
///
/// # Safety
/// - Each region pointer that is neither null nor misaligned is a live handle.
pub(super) unsafe fn windows(given: &[pf_window]) -> Result<Vec<Window>, Failure> {
    let one = |window: &pf_window| {
        // SAFETY: the caller's word, passed on.
        let region = unsafe { raw::borrow(window.region, "window.region")? };
        let end = window.offset.checked_add(window.bytes).ok_or_else(|| {
            Failure::argument(format!("a window of {} bytes at {} has no end", window.bytes, window.offset))
        })?;
        Ok(Window::new(&region.0, window.offset..end))
    };
    given.iter().map(one).collect()
}

/// Gives a region back. Its memory goes once nothing else holds it either: plans, transfers that are not quiet, grants,
/// and channels whose peer has imported a grant over it.
///
/// # Safety
/// - Pointers are as the head of the header says; nobody uses the handle any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_region_free(region: *mut pf_region) -> pf_status {
    // SAFETY: the caller's word, passed on.
    guard(|| unsafe { raw::free(region, "region") })
}

/// Tells a region's first byte and length. A peer may write granted memory at any time.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_region_place(
    region: *const pf_region,
    base: *mut *mut c_void,
    bytes: *mut u64,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let (region, base, bytes) =
            unsafe { (raw::borrow(region, "region")?, raw::out(base, "base")?, raw::out(bytes, "bytes")?) };
        base.write(region.0.as_ptr().cast());
        bytes.write(region.0.bytes());
        Ok(pf_status::PF_OK)
    })
}

/// Copies bytes into a region.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_region_write(
    region: *const pf_region,
    offset: u64,
    bytes: *const u8,
    length: usize,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let region = unsafe { raw::borrow(region, "region")? };
        apart(&region.0, bytes, length)?;
        // SAFETY: as above.
        region.0.write(offset, unsafe { raw::many(bytes, length, "bytes")? })?;
        Ok(pf_status::PF_OK)
    })
}

/// Copies bytes out of a region.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_region_read(
    region: *const pf_region,
    offset: u64,
    bytes: *mut u8,
    length: usize,
) -> pf_status {
    guard(|| {
        // SAFETY: the caller's word, passed on.
        let region = unsafe { raw::borrow(region, "region")? };
        apart(&region.0, bytes, length)?;
        // SAFETY: as above.
        region.0.read(offset, unsafe { raw::zeroed(bytes, length, "bytes")? })?;
        Ok(pf_status::PF_OK)
    })
}

/// Refuses a buffer that lies in the region: the copy would overlap itself, and a peer may write the region meanwhile.
fn apart(region: &Region, buffer: *const u8, length: usize) -> Result<(), Failure> {
    let (base, buffer) = (region.as_ptr() as u64, buffer as u64);
    if length > 0 && buffer < base.saturating_add(region.bytes()) && base < buffer.saturating_add(length as u64) {
        return Err(Failure::argument("`bytes` lies in the region itself"));
    }
    Ok(())
}

/// Copies out a grant's bytes, for the peer's `pf_node_import`.
///
/// # Safety
/// - Pointers are as the head of the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_grant_bytes(
    grant: *const pf_grant,
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> pf_status {
    // SAFETY: the caller's word, passed on.
    guard(|| unsafe { raw::copy_out(raw::borrow(grant, "grant")?.0.as_bytes(), buffer, capacity, length) })
}

/// Ends a grant: later imports are refused; what was imported stays reachable until its channel ends.
///
/// # Safety
/// - Pointers are as the head of the header says; nobody uses the handle any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_grant_free(grant: *mut pf_grant) -> pf_status {
    // SAFETY: the caller's word, passed on.
    guard(|| unsafe { raw::free(grant, "grant") })
}

/// Gives an import back. Plans over it stay good.
///
/// # Safety
/// - Pointers are as the head of the header says; nobody uses the handle any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pf_remote_free(remote: *mut pf_remote) -> pf_status {
    // SAFETY: the caller's word, passed on.
    guard(|| unsafe { raw::free(remote, "remote") })
}
