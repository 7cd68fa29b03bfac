//! The durable queue on disk between a call and the collector.
//!
//! A call's intent is in here before its upstream sees a byte, its settlement before its caller sees the last
//! one. Appends copy into a mapped, really allocated segment: they never wait for the disk, and what was
//! appended survives the death of the process at any instant. A power cut may take what was appended within
//! `sync_interval`. The shipper takes synced settlements out; a segment is removed when all its settlements are
//! acknowledged and all its calls settled.
//!
//! Invariants: an open call's settlement always has room; settlements are numbered from 1 in each epoch (one
//! process start) without gaps; one event has at most one settlement that is shipped, however often its record
//! was copied; recovery reads whole segments and trusts only checksums.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use tokio::sync::{Notify, watch};

mod append;
mod failed;
mod identity;
mod inspect;
#[cfg(test)]
mod kill_tests;
mod mapping;
#[cfg(test)]
mod model_tests;
mod record;
mod recovery;
mod segment;
mod ship;
mod state;
mod stats;
mod sync;
#[cfg(test)]
mod tests;
mod upkeep;

pub use append::{Ticket, Unsettled};
pub use failed::{
    FAILED_BYTES_MAX, FailedRecord, Requeued, Selection, list_failed, purge, requeue,
};
pub use inspect::{SpoolStats, inspect};
pub use ship::Spooled;
pub use stats::Stats;

use identity::Epoch;
use state::{Limits, State};

/// A hook around syncs.
pub type BeforeSync = Arc<dyn Fn() -> io::Result<()> + Send + Sync>;
/// Told how long each sync took.
pub type OnSync = Arc<dyn Fn(Duration) + Send + Sync>;

/// Fewest segments `bytes_max` must hold: the one written, one ahead, one kept, one being shipped.
const SEGMENTS_MIN: u64 = 4;
/// Fewest of the longest records a segment must hold.
const RECORDS_MIN: usize = 4;

/// How a spool is opened.
#[derive(Clone)]
pub struct SpoolOptions {
    /// Bytes of a segment file, allocated when it is made.
    pub segment_bytes: usize,
    /// Most bytes of all segment files.
    pub bytes_max: u64,
    /// Longest settlement, intent or checkpoint; room for one is held for each open call.
    pub settlement_bytes_max: usize,
    /// Longest time a record stays unsynced on a disk that works.
    pub sync_interval: Duration,
    /// The node's id; without one it is made once and kept in the directory.
    pub node: Option<String>,
    /// Called before each sync; an error counts as that sync's failure. For tests.
    pub before_sync: Option<BeforeSync>,
    /// Told how long each sync took.
    pub on_sync: Option<OnSync>,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            bytes_max: 1 << 30,
            settlement_bytes_max: 64 << 10,
            sync_interval: Duration::from_millis(20),
            node: None,
            before_sync: None,
            on_sync: None,
        }
    }
}

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

/// Why something was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Only the settlements of open calls still have room.
    Full,
    /// The disk refuses to sync.
    Failing,
    /// Longer than the spool takes.
    TooLarge {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// The spool has been closed.
    Closed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the spool is full"),
            Self::Failing => f.write_str("the spool's disk is failing"),
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "{bytes} bytes are more than the spool's {bytes_max}")
            }
            Self::Closed => f.write_str("the spool is closed"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why a spool cannot be opened.
#[derive(Debug)]
pub enum SpoolError {
    /// Another process writes it.
    InUse(PathBuf),
    /// The sizes do not fit together.
    Options(String),
    /// The disk or the directory.
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where.
        directory: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(directory) => write!(
                f,
                "spool {}: another process writes it",
                directory.display()
            ),
            Self::Options(why) => write!(f, "spool: {why}"),
            Self::Io {
                doing,
                directory,
                source,
            } => {
                write!(f, "spool {}: {doing}: {source}", directory.display())
            }
        }
    }
}

impl std::error::Error for SpoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::InUse(_) | Self::Options(_) => None,
        }
    }
}

/// A call an earlier process, or a dropped ticket, left without a settlement.
#[derive(Debug)]
pub struct Orphan {
    /// The right to settle it.
    pub ticket: Ticket,
    /// Its intent; none when the disk lost it.
    pub intent: Option<Vec<u8>>,
    /// Its last checkpoint.
    pub checkpoint: Option<Vec<u8>>,
}

impl Orphan {
    /// The newest thing known of it.
    #[must_use]
    pub fn latest(&self) -> Option<&[u8]> {
        self.checkpoint.as_deref().or(self.intent.as_deref())
    }
}

/// An epoch that did not end with [`Spool::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UncleanEpoch {
    /// Which.
    pub epoch: u64,
    /// Where its last surviving record lies.
    pub last_position: Option<Position>,
    /// Its last surviving settlement's number.
    pub last_seq: u64,
    /// Whether the machine went down too, so that its last `sync_interval` may be lost.
    pub may_have_lost: bool,
}

