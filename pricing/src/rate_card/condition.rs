//! When a price holds: the conditions of a rate or factor, ready to be asked.

use std::collections::BTreeMap;

use super::grammar::{INPUT_ABOVE, INPUT_AT_LEAST, UTC_HOURS};
use crate::money::Decimal;
use crate::time::Timestamp;

const DAY_MINUTES: u16 = 24 * 60;

/// Most conditions a line may have; with more it has no price.
pub const LINE_CONDITIONS_MAX: usize = 16;

/// What a line is asked about: its conditions in the card's own words, base values left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) named: [(&'a str, &'a str); LINE_CONDITIONS_MAX],
    pub(super) named_len: usize,
    /// All input tokens of the line, cached and written ones included.
    pub(super) input: Decimal,
    pub(super) at: Timestamp,
}

/// All of these hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct When {
    input_above: Option<Decimal>,
    input_at_least: Option<Decimal>,
    /// Minutes of the day, the end not included; the start may lie behind the end.
    utc_minutes: Option<(u16, u16)>,
    named: Vec<(String, String)>,
    /// `name=value&name=value`.
    text: String,
}

impl When {
    pub(super) fn parse(when: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut parsed = Self::default();
        for (name, value) in when {
            let tokens = || {
                value
                    .parse::<Decimal>()
                    .map_err(|reason| format!("{name} `{value}`: {reason}"))
            };
            match name.as_str() {
                INPUT_ABOVE => parsed.input_above = Some(tokens()?),
                INPUT_AT_LEAST => parsed.input_at_least = Some(tokens()?),
                UTC_HOURS => {
                    let minutes = utc_minutes(value);
                    parsed.utc_minutes = Some(minutes.ok_or_else(|| {
                        format!("utc_hours `{value}`: not HH:MM-HH:MM with different ends")
                    })?);
                }
                _ if name.is_empty() || value.is_empty() => {
                    return Err("a condition needs a name and a value".into());
                }
                _ => parsed.named.push((name.clone(), value.clone())),
            }
            if !parsed.text.is_empty() {
                parsed.text.push('&');
            }
            parsed.text.push_str(name);
            parsed.text.push('=');
            parsed.text.push_str(value);
        }
        if parsed.input_above.is_some() && parsed.input_at_least.is_some() {
            return Err("input_above and input_at_least exclude each other".into());
        }
        Ok(parsed)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The conditions that a line names.
    pub(super) fn named(&self) -> &[(String, String)] {
        &self.named
    }

    pub(super) fn hold(&self, facts: &Facts<'_>) -> bool {
        if self.input_above.is_some_and(|bound| facts.input <= bound)
            || self.input_at_least.is_some_and(|bound| facts.input < bound)
        {
            return false;
        }
        if let Some(window) = self.utc_minutes {
            let (hour, minute) = facts.at.utc_hour_minute();
            if !is_within(u16::from(hour) * 60 + u16::from(minute), window) {
                return false;
            }
        }
        let named = &facts.named[..facts.named_len];
        self.named
            .iter()
            .all(|(name, value)| named.contains(&(name.as_str(), value.as_str())))
    }

    /// How many things it asks for: of two that hold, the one that asks for more counts.
    pub(super) fn specificity(&self) -> usize {
        self.named.len()
            + usize::from(self.utc_minutes.is_some())
            + usize::from(self.threshold().is_some())
    }

    /// The token bound, and whether it is exclusive: of two that hold, the higher one counts.
    pub(super) fn threshold(&self) -> Option<(Decimal, bool)> {
        match (self.input_above, self.input_at_least) {
            (Some(bound), _) => Some((bound, true)),
            (_, Some(bound)) => Some((bound, false)),
            _ => None,
        }
    }

    /// Whether one line can meet both with neither the more specific: a card may not have that.
    pub(super) fn clashes_with(&self, other: &Self) -> bool {
        if self.specificity() != other.specificity() {
            return false;
        }
        let is_apart = self.named.iter().any(|(name, value)| {
            let same_name = other.named.iter().find(|(theirs, _)| theirs == name);
            same_name.is_some_and(|(_, theirs)| theirs != value)
        });
        let is_apart_in_time = match (self.utc_minutes, other.utc_minutes) {
            (Some(ours), Some(theirs)) => (0..DAY_MINUTES)
                .all(|minute| !(is_within(minute, ours) && is_within(minute, theirs))),
            _ => false,
        };
        // Two bounds on the input are ordered by their height, if they ask for nothing different.
        let is_ordered = self.named == other.named
            && self.utc_minutes == other.utc_minutes
            && self.threshold() != other.threshold();
        !is_apart && !is_apart_in_time && !is_ordered
    }
}

fn is_within(minute: u16, (start, end): (u16, u16)) -> bool {
    if start < end {
        (start..end).contains(&minute)
    } else {
        minute >= start || minute < end
    }
}

fn utc_minutes(text: &str) -> Option<(u16, u16)> {
    let minute_of_day = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let is_padded = hour.len() == 2 && minute.len() == 2;
        let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
        (is_padded && hour <= 24 && minute < 60 && hour * 60 + minute <= DAY_MINUTES)
            .then_some(hour * 60 + minute)
    };
    let (start, end) = text.split_once('-')?;
    let (start, end) = (minute_of_day(start)?, minute_of_day(end)?);
    (start != end && start < DAY_MINUTES).then_some((start, end))
}
