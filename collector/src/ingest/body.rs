//! A request's body taken apart into records: a JSON array, or one record a line.
//!
//! Reading a record says where it ends, so an array is not looked through for its commas first. Only a
//! record that cannot be read is cut out by its brackets, so that it is refused alone.

use std::fmt;

use super::BATCH_RECORDS_MAX;
use super::check::{self, Checked, Refused};

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

/// A record that was read, or why it cannot be booked.
pub type Read = Result<Checked, Refused>;

/// The records of a body, handed on in their order.
pub fn records(body: &[u8], mut each: impl FnMut(Read)) -> Result<(), InvalidBody> {
    let text = std::str::from_utf8(body).map_err(|_| InvalidBody::NotText)?;
    let mut count = 0;
    let mut each = |read| {
        count += 1;
        if count > BATCH_RECORDS_MAX {
            return Err(InvalidBody::TooMany);
        }
        each(read);
        Ok(())
    };
    match text.trim_ascii_start().strip_prefix('[') {
        Some(elements) => in_array(elements, each),
        None => text
            .lines()
            .filter(|line| !line.trim_ascii().is_empty())
            .try_for_each(|line| each(check::check(line))),
    }
}

/// The elements of an array behind its bracket.
fn in_array(
    text: &str,
    mut each: impl FnMut(Read) -> Result<(), InvalidBody>,
) -> Result<(), InvalidBody> {
    let mut rest = text.trim_ascii_start();
    let mut is_first = true;
    loop {
        let behind = match check::check_first(rest).and_then(|(checked, behind)| {
            let behind = behind.trim_ascii_start();
            behind.starts_with([',', ']']).then_some((checked, behind))
        }) {
            Some((read, behind)) => {
                each(read)?;
                behind
            }
            None => {
                let (record, behind) = rest.split_at(end_of_element(rest)?);
                let record = record.trim_ascii_end();
                if record.is_empty() && is_first && behind.starts_with(']') {
                    return ends(behind);
                }
                if record.is_empty() {
                    return Err(InvalidBody::NotAnArray(
                        "a record is missing between commas",
                    ));
                }
                each(check::check(record))?;
                behind
            }
        };
        is_first = false;
        match behind.strip_prefix(',') {
            Some(next) => rest = next.trim_ascii_start(),
            None => return ends(behind),
        }
    }
}

/// Behind the array's bracket nothing follows.
fn ends(bracket: &str) -> Result<(), InvalidBody> {
    match bracket[1..].trim_ascii() {
        "" => Ok(()),
        _ => Err(InvalidBody::NotAnArray("something follows it")),
    }
}

/// Where an element ends: at its array's comma or bracket. Only brackets, commas and the ends of strings
/// are looked at, since the element is known to be no record.
fn end_of_element(text: &str) -> Result<usize, InvalidBody> {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    loop {
        at = next(bytes, at, &STRUCTURE);
        match bytes.get(at) {
            None => return Err(InvalidBody::NotAnArray("it does not end")),
            Some(b'"') => at = end_of_string(bytes, at + 1),
            Some(b'{' | b'[') => depth += 1,
            Some(b']' | b',') if depth == 0 => return Ok(at),
            Some(b'}' | b']') => depth = depth.saturating_sub(1),
            Some(_) => {}
        }
        at += 1;
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

/// The place of the set's next byte from `at` on, or the end.
fn next(bytes: &[u8], at: usize, set: &Set) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let found = rest.iter().position(|byte| set[usize::from(*byte)]);
    found.map_or(bytes.len(), |found| at + found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::check::tests::record;

    /// What is said of each record: its id's last digit, or why it is refused.
    fn said(body: &str) -> Result<Vec<String>, InvalidBody> {
        let mut said = Vec::new();
        records(body.as_bytes(), |read| {
            said.push(match read {
                Ok(checked) => checked.event.event_id.to_string()[35..].to_owned(),
                Err(refused) => refused.reason,
            });
        })?;
        Ok(said)
    }

    /// A record whose id ends so.
    fn numbered(number: u8) -> String {
        let mut record = record();
        let mut id = record["event_id"].as_str().unwrap().to_owned();
        id.replace_range(35.., &number.to_string());
        record["event_id"] = id.into();
        record.to_string()
    }

    #[test]
    fn arrays_and_lines_are_the_same_batch() {
        let (one, two) = (numbered(1), numbered(2));
        for body in [
            format!("[{one},{two}]"),
            format!(" [ {one} ,\n{two}\t] \n"),
            format!("{one}\n\r\n{two}\n"),
        ] {
            assert_eq!(said(&body).unwrap(), ["1", "2"], "{body}");
        }
        for body in ["[]", " [ ] ", "", "\n"] {
            assert_eq!(said(body).unwrap(), [""; 0], "{body}");
        }
    }

    #[test]
    fn what_is_no_record_is_refused_alone() {
        let (one, two) = (numbered(1), numbered(2));
        for other in [
            "{broken]",
            "{broken",
            "2",
            "null",
            "{}",
            "{\"a\":\"]},[\\\\\"}",
            "[\"\\\"\",{}]",
            &format!("{two} 3"),
            &format!("{two} {two}"),
            &one.replace("2026", "1826"),
        ] {
            let lines = said(&format!("{one}\n{other}\n{two}")).unwrap();
            assert_eq!((&*lines[0], lines.len(), &*lines[2]), ("1", 3, "2"));
            assert!(lines[1].len() > 1, "{other}: {lines:?}");
            // What does not close its own brackets takes the array's with it.
            if other == "{broken" {
                continue;
            }
            let array = said(&format!("[{one}, {other} ,{two}]")).unwrap();
            assert_eq!(array, lines, "{other}");
        }
    }

    #[test]
    fn a_body_beyond_its_bounds_is_refused_whole() {
        let body = "1\n".repeat(BATCH_RECORDS_MAX + 1);
        assert_eq!(said(&body).unwrap_err(), InvalidBody::TooMany);
        let broken = records(b"\xff", |_| ());
        assert_eq!(broken.unwrap_err(), InvalidBody::NotText);
        let many = |records: usize| format!("[{}1]", "1,".repeat(records - 1));
        assert_eq!(
            said(&many(BATCH_RECORDS_MAX + 1)).unwrap_err(),
            InvalidBody::TooMany
        );
        assert_eq!(
            said(&many(BATCH_RECORDS_MAX)).unwrap().len(),
            BATCH_RECORDS_MAX
        );
        let one = numbered(1);
        for body in [
            "[1", "[", "[1,]", "[,1]", "[1]2", "[\"a", "[\"\\", "[[1]", "[1,,2]", "[,]",
        ] {
            for body in [body.to_owned(), body.replace('1', &one)] {
                let refused = said(&body);
                assert!(
                    matches!(refused, Err(InvalidBody::NotAnArray(_))),
                    "{body}: {refused:?}"
                );
            }
        }
    }
}
