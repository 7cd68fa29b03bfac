//! JSON texts by hand: what a record is written with, and how the quotes of a text are found. Each call
//! writes two records and looks through an answer; general tools cost most of a call there.

mod digits;
mod text;

pub(crate) use digits::{Digits, pair};
pub use text::Text;
pub(crate) use text::{Room, uuid_text};

/// The lowest bit of each of eight bytes.
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each.
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// How `serde_json` hands on raw values that keep their text: a struct of such a name with one field, the
/// text.
pub(crate) const RAW: &str = "$serde_json::private::RawValue";

/// Where the first quote or backslash stands among eight bytes, the first byte lowest.
#[inline]
#[must_use]
pub fn first_quote(word: u64) -> Option<usize> {
    // The lowest marked byte is a true zero; only those above it may be marked wrongly.
    let zeros = |word: u64| word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS;
    let quotes = zeros(word ^ (LOW_BITS * u64::from(b'"')));
    let backslashes = zeros(word ^ (LOW_BITS * u64::from(b'\\')));
    let found = quotes | backslashes;
    (found != 0).then(|| (found.trailing_zeros() / 8) as usize)
}

/// How many bytes a text begins with of which nearly all names are made: letters, digits and what else of
/// ASCII stands behind `0`, but for the backslash.
#[inline]
pub(crate) fn name_len(text: &[u8]) -> usize {
    let is_outside = |byte: &u8| !matches!(byte, b'0'..=0x7f) || *byte == b'\\';
    let (words, rest) = text.as_chunks();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let backslashes = (word ^ (LOW_BITS * u64::from(b'\\'))).wrapping_sub(LOW_BITS);
        let below = word.wrapping_sub(LOW_BITS * u64::from(b'0'));
        // The lowest marked byte is a true one; only those above it may be marked wrongly.
        let found = (backslashes | below | word) & HIGH_BITS;
        if found != 0 {
            return number * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let len = rest.iter().position(is_outside).unwrap_or(rest.len());
    words.len() * 8 + len
}

/// Where the string that begins at `start` ends in a text, its closing quote included; and whether it
/// has no escapes. `None` when none begins there or it does not end.
#[inline]
pub(crate) fn string_end(bytes: &[u8], start: usize) -> Option<(usize, bool)> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    let mut has_escapes = false;
    loop {
        let found = match bytes.get(at..).and_then(<[u8]>::first_chunk) {
            Some(word) => match first_quote(u64::from_le_bytes(*word)) {
                Some(offset) => at + offset,
                None => {
                    at += 8;
                    continue;
                }
            },
            None => at,
        };
        match bytes.get(found)? {
            b'"' => return Some((found + 1, !has_escapes)),
            b'\\' => {
                has_escapes = true;
                at = found + 2;
            }
            _ => at = found + 1,
        }
    }
}

/// Whether a text holds a control character, which no JSON string does unescaped.
pub(crate) fn has_control(text: &[u8]) -> bool {
    let is_control = |byte: &u8| *byte < b' ';
    // The lowest marked byte of a word is a true one.
    let in_word = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        word.wrapping_sub(LOW_BITS * 0x20) & !word & HIGH_BITS != 0
    };
    match text.last_chunk() {
        Some(last) => in_word(last) || text.as_chunks().0.iter().any(in_word),
        None => text.iter().any(is_control),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_end_at_the_first_other_byte(
            text in prop::collection::vec(
                prop_oneof![
                    4 => b'a'..=b'z',
                    1 => prop_oneof![any::<u8>(), 0x2e..0x32_u8, 0x5b..0x5e_u8, 0x7e..0x82_u8],
                ],
                0..40,
            ),
        ) {
            let is_outside = |byte: &u8| *byte < b'0' || *byte > 0x7f || *byte == b'\\';
            let len = text.iter().position(is_outside).unwrap_or(text.len());
            prop_assert_eq!(name_len(&text), len);
        }

        #[test]
        fn every_control_character_is_found(
            text in prop::collection::vec(prop_oneof![any::<u8>(), 0x1e..0x24_u8], 0..40),
            plain in prop::collection::vec(0x20..=u8::MAX, 0..40),
        ) {
            prop_assert_eq!(has_control(&text), text.iter().any(|byte| *byte < b' '));
            prop_assert!(!has_control(&plain));
        }
    }
}
