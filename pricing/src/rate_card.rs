//! Rate cards: one provider's prices as data, checked once on load and then only looked up.
//!
//! A card never changes; another one has another revision. A model is found by its exact name, an
//! alias, without its date, or without a gateway's prefix or suffix, and last by a form of names
//! that the card spells out, never by the start of its name. A condition that the card does not
//! know leaves the line without a price, never with the base one.

use std::fmt;
use std::sync::{Arc, OnceLock};

use self::by_name::ByName;
pub use self::condition::LINE_CONDITIONS_MAX;
use self::condition::{Facts, When, WordId, Words};
pub use self::grammar::{
    Authoritative, CardFile, CardRate, CreditPrice, Factor, Fallback, FallbackCard, Model,
    Revision, Since, Synonym,
};
use self::name::{Pattern, Prefix, without_date};
pub(crate) use self::select::whole_input;
pub use self::select::{Price, Selection};
pub use self::set::CardSet;
pub use self::steps::Steps;
use crate::money::Decimal;
use crate::usage::Meter;

pub mod bundle;
pub mod diff;
pub mod lint;
pub mod selling;

mod by_name;
mod canonical;
mod check;
mod compile;
mod condition;
mod grammar;
mod name;
mod select;
mod set;
mod shape;
mod steps;

/// Version of the grammar that this code reads.
pub const CARD_SCHEMA: u32 = 1;
/// Largest card read, in bytes.
pub const CARD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most factors, and most add-ons, of one model's revision.
pub const FACTORS_MAX: usize = 64;
/// The model whose prices hold for every model that has none of its own.
pub const ANY_MODEL: &str = "*";

/// The condition of a line that is a sum over several requests: none of them had more input tokens than
/// this, so that a bound on the input of one request is not taken to be passed by their sum.
pub const INPUT_AT_MOST: &str = "input_at_most";

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

/// A provider's card, checked and indexed. What is only read by people stays in its canonical text.
#[derive(Debug)]
pub struct RateCard {
    provider: Box<str>,
    canonical: Box<str>,
    revision: Arc<str>,
    models: Box<[CompiledModel]>,
    /// The place in `models` of [`ANY_MODEL`].
    any_model: Option<usize>,
    /// Names and aliases to the place in `models`.
    names: ByName<u32>,
    patterns: Box<[(Pattern, u32)]>,
    name_prefixes: Box<[Prefix]>,
    name_suffixes: Vec<String>,
    never_reduced: Vec<String>,
    neutral: Vec<String>,
    words: Words,
    whens: Box<[When]>,
    factors: Box<[CompiledFactor]>,
    /// By meter, the meters whose rates hold for it, in order.
    fallbacks: Box<[Box<[Meter]>]>,
    fallback_cards: Vec<FallbackCard>,
    authoritative: Option<Authoritative>,
}

#[derive(Debug)]
struct CompiledModel {
    name: Box<str>,
    /// `openai/gpt-6-sol/`.
    rule_start: Box<str>,
    revisions: Box<[Compiled]>,
}

/// One revision of one model, ready to be asked.
#[derive(Debug)]
struct Compiled {
    since: Option<Since>,
    /// By meter; within one the first whose conditions hold counts.
    rates: Box<[CompiledRate]>,
    addons: Box<[CompiledRate]>,
    /// Places in the card's factors.
    factors: Box<[u16]>,
    /// Words that mean the base rate, in order.
    base: Box<[WordId]>,
    /// Words that a price asks for, in order.
    decisive: Box<[WordId]>,
    /// `@2026-08-21`, or nothing.
    rule_end: Box<str>,
}

#[derive(Debug)]
struct CompiledRate {
    meter: Meter,
    /// Place in the card's conditions.
    when: u16,
    usd: Decimal,
    per: Decimal,
    steps: Option<Box<Steps>>,
    /// How the first price by it came about, in words. Nearly all that follow come about the same way.
    written: OnceLock<Box<Written>>,
}

