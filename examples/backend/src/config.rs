//! What `[transport.inproc]` would hold, were this backend one of the front door's.

use pegaflow_core::BackendError;

use crate::error::error;

/// How this backend behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InprocConfig {
    /// Work that one link has under way at most; at least 1.
    pub queue_depth: u32,
    /// Most bytes of one piece of work: what a `close`, or a neighbour, waits for at most; at least 1.
    pub work_bytes: u64,
}

impl Default for InprocConfig {
    /// 64 pieces of work, of at most 1 MiB.
    fn default() -> Self {
        Self { queue_depth: 64, work_bytes: 1 << 20 }
    }
}

impl InprocConfig {
    pub(crate) fn check(&self) -> Result<(), BackendError> {
        if self.queue_depth == 0 || self.work_bytes == 0 {
            return Err(error(format!("{self:?}: expected at least 1 of each")));
        }
        Ok(())
    }
}
