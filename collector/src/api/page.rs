//! What all lists share: `limit`, `cursor`, and times as parameters.
//!
//! A cursor names the last row seen by the list's own sort key, not a position, so rows that arrive
//! meanwhile neither repeat nor hide others.

use farebox_pricing::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::error::ApiError;
use crate::keys::{hex, unhex};

/// Items of a page when nothing is said.
pub(crate) const LIMIT_DEFAULT: u32 = 100;
/// Items of a page at most.
pub(crate) const LIMIT_MAX: u32 = 1_000;
/// Bytes of a cursor at most.
const CURSOR_BYTES_MAX: usize = 4_096;
/// Between the parts of a cursor; no part holds control characters.
const SEPARATOR: char = '\u{1f}';

/// Whether texts can be looked for: no row holds control characters, and Postgres takes no NUL.
pub(crate) fn all_clean<'a>(
    texts: impl IntoIterator<Item = Option<&'a str>>,
) -> Result<(), ApiError> {
    let mut given = texts.into_iter().flatten();
    if given.any(|text| !is_clean(text)) {
        return Err(ApiError::malformed("a parameter holds control characters"));
    }
    Ok(())
}

/// One page of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Given as `cursor` for the next page; null on the last.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// From up to `limit + 1` rows: the one too many says that there is a next page.
    pub(crate) fn cut(
        mut items: Vec<T>,
        limit: u32,
        cursor_of: impl Fn(&T) -> Vec<String>,
    ) -> Self {
        let limit = limit as usize;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = match items.last() {
            Some(last) if has_more => Some(encode(&cursor_of(last))),
            _ => None,
        };
        Self { items, next_cursor }
    }

    /// The page with its rows as they are shown.
    pub(crate) fn map<U>(self, shown: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(shown).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

/// Checks `limit`.
pub(crate) fn limit(asked: Option<u32>) -> Result<u32, ApiError> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        Some(_) => Err(ApiError::invalid("limit", "between 1 and 1000")),
    }
}

/// A cursor of these parts.
pub(crate) fn encode(parts: &[String]) -> String {
    hex(parts.join(&SEPARATOR.to_string()).as_bytes())
}

/// The parts of a cursor this list gave out; anything else is refused.
pub(crate) fn cursor<const N: usize>(asked: Option<&str>) -> Result<Option<[String; N]>, ApiError> {
    let Some(asked) = asked else { return Ok(None) };
    let invalid = || ApiError::invalid("cursor", "not a cursor of this list");
    if asked.len() > CURSOR_BYTES_MAX {
        return Err(invalid());
    }
    let text = String::from_utf8(unhex(asked).ok_or_else(invalid)?).map_err(|_| invalid())?;
    let parts: Vec<String> = text.split(SEPARATOR).map(str::to_owned).collect();
    parts.try_into().map(Some).map_err(|_| invalid())
}

/// The event that a cursor of such a list names.
pub(crate) fn after(asked: Option<&str>) -> Result<Option<Uuid>, ApiError> {
    cursor::<1>(asked)?
        .map(|[id]| id.parse())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))
}

/// A text that Postgres can be asked for.
pub(crate) fn clean(field: &str, text: &str) -> Result<(), ApiError> {
    match is_clean(text) {
        true => Ok(()),
        false => Err(ApiError::invalid(field, "no control characters")),
    }
}

fn is_clean(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// A time parameter: RFC 3339, or a day for its midnight in UTC.
pub(crate) fn time(field: &str, asked: Option<&str>) -> Result<Option<Timestamp>, ApiError> {
    let Some(asked) = asked else { return Ok(None) };
    let is_day = asked.len() == "2026-11-22".len();
    let parsed = if is_day {
        format!("{asked}T00:00:00Z").parse()
    } else {
        asked.parse()
    };
    parsed
        .map(Some)
        .map_err(|_| ApiError::invalid(field, "an RFC 3339 time or a day like 2026-11-22"))
}

/// A month parameter, `2026-11` or its first day, as the first day.
pub(crate) fn month(asked: &str) -> Result<String, ApiError> {
    let first_day = match asked.len() {
        7 => format!("{asked}-01"),
        _ => asked.to_owned(),
    };
    let is_month = first_day.ends_with("-01") && time("month", Some(&first_day)).is_ok();
    if first_day.len() != "2026-11-01".len() || !is_month {
        return Err(ApiError::invalid("month", "a month like 2026-11"));
    }
    Ok(first_day)
}

/// A half-open span of time, each end optional.
pub(crate) fn span(
    from: Option<&str>,
    to: Option<&str>,
) -> Result<(Option<Timestamp>, Option<Timestamp>), ApiError> {
    let (from, to) = (time("from", from)?, time("to", to)?);
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return Err(ApiError::invalid("to", "lies before `from`"));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_the_last_row_of_a_full_page() {
        let page = Page::cut(vec![1, 2, 3], 2, |last| vec![last.to_string(), "é".into()]);
        assert_eq!(page.items, [1, 2]);
        let parts = cursor::<2>(page.next_cursor.as_deref()).unwrap().unwrap();
        assert_eq!(parts, ["2".to_owned(), "é".to_owned()]);
        assert_eq!(Page::cut(vec![1, 2], 2, |_| vec![]).next_cursor, None);
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let one = Page::cut(vec![1, 2], 1, |last| vec![last.to_string()]);
        assert!(cursor::<2>(one.next_cursor.as_deref()).is_err());
        for nonsense in ["", "zz", "ff", "é", &"0".repeat(CURSOR_BYTES_MAX + 2)] {
            assert!(cursor::<2>(Some(nonsense)).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn limits_and_times_are_checked() {
        assert_eq!(limit(None).unwrap(), LIMIT_DEFAULT);
        assert!(limit(Some(0)).is_err());
        assert!(limit(Some(LIMIT_MAX + 1)).is_err());
        let day = time("from", Some("2026-11-22")).unwrap().unwrap();
        assert_eq!(day.to_string(), "2026-11-22T00:00:00.000Z");
        assert!(time("from", Some("2026-13-01")).is_err());
        assert!(time("from", Some("éééééé")).is_err());
        assert!(span(Some("2026-11-02"), Some("2026-11-01")).is_err());
        assert!(span(Some("2026-11-01"), Some("2026-11-01")).is_ok());
    }
}
