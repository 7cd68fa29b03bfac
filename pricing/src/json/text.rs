//! The text that is being written: memory that is kept from record to record, and the room left in it.
//!
//! Invariant: `bytes[..at]` is what was written; what lies behind is of no meaning and never read.
//! What is written takes its bytes off the front of the [`Room`] and hands back the rest, which stays in two
//! registers; where the room is too small all is written once more into a larger one, so that nothing on the way
//! has to be ready to move. Names of fields are constants, copied by a few moves; values are looked at and copied
//! in the same steps. Both beat calls of `memcpy`, which cost more than the few bytes that most members have.

use uuid::Uuid;

use super::digits::{Digits, pair};
use super::{HIGH_BITS, LOW_BITS};
use crate::money::{Decimal, UNITS, Usd};

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

    /// Appends what `fill` writes, as often as it takes until there is room for all of it.
    pub(crate) fn append(&mut self, fill: impl for<'a> Fn(Room<'a>) -> Option<Room<'a>>) {
        loop {
            let (_, room) = self.bytes.split_at_mut(self.at);
            if let Some(Room(rest)) = fill(Room(room)) {
                let left = rest.len();
                self.at = self.bytes.len() - left;
                return;
            }
            let growth = self.bytes.len().max(GROWTH_BYTES_MIN);
            self.bytes.resize(self.bytes.len() + growth, 0);
        }
    }
}

/// Where the next bytes go. Each step takes its own off the front and gives what is left; nothing when they do
/// not fit.
pub(crate) struct Room<'a>(&'a mut [u8]);

impl<'a> Room<'a> {
    /// Bytes as they are.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(self, bytes: &[u8; N]) -> Option<Self> {
        let (room, rest) = self.0.split_first_chunk_mut()?;
        *room = *bytes;
        Some(Self(rest))
    }

    /// The first so many of some bytes. All are copied: what is behind those is written over.
    #[inline(always)]
    pub(crate) fn put_start<const N: usize>(self, bytes: &[u8; N], len: usize) -> Option<Self> {
        *self.0.first_chunk_mut()? = *bytes;
        self.behind(len)
    }

    /// A string with its quotes, escaped as JSON needs it.
    pub(crate) fn put_str(self, text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() >= STEP {
            return self.put_long_str(text);
        }
        self.put_unless_escaped(text, copy_short_plain)
    }

    #[inline(never)]
    fn put_long_str(self, text: &[u8]) -> Option<Self> {
        self.put_unless_escaped(text, copy_steps)
    }

    /// A string that `copy` copies, unless it says that something in it has to be escaped.
    #[inline(always)]
    fn put_unless_escaped(
        self,
        text: &[u8],
        copy: impl FnOnce(&[u8], &mut [u8]) -> bool,
    ) -> Option<Self> {
        let (room, _) = self.0.split_at_mut_checked(text.len() + 2)?;
        let [open, room @ .., close] = room else {
            return None;
        };
        if !copy(text, room) {
            return self.put_escaped(text);
        }
        (*open, *close) = (b'"', b'"');
        self.behind(text.len() + 2)
    }

    /// A list of items that each begin with a comma: the opening is laid over the first.
    #[inline(always)]
    pub(crate) fn put_list(
        self,
        opening: u8,
        items: impl for<'r> FnOnce(Room<'r>) -> Option<Room<'r>>,
    ) -> Option<Self> {
        let Self(list) = self;
        let left = items(Room(&mut *list))?.0.len();
        let written = list.len() - left;
        *list.first_mut()? = opening;
        // A list without items is its opening all the same.
        Self(list).behind(written.max(1))
    }

    /// A text in which nothing is escaped, as it is.
    pub(crate) fn put_plain(self, text: &[u8]) -> Option<Self> {
        let (room, rest) = self.0.split_at_mut_checked(text.len())?;
        copy_short(text, room);
        Some(Self(rest))
    }

    /// The digits of a number.
    pub(crate) fn put_u64(self, number: u64) -> Option<Self> {
        match number {
            // A digit fits a byte.
            0..10 => self.put(&[b'0' + number as u8]),
            10..100 => self.put(&pair(number)),
            100..1_000 => {
                let [tens, ones] = pair(number);
                self.put(&[b'0' + (number / 100) as u8, tens, ones])
            }
            _ => self.put_long(number),
        }
    }

    fn put_long(self, number: u64) -> Option<Self> {
        let out = match number / 100 {
            high @ 10..100 => self.put(&pair(high)),
            high => self.put_u64(high),
        };
        out?.put(&pair(number))
    }

    /// The digits of a decimal.
    pub(crate) fn put_decimal(self, decimal: Decimal) -> Option<Self> {
        match (u64::try_from(decimal.mantissa()), decimal.scale()) {
            (Ok(number), 0) => self.put_u64(number),
            (Ok(number), scale) => self.put_scaled(number, scale),
            _ => self.put_digits(&decimal.digits()),
        }
    }

    /// The digits of an amount.
    pub(crate) fn put_usd(self, usd: Usd) -> Option<Self> {
        let Ok(mut number) = u64::try_from(usd.as_pico()) else {
            return self.put_digits(&usd.digits());
        };
        let mut scale = Usd::SCALE;
        while number % 10 == 0 && scale > 0 {
            number /= 10;
            scale -= 1;
        }
        match scale {
            0 => self.put_u64(number),
            _ => self.put_scaled(number, scale),
        }
    }

    /// `number × 10^-scale`, of a scale above zero.
    #[inline(never)]
    fn put_scaled(self, number: u64, scale: u8) -> Option<Self> {
        let unit = *UNITS.get(usize::from(scale))?;
        let Self(point) = self.put_u64(number / unit)?;
        // A one before the fraction keeps its zeros, and is where the point stands.
        let left = Room(&mut *point).put_u64(unit + number % unit)?.0.len();
        let written = point.len() - left;
        *point.first_mut()? = b'.';
        Self(point).behind(written)
    }

    #[cold]
    #[inline(never)]
    fn put_digits(self, digits: &Digits) -> Option<Self> {
        self.put_plain(digits.as_bytes())
    }

    /// What is left behind so many bytes that are written already.
    #[inline(always)]
    fn behind(self, bytes: usize) -> Option<Self> {
        self.0.get_mut(bytes..).map(Self)
    }

    #[cold]
    #[inline(never)]
    fn put_escaped(self, text: &[u8]) -> Option<Self> {
        let mut out = self.put(b"\"")?;
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
                    let [high, low] = hex_pair(*byte);
                    out = out.put(&[b'\\', b'u', b'0', b'0', high, low])?;
                    continue;
                }
                _ => {
                    out = out.put(&[*byte])?;
                    continue;
                }
            };
            out = out.put(&[b'\\', short])?;
        }
        out.put(b"\"")
    }
}

