//! The names a model may be meant by, most literal first.

/// A name to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate<'a> {
    pub(super) text: &'a str,
    /// What it was before its date was taken off.
    pub(super) of: &'a str,
    pub(super) is_reduced: bool,
}

/// The name itself, without its date, without a gateway's prefix, without both.
pub(super) fn candidates<'a>(
    name: &'a str,
    prefixes: &'a [String],
) -> impl Iterator<Item = Candidate<'a>> {
    let unprefixed = prefixes
        .iter()
        .filter_map(move |prefix| name.strip_prefix(prefix.as_str()));
    std::iter::once(name).chain(unprefixed).flat_map(|of| {
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

/// The name without `-YYYY-MM-DD`, `-YYYYMMDD`, `@date` or `-latest`.
fn without_date(name: &str) -> Option<&str> {
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
