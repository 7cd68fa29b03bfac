//! Relations that prices obey. A card that breaks one is no bad card, but somebody should have said
//! why: a price or factor with a `note` is taken as meant.
//!
//! A slip of the pen (a point misplaced, a unit mistaken) breaks a relation to the prices around
//! it, or to those of the card before it.

use std::collections::BTreeMap;
use std::fmt;

use super::grammar::{CardFile, CardRate, Factor, INPUT_ABOVE, INPUT_AT_LEAST, Model, Revision};
use crate::money::Decimal;
use crate::usage::Meter;

/// Above this many times, or below its inverse, a change needs a reason.
const CHANGE_MAX: u64 = 3;
/// Tokens are between these many US dollars a million, if they are not free.
const MILLION_TOKENS_USD: (u64, u64) = (1_000, 2_000);

/// A relation that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The vendor.
    pub provider: String,
    /// The model.
    pub model: String,
    /// When the prices start; empty: since the model exists.
    pub from: String,
    /// The meter, or the conditions of a factor.
    pub of: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.provider, self.model)?;
        if !self.from.is_empty() {
            write!(f, "@{}", self.from)?;
        }
        write!(f, ": {}: {}", self.of, self.message)
    }
}

/// A price for one unit, kept as a fraction.
#[derive(Clone, Copy)]
struct Ratio {
    usd: Decimal,
    per: Decimal,
}

impl Ratio {
    /// Whether it is at most `times` ÷ `parts` of another; what is too large to tell, is.
    fn is_at_most(self, other: Self, times: u64, parts: u64) -> bool {
        let left = product([self.usd, other.per, Decimal::from(parts)]);
        let right = product([other.usd, self.per, Decimal::from(times)]);
        left.zip(right).is_none_or(|(left, right)| left <= right)
    }
}

fn product(terms: [Decimal; 3]) -> Option<Decimal> {
    terms
        .into_iter()
        .try_fold(Decimal::from(1), Decimal::checked_mul)
}

/// The relations that a card's prices break, in the card's order. `before` is the card that is in
/// force: where the new one departs far from it, it should say why.
#[must_use]
pub fn lint(card: &CardFile, before: Option<&CardFile>) -> Vec<Finding> {
    let mut found = Vec::new();
    for model in &card.models {
        let known = before.and_then(|before| model_of(before, &model.model));
        for (index, revision) in model.revisions.iter().enumerate() {
            let from = revision.from.map(|since| since.to_string());
            let mut place = Place {
                card,
                model,
                from: from.unwrap_or_default(),
                found: &mut found,
            };
            place.look_at(revision);
            let earlier = index.checked_sub(1).map(|index| &model.revisions[index]);
            if let Some(earlier) = earlier {
                place.compare(revision, earlier, "the price before");
            }
            let same_start = |known: &&Revision| known.from == revision.from;
            let known = known.and_then(|known| known.revisions.iter().find(same_start));
            if let Some(known) = known {
                place.compare(revision, known, "the card in force");
            }
        }
    }
    found
}

fn model_of<'a>(card: &'a CardFile, name: &str) -> Option<&'a Model> {
    card.models.iter().find(|model| model.model == name)
}

/// What is looked at, and where findings go.
struct Place<'a> {
    card: &'a CardFile,
    model: &'a Model,
    from: String,
    found: &'a mut Vec<Finding>,
}

