//! The durable queue on disk between a call and the collector.
//!
//! A call's intent is in here before its upstream sees a byte, its settlement before its caller sees the last
//! one. Appends copy into a small mapped file, from which threads write really allocated segments: they do not wait
//! for the disk, and what was appended survives the death of the process at any instant. A power cut may take what
//! was appended within `sync_interval`. The shipper takes synced settlements out; a segment is removed when all its settlements are
//! acknowledged and all its calls settled.
//!
//! Invariants: an open call's settlement always has room; settlements are numbered from 1 in each epoch (one
//! process start) without gaps; one event has at most one settlement that is shipped, however often its record
//! was copied; recovery reads whole segments and trusts only checksums.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use tokio::sync::{Notify, watch};

mod allocation;
mod append;
mod calls;
mod error;
mod failed;
mod identity;
mod inspect;
#[cfg(test)]
mod kill_tests;
#[cfg(test)]
mod model_tests;
mod options;
mod record;
mod recovery;
mod room;
mod segment;
mod ship;
mod staging;
mod state;
mod stats;
mod sync;
#[cfg(test)]
mod tests;
mod threads;
mod upkeep;

pub use append::{Ticket, Unsettled};
pub use error::{Refusal, SpoolError};
pub use failed::{
    FAILED_BYTES_MAX, FailedRecord, Requeued, Selection, list_failed, purge, requeue,
};
pub use inspect::{SpoolStats, inspect};
pub use options::{BeforeSync, OnSync, SpoolOptions, Step};
pub use recovery::{Orphan, Recovery, UncleanEpoch};
pub use ship::Spooled;
pub use stats::Stats;

use identity::Epoch;
use room::Limits;
use staging::{Ahead, Staging};
use state::State;
use threads::Threads;

/// A place in the spool. Later records have greater ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Before every record.
    const START: Self = Self(0);

    fn new(segment: u32, offset: usize) -> Self {
        Self(u64::from(segment) << 32 | offset as u64)
    }

    fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn offset(self) -> usize {
        (self.0 & u64::from(u32::MAX)) as usize
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment(), self.offset())
    }
}

#[derive(Clone, Copy)]
struct SyncState {
    synced: Position,
    is_failing: bool,
}

/// What the handles, the tickets and the threads share.
struct Shared {
    directory: PathBuf,
    node: String,
    epoch: Epoch,
    segment_bytes: usize,
    payload_bytes_max: usize,
    sync_interval: Duration,
    before_sync: Option<BeforeSync>,
    on_sync: Option<OnSync>,
    ahead: Ahead,
    state: Mutex<State>,
    sync_state: watch::Sender<SyncState>,
    shippable: Notify,
    is_sync_urgent: AtomicBool,
    is_upkeep_stopping: AtomicBool,
    is_sync_stopping: AtomicBool,
    /// At least what `failed/` takes.
    failed_bytes: AtomicU64,
    sync_thread: OnceLock<Thread>,
    upkeep_thread: OnceLock<Thread>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the state, then wakes whoever got something to do.
    fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = work(&mut state);
        let wake = std::mem::take(&mut state.wake);
        drop(state);
        if wake.sync {
            self.wake_sync();
        }
        if wake.upkeep {
            self.wake_upkeep();
        }
        result
    }

    fn wake_sync(&self) {
        if let Some(thread) = self.sync_thread.get() {
            thread.unpark();
        }
    }

    fn wake_upkeep(&self) {
        if let Some(thread) = self.upkeep_thread.get() {
            thread.unpark();
        }
    }

    fn publish_sync_state(&self) {
        let (state, is_shippable) = {
            let state = self.lock();
            (
                SyncState {
                    synced: state.synced,
                    is_failing: state.is_failing,
                },
                state.is_shippable(),
            )
        };
        self.sync_state.send_replace(state);
        if is_shippable {
            self.shippable.notify_one();
        }
    }
}

/// A reference to what all share, counted by itself: with each call one is taken and given back, and a count that
/// every worker changes goes from one processor to the other each time.
#[derive(Clone)]
#[expect(
    clippy::redundant_allocation,
    reason = "the outer count is what it is for"
)]
struct Own(Arc<Arc<Shared>>);

impl Own {
    fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::new(Arc::clone(shared)))
    }
}

impl Deref for Own {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.0
    }
}

/// A handle on the spool; clones are the same spool. A worker that has a clone of its own counts its tickets apart.
pub struct Spool {
    shared: Own,
    threads: Arc<Threads>,
}

impl Clone for Spool {
    fn clone(&self) -> Self {
        Self {
            shared: Own::new(&self.shared),
            threads: Arc::clone(&self.threads),
        }
    }
}

