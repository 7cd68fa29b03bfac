//! From lines to charges: quantity × rate, and what of it the tenant owes.
//!
//! The proxy and the collector call the same code; the collector's figure is booked. A rate that is
//! missing makes an unknown amount, never a zero.

use std::fmt;

use crate::event::{Charge, Event, PaidBy, Pricing, Rate, RateCards};
use crate::money::{Decimal, Usd, charge};
use crate::rate_card::{Authoritative, CardSet, Price, RateCard, Selection};
use crate::time::Timestamp;
use crate::usage::{Line, Meter, UsageSource};

/// The selling rule while the operator has none: the tenant owes what the provider charges.
pub const PRICE_RULE_COST: &str = "cost";
/// The selling rule where the provider bills somebody else: the tenant owes nothing.
pub const PRICE_RULE_PAID_ELSEWHERE: &str = "paid_by_other";

/// An event's amounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced {
    /// One for each quantity of each line.
    pub charges: Vec<Charge>,
    /// What the provider charges; `None` when a rate is missing.
    pub cost_usd: Option<Usd>,
    /// What the tenant owes: the sum of what is known; `None` when nothing is.
    pub billed_usd: Option<Usd>,
    /// How far `billed_usd` is known.
    pub pricing: Pricing,
    /// The revisions it was priced by.
    pub rate_cards: RateCards,
}

impl Priced {
    fn without_charges(amount: Option<Usd>, pricing: Pricing) -> Self {
        Self {
            charges: Vec::new(),
            cost_usd: amount,
            billed_usd: amount,
            pricing,
            rate_cards: RateCards::default(),
        }
    }
}

/// A revision that this process does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRevision {
    /// The vendor.
    pub provider: String,
    /// The revision asked for.
    pub revision: String,
}

impl fmt::Display for UnknownRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider, revision } = self;
        write!(f, "rate card {provider}: revision {revision} is not known")
    }
}

impl std::error::Error for UnknownRevision {}

/// A quantity below zero, which nothing may report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegativeQuantity {
    /// The model of the line.
    pub model: String,
    /// The meter.
    pub meter: Meter,
}

impl fmt::Display for NegativeQuantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of `{}` is negative", self.meter, self.model)
    }
}

impl std::error::Error for NegativeQuantity {}

/// Refuses quantities below zero. [`price`] itself leaves such a quantity without an amount.
pub fn check_quantities(lines: &[Line]) -> Result<(), NegativeQuantity> {
    for line in lines {
        let negative = line
            .usage
            .iter()
            .find(|(_, quantity)| quantity.is_negative());
        if let Some((meter, _)) = negative {
            return Err(NegativeQuantity {
                model: line.model.clone(),
                meter,
            });
        }
    }
    Ok(())
}

/// Prices an event by the active card of its provider.
#[must_use]
pub fn price_event(event: &Event, cards: &CardSet) -> Priced {
    let mut missing = None;
    price_event_by(event, cards, cards.card(&event.provider), &mut missing)
}

/// Prices an event by the revision it names, and by the active card where it names none.
pub fn price_event_as_stamped(event: &Event, cards: &CardSet) -> Result<Priced, UnknownRevision> {
    let Some(revision) = &event.rate_cards.cost else {
        return Ok(price_event(event, cards));
    };
    let Some(card) = cards.card_of_revision(&event.provider, revision) else {
        return Err(UnknownRevision {
            provider: event.provider.clone(),
            revision: revision.clone(),
        });
    };
    let mut missing = None;
    let priced = price_event_by(event, cards, Some(card), &mut missing);
    match missing {
        None => Ok(priced),
        Some(unknown) => Err(unknown),
    }
}

fn price_event_by(
    event: &Event,
    cards: &CardSet,
    card: Option<&RateCard>,
    missing: &mut Option<UnknownRevision>,
) -> Priced {
    match event.usage_source {
        UsageSource::None => Priced::without_charges(Some(Usd::ZERO), Pricing::Free),
        UsageSource::Missing | UsageSource::Pending => {
            Priced::without_charges(None, Pricing::Unknown)
        }
        UsageSource::Reported
        | UsageSource::Partial
        | UsageSource::Measured
        | UsageSource::Estimated => {
            let (lines, at) = (&event.lines, event.started_at);
            price_by(cards, card, lines, event.paid_by, at, missing)
        }
    }
}

/// Prices lines by the active card of a provider.
#[must_use]
pub fn price(
    provider: &str,
    lines: &[Line],
    cards: &CardSet,
    paid_by: PaidBy,
    at: Timestamp,
) -> Priced {
    price_by(cards, cards.card(provider), lines, paid_by, at, &mut None)
}

