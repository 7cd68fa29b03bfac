//! From a line to its prices: which revision, which conditions, which rate of a meter.
//!
//! Nothing here allocates but [`Price::rule`], which writes down how a price came about, once for each way.

use std::sync::Arc;

use super::{
    Authoritative, Compiled, CompiledModel, CompiledRate, Facts, INPUT_AT_MOST,
    LINE_CONDITIONS_MAX, RateCard, Steps, Unpriced, WHOLE_INPUT, Written, bit,
};
use crate::event::Rate;
use crate::money::Decimal;
use crate::time::Timestamp;
use crate::usage::{Line, Meter};

/// Room for most rules' text, so that writing one takes one piece of memory.
const RULE_BYTES: usize = 96;

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
#[derive(Clone, Copy, Debug)]
pub struct Price<'a> {
    /// After all add-ons and factors.
    pub rate: Rate,
    /// The meter that the rate is written for.
    pub of: Meter,
    steps: Option<&'a Steps>,
    card: &'a RateCard,
    came: Came<'a>,
}

/// How a price came about.
#[derive(Clone, Copy, Debug)]
enum Came<'a> {
    /// The vendor's own amount: the meter that carries it.
    Reported(Meter),
    Rated {
        source: Source<'a>,
        rate: &'a CompiledRate,
        /// A bit for each add-on of the revision that was added.
        addons: u64,
        /// A bit for each factor of the revision that was multiplied.
        factors: u64,
    },
}

impl<'a> Price<'a> {
    /// The price of a meter of a line that carries the vendor's own amount: that meter's in the
    /// declared unit, nothing for the others, which it covers.
    #[must_use]
    pub fn reported(card: &'a RateCard, reported: &Authoritative, meter: Meter) -> Self {
        let usd = match meter == reported.meter {
            true => reported.usd,
            false => Decimal::ZERO,
        };
        let per = reported.per;
        Self {
            rate: Rate { usd, per },
            of: meter,
            steps: None,
            card,
            came: Came::Reported(reported.meter),
        }
    }

    /// What is billed of a quantity: whole steps, and no less than the minimum. `None` when that is
    /// beyond what a decimal can be.
    #[must_use]
    pub fn billed(&self, quantity: Decimal) -> Option<Decimal> {
        match self.steps {
            Some(steps) => steps.billed(quantity),
            None => Some(quantity),
        }
    }

    /// `openai/gpt-6-sol/output_tokens?input_above=272000&service_tier=priority@2026-08-21`. A rule
    /// that names another meter or model shows a fallback.
    #[must_use]
    pub fn rule(&self) -> Arc<str> {
        match self.came {
            Came::Reported(meter) => {
                let how = match self.of == meter {
                    true => "/reported/",
                    false => "/covered_by/",
                };
                [&self.card.provider, how, meter.name()].concat().into()
            }
            Came::Rated {
                source,
                rate,
                addons,
                factors,
            } => {
                let written = rate.written.get();
                let same = written.filter(|way| (way.addons, way.factors) == (addons, factors));
                if let Some(way) = same {
                    return Arc::clone(&way.text);
                }
                let text: Arc<str> = self.rated(&source, rate.when, addons, factors).into();
                // Only the first way is kept.
                let _ = rate.written.set(Box::new(Written {
                    addons,
                    factors,
                    text: Arc::clone(&text),
                }));
                text
            }
        }
    }

    fn rated(&self, source: &Source<'_>, when: u16, addons: u64, factors: u64) -> String {
        let card = self.card;
        let mut rule = String::with_capacity(RULE_BYTES);
        rule.push_str(&source.model.rule_start);
        rule.push_str(self.of.name());
        let addons = bits(addons).map(|place| source.revision.addons[place].when);
        let factors = bits(factors).map(|place| {
            let factor = usize::from(source.revision.factors[place]);
            card.factors[factor].when
        });
        let mut joint = '?';
        for when in std::iter::once(when).chain(addons).chain(factors) {
            let text = card.whens[usize::from(when)].text();
            if !text.is_empty() {
                rule.push(joint);
                rule.push_str(text);
                joint = '&';
            }
        }
        rule.push_str(&source.revision.rule_end);
        rule
    }
}

/// The places of the bits that are set, in order.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (set != 0).then(|| set.trailing_zeros())?;
        set &= set - 1;
        Some(place as usize)
    })
}

impl RateCard {
    /// The prices of a line at an instant.
    pub fn select<'a>(
        &'a self,
        line: &'a Line,
        at: Timestamp,
    ) -> Result<Selection<'a>, Unpriced<'a>> {
        let model = self.model_index(&line.model);
        self.select_model(model, line, whole_input(line)?, at)
    }

    /// As [`RateCard::select`], of a model that was looked up, with the line's [`whole_input`].
    pub(crate) fn select_model<'a>(
        &'a self,
        model: Option<usize>,
        line: &'a Line,
        input: Decimal,
        at: Timestamp,
    ) -> Result<Selection<'a>, Unpriced<'a>> {
        let any = self
            .any_model
            .and_then(|index| source_at(&self.models[index], at));
        let own = match model {
            Some(index) => Some(source_at(&self.models[index], at).ok_or(Unpriced::NotYetPriced)?),
            None if any.is_some() => None,
            None => return Err(Unpriced::UnknownModel),
        };
        let mut selection = Selection {
            card: self,
            sources: [own, any],
            facts: Facts {
                named: [0; LINE_CONDITIONS_MAX],
                named_len: 0,
                input,
                at,
            },
        };
        selection.name_conditions(line)?;
        selection.hold_factors();
        Ok(selection)
    }
}

