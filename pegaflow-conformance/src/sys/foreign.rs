//! Memory that the caller brings.

use std::{
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use pegaflow_core::{Kind, MemoryError, Node, Region};

/// Heap memory that says when it is let go.
struct Lent {
    _memory: Arc<[AtomicU8]>,
    gone: Arc<AtomicBool>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
    }
}

/// Registers fresh heap memory; the flag turns once the library has let go of it.
pub(crate) fn lend(node: &Node, bytes: u64) -> (Result<Region, MemoryError>, Arc<AtomicBool>) {
    lend_as(node, bytes, Kind::Host)
}

/// Registers fresh heap memory as memory of `kind`.
pub(crate) fn lend_as(node: &Node, bytes: u64, kind: Kind) -> (Result<Region, MemoryError>, Arc<AtomicBool>) {
    let memory: Arc<[AtomicU8]> = (0..bytes).map(|_| AtomicU8::new(0)).collect();
    let gone = Arc::new(AtomicBool::new(false));
    let base = NonNull::from(&memory[..]).cast();
    let keep = Box::new(Lent { _memory: memory, gone: Arc::clone(&gone) });
    // SAFETY: `keep` owns the memory, which does not move and may be written through a shared reference.
    let region = unsafe { node.register(base, bytes, kind, keep) };
    (region, gone)
}