/// Prices lines by one card and those it names; without a card nothing has a rate. `missing` is a
/// card it names for one of the lines that this process does not have.
fn price_by(
    cards: &CardSet,
    card: Option<&RateCard>,
    lines: &[Line],
    paid_by: PaidBy,
    at: Timestamp,
    missing: &mut Option<UnknownRevision>,
) -> Priced {
    let quantities = lines.iter().map(|line| line.usage.iter().count()).sum();
    if quantities == 0 {
        return Priced::without_charges(None, Pricing::Unknown);
    }
    let mut charges = Vec::with_capacity(quantities);
    for line in lines {
        let rates = card.map_or(Rates::None, |card| rates_of(cards, card, line, at, missing));
        for (meter, quantity) in line.usage.iter() {
            let price = rates.price(meter);
            if price.is_none() && quantity.is_zero() {
                continue;
            }
            charges.push(charge_of(line, meter, quantity, price, paid_by));
        }
    }
    let mut priced = add_up(charges);
    priced.rate_cards.cost = card.map(|card| card.revision().to_owned());
    priced
}

/// Where the rates of a line come from.
enum Rates<'a> {
    None,
    /// The vendor's own amount is on the line.
    Reported(&'a RateCard, &'a Authoritative),
    Selected(Selection<'a>),
}

fn rates_of<'a>(
    cards: &'a CardSet,
    card: &'a RateCard,
    line: &'a Line,
    at: Timestamp,
    missing: &mut Option<UnknownRevision>,
) -> Rates<'a> {
    let reported = card
        .authoritative()
        .filter(|reported| line.usage.quantity(reported.meter).is_some());
    if let Some(reported) = reported {
        return Rates::Reported(card, reported);
    }
    let pins = card.fallback_cards();
    if !pins.is_empty() && card.model(&line.model).is_none() {
        for pin in pins {
            let Some(other) = cards.card_of_revision(&pin.provider, &pin.revision) else {
                missing.get_or_insert_with(|| UnknownRevision {
                    provider: pin.provider.clone(),
                    revision: pin.revision.clone(),
                });
                return Rates::None;
            };
            if other.model(&line.model).is_some() {
                return other.select(line, at).map_or(Rates::None, Rates::Selected);
            }
        }
    }
    card.select(line, at).map_or(Rates::None, Rates::Selected)
}

impl Rates<'_> {
    fn price(&self, meter: Meter) -> Option<Price> {
        match self {
            Self::None => None,
            Self::Reported(card, reported) => Some(Price::reported(card, reported, meter)),
            Self::Selected(selection) => selection.price(meter),
        }
    }
}

fn charge_of(
    line: &Line,
    meter: Meter,
    quantity: Decimal,
    price: Option<Price>,
    paid_by: PaidBy,
) -> Charge {
    let billed = price.as_ref().and_then(|price| price.billed(quantity));
    let (cost_rate, cost_rule) = price.map(|price| (price.rate, price.rule)).unzip();
    let cost_usd = cost_rate
        .as_ref()
        .zip(billed.filter(|quantity| !quantity.is_negative()))
        .and_then(|(rate, quantity)| charge(quantity, rate.usd, &[], rate.per).ok());
    let (price_rate, price_rule, billed_usd) = match paid_by {
        PaidBy::Operator => (
            cost_rate.clone(),
            cost_rate.as_ref().map(|_| PRICE_RULE_COST),
            cost_usd,
        ),
        PaidBy::Tenant | PaidBy::Caller => {
            let nothing = Rate {
                usd: Decimal::ZERO,
                per: Decimal::from(1),
            };
            (
                Some(nothing),
                Some(PRICE_RULE_PAID_ELSEWHERE),
                Some(Usd::ZERO),
            )
        }
    };
    Charge {
        model: line.model.clone(),
        meter,
        quantity: billed.unwrap_or(quantity),
        cost_rate,
        price_rate,
        cost_usd,
        billed_usd,
        cost_rule,
        price_rule: price_rule.map(str::to_owned),
    }
}

fn add_up(charges: Vec<Charge>) -> Priced {
    let cost_usd = charges
        .iter()
        .try_fold(Usd::ZERO, |sum, charge| sum.checked_add(charge.cost_usd?));
    let billed = charges.iter().filter_map(|charge| charge.billed_usd);
    let known = billed.clone().count();
    let billed_usd = (known > 0 || charges.is_empty())
        .then(|| Usd::checked_sum(billed))
        .flatten();
    let pricing = match billed_usd {
        None => Pricing::Unpriced,
        Some(_) if known == charges.len() => Pricing::Priced,
        Some(_) => Pricing::Partial,
    };
    Priced {
        charges,
        cost_usd,
        billed_usd,
        pricing,
        rate_cards: RateCards::default(),
    }
}

#[cfg(test)]
mod tests;
