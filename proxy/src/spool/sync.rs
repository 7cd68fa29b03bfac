//! Making records durable in groups, and writing them again where the disk refused.
//!
//! The thread sleeps until a record is unsynced, then waits `sync_interval` for company, or not at all when
//! someone waits for it, writes what is staged to the segments and syncs those. A range whose sync failed is never
//! trusted again (the kernel forgets the pages' dirt after reporting it once): its records move to a new segment.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::record::{Draft, REWRITTEN, scan};
use super::segment::{self, PREFIX_BYTES, Segment};
use super::state::{State, Writing};
use super::{Position, Refusal, Shared, Spool, Step, SyncState};

/// Longest wait between two attempts on a disk that fails.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(1);

impl Spool {
    /// Waits until everything up to and including the record at `position` is on disk.
    ///
    /// An error says that the disk is failing; the record is still in the spool and is tried again.
    pub async fn synced(&self, position: Position) -> Result<(), Refusal> {
        let mut states = self.shared.sync_state.subscribe();
        if states.borrow_and_update().synced > position {
            return Ok(());
        }
        self.shared.is_sync_urgent.store(true, Ordering::Release);
        self.shared.wake_sync();
        loop {
            let SyncState { synced, is_failing } = *states.borrow_and_update();
            if synced > position {
                return Ok(());
            }
            if is_failing {
                return Err(Refusal::Failing);
            }
            if states.changed().await.is_err() {
                return Err(Refusal::Closed);
            }
        }
    }

    /// Where the synced part of the spool ends.
    #[must_use]
    pub fn synced_before(&self) -> Position {
        self.shared.sync_state.borrow().synced
    }
}

/// Bytes of one segment to be synced.
struct Span {
    segment: Arc<Segment>,
    from: usize,
    to: usize,
}

/// The sync thread.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut failures: u32 = 0;
    loop {
        let is_stopping = shared.is_sync_stopping.load(Ordering::Acquire);
        if !shared.lock().has_unsynced {
            if is_stopping {
                return;
            }
            std::thread::park();
            continue;
        }
        wait_for_company(shared, failures);
        match sync(shared) {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                tracing::error!(%error, failures, "spool: sync failed, writing the records again");
                shared.with(|state| {
                    state.counts.sync_failures += 1;
                    // The first failure is repaired at once; only a second one is told.
                    state.is_failing = failures > 1;
                    state.has_unsynced = true;
                });
                if let Err(error) = rewrite(shared) {
                    tracing::error!(%error, "spool: no new segment for the unsynced records");
                    shared.with(|state| state.is_failing = true);
                }
                shared.publish_sync_state();
                if is_stopping && failures > 2 {
                    return;
                }
            }
        }
    }
}

fn wait_for_company(shared: &Shared, failures: u32) {
    let wait = match failures {
        0 => shared.sync_interval,
        1 => Duration::ZERO,
        _ => (shared.sync_interval * 2_u32.saturating_pow(failures)).min(RETRY_WAIT_MAX),
    };
    let deadline = Instant::now() + wait;
    loop {
        let is_urgent = shared.is_sync_urgent.swap(false, Ordering::AcqRel) && failures == 0;
        let left = deadline.saturating_duration_since(Instant::now());
        if is_urgent || left.is_zero() || shared.is_sync_stopping.load(Ordering::Acquire) {
            return;
        }
        std::thread::park_timeout(left);
    }
}

/// Syncs what was appended until now.
fn sync(shared: &Shared) -> io::Result<()> {
    let (spans, staged) = shared.with(|state| {
        state.has_unsynced = false;
        let all = state.rolled.iter().chain([&state.active]);
        let span = |writing: &Writing| Span {
            segment: Arc::clone(&writing.segment),
            from: writing.synced,
            to: writing.tail,
        };
        let spans: Vec<Span> = all.map(span).filter(|span| span.from < span.to).collect();
        (spans, state.staging.staged())
    });
    let before = |step| match &shared.before_sync {
        Some(before_sync) => before_sync(step),
        None => Ok(()),
    };
    before(Step::Write)?;
    staged.write()?;
    for span in &spans {
        let started = Instant::now();
        before(Step::Sync)?;
        span.segment.writer.sync_data()?;
        if let Some(on_sync) = &shared.on_sync {
            on_sync(started.elapsed());
        }
    }
    let mut done = Vec::new();
    shared.with(|state| {
        for span in &spans {
            state.note_synced(span.segment.file.id, span.to);
        }
        state.is_failing = false;
        state.staging.forget_written();
        // Dropped outside the lock: closing a file takes its time.
        let is_done = |writing: &mut Writing| writing.synced == writing.tail;
        done.extend(state.rolled.extract_if(.., is_done));
        state.wake.upkeep |= state.is_oldest_obsolete();
    });
    drop(done);
    shared.publish_sync_state();
    Ok(())
}

impl State {
    /// Raises the marks after a sync of this segment up to `to`.
    fn note_synced(&mut self, id: u32, to: usize) {
        let active = std::slice::from_mut(&mut self.active);
        for writing in self.rolled.iter_mut().chain(active) {
            if writing.id() == id {
                writing.synced = writing.synced.max(to);
                self.synced = self.synced.max(Position::new(id, to));
            }
        }
    }

