//! Staging alone: around the end, when nobody writes, when a segment cannot be written, twice restored.

use uuid::Uuid;

use super::*;
use crate::spool::record::{Kind, scan};
use crate::spool::segment::{self, PREFIX_BYTES};

const SEGMENT_BYTES: usize = 8192;

struct Bench {
    directory: tempfile::TempDir,
    staging: Staging,
    segment: Arc<Segment>,
    offset: usize,
    number: u128,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The segment is longer than the staging file, so that appends go around.
        let segment = segment::create(directory.path(), 1, 64 * SEGMENT_BYTES).unwrap();
        let staging = Staging::create(directory.path(), SEGMENT_BYTES).unwrap();
        Self {
            directory,
            staging,
            segment: Arc::new(segment),
            offset: PREFIX_BYTES,
            number: 0,
        }
    }

    fn append(&mut self, payload: &[u8]) -> io::Result<usize> {
        let (number, offset) = (self.number + 1, self.offset);
        let draft = Draft::new(Kind::Settlement, Uuid::from_u128(number), payload, 0);
        let seq = (1, number as u64);
        self.staging.append(&draft, &self.segment, offset, seq)?;
        self.number = number;
        self.offset += draft.bytes();
        Ok(offset)
    }

    /// The numbers of the whole records in the segment's file.
    fn in_segment(&self) -> Vec<u128> {
        let bytes = std::fs::read(&self.segment.file.path).unwrap();
        let mut found = Vec::new();
        scan(
            &bytes,
            PREFIX_BYTES,
            self.segment.file.nonce,
            |_, record| {
                found.push(record.head.event_id.as_u128());
            },
        );
        found
    }

    /// What was appended from there on, wherever it lies.
    fn read(&self, from: usize) -> Vec<u8> {
        let range = from..self.offset;
        self.staging.read(&self.segment, range).unwrap()
    }

    /// The same segment, but its file refuses to be written.
    fn refuse_writes(&mut self) {
        self.segment = Arc::new(Segment {
            file: self.segment.file.clone(),
            writer: std::fs::File::open(&self.segment.file.path).unwrap(),
        });
    }
}

#[test]
fn records_go_around_the_end_and_arrive_in_order() {
    let mut bench = Bench::new();
    // No length divides the file's, so that records meet its end at every distance.
    for number in 0..200_usize {
        bench.append(&vec![b'a'; 1 + number * 37 % 900]).unwrap();
        if number % 5 == 0 {
            bench.staging.staged().write().unwrap();
        }
    }
    bench.staging.staged().write().unwrap();
    assert_eq!(bench.in_segment(), (1..=200).collect::<Vec<_>>());
}

#[test]
fn what_was_staged_is_put_in_its_place_once_or_twice() {
    let mut bench = Bench::new();
    let mut last = 0;
    for _ in 0..40 {
        last = bench.append(&[7; 300]).unwrap();
    }
    let written = bench.in_segment();
    assert!(written.len() < 40 && written.is_sorted(), "{written:?}");
    let files = segment::list(bench.directory.path()).unwrap();
    let found = left(bench.directory.path(), &files).unwrap();
    assert!(found[&1].iter().any(|(offset, _)| *offset == last));
    for _ in 0..2 {
        restore(bench.directory.path()).unwrap();
        assert_eq!(bench.in_segment(), (1..=40).collect::<Vec<_>>());
    }
    // Nobody needs records of a segment that is gone.
    std::fs::remove_file(&bench.segment.file.path).unwrap();
    restore(bench.directory.path()).unwrap();
    assert!(left(bench.directory.path(), &[]).unwrap().is_empty());
    assert_eq!(segment::list(bench.directory.path()).unwrap().len(), 0);
}

#[test]
fn nothing_staged_is_overwritten_while_its_segment_refuses() {
    let mut bench = Bench::new();
    bench.refuse_writes();
    let mut staged = 0;
    while bench.append(&[7; 300]).is_ok() {
        staged += 1;
        assert!(staged < 100, "a full staging file takes no more");
    }
    assert!(staged > 8, "{staged} records are staged");
    assert!(bench.staging.is_half_full());
    // The records can still be read, to be written elsewhere.
    let mut bytes = vec![0; PREFIX_BYTES];
    bytes.extend(bench.read(PREFIX_BYTES));
    let mut found = 0;
    let nonce = bench.segment.file.nonce;
    scan(&bytes, PREFIX_BYTES, nonce, |_, _| found += 1);
    assert_eq!(found, staged);
    // As they are from the middle on.
    let middle = PREFIX_BYTES + 3 * 368;
    assert_eq!(bench.read(middle), bytes[middle..]);

    // Once they are elsewhere, what was staged is in nobody's way.
    let other = segment::create(bench.directory.path(), 2, 64 * SEGMENT_BYTES).unwrap();
    bench.staging.give_up(1);
    bench.segment = Arc::new(other);
    bench.offset = PREFIX_BYTES;
    for _ in 0..40 {
        bench.append(&[8; 300]).unwrap();
    }
    bench.staging.staged().write().unwrap();
    assert_eq!(bench.in_segment().len(), 40);
}

#[test]
fn a_late_writer_writes_nothing_that_lies_there_since() {
    let mut bench = Bench::new();
    bench.append(&[1; 1500]).unwrap();
    bench.append(&[2; 1500]).unwrap();
    let late = bench.staging.staged();
    bench.staging.staged().write().unwrap();
    bench.append(&[3; 1500]).unwrap();
    bench.append(&[4; 1500]).unwrap();
    late.write().unwrap();
    assert_eq!(bench.in_segment(), [1, 2]);
    bench.staging.staged().write().unwrap();
    late.write().unwrap();
    assert_eq!(bench.in_segment(), [1, 2, 3, 4]);
}

#[test]
fn what_was_written_is_read_from_the_segment_although_newer_records_lie_here() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.append(&[1; 1500]).unwrap();
    }
    let written = bench.staging.staged();
    bench.append(&[2; 1500]).unwrap();
    written.write().unwrap();
    // Around the end, to where the first ones lay: the piece they are in goes on behind them.
    for _ in 0..3 {
        bench.append(&[3; 1500]).unwrap();
    }
    let mut bytes = vec![0; PREFIX_BYTES];
    bytes.extend(bench.read(PREFIX_BYTES));
    let mut found = Vec::new();
    let nonce = bench.segment.file.nonce;
    scan(&bytes, PREFIX_BYTES, nonce, |_, record| {
        found.push(record.head.event_id.as_u128());
    });
    assert_eq!(found, (1..=7).collect::<Vec<_>>());
}
