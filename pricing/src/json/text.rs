//! The text that is being written: memory that is kept from record to record, and a place in it.
//!
//! Invariant: `bytes[..at]` is what was written; what lies behind is of no meaning and never read.
//! Names of fields are constants, copied by a few moves; values are looked at and copied in the same
//! steps. Both beat calls of `memcpy`, which cost more than the few bytes that most members have.

use uuid::Uuid;

use super::digits::{Digits, digits_of};
use super::{HIGH_BITS, LOW_BITS};
use crate::money::Decimal;

/// What the memory grows by at least.
const GROWTH_BYTES_MIN: usize = 4 * 1024;

/// A JSON text that is being written.
#[derive(Debug, Default)]
pub struct Text {
    bytes: Vec<u8>,
    at: usize,
}

impl Text {
    /// Nothing written, no memory taken.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            at: 0,
        }
    }

    /// Forgets what was written and keeps the memory.
    pub fn clear(&mut self) {
        self.at = 0;
    }

    /// What was written.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    /// Appends bytes as they are.
    #[inline(always)]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// Appends a string with its quotes, escaped as JSON needs it.
    #[inline]
    pub(crate) fn put_str(&mut self, text: &str) {
        let text = text.as_bytes();
        let room = self.room(text.len() + 2);
        room[0] = b'"';
        if copy_plain(text, &mut room[1..=text.len()]) {
            room[text.len() + 1] = b'"';
            self.at += text.len() + 2;
        } else {
            self.put_escaped(text);
        }
    }

    /// Appends a text in which nothing is escaped, as it is.
    #[inline]
    pub(crate) fn put_plain(&mut self, text: &[u8]) {
        let room = self.room(text.len());
        copy_short(text, room);
        self.at += text.len();
    }

    /// Appends a number in decimal digits.
    #[inline]
    pub(crate) fn put_u64(&mut self, number: u64) {
        if number < 10 {
            // A digit fits a byte.
            return self.put(&[b'0' + number as u8]);
        }
        let mut digits = [0; 20];
        let start = digits_of(number, &mut digits);
        self.put_plain(&digits[start..]);
    }

    /// Appends the digits of a decimal.
    #[inline]
    pub(crate) fn put_decimal(&mut self, decimal: Decimal) {
        match u64::try_from(decimal.mantissa()) {
            Ok(count) if decimal.scale() == 0 => self.put_u64(count),
            _ => self.put_digits(&decimal.digits()),
        }
    }

    /// Appends digits.
    pub(crate) fn put_digits(&mut self, digits: &Digits) {
        self.put_plain(digits.as_bytes());
    }

    /// Appends an id in its hyphenated form.
    pub(crate) fn put_uuid(&mut self, id: Uuid) {
        /// Where the digits of each byte stand.
        const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
        let mut text = *b"00000000-0000-0000-0000-000000000000";
        for (byte, place) in id.as_bytes().iter().zip(PLACES) {
            text[place..place + 2].copy_from_slice(&HEX_PAIRS[usize::from(*byte)]);
        }
        self.put(&text);
    }

    /// Where the next bytes go.
    #[inline(always)]
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.bytes.len() - self.at < len {
            self.grow(len);
        }
        &mut self.bytes[self.at..][..len]
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        let growth = len.max(self.bytes.len()).max(GROWTH_BYTES_MIN);
        self.bytes.resize(self.bytes.len() + growth, 0);
    }

    #[cold]
    fn put_escaped(&mut self, text: &[u8]) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        self.put(b"\"");
        for byte in text {
            let short = match byte {
                b'"' => b'"',
                b'\\' => b'\\',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x08 => b'b',
                0x0c => b'f',
                0..0x20 => {
                    let (high, low) = (byte >> 4, byte & 15);
                    let digits = [HEX[usize::from(high)], HEX[usize::from(low)]];
                    self.put(b"\\u00");
                    self.put(&digits);
                    continue;
                }
                _ => {
                    self.put(&[*byte]);
                    continue;
                }
            };
            self.put(&[b'\\', short]);
        }
        self.put(b"\"");
    }
}