    /// Bytes of records that are not synced.
    fn unsynced_bytes(&self) -> u64 {
        let all = self.rolled.iter().chain([&self.active]);
        all.map(|writing| (writing.tail - writing.synced) as u64)
            .sum()
    }
}

/// Moves all unsynced records to new segments, in order and with their numbers.
fn rewrite(shared: &Shared) -> io::Result<()> {
    let mut abandoned = Vec::new();
    let moved = loop {
        let claimed = shared.with(|state| {
            let room = state.spares.len() as u64 * state.limits.usable();
            (room < state.unsynced_bytes()).then(|| state.claim_segment())
        });
        if let Some(id) = claimed {
            let made = segment::create(&shared.directory, id, shared.segment_bytes);
            shared.with(|state| state.grown(made))?;
            continue;
        }
        let moved = shared.with(|state| {
            let room = state.spares.len() as u64 * state.limits.usable();
            (room >= state.unsynced_bytes()).then(|| state.rewrite(&mut abandoned))
        });
        if let Some(moved) = moved {
            break moved;
        }
    };
    for path in abandoned {
        // Nothing in it was ever synced and everything has been copied.
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(%error, ?path, "spool: cannot remove a segment that failed to sync");
        }
    }
    moved
}

impl State {
    fn rewrite(&mut self, abandoned: &mut Vec<PathBuf>) -> io::Result<()> {
        let before = self.synced;
        if self.active.tail > PREFIX_BYTES {
            self.roll()?;
        }
        let old = std::mem::take(&mut self.rolled);
        let mut moved: HashMap<Position, Position> = HashMap::new();
        if let Err(error) = self.copy_unsynced(&old, &mut moved) {
            // Nothing speaks of the copies: they go, and the originals stay what is to be synced.
            for copy in std::mem::replace(&mut self.rolled, old) {
                if self.segments.remove(&copy.id()).is_some() {
                    self.bytes -= copy.segment.file.bytes;
                    abandoned.push(copy.segment.file.path.clone());
                }
            }
            self.active.tail = PREFIX_BYTES;
            self.wake.upkeep = true;
            return Err(error);
        }
        self.counts.rewritten += moved.len() as u64;
        self.relocate(before, &moved);
        for writing in old {
            let id = writing.id();
            self.staging.give_up(id);
            if writing.synced == PREFIX_BYTES && self.segments.remove(&id).is_some() {
                self.bytes -= writing.segment.file.bytes;
                abandoned.push(writing.segment.file.path.clone());
            }
        }
        Ok(())
    }

    fn copy_unsynced(
        &mut self,
        old: &[Writing],
        moved: &mut HashMap<Position, Position>,
    ) -> io::Result<()> {
        for writing in old {
            let id = writing.id();
            // The copy keeps its offsets: the checksum covers them.
            let mut bytes = vec![0; writing.synced];
            let unsynced = writing.synced..writing.tail;
            bytes.extend(self.staging.read(&writing.segment, unsynced)?);
            let mut result = Ok(());
            let nonce = writing.segment.file.nonce;
            let scan = scan(&bytes, writing.synced, nonce, |offset, record| {
                if result.is_err() {
                    return;
                }
                let draft = Draft::again(&record, REWRITTEN);
                match self.copy(&draft, record.head.epoch, record.head.seq) {
                    Ok(position) => {
                        moved.insert(Position::new(id, offset), position);
                    }
                    Err(error) => result = Err(error),
                }
            });
            result?;
            self.counts.damaged += scan.damaged;
        }
        Ok(())
    }

    /// Writes a record straight into the active segment: there may be no room where records are staged.
    fn copy(&mut self, draft: &Draft<'_>, epoch: u64, seq: u64) -> io::Result<Position> {
        self.make_room(draft.bytes())?;
        let Writing { segment, tail, .. } = &mut self.active;
        let record = draft.record(epoch, seq, &segment.place(*tail));
        let position = Position::new(segment.file.id, *tail);
        segment.writer.write_all_at(&record, *tail as u64)?;
        *tail += record.len();
        Ok(position)
    }

    /// Lets the queues and the open calls speak of the copies.
    fn relocate(&mut self, synced: Position, moved: &HashMap<Position, Position>) {
        let unsynced = self
            .pending
            .partition_point(|(position, _)| *position < synced);
        let queued: Vec<(Position, u32)> = self.pending.drain(unsynced..).collect();
        for (old, second) in queued {
            let new = moved.get(&old).copied().unwrap_or(old);
            if let Some(segment) = self.segments.get_mut(&old.segment()) {
                segment.unshipped = segment.unshipped.saturating_sub(1);
            }
            if let Some(segment) = self.segments.get_mut(&new.segment()) {
                segment.unshipped += 1;
            }
            self.pending.push_back((new, second));
        }
        let mut changes = Vec::new();
        for open in self.calls.iter_mut() {
            for place in [&mut open.intent, &mut open.checkpoint] {
                let new = place.and_then(|old| moved.get(&old).copied());
                if let Some((old, new)) = place.zip(new) {
                    *place = Some(new);
                    changes.push((old, new));
                }
            }
        }
        for (old, new) in changes {
            self.pin(new);
            self.unpin(old, new);
        }
    }
}
