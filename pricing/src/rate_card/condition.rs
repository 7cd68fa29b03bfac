//! When a price holds: the conditions of a rate or factor, ready to be asked.
//!
//! Conditions that a line names are words `name=value`, kept once a card and known by their number,
//! so that asking compares numbers.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::grammar::{INPUT_ABOVE, INPUT_AT_LEAST, Synonym, UTC_HOURS};
use crate::money::Decimal;
use crate::time::Timestamp;

const DAY_MINUTES: u16 = 24 * 60;

/// Most conditions a line may have; with more it has no price.
pub const LINE_CONDITIONS_MAX: usize = 16;

/// The number of a word.
pub(super) type WordId = u16;

/// All words of a card, and which of them mean another.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Names and values, in the order of [`order`], so that a word is found by halving.
    words: Box<[(Box<str>, Box<str>)]>,
    means: Box<[WordId]>,
}

/// Words by what tells most of them apart soonest: many have one name, few one value, fewer a value of
/// one length.
fn order((name, value): (&str, &str), (other, its): (&str, &str)) -> Ordering {
    let by_value = (value.len(), value).cmp(&(its.len(), its));
    by_value.then_with(|| name.cmp(other))
}

impl Words {
    /// `None` when there are more words than numbers.
    pub(super) fn of<'a>(
        said: impl IntoIterator<Item = (&'a str, &'a str)>,
        synonyms: &[Synonym],
    ) -> Option<Self> {
        let mut words: Vec<(&str, &str)> = said.into_iter().collect();
        let sides = synonyms
            .iter()
            .flat_map(|synonym| [&synonym.said, &synonym.means]);
        words.extend(sides.filter_map(|side| side.split_once('=')));
        words.sort_unstable_by(|left, right| order(*left, *right));
        words.dedup();
        WordId::try_from(words.len()).ok()?;
        let words = words
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let mut found = Self {
            words,
            means: Box::default(),
        };
        let mut means: Vec<WordId> = (0..=WordId::MAX).take(found.words.len()).collect();
        for synonym in synonyms {
            let side = |side: &str| {
                let (name, value) = side.split_once('=')?;
                found.id(name, value)
            };
            if let (Some(said), Some(meant)) = (side(&synonym.said), side(&synonym.means)) {
                means[usize::from(said)] = meant;
            }
        }
        found.means = means.into();
        Some(found)
    }

    pub(super) fn id(&self, name: &str, value: &str) -> Option<WordId> {
        let place = self
            .words
            .binary_search_by(|(n, v)| order((n, v), (name, value)));
        place.ok().and_then(|place| WordId::try_from(place).ok())
    }

    /// The word that a line's word means.
    pub(super) fn meant(&self, name: &str, value: &str) -> Option<WordId> {
        self.id(name, value).map(|id| self.means[usize::from(id)])
    }

    pub(super) fn is_synonym(&self, id: WordId) -> bool {
        self.means[usize::from(id)] != id
    }

    pub(super) fn text(&self, id: WordId) -> (&str, &str) {
        let (name, value) = &self.words[usize::from(id)];
        (name, value)
    }
}

/// What a line is asked about: its conditions in the card's own words, base values left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) named: [WordId; LINE_CONDITIONS_MAX],
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
    /// In order of their names.
    named: Box<[WordId]>,
    /// `name=value&name=value`.
    text: Box<str>,
}

impl When {
    pub(super) fn parse(when: &BTreeMap<String, String>, words: &Words) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut named = Vec::new();
        let mut text = String::new();
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
                _ => {
                    let id = words.id(name, value);
                    named.push(id.ok_or_else(|| format!("{name}={value}: too many words"))?);
                }
            }
            if !text.is_empty() {
                text.push('&');
            }
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        }
        if parsed.input_above.is_some() && parsed.input_at_least.is_some() {
            return Err("input_above and input_at_least exclude each other".into());
        }
        parsed.named = named.into();
        parsed.text = text.into();
        Ok(parsed)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The conditions that a line names.
    pub(super) fn named(&self) -> &[WordId] {
        &self.named
    }

    /// Whether its bounds on the input and the hour hold; an input that is not known passes no bound.
    pub(super) fn holds_at(&self, input: Option<Decimal>, at: Timestamp) -> bool {
        let is_past = |bound: Decimal, or_at: bool| {
            input.is_some_and(|input| input > bound || (or_at && input == bound))
        };
        if self.input_above.is_some_and(|bound| !is_past(bound, false))
            || self
                .input_at_least
                .is_some_and(|bound| !is_past(bound, true))
        {
            return false;
        }
        self.utc_minutes.is_none_or(|window| {
            let (hour, minute) = at.utc_hour_minute();
            is_within(u16::from(hour) * 60 + u16::from(minute), window)
        })
    }

    pub(super) fn hold(&self, facts: &Facts) -> bool {
        if !self.holds_at(Some(facts.input), facts.at) {
            return false;
        }
        let named = &facts.named[..facts.named_len];
        self.named.iter().all(|word| named.contains(word))
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

    /// Whether no line can meet both.
    pub(super) fn excludes(&self, other: &Self, words: &Words) -> bool {
        let is_apart = self.named.iter().any(|ours| {
            let (name, value) = words.text(*ours);
            other.named.iter().any(|theirs| {
                let (their_name, their_value) = words.text(*theirs);
                name == their_name && value != their_value
            })
        });
        let is_apart_in_time = match (self.utc_minutes, other.utc_minutes) {
            (Some(ours), Some(theirs)) => (0..DAY_MINUTES)
                .all(|minute| !(is_within(minute, ours) && is_within(minute, theirs))),
            _ => false,
        };
        is_apart || is_apart_in_time
    }

    /// Whether it holds wherever both of these hold.
    pub(super) fn is_implied_by(&self, left: &Self, right: &Self) -> bool {
        let is_in = |word: &WordId| left.named.contains(word) || right.named.contains(word);
        let is_given = |ours: bool, same: bool| !ours || same;
        self.named.iter().all(is_in)
            && is_given(
                self.threshold().is_some(),
                [left, right]
                    .map(Self::threshold)
                    .contains(&self.threshold()),
            )
            && is_given(
                self.utc_minutes.is_some(),
                [left.utc_minutes, right.utc_minutes].contains(&self.utc_minutes),
            )
    }

    /// Whether one line can meet both with neither the more specific: a card may not have that.
    pub(super) fn clashes_with(&self, other: &Self, words: &Words) -> bool {
        if self.specificity() != other.specificity() {
            return false;
        }
        // Two bounds on the input are ordered by their height, if they ask for nothing different.
        let is_ordered = self.named == other.named
            && self.utc_minutes == other.utc_minutes
            && self.threshold() != other.threshold();
        !self.excludes(other, words) && !is_ordered
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
