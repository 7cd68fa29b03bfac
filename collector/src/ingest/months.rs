//! In which hour, day and month an event is counted.
//!
//! Hours are UTC; days and months are the tenant's own, by the zone that holds when the event is
//! booked. All are whole numbers, since they are only compared, sorted and handed to Postgres.

use farebox_pricing::time::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

const HOUR_MILLIS: i64 = 3_600_000;

/// A month by its first day, as days since 2000-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub i32);

/// A tenant's days.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    /// The zone that holds for days before the given first of a month.
    before: Option<(TimeZone, Date)>,
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
            before: before.map(|(name, from)| (find(name), date_of(from.0))),
        }
    }

    /// The day of an instant, as days since 2000-01-01, and its month.
    #[must_use]
    pub fn day(&self, at: Timestamp) -> (i32, Month) {
        let instant = jiff::Timestamp::from_millisecond(at.as_millis())
            .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let day_in = |zone: &TimeZone| zone.to_datetime(instant).date();
        let day = match &self.before {
            Some((before, from)) if day_in(before) < *from => day_in(before),
            _ => day_in(&self.zone),
        };
        (number_of(day), Month(number_of(day.first_of_month())))
    }
}

impl Month {
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

/// The month of a day since 2000-01-01.
#[must_use]
pub fn month_of_day(day: i32) -> Month {
    Month(number_of(date_of(day).first_of_month()))
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
    Calendar::utc().day(at).1
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
