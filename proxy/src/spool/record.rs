//! The layout of one record, and nothing about where it lies.
//!
//! A record is a 64-byte header and its payload, padded to 16 bytes. What does not begin with the marker is a gap.
//! The checksum covers the payload, the header, the offset and the segment's nonce, so bytes that only look
//! like a record, or a whole record that lies where it was never written, do not pass. The header says for which place
//! of which segment a record is meant, because it lies elsewhere first.

use crc32fast::Hasher;
use uuid::Uuid;

/// Bytes of a record's header.
pub(super) const HEADER_BYTES: usize = 64;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 16;
/// The word a record begins with.
const MARKER: u32 = 0x5842_5246;
/// The record is a copy of an open intent or checkpoint, made to free an older segment.
pub(super) const CARRIED: u8 = 1;
/// The record is a copy made because the first one could not be synced.
pub(super) const REWRITTEN: u8 = 2;
/// Bytes of the second event id in a [`Kind::Turn`].
const NEXT_ID_BYTES: usize = 16;

/// What a record says about its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A call may reach its upstream from now on.
    Intent = 1,
    /// What the intent's row would say by now.
    Checkpoint = 2,
    /// The event's row; the only kind that is shipped.
    Settlement = 3,
    /// A settlement and the next part's intent as one record: its settlement, the next id, the intent.
    Turn = 4,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Intent),
            2 => Some(Self::Checkpoint),
            3 => Some(Self::Settlement),
            4 => Some(Self::Turn),
            _ => None,
        }
    }
}

/// Bytes a record with this payload takes in a segment.
pub(super) fn record_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(ALIGNMENT)
}

/// Bytes a [`Kind::Turn`] takes.
pub(super) fn turn_bytes(settlement_bytes: usize, intent_bytes: usize) -> usize {
    record_bytes(settlement_bytes + NEXT_ID_BYTES + intent_bytes)
}

/// Where a record is meant to lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: u32,
    /// Bytes into the segment, a multiple of [`ALIGNMENT`].
    pub(super) offset: usize,
    pub(super) nonce: u64,
}

/// A record about to be appended, its payload already summed, so that little is left to do under the lock.
pub(super) struct Draft<'a> {
    kind: Kind,
    flags: u8,
    event_id: Uuid,
    settlement_bytes: u32,
    payload_bytes: u32,
    appended_ms: u64,
    parts: [&'a [u8]; 3],
    sum: Hasher,
}

impl<'a> Draft<'a> {
    /// A record of one payload. Callers have bounded its length.
    pub(super) fn new(kind: Kind, event_id: Uuid, payload: &'a [u8], appended_ms: u64) -> Self {
        let settlement_bytes = match kind {
            Kind::Settlement => payload.len(),
            _ => 0,
        };
        Self::of_parts(
            kind,
            event_id,
            [payload, &[], &[]],
            settlement_bytes,
            appended_ms,
        )
    }

    /// A settlement and the next part's intent.
    pub(super) fn turn(
        event_id: Uuid,
        settlement: &'a [u8],
        next_id: &'a Uuid,
        intent: &'a [u8],
        appended_ms: u64,
    ) -> Self {
        let parts = [settlement, next_id.as_bytes().as_slice(), intent];
        Self::of_parts(Kind::Turn, event_id, parts, settlement.len(), appended_ms)
    }

    /// The same record once more, for another place.
    pub(super) fn again(record: &Record<'a>, flag: u8) -> Self {
        let head = record.head;
        let parts = [record.payload, &[][..], &[][..]];
        let mut draft = Self::of_parts(head.kind, head.event_id, parts, 0, head.appended_ms);
        draft.settlement_bytes = head.settlement_bytes;
        draft.flags = head.flags | flag;
        draft
    }

    /// The same draft with a flag.
    pub(super) fn flagged(mut self, flag: u8) -> Self {
        self.flags |= flag;
        self
    }

    fn of_parts(
        kind: Kind,
        event_id: Uuid,
        parts: [&'a [u8]; 3],
        settlement_bytes: usize,
        appended_ms: u64,
    ) -> Self {
        let mut sum = Hasher::new();
        let mut payload_bytes = 0;
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            sum.update(part);
            payload_bytes += part.len();
        }
        let in_u32 =
            |bytes: usize| u32::try_from(bytes).expect("payloads are bounded far below 4 GiB");
        Self {
            kind,
            flags: 0,
            event_id,
            settlement_bytes: in_u32(settlement_bytes),
            payload_bytes: in_u32(payload_bytes),
            appended_ms,
            parts,
            sum,
        }
    }