impl Place<'_> {
    fn add(&mut self, of: impl fmt::Display, message: impl Into<String>) {
        self.found.push(Finding {
            provider: self.card.provider.clone(),
            model: self.model.model.clone(),
            from: self.from.clone(),
            of: of.to_string(),
            message: message.into(),
        });
    }

    fn look_at(&mut self, revision: &Revision) {
        for rate in &revision.rates {
            if rate.note.is_some() {
                continue;
            }
            self.look_at_size(rate);
            self.look_at_neighbours(rate, revision);
            self.look_at_bounds(rate, revision);
        }
        for factor in &revision.factors {
            if factor.note.is_none() {
                self.look_at_factor(factor);
            }
        }
    }

    fn look_at_size(&mut self, rate: &CardRate) {
        let Some(price) = of(rate).filter(|price| !price.usd.is_zero()) else {
            return;
        };
        let million = Ratio {
            usd: Decimal::from(1),
            per: Decimal::from(1_000_000),
        };
        let (parts, most) = MILLION_TOKENS_USD;
        let is_of_tokens = rate.meter.name().ends_with("_tokens");
        let is_sane = price.is_at_most(million, most, 1) && million.is_at_most(price, parts, 1);
        if is_of_tokens && !is_sane {
            self.add(rate.meter, "a million tokens cost too little or too much");
        }
    }

    /// Relations between meters under the same conditions.
    fn look_at_neighbours(&mut self, rate: &CardRate, revision: &Revision) {
        use Meter::{
            CacheReadAudioTokens, CacheReadImageTokens, CacheReadTokens, CacheReadVideoTokens,
            CacheWrite1hTokens, CacheWrite12hTokens, CacheWriteTokens, InputAudioTokens,
            InputImageTokens, InputTokens, InputVideoTokens, OutputTokens,
        };
        let Some(price) = of(rate) else { return };
        let is_claude = self.model.model.contains("claude");
        // Speech and pictures are long texts.
        let is_made = ["tts", "image"]
            .iter()
            .any(|kind| self.model.model.contains(kind));
        let output_most = if is_made { 25 } else { 12 };
        let other = |meter: Meter| {
            let mut rates = revision.rates.iter();
            let other = rates.find(|other| other.meter == meter && other.when == rate.when)?;
            of(other).filter(|other| !other.usd.is_zero())
        };
        let is_known_share = |other: Ratio| {
            [10, 20, 40].iter().any(|parts| {
                price.is_at_most(other, 1, *parts) && other.is_at_most(price, *parts, 1)
            })
        };
        let is_anthropic = self.card.provider == "anthropic" && rate.meter == CacheReadTokens;
        if is_anthropic && !other(InputTokens).is_none_or(is_known_share) {
            let should = "cached is a tenth, a twentieth or a fortieth of";
            self.add(rate.meter, format!("{should} {InputTokens}"));
            return;
        }
        let mut check = |meter: Meter, least: (u64, u64), most: (u64, u64), should: &str| {
            let Some(other) = other(meter) else { return };
            let is_fine = price.is_at_most(other, most.0, most.1)
                && other.is_at_most(price, least.1, least.0);
            if !is_fine {
                self.add(rate.meter, format!("{should} {meter}"));
            }
        };
        match rate.meter {
            CacheReadTokens => check(
                InputTokens,
                (1, 60),
                (1, 1),
                "cached is at most, and a sixtieth at least, of",
            ),
            CacheReadAudioTokens => check(
                InputAudioTokens,
                (1, 100),
                (1, 1),
                "cached is at most, and a hundredth at least, of",
            ),
            CacheReadImageTokens => check(
                InputImageTokens,
                (1, 60),
                (1, 1),
                "cached is at most, and a sixtieth at least, of",
            ),
            CacheReadVideoTokens => check(
                InputVideoTokens,
                (1, 60),
                (1, 1),
                "cached is at most, and a sixtieth at least, of",
            ),
            CacheWriteTokens if is_claude => check(
                InputTokens,
                (5, 4),
                (5, 4),
                "a write for five minutes is 1.25 times",
            ),
            CacheWrite1hTokens if is_claude => {
                check(InputTokens, (2, 1), (2, 1), "a write for an hour is twice")
            }
            CacheWriteTokens => check(InputTokens, (1, 1), (5, 2), "a write is once to 2.5 times"),
            CacheWrite1hTokens => check(
                InputTokens,
                (1, 1),
                (4, 1),
                "a write for an hour is once to four times",
            ),
            CacheWrite12hTokens => check(
                CacheWriteTokens,
                (1, 1),
                (3, 1),
                "a write for twelve hours is once to three times",
            ),
            OutputTokens if !price.usd.is_zero() => check(
                InputTokens,
                (1, 1),
                (output_most, 1),
                "output is once to twelve times (of speech and pictures 25)",
            ),
            _ => {}
        }
    }

    /// Behind a bound on the input a price rises.
    fn look_at_bounds(&mut self, rate: &CardRate, revision: &Revision) {
        let (named, bound) = split(&rate.when);
        let (Some(bound), Some(price)) = (bound, of(rate)) else {
            return;
        };
        let lower = revision.rates.iter().filter(|other| {
            let (other_named, other_bound) = split(&other.when);
            other.meter == rate.meter
                && other_named == named
                && other_bound.is_none_or(|other| other < bound)
        });
        for other in lower.filter_map(of) {
            if !(other.is_at_most(price, 1, 1) && price.is_at_most(other, 5, 1)) {
                let message = "behind a bound a price rises, five times at most";
                self.add(rate.meter, message);
                return;
            }
        }
    }

    fn look_at_factor(&mut self, factor: &Factor) {
        let when = factor.when.iter();
        let shown: Vec<String> = when
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let shown = shown.join("&");
        let is_between = |least: (i128, u8), most: (i128, u8)| {
            let decimal = |(mantissa, scale)| Decimal::new(mantissa, scale).unwrap_or_default();
            (decimal(least)..=decimal(most)).contains(&factor.factor)
        };
        let (is_fine, should) = match shown.as_str() {
            "batch=true" => (is_between((5, 1), (5, 1)), "batch is half"),
            "service_tier=flex" => (is_between((1, 1), (1, 0)), "flex is no dearer"),
            "service_tier=priority" => {
                (is_between((1, 0), (4, 0)), "priority is once to four times")
            }
            "speed=fast" => (is_between((1, 0), (10, 0)), "fast is once to ten times"),
            text if text.starts_with("geo=") || text.starts_with("data_residency=") => {
                (is_between((1, 0), (15, 1)), "a place is once to 1.5 times")
            }
            _ => (
                is_between((1, 2), (10, 0)),
                "a factor is a hundredth to ten times",
            ),
        };
        if !is_fine {
            self.add(shown, should);
        }
    }

    /// A price that changed far needs a reason.
    fn compare(&mut self, now: &Revision, before: &Revision, what: &str) {
        for rate in now.rates.iter().filter(|rate| rate.note.is_none()) {
            let mut earlier = before.rates.iter();
            let earlier = earlier.find(|old| old.meter == rate.meter && old.when == rate.when);
            let Some((price, old)) = of(rate).zip(earlier.and_then(of)) else {
                continue;
            };
            let is_near =
                price.is_at_most(old, CHANGE_MAX, 1) && old.is_at_most(price, CHANGE_MAX, 1);
            if !is_near {
                let message =
                    format!("more than {CHANGE_MAX} times, or less than 1/{CHANGE_MAX} of, {what}");
                self.add(rate.meter, message);
            }
        }
        for factor in now.factors.iter().filter(|factor| factor.note.is_none()) {
            let mut earlier = before.factors.iter();
            let earlier =
                earlier.find(|old| old.when == factor.when && old.meters == factor.meters);
            let Some(old) = earlier else { continue };
            let ratio = |factor: &Factor| Ratio {
                usd: factor.factor,
                per: Decimal::from(1),
            };
            let (new, old) = (ratio(factor), ratio(old));
            if !(new.is_at_most(old, CHANGE_MAX, 1) && old.is_at_most(new, CHANGE_MAX, 1)) {
                let message =
                    format!("more than {CHANGE_MAX} times, or less than 1/{CHANGE_MAX} of, {what}");
                self.add("factor", message);
            }
        }
    }
}

