//! Instants as the product writes them: UTC, RFC 3339, milliseconds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::json::pair;

/// An instant in whole milliseconds since the Unix epoch. Prints as `2026-11-22T03:18:00.000Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The text is no RFC 3339 instant, or lies outside the years 0001–9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTimestamp;

impl fmt::Display for InvalidTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an RFC 3339 time between the years 0001 and 9999")
    }
}

impl std::error::Error for InvalidTimestamp {}

/// The first millisecond of the year 1 and of the year 10000.
const MILLIS_MIN: i64 = -62_135_596_800_000;
const MILLIS_END: i64 = 253_402_300_800_000;
const DAY_MILLIS: u64 = 86_400_000;
/// From the first of March of the year 0 to the first day of the year 1.
const DAYS_FROM_MARCH: u32 = 306;

impl Timestamp {
    /// From milliseconds since the Unix epoch, clamped to the years 0001–9999.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(MILLIS_MIN, MILLIS_END - 1))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Hour and minute of the day in UTC, each from zero.
    #[must_use]
    pub fn utc_hour_minute(self) -> (u8, u8) {
        let minutes = self.0.div_euclid(60_000).rem_euclid(1_440);
        ((minutes / 60) as u8, (minutes % 60) as u8)
    }
}

/// Length of a printed timestamp.
const TEXT_LEN: usize = "2026-11-22T03:18:00.000Z".len();

impl Timestamp {
    /// The printed form. Made by hand: printing is on the path of every call, and a general formatter
    /// costs ten times as much.
    pub(crate) fn text(self) -> [u8; TEXT_LEN] {
        // Counted from the first day of the year 1, nothing is below zero and all but one product fit 32 bits.
        let millis = self.0.abs_diff(MILLIS_MIN);
        let (days, millis) = ((millis / DAY_MILLIS) as u32, (millis % DAY_MILLIS) as u32);
        // The algorithm of C. Neri and L. Schneider, "Euclidean affine functions and their application to
        // calendar algorithms" (2023): years begin in March, so that the odd day is a year's last.
        let quarters = 4 * (days + DAYS_FROM_MARCH) + 3;
        let (century, of_century) = (quarters / 146_097, (quarters % 146_097) | 3);
        let years = 2_939_745 * u64::from(of_century);
        let (year_of_century, of_year) = ((years >> 32) as u32, years as u32 / 2_939_745 / 4);
        let months = 2_141 * of_year + 197_913;
        let (month, day) = (months >> 16, (months & 0xffff) / 2_141 + 1);
        let is_next_year = of_year >= 306;
        let year = 100 * century + year_of_century + u32::from(is_next_year);
        let month = if is_next_year { month - 12 } else { month };
        let seconds = millis / 1_000;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (at, number) in [
            (0, year / 100),
            (2, year),
            (5, month),
            (8, day),
            (11, seconds / 3_600),
            (14, seconds / 60 % 60),
            (17, seconds % 60),
            (20, millis / 10),
        ] {
            text[at..at + 2].copy_from_slice(&pair(u64::from(number)));
        }
        // The remainder of ten fits a digit.
        text[22] = b'0' + (millis % 10) as u8;
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("digits and signs are ASCII"))
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Reads any RFC 3339 instant; digits below the millisecond are cut off.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| InvalidTimestamp)?;
        let millis = instant.as_millisecond();
        if (MILLIS_MIN..MILLIS_END).contains(&millis) {
            Ok(Self(millis))
        } else {
            Err(InvalidTimestamp)
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.text();
        serializer.serialize_str(std::str::from_utf8(&text).expect("digits and signs are ASCII"))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prints_as_jiff_does_on_known_days() {
        for (millis, text) in [
            (MILLIS_MIN, "0001-01-01T00:00:00.000Z"),
            (MILLIS_END - 1, "9999-12-31T23:59:59.999Z"),
            (-2_203_891_200_001, "1900-02-28T23:59:59.999Z"),
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_317_480_123, "2026-11-22T03:18:00.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
        }
    }

    #[test]
    fn reads_offsets_and_refuses_words() {
        assert_eq!(
            "2026-11-22T05:18:00+02:00".parse(),
            Ok(Timestamp::from_millis(1_795_317_480_000))
        );
        assert_eq!("yesterday".parse::<Timestamp>(), Err(InvalidTimestamp));
    }

    proptest! {
        #[test]
        fn parse_after_print_is_identity(millis in MILLIS_MIN..MILLIS_END) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(at.to_string().parse::<Timestamp>(), Ok(at));
        }
    }
}