/// A bit for each meter of [`WHOLE_INPUT`].
const WHOLE_INPUT_BITS: u64 = {
    let mut bits = 0;
    let mut place = 0;
    while place < WHOLE_INPUT.len() {
        bits |= bit(WHOLE_INPUT[place]);
        place += 1;
    }
    bits
};

/// The input that bounds are compared with: the line's own, cached and written tokens included, or that
/// of the largest of the requests that the line is a sum of.
pub(crate) fn whole_input(line: &Line) -> Result<Decimal, Unpriced<'_>> {
    let mut input = Decimal::ZERO;
    for (meter, quantity) in line.usage.iter() {
        if WHOLE_INPUT_BITS & bit(meter) != 0 && !quantity.is_zero() {
            input = input.checked_add(quantity).ok_or(Unpriced::TooLarge)?;
        }
    }
    if line.conditions.is_empty() {
        return Ok(input);
    }
    let Some(value) = line.conditions.get(INPUT_AT_MOST) else {
        return Ok(input);
    };
    let most = value.parse().ok();
    let most = most.filter(|most: &Decimal| !most.is_negative());
    let most = most.ok_or(Unpriced::UnknownCondition {
        name: INPUT_AT_MOST,
        value,
    })?;
    Ok(input.min(most))
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
    pub fn price(&self, meter: Meter) -> Option<Price<'a>> {
        let (source, rate) = self.rate(meter)?;
        let mut usd = rate.usd;
        let mut addons = 0;
        for (place, addon) in source.revision.addons.iter().enumerate() {
            if addon.meter == rate.meter && self.holds(addon.when) {
                usd = usd.checked_add(addon.usd)?;
                addons |= 1 << place;
            }
        }
        let mut factors = 0;
        for place in bits(source.factors_held) {
            let factor = &self.card.factors[usize::from(source.revision.factors[place])];
            if factor.meters & bit(meter) != 0 {
                usd = usd.checked_mul(factor.factor)?;
                factors |= 1 << place;
            }
        }
        Some(Price {
            rate: Rate { usd, per: rate.per },
            of: rate.meter,
            steps: rate.steps.as_deref(),
            card: self.card,
            came: Came::Rated {
                source: *source,
                rate,
                addons,
                factors,
            },
        })
    }

    /// Whether the meter has a rate.
    pub(crate) fn has_rate(&self, meter: Meter) -> bool {
        self.rate(meter).is_some()
    }

    /// The rate of a meter, and where it is from.
    fn rate(&self, meter: Meter) -> Option<(&Source<'a>, &'a CompiledRate)> {
        let chain = &self.card.fallbacks[meter as usize];
        let mut sources = self.sources.iter().flatten();
        sources.find_map(|source| {
            let mut rates = chain.iter();
            rates.find_map(|meter| Some((source, self.rate_in(source, *meter)?)))
        })
    }

    fn rate_in(&self, source: &Source<'a>, meter: Meter) -> Option<&'a CompiledRate> {
        // A model has a handful of rates, in the order of meters: they are gone through sooner than halved.
        let rates = source.revision.rates.iter();
        rates
            .skip_while(|rate| rate.meter < meter)
            .take_while(|rate| rate.meter == meter)
            .find(|rate| self.holds(rate.when))
    }

    fn holds(&self, when: u16) -> bool {
        // The first asks for nothing.
        when == 0 || self.card.whens[usize::from(when)].hold(&self.facts)
    }

    fn hold_factors(&mut self) {
        let card = self.card;
        for source in self.sources.iter_mut().flatten() {
            for (place, factor) in source.revision.factors.iter().enumerate() {
                let when = card.factors[usize::from(*factor)].when;
                if card.whens[usize::from(when)].hold(&self.facts) {
                    source.factors_held |= 1 << place;
                }
            }
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
            let revisions = || self.sources.iter().flatten().map(|source| source.revision);
            if word.is_some_and(|word| revisions().any(|revision| revision.is_base(word))) {
                continue;
            }
            match word.filter(|word| revisions().any(|revision| revision.decides(*word))) {
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

impl Compiled {
    /// Whether a word means the base rate.
    fn is_base(&self, word: u16) -> bool {
        self.base.binary_search(&word).is_ok()
    }

    /// Whether a price of the revision asks for a word.
    fn decides(&self, word: u16) -> bool {
        self.decisive.binary_search(&word).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_told_in_order() {
        assert_eq!(bits(0).collect::<Vec<_>>(), [0; 0]);
        assert_eq!(bits(1 | 1 << 5 | 1 << 63).collect::<Vec<_>>(), [0, 5, 63]);
    }

    #[test]
    fn the_whole_input_is_that_of_its_meters_and_of_no_other() {
        for meter in Meter::ALL {
            let is_in = WHOLE_INPUT_BITS & bit(*meter) != 0;
            assert_eq!(is_in, WHOLE_INPUT.contains(meter), "{meter}");
        }
    }
}
