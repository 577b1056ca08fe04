//! What a process has of the system's, and what the system has for everybody.

use serde::{Deserialize, Serialize};

/// Counted where no other case runs in the same process, unless it is said.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Held {
    descriptors: usize,
    threads: usize,
    mappings: usize,
    resident_kib: u64,
    /// Of the kernel, for all processes: queues of a virtual device, sockets.
    kernel_kib: u64,
}

/// The allocator's own mappings come and go by some.
const MAPPINGS: usize = 16;
/// A channel that is left behind is some 100 KiB, and a queue pair of a virtual device some 1000.
const RESIDENT_KIB: u64 = 3 << 10;
const KERNEL_KIB: u64 = 6 << 10;

impl Held {
    pub(crate) fn now() -> Self {
        let entries = |folder: &str| std::fs::read_dir(folder).expect("of this process").count();
        let read = |path: &str| std::fs::read_to_string(path).expect("of this process");
        // The sum of each page: what `status` says is off by what each processor has not added yet.
        let (pages, memory) = (read("/proc/self/smaps_rollup"), read("/proc/meminfo"));
        Self {
            descriptors: entries("/proc/self/fd"),
            threads: entries("/proc/self/task"),
            mappings: read("/proc/self/maps").lines().count(),
            resident_kib: kib(&pages, "Rss:"),
            kernel_kib: kib(&memory, "VmallocUsed:") + kib(&memory, "SUnreclaim:"),
        }
    }

    /// No more than before, whatever it has in memory: that is not this case's alone.
    pub(crate) fn within(self, before: Self) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.mappings <= before.mappings + MAPPINGS
    }

    /// As [`within`](Self::within), memory and all; the kernel's only where nobody else asks for any.
    pub(crate) fn within_with_memory(self, before: Self, alone: bool) -> bool {
        self.within(before)
            && self.resident_kib <= before.resident_kib + RESIDENT_KIB
            && (!alone || self.kernel_kib <= before.kernel_kib + KERNEL_KIB)
    }
}

fn kib(text: &str, name: &str) -> u64 {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
    found.expect("a line of proc(5)").parse().expect("a number")
}
