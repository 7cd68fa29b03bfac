//! Rate cards: one provider's prices as data, checked once on load and then only looked up.
//!
//! A card never changes; another one has another revision. A model is found by its exact name, an
//! alias, without its date, or without a gateway's prefix, and never by the start of its name. A
//! condition that the card does not know leaves the line without a price, never with the base one.

use std::collections::HashMap;
use std::fmt;

pub use self::condition::LINE_CONDITIONS_MAX;
use self::condition::{Facts, When};
pub use self::grammar::{CardFile, CardRate, Factor, Fallback, Model, Revision, Since, Synonym};
pub use self::set::CardSet;
use crate::event::Rate;
use crate::money::Decimal;
use crate::time::Timestamp;
use crate::usage::{Conditions, Line, Meter};

mod canonical;
mod check;
mod condition;
mod grammar;
mod name;
mod set;

/// Version of the grammar that this code reads.
pub const CARD_SCHEMA: u32 = 1;
/// Largest card read, in bytes.
pub const CARD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most factors of one model's revision.
pub const FACTORS_MAX: usize = 64;

/// Meters that make up the whole input, which long-context bounds are compared with.
pub const WHOLE_INPUT: &[Meter] = &[
    Meter::InputTokens,
    Meter::CacheReadTokens,
    Meter::CacheWriteTokens,
    Meter::CacheWrite1hTokens,
    Meter::CacheWrite12hTokens,
    Meter::InputAudioTokens,
    Meter::CacheReadAudioTokens,
    Meter::InputImageTokens,
    Meter::CacheReadImageTokens,
    Meter::InputVideoTokens,
    Meter::CacheReadVideoTokens,
];

/// What is wrong with a card: every problem found, each with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidCard(pub Vec<String>);

impl fmt::Display for InvalidCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for InvalidCard {}

/// Why a line, or one of its meters, has no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpriced<'a> {
    /// The card has no such model.
    UnknownModel,
    /// The model's first price starts later.
    NotYetPriced,
    /// A condition of the line that the model's prices do not know.
    UnknownCondition {
        /// The condition.
        name: &'a str,
        /// What it was.
        value: &'a str,
    },
    /// More conditions than [`LINE_CONDITIONS_MAX`], or quantities too large to add.
    TooLarge,
}

/// A provider's card, checked and indexed.
#[derive(Debug)]
pub struct RateCard {
    file: CardFile,
    canonical: String,
    revision: String,
    models: Vec<Vec<Compiled>>,
    /// Names and aliases to the place in `models`.
    names: HashMap<String, usize>,
    /// By meter, the meters whose rates hold for it, in order.
    fallbacks: Vec<Vec<Meter>>,
}

/// One revision of one model, ready to be asked.
#[derive(Debug)]
struct Compiled {
    since: Option<Since>,
    /// By meter; within one the first whose conditions hold counts.
    rates: Vec<CompiledRate>,
    factors: Vec<CompiledFactor>,
    /// Conditions that some rate or factor is written for.
    known: Vec<(String, String)>,
    base: Vec<(String, String)>,
    /// `@2026-08-21`, or nothing.
    rule_end: String,
}

#[derive(Debug)]
struct CompiledRate {
    meter: Meter,
    usd: Decimal,
    per: Decimal,
    when: When,
    /// `openai/gpt-6-sol/input_tokens`.
    rule_start: String,
}

#[derive(Debug)]
struct CompiledFactor {
    factor: Decimal,
    meters: Vec<Meter>,
    when: When,
}

impl RateCard {
    /// Reads and checks a card. All problems are reported together.
    pub fn from_json(text: &str) -> Result<Self, InvalidCard> {
        if text.len() > CARD_BYTES_MAX {
            let problem = format!("rate card: larger than {CARD_BYTES_MAX} bytes");
            return Err(InvalidCard(vec![problem]));
        }
        let file: CardFile = serde_json::from_str(text)
            .map_err(|reason| InvalidCard(vec![format!("rate card: {reason}")]))?;
        check::compile(file)
    }

