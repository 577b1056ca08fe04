//! Whether an imported grant is in use: by how many transfers of one channel, and whether its owner wants it back.

use std::sync::atomic::{AtomicU64, Ordering};

const REVOKED: u64 = 1 << 63;

/// One for each grant and channel. The channel's port enters and leaves; the control thread revokes.
#[derive(Debug, Default)]
pub(crate) struct Usage(AtomicU64);

/// What a revoke met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InUse {
    /// No transfer uses the grant, and none will.
    No,
    /// Who leaves last will know.
    Yes,
    /// It was revoked before, and is in use still.
    YesAndRevoked,
}

impl Usage {
    /// A transfer is to use the grant; `false` where it is revoked.
    #[inline]
    pub(crate) fn enter(&self) -> bool {
        let more = |seen: u64| (seen & REVOKED == 0).then_some(seen + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
    }

    /// A transfer will not touch the grant's memory any more; `true` for the last one of a grant that is revoked.
    #[inline]
    pub(crate) fn leave(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == REVOKED + 1
    }

    pub(crate) fn revoke(&self) -> InUse {
        match self.0.fetch_or(REVOKED, Ordering::AcqRel) {
            0 | REVOKED => InUse::No,
            seen if seen & REVOKED == 0 => InUse::Yes,
            _ => InUse::YesAndRevoked,
        }
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.0.load(Ordering::Acquire) & REVOKED != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_leave_a_revoked_grant_is_told() {
        let usage = Usage::default();
        assert!(usage.enter() && usage.enter());
        assert_eq!(usage.revoke(), InUse::Yes);
        assert_eq!(usage.revoke(), InUse::YesAndRevoked);
        assert!(!usage.enter(), "nobody comes in any more");
        assert!(!usage.leave());
        assert!(usage.leave());
        assert_eq!(usage.revoke(), InUse::No);
    }

    #[test]
    fn one_that_nobody_uses_is_free_at_once() {
        let usage = Usage::default();
        assert!(usage.enter());
        assert!(!usage.leave());
        assert_eq!(usage.revoke(), InUse::No);
        assert!(usage.is_revoked());
    }
}
