//! The section `[transport.shm]`.

/// How this backend behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShmConfig {
    /// Most bytes that one `poll` copies for one channel: what a neighbour waits for at most; `4096..=1 GiB`.
    pub copy_chunk_bytes: u64,
}

impl Default for ShmConfig {
    /// 1 MiB: about 100 µs of copying at 10 GB/s.
    fn default() -> Self {
        Self { copy_chunk_bytes: 1 << 20 }
    }
}

impl ShmConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`BadChunk`].
    pub fn check(&self) -> Result<(), BadChunk> {
        if (4096..=1 << 30).contains(&self.copy_chunk_bytes) { Ok(()) } else { Err(BadChunk(self.copy_chunk_bytes)) }
    }
}

/// A chunk out of range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("copy_chunk_bytes is {0}: expected 4096 to 1073741824")]
pub struct BadChunk(pub u64);