    /// Bytes it takes in a segment.
    pub(super) fn bytes(&self) -> usize {
        record_bytes(self.payload_bytes as usize)
    }

    /// The payload's pieces, in order.
    pub(super) fn parts(&self) -> &[&'a [u8]; 3] {
        &self.parts
    }

    /// The header for this place.
    pub(super) fn header(&self, epoch: u64, seq: u64, place: &Place) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&MARKER.to_le_bytes());
        header[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        header[12] = self.kind as u8;
        header[13] = self.flags;
        header[14..16].copy_from_slice(&segment_mark(place.segment).to_le_bytes());
        header[16..32].copy_from_slice(self.event_id.as_bytes());
        header[32..40].copy_from_slice(&epoch.to_le_bytes());
        header[40..48].copy_from_slice(&seq.to_le_bytes());
        header[48..56].copy_from_slice(&self.appended_ms.to_le_bytes());
        header[56..60].copy_from_slice(&self.settlement_bytes.to_le_bytes());
        // Segments are shorter than 4 GiB.
        let step = (place.offset / ALIGNMENT) as u32;
        header[60..64].copy_from_slice(&step.to_le_bytes());
        let checksum = checksum(self.sum.clone(), &header, place.offset, place.nonce);
        header[4..8].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    /// The whole record for this place.
    pub(super) fn record(&self, epoch: u64, seq: u64, place: &Place) -> Vec<u8> {
        let mut record = self.header(epoch, seq, place).to_vec();
        record.extend(self.parts.iter().copied().flatten());
        record.resize(self.bytes(), 0);
        record
    }
}

/// What a header says of its segment: enough to try few nonces.
fn segment_mark(segment: u32) -> u16 {
    (segment & u32::from(u16::MAX)) as u16
}

fn checksum(mut sum: Hasher, header: &[u8], offset: usize, nonce: u64) -> u32 {
    // All at once: several short pieces are summed byte by byte.
    let mut rest = [0; HEADER_BYTES - 8 + 16];
    let (fields, place) = rest.split_at_mut(HEADER_BYTES - 8);
    fields.copy_from_slice(&header[8..HEADER_BYTES]);
    place[..8].copy_from_slice(&(offset as u64).to_le_bytes());
    place[8..].copy_from_slice(&nonce.to_le_bytes());
    sum.update(&rest);
    sum.finalize()
}

/// A record's header, read back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) event_id: Uuid,
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) appended_ms: u64,
    payload_bytes: u32,
    settlement_bytes: u32,
    segment_mark: u16,
    step: u32,
}

impl Head {
    /// Reads a header that carries its marker; its checksum is not looked at.
    pub(super) fn read(header: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = header.get(..HEADER_BYTES)?.try_into().ok()?;
        if word(header, 0) != MARKER {
            return None;
        }
        let long = |at: usize| u64::from(word(header, at)) | u64::from(word(header, at + 4)) << 32;
        let mut id = [0; 16];
        id.copy_from_slice(&header[16..32]);
        Some(Self {
            kind: Kind::from_byte(header[12])?,
            flags: header[13],
            event_id: Uuid::from_bytes(id),
            epoch: long(32),
            seq: long(40),
            appended_ms: long(48),
            payload_bytes: word(header, 8),
            settlement_bytes: word(header, 56),
            segment_mark: u16::from_le_bytes([header[14], header[15]]),
            step: word(header, 60),
        })
    }

    /// The offset it is meant for. Only a checksum tells whether that is so.
    pub(super) fn offset(&self) -> usize {
        self.step as usize * ALIGNMENT
    }

    /// Whether it may be meant for this segment.
    pub(super) fn may_be_for(&self, segment: u32) -> bool {
        self.segment_mark == segment_mark(segment)
    }

