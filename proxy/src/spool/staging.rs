//! Where appends go: a small mapped file that is used again and again, and from which a thread writes the segments
//! in large pieces. Beside the system call in `allocation.rs`, the only unsafe code of the spool.
//!
//! A record lies here until it has been written to its segment, and in the page cache either way: it survives the
//! death of the process at any instant. Each carries the segment and the offset it is meant for, so a start puts what
//! is left here in its place; doing so twice changes nothing. A power cut may leave anything in this file: what
//! counts as synced never needs it.
//!
//! [`Staging`] is the one writer of the mapping (it is not `Clone`, appending needs `&mut`). Threads that write to
//! segments read only what was appended and not yet given up ([`Ring::written`]), where no byte changes.
#![expect(unsafe_code, reason = "a mapped file is written through raw pointers")]

use std::collections::{BTreeMap, VecDeque};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::{MmapOptions, MmapRaw};

use super::record::{ALIGNMENT, Draft, HEADER_BYTES, Head, Record};
use super::segment::{Segment, SegmentFile};

/// The staging file's name.
pub(super) const FILE: &str = "staging";
/// Most bytes of the staging file. More would leave the processor's cache before they are written out; less would
/// be written in smaller pieces.
const RING_BYTES_MAX: usize = 2 << 20;
/// A record lies at the same place of such a page here and in its segment: the kernel's copy is a tenth to a fifth
/// dearer where the two places differ.
const PAGE_BYTES: usize = 4096;
/// What a processor takes at once.
#[cfg(target_arch = "x86_64")]
const LINE_BYTES: usize = 64;

/// The mapped file, shared with the threads that write segments from it.
struct Ring {
    raw: MmapRaw,
    /// Positions count bytes from the start of the process on; below this everything is in its segment's file.
    written: AtomicU64,
    /// Held while segments are written, so that only one thread raises `written`.
    writing: Mutex<()>,
    /// Where in the mapping the next record begins, as far as anybody knows who does not hold the writer.
    next: AtomicUsize,
}

/// Asks the processor for the place of the next record before it is known.
pub(super) struct Ahead(Arc<Ring>);

impl Ahead {
    /// About so many bytes will be appended soon. Asked for only then, under the lock that everybody appends under,
    /// each line of them would be waited for.
    #[inline]
    pub(super) fn ask_for(&self, bytes: usize) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            let ring = &self.0;
            let from = ring.next.load(Ordering::Relaxed);
            let to = (from + bytes).min(ring.raw.len());
            for at in (from..to).step_by(LINE_BYTES) {
                // SAFETY: within the mapping, and nothing is read or written.
                unsafe { _mm_prefetch::<_MM_HINT_ET0>(ring.raw.as_ptr().add(at).cast()) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = bytes;
    }
}

/// Records one after the other, here and in their segment.
#[derive(Clone)]
struct Piece {
    segment: Arc<Segment>,
    /// Where they begin in the segment.
    offset: usize,
    /// Where they lie here.
    from: u64,
    to: u64,
}

/// Where appends go.
pub(super) struct Staging {
    ring: Arc<Ring>,
    tail: u64,
    pieces: VecDeque<Piece>,
}

/// What was staged at one instant, to be written to the segments.
pub(super) struct Staged {
    ring: Arc<Ring>,
    pieces: Vec<Piece>,
    to: u64,
}

impl Staging {
    /// Makes the file, its blocks its own and its pages present. What an earlier process left in it is lost:
    /// [`restore`] comes first.
    pub(super) fn create(directory: &Path, segment_bytes: usize) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(directory.join(FILE))?;
        let bytes = segment_bytes
            .min(RING_BYTES_MAX)
            .next_multiple_of(PAGE_BYTES);
        // Written, not only allocated, and synced: a store into a page without a block of its own would kill the process
        // on a full disk, so that has to be an error here.
        file.write_all_at(&vec![0; bytes], 0)?;
        file.sync_all()?;
        let raw = MmapOptions::new().len(bytes).map_raw(&file)?;
        // Kernels before 5.14 do not know the advice; appends then take the page faults themselves.
        #[cfg(target_os = "linux")]
        let _ = raw.advise(memmap2::Advice::PopulateWrite);
        Ok(Self {
            ring: Arc::new(Ring {
                raw,
                written: AtomicU64::new(0),
                writing: Mutex::new(()),
                next: AtomicUsize::new(0),
            }),
            tail: 0,
            pieces: VecDeque::new(),
        })
    }

    /// For those who are about to append.
    pub(super) fn ahead(&self) -> Ahead {
        Ahead(Arc::clone(&self.ring))
    }