/// The price of one unit; none where it is in credits, whose price is another's.
fn of(rate: &CardRate) -> Option<Ratio> {
    let (usd, per) = (rate.usd.or(rate.credits)?, rate.per);
    Some(Ratio { usd, per })
}

/// Conditions without the bound on the input, and the bound.
fn split(when: &BTreeMap<String, String>) -> (Vec<(&String, &String)>, Option<Decimal>) {
    let is_bound = |name: &str| name == INPUT_ABOVE || name == INPUT_AT_LEAST;
    let named = when.iter().filter(|(name, _)| !is_bound(name)).collect();
    let bound = when
        .iter()
        .find(|(name, _)| is_bound(name))
        .and_then(|(_, value)| value.parse().ok());
    (named, bound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_card::{CardSet, RateCard};

    #[test]
    fn the_built_in_cards_obey() {
        let found: Vec<String> = CardSet::built_in()
            .active()
            .flat_map(|card| lint(&card.file(), None))
            .map(|finding| finding.to_string())
            .collect();
        assert!(
            found.is_empty(),
            "{} findings:\n{}",
            found.len(),
            found.join("\n")
        );
    }

    /// A point misplaced by one digit, either way, in each price of a card.
    fn slips(provider: &str, check: impl Fn(&CardFile, &str)) {
        let before = CardSet::built_in().card(provider).unwrap().file();
        for model in 0..before.models.len() {
            for revision in 0..before.models[model].revisions.len() {
                for rate in 0..before.models[model].revisions[revision].rates.len() {
                    for times in ["10", "0.1"] {
                        let mut slipped = before.clone();
                        let rate = &mut slipped.models[model].revisions[revision].rates[rate];
                        let Some(usd) = rate.usd.filter(|usd| !usd.is_zero()) else {
                            continue;
                        };
                        if rate.note.is_some() {
                            continue;
                        }
                        rate.usd = usd.checked_mul(times.parse().unwrap());
                        let shown =
                            format!("{} {} x {times}", before.models[model].model, rate.meter);
                        check(&slipped, &shown);
                    }
                }
            }
        }
    }

    #[test]
    fn a_slip_of_ten_times_in_any_price_is_found_beside_the_card_in_force() {
        for provider in ["anthropic", "deepgram", "groq"] {
            let before = CardSet::built_in().card(provider).unwrap().file();
            slips(provider, |slipped, shown| {
                assert!(!lint(slipped, Some(&before)).is_empty(), "{shown}");
            });
        }
    }

    #[test]
    fn a_slip_in_a_price_of_tokens_is_found_from_the_card_alone() {
        slips("anthropic", |slipped, shown| {
            if !shown.contains("web_searches") {
                assert!(!lint(slipped, None).is_empty(), "{shown}");
            }
        });
    }

    #[test]
    fn a_note_is_a_reason() {
        let card = |note: &str| {
            let text = format!(
                r#"{{"schema":1,"provider":"p","models":[{{"model":"m","revisions":[{{"rates":[
                {{"meter":"input_tokens","usd":"2","per":"1000000","source":"s","checked":"2026-11-22"}},
                {{"meter":"cache_read_tokens","usd":"3","per":"1000000","source":"s","checked":"2026-11-22"{note}}}
                ]}}]}}]}}"#
            );
            RateCard::from_json(&text).unwrap().file()
        };
        let found = lint(&card(""), None);
        assert_eq!(
            found[0].to_string(),
            "p: m: cache_read_tokens: cached is at most, and a sixtieth at least, of input_tokens"
        );
        assert_eq!(found.len(), 1);
        assert_eq!(lint(&card(r#","note":"as printed""#), None), []);
    }
}