/// Length of a printed id.
const UUID_LEN: usize = "00000000-0000-0000-0000-000000000000".len();

/// An id in its hyphenated form.
pub(crate) fn uuid_text(id: Uuid) -> [u8; UUID_LEN] {
    let mut digits = [0; 32];
    hex(id.as_bytes(), &mut digits);
    let mut text = [b'-'; UUID_LEN];
    text[..8].copy_from_slice(&digits[..8]);
    text[9..13].copy_from_slice(&digits[8..12]);
    text[14..18].copy_from_slice(&digits[12..16]);
    text[19..23].copy_from_slice(&digits[16..20]);
    text[24..].copy_from_slice(&digits[20..]);
    text
}

/// Each byte in two lower-case digits. Without branches and tables, and by itself, so that the compiler takes many
/// digits at once.
#[inline(never)]
fn hex(bytes: &[u8; 16], digits: &mut [u8; 32]) {
    for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = hex_pair(*byte);
    }
}

#[inline(always)]
fn hex_pair(byte: u8) -> [u8; 2] {
    let digit = |half: u8| half.wrapping_add(b'0').wrapping_add((half > 9) as u8 * 39);
    [digit(byte >> 4), digit(byte & 15)]
}

/// Copies the first and the last of a text of equal length, which may overlap, and shows them; nothing where the
/// text is shorter.
#[inline(always)]
fn copy_ends<const N: usize>(text: &[u8], room: &mut [u8]) -> Option<[[u8; N]; 2]> {
    let ends = [*text.first_chunk()?, *text.last_chunk()?];
    *room.first_chunk_mut()? = ends[0];
    *room.last_chunk_mut()? = ends[1];
    Some(ends)
}

/// Copies a text of equal length, by moves that overlap where it fills no whole one.
#[inline(always)]
fn copy_short(text: &[u8], room: &mut [u8]) {
    if text.len() > 2 * STEP {
        room.copy_from_slice(text);
    } else {
        // One of them takes it; a loop over the last few would become a call of `memcpy`.
        let _ = copy_ends::<STEP>(text, room).is_some()
            || copy_ends::<8>(text, room).is_some()
            || copy_ends::<4>(text, room).is_some()
            || copy_ends::<2>(text, room).is_some()
            || copy_ends::<1>(text, room).is_some();
    }
}

/// Copies a text shorter than a step, of equal length; whether nothing in it has to be escaped.
#[inline(always)]
fn copy_short_plain(text: &[u8], room: &mut [u8]) -> bool {
    if let Some([first, last]) = copy_ends(text, room) {
        return !has_special(u64::from_le_bytes(first)) && !has_special(u64::from_le_bytes(last));
    }
    let word = if let Some([first, last]) = copy_ends(text, room) {
        u64::from(u32::from_le_bytes(first)) | u64::from(u32::from_le_bytes(last)) << 32
    } else if let Some([first, last]) = copy_ends(text, room) {
        let both = u32::from(u16::from_le_bytes(first)) | u32::from(u16::from_le_bytes(last)) << 16;
        u64::from(both) | PLAIN << 32
    } else if let Some([[byte], _]) = copy_ends(text, room) {
        u64::from(byte) | PLAIN << 8
    } else {
        return true;
    };
    !has_special(word)
}

