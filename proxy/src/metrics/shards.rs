//! Places to count in: what all workers count in one goes from one processor to the other each time.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use farebox_pricing::event::Transport;

/// Places. Threads beyond so many share them.
pub(super) const SHARDS: usize = 16;

/// The place of this thread.
pub(super) fn own() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    OWN.with(|own| *own)
}

/// How many there are of each transport, counted up and down. Aligned, so that no two shards share what a
/// processor takes at once.
#[derive(Default)]
#[repr(align(128))]
struct Shard([AtomicI64; Transport::ALL.len()]);

/// Counts of what is open.
#[derive(Default)]
pub(super) struct OpenCounts([Shard; SHARDS]);

impl OpenCounts {
    pub(super) fn add(&self, transport: Transport, count: i64) {
        let Shard(counts) = &self.0[own()];
        counts[transport as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Over all threads: one may close what another has opened, also while they are added up.
    pub(super) fn sum(&self, transport: Transport) -> i64 {
        let shards = self.0.iter();
        shards
            .map(|Shard(counts)| counts[transport as usize].load(Ordering::Relaxed))
            .sum::<i64>()
            .max(0)
    }
}
