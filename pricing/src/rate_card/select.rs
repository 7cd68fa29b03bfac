//! From a line to its prices: which revision, which conditions, which rate of a meter.

use super::{
    Authoritative, Compiled, CompiledModel, CompiledRate, Facts, INPUT_AT_MOST,
    LINE_CONDITIONS_MAX, RateCard, Steps, Unpriced, WHOLE_INPUT, bit,
};
use crate::event::Rate;
use crate::money::Decimal;
use crate::time::Timestamp;
use crate::usage::{Line, Meter};

/// The prices that hold for one line.
#[derive(Debug)]
pub struct Selection<'a> {
    card: &'a RateCard,
    /// The model's own prices, then those of every model.
    sources: [Option<Source<'a>>; 2],
    facts: Facts,
}

/// One revision of one model, and which of its factors hold.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    model: &'a CompiledModel,
    revision: &'a Compiled,
    /// A bit for each factor of the revision.
    factors_held: u64,
}

/// The price of a meter of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// After all add-ons and factors.
    pub rate: Rate,
    /// `openai/gpt-6-sol/output_tokens?input_above=272000&service_tier=priority@2026-08-21`. A rule
    /// that names another meter or model shows a fallback.
    pub rule: String,
    /// The meter that the rate is written for.
    pub of: Meter,
    steps: Steps,
}

impl Price {
    /// The price of a meter of a line that carries the vendor's own amount: that meter's in the
    /// declared unit, nothing for the others, which it covers.
    #[must_use]
    pub fn reported(card: &RateCard, reported: &Authoritative, meter: Meter) -> Self {
        let is_amount = meter == reported.meter;
        let how = if is_amount { "reported" } else { "covered_by" };
        let rate = Rate {
            usd: if is_amount {
                reported.usd
            } else {
                Decimal::ZERO
            },
            per: reported.per,
        };
        Self {
            rate,
            rule: [card.provider(), how, reported.meter.name()].join("/"),
            of: meter,
            steps: Steps::default(),
        }
    }

    /// What is billed of a quantity: whole steps, and no less than the minimum. `None` when that is
    /// beyond what a decimal can be.
    #[must_use]
    pub fn billed(&self, quantity: Decimal) -> Option<Decimal> {
        self.steps.billed(quantity)
    }
}

impl RateCard {
    /// The prices of a line at an instant.
    pub fn select<'a>(
        &'a self,
        line: &'a Line,
        at: Timestamp,
    ) -> Result<Selection<'a>, Unpriced<'a>> {
        let any = self
            .any_model
            .and_then(|index| source_at(&self.models[index], at));
        let own = match self.model_index(&line.model) {
            Some(index) => Some(source_at(&self.models[index], at).ok_or(Unpriced::NotYetPriced)?),
            None if any.is_some() => None,
            None => return Err(Unpriced::UnknownModel),
        };
        let input = WHOLE_INPUT
            .iter()
            .filter_map(|meter| line.usage.quantity(*meter));
        let mut selection = Selection {
            card: self,
            sources: [own, any],
            facts: Facts {
                named: [0; LINE_CONDITIONS_MAX],
                named_len: 0,
                input: at_most(line, Decimal::checked_sum(input).ok_or(Unpriced::TooLarge)?)?,
                at,
            },
        };
        selection.name_conditions(line)?;
        selection.hold_factors();
        Ok(selection)
    }
}

/// The input that bounds are compared with: the line's own, or that of the largest of the requests
/// that the line is a sum of.
pub(super) fn at_most(line: &Line, input: Decimal) -> Result<Decimal, Unpriced<'_>> {
    let Some(value) = line.conditions.get(INPUT_AT_MOST) else {
        return Ok(input);
    };
    let most = value.parse().ok();
    let most = most.filter(|most: &Decimal| !most.is_negative());
    let most = most.ok_or(Unpriced::UnknownCondition {
        name: INPUT_AT_MOST,
        value,
    })?;
    let is_less = most
        .checked_sub(input)
        .is_some_and(|left| left.is_negative());
    Ok(if is_less { most } else { input })
}

fn source_at(model: &CompiledModel, at: Timestamp) -> Option<Source<'_>> {
    let mut revisions = model.revisions.iter().rev();
    let revision = revisions.find(|revision| revision.since.is_none_or(|since| since.0 <= at))?;
    Some(Source {
        model,
        revision,
        factors_held: 0,
    })
}