    /// Appends a record that is meant for this place.
    ///
    /// When this returns, the record survives the death of the process at any instant; until then its checksum
    /// does not match, or what lay here before is still whole. An error says that there was no room and that the
    /// segments could not be written.
    pub(super) fn append(
        &mut self,
        draft: &Draft<'_>,
        segment: &Arc<Segment>,
        offset: usize,
        (epoch, seq): (u64, u64),
    ) -> io::Result<()> {
        let bytes = draft.bytes();
        let at = self.make_room(bytes, offset)?;
        let header = draft.header(epoch, seq, &segment.place(offset));
        // SAFETY: `at + bytes` is within the mapping, which lives as long as `self` and is backed by written blocks.
        // `make_room` saw to it that what lay here is in its segment, so no thread reads it.
        unsafe {
            let start = self.ring.raw.as_mut_ptr().add(at);
            std::ptr::copy_nonoverlapping(header.as_ptr(), start, HEADER_BYTES);
            let mut to = start.add(HEADER_BYTES);
            for part in draft.parts().iter().filter(|part| !part.is_empty()) {
                std::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
                to = to.add(part.len());
            }
            let padding = start.add(bytes).offset_from_unsigned(to);
            std::ptr::write_bytes(to, 0, padding);
        }
        let from = self.tail;
        self.tail += bytes as u64;
        self.ring.next.store(at + bytes, Ordering::Relaxed);
        match self.pieces.back_mut() {
            Some(piece)
                if piece.to == from
                    && at > 0
                    && Arc::ptr_eq(&piece.segment, segment)
                    && piece.offset + (from - piece.from) as usize == offset =>
            {
                piece.to = self.tail;
            }
            _ => self.pieces.push_back(Piece {
                segment: Arc::clone(segment),
                offset,
                from,
                to: self.tail,
            }),
        }
        Ok(())
    }

    /// Where the next record begins in the mapping: at the same place of a page as in its segment, and never
    /// around the mapping's end.
    fn make_room(&mut self, bytes: usize, offset: usize) -> io::Result<usize> {
        let ring_bytes = self.ring.raw.len();
        let in_page = |at: u64| (offset as u64).wrapping_sub(at) % PAGE_BYTES as u64;
        let mut from = self.tail + in_page(self.tail);
        let mut at = (from % ring_bytes as u64) as usize;
        if at + bytes > ring_bytes {
            from += (ring_bytes - at) as u64;
            from += in_page(from);
            at = (from % ring_bytes as u64) as usize;
        }
        let to = from + bytes as u64;
        let is_full = |ring: &Ring| to > ring.written.load(Ordering::Acquire) + ring_bytes as u64;
        if is_full(&self.ring) {
            // The threads are behind. The page cache takes it without waiting for the disk.
            self.staged().write()?;
        }
        if at + bytes > ring_bytes || is_full(&self.ring) {
            return Err(io::Error::other(
                "spool: a record longer than the staging file",
            ));
        }
        self.tail = from;
        Ok(at)
    }

    /// Whether so much waits that a thread should write it before the next sync does.
    pub(super) fn is_half_full(&self) -> bool {
        let written = self.ring.written.load(Ordering::Relaxed);
        (self.tail - written) as usize > self.ring.raw.len() / 2
    }

    /// What is to be written now.
    pub(super) fn staged(&mut self) -> Staged {
        self.forget_written();
        Staged {
            ring: Arc::clone(&self.ring),
            pieces: self.pieces.iter().cloned().collect(),
            to: self.tail,
        }
    }

    /// Lets go of segments that everything has been written to.
    pub(super) fn forget_written(&mut self) {
        let written = self.ring.written.load(Ordering::Acquire);
        while self
            .pieces
            .pop_front_if(|piece| piece.to <= written)
            .is_some()
        {}
    }

    /// Nothing staged for this segment is needed there any more.
    pub(super) fn give_up(&mut self, segment: u32) {
        self.pieces.retain(|piece| piece.segment.file.id != segment);
    }

