//! In which hour, day and month an event is counted.
//!
//! Hours are UTC; days and months are the tenant's own, by the zone that holds when the event is
//! booked. All are whole numbers, since they are only compared, sorted and handed to Postgres.

use farebox_pricing::time::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::store::copy::POSTGRES_EPOCH_MILLIS;

/// Milliseconds of an hour.
pub(crate) const HOUR_MILLIS: i64 = 3_600_000;
/// Milliseconds of a UTC day.
pub(crate) const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

/// A month by its first day, as days since 2000-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub i32);

/// A tenant's days.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    /// The zone that holds for days before the given first of a month.
    before: Option<(TimeZone, Month)>,
}

impl Calendar {
    /// UTC, also that of unattributed events.
    #[must_use]
    pub fn utc() -> Self {
        Self {
            zone: TimeZone::UTC,
            before: None,
        }
    }

    /// By IANA names. A name that only the database knows counts as UTC.
    #[must_use]
    pub fn new(zone: &str, before: Option<(&str, Month)>) -> Self {
        let find = |name: &str| TimeZone::get(name).unwrap_or(TimeZone::UTC);
        Self {
            zone: find(zone),
            before: before.map(|(name, from)| (find(name), from)),
        }
    }

    /// The day of an instant, as days since 2000-01-01, and its month.
    #[must_use]
    pub fn day(&self, at: Timestamp) -> (i32, Month) {
        let instant = jiff::Timestamp::from_millisecond(at.as_millis())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let day_in = |zone: &TimeZone| {
            let offset = i64::from(zone.to_offset(instant).seconds());
            day_of_millis(instant.as_millisecond() + offset * 1_000)
        };
        let day = match &self.before {
            Some((before, from)) if day_in(before) < from.0 => day_in(before),
            // The month before has ended, also where its last day has not in the new zone.
            Some((_, from)) => day_in(&self.zone).max(from.0),
            None => day_in(&self.zone),
        };
        (day, month_of_day(day))
    }

    /// The instant at which a month begins: the first of two midnights where a clock goes back, the end of
    /// the gap where it goes forward. A changed zone's first month begins when the old zone's last one ends.
    #[must_use]
    pub fn begins(&self, month: Month) -> Timestamp {
        let zone = match &self.before {
            Some((before, from)) if *from >= month => before,
            _ => &self.zone,
        };
        let begins = date_of(month.0).to_zoned(zone.clone());
        let millis = begins.map_or(jiff::Timestamp::MAX, |begins| begins.timestamp());
        Timestamp::from_millis(millis.as_millisecond())
    }
}

impl Month {
    /// By its first day, as text.
    #[must_use]
    pub fn of_day(first_day: &str) -> Option<Self> {
        first_day.parse().ok().map(|date| Self(number_of(date)))
    }

    /// The month after.
    #[must_use]
    pub fn next(self) -> Self {
        let next = date_of(self.0).last_of_month().tomorrow();
        Self(number_of(next.unwrap_or(Date::MAX)))
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", date_of(self.0))
    }
}

/// The month of a day since 2000-01-01. Every event asks a few times, so it is told by plain arithmetic:
/// years and months are counted from March on, so that the day that leap years have is the last.
#[must_use]
pub fn month_of_day(day: i32) -> Month {
    const MARCH_OF_YEAR_ZERO: i64 = -730_425;
    const FOUR_CENTURIES: i64 = 146_097;
    let within = (i64::from(day) - MARCH_OF_YEAR_ZERO).rem_euclid(FOUR_CENTURIES);
    let year = (within - within / 1_460 + within / 36_524 - within / 146_096) / 365;
    let of_year = within - (365 * year + year / 4 - year / 100);
    // Of five months from March on, the lengths sum up to 153 days.
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5;
    Month(day - of_month as i32)
}

/// Days since 2000-01-01 of milliseconds since the Unix epoch.
fn day_of_millis(millis: i64) -> i32 {
    (millis - POSTGRES_EPOCH_MILLIS).div_euclid(DAY_MILLIS) as i32
}

/// Hours since the Unix epoch.
#[must_use]
pub fn hour(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(HOUR_MILLIS)
}

/// The name of a month's partition.
#[must_use]
pub fn partition(month: Month) -> String {
    let date = date_of(month.0);
    format!("usage_events_{:04}{:02}", date.year(), date.month())
}

/// The UTC month of an instant: the partition's.
#[must_use]
pub fn utc_month(at: Timestamp) -> Month {
    month_of_day(day_of_millis(at.as_millis()))
}

const EPOCH: Date = Date::constant(2000, 1, 1);