/// What a start found.
#[derive(Debug)]
pub struct Recovery {
    /// The last epoch, unless it ended in order.
    pub unclean: Option<UncleanEpoch>,
    /// Whole records.
    pub records: u64,
    /// Settlements to be shipped.
    pub unshipped: u64,
    /// Records whose checksum does not match; they are skipped.
    pub damaged: u64,
    /// Calls to be settled as interrupted.
    pub orphans: Vec<Orphan>,
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
    state: Mutex<State>,
    sync_state: watch::Sender<SyncState>,
    shippable: Notify,
    is_sync_urgent: AtomicBool,
    is_upkeep_stopping: AtomicBool,
    is_sync_stopping: AtomicBool,
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

/// The threads, and the lock on the directory; the last handle's drop ends them.
struct Threads {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Running {
    sync: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    lock: std::fs::File,
}

impl Threads {
    fn close(&self) -> io::Result<()> {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Running { sync, upkeep, lock }) = running else {
            return Ok(());
        };
        let shared = &self.shared;
        shared.lock().is_closed = true;
        // Upkeep first: it appends copies of open calls, which are still to be synced.
        for (thread, is_stopping) in [
            (upkeep, &shared.is_upkeep_stopping),
            (sync, &shared.is_sync_stopping),
        ] {
            is_stopping.store(true, Ordering::Release);
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("spool: a thread of it panicked");
            }
        }
        let is_synced = !shared.lock().has_unsynced;
        let mut noted = Position::START;
        upkeep::note_acknowledged(shared, &mut noted);
        if is_synced {
            Epoch {
                is_closed: true,
                ..shared.epoch.clone()
            }
            .write(&shared.directory)?;
        }
        drop(lock);
        if is_synced {
            Ok(())
        } else {
            Err(io::Error::other("the last records could not be synced"))
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "spool: not closed in order");
        }
    }
}

/// A handle on the spool; clones are the same spool.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
}

impl Spool {
    /// Opens the spool in this directory for this process alone, and says what earlier ones left.
    ///
    /// Settle the orphans before anything else; they keep their segments and their room.
    pub fn open(directory: &Path, options: SpoolOptions) -> Result<(Self, Recovery), SpoolError> {
        check_options(&options)?;
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
        let limits = Limits::new(directory.to_owned(), &options);
        let mut state = State::new(limits, epoch.epoch, first + 1, active);
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
            state: Mutex::new(state),
            sync_state: watch::Sender::new(synced),
            shippable: Notify::new(),
            is_sync_urgent: AtomicBool::new(false),
            is_upkeep_stopping: AtomicBool::new(false),
            is_sync_stopping: AtomicBool::new(false),
            sync_thread: OnceLock::new(),
            upkeep_thread: OnceLock::new(),
        });
        upkeep::make_spares(&shared).map_err(fail("making segments"))?;
        let orphans = recovery::orphans(&shared, open);
        let (sync, upkeep) = start(&shared).map_err(fail("starting threads"))?;
        let running = Mutex::new(Some(Running { sync, upkeep, lock }));
        let threads = Arc::new(Threads {
            shared: Arc::clone(&shared),
            running,
        });
        let recovery = Recovery {
            unclean,
            records: found.records,
            unshipped,
            damaged: found.damaged,
            orphans,
        };
        Ok((Self { shared, threads }, recovery))
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

fn check_options(options: &SpoolOptions) -> Result<(), SpoolError> {
    let record = record::turn_bytes(options.settlement_bytes_max, options.settlement_bytes_max);
    if options.segment_bytes < RECORDS_MIN * record + segment::PREFIX_BYTES {
        let why = format!(
            "a segment of {} bytes must hold {RECORDS_MIN} records of {record}",
            options.segment_bytes
        );
        return Err(SpoolError::Options(why));
    }
    if u32::try_from(options.segment_bytes).is_err() {
        return Err(SpoolError::Options(
            "a segment must be shorter than 4 GiB".to_owned(),
        ));
    }
    if options.bytes_max < SEGMENTS_MIN * options.segment_bytes as u64 {
        let why = format!(
            "bytes_max {} must hold {SEGMENTS_MIN} segments of {}",
            options.bytes_max, options.segment_bytes
        );
        return Err(SpoolError::Options(why));
    }
    Ok(())
}

fn start(shared: &Arc<Shared>) -> io::Result<(JoinHandle<()>, JoinHandle<()>)> {
    let of_sync = Arc::clone(shared);
    let sync = std::thread::Builder::new()
        .name("spool-sync".into())
        .spawn(move || sync::run(&of_sync))?;
    let of_upkeep = Arc::clone(shared);
    let upkeep = std::thread::Builder::new()
        .name("spool-upkeep".into())
        .spawn(move || upkeep::run(&of_upkeep))?;
    // Set once here; whoever appended before this is found by the threads' first look.
    let _ = shared.sync_thread.set(sync.thread().clone());
    let _ = shared.upkeep_thread.set(upkeep.thread().clone());
    Ok((sync, upkeep))
}
