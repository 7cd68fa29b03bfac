//! From a card as written to a card that can be asked.
//!
//! What many prices share, conditions and factors, is kept once a card and named by its place:
//! thousands of models are resident in a proxy.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::check::{self, Problems};
use super::condition::{When, WordId, Words};
use super::grammar::{CardFile, CardRate, CreditPrice, Model, Revision};
use super::{
    ANY_MODEL, Compiled, CompiledFactor, CompiledModel, CompiledRate, FACTORS_MAX, InvalidCard,
    RateCard, Steps, canonical,
};
use crate::money::Decimal;
use crate::usage::Meter;

/// What is shared, while it grows.
struct Shared<'a> {
    file: &'a CardFile,
    words: Words,
    whens: Vec<When>,
    factors: Vec<CompiledFactor>,
    problems: Problems,
}

pub(super) fn compile(file: &CardFile) -> Result<RateCard, InvalidCard> {
    let place = format!("rate card {}", file.provider);
    let mut problems = Problems::default();
    check::check_head(file, &place, &mut problems);
    let names = check::names(file, &place, &mut problems);
    let fallbacks = Meter::ALL
        .iter()
        .map(|meter| check::fallback_chain(file, *meter, &place, &mut problems))
        .collect();
    let Some(words) = Words::of(said(file), &file.synonyms) else {
        problems.add(&place, "too many different conditions");
        return Err(InvalidCard(problems.found));
    };
    let mut shared = Shared {
        file,
        words,
        // The first is the empty one: most prices ask for nothing.
        whens: vec![When::default()],
        factors: Vec::new(),
        problems,
    };
    for (index, price) in file.credit_prices.iter().enumerate() {
        let place = format!("{place}: credit price {}", index + 1);
        check::check_price(price.usd, price.per, &place, &mut shared.problems);
        check::check_source(&price.source, &price.checked, &place, &mut shared.problems);
    }
    let models: Box<[CompiledModel]> = file
        .models
        .iter()
        .map(|model| shared.model(model, &place))
        .collect();
    if !shared.problems.found.is_empty() {
        return Err(InvalidCard(shared.problems.found));
    }
    let canonical = canonical::canonical(file)
        .map_err(|reason| InvalidCard(vec![format!("{place}: {reason}")]))?;
    let any_model = models.iter().position(|model| *model.name == *ANY_MODEL);
    Ok(RateCard {
        provider: file.provider.as_str().into(),
        revision: canonical::revision(&canonical).into(),
        canonical: canonical.into(),
        any_model,
        models,
        names: names.exact,
        patterns: names.patterns,
        name_prefixes: names.prefixes,
        name_suffixes: file.name_suffixes.clone(),
        never_reduced: file.never_reduced.clone(),
        neutral: file.neutral_conditions.clone(),
        words: shared.words,
        whens: shared.whens.into(),
        factors: shared.factors.into(),
        fallbacks,
        fallback_cards: file.fallback_cards.clone(),
        authoritative: file.authoritative.clone(),
    })
}

/// Every condition of the card.
fn said(file: &CardFile) -> impl Iterator<Item = (&str, &str)> {
    let revisions = || file.models.iter().flat_map(|model| &model.revisions);
    let rates = revisions().flat_map(|revision| revision.rates.iter().chain(&revision.addons));
    let factors = revisions().flat_map(|revision| &revision.factors);
    let whens = rates
        .map(|rate| &rate.when)
        .chain(factors.map(|factor| &factor.when))
        .chain(file.credit_prices.iter().map(|price| &price.when));
    let base = std::iter::once(&file.base_values)
        .chain(revisions().map(|revision| &revision.base_values))
        .flatten()
        .flat_map(|(name, values)| {
            values
                .iter()
                .map(move |value| (name.as_str(), value.as_str()))
        });
    whens
        .flatten()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain(base)
}

