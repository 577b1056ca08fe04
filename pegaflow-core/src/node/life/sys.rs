//! The page of a life, and the robust futex in it: what has no safe call.

use std::{
    ffi::{c_long, c_void},
    io,
    os::fd::{AsFd, OwnedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::{
    fs::{MemfdFlags, SealFlags},
    mm::{Advice, MapFlags, ProtFlags},
    thread::futex,
};

/// A page of shared memory that begins with a word; mapped until it is dropped. A child of a fork does not have it.
#[derive(Debug)]
pub(super) struct Page {
    base: NonNull<AtomicU32>,
    bytes: usize,
}

// SAFETY: the word is an atomic, and nothing else of the page is touched.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    /// A new one, its word 0, and the file by which a peer can map it. Nobody else can resize it; nor write it, where the
    /// kernel knows that seal (5.1).
    pub(super) fn create() -> io::Result<(Self, OwnedFd)> {
        let bytes = rustix::param::page_size();
        let file = rustix::fs::memfd_create("pegaflow-life", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&file, bytes as u64)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        let page = Self::map(&file, ProtFlags::READ | ProtFlags::WRITE)?;
        // Without it a peer could spoil the word for the others, which they must bear anyway.
        let _ = rustix::fs::fcntl_add_seals(&file, SealFlags::FUTURE_WRITE);
        Ok((page, file))
    }

    /// A peer's. The file comes from another process: its seals and length are checked, so that no look at it can fault.
    pub(super) fn of_peer(file: &OwnedFd) -> io::Result<Self> {
        let bad = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let seals = rustix::fs::fcntl_get_seals(file)?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(bad("the peer's memfd is not sealed against shrinking".to_owned()));
        }
        let (length, expected) = (rustix::fs::fstat(file)?.st_size, rustix::param::page_size());
        if usize::try_from(length).ok() != Some(expected) {
            return Err(bad(format!("the peer's memfd has {length} bytes: expected {expected}")));
        }
        Self::map(file, ProtFlags::READ)
    }

    fn map(file: &OwnedFd, access: ProtFlags) -> io::Result<Self> {
        let bytes = rustix::param::page_size();
        // SAFETY: a fresh mapping at an address of the kernel's choice; nothing of ours is replaced.
        let base = unsafe { rustix::mm::mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, file.as_fd(), 0) }?;
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        let page = Self { base, bytes };
        // SAFETY: exactly the range that was mapped above.
        unsafe { rustix::mm::madvise(base.as_ptr().cast(), bytes, Advice::LinuxDontFork) }?;
        Ok(page)
    }

    pub(super) fn word(&self) -> &AtomicU32 {
        // SAFETY: the start of a page that is mapped as long as `self`; others access it atomically.
        unsafe { self.base.as_ref() }
    }

    /// Puts a page of zeros in the place of the shared one: the word is 0 from here on, for whoever looks and for
    /// whoever begins to wait. Whoever waits already waits on the shared word still, and is to be woken there.
    pub(super) fn take_away(&self) -> io::Result<()> {
        let at = self.base.as_ptr().cast::<c_void>();
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: exactly the range that `map` made, which is ours until the drop; its word stays readable throughout.
        unsafe { rustix::mm::mmap_anonymous(at, self.bytes, ProtFlags::READ, flags) }?;
        Ok(())
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and nobody can reach it after this value.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping: {unmapped:?}");
    }
}

/// Holds `word` for this thread while `body` runs: should the thread end meanwhile, the kernel marks the word and wakes
/// one who waits for it. Once `body` has returned, or panicked, the word is 0, and a mark comes no more.
///
/// The thread must hold no other robust lock: the kernel knows one list of them, and this replaces it.
pub(super) fn hold(word: &AtomicU32, body: impl FnOnce()) -> io::Result<()> {
    let mut entry = Entry { next: ptr::null_mut() };
    let mut head = Head { first: &raw mut entry, offset: 0, pending: ptr::null_mut() };
    // A ring of one: the last entry leads back to the head. The kernel finds an entry's word by the offset.
    entry.next = (&raw mut head).cast();
    head.offset = word.as_ptr().addr().wrapping_sub((&raw mut entry).addr()).cast_signed();
    // SAFETY: head and entry stay where they are until the list is taken back, when `held` is dropped: before them.
    unsafe { set_robust_list(&raw mut head) }?;
    let held = Held { word };
    let thread = rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned();
    // Without this bit the kernel would mark the word and wake nobody.
    word.store(thread | futex::WAITERS, Ordering::Release);
    body();
    drop(held);
    Ok(())
}

/// A word that is held; the drop ends that in order.
struct Held<'a> {
    word: &'a AtomicU32,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.word.store(0, Ordering::Release);
        wake_all(self.word);
        // SAFETY: without a list nothing of this thread's is looked at when it ends.
        let taken_back = unsafe { set_robust_list(ptr::null_mut()) };
        debug_assert!(taken_back.is_ok(), "it could be set: {taken_back:?}");
    }
}

/// Wakes everybody who waits for a shared word. The kernel has woken one at a death, and each who is woken wakes the rest.
pub(super) fn wake_all(word: &AtomicU32) {
    // Fails for an address that is not mapped, and this one is.
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX.cast_unsigned());
}

/// `struct robust_list` of `linux/futex.h`.
#[repr(C)]
struct Entry {
    next: *mut Entry,
}

/// `struct robust_list_head` of `linux/futex.h`; an entry leads to its first word as to another entry.
#[repr(C)]
struct Head {
    first: *mut Entry,
    /// From an entry to its word, in bytes.
    offset: isize,
    pending: *mut Entry,
}

/// Gives the kernel this thread's list of robust futexes, see `set_robust_list(2)`; null for none.
///
/// # Safety
/// - Head and entries stay as they are until another list is set, or the thread has ended.
unsafe fn set_robust_list(head: *mut Head) -> io::Result<()> {
    /// Its number in `asm/unistd.h`: the call has no function in the system's library.
    const NUMBER: Option<c_long> = if cfg!(target_arch = "x86_64") {
        Some(273)
    } else if cfg!(target_arch = "aarch64") {
        Some(99)
    } else {
        None
    };
    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }
    let number = NUMBER.ok_or(io::ErrorKind::Unsupported)?;
    // SAFETY: the call takes an address and a length; the list is as the kernel expects it, by the caller's word.
    match unsafe { syscall(number, head, size_of::<Head>()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