    /// The vendor.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.file.provider
    }

    /// SHA-256 of the canonical form, in lower-case hex.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The canonical form, RFC 8785; [`RateCard::from_json`] reads it back to the same revision.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// What stands in the card.
    #[must_use]
    pub fn file(&self) -> &CardFile {
        &self.file
    }

    /// The card's own name of a model as the provider or a caller names it.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&str> {
        self.model_index(name)
            .map(|index| self.file.models[index].model.as_str())
    }

    fn model_index(&self, name: &str) -> Option<usize> {
        let never_reduced = &self.file.never_reduced;
        name::candidates(name, &self.file.name_prefixes).find_map(|candidate| {
            if candidate.is_reduced && never_reduced.iter().any(|never| never == candidate.of) {
                return None;
            }
            self.names.get(candidate.text).copied()
        })
    }

    /// The prices of a line at an instant.
    pub fn select<'a>(
        &'a self,
        line: &'a Line,
        at: Timestamp,
    ) -> Result<Selection<'a>, Unpriced<'a>> {
        let index = self
            .model_index(&line.model)
            .ok_or(Unpriced::UnknownModel)?;
        let revision = self.models[index]
            .iter()
            .rev()
            .find(|revision| revision.since.is_none_or(|since| since.0 <= at))
            .ok_or(Unpriced::NotYetPriced)?;
        let input = WHOLE_INPUT
            .iter()
            .filter_map(|meter| line.usage.quantity(*meter));
        let mut facts = Facts {
            named: [("", ""); LINE_CONDITIONS_MAX],
            named_len: 0,
            input: Decimal::checked_sum(input).ok_or(Unpriced::TooLarge)?,
            at,
        };
        self.name_conditions(&line.conditions, revision, &mut facts)?;
        let factors = revision.factors.iter().enumerate();
        let held = factors.filter(|(_, factor)| factor.when.hold(&facts));
        let factors_held = held.fold(0, |bits, (index, _)| bits | 1 << index);
        Ok(Selection {
            card: self,
            revision,
            facts,
            factors_held,
        })
    }

    /// Puts the line's conditions into the card's words and drops those that mean the base rate.
    fn name_conditions<'a>(
        &'a self,
        conditions: &'a Conditions,
        revision: &'a Compiled,
        facts: &mut Facts<'a>,
    ) -> Result<(), Unpriced<'a>> {
        for (name, value) in conditions {
            let said = (name.as_str(), value.as_str());
            let meant = check::synonym(&self.file.synonyms, said).unwrap_or(said);
            let is_in = |list: &[(String, String)]| {
                list.iter()
                    .any(|(name, value)| (name.as_str(), value.as_str()) == meant)
            };
            if is_in(&revision.base) {
                continue;
            }
            if !is_in(&revision.known) {
                let (name, value) = said;
                return Err(Unpriced::UnknownCondition { name, value });
            }
            let free = facts.named.get_mut(facts.named_len);
            *free.ok_or(Unpriced::TooLarge)? = meant;
            facts.named_len += 1;
        }
        Ok(())
    }
}

/// The prices that hold for one line.
#[derive(Debug)]
pub struct Selection<'a> {
    card: &'a RateCard,
    revision: &'a Compiled,
    facts: Facts<'a>,
    /// A bit for each factor of the revision whose conditions hold.
    factors_held: u64,
}

impl Selection<'_> {
    /// The rate of a meter after all factors, and the rule that says so:
    /// `openai/gpt-6-sol/output_tokens?input_above=272000&service_tier=priority@2026-08-21`. A rule
    /// that names another meter shows a fallback.
    #[must_use]
    pub fn rate(&self, meter: Meter) -> Option<(Rate, String)> {
        let rate = self.card.fallbacks[meter as usize]
            .iter()
            .find_map(|meter| self.card_rate(*meter))?;
        let mut usd = rate.usd;
        let mut rule = String::with_capacity(96);
        rule.push_str(&rate.rule_start);
        let mut joint = '?';
        let mut add = |when: &When| {
            if !when.text().is_empty() {
                rule.push(joint);
                rule.push_str(when.text());
                joint = '&';
            }
        };
        add(&rate.when);
        for (index, factor) in self.revision.factors.iter().enumerate() {
            if self.factors_held & 1 << index != 0 && factor.meters.contains(&meter) {
                usd = usd.checked_mul(factor.factor)?;
                add(&factor.when);
            }
        }
        rule.push_str(&self.revision.rule_end);
        let per = rate.per;
        Some((Rate { usd, per }, rule))
    }

    fn card_rate(&self, meter: Meter) -> Option<&CompiledRate> {
        self.revision
            .rates
            .iter()
            .find(|rate| rate.meter == meter && rate.when.hold(&self.facts))
    }
}

#[cfg(test)]
mod tests;
