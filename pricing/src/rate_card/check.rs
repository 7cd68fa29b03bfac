//! Mistakes of a card that its form does not show: names given twice, fallbacks that lead back,
//! places without a source, more digits than an amount can have.

use std::collections::BTreeMap;

use unicode_normalization::is_nfc;

use super::by_name::ByName;
use super::condition::{When, Words};
use super::grammar::{CardFile, Factor};
use super::name::{Pattern, Prefix};
use super::{ANY_MODEL, CARD_SCHEMA, CompiledFactor, CompiledRate, bit};
use crate::event::MODEL_BYTES_MAX;
use crate::money::{DIGITS_MAX, Decimal, SCALE_MAX};
use crate::usage::Meter;

/// Problems found so far.
#[derive(Default)]
pub(super) struct Problems {
    pub(super) found: Vec<String>,
}

impl Problems {
    pub(super) fn add(&mut self, place: &str, problem: impl AsRef<str>) {
        self.found.push(format!("{place}: {}", problem.as_ref()));
    }
}

pub(super) fn check_head(file: &CardFile, place: &str, problems: &mut Problems) {
    if file.schema != CARD_SCHEMA {
        let problem = format!("schema {} is not {CARD_SCHEMA}", file.schema);
        problems.add(place, problem);
    }
    if file.provider.is_empty() || !is_nfc(&file.provider) {
        problems.add(place, "provider needs a name in normalization form C");
    }
    for synonym in &file.synonyms {
        for side in [&synonym.said, &synonym.means] {
            if side.split_once('=').is_none() {
                problems.add(place, format!("synonym `{side}`: not name=value"));
            }
        }
    }
    for (name, meters) in &file.groups {
        if meters.is_empty() || name.parse::<Meter>().is_ok() {
            problems.add(place, format!("group `{name}`: empty, or named as a meter"));
        }
    }
    if file.name_suffixes.iter().any(String::is_empty) {
        problems.add(place, "name_suffixes: an empty suffix");
    }
    for card in &file.fallback_cards {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if card.revision.len() != 64 || !card.revision.bytes().all(is_hex) {
            let problem = format!("fallback card {}: no revision", card.provider);
            problems.add(place, problem);
        }
        if card.provider == file.provider {
            problems.add(place, "fallback card: is this card's own vendor");
        }
    }
    if let Some(authoritative) = &file.authoritative {
        let place = format!("{place}: authoritative");
        check_price(authoritative.usd, authoritative.per, &place, problems);
        check_source(
            &authoritative.source,
            &authoritative.checked,
            &place,
            problems,
        );
        if authoritative.unit.trim().is_empty() {
            problems.add(&place, "no unit");
        }
    }
}

/// Steps and minimums are above zero.
pub(super) fn check_steps(
    round_up_to: Option<Decimal>,
    minimum: Option<Decimal>,
    place: &str,
    problems: &mut Problems,
) {
    for (name, value) in [("round_up_to", round_up_to), ("minimum", minimum)] {
        if value.is_some_and(|value| value.is_zero() || value.is_negative()) {
            problems.add(place, format!("{name} is not positive"));
        }
    }
}

/// By what a model is found: its names, and the forms of its names, with its place.
pub(super) struct Names {
    pub(super) exact: ByName<u32>,
    pub(super) prefixes: Box<[Prefix]>,
    pub(super) patterns: Box<[(Pattern, u32)]>,
}

pub(super) fn names(file: &CardFile, place: &str, problems: &mut Problems) -> Names {
    let mut names = ByName::default();
    let mut prefixes = Vec::new();
    for text in &file.name_prefixes {
        match Prefix::parse(text) {
            Some(prefix) => prefixes.push(prefix),
            None => problems.add(place, format!("name_prefixes `{text}`: no prefix of names")),
        }
    }
    let mut patterns = Vec::new();
    for (index, model) in (0..).zip(&file.models) {
        let is_any = model.model == ANY_MODEL;
        for name in std::iter::once(&model.model).chain(&model.aliases) {
            if name.is_empty() || name.len() > MODEL_BYTES_MAX || !is_nfc(name) {
                problems.add(place, format!("model `{name}`: not a name"));
            }
            if names.insert(name.as_str().into(), index).is_some() {
                problems.add(place, format!("model `{name}`: named twice"));
            }
        }
        if is_any {
            names.remove(ANY_MODEL);
            if !(model.aliases.is_empty() && model.patterns.is_empty()) {
                problems.add(place, "model `*`: has further names");
            }
        }
        for text in &model.patterns {
            match Pattern::parse(text) {
                Some(pattern) => patterns.push((pattern, index)),
                None => problems.add(place, format!("pattern `{text}`: no form of names")),
            }
        }
    }
    for name in &file.never_reduced {
        if names.contains_key(name.as_str()) {
            problems.add(place, format!("never_reduced `{name}`: has a price"));
        }
    }
    Names {
        exact: names,
        prefixes: prefixes.into(),
        patterns: patterns.into(),
    }
}

