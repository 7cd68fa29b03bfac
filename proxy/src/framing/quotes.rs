//! Finds the quotes of a JSON text: what a request names begins behind one, and each is looked at.
//!
//! Quotes stand near one another in most of a body and far apart in its long texts; a search by `memchr`
//! for each costs more to set up than the few bytes to the next one.

/// The lowest bit of each of eight bytes.
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each.
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
/// Bytes that are passed in one step where none of them is a quote.
const STEP: usize = 32;

/// Small letters.
#[derive(Clone, Copy, Debug)]
pub struct Letters(u32);

impl Letters {
    /// Those of a text.
    #[must_use]
    pub const fn of(text: &[u8]) -> Self {
        let mut letters = 0;
        let mut rest = text;
        while let [letter, behind @ ..] = rest {
            letters |= 1 << (*letter - b'a');
            rest = behind;
        }
        Self(letters)
    }

    /// Whether a byte is one of them.
    #[inline]
    #[must_use]
    pub const fn hold(self, byte: u8) -> bool {
        let place = byte.wrapping_sub(b'a') as u32;
        place < 26 && self.0 >> place & 1 != 0
    }
}

/// The first four bytes of some names: nearly every other text is told apart by them.
#[derive(Clone, Copy, Debug)]
pub struct Beginnings<const N: usize>([u32; N]);

impl<const N: usize> Beginnings<N> {
    /// Those of names that are no shorter.
    #[must_use]
    pub const fn of(names: [&str; N]) -> Self {
        let mut beginnings = [0; N];
        let mut at = 0;
        while at < N {
            let name = names[at].as_bytes();
            beginnings[at] = u32::from_le_bytes([name[0], name[1], name[2], name[3]]);
            at += 1;
        }
        Self(beginnings)
    }

    /// Whether a text begins as one of them does.
    #[inline]
    #[must_use]
    pub fn hold(&self, text: &[u8]) -> bool {
        let Some(four) = text.first_chunk() else {
            return false;
        };
        let four = u32::from_le_bytes(*four);
        // Without branches: a few vector instructions.
        let is_there = |is_there, beginning: &u32| is_there | (*beginning == four);
        self.0.iter().fold(false, is_there)
    }
}

/// Whether what stands behind any quote is such a text; asked of those that begin with one of the letters.
#[inline]
pub fn any_text(text: &[u8], first: Letters, mut is_it: impl FnMut(&[u8]) -> bool) -> bool {
    let (steps, rest) = text.as_chunks::<STEP>();
    for (number, step) in steps.iter().enumerate() {
        // Without branches, so that the compiler makes a few vector instructions of it.
        let has_quote = step
            .iter()
            .fold(0, |has, byte| has | u8::from(*byte == b'"'))
            != 0;
        if has_quote {
            let from = text.get(number * STEP..).unwrap_or_default();
            if any_in_words(step.as_chunks().0, from, first, &mut is_it) {
                return true;
            }
        }
    }
    let (words, last) = rest.as_chunks();
    if any_in_words(words, rest, first, &mut is_it) {
        return true;
    }
    // Zeros behind the end are no quotes.
    let mut word = [0; 8];
    for (place, byte) in word.iter_mut().zip(last) {
        *place = *byte;
    }
    any_in_words(&[word], last, first, &mut is_it)
}

/// The same for quotes in some words of eight bytes, with which `from` begins.
fn any_in_words(
    words: &[[u8; 8]],
    from: &[u8],
    first: Letters,
    is_it: &mut impl FnMut(&[u8]) -> bool,
) -> bool {
    for (number, word) in words.iter().enumerate() {
        let other = u64::from_le_bytes(*word) ^ (LOW_BITS * u64::from(b'"'));
        // Exact for each byte: its highest bit is set where all of its bits are zero.
        let mut marked = !(((other & !HIGH_BITS) + !HIGH_BITS) | other) & HIGH_BITS;
        while marked != 0 {
            let behind = number * 8 + (marked.trailing_zeros() / 8) as usize + 1;
            // Half of the quotes end a text, and most of the rest begin otherwise.
            if from.get(behind).is_some_and(|byte| first.hold(*byte)) && is_it(&from[behind..]) {
                return true;
            }
            marked &= marked - 1;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: Letters = Letters::of(b"xyabz");

    fn check(text: &[u8]) {
        let place = |behind: &[u8]| text.len() - behind.len() - 1;
        let mut quotes = Vec::new();
        let found = any_text(text, FIRST, |behind| {
            quotes.push(place(behind));
            false
        });
        let begins = |quote: &usize| text.get(quote + 1).is_some_and(|byte| FIRST.hold(*byte));
        let expected: Vec<_> = memchr::memchr_iter(b'"', text).filter(begins).collect();
        assert_eq!(quotes, expected, "{text:?}");
        assert!(!found);
        for quote in expected {
            assert!(
                any_text(text, FIRST, |behind| place(behind) == quote),
                "{text:?}"
            );
        }
    }

    #[test]
    fn texts_are_known_by_their_first_letter() {
        let first = Letters::of(b"az");
        for byte in 0..=u8::MAX {
            assert_eq!(first.hold(byte), b"az".contains(&byte));
            let text = [b"\"".as_slice(), &[byte], b"x\" \""].concat();
            let is_found = any_text(&text, first, |behind| {
                behind == [byte, b'x', b'"', b' ', b'"']
            });
            assert_eq!(is_found, first.hold(byte));
        }
    }

    #[test]
    fn names_are_known_by_their_beginning() {
        const NAMES: [&str; 3] = ["file_id", "fileUri", "mcp\""];
        let beginnings = Beginnings::of(NAMES);
        for text in [
            "", "f", "fil", "file", "filed", "mcp", "mcp\"", "xile", "mcp:",
        ] {
            let begins = NAMES.iter().any(|name| text.starts_with(&name[..4]));
            assert_eq!(beginnings.hold(text.as_bytes()), begins, "{text}");
        }
    }

    #[test]
    fn quotes_are_found_near_and_far() {
        for len in 0..140 {
            check("x".repeat(len).as_bytes());
            check(format!("{}\"", "x".repeat(len)).as_bytes());
            check(format!("{}\"y", "x".repeat(len)).as_bytes());
            check(format!("\"{}\"a\n#!", "\u{a2}".repeat(len)).as_bytes());
        }
    }

    proptest! {
        #[test]
        fn every_quote_is_found(
            text in prop::collection::vec(prop_oneof![Just(b'"'), any::<u8>(), 0x20..0x24_u8, b'a'..b'd'], 0..100),
        ) {
            check(&text);
        }
    }
}
