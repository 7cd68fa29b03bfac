//! The names a model may be meant by, most literal first, and the forms that names may have.

/// A name to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate<'a> {
    pub(super) text: &'a str,
    /// What it was before its date was taken off.
    pub(super) of: &'a str,
    pub(super) is_reduced: bool,
}

/// The name itself, without its date, then the same without a gateway's suffix, without its prefix,
/// without both.
pub(super) fn candidates<'a>(
    name: &'a str,
    prefixes: &'a [String],
    suffixes: &'a [String],
) -> impl Iterator<Item = Candidate<'a>> {
    let bare = suffixes
        .iter()
        .filter_map(move |suffix| name.strip_suffix(suffix.as_str()));
    let with_prefix = std::iter::once(name).chain(bare);
    let unprefixed = with_prefix.clone().flat_map(move |name| {
        prefixes
            .iter()
            .filter_map(move |prefix| name.strip_prefix(prefix.as_str()))
    });
    with_prefix.chain(unprefixed).flat_map(|of| {
        let literal = Candidate {
            text: of,
            of,
            is_reduced: false,
        };
        let reduced = without_date(of).map(|text| Candidate {
            text,
            of,
            is_reduced: true,
        });
        std::iter::once(literal).chain(reduced)
    })
}

/// A form of names: literal pieces, and between them words of a kind.
#[derive(Debug)]
pub(super) struct Pattern(Box<[Piece]>);

#[derive(Debug)]
enum Piece {
    Literal(Box<str>),
    /// `{word}`: lower-case letters and digits.
    Word,
    /// `{language}`: two lower-case letters.
    Language,
    /// `{rest}`: anything to the end, but not nothing.
    Rest,
}

impl Pattern {
    /// Needs a literal start and a placeholder; `{rest}` only at the end, and only after a `:`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (kind, after) = after.split_once('}')?;
            // Two placeholders without a literal between them could be split in many ways.
            if literal.is_empty() {
                return None;
            }
            pieces.push(Piece::Literal(literal.into()));
            pieces.push(match kind {
                "word" => Piece::Word,
                "language" => Piece::Language,
                "rest" if after.is_empty() && literal.ends_with(':') => Piece::Rest,
                _ => return None,
            });
            rest = after;
        }
        if pieces.is_empty() || rest.contains('}') {
            return None;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.into()));
        }
        Some(Self(pieces.into()))
    }

    pub(super) fn fits(&self, name: &str) -> bool {
        let mut rest = name;
        for piece in &self.0 {
            let left = match piece {
                Piece::Literal(literal) => rest.strip_prefix(literal.as_ref()),
                Piece::Word => {
                    let is_of_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                    let left = rest.trim_start_matches(is_of_word);
                    (left.len() < rest.len()).then_some(left)
                }
                Piece::Language => {
                    let left = rest.trim_start_matches(|c: char| c.is_ascii_lowercase());
                    (rest.len() - left.len() == 2).then_some(left)
                }
                Piece::Rest => (!rest.is_empty()).then_some(""),
            };
            let Some(left) = left else { return false };
            rest = left;
        }
        rest.is_empty()
    }
}

/// The name without `-YYYY-MM-DD`, `-YYYYMMDD`, `@date` or `-latest`.
pub(super) fn without_date(name: &str) -> Option<&str> {
    if let Some(rest) = name.strip_suffix("-latest") {
        return Some(rest);
    }
    if let Some((rest, date)) = name.rsplit_once('@') {
        let is_date = is_compact_date(date) || is_long_date(date) || date == "latest";
        return is_date.then_some(rest);
    }
    let split = |chars: usize| {
        let at = name.len().checked_sub(chars)?;
        let (rest, tail) = (name.get(..at)?, name.get(at..)?);
        Some((rest, tail.strip_prefix('-')?))
    };
    let long = split(11).filter(|(_, date)| is_long_date(date));
    let compact = split(9).filter(|(_, date)| is_compact_date(date));
    long.or(compact).map(|(rest, _)| rest)
}

fn is_long_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && is_date(&bytes[..4], &bytes[5..7], &bytes[8..])
}

fn is_compact_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 8 && is_date(&bytes[..4], &bytes[4..6], &bytes[6..])
}

fn is_date(year: &[u8], month: &[u8], day: &[u8]) -> bool {
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0u16, |sum, byte| {
            byte.is_ascii_digit()
                .then(|| sum * 10 + u16::from(byte - b'0'))
        })
    };
    number(year).is_some_and(|year| (2015..2100).contains(&year))
        && number(month).is_some_and(|month| (1..=12).contains(&month))
        && number(day).is_some_and(|day| (1..=31).contains(&day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_a_literal_start_and_known_placeholders() {
        for bad in [
            "",
            "aura",
            "{word}",
            "aura-{wurd}",
            "a-{word}{word}",
            "a-{rest}",
            "a:{rest}-b",
            "a-{word",
            "a-{word}-}",
        ] {
            assert!(Pattern::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_form_fits_whole_names_only() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(
                Pattern::parse(pattern).unwrap().fits(name),
                expected,
                "{name}"
            );
        };
        let voice = "aura-2-{word}-{language}";
        check(voice, "aura-2-thalia-en", true);
        check(voice, "aura-2-thalia-eng", false);
        check(voice, "aura-2-thalia", false);
        check(voice, "aura-2--en", false);
        check(voice, "aura-2-thalia-en-x", false);
        check(voice, "aura-2-Thalia-en", false);
        check("ft:m-1:{rest}", "ft:m-1:acme::é", true);
        check("ft:m-1:{rest}", "ft:m-1:", false);
        check("ft:m-1:{rest}", "ft:m-10:acme", false);
    }
}
