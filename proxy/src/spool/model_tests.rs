//! The spool against a model: random appends, syncs that fail, shipping, kills, power cuts and flipped bits.
//!
//! What must hold after every start: what was appended before a kill, or synced before a power cut, is there
//! with its bytes and its number; nothing else is; no event is both open and settled. A record with a flipped
//! bit frees only its own events from that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;

use super::record::scan;
use super::*;

mod operation;

use operation::{Operation, PAYLOAD_MAX, operations};

/// Something appended: its bytes and where it was put first.
type Said = (Vec<u8>, Position);

#[derive(Clone, Debug)]
struct Settlement {
    said: Said,
    epoch: u64,
    seq: u64,
}

#[derive(Clone, Debug, Default)]
struct Event {
    intent: Option<Said>,
    checkpoints: Vec<Said>,
    settlement: Option<Settlement>,
    is_acknowledged: bool,
    /// A bit of one of its records has been flipped: an older copy of it may show, or nothing, but still
    /// nothing that was never said.
    is_damaged: bool,
    settlements_before: Vec<Settlement>,
}

struct World {
    directory: tempfile::TempDir,
    spool: Spool,
    events: BTreeMap<Uuid, Event>,
    tickets: Vec<Ticket>,
    in_flight: Vec<Spooled>,
    last: Position,
    seq: u64,
    failures: Arc<AtomicU32>,
    /// The staging file as it was at some instant of this epoch.
    staged_before: Vec<u8>,
    filler: u8,
}

/// The directory's files at one instant.
struct Snapshot {
    copy: tempfile::TempDir,
    /// How far they are synced.
    synced: Position,
    /// Where in the staging file nothing is that is not in a segment: from there on around, so many bytes.
    free: (usize, usize),
}

impl Snapshot {
    fn staging(&self) -> PathBuf {
        self.copy.path().join(staging::FILE)
    }
}

fn open(directory: &Path, failures: &Arc<AtomicU32>) -> (Spool, Recovery) {
    let left = Arc::clone(failures);
    // By turns before anything is written and before it is synced.
    let fail = move |step| match left.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        let failing = match left % 2 {
            0 => Step::Write,
            _ => Step::Sync,
        };
        left.checked_sub(1).filter(|_| step == failing)
    }) {
        Ok(_) => Err(io::Error::other("a failure on order")),
        Err(_) => Ok(()),
    };
    let options = SpoolOptions {
        segment_bytes: 8 << 10,
        bytes_max: 128 << 10,
        settlement_bytes_max: PAYLOAD_MAX,
        sync_interval: Duration::from_millis(1),
        before_sync: Some(Arc::new(fail)),
        ..SpoolOptions::default()
    };
    Spool::open(directory, options).expect("the spool opens")
}

/// In memory where there is such a place: the model does not see the disk, only waits for it.
fn scratch_directory() -> tempfile::TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).unwrap()
}

impl World {
    fn new() -> Self {
        let directory = scratch_directory();
        let failures = Arc::new(AtomicU32::new(0));
        let (spool, _) = open(directory.path(), &failures);
        Self {
            directory,
            spool,
            events: BTreeMap::new(),
            tickets: Vec::new(),
            in_flight: Vec::new(),
            last: Position::START,
            seq: 0,
            failures,
            staged_before: Vec::new(),
            filler: 0,
        }
    }

    fn payload(&mut self, bytes: usize) -> Vec<u8> {
        self.filler = self.filler.wrapping_add(1);
        vec![self.filler; bytes]
    }

    fn settled(&mut self, event_id: Uuid, payload: Vec<u8>, position: Position) {
        self.seq += 1;
        let event = self.events.entry(event_id).or_default();
        event.settlement = Some(Settlement {
            said: (payload, position),
            epoch: self.spool.epoch(),
            seq: self.seq,
        });
        self.last = position;
    }