    /// Keeps threads from writing segments, and says where the next record begins and how many bytes from there on,
    /// around the end, hold nothing that is not in a segment.
    #[cfg(test)]
    pub(super) fn hold(&self) -> Held<'_> {
        let writing = self.ring.hold();
        let ring_bytes = self.ring.raw.len() as u64;
        let staged = self.tail - self.ring.written.load(Ordering::Acquire);
        Held {
            at: (self.tail % ring_bytes) as usize,
            bytes: (ring_bytes - staged) as usize,
            _writing: writing,
        }
    }

    /// What was appended to a segment, from its file and from here.
    pub(super) fn read(&self, segment: &Segment, range: Range<usize>) -> io::Result<Vec<u8>> {
        // Nothing goes from here to the file meanwhile.
        let _writing = self.ring.hold();
        let written = self.ring.written.load(Ordering::Acquire);
        let mut bytes = vec![0; range.len()];
        segment
            .writer
            .read_exact_at(&mut bytes, range.start as u64)?;
        for piece in &self.pieces {
            if piece.segment.file.id != segment.file.id {
                continue;
            }
            // What was synced lies before the range; where what was written lay here, newer records may lie.
            let synced = range.start.saturating_sub(piece.offset);
            let skip = synced.max(written.saturating_sub(piece.from) as usize);
            let from = piece.from + skip as u64;
            if from < piece.to {
                let staged = self.ring.bytes(from, piece.to);
                let at = piece.offset + skip - range.start;
                let place = bytes.get_mut(at..at + staged.len());
                place
                    .ok_or_else(|| io::Error::other("spool: staged beyond the segment's tail"))?
                    .copy_from_slice(staged);
            }
        }
        Ok(bytes)
    }
}

/// What [`Staging::hold`] says, and the hold.
#[cfg(test)]
pub(super) struct Held<'a> {
    pub(super) at: usize,
    pub(super) bytes: usize,
    _writing: MutexGuard<'a, ()>,
}

impl Staged {
    /// Writes what was staged to the segments' files, as far as nobody has. Does not wait for the disk.
    pub(super) fn write(&self) -> io::Result<()> {
        let ring = &self.ring;
        let _writing = ring.hold();
        for piece in &self.pieces {
            let written = ring.written.load(Ordering::Acquire);
            if piece.to <= written {
                continue;
            }
            let from = piece.from.max(written);
            let offset = piece.offset as u64 + (from - piece.from);
            let bytes = ring.bytes(from, piece.to);
            piece.segment.writer.write_all_at(bytes, offset)?;
            ring.written.store(piece.to, Ordering::Release);
        }
        // What lies between pieces, or was given up, is nobody's.
        ring.written.fetch_max(self.to, Ordering::Release);
        Ok(())
    }
}

impl Ring {
    /// Keeps everyone else from writing segments.
    fn hold(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was appended there, `written <= from` and `to` at most the writer's tail.
    fn bytes(&self, from: u64, to: u64) -> &[u8] {
        let at = (from % self.raw.len() as u64) as usize;
        let bytes = (to - from) as usize;
        debug_assert!(at + bytes <= self.raw.len());
        // SAFETY: within the mapping, because no piece goes around its end. The writer stores only where everything is
        // below `written`, which is raised after these bytes have been read: by who reads them, holding `writing`,
        // or, where the writer itself reads them, seen by nobody else but it.
        unsafe { std::slice::from_raw_parts(self.raw.as_ptr().add(at), bytes) }
    }
}

/// Whole records that a process left in the staging file, by segment, each with its offset there.
pub(super) type Left = BTreeMap<u32, Vec<(usize, Vec<u8>)>>;

/// Finds them. Records of segments that are gone are not needed by anyone.
pub(super) fn left(directory: &Path, segments: &[SegmentFile]) -> io::Result<Left> {
    let bytes = match std::fs::read(directory.join(FILE)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Left::new()),
        bytes => bytes?,
    };
    let mut left = Left::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + HEADER_BYTES) {
        let step = match whole_record(header, &bytes[at..], segments) {
            Some((segment, offset, record)) => {
                left.entry(segment)
                    .or_default()
                    .push((offset, record.to_vec()));
                record.len()
            }
            None => ALIGNMENT,
        };
        at += step;
    }
    Ok(left)
}

/// A record that is whole, with the segment and the offset it says it is for.
fn whole_record<'a>(
    header: &[u8],
    rest: &'a [u8],
    segments: &[SegmentFile],
) -> Option<(u32, usize, &'a [u8])> {
    let head = Head::read(header)?;
    let record = rest.get(..head.bytes())?;
    let offset = head.offset();
    let mut possible = segments
        .iter()
        .filter(|segment| head.may_be_for(segment.id));
    let segment =
        possible.find(|segment| Record::check(record, offset, segment.nonce).is_some())?;
    Some((segment.id, offset, record))
}

/// Puts what a process left in the staging file into the segments, for good.
pub(super) fn restore(directory: &Path) -> io::Result<()> {
    let segments = super::segment::list(directory)?;
    let left = left(directory, &segments)?;
    for segment in &segments {
        let Some(records) = left.get(&segment.id) else {
            continue;
        };
        let file = OpenOptions::new().write(true).open(&segment.path)?;
        for (offset, record) in records {
            file.write_all_at(record, *offset as u64)?;
        }
        file.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