fn number_of(date: Date) -> i32 {
    (date - EPOCH).get_days()
}

fn date_of(number: i32) -> Date {
    EPOCH
        .checked_add(jiff::Span::new().days(number))
        .unwrap_or(EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn text_of((day, month): (i32, Month)) -> String {
        format!("{} {}", date_of(day), date_of(month.0))
    }

    #[test]
    fn days_and_months_are_the_tenants_own() {
        let check = |zone: &str, instant: &str, expected: &str| {
            let calendar = Calendar::new(zone, None);
            assert_eq!(
                text_of(calendar.day(at(instant))),
                expected,
                "{zone} {instant}"
            );
        };
        check("UTC", "2026-11-30T23:59:59.999Z", "2026-11-30 2026-11-01");
        check(
            "Asia/Tokyo",
            "2026-11-30T15:00:00Z",
            "2026-12-01 2026-12-01",
        );
        check(
            "America/New_York",
            "2026-03-01T04:59:00Z",
            "2026-02-28 2026-02-01",
        );
        check("No/Such", "2026-11-30T23:00:00Z", "2026-11-30 2026-11-01");
    }

    #[test]
    fn a_changed_zone_counts_from_its_month() {
        let from = Month(number_of(jiff::civil::date(2026, 12, 1)));
        let calendar = Calendar::new("Asia/Tokyo", Some(("UTC", from)));
        assert_eq!(
            text_of(calendar.day(at("2026-11-30T20:00:00Z"))),
            "2026-11-30 2026-11-01"
        );
        assert_eq!(
            text_of(calendar.day(at("2026-12-01T20:00:00Z"))),
            "2026-12-02 2026-12-01"
        );
        // Westwards it is still November there, but November has ended.
        let calendar = Calendar::new("America/New_York", Some(("UTC", from)));
        for (instant, expected) in [
            ("2026-11-30T23:59:59.999Z", "2026-11-30 2026-11-01"),
            ("2026-12-01T00:00:00Z", "2026-12-01 2026-12-01"),
            ("2026-12-02T04:59:00Z", "2026-12-01 2026-12-01"),
        ] {
            assert_eq!(text_of(calendar.day(at(instant))), expected, "{instant}");
        }
    }

    #[test]
    fn a_month_begins_with_its_first_day() {
        let from = Month(number_of(jiff::civil::date(2026, 12, 1)));
        let calendars = [
            Calendar::utc(),
            // Clocks that go back or forward at midnight of a first day, and days that never were.
            Calendar::new("America/Havana", None),
            Calendar::new("America/Asuncion", None),
            Calendar::new("Pacific/Apia", None),
            Calendar::new("Pacific/Kiritimati", None),
            Calendar::new("Asia/Tokyo", Some(("America/New_York", from))),
            Calendar::new("America/New_York", Some(("Asia/Tokyo", from))),
        ];
        for calendar in calendars {
            let mut month = utc_month(at("2009-06-15T00:00:00Z"));
            for _ in 0..240 {
                month = month.next();
                let begins = calendar.begins(month);
                let before = Timestamp::from_millis(begins.as_millis() - 1);
                assert_eq!(calendar.day(begins).1, month, "{calendar:?} {begins}");
                assert_eq!(
                    calendar.day(before).1.next(),
                    month,
                    "{calendar:?} {before}"
                );
            }
        }
        let havana = Calendar::new("America/Havana", None);
        let november = utc_month(at("2026-11-15T00:00:00Z"));
        assert_eq!(havana.begins(november), at("2026-11-01T04:00:00Z"));
    }

    #[test]
    fn every_day_is_of_its_month() {
        for day in
            number_of(jiff::civil::date(1999, 1, 1))..number_of(jiff::civil::date(2101, 1, 1))
        {
            let first = date_of(day).first_of_month();
            assert_eq!(month_of_day(day), Month(number_of(first)), "{day}");
            let midnight = i64::from(day) * DAY_MILLIS + POSTGRES_EPOCH_MILLIS;
            assert_eq!(day_of_millis(midnight), day);
            assert_eq!(day_of_millis(midnight - 1), day - 1);
        }
    }

    #[test]
    fn months_follow_each_other() {
        let december = utc_month(at("2026-12-24T00:00:00Z"));
        assert_eq!(date_of(december.0).to_string(), "2026-12-01");
        assert_eq!(date_of(december.next().0).to_string(), "2027-01-01");
        assert_eq!(partition(december), "usage_events_202612");
        assert_eq!(hour(at("1970-01-02T01:59:59Z")), 25);
    }
}
