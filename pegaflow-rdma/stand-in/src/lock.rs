//! A lock whose release is a plain store: half the price of a mutex where nobody waits, which is nearly always.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

/// A value that one thread at a time may hold.
pub(crate) struct Lock<T> {
    taken: AtomicBool,
    inside: UnsafeCell<T>,
}

// SAFETY: `taken` lets one thread at a time reach `inside`.
unsafe impl<T: Send> Sync for Lock<T> {}

/// The value, until this is dropped.
pub(crate) struct Held<'a, T>(&'a Lock<T>);

impl<T> Lock<T> {
    pub(crate) const fn new(inside: T) -> Self {
        Self { taken: AtomicBool::new(false), inside: UnsafeCell::new(inside) }
    }

    #[inline]
    pub(crate) fn hold(&self) -> Held<'_, T> {
        // SYNC POINT: lock.
        if self.taken.swap(true, Ordering::Acquire) {
            self.wait();
        }
        Held(self)
    }

    #[cold]
    fn wait(&self) {
        let mut turns = 0_u32;
        // SYNC POINT: lock.
        while self.taken.load(Ordering::Relaxed) || self.taken.swap(true, Ordering::Acquire) {
            turns = turns.wrapping_add(1);
            // The holder may have lost its core.
            if turns.is_multiple_of(64) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread has the lock.
        unsafe { &*self.0.inside.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this thread has the lock, and `self` is borrowed for as long as the value is.
        unsafe { &mut *self.0.inside.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SYNC POINT: lock.
        self.0.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::Lock;

    #[test]
    fn one_at_a_time() {
        let lock = Lock::new(0_u32);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100_000 {
                        *lock.hold() += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.hold(), 400_000);
    }
}