/// The digits of each byte in lower-case hex.
const HEX_PAIRS: [[u8; 2]; 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[b'0'; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [HEX[byte >> 4], HEX[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Copies a text of equal length, by moves that overlap where it fills no whole one.
#[inline(always)]
fn copy_short(text: &[u8], room: &mut [u8]) {
    fn copy_ends<const N: usize>(text: &[u8], room: &mut [u8]) -> bool {
        let (Some(first), Some(last)) = (text.first_chunk::<N>(), text.last_chunk::<N>()) else {
            return false;
        };
        if let Some(room) = room.first_chunk_mut() {
            *room = *first;
        }
        if let Some(room) = room.last_chunk_mut() {
            *room = *last;
        }
        true
    }
    if text.len() > 2 * STEP {
        room.copy_from_slice(text);
    } else {
        // One of them takes it; a loop over the last few would become a call of `memcpy`.
        let _ = copy_ends::<STEP>(text, room)
            || copy_ends::<8>(text, room)
            || copy_ends::<4>(text, room)
            || copy_ends::<2>(text, room)
            || copy_ends::<1>(text, room);
    }
}

/// Copies a text of equal length unless something in it has to be escaped; whether it did. Ends of a
/// text that fill no whole step are taken by one that overlaps the step before.
#[inline]
fn copy_plain(text: &[u8], room: &mut [u8]) -> bool {
    if text.len() >= STEP {
        return copy_steps(text, room);
    }
    if let (Some(first), Some(last)) = (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        let is_special =
            has_special(u64::from_le_bytes(*first)) || has_special(u64::from_le_bytes(*last));
        if let Some(room) = room.first_chunk_mut() {
            *room = *first;
        }
        if let Some(room) = room.last_chunk_mut() {
            *room = *last;
        }
        return !is_special;
    }
    if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) {
        let both =
            u64::from(u32::from_le_bytes(*last)) << 32 | u64::from(u32::from_le_bytes(*first));
        if let Some(room) = room.first_chunk_mut() {
            *room = *first;
        }
        if let Some(room) = room.last_chunk_mut() {
            *room = *last;
        }
        return !has_special(both);
    }
    let mut is_special = false;
    for (byte, room) in text.iter().zip(room).take(3) {
        is_special |= is_special_byte(*byte);
        *room = *byte;
    }
    !is_special
}

/// Bytes looked at in one step: a register of every 64-bit machine.
const STEP: usize = 16;

fn copy_steps(text: &[u8], room: &mut [u8]) -> bool {
    let mut is_special = false;
    let steps = text.as_chunks::<STEP>().0;
    for (step, room) in steps.iter().zip(room.as_chunks_mut::<STEP>().0) {
        is_special |= has_special_byte(step);
        *room = *step;
    }
    if let (Some(last), Some(room)) = (text.last_chunk::<STEP>(), room.last_chunk_mut::<STEP>()) {
        is_special |= has_special_byte(last);
        *room = *last;
    }
    !is_special
}

/// Whether a byte has to be escaped in a JSON string.
fn is_special_byte(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// Written without branches, so that the compiler makes a few vector instructions of it.
fn has_special_byte(bytes: &[u8; STEP]) -> bool {
    let mut is_special = 0;
    for byte in bytes {
        is_special |= u8::from(is_special_byte(*byte));
    }
    is_special != 0
}

/// Whether any of eight bytes has to be escaped. May say so of a plain one beside such a byte.
fn has_special(word: u64) -> bool {
    let is_zero = |word: u64| word.wrapping_sub(LOW_BITS) & !word;
    let quote = is_zero(word ^ (LOW_BITS * u64::from(b'"')));
    let backslash = is_zero(word ^ (LOW_BITS * u64::from(b'\\')));
    let control = word.wrapping_sub(LOW_BITS * 0x20) & !word;
    (quote | backslash | control) & HIGH_BITS != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) {
        let mut out = Text::default();
        out.put_str(text);
        assert_eq!(
            std::str::from_utf8(out.as_bytes()).unwrap(),
            serde_json::to_string(text).unwrap()
        );
        out.clear();
        out.put_plain(text.as_bytes());
        assert_eq!(out.as_bytes(), text.as_bytes());
    }

    #[test]
    fn writes_texts_as_serde_json_does() {
        let all: String = (0..0x180).filter_map(char::from_u32).collect();
        check(&all);
        for at in 0..40 {
            for special in ['"', '\\', '\u{1}', '\u{1f}', '\u{80}', '\u{7f}'] {
                let mut text = "x".repeat(at);
                check(&text);
                text.push(special);
                text.push_str("yyyyyyyyy");
                check(&text);
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_number_and_id_is_as_serde_json_writes_it(text: String, number: u64, id: u128) {
            check(&text);
            let mut out = Text::default();
            out.put_u64(number);
            out.put_uuid(Uuid::from_u128(id));
            let expected = format!("{number}{}", Uuid::from_u128(id));
            prop_assert_eq!(out.as_bytes(), expected.as_bytes());
        }
    }
}
