//! From a card as written to a card that can be asked: every structural mistake is found here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use unicode_normalization::is_nfc;

use super::condition::When;
use super::grammar::{CardFile, Factor, Model, Revision, Synonym};
use super::{
    CARD_SCHEMA, Compiled, CompiledFactor, CompiledRate, FACTORS_MAX, InvalidCard, RateCard,
    canonical,
};
use crate::event::MODEL_BYTES_MAX;
use crate::money::{DIGITS_MAX, Decimal, SCALE_MAX};
use crate::usage::Meter;

/// Problems found so far, and the place that is being looked at.
struct Problems {
    found: Vec<String>,
}

impl Problems {
    fn add(&mut self, place: &str, problem: impl AsRef<str>) {
        self.found.push(format!("{place}: {}", problem.as_ref()));
    }
}

pub(super) fn compile(file: CardFile) -> Result<RateCard, InvalidCard> {
    let mut problems = Problems { found: Vec::new() };
    let place = format!("rate card {}", file.provider);
    check_head(&file, &place, &mut problems);
    let names = names(&file, &place, &mut problems);
    let fallbacks = Meter::ALL
        .iter()
        .map(|meter| fallback_chain(&file, *meter, &place, &mut problems))
        .collect();
    let models = file
        .models
        .iter()
        .map(|model| compile_model(&file, model, &place, &mut problems))
        .collect();
    if !problems.found.is_empty() {
        return Err(InvalidCard(problems.found));
    }
    let canonical = canonical::canonical(&file)
        .map_err(|reason| InvalidCard(vec![format!("{place}: {reason}")]))?;
    Ok(RateCard {
        revision: canonical::revision(&canonical),
        canonical,
        models,
        names,
        fallbacks,
        file,
    })
}

/// What a said condition means, if a synonym says so.
pub(super) fn synonym<'a>(
    synonyms: &'a [Synonym],
    (name, value): (&str, &str),
) -> Option<(&'a str, &'a str)> {
    let synonym = synonyms
        .iter()
        .find(|synonym| synonym.said.split_once('=') == Some((name, value)))?;
    synonym.means.split_once('=')
}

fn check_head(file: &CardFile, place: &str, problems: &mut Problems) {
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
    if file.name_prefixes.iter().any(String::is_empty) {
        problems.add(place, "name_prefixes: an empty prefix");
    }
}

fn names(file: &CardFile, place: &str, problems: &mut Problems) -> HashMap<String, usize> {
    let mut names = HashMap::new();
    for (index, model) in file.models.iter().enumerate() {
        for name in std::iter::once(&model.model).chain(&model.aliases) {
            if name.is_empty() || name.len() > MODEL_BYTES_MAX || !is_nfc(name) {
                problems.add(place, format!("model `{name}`: not a name"));
            }
            if names.insert(name.clone(), index).is_some() {
                problems.add(place, format!("model `{name}`: named twice"));
            }
        }
    }
    for name in &file.never_reduced {
        if names.contains_key(name) {
            problems.add(place, format!("never_reduced `{name}`: has a price"));
        }
    }
    names
}

fn fallback_chain(
    file: &CardFile,
    meter: Meter,
    place: &str,
    problems: &mut Problems,
) -> Vec<Meter> {
    let mut chain = vec![meter];
    let mut last = meter;
    loop {
        let mut next = file.fallbacks.iter().filter(|entry| entry.meter == last);
        let Some(entry) = next.next() else {
            return chain;
        };
        if next.next().is_some() {
            problems.add(place, format!("fallback of {last}: given twice"));
            return chain;
        }
        if chain.contains(&entry.rate_of) {
            problems.add(place, format!("fallback of {meter}: leads back to itself"));
            return chain;
        }
        last = entry.rate_of;
        chain.push(last);
    }
}

fn compile_model(
    file: &CardFile,
    model: &Model,
    place: &str,
    problems: &mut Problems,
) -> Vec<Compiled> {
    let place = format!("{place}: {}", model.model);
    if model.revisions.is_empty() {
        problems.add(&place, "no revision");
    }
    for pair in model.revisions.windows(2) {
        // An absent start sorts before every given one.
        if pair[0].from >= pair[1].from {
            problems.add(&place, "revisions are not in the order of `from`");
        }
    }
    model
        .revisions
        .iter()
        .map(|revision| compile_revision(file, model, revision, &place, problems))
        .collect()
}

fn compile_revision(
    file: &CardFile,
    model: &Model,
    revision: &Revision,
    place: &str,
    problems: &mut Problems,
) -> Compiled {
    let rule_end = revision
        .from
        .map_or_else(String::new, |since| format!("@{since}"));
    let place = format!("{place}{rule_end}");
    let base: Vec<(String, String)> = [&file.base_values, &revision.base_values]
        .into_iter()
        .flatten()
        .flat_map(|(name, values)| {
            values
                .iter()
                .map(move |value| (name.clone(), value.clone()))
        })
        .collect();
    let rates = compile_rates(file, model, revision, &place, problems);
    let factors = compile_factors(file, revision, &place, problems);
    check_digits(&rates, &factors, &place, problems);

    let whens = rates.iter().map(|rate| &rate.when);
    let whens = whens.chain(factors.iter().map(|factor| &factor.when));
    let known: BTreeSet<(String, String)> = whens.flat_map(When::named).cloned().collect();
    for (name, value) in &known {
        let said = (name.as_str(), value.as_str());
        if base.contains(&(name.clone(), value.clone())) {
            let problem = format!("condition {name}={value}: is also a base value");
            problems.add(&place, problem);
        }
        if synonym(&file.synonyms, said).is_some() {
            let problem = format!("condition {name}={value}: a synonym means another");
            problems.add(&place, problem);
        }
    }
    Compiled {
        since: revision.from,
        rates,
        factors,
        known: known.into_iter().collect(),
        base,
        rule_end,
    }
}

