//! How this proxy stands to the store that shares limits out: what it may spend of a counter that it
//! has no lease of yet, how many proxies there are, and whether the store answers.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

/// Kept by the renewals, read by every call.
#[derive(Debug)]
pub(crate) struct Standing {
    /// One part in so many; 0: nothing.
    share_of: AtomicU32,
    live: AtomicU32,
    is_away: AtomicBool,
    /// Unix milliseconds after which nothing that was granted holds any more.
    valid_until: AtomicI64,
}

impl Default for Standing {
    /// Nobody has answered yet.
    fn default() -> Self {
        Self {
            share_of: AtomicU32::new(0),
            live: AtomicU32::new(1),
            is_away: AtomicBool::new(true),
            valid_until: AtomicI64::new(0),
        }
    }
}

impl Standing {
    /// The store has answered.
    pub(crate) fn renewed(&self, share_of: u32, live: u32, valid_until: i64) {
        self.share_of.store(share_of, Ordering::Relaxed);
        self.live.store(live.max(1), Ordering::Relaxed);
        self.valid_until.store(valid_until, Ordering::Relaxed);
        self.is_away.store(false, Ordering::Release);
    }

    /// The store does not answer.
    pub(crate) fn lost(&self) {
        self.is_away.store(true, Ordering::Release);
    }

    /// Whether the store does not answer.
    #[must_use]
    pub(crate) fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Acquire)
    }

    /// Proxies that share the limits.
    #[must_use]
    pub(crate) fn live(&self) -> u32 {
        self.live.load(Ordering::Relaxed)
    }

    /// One part in so many of a counter without a lease may be spent; 0: nothing.
    pub(crate) fn share_of(&self) -> u32 {
        self.share_of.load(Ordering::Relaxed)
    }

    /// What may be spent of an amount without a lease at this instant.
    pub(crate) fn share(&self, amount: i128, now: i64) -> i128 {
        match self.share_of() {
            0 => 0,
            _ if !self.is_valid(now) => 0,
            parts => amount / i128::from(parts),
        }
    }

    /// Whether everything that was granted has run out since.
    pub(crate) fn has_lapsed(&self, now: i64) -> bool {
        self.share_of() > 0 && !self.is_valid(now)
    }

    /// Nothing may be spent without a lease any more.
    pub(crate) fn forget_share(&self) {
        self.share_of.store(0, Ordering::Relaxed);
    }

    /// What was granted holds.
    pub(crate) fn is_valid(&self, now: i64) -> bool {
        now < self.valid_until.load(Ordering::Relaxed)
    }

    /// The only proxy, for ever.
    #[cfg(test)]
    pub(crate) fn alone() -> Self {
        let standing = Self::default();
        standing.renewed(1, 1, i64::MAX);
        standing
    }
}