impl Shared<'_> {
    fn model(&mut self, model: &Model, place: &str) -> CompiledModel {
        let place = format!("{place}: {}", model.model);
        if model.revisions.is_empty() {
            self.problems.add(&place, "no revision");
        }
        for pair in model.revisions.windows(2) {
            // An absent start sorts before every given one.
            if pair[0].from >= pair[1].from {
                let problem = "revisions are not in the order of `from`";
                self.problems.add(&place, problem);
            }
        }
        let revisions = model.revisions.iter();
        CompiledModel {
            name: model.model.as_str().into(),
            rule_start: format!("{}/{}/", self.file.provider, model.model).into(),
            revisions: revisions
                .map(|revision| self.revision(revision, &place))
                .collect(),
        }
    }

    fn revision(&mut self, revision: &Revision, place: &str) -> Compiled {
        let rule_end = revision
            .from
            .map_or_else(String::new, |since| format!("@{since}"));
        let place = format!("{place}{rule_end}");
        let rates = self.rates(&revision.rates, "rate", &place);
        let addons = self.rates(&revision.addons, "addon", &place);
        if rates.is_empty() {
            self.problems.add(&place, "no rate");
        }
        check::check_clashes(&rates, &self.whens, &self.words, &place, &mut self.problems);
        self.check_addons(&rates, &addons, &place);
        let factors = self.revision_factors(revision, &place);
        let base = self.base(revision);
        let decisive = self.check_words(&base, &rates, &addons, &factors, &place);
        let mut rates = rates;
        let rank = |rate: &CompiledRate| {
            let when = &self.whens[usize::from(rate.when)];
            (when.specificity(), when.threshold())
        };
        rates.sort_by(|left, right| (left.meter, rank(right)).cmp(&(right.meter, rank(left))));
        Compiled {
            since: revision.from,
            rates: rates.into(),
            addons: addons.into(),
            factors: factors.into(),
            base: base.into(),
            decisive: decisive.into(),
            rule_end: rule_end.into(),
        }
    }

    fn rates(&mut self, rates: &[CardRate], what: &str, place: &str) -> Vec<CompiledRate> {
        let mut compiled = Vec::with_capacity(rates.len());
        for (index, rate) in rates.iter().enumerate() {
            let place = format!("{place}: {what} {} ({})", index + 1, rate.meter);
            let usd = rate.usd.or(rate.credits).unwrap_or_default();
            check::check_price(usd, rate.per, &place, &mut self.problems);
            check::check_source(&rate.source, &rate.checked, &place, &mut self.problems);
            check::check_steps(rate.round_up_to, rate.minimum, &place, &mut self.problems);
            match (rate.usd, rate.credits) {
                (Some(usd), None) => {
                    let when = self.when(&rate.when, &place);
                    compiled.push(self.rate(rate, usd, rate.per, when));
                }
                (None, Some(credits)) => self.rate_in_credits(rate, credits, &place, &mut compiled),
                _ => {
                    let problem = "needs one of `usd` and `credits`";
                    self.problems.add(&place, problem);
                }
            }
        }
        compiled
    }

    /// A rate in credits is one rate for each price of a credit.
    fn rate_in_credits(
        &mut self,
        rate: &CardRate,
        credits: Decimal,
        place: &str,
        compiled: &mut Vec<CompiledRate>,
    ) {
        let file = self.file;
        if file.credit_prices.is_empty() {
            let problem = "is in credits, and there are no `credit_prices`";
            self.problems.add(place, problem);
        }
        for CreditPrice { usd, per, when, .. } in &file.credit_prices {
            let product = (credits.checked_mul(*usd), rate.per.checked_mul(*per));
            let (Some(usd), Some(per)) = product else {
                self.problems
                    .add(place, "has too many digits in US dollars");
                continue;
            };
            let mut both = rate.when.clone();
            for (name, value) in when {
                if both.insert(name.clone(), value.clone()).is_some() {
                    let problem = format!("condition {name}: is one of the credit's price too");
                    self.problems.add(place, problem);
                }
            }
            let when = self.when(&both, place);
            compiled.push(self.rate(rate, usd, per, when));
        }
    }

    fn rate(&self, rate: &CardRate, usd: Decimal, per: Decimal, when: u16) -> CompiledRate {
        CompiledRate {
            meter: rate.meter,
            when,
            usd,
            per,
            steps: Steps::said(rate.round_up_to, rate.minimum).map(Box::new),
            written: OnceLock::new(),
        }
    }

    /// An add-on is added to a rate, so both are for as many units.
    fn check_addons(&mut self, rates: &[CompiledRate], addons: &[CompiledRate], place: &str) {
        for addon in addons {
            let mut of_meter = rates.iter().filter(|rate| rate.meter == addon.meter);
            if addon.when == 0 {
                let problem = format!("addon ({}): `when` is empty", addon.meter);
                self.problems.add(place, problem);
            }
            if addon.steps.is_some() || of_meter.any(|rate| rate.per != addon.per) {
                let problem = format!("addon ({}): not as its rates count", addon.meter);
                self.problems.add(place, problem);
            }
        }
    }

    fn revision_factors(&mut self, revision: &Revision, place: &str) -> Vec<u16> {
        if revision.factors.len() > FACTORS_MAX || revision.addons.len() > FACTORS_MAX {
            let problem = format!("more than {FACTORS_MAX} factors or add-ons");
            self.problems.add(place, problem);
            return Vec::new();
        }
        let mut factors: Vec<u16> = Vec::with_capacity(revision.factors.len());
        for (index, factor) in revision.factors.iter().enumerate() {
            let place = format!("{place}: factor {}", index + 1);
            if factor.factor.is_negative() {
                self.problems.add(&place, "factor is negative");
            }
            if factor.when.is_empty() {
                let problem = "`when` is empty: put it into the rates";
                self.problems.add(&place, problem);
            }
            check::check_source(&factor.source, &factor.checked, &place, &mut self.problems);
            let compiled = CompiledFactor {
                factor: factor.factor,
                meters: check::meters_of(self.file, factor, &place, &mut self.problems),
                when: self.when(&factor.when, &place),
            };
            let is_twice = factors.iter().any(|other| {
                let other = &self.factors[usize::from(*other)];
                other.when == compiled.when && other.meters & compiled.meters != 0
            });
            if is_twice {
                let text = self.whens[usize::from(compiled.when)].text();
                let problem = format!("`{text}` already has a factor for a meter of it");
                self.problems.add(&place, problem);
            }
            let known = self.factors.iter().position(|other| *other == compiled);
            let at = known.unwrap_or_else(|| {
                self.factors.push(compiled);
                self.factors.len() - 1
            });
            factors.push(self.place(at, &place));
        }
        factors
    }

    fn when(&mut self, when: &BTreeMap<String, String>, place: &str) -> u16 {
        let parsed = When::parse(when, &self.words).unwrap_or_else(|problem| {
            self.problems.add(place, problem);
            When::default()
        });
        let known = self.whens.iter().position(|other| *other == parsed);
        let at = known.unwrap_or_else(|| {
            self.whens.push(parsed);
            self.whens.len() - 1
        });
        self.place(at, place)
    }

    fn place(&mut self, at: usize, place: &str) -> u16 {
        u16::try_from(at).unwrap_or_else(|_| {
            let problem = "one more condition or factor than a card can have";
            self.problems.add(place, problem);
            0
        })
    }

    fn base(&self, revision: &Revision) -> Vec<WordId> {
        let named = [&self.file.base_values, &revision.base_values];
        let values = named.into_iter().flatten();
        let mut words: Vec<WordId> = values
            .flat_map(|(name, values)| values.iter().filter_map(|value| self.words.id(name, value)))
            .collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    /// The words that decide. One cannot both decide and mean the base rate, nor mean another and
    /// decide.
    fn check_words(
        &mut self,
        base: &[WordId],
        rates: &[CompiledRate],
        addons: &[CompiledRate],
        factors: &[u16],
        place: &str,
    ) -> Vec<WordId> {
        let of_rates = rates.iter().chain(addons).map(|rate| rate.when);
        let of_factors = factors
            .iter()
            .map(|factor| self.factors[usize::from(*factor)].when);
        let whens = of_rates.chain(of_factors);
        let mut known: Vec<WordId> = whens
            .flat_map(|when| self.whens[usize::from(when)].named().iter().copied())
            .collect();
        known.sort_unstable();
        known.dedup();
        for word in &known {
            let (name, value) = self.words.text(*word);
            if base.binary_search(word).is_ok() {
                let problem = format!("condition {name}={value}: is also a base value");
                self.problems.add(place, problem);
            }
            if self.words.is_synonym(*word) {
                let problem = format!("condition {name}={value}: a synonym means another");
                self.problems.add(place, problem);
            }
        }
        let factors: Vec<&CompiledFactor> = factors
            .iter()
            .map(|factor| &self.factors[usize::from(*factor)])
            .collect();
        check::check_digits(
            rates,
            addons,
            &factors,
            (&self.whens, &self.words),
            place,
            &mut self.problems,
        );
        known
    }
}