fn compile_rates(
    file: &CardFile,
    model: &Model,
    revision: &Revision,
    place: &str,
    problems: &mut Problems,
) -> Vec<CompiledRate> {
    let mut rates = Vec::with_capacity(revision.rates.len());
    for (index, rate) in revision.rates.iter().enumerate() {
        let place = format!("{place}: rate {} ({})", index + 1, rate.meter);
        if rate.usd.is_negative() {
            problems.add(&place, "usd is negative");
        }
        if rate.per.is_zero() || rate.per.is_negative() {
            problems.add(&place, "per is not positive");
        }
        check_source(&rate.source, &rate.checked, &place, problems);
        let when = When::parse(&rate.when).unwrap_or_else(|problem| {
            problems.add(&place, problem);
            When::default()
        });
        rates.push(CompiledRate {
            meter: rate.meter,
            usd: rate.usd,
            per: rate.per,
            when,
            rule_start: format!("{}/{}/{}", file.provider, model.model, rate.meter),
        });
    }
    if rates.is_empty() {
        problems.add(place, "no rate");
    }
    for (index, rate) in rates.iter().enumerate() {
        let clash = rates[..index]
            .iter()
            .find(|other| other.meter == rate.meter && other.when.clashes_with(&rate.when));
        if let Some(other) = clash {
            let problem = format!(
                "{}: `{}` and `{}` can both hold and neither is more specific",
                rate.meter,
                other.when.text(),
                rate.when.text()
            );
            problems.add(place, problem);
        }
    }
    rates.sort_by(|left, right| {
        let rank = |rate: &CompiledRate| (rate.when.specificity(), rate.when.threshold());
        (left.meter, rank(right)).cmp(&(right.meter, rank(left)))
    });
    rates
}

fn compile_factors(
    file: &CardFile,
    revision: &Revision,
    place: &str,
    problems: &mut Problems,
) -> Vec<CompiledFactor> {
    if revision.factors.len() > FACTORS_MAX {
        problems.add(place, format!("more than {FACTORS_MAX} factors"));
        return Vec::new();
    }
    let mut factors: Vec<CompiledFactor> = Vec::with_capacity(revision.factors.len());
    for (index, factor) in revision.factors.iter().enumerate() {
        let place = format!("{place}: factor {}", index + 1);
        if factor.factor.is_negative() {
            problems.add(&place, "factor is negative");
        }
        if factor.when.is_empty() {
            problems.add(&place, "`when` is empty: put it into the rates");
        }
        check_source(&factor.source, &factor.checked, &place, problems);
        let when = When::parse(&factor.when).unwrap_or_else(|problem| {
            problems.add(&place, problem);
            When::default()
        });
        let meters = meters_of(file, factor, &place, problems);
        let is_twice = factors.iter().any(|other| {
            other.when == when && other.meters.iter().any(|meter| meters.contains(meter))
        });
        if is_twice {
            let problem = format!("`{}` already has a factor for a meter of it", when.text());
            problems.add(&place, problem);
        }
        factors.push(CompiledFactor {
            factor: factor.factor,
            meters,
            when,
        });
    }
    factors
}

fn meters_of(file: &CardFile, factor: &Factor, place: &str, problems: &mut Problems) -> Vec<Meter> {
    let mut meters = Vec::new();
    for name in &factor.meters {
        match (file.groups.get(name), name.parse()) {
            (Some(group), _) => meters.extend_from_slice(group),
            (None, Ok(meter)) => meters.push(meter),
            (None, Err(_)) => problems.add(place, format!("`{name}`: neither meter nor group")),
        }
    }
    if meters.is_empty() {
        problems.add(place, "no meter");
    }
    meters
}

fn check_source(source: &str, checked: &str, place: &str, problems: &mut Problems) {
    if source.trim().is_empty() {
        problems.add(place, "no source");
    }
    if checked.parse::<jiff::civil::Date>().is_err() {
        problems.add(place, format!("checked `{checked}`: not a day"));
    }
}

/// A rate after all factors is itself a decimal, so that it can be shown: the product of any
/// factors that can hold together must fit.
fn check_digits(
    rates: &[CompiledRate],
    factors: &[CompiledFactor],
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
        let (name, value) = match factor.when.named().first() {
            Some((name, value)) => (name.as_str(), value.as_str()),
            None => ("", ""),
        };
        let sum = by_condition
            .entry(name)
            .or_default()
            .entry(value)
            .or_default();
        let (scale, digits) = size(factor.factor);
        *sum = (sum.0 + scale, sum.1 + digits);
    }
    let scale: u32 = by_condition
        .values()
        .map(|values| values.values().map(|size| size.0).max().unwrap_or(0))
        .sum();
    let digits: u32 = by_condition
        .values()
        .map(|values| values.values().map(|size| size.1).max().unwrap_or(0))
        .sum();
    for rate in rates {
        let own = size(rate.usd);
        if own.0 + scale > u32::from(SCALE_MAX) || own.1 + digits > DIGITS_MAX {
            let problem = format!("{}: has too many digits with its factors", rate.meter);
            problems.add(place, problem);
        }
    }
}