/// Eight bytes of which none has to be escaped.
const PLAIN: u64 = LOW_BITS * b' ' as u64;

/// Whether one of eight bytes has to be escaped in a JSON string.
#[inline(always)]
fn has_special(word: u64) -> bool {
    // Only bytes above a marked one may be marked wrongly.
    let quotes_and_controls = (word ^ (LOW_BITS * 2)).wrapping_sub(LOW_BITS * 0x21);
    let backslashes = (word ^ (LOW_BITS * u64::from(b'\\'))).wrapping_sub(LOW_BITS);
    (quotes_and_controls | backslashes) & !word & HIGH_BITS != 0
}

/// Bytes looked at in one step: a register of every 64-bit machine.
const STEP: usize = 16;

/// Copies a text of a step or more, of equal length; whether nothing in it has to be escaped. An end that fills no
/// whole step is taken by one that overlaps the step before.
#[inline(always)]
fn copy_steps(text: &[u8], room: &mut [u8]) -> bool {
    let steps = text.as_chunks::<STEP>().0;
    // Left in the middle, so that the compiler keeps to one step at a time: texts of many are rare.
    for (step, room) in steps.iter().zip(room.as_chunks_mut::<STEP>().0) {
        if has_special_byte(step) {
            return false;
        }
        *room = *step;
    }
    let Some([_, last]) = copy_ends::<STEP>(text, room) else {
        return false;
    };
    !has_special_byte(&last)
}

/// The same of the bytes of a step. Written without branches, so that the compiler makes a few vector
/// instructions of it.
#[inline(always)]
fn has_special_byte(bytes: &[u8; STEP]) -> bool {
    let mut is_special = 0;
    for byte in bytes {
        // The quote comes to stand behind the last control character, what was there in front of it.
        is_special |= u8::from((*byte ^ 2 < 0x21) | (*byte == b'\\'));
    }
    is_special != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::money::SCALE_MAX;

    fn written(fill: impl for<'a> Fn(Room<'a>) -> Option<Room<'a>>) -> String {
        let mut out = Text::default();
        out.append(fill);
        String::from_utf8(out.as_bytes().to_vec()).unwrap()
    }

    fn check(text: &str) {
        assert_eq!(
            written(|out| out.put_str(text)),
            serde_json::to_string(text).unwrap()
        );
        assert_eq!(written(|out| out.put_plain(text.as_bytes())), text);
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
                check(&text);
                text.push_str("yyyyyyyyy");
                check(&text);
            }
        }
    }

    #[test]
    fn writes_numbers_of_every_length() {
        let powers = (0..20).map(|power| 10_u64.pow(power));
        let near = powers.flat_map(|power| [power - 1, power, power + 1]);
        for number in near.chain([u64::MAX]) {
            assert_eq!(written(|out| out.put_u64(number)), number.to_string());
        }
    }

    #[test]
    fn a_text_that_grows_goes_on_where_it_was() {
        let (start, long) = ("x".repeat(100), "y".repeat(3 * GROWTH_BYTES_MIN));
        let mut out = Text::new();
        for text in [&start, &long, &start] {
            out.append(|room| room.put_plain(text.as_bytes())?.put(b"."));
        }
        let expected = format!("{start}.{long}.{start}.");
        assert_eq!(out.as_bytes(), expected.as_bytes());
    }

    proptest! {
        #[test]
        fn any_text_number_and_id_is_as_serde_json_writes_it(text: String, number: u64, id: u128) {
            check(&text);
            let id = Uuid::from_u128(id);
            let out = written(|out| out.put_u64(number)?.put(&uuid_text(id)));
            prop_assert_eq!(out, format!("{number}{id}"));
        }

        #[test]
        fn any_decimal_and_amount_is_as_its_digits_say(
            number in prop_oneof![any::<i128>(), (0..=u64::MAX).prop_map(i128::from), 0..2_000_i128],
            zeros in 0..20_u32,
            scale in 0..=SCALE_MAX,
        ) {
            let number = number.checked_mul(10_i128.pow(zeros)).unwrap_or(number);
            if let Ok(decimal) = Decimal::new(number, scale) {
                prop_assert_eq!(written(|out| out.put_decimal(decimal)), decimal.to_string());
            }
            let usd = Usd::from_pico(number);
            prop_assert_eq!(written(|out| out.put_usd(usd)), usd.to_string());
        }
    }
}
