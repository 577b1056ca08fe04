//! Which process a handle was made in: a child of a fork has its parent's handles, and none of them works there.
//!
//! One page of the process holds a number, and the kernel empties it in a child (`madvise(2)`, `MADV_WIPEONFORK`): so a
//! handle that remembers the number finds out where it is by one load.

mod sys;

use std::{
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::ApiMisuse;

/// The number that the next process gets which asks. A child goes on where its parent was, so it never gets its number.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// The process in which something was made.
///
/// A backend asks it where it would call its device, unmap memory, wait for a thread or wake somebody in a drop: in a
/// child of a fork all of these are the parent's.
#[derive(Clone, Copy)]
pub struct Origin {
    page: &'static AtomicU32,
    number: u32,
}

impl Origin {
    /// The process that calls.
    #[must_use]
    pub fn here() -> Self {
        let page = sys::page();
        let mut number = page.load(Ordering::Relaxed);
        if number == 0 {
            // Nobody has asked since the process began. Of two threads one gives the number.
            let fresh = NEXT.fetch_add(1, Ordering::Relaxed);
            number = match page.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => fresh,
                Err(given) => given,
            };
        }
        Self { page, number }
    }

    /// Whether the process that calls is this one, and no child of it. One load.
    #[inline]
    #[must_use]
    pub fn is_here(self) -> bool {
        self.page.load(Ordering::Relaxed) == self.number
    }

    /// As an error, where it is a child.
    #[inline]
    pub(crate) fn check(self) -> Result<(), ApiMisuse> {
        if self.is_here() { Ok(()) } else { Err(ApiMisuse::Forked) }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({})", self.number)
    }
}
