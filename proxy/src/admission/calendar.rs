//! Which window an instant lies in. A window is told from the clock and the zone alone, so nothing
//! has to reset it: the day after a short day begins when the zone says so.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

use crate::directory::{TimeZones, WindowKind};

const MINUTE_MILLIS: i64 = 60_000;
const HOUR_MILLIS: i64 = 3_600_000;

/// A window in Unix milliseconds; `end` is the first instant after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Window {
    /// Of what has no window.
    pub(crate) const ALWAYS: Self = Self {
        start: 0,
        end: i64::MAX,
    };

    pub(crate) fn holds(self, now: i64) -> bool {
        self.start <= now && now < self.end
    }

    /// Milliseconds until the next one.
    pub(crate) fn left(self, now: i64) -> u64 {
        u64::try_from(self.end.saturating_sub(now)).unwrap_or(0)
    }

    /// The window of a kind around an instant. An instant past what calendars know is in none that
    /// ends.
    pub(crate) fn around(kind: WindowKind, now: i64, zones: Option<&TimeZones>) -> Self {
        let fixed = |length: i64, shift: i64| {
            let start = now - (now + shift).rem_euclid(length);
            Self {
                start,
                end: start + length,
            }
        };
        match kind {
            WindowKind::Concurrent => return Self::ALWAYS,
            WindowKind::Second => return fixed(1_000, 0),
            WindowKind::Minute => return fixed(MINUTE_MILLIS, 0),
            WindowKind::Hour | WindowKind::Day | WindowKind::Week | WindowKind::Month => {}
        }
        let Ok(instant) = Timestamp::from_millisecond(now) else {
            return Self::ALWAYS;
        };
        let local = instant.to_zoned(zone_at(instant, zones));
        if kind == WindowKind::Hour {
            // Zones differ from UTC by parts of an hour, so the hour begins where the zone's does.
            return fixed(HOUR_MILLIS, i64::from(local.offset().seconds()) * 1_000);
        }
        days(kind, &local).unwrap_or(Self::ALWAYS)
    }
}

fn days(kind: WindowKind, local: &Zoned) -> Option<Window> {
    let today = local.date();
    let (first, next) = match kind {
        WindowKind::Week => {
            let since_monday = i64::from(today.weekday().to_monday_zero_offset());
            let monday = today.checked_sub(since_monday.days()).ok()?;
            (monday, monday.checked_add(7.days()).ok()?)
        }
        WindowKind::Month => {
            let first = today.first_of_month();
            (first, first.checked_add(1.month()).ok()?)
        }
        _ => (today, today.tomorrow().ok()?),
    };
    let begins = |date: Date| -> Option<i64> {
        let midnight = date.to_zoned(local.time_zone().clone()).ok()?;
        Some(midnight.start_of_day().ok()?.timestamp().as_millisecond())
    };
    Some(Window {
        start: begins(first)?,
        end: begins(next)?,
    })
}

/// The zone that holds at an instant; UTC for nobody's and for one that is not known.
fn zone_at(instant: Timestamp, zones: Option<&TimeZones>) -> TimeZone {
    let Some(zones) = zones else {
        return TimeZone::UTC;
    };
    let named = |name: &str| TimeZone::get(name).unwrap_or(TimeZone::UTC);
    if let (Some(before), Some(from)) = (&zones.before, &zones.from)
        && let Ok(from) = from.parse::<Date>()
    {
        let before = named(before);
        if instant.to_zoned(before.clone()).date() < from {
            return before;
        }
    }
    if zones.zone.is_empty() {
        TimeZone::UTC
    } else {
        named(&zones.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn zone(name: &str) -> Option<TimeZones> {
        Some(TimeZones {
            zone: name.to_owned(),
            ..TimeZones::default()
        })
    }

    #[test]
    fn days_and_months_begin_at_local_midnight_over_the_clocks_changes() {
        let check = |kind, name, now, start, end| {
            let window = Window::around(kind, at(now), zone(name).as_ref());
            assert_eq!(
                (window.start, window.end),
                (at(start), at(end)),
                "{name} {now}"
            );
            assert!(window.holds(at(now)));
        };
        use WindowKind::{Day, Hour, Month, Week};
        let new_york = "America/New_York";
        // 23 hours in March, 25 in November.
        check(
            Day,
            new_york,
            "2026-03-08T12:00:00Z",
            "2026-03-08T05:00:00Z",
            "2026-03-09T04:00:00Z",
        );
        check(
            Day,
            new_york,
            "2026-11-01T12:00:00Z",
            "2026-11-01T04:00:00Z",
            "2026-11-02T05:00:00Z",
        );
        check(
            Day,
            new_york,
            "2026-11-02T04:59:59Z",
            "2026-11-01T04:00:00Z",
            "2026-11-02T05:00:00Z",
        );
        check(
            Month,
            new_york,
            "2026-11-20T00:00:00Z",
            "2026-11-01T04:00:00Z",
            "2026-12-01T05:00:00Z",
        );
        check(
            Week,
            new_york,
            "2026-11-22T12:00:00Z",
            "2026-11-16T05:00:00Z",
            "2026-11-23T05:00:00Z",
        );
        // Midnight does not exist there on that day.
        check(
            Day,
            "America/Santiago",
            "2026-09-06T12:00:00Z",
            "2026-09-06T04:00:00Z",
            "2026-09-07T03:00:00Z",
        );
        check(
            Hour,
            "Asia/Kathmandu",
            "2026-11-22T10:20:00Z",
            "2026-11-22T10:15:00Z",
            "2026-11-22T11:15:00Z",
        );
        check(
            Day,
            "",
            "2026-11-22T10:20:00Z",
            "2026-11-22T00:00:00Z",
            "2026-11-23T00:00:00Z",
        );
        check(
            Day,
            "Nowhere/None",
            "2026-11-22T10:20:00Z",
            "2026-11-22T00:00:00Z",
            "2026-11-23T00:00:00Z",
        );
    }

    #[test]
    fn a_changed_zone_counts_from_its_month() {
        let zones = Some(TimeZones {
            zone: "Asia/Tokyo".to_owned(),
            before: Some("UTC".to_owned()),
            from: Some("2026-12-01".to_owned()),
        });
        let day = |now| Window::around(WindowKind::Day, at(now), zones.as_ref()).start;
        assert_eq!(day("2026-11-30T20:00:00Z"), at("2026-11-30T00:00:00Z"));
        assert_eq!(day("2026-12-01T01:00:00Z"), at("2026-11-30T15:00:00Z"));
    }

    #[test]
    fn every_instant_is_in_one_window_of_each_kind() {
        let zones = zone("Australia/Lord_Howe");
        for kind in [
            WindowKind::Minute,
            WindowKind::Day,
            WindowKind::Week,
            WindowKind::Month,
        ] {
            let mut now = at("2026-01-01T00:00:00Z");
            let last = at("2026-12-31T00:00:00Z");
            let mut window = Window::around(kind, now, zones.as_ref());
            while now < last {
                let next = Window::around(kind, now, zones.as_ref());
                assert!(next.holds(now));
                assert!(next == window || next.start == window.end, "{kind:?}");
                window = next;
                now += if kind == WindowKind::Minute {
                    7 * HOUR_MILLIS + 60_000
                } else {
                    HOUR_MILLIS
                };
                if kind == WindowKind::Minute {
                    window = Window::around(kind, now, zones.as_ref());
                }
            }
        }
    }
}