impl<'a> Selection<'a> {
    /// The card that the prices are from.
    #[must_use]
    pub fn card(&self) -> &'a RateCard {
        self.card
    }

    /// The card's own name of the model; `None` where only prices of every model hold.
    #[must_use]
    pub fn model(&self) -> Option<&'a str> {
        self.sources[0].map(|source| source.model.name.as_ref())
    }

    /// The price of a meter.
    #[must_use]
    pub fn price(&self, meter: Meter) -> Option<Price> {
        let chain = &self.card.fallbacks[meter as usize];
        let mut sources = self.sources.iter().flatten();
        let (source, rate) = sources.find_map(|source| {
            let mut rates = chain.iter();
            rates.find_map(|meter| Some((source, self.rate_in(source, *meter)?)))
        })?;
        let mut usd = rate.usd;
        let mut rule = String::with_capacity(96);
        for (joint, part) in [
            ("", self.card.provider.as_ref()),
            ("/", &source.model.name),
            ("/", rate.meter.name()),
        ] {
            rule.push_str(joint);
            rule.push_str(part);
        }
        let mut joint = '?';
        let mut add = |when: u16| {
            let text = self.card.whens[usize::from(when)].text();
            if !text.is_empty() {
                rule.push(joint);
                rule.push_str(text);
                joint = '&';
            }
        };
        add(rate.when);
        for addon in &source.revision.addons {
            if addon.meter == rate.meter && self.holds(addon.when) {
                usd = usd.checked_add(addon.usd)?;
                add(addon.when);
            }
        }
        for (index, factor) in source.revision.factors.iter().enumerate() {
            let factor = &self.card.factors[usize::from(*factor)];
            if source.factors_held & 1 << index != 0 && factor.meters & bit(meter) != 0 {
                usd = usd.checked_mul(factor.factor)?;
                add(factor.when);
            }
        }
        rule.push_str(&source.revision.rule_end);
        let per = rate.per;
        Some(Price {
            rate: Rate { usd, per },
            rule,
            of: rate.meter,
            steps: rate.steps.as_deref().copied().unwrap_or_default(),
        })
    }

    fn rate_in(&self, source: &Source<'a>, meter: Meter) -> Option<&'a CompiledRate> {
        let rates = &source.revision.rates;
        let start = rates.partition_point(|rate| rate.meter < meter);
        rates[start..]
            .iter()
            .take_while(|rate| rate.meter == meter)
            .find(|rate| self.holds(rate.when))
    }

    fn holds(&self, when: u16) -> bool {
        self.card.whens[usize::from(when)].hold(&self.facts)
    }

    fn hold_factors(&mut self) {
        let (card, facts) = (self.card, self.facts);
        for source in self.sources.iter_mut().flatten() {
            let factors = source.revision.factors.iter().enumerate();
            source.factors_held = factors
                .filter(|(_, factor)| {
                    let when = card.factors[usize::from(**factor)].when;
                    card.whens[usize::from(when)].hold(&facts)
                })
                .fold(0, |bits, (index, _)| bits | 1 << index);
        }
    }

    /// Puts the line's conditions into the card's words and drops those that mean the base rate.
    fn name_conditions(&mut self, line: &'a Line) -> Result<(), Unpriced<'a>> {
        let named = line
            .conditions
            .iter()
            .filter(|(name, _)| *name != INPUT_AT_MOST);
        for (name, value) in named {
            let word = self.card.words.meant(name, value);
            let any = |holds: &dyn Fn(&Compiled, u16) -> bool| {
                let mut sources = self.sources.iter().flatten();
                word.is_some_and(|word| sources.any(|source| holds(source.revision, word)))
            };
            if any(&|revision, word| revision.base.binary_search(&word).is_ok()) {
                continue;
            }
            let is_known = any(&|revision, word| self.card.is_written_for(revision, word));
            match word.filter(|_| is_known) {
                Some(word) => {
                    let free = self.facts.named.get_mut(self.facts.named_len);
                    *free.ok_or(Unpriced::TooLarge)? = word;
                    self.facts.named_len += 1;
                }
                None if self.card.neutral.iter().any(|neutral| neutral == name) => {}
                None => return Err(Unpriced::UnknownCondition { name, value }),
            }
        }
        Ok(())
    }
}

impl RateCard {
    fn is_written_for(&self, revision: &Compiled, word: u16) -> bool {
        let rates = revision.rates.iter().chain(&revision.addons);
        let factors = revision
            .factors
            .iter()
            .map(|factor| self.factors[usize::from(*factor)].when);
        rates
            .map(|rate| rate.when)
            .chain(factors)
            .any(|when| self.whens[usize::from(when)].named().contains(&word))
    }
}