impl Spool {
    /// Opens the spool in this directory for this process alone, and says what earlier ones left.
    ///
    /// Settle the orphans before anything else; they keep their segments and their room.
    pub fn open(directory: &Path, options: SpoolOptions) -> Result<(Self, Recovery), SpoolError> {
        options::check(&options)?;
        let fail = |doing| {
            move |source| SpoolError::Io {
                doing,
                directory: directory.to_owned(),
                source,
            }
        };
        std::fs::create_dir_all(directory).map_err(fail("making the directory"))?;
        let lock = identity::lock(directory).map_err(fail("locking"))?;
        let lock = lock.ok_or_else(|| SpoolError::InUse(directory.to_owned()))?;
        segment::remove_unfinished(directory).map_err(fail("removing unfinished segments"))?;

        let last = Epoch::read(directory).map_err(fail("reading the epoch"))?;
        let is_new = identity::kept_node(directory)
            .map_err(fail("reading the node"))?
            .is_none();
        let node =
            identity::node(directory, options.node.as_deref()).map_err(fail("writing the node"))?;
        staging::restore(directory).map_err(fail("restoring what was staged"))?;
        let mut found = recovery::find(directory).map_err(fail("reading the segments"))?;
        let acknowledged_before = upkeep::read_cursor(directory);
        let seen = found.epochs.keys().next_back().copied().unwrap_or(0);
        let epoch = Epoch::next(last.as_ref(), seen, is_new && found.segments.is_empty());
        epoch.write(directory).map_err(fail("writing the epoch"))?;

        let newest = found.segments.last().map_or(0, |(file, _)| file.id);
        let first = newest.max(acknowledged_before.segment()) + 1;
        recovery::cut(&mut found).map_err(fail("cutting segments"))?;
        let active = segment::create(directory, first, options.segment_bytes)
            .map_err(fail("making the first segment"))?;
        let staging = Staging::create(directory, options.segment_bytes)
            .map_err(fail("making the staging file"))?;
        let ahead = staging.ahead();
        let limits = Limits::new(directory.to_owned(), &options);
        let mut state = State::new(limits, epoch.epoch, staging, active);
        let open = recovery::adopt(&mut state, &found, acknowledged_before);
        let unclean = last.filter(|last| !last.is_closed).map(|last| {
            let end = found.epochs.get(&last.epoch);
            UncleanEpoch {
                epoch: last.epoch,
                last_position: end.map(|(position, _)| *position),
                last_seq: end.map_or(0, |(_, seq)| *seq),
                may_have_lost: !last.is_of_this_boot(),
            }
        });

        let failed_bytes = failed::bytes(&directory.join(failed::FAILED))
            .map_err(fail("counting failed records"))?;
        let unshipped = state.unshipped_count() as u64;
        let synced = SyncState {
            synced: state.synced,
            is_failing: false,
        };
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            node,
            epoch,
            segment_bytes: options.segment_bytes,
            payload_bytes_max: options.settlement_bytes_max,
            sync_interval: options.sync_interval,
            before_sync: options.before_sync,
            on_sync: options.on_sync,
            ahead,
            state: Mutex::new(state),
            sync_state: watch::Sender::new(synced),
            shippable: Notify::new(),
            is_sync_urgent: AtomicBool::new(false),
            is_upkeep_stopping: AtomicBool::new(false),
            is_sync_stopping: AtomicBool::new(false),
            failed_bytes: AtomicU64::new(failed_bytes),
            sync_thread: OnceLock::new(),
            upkeep_thread: OnceLock::new(),
        });
        if let Err(error) = upkeep::make_spares(&shared) {
            // A full disk: what is spooled can still be shipped, which makes room.
            tracing::error!(%error, "spool: no segment can be made ahead");
        }
        let own = Own::new(&shared);
        let orphans = recovery::orphans(&own, open);
        let threads = Threads::start(&shared, lock).map_err(fail("starting threads"))?;
        let threads = Arc::new(threads);
        let recovery = Recovery {
            unclean,
            records: found.records,
            unshipped,
            damaged: found.damaged,
            orphans,
        };
        let spool = Self {
            shared: own,
            threads,
        };
        Ok((spool, recovery))
    }

    /// Syncs everything and marks the epoch as ended in order. Later appends are refused.
    ///
    /// Waits for the disk and for two threads; the last handle's drop does the same.
    pub fn close(&self) -> io::Result<()> {
        self.threads.close()
    }

    /// The node's id.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.shared.node
    }

    /// This process start.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.shared.epoch.epoch
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("directory", &self.shared.directory)
            .finish_non_exhaustive()
    }
}
