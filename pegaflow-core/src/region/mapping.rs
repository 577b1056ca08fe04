//! Mapped memory: owned (a memfd of this process) or lent by the caller.

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    ptr::{self, NonNull},
    sync::{Mutex, PoisonError},
};

use rustix::{
    fs::{MemfdFlags, SealFlags},
    mm::{Advice, MapFlags, ProtFlags},
};

use super::{AllocateOptions, Kind, PageSize};
use crate::{BackendError, MemoryError, backend::Memory};

/// Memory that stays mapped until this value is dropped.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: u64,
    hold: Hold,
}

enum Hold {
    /// Ours: unmapped on drop. `mapped` is the length rounded up to whole pages.
    Owned { file: Mutex<OwnedFd>, mapped: usize, page: PageSize },
    /// The caller's: let go by dropping what he gave. Of an accelerator's memory the dmabuf comes along, and where in it
    /// the memory begins.
    Lent { dmabuf: Option<(OwnedFd, u64)>, _keep: Box<dyn Send + Sync> },
}

// SAFETY: the pointer is to memory that this value keeps mapped; all accesses are raw copies, ordered by the caller.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Allocates `bytes` of zeroed memory in a memfd of its own: sealed against resizing, so that no holder can turn
    /// another's access into a SIGBUS, and not inherited over fork.
    pub(crate) fn allocate(bytes: u64, how: AllocateOptions) -> Result<Self, MemoryError> {
        let page = how.page.bytes();
        let rounded = bytes.checked_next_multiple_of(page).filter(|&all| i64::try_from(all).is_ok());
        let (Some(rounded), Some(mapped)) = (rounded, rounded.and_then(|all| usize::try_from(all).ok())) else {
            return Err(MemoryError::BadLength { bytes, max: i64::MAX as u64 });
        };
        let file = create(bytes, rounded, how.page)?;
        let populate = if how.touch { MapFlags::POPULATE } else { MapFlags::empty() };
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice; nothing of ours is replaced.
        let base = unsafe { rustix::mm::mmap(ptr::null_mut(), mapped, access, MapFlags::SHARED | populate, &file, 0) }
            .map_err(refused("mmap", bytes, how.page))?;
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            let source = io::ErrorKind::AddrNotAvailable.into();
            return Err(MemoryError::Kernel { call: "mmap", bytes, hint: "; it gave address 0", source });
        };
        let hold = Hold::Owned { file: Mutex::new(file), mapped, page: how.page };
        let mapping = Self { base, bytes, hold };
        mapping.keep_from_children(mapped)?;
        Ok(mapping)
    }

    /// A child of a fork does not get it.
    fn keep_from_children(&self, mapped: usize) -> Result<(), MemoryError> {
        // SAFETY: exactly the range that was mapped.
        unsafe { rustix::mm::madvise(self.base.as_ptr().cast(), mapped, Advice::LinuxDontFork) }.map_err(refused(
            "madvise(MADV_DONTFORK)",
            self.bytes,
            PageSize::Base,
        ))
    }

    /// Puts fresh zeroed memory of the same length at the same address. `told` hears of it first, and may refuse.
    ///
    /// What threads of this process read and write meanwhile is theirs to know.
    pub(crate) fn swap(
        &self,
        kind: Kind,
        told: impl FnOnce(&Memory<'_>) -> Result<(), BackendError>,
    ) -> Result<(), MemoryError> {
        let Hold::Owned { file, mapped, page } = &self.hold else {
            let source = io::ErrorKind::Unsupported.into();
            return Err(MemoryError::Kernel {
                call: "mmap",
                bytes: self.bytes,
                hint: "; it is the caller's own",
                source,
            });
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = create(self.bytes, *mapped as u64, *page)?;
        let (base, bytes) = (self.base(), self.bytes);
        told(&Memory { base, bytes, kind, file: Some(fresh.as_fd()), file_offset: 0 })?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: it replaces exactly this mapping, atomically: whoever has its address reaches the one or the other.
        unsafe { rustix::mm::mmap(base.cast(), *mapped, access, MapFlags::SHARED | MapFlags::FIXED, &fresh, 0) }
            .map_err(refused("mmap(MAP_FIXED)", bytes, *page))?;
        *file = fresh;
        self.keep_from_children(*mapped)
    }

    /// Takes memory that the caller mapped.
    ///
    /// # Safety
    /// - `base..base + bytes` stays mapped, readable and writable until `keep` is dropped.
    pub(crate) unsafe fn lent(
        base: NonNull<u8>,
        bytes: u64,
        dmabuf: Option<(OwnedFd, u64)>,
        keep: Box<dyn Send + Sync>,
    ) -> Self {
        Self { base, bytes, hold: Hold::Lent { dmabuf, _keep: keep } }
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hands a description of the memory to `told`.
    pub(crate) fn describe<T>(&self, kind: Kind, told: impl FnOnce(&Memory<'_>) -> T) -> T {
        let (base, bytes) = (self.base(), self.bytes);
        match &self.hold {
            Hold::Owned { file, .. } => {
                let file = file.lock().unwrap_or_else(PoisonError::into_inner);
                told(&Memory { base, bytes, kind, file: Some(file.as_fd()), file_offset: 0 })
            }
            Hold::Lent { dmabuf, .. } => {
                let (file, file_offset) = dmabuf.as_ref().map_or((None, 0), |(file, at)| (Some(file.as_fd()), *at));
                told(&Memory { base, bytes, kind, file, file_offset })
            }
        }
    }

    /// Copies in; the caller has checked the range.
    pub(crate) fn write(&self, offset: u64, from: &[u8]) {
        let at = self.at(offset, from.len());
        // SAFETY: `at` has asserted that the range lies inside the mapping; a slice of ours can't overlap it, since no
        // reference into a mapping is ever handed out.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), at, from.len()) };
    }

    /// Copies out; the caller has checked the range.
    pub(crate) fn read(&self, offset: u64, to: &mut [u8]) {
        let at = self.at(offset, to.len());
        // SAFETY: as in `write`.
        unsafe { ptr::copy_nonoverlapping(at, to.as_mut_ptr(), to.len()) };
    }

    /// CRC-32 of a range that the caller has checked.
    pub(crate) fn sum(&self, offset: u64, bytes: u64) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        let mut buffer = [0_u8; 16 << 10];
        let (mut at, end) = (offset, offset + bytes);
        while at < end {
            #[expect(clippy::cast_possible_truncation, reason = "at most the buffer's length")]
            let count = (end - at).min(buffer.len() as u64) as usize;
            // Copied out first: a peer may write it meanwhile.
            self.read(at, &mut buffer[..count]);
            sum.update(&buffer[..count]);
            at += count as u64;
        }
        sum.finalize()
    }

    fn at(&self, offset: u64, length: usize) -> *mut u8 {
        assert!(offset.checked_add(length as u64).is_some_and(|end| end <= self.bytes), "range checked by the caller");
        #[expect(clippy::cast_possible_truncation, reason = "below the length of a mapping, which is a usize")]
        let offset = offset as usize;
        // SAFETY: inside the mapping, by the assertion above.
        unsafe { self.base.as_ptr().add(offset) }
    }
}

/// A memfd of `rounded` bytes of such pages, which can't be resized any more.
fn create(bytes: u64, rounded: u64, page: PageSize) -> Result<OwnedFd, MemoryError> {
    let huge = match page {
        PageSize::Base => MemfdFlags::empty(),
        PageSize::Huge2MiB => MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB,
        PageSize::Huge1GiB => MemfdFlags::HUGETLB | MemfdFlags::HUGE_1GB,
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | huge;
    let file = rustix::fs::memfd_create("pegaflow-region", flags).map_err(refused("memfd_create", bytes, page))?;
    rustix::fs::ftruncate(&file, rounded).map_err(refused("ftruncate", bytes, page))?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).map_err(refused(
        "fcntl(F_ADD_SEALS)",
        bytes,
        PageSize::Base,
    ))?;
    Ok(file)
}

/// The kernel's refusal of a call about `bytes` bytes.
fn refused(call: &'static str, bytes: u64, page: PageSize) -> impl Fn(rustix::io::Errno) -> MemoryError {
    let hint = match page {
        PageSize::Base => "",
        PageSize::Huge2MiB => HINT_2MIB,
        PageSize::Huge1GiB => HINT_1GIB,
    };
    move |errno| MemoryError::Kernel { call, bytes, hint, source: errno.into() }
}

const HINT_2MIB: &str = "; are 2 MiB pages reserved? see /proc/meminfo, set vm.nr_hugepages";
const HINT_1GIB: &str = "; are 1 GiB pages reserved? boot with hugepagesz=1G hugepages=N";

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Hold::Owned { mapped, .. } = self.hold {
            // SAFETY: mapped by `allocate` with this length, and nobody can reach it after this value.
            let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), mapped) };
            debug_assert!(unmapped.is_ok(), "munmap of our own mapping: {unmapped:?}");
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({:p}, {} bytes)", self.base, self.bytes)
    }
}
