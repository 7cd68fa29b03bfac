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

/// Whether any quote is such a one, by its place.
#[inline]
pub fn any_quote(text: &[u8], mut is_it: impl FnMut(usize) -> bool) -> bool {
    let (steps, rest) = text.as_chunks::<STEP>();
    for (number, step) in steps.iter().enumerate() {
        // Without branches, so that the compiler makes a few vector instructions of it.
        let has_quote = step
            .iter()
            .fold(0, |has, byte| has | u8::from(*byte == b'"'))
            != 0;
        if has_quote && any_in_words(step, number * STEP, &mut is_it) {
            return true;
        }
    }
    any_in_words(rest, steps.len() * STEP, &mut is_it)
}

fn any_in_words(text: &[u8], at: usize, is_it: &mut impl FnMut(usize) -> bool) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let other = u64::from_le_bytes(*word) ^ (LOW_BITS * u64::from(b'"'));
        // Exact for each byte: its highest bit is set where all of its bits are zero.
        let mut marked = !(((other & !HIGH_BITS) + !HIGH_BITS) | other) & HIGH_BITS;
        while marked != 0 {
            if is_it(at + number * 8 + (marked.trailing_zeros() / 8) as usize) {
                return true;
            }
            marked &= marked - 1;
        }
    }
    let rest = rest.iter().enumerate();
    rest.filter(|(_, byte)| **byte == b'"')
        .any(|(offset, _)| is_it(at + words.len() * 8 + offset))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &[u8]) {
        let mut quotes = Vec::new();
        let found = any_quote(text, |quote| {
            quotes.push(quote);
            false
        });
        let expected: Vec<_> = memchr::memchr_iter(b'"', text).collect();
        assert_eq!(quotes, expected, "{text:?}");
        assert!(!found);
        for quote in expected {
            assert!(any_quote(text, |at| at == quote), "{text:?}");
        }
    }

    #[test]
    fn quotes_are_found_near_and_far() {
        for len in 0..140 {
            check("x".repeat(len).as_bytes());
            check(format!("{}\"", "x".repeat(len)).as_bytes());
            check(format!("\"{}\"\n#!", "\u{a2}".repeat(len)).as_bytes());
        }
    }

    proptest! {
        #[test]
        fn every_quote_is_found(
            text in prop::collection::vec(prop_oneof![Just(b'"'), any::<u8>(), 0x20..0x24_u8], 0..100),
        ) {
            check(&text);
        }
    }
}
