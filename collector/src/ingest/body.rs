//! A request's body taken apart into records: a JSON array, or one record a line.
//!
//! Records stay as they came; whether one of them can be read is decided for each alone.

use std::fmt;

use super::BATCH_RECORDS_MAX;

/// Why a body holds no batch at all.
#[derive(Debug, PartialEq, Eq)]
pub enum InvalidBody {
    /// Not UTF-8.
    NotText,
    /// Begins as an array and is none.
    NotAnArray(&'static str),
    /// More than [`BATCH_RECORDS_MAX`] records.
    TooMany,
}

impl fmt::Display for InvalidBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText => f.write_str("the body is not UTF-8"),
            Self::NotAnArray(reason) => write!(f, "the body is no JSON array: {reason}"),
            Self::TooMany => write!(f, "a batch has at most {BATCH_RECORDS_MAX} records"),
        }
    }
}

impl std::error::Error for InvalidBody {}

/// The records of a body. What is no JSON becomes a record that is refused alone.
pub fn records(body: &[u8]) -> Result<Vec<&str>, InvalidBody> {
    let text = std::str::from_utf8(body).map_err(|_| InvalidBody::NotText)?;
    match text.trim_ascii_start().strip_prefix('[') {
        Some(elements) => split(elements),
        None => {
            let lines = text.lines().filter(|line| !line.trim_ascii().is_empty());
            let records: Vec<&str> = lines.take(BATCH_RECORDS_MAX + 1).collect();
            match records.len() {
                0..=BATCH_RECORDS_MAX => Ok(records),
                _ => Err(InvalidBody::TooMany),
            }
        }
    }
}

/// An array behind its bracket, cut at its own commas. Only brackets, commas and the ends of strings
/// are looked at: each record is read as JSON afterwards, and reading it twice would cost as much again.
fn split(text: &str) -> Result<Vec<&str>, InvalidBody> {
    let bytes = text.as_bytes();
    let mut records = Vec::new();
    let (mut start, mut at, mut depth) = (0, 0, 0usize);
    let end = loop {
        at = next(bytes, at, &STRUCTURE);
        match bytes.get(at) {
            None => return Err(InvalidBody::NotAnArray("it does not end")),
            Some(b'"') => at = end_of_string(bytes, at + 1),
            Some(b'{' | b'[') => depth += 1,
            Some(b']') if depth == 0 => break at,
            Some(b'}' | b']') => depth = depth.saturating_sub(1),
            Some(b',') if depth == 0 => {
                records.push(text[start..at].trim_ascii());
                start = at + 1;
                if records.len() > BATCH_RECORDS_MAX {
                    return Err(InvalidBody::TooMany);
                }
            }
            Some(_) => {}
        }
        at += 1;
    };
    let last = text[start..end].trim_ascii();
    if !(records.is_empty() && last.is_empty()) {
        records.push(last);
    }
    if records.iter().any(|record| record.is_empty()) {
        return Err(InvalidBody::NotAnArray(
            "a record is missing between commas",
        ));
    }
    if !text[end + 1..].trim_ascii().is_empty() {
        return Err(InvalidBody::NotAnArray("something follows it"));
    }
    match records.len() {
        0..=BATCH_RECORDS_MAX => Ok(records),
        _ => Err(InvalidBody::TooMany),
    }
}

/// Where the string ends whose inside begins at `at`; past the text where it does not.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at = next(bytes, at, &IN_STRING);
        match bytes.get(at) {
            Some(b'\\') => at += 2,
            _ => return at,
        }
    }
}

/// Bytes, by their value.
type Set = [bool; 256];
/// Bytes that are looked at outside of strings, and inside.
const STRUCTURE: Set = set(b"\"{}[],");
const IN_STRING: Set = set(b"\"\\");

const fn set(members: &[u8]) -> Set {
    let mut set = [false; 256];
    let mut at = 0;
    while at < members.len() {
        set[members[at] as usize] = true;
        at += 1;
    }
    set
}

/// The place of the set's next byte from `at` on, or the end. Every byte of a batch comes by here; a
/// look into a table is half of what comparing costs.
fn next(bytes: &[u8], at: usize, set: &Set) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let found = rest.iter().position(|byte| set[usize::from(*byte)]);
    found.map_or(bytes.len(), |found| at + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_lines_are_the_same_batch() {
        let check = |body: &str, expected: &[&str]| {
            let records = records(body.as_bytes()).unwrap();
            assert_eq!(records, expected, "{body:?}");
        };
        check("[]", &[]);
        check("", &[]);
        check(" [ {\"a\":1} , 2 ] ", &["{\"a\":1}", "2"]);
        check(
            r#"[{"a":"]},[\\"},["\"",{}]]"#,
            &[r#"{"a":"]},[\\"}"#, r#"["\"",{}]"#],
        );
        check("[{broken],2]", &["{broken]", "2"]);
        check("{\"a\":1}\n\r\n{\"a\":2}\n", &["{\"a\":1}", "{\"a\":2}"]);
        check(
            "{\"a\":1}\n{broken\n{\"a\":2}",
            &["{\"a\":1}", "{broken", "{\"a\":2}"],
        );
    }

    #[test]
    fn a_body_beyond_its_bounds_is_refused_whole() {
        let body = "1\n".repeat(BATCH_RECORDS_MAX + 1);
        assert_eq!(records(body.as_bytes()).unwrap_err(), InvalidBody::TooMany);
        assert_eq!(records(b"\xff").unwrap_err(), InvalidBody::NotText);
        let many = format!("[{}1]", "1,".repeat(BATCH_RECORDS_MAX));
        assert_eq!(records(many.as_bytes()).unwrap_err(), InvalidBody::TooMany);
        for body in [
            "[1", "[", "[1,]", "[,1]", "[1]2", "[\"a", "[\"\\", "[[1]", "[1,,2]",
        ] {
            let refused = records(body.as_bytes());
            assert!(
                matches!(refused, Err(InvalidBody::NotAnArray(_))),
                "{body}: {refused:?}"
            );
        }
    }
}
