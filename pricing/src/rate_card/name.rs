//! The names a model may be meant by, most literal first, and the forms that names may have.

/// The name itself, then without a gateway's suffix, without its prefix, without both, and the last two without a
/// second prefix. Each may be looked up as it is and without its date.
pub(super) fn candidates<'a>(
    name: &'a str,
    prefixes: &'a [Prefix],
    suffixes: &'a [String],
) -> impl Iterator<Item = &'a str> {
    let bare = suffixes
        .iter()
        .filter_map(move |suffix| name.strip_suffix(suffix.as_str()));
    let unprefixed = |name: &'a str| prefixes.iter().filter_map(move |prefix| prefix.strip(name));
    let whole = std::iter::once(name).chain(bare);
    let inner = whole.clone().flat_map(unprefixed);
    let innermost = inner.clone().flat_map(unprefixed);
    whole.chain(inner).chain(innermost)
}

/// What may stand before a name: literal pieces, and for each `*` between them anything without `:` and `/`.
#[derive(Debug)]
pub(super) struct Prefix(Box<[Box<str>]>);

impl Prefix {
    /// Begins and ends with a literal piece. What follows a `*` begins with `:` or `/`, so that it ends there.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let pieces: Box<[Box<str>]> = text.split('*').map(Into::into).collect();
        let (first, others) = pieces.split_first()?;
        let is_end = |piece: &str| piece.starts_with([':', '/']);
        let is_form = !first.is_empty() && others.iter().all(|piece| is_end(piece));
        is_form.then_some(Self(pieces))
    }

    fn strip<'a>(&self, name: &'a str) -> Option<&'a str> {
        let (first, others) = self.0.split_first()?;
        let mut rest = name.strip_prefix(first.as_ref())?;
        for piece in others {
            let end = rest.find([':', '/'])?;
            rest = rest[end..].strip_prefix(piece.as_ref())?;
        }
        (!rest.is_empty()).then_some(rest)
    }
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
    /// `{path}`: lower-case letters, digits, `.`, `_`, `-` and `/`.
    Path,
    /// `{rest}`: anything to the end, but not nothing.
    Rest,
}

impl Pattern {
    /// Needs a literal start and a placeholder; `{rest}` only at the end, and only after a `:`; `{path}` only at the
    /// start, and only before a `:`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (kind, after) = after.split_once('}')?;
            let is_path = kind == "path" && pieces.is_empty() && after.starts_with(':');
            // Two placeholders without a literal between them could be split in many ways.
            if literal.is_empty() != is_path {
                return None;
            }
            if !is_path {
                pieces.push(Piece::Literal(literal.into()));
            }
            pieces.push(match kind {
                "word" => Piece::Word,
                "language" => Piece::Language,
                "path" if is_path => Piece::Path,
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
                Piece::Path => {
                    let is_of_path = |c: char| {
                        c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c)
                    };
                    let left = rest.trim_start_matches(is_of_path);
                    (left.len() < rest.len()).then_some(left)
                }
                Piece::Rest => (!rest.is_empty()).then_some(""),
            };
            let Some(left) = left else { return false };
            rest = left;
        }
        rest.is_empty()
    }
}

/// The name without `-YYYY-MM-DD`, `-YYYYMMDD`, `@date`, `-latest`, `@latest` or `@default`.
pub(super) fn without_date(name: &str) -> Option<&str> {
    // Most names end in neither a digit nor one of the words.
    if !matches!(name.as_bytes().last(), Some(b'0'..=b'9' | b't')) {
        return None;
    }
    if let Some(rest) = name.strip_suffix("-latest") {
        return Some(rest);
    }
    if let Some((rest, date)) = name.rsplit_once('@') {
        let is_date =
            is_compact_date(date) || is_long_date(date) || ["latest", "default"].contains(&date);
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
            "{path}",
            "{path}-free",
            "a-{path}:free",
            "{path}:{path}:free",
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
        check("{path}:free", "vendor/m-1.5:free", true);
        check("{path}:free", ":free", false);
        check("{path}:free", "vendor/m-1.5:freed", false);
        check("{path}:free", "vendor/m-1.5:x:free", false);
        check("{path}:free", "Vendor/m:free", false);
    }

    #[test]
    fn a_prefix_is_taken_off_to_its_last_letter() {
        for bad in ["", "*", "*:a", "a*b", "a:*", "a*:*"] {
            assert!(Prefix::parse(bad).is_none(), "{bad}");
        }
        let check = |prefix: &str, name: &str, expected: Option<&str>| {
            let prefix = Prefix::parse(prefix).unwrap();
            assert_eq!(prefix.strip(name), expected, "{name}");
        };
        check("models/", "models/m-1", Some("m-1"));
        check("models/", "models/", None);
        check("models/", "my-models/m-1", None);
        let of_project = "projects/*/models/";
        check(of_project, "projects/p-1/models/m-1", Some("m-1"));
        check(of_project, "projects//models/m-1", Some("m-1"));
        check(of_project, "projects/p/q/models/m-1", None);
        check(of_project, "projects/p-1/models", None);
        let arn = "arn:*:bedrock:*:*:profile/";
        check(
            arn,
            "arn:aws:bedrock:eu-1:42:profile/us.m-1:0",
            Some("us.m-1:0"),
        );
        check(arn, "arn:aws:bedrock:eu-1::profile/m-1", Some("m-1"));
        check(arn, "arn:aws:bedrock:eu-1:profile/m-1", None);
        check(arn, "arn:aws:bedrock:eu-1:42:4:profile/m-1", None);
    }

    #[test]
    fn candidates_go_from_the_whole_name_to_its_core() {
        let prefixes = ["a/", "b."].map(|text| Prefix::parse(text).unwrap());
        let suffixes = ["-v1".to_owned()];
        let found: Vec<&str> = candidates("a/b.m-v1", &prefixes, &suffixes).collect();
        assert_eq!(found, ["a/b.m-v1", "a/b.m", "b.m-v1", "b.m", "m-v1", "m"]);
    }

    #[test]
    fn a_date_is_taken_off_where_it_is_one() {
        let check =
            |name: &str, expected: Option<&str>| assert_eq!(without_date(name), expected, "{name}");
        check("m-2026-08-21", Some("m"));
        check("m-20260821", Some("m"));
        check("m@20260821", Some("m"));
        check("m@2026-08-21", Some("m"));
        check("m-latest", Some("m"));
        check("m@latest", Some("m"));
        check("m@default", Some("m"));
        check("m@other", None);
        check("m-20261321", None);
        check("m-20260832", None);
        check("m-2014-08-21", None);
        check("m-2100-08-21", None);
        check("m-2015-01-01", Some("m"));
        check("m-2099-12-31", Some("m"));
        check("m-2026-00-21", None);
        check("m-2026-01-00", None);
        check("m2026-08-21", None);
        check("2026-08-21", None);
        check("", None);
    }
}