    fn take_ticket(&mut self, which: usize) -> Option<Ticket> {
        (!self.tickets.is_empty()).then(|| self.tickets.swap_remove(which % self.tickets.len()))
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Intent { bytes } => {
                let (id, payload) = (Uuid::now_v7(), self.payload(bytes));
                match self.spool.append_intent(id, &payload) {
                    Ok(ticket) => {
                        self.last = ticket.position();
                        let intent = Some((payload, self.last));
                        self.events.insert(
                            id,
                            Event {
                                intent,
                                ..Event::default()
                            },
                        );
                        self.tickets.push(ticket);
                    }
                    Err(refusal) => assert!(matches!(refusal, Refusal::Full | Refusal::Failing)),
                }
            }
            Operation::Checkpoint { which, bytes } if !self.tickets.is_empty() => {
                let payload = self.payload(bytes);
                let ticket = &self.tickets[which % self.tickets.len()];
                if let Ok(position) = self.spool.append_checkpoint(ticket, &payload) {
                    let event = self.events.get_mut(&ticket.event_id()).unwrap();
                    event.checkpoints.push((payload, position));
                    self.last = position;
                }
            }
            Operation::Settle { which, bytes } => {
                let payload = self.payload(bytes);
                if let Some(ticket) = self.take_ticket(which) {
                    let id = ticket.event_id();
                    let position = self
                        .spool
                        .append_settlement(ticket, &payload)
                        .expect("there is room");
                    self.settled(id, payload, position);
                }
            }
            Operation::Turn { which, bytes } => {
                let (settlement, intent, next) =
                    (self.payload(bytes), self.payload(bytes), Uuid::now_v7());
                let Some(ticket) = self.take_ticket(which) else {
                    return;
                };
                let id = ticket.event_id();
                match self
                    .spool
                    .append_settlement_and_intent(ticket, &settlement, next, &intent)
                {
                    Ok((position, ticket)) => {
                        self.settled(id, settlement, position);
                        let intent = Some((intent, position));
                        self.events.insert(
                            next,
                            Event {
                                intent,
                                ..Event::default()
                            },
                        );
                        self.tickets.push(ticket);
                    }
                    Err(unsettled) => self.tickets.push(unsettled.ticket),
                }
            }
            Operation::Unrecorded { bytes } => {
                let (id, payload) = (Uuid::now_v7(), self.payload(bytes));
                if let Ok(position) = self.spool.append_unrecorded(id, &payload) {
                    self.settled(id, payload, position);
                }
            }
            Operation::Abandon { which } => {
                drop(self.take_ticket(which));
                let again = self.spool.take_abandoned();
                assert!(again.len() <= 1);
                self.tickets
                    .extend(again.into_iter().map(|orphan| orphan.ticket));
            }
            Operation::Sync => {
                self.staged_before = std::fs::read(self.snapshot().staging()).unwrap();
                self.sync();
            }
            Operation::FailSyncs { count } => self.failures.store(count, Ordering::SeqCst),
            Operation::Ship {
                records_max,
                bytes_max,
            } => {
                let batch = self.spool.next_batch(records_max, bytes_max).unwrap();
                for spooled in &batch {
                    self.check_shipped(spooled);
                }
                self.in_flight.extend(batch);
            }
            Operation::Acknowledge { count } => {
                let count = count.min(self.in_flight.len());
                for spooled in self.in_flight.drain(..count) {
                    self.spool.acknowledge(&[spooled.position]);
                    self.events
                        .get_mut(&spooled.event_id)
                        .unwrap()
                        .is_acknowledged = true;
                }
            }
            Operation::Release { count } => {
                let count = count.min(self.in_flight.len());
                let released: Vec<Position> =
                    self.in_flight.drain(..count).map(|s| s.position).collect();
                self.spool.release(&released);
            }
            Operation::Kill { noise } => self.kill(&noise),
            Operation::PowerCut {
                survives,
                loses_cursor,
            } => self.cut_power(&survives, loses_cursor),
            Operation::FlipBit { which, bit } => self.flip_bit(which, bit),
            Operation::Restart => self.restart(),
            Operation::Checkpoint { .. } => {}
        }
    }

    fn sync(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
            while self.spool.synced(self.last).await.is_err() {
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "the disk works again and nothing is synced"
                );
                tokio::task::yield_now().await;
            }
        });
    }

    fn check_shipped(&self, spooled: &Spooled) {
        let event = self
            .events
            .get(&spooled.event_id)
            .expect("nothing is invented");
        let said = event.settlement.iter().chain(&event.settlements_before);
        let mut same = said.filter(|settlement| {
            let Settlement { said, epoch, seq } = settlement;
            (&spooled.payload, spooled.epoch, spooled.seq) == (&said.0, *epoch, *seq)
        });
        assert!(same.next().is_some(), "{spooled:?} is none of {event:?}");
    }

    fn snapshot(&self) -> Snapshot {
        let state = self.spool.shared.lock();
        // Nothing moves from the staging file to a segment meanwhile.
        let free = state.staging.hold();
        let copy = scratch_directory();
        for entry in std::fs::read_dir(self.directory.path()).unwrap() {
            let entry = entry.unwrap();
            // The upkeep thread may remove a file that is done; it is then not part of the snapshot.
            if entry.file_type().unwrap().is_file() {
                let _ = std::fs::copy(entry.path(), copy.path().join(entry.file_name()));
            }
        }
        Snapshot {
            copy,
            synced: state.synced,
            free: (free.at, free.bytes),
        }
    }

    fn kill(&mut self, noise: &[u8]) {
        let left = self.snapshot();
        // The record that was being copied when the process died: anything.
        let (at, bytes) = left.free;
        let mut staging = std::fs::read(left.staging()).unwrap();
        for (place, noise) in (at..at + bytes).zip(noise) {
            let place = place % staging.len();
            staging[place] = *noise;
        }
        std::fs::write(left.staging(), staging).unwrap();
        self.start_from(left.copy, Position(u64::MAX));
    }

    fn cut_power(&mut self, survives: &[u8], loses_cursor: bool) {
        let left = self.snapshot();
        let mut decisions = survives.iter().cycle();
        // Nobody syncs the staging file: each sector is as it is, as it was, or lost.
        let mut staging = std::fs::read(left.staging()).unwrap();
        let before = std::mem::take(&mut self.staged_before);
        for (number, sector) in staging.chunks_mut(512).enumerate() {
            match decisions.next().unwrap() % 3 {
                0 => sector.fill(0),
                1 => {
                    let before = before.chunks(512).nth(number);
                    before
                        .into_iter()
                        .for_each(|before| sector.copy_from_slice(before));
                }
                _ => {}
            }
        }
        std::fs::write(left.staging(), staging).unwrap();
        let Snapshot { copy, synced, .. } = left;
        for file in segment::list(copy.path()).unwrap() {
            if file.id < synced.segment() {
                continue;
            }
            let from = if file.id == synced.segment() {
                synced.offset()
            } else {
                segment::PREFIX_BYTES
            };
            let mut bytes = std::fs::read(&file.path).unwrap();
            // Sectors reach the disk in any order, or not at all.
            for sector in bytes[from..].chunks_mut(512) {
                if decisions.next().unwrap().is_multiple_of(3) {
                    sector.fill(0);
                }
            }
            std::fs::write(&file.path, bytes).unwrap();
        }
        if loses_cursor {
            let _ = std::fs::remove_file(copy.path().join("acknowledged"));
        }
        self.start_from(copy, synced);
    }

    /// In a segment, where nothing is staged any more, or in the staging file.
    fn flip_bit(&mut self, which: usize, bit: usize) {
        let left = self.snapshot();
        let mut files = segment::list(left.copy.path()).unwrap();
        let mut places = Vec::new();
        if which.is_multiple_of(2) {
            staging::restore(left.copy.path()).unwrap();
            std::fs::remove_file(left.staging()).unwrap();
        } else {
            let staged = std::fs::read(left.staging()).unwrap();
            for (id, records) in staging::left(left.copy.path(), &files).unwrap() {
                let file = files.iter().find(|file| file.id == id).unwrap();
                for (offset, bytes) in records {
                    let record = segment::check(&bytes, offset, file.nonce).unwrap();
                    let other = record.intent().map(|(id, _)| id);
                    let mut windows = staged.windows(bytes.len());
                    let at = windows.position(|window| window == bytes).unwrap();
                    places.push((left.staging(), at, record.head.event_id, other));
                }
            }
            files.clear();
        }
        for file in files {
            let bytes = std::fs::read(&file.path).unwrap();
            scan(
                &bytes,
                segment::PREFIX_BYTES,
                file.nonce,
                |offset, record| {
                    let other = record.intent().map(|(id, _)| id);
                    places.push((file.path.clone(), offset, record.head.event_id, other));
                },
            );
        }
        if !places.is_empty() {
            let (path, offset, id, other) = &places[(which / 2) % places.len()];
            // A bit of the padding would change nothing; the header has none that is not summed.
            let bit = bit % (record::HEADER_BYTES * 8);
            let mut bytes = std::fs::read(path).unwrap();
            bytes[offset + bit / 8] ^= 1 << (bit % 8);
            std::fs::write(path, bytes).unwrap();
            for id in [Some(*id), *other].into_iter().flatten() {
                if let Some(event) = self.events.get_mut(&id) {
                    event.is_damaged = true;
                }
            }
        }
        self.start_from(left.copy, Position(u64::MAX));
    }

    fn restart(&mut self) {
        self.failures.store(0, Ordering::SeqCst);
        self.sync();
        self.spool.close().expect("everything is synced");
        let left = self.snapshot();
        self.start_from(left.copy, Position(u64::MAX));
    }

    /// Opens a copy in which everything before `safe` must have survived.
    fn start_from(&mut self, copy: tempfile::TempDir, safe: Position) {
        self.failures.store(0, Ordering::SeqCst);
        let epoch = self.spool.epoch();
        self.tickets.clear();
        self.in_flight.clear();
        let (spool, recovery) = open(copy.path(), &self.failures);
        assert!(spool.epoch() > epoch);
        self.spool = spool;
        self.directory = copy;
        self.staged_before.clear();
        self.seq = 0;

        let batch = self.spool.next_batch(usize::MAX, usize::MAX).unwrap();
        assert!(batch.is_sorted_by_key(|spooled| spooled.position));
        self.spool.release(
            &batch
                .iter()
                .map(|spooled| spooled.position)
                .collect::<Vec<_>>(),
        );
        assert_eq!(batch.len() as u64, recovery.unshipped);
        let mut settled: BTreeMap<Uuid, Spooled> =
            batch.into_iter().map(|s| (s.event_id, s)).collect();
        let mut open: BTreeMap<Uuid, Orphan> = recovery
            .orphans
            .into_iter()
            .map(|orphan| (orphan.ticket.event_id(), orphan))
            .collect();
        let ids: BTreeSet<Uuid> = self.events.keys().copied().collect();
        for id in ids {
            let (settled, open) = (settled.remove(&id), open.remove(&id));
            assert!(
                settled.is_none() || open.is_none(),
                "{id} is open and settled"
            );
            self.reconcile(id, settled, open, safe);
        }
        assert!(
            settled.is_empty() && open.is_empty(),
            "invented: {settled:?} {open:?}"
        );
    }

    fn reconcile(
        &mut self,
        id: Uuid,
        settled: Option<Spooled>,
        open: Option<Orphan>,
        safe: Position,
    ) {
        let event = self.events.get_mut(&id).unwrap();
        let is_damaged = event.is_damaged;
        let is_safe = |position: Position| position < safe && !is_damaged;
        if let Some(spooled) = settled {
            event.is_acknowledged = false;
            self.check_shipped(&spooled);
            return;
        }
        if let Some(settlement) = &event.settlement {
            let position = settlement.said.1;
            if event.is_acknowledged && !is_damaged {
                assert!(open.is_none(), "{id} was acknowledged and is open again");
                return;
            }
            assert!(
                !is_safe(position),
                "the settlement of {id} at {position} is lost"
            );
        }
        let before = event.settlement.take();
        event.is_acknowledged = false;
        if is_damaged {
            event.settlements_before.extend(before);
        }
        let Some(orphan) = open else {
            let said = event.intent.iter().chain(&event.checkpoints);
            let lost = said
                .map(|(_, position)| *position)
                .find(|position| is_safe(*position));
            assert_eq!(lost, None, "the open call {id} is lost");
            if !is_damaged {
                self.events.remove(&id);
            }
            return;
        };
        match (&orphan.intent, &event.intent) {
            (Some(found), Some((said, _))) => assert_eq!(found, said),
            (Some(_), None) => panic!("the intent of {id} is invented"),
            (None, Some((_, position))) => {
                assert!(!is_safe(*position), "the intent of {id} is lost")
            }
            (None, None) => {}
        }
        let safe_until = event
            .checkpoints
            .iter()
            .rposition(|(_, position)| is_safe(*position));
        let found = orphan.checkpoint.as_ref();
        let place = found.map(|found| {
            let place = event
                .checkpoints
                .iter()
                .rposition(|(said, _)| said == found);
            place.expect("no checkpoint is invented")
        });
        assert!(place >= safe_until, "the last checkpoint of {id} is lost");
        if !is_damaged {
            if orphan.intent.is_none() {
                event.intent = None;
            }
            // Older ones may show again, should a bit of this one flip.
            event
                .checkpoints
                .truncate(place.map_or(0, |place| place + 1));
        }
        self.tickets.push(orphan.ticket);
    }

    /// Settles and ships everything; nothing may be left.
    fn finish(mut self) {
        self.restart();
        while !self.tickets.is_empty() {
            self.apply(Operation::Settle {
                which: 0,
                bytes: PAYLOAD_MAX,
            });
        }
        if self.seq > 0 {
            self.sync();
        }
        loop {
            let batch = self.spool.next_batch(50, usize::MAX).unwrap();
            if batch.is_empty() {
                break;
            }
            for spooled in &batch {
                self.check_shipped(spooled);
                self.events
                    .get_mut(&spooled.event_id)
                    .unwrap()
                    .is_acknowledged = true;
                self.spool.acknowledge(&[spooled.position]);
            }
        }
        for (id, event) in &self.events {
            let is_gone = event.is_damaged && event.settlement.is_none();
            assert!(event.is_acknowledged || is_gone, "{id} was never shipped");
        }
        let stats = self.spool.stats();
        assert_eq!((stats.unshipped, stats.intents_open), (0, 0));
        assert_eq!(self.spool.oldest_open_or_unshipped_started_at(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_invented(operations in operations()) {
        let mut world = World::new();
        for operation in operations {
            world.apply(operation);
        }
        world.finish();
    }
}
