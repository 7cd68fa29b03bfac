//! The shipper's side: batches of synced settlements out, acknowledgements back in.
//!
//! A settlement is pending, in flight, to be retried, or gone. Only synced ones are handed out, so a collector
//! never knows a number that a power cut takes back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};

use uuid::Uuid;

use super::failed::FailedRecord;
use super::segment::{self, SegmentFile};
use super::state::State;
use super::{Position, Spool};

/// A settlement to be shipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Where it lies, to acknowledge it by.
    pub position: Position,
    /// The event it settles.
    pub event_id: Uuid,
    /// The process start that settled it.
    pub epoch: u64,
    /// Its number within the epoch, from 1.
    pub seq: u64,
    /// When it was appended, in milliseconds since 1970.
    pub appended_ms: u64,
    /// The settlement's bytes as appended.
    pub payload: Vec<u8>,
}

impl Spool {
    /// Waits until [`Spool::next_batch`] has something to give.
    pub async fn shippable(&self) {
        loop {
            let notified = self.shared.shippable.notified();
            if self.shared.lock().is_shippable() {
                return;
            }
            notified.await;
        }
    }

    /// Takes settlements that are synced and that nobody has, at most so many and so long; one that alone is
    /// longer still comes, alone.
    ///
    /// Reads files: call it where blocking is allowed.
    pub fn next_batch(&self, records_max: usize, bytes_max: usize) -> io::Result<Vec<Spooled>> {
        let (taken, files) = self
            .shared
            .with(|state| (state.take_shippable(records_max), state.files()));
        let mut batch = Vec::with_capacity(taken.len());
        let mut readers: BTreeMap<u32, File> = BTreeMap::new();
        let mut bytes = 0;
        for (at, &position) in taken.iter().enumerate() {
            let read = match files.get(&position.segment()) {
                Some(file) => read_settlement(file, position, &mut readers),
                None => Err(io::Error::from(ErrorKind::NotFound)),
            };
            match read {
                Ok(Some(spooled)) => {
                    bytes += spooled.payload.len();
                    if bytes > bytes_max && !batch.is_empty() {
                        self.release(&taken[at..]);
                        return Ok(batch);
                    }
                    batch.push(spooled);
                }
                Ok(None) => self.give_up(position, "its checksum does not match"),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.give_up(position, "its segment is gone");
                }
                Err(error) => {
                    self.release(&taken[at..]);
                    return if batch.is_empty() {
                        Err(error)
                    } else {
                        Ok(batch)
                    };
                }
            }
        }
        Ok(batch)
    }

    /// These have been received for good.
    pub fn acknowledge(&self, positions: &[Position]) {
        self.shared.with(|state| {
            for position in positions {
                if let Some(second) = state.in_flight.remove(position) {
                    state.shipped(*position, second);
                }
            }
        });
    }

    /// These have not been received; they come again, before newer ones.
    pub fn release(&self, positions: &[Position]) {
        self.shared.with(|state| {
            for position in positions {
                if let Some(second) = state.in_flight.remove(position) {
                    state.retry.insert(*position, second);
                }
            }
        });
        self.shared.shippable.notify_one();
    }

    /// Moves a settlement that was refused for good out of the way of its neighbours, into `failed/`.
    ///
    /// On an error it stays in flight.
    pub fn set_aside(&self, position: Position, reason: &str, receipt: &str) -> io::Result<()> {
        let file = self
            .shared
            .with(|state| state.files().remove(&position.segment()));
        let Some(file) = file else {
            return Err(io::Error::new(ErrorKind::NotFound, "spool: no such record"));
        };
        let spooled = read_settlement(&file, position, &mut BTreeMap::new())?;
        let Some(spooled) = spooled else {
            self.give_up(position, "its checksum does not match");
            return Ok(());
        };
        self.write_failed(&FailedRecord::new(&spooled, reason, receipt))?;
        self.acknowledge(&[position]);
        Ok(())
    }

    /// The second, as milliseconds since 1970, in which the earliest open or unshipped event started.
    #[must_use]
    pub fn oldest_open_or_unshipped_started_at(&self) -> Option<u64> {
        self.shared
            .lock()
            .oldest_started()
            .map(|second| u64::from(second) * 1000)
    }

    fn give_up(&self, position: Position, why: &str) {
        tracing::error!(%position, "spool: a settlement is lost, {why}");
        self.shared.with(|state| state.counts.damaged += 1);
        self.acknowledge(&[position]);
    }
}

/// Reads a settlement; `None` when its bytes are not what was written.
pub(super) fn read_settlement(
    file: &SegmentFile,
    position: Position,
    readers: &mut BTreeMap<u32, File>,
) -> io::Result<Option<Spooled>> {
    let reader = match readers.entry(file.id) {
        std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::btree_map::Entry::Vacant(entry) => entry.insert(File::open(&file.path)?),
    };
    let bytes = segment::read_at(reader, position.offset())?;
    let Some(record) = segment::check(&bytes, position.offset(), file.nonce) else {
        return Ok(None);
    };
    Ok(record.settlement().map(|payload| Spooled {
        position,
        event_id: record.head.event_id,
        epoch: record.head.epoch,
        seq: record.head.seq,
        appended_ms: record.head.appended_ms,
        payload: payload.to_vec(),
    }))
}

impl State {
    pub(super) fn is_shippable(&self) -> bool {
        let is_pending = self
            .pending
            .front()
            .is_some_and(|(position, _)| *position < self.synced);
        is_pending || !self.retry.is_empty()
    }

    fn take_shippable(&mut self, records_max: usize) -> Vec<Position> {
        let mut taken = Vec::new();
        while taken.len() < records_max {
            let next = match self.retry.pop_first() {
                Some(next) => next,
                None => match self
                    .pending
                    .pop_front_if(|(position, _)| *position < self.synced)
                {
                    Some(next) => next,
                    None => break,
                },
            };
            self.in_flight.insert(next.0, next.1);
            taken.push(next.0);
        }
        taken
    }

    /// The segments' files by number.
    pub(super) fn files(&self) -> BTreeMap<u32, SegmentFile> {
        self.segments
            .iter()
            .map(|(id, segment)| (*id, segment.file.clone()))
            .collect()
    }

    /// Where the oldest settlement lies that nobody has acknowledged.
    pub(super) fn oldest_unshipped(&self) -> Option<Position> {
        let pending = self.pending.front().map(|(position, _)| *position);
        let first = |queue: &BTreeMap<Position, u32>| {
            queue.first_key_value().map(|(position, _)| *position)
        };
        [pending, first(&self.in_flight), first(&self.retry)]
            .into_iter()
            .flatten()
            .min()
    }

    /// How many settlements nobody has acknowledged.
    pub(super) fn unshipped_count(&self) -> usize {
        self.pending.len() + self.in_flight.len() + self.retry.len()
    }
}