    /// Bytes the whole record takes.
    pub(super) fn bytes(&self) -> usize {
        record_bytes(self.payload_bytes as usize)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A whole record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) head: Head,
    payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// Checks the record that is `bytes` long from its header on and lies at `offset` of its segment.
    pub(super) fn check(bytes: &'a [u8], offset: usize, nonce: u64) -> Option<Self> {
        let head = Head::read(bytes)?;
        let payload =
            bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(head.payload_bytes as usize)?)?;
        let mut sum = Hasher::new();
        sum.update(payload);
        let is_whole = checksum(sum, bytes, offset, nonce) == word(bytes, 4);
        let is_split_right = match head.kind {
            Kind::Turn => head.settlement_bytes as usize + NEXT_ID_BYTES <= payload.len(),
            _ => true,
        };
        (is_whole && is_split_right).then_some(Self { head, payload })
    }

    /// The settlement in it.
    pub(super) fn settlement(&self) -> Option<&'a [u8]> {
        match self.head.kind {
            Kind::Settlement => Some(self.payload),
            Kind::Turn => self.payload.get(..self.head.settlement_bytes as usize),
            Kind::Intent | Kind::Checkpoint => None,
        }
    }

    /// The intent in it, with the id it is for.
    pub(super) fn intent(&self) -> Option<(Uuid, &'a [u8])> {
        match self.head.kind {
            Kind::Intent => Some((self.head.event_id, self.payload)),
            Kind::Turn => {
                let (id, intent) = self
                    .payload
                    .get(self.head.settlement_bytes as usize..)?
                    .split_at_checked(NEXT_ID_BYTES)?;
                Some((Uuid::from_slice(id).ok()?, intent))
            }
            Kind::Checkpoint | Kind::Settlement => None,
        }
    }

    /// The checkpoint in it.
    pub(super) fn checkpoint(&self) -> Option<&'a [u8]> {
        (self.head.kind == Kind::Checkpoint).then_some(self.payload)
    }
}

/// What a walk over a segment met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Whole records.
    pub(super) records: u64,
    /// Places with a marker whose checksum does not match.
    pub(super) damaged: u64,
    /// Where the last record, whole or damaged, may end.
    pub(super) end: usize,
}

/// Visits every whole record of a segment's bytes from `start` on.
///
/// It goes on after a gap, in aligned steps to the very end: what the disk lost often lies before whole records.
pub(super) fn scan<'a>(
    segment: &'a [u8],
    start: usize,
    nonce: u64,
    mut visit: impl FnMut(usize, Record<'a>),
) -> Scan {
    let mut scan = Scan {
        end: start,
        ..Scan::default()
    };
    let mut offset = start;
    while let Some(header) = segment.get(offset..offset + HEADER_BYTES) {
        if word(header, 0) != MARKER {
            offset += ALIGNMENT;
            continue;
        }
        match Record::check(&segment[offset..], offset, nonce) {
            Some(record) => {
                visit(offset, record);
                scan.records += 1;
                offset += record.head.bytes();
                scan.end = offset;
            }
            None => {
                scan.damaged += 1;
                offset += ALIGNMENT;
                scan.end = offset + HEADER_BYTES;
            }
        }
    }
    scan
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: u64 = 0x0123_4567_89ab_cdef;

    fn written(draft: &Draft<'_>, offset: usize) -> Vec<u8> {
        let place = Place {
            segment: 65_537,
            offset,
            nonce: NONCE,
        };
        draft.record(3, 7, &place)
    }

    #[test]
    fn a_record_reads_back_only_where_it_was_written_and_whole() {
        let (id, next) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let bytes = written(&Draft::turn(id, b"settlement", &next, b"intent", 5), 128);
        let record = Record::check(&bytes, 128, NONCE).unwrap();
        assert_eq!(
            (record.head.event_id, record.head.epoch, record.head.seq),
            (id, 3, 7)
        );
        assert_eq!(record.head.offset(), 128);
        assert!(record.head.may_be_for(65_537) && !record.head.may_be_for(65_538));
        assert_eq!(record.settlement(), Some(&b"settlement"[..]));
        assert_eq!(record.intent(), Some((next, &b"intent"[..])));
        assert_eq!(record.checkpoint(), None);
        assert!(Record::check(&bytes, 144, NONCE).is_none());
        assert!(Record::check(&bytes, 128, NONCE ^ 1).is_none());
        assert!(Record::check(&bytes[..90], 128, NONCE).is_none());
        let payload_bytes = HEADER_BYTES + 10 + NEXT_ID_BYTES + 6;
        for bit in 0..payload_bytes * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::check(&flipped, 128, NONCE).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_scan_steps_over_what_is_torn() {
        let mut segment = vec![0; 4096];
        for (offset, text) in [(64, "one"), (320, "two"), (640, "three")] {
            let draft = Draft::new(
                Kind::Settlement,
                Uuid::from_u128(offset as u128),
                text.as_bytes(),
                0,
            );
            let bytes = written(&draft, offset);
            segment[offset..offset + bytes.len()].copy_from_slice(&bytes);
        }
        let found = |segment: &[u8]| {
            let mut found = Vec::new();
            let scan = scan(segment, 64, NONCE, |offset, _| found.push(offset));
            (found, scan.damaged)
        };
        assert_eq!(found(&segment), (vec![64, 320, 640], 0));
        segment[64..68].fill(0);
        segment[320 + HEADER_BYTES] ^= 1;
        assert_eq!(found(&segment), (vec![640], 1));
        assert_eq!(found(&segment[..650]), (vec![], 1));
    }
}
