//! A request's body taken apart into records: a JSON array, or one record a line.
//!
//! Records stay as they came; whether one of them can be read is decided for each alone.

use std::fmt;

use serde_json::value::RawValue;

use super::BATCH_RECORDS_MAX;

/// Why a body holds no batch at all.
#[derive(Debug, PartialEq, Eq)]
pub enum InvalidBody {
    /// Not UTF-8.
    NotText,
    /// Begins as an array and is none.
    NotAnArray(String),
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

/// A record that is not even JSON stands as this, which no check accepts.
const UNREADABLE: &str = "null";

/// The records of a body. A line that is no JSON becomes a record that is refused alone.
pub fn records(body: &[u8]) -> Result<Vec<&RawValue>, InvalidBody> {
    let text = std::str::from_utf8(body).map_err(|_| InvalidBody::NotText)?;
    let records = if text.trim_ascii_start().starts_with('[') {
        serde_json::from_str(text).map_err(|error| InvalidBody::NotAnArray(error.to_string()))?
    } else {
        let unreadable: &'static RawValue = serde_json::from_str(UNREADABLE)
            .map_err(|error| InvalidBody::NotAnArray(error.to_string()))?;
        text.lines()
            .filter(|line| !line.trim_ascii().is_empty())
            .map(|line| serde_json::from_str(line).unwrap_or(unreadable))
            .collect::<Vec<&RawValue>>()
    };
    if records.len() > BATCH_RECORDS_MAX {
        return Err(InvalidBody::TooMany);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_lines_are_the_same_batch() {
        let check = |body: &str, expected: &[&str]| {
            let records = records(body.as_bytes()).unwrap();
            let texts: Vec<&str> = records.iter().map(|record| record.get()).collect();
            assert_eq!(texts, expected, "{body:?}");
        };
        check("[]", &[]);
        check("", &[]);
        check(" [ {\"a\":1} , 2 ] ", &["{\"a\":1}", "2"]);
        check("{\"a\":1}\n\r\n{\"a\":2}\n", &["{\"a\":1}", "{\"a\":2}"]);
        check(
            "{\"a\":1}\n{broken\n{\"a\":2}",
            &["{\"a\":1}", "null", "{\"a\":2}"],
        );
    }

    #[test]
    fn a_body_beyond_its_bounds_is_refused_whole() {
        let body = "1\n".repeat(BATCH_RECORDS_MAX + 1);
        assert_eq!(records(body.as_bytes()).unwrap_err(), InvalidBody::TooMany);
        assert_eq!(records(b"\xff").unwrap_err(), InvalidBody::NotText);
        assert!(matches!(records(b"[1"), Err(InvalidBody::NotAnArray(_))));
    }
}
