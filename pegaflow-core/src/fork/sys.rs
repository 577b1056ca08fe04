//! The page that the kernel empties in a child.

use std::{
    io, ptr,
    sync::{
        Once,
        atomic::{AtomicPtr, AtomicU32, Ordering},
    },
};

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// The first word of a page of this process's own, which is 0 in a process that has just begun. Made once, and never
/// given back. Where the kernel has no such page (before 4.14) it is a word that a child has as its parent does.
///
/// No lock is taken: a child may be born while another thread is in here.
pub(super) fn page() -> &'static AtomicU32 {
    static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(ptr::null_mut());
    static COPIED: AtomicU32 = AtomicU32::new(0);
    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        page = map().unwrap_or_else(|error| {
            static ONCE: Once = Once::new();
            ONCE.call_once(|| tracing::warn!(%error, "a child of a fork is not told that its handles are dead"));
            (&raw const COPIED).cast_mut()
        });
        // Of two threads that come at once one has mapped a page for nothing: it stays, a page of addresses.
        if let Err(first) = PAGE.compare_exchange(ptr::null_mut(), page, Ordering::AcqRel, Ordering::Acquire) {
            page = first;
        }
    }
    // SAFETY: a page that stays mapped, or the word above; the mapping is inherited by children.
    unsafe { &*page }
}

fn map() -> io::Result<*mut AtomicU32> {
    let bytes = rustix::param::page_size();
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh mapping at an address of the kernel's choice; nothing of ours is replaced.
    let page = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), bytes, access, MapFlags::PRIVATE) }?;
    // SAFETY: exactly the range that was mapped above.
    unsafe { rustix::mm::madvise(page, bytes, Advice::LinuxWipeOnFork) }?;
    Ok(page.cast())
}

#[cfg(test)]
mod tests;