pub(super) fn fallback_chain(
    file: &CardFile,
    meter: Meter,
    place: &str,
    problems: &mut Problems,
) -> Box<[Meter]> {
    let mut chain = vec![meter];
    let mut last = meter;
    loop {
        let mut next = file.fallbacks.iter().filter(|entry| entry.meter == last);
        let Some(entry) = next.next() else {
            return chain.into();
        };
        if next.next().is_some() {
            problems.add(place, format!("fallback of {last}: given twice"));
            return chain.into();
        }
        if chain.contains(&entry.rate_of) {
            problems.add(place, format!("fallback of {meter}: leads back to itself"));
            return chain.into();
        }
        last = entry.rate_of;
        chain.push(last);
    }
}

pub(super) fn check_price(usd: Decimal, per: Decimal, place: &str, problems: &mut Problems) {
    if usd.is_negative() {
        problems.add(place, "usd is negative");
    }
    if per.is_zero() || per.is_negative() {
        problems.add(place, "per is not positive");
    }
}

pub(super) fn check_source(source: &str, checked: &str, place: &str, problems: &mut Problems) {
    if source.trim().is_empty() {
        problems.add(place, "no source");
    }
    if checked.parse::<jiff::civil::Date>().is_err() {
        problems.add(place, format!("checked `{checked}`: not a day"));
    }
}

/// The meters of a factor, as bits.
pub(super) fn meters_of(
    file: &CardFile,
    factor: &Factor,
    place: &str,
    problems: &mut Problems,
) -> u64 {
    let mut meters = 0;
    for name in &factor.meters {
        match (file.groups.get(name), name.parse()) {
            (Some(group), _) => meters |= group.iter().fold(0, |bits, meter| bits | bit(*meter)),
            (None, Ok(meter)) => meters |= bit(meter),
            (None, Err(_)) => problems.add(place, format!("`{name}`: neither meter nor group")),
        }
    }
    if meters == 0 {
        problems.add(place, "no meter");
    }
    meters
}

/// Rates of which one line could meet two, neither the more specific, and none is for that case.
pub(super) fn check_clashes(
    rates: &[CompiledRate],
    whens: &[When],
    words: &Words,
    place: &str,
    problems: &mut Problems,
) {
    let when = |rate: &CompiledRate| &whens[usize::from(rate.when)];
    for (index, rate) in rates.iter().enumerate() {
        let mut same = rates[..index]
            .iter()
            .filter(|other| other.meter == rate.meter);
        let clash = same.find(|other| {
            let is_for_both = |third: &CompiledRate| {
                third.meter == rate.meter
                    && when(third).specificity() > when(rate).specificity()
                    && when(third).is_implied_by(when(other), when(rate))
            };
            when(other).clashes_with(when(rate), words) && !rates.iter().any(is_for_both)
        });
        if let Some(other) = clash {
            let problem = format!(
                "{}: `{}` and `{}` can both hold and neither is more specific",
                rate.meter,
                when(other).text(),
                when(rate).text()
            );
            problems.add(place, problem);
        }
    }
}

/// A rate after all add-ons and factors is itself a decimal, so that it can be shown: the product of
/// any that can hold together must fit.
pub(super) fn check_digits(
    rates: &[CompiledRate],
    addons: &[CompiledRate],
    factors: &[&CompiledFactor],
    (whens, words): (&[When], &Words),
    place: &str,
    problems: &mut Problems,
) {
    let size = |value: Decimal| {
        let digits = value.mantissa().unsigned_abs().checked_ilog10();
        (u32::from(value.scale()), digits.unwrap_or(0) + 1)
    };
    // Factors exclude each other when they ask for different values of one condition.
    let mut by_condition: BTreeMap<&str, BTreeMap<&str, (u32, u32)>> = BTreeMap::new();
    for factor in factors {
        let first = whens[usize::from(factor.when)].named().first();
        let (name, value) = first.map_or(("", ""), |word| words.text(*word));
        let values = by_condition.entry(name).or_default();
        let sum = values.entry(value).or_default();
        let (scale, digits) = size(factor.factor);
        *sum = (sum.0 + scale, sum.1 + digits);
    }
    let most = |part: fn(&(u32, u32)) -> u32| -> u32 {
        let values = by_condition.values();
        values
            .map(|values| values.values().map(part).max().unwrap_or(0))
            .sum()
    };
    let (scale, digits) = (most(|size| size.0), most(|size| size.1));
    for rate in rates {
        let same = addons.iter().filter(|addon| addon.meter == rate.meter);
        // A sum of n terms has at most as many digits more as n has.
        let own = same.fold(size(rate.usd), |own, addon| {
            let (scale, digits) = size(addon.usd);
            let whole = (own.1.saturating_sub(own.0)).max(digits.saturating_sub(scale)) + 1;
            let scale = own.0.max(scale);
            (scale, whole + scale)
        });
        if own.0 + scale > u32::from(SCALE_MAX) || own.1 + digits > DIGITS_MAX {
            let problem = format!("{}: has too many digits with its factors", rate.meter);
            problems.add(place, problem);
        }
    }
}