/// How a price came about: the rate with what was added and multiplied, each a bit for each place in its revision.
#[derive(Debug)]
struct Written {
    addons: u64,
    factors: u64,
    text: Arc<str>,
}

#[derive(Debug, PartialEq, Eq)]
struct CompiledFactor {
    factor: Decimal,
    /// A bit for each meter.
    meters: u64,
    when: u16,
}

impl RateCard {
    /// Reads and checks a card. All problems are reported together.
    pub fn from_json(text: &str) -> Result<Self, InvalidCard> {
        compile::compile(&read(text)?)
    }

    /// The vendor.
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// SHA-256 of the canonical form, in lower-case hex.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The same, for what keeps it beside many others.
    pub(crate) fn shared_revision(&self) -> Arc<str> {
        Arc::clone(&self.revision)
    }

    /// The canonical form, RFC 8785; [`RateCard::from_json`] reads it back to the same revision.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// What stands in the card. Read again from its text, so not for the path of a call.
    #[must_use]
    pub fn file(&self) -> CardFile {
        serde_json::from_str(&self.canonical).expect("the canonical form was made of this")
    }

    /// The vendor's own amount for a call, if it reports one.
    #[must_use]
    pub fn authoritative(&self) -> Option<&Authoritative> {
        self.authoritative.as_ref()
    }

    /// Cards to ask for a model that has no price here.
    #[must_use]
    pub fn fallback_cards(&self) -> &[FallbackCard] {
        &self.fallback_cards
    }

    /// The card's own names of its models.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|model| model.name.as_ref())
    }

    /// How many names lead to a model, aliases included and forms of names not.
    #[must_use]
    pub fn names_len(&self) -> usize {
        self.names.len()
    }

    /// The card's own name of a model as the provider or a caller names it.
    #[must_use]
    pub fn model(&self, name: &str) -> Option<&str> {
        self.model_index(name)
            .map(|index| self.models[index].name.as_ref())
    }

    pub(crate) fn model_index(&self, name: &str) -> Option<usize> {
        // Most names are the card's own; the forms of names come after.
        let index = match self.names.get(name) {
            Some(index) => Some(*index),
            None => self.shortened(name).or_else(|| self.by_pattern(name)),
        };
        index.map(|index| index as usize)
    }

    fn shortened(&self, name: &str) -> Option<u32> {
        for of in self.candidates(name) {
            // The whole name was looked for.
            let literal = self.names.get(of).filter(|_| of.len() < name.len());
            let reduced = || {
                let reduced = without_date(of)?;
                let stays = |never: &String| never == of;
                let index = self.names.get(reduced)?;
                (!self.never_reduced.iter().any(stays)).then_some(index)
            };
            if let Some(index) = literal.or_else(reduced) {
                return Some(*index);
            }
        }
        None
    }

    fn by_pattern(&self, name: &str) -> Option<u32> {
        let patterns = &self.patterns;
        let fits = |name: &str| patterns.iter().find(|(form, _)| form.fits(name));
        let mut names = self.candidates(name);
        names.find_map(|name| fits(name).map(|(_, index)| *index))
    }

    fn candidates<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        name::candidates(name, &self.name_prefixes, &self.name_suffixes)
    }
}

fn read(text: &str) -> Result<CardFile, InvalidCard> {
    let one = |problem: String| InvalidCard(vec![format!("rate card: {problem}")]);
    if text.len() > CARD_BYTES_MAX {
        return Err(one(format!("larger than {CARD_BYTES_MAX} bytes")));
    }
    let value = serde_json::from_str(text).map_err(|reason| one(reason.to_string()))?;
    shape::check(&value)?;
    // From the text, not from the value: only there a member that is given twice can be seen.
    serde_json::from_str(text).map_err(|reason| one(reason.to_string()))
}

/// The bit of a meter.
const fn bit(meter: Meter) -> u64 {
    1 << meter as u8
}

const _: () = assert!(Meter::ALL.len() <= 64, "a set of meters is 64 bits");

#[cfg(test)]
mod tests;
