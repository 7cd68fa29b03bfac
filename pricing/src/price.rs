//! From lines to charges: quantity × rate, and what of it the tenant owes.
//!
//! The proxy and the collector call the same code; the collector's figure is booked. A rate that is
//! missing makes an unknown amount, never a zero.

use std::fmt;

use crate::event::{Charge, Event, PaidBy, Pricing, Rate, RateCards};
use crate::money::{Decimal, Usd, charge};
use crate::rate_card::selling::{ALL_PROVIDERS, Buyer, Offer, SellingPrice, SellingRules};
use crate::rate_card::{Authoritative, CardSet, Price, RateCard, Selection};
use crate::time::Timestamp;
use crate::usage::{Line, Meter, UsageSource};

/// The selling rule where none is written: the tenant owes what the provider charges.
pub const PRICE_RULE_COST: &str = "cost";
/// The selling rule of a vendor's own amount where the operator's fixed prices of the same line say
/// what is charged for it.
pub const PRICE_RULE_COVERED: &str = "covered";
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
    /// The vendor; [`ALL_PROVIDERS`]: the selling rules.
    pub provider: String,
    /// The revision asked for.
    pub revision: String,
}

impl fmt::Display for UnknownRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider, revision } = self;
        if provider == ALL_PROVIDERS {
            return write!(f, "selling rules: revision {revision} is not known");
        }
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

/// Prices an event by the active card of its provider and the active selling rules.
#[must_use]
pub fn price_event(event: &Event, cards: &CardSet) -> Priced {
    let by = By {
        cards,
        card: cards.card(&event.provider),
        selling: cards.selling(),
    };
    price_event_by(event, &by, &mut None)
}

/// Prices an event by the revisions it names. One that names none was not priced, and is by the
/// active ones; one that names a card and no selling rules had none.
pub fn price_event_as_stamped(event: &Event, cards: &CardSet) -> Result<Priced, UnknownRevision> {
    let named = &event.rate_cards;
    if named.cost.is_none() && named.price.is_none() {
        return Ok(price_event(event, cards));
    }
    let unknown = |provider: &str, revision: &str| UnknownRevision {
        provider: provider.to_owned(),
        revision: revision.to_owned(),
    };
    let of_cost = |revision: &String| {
        let card = cards.card_of_revision(&event.provider, revision);
        card.ok_or_else(|| unknown(&event.provider, revision))
    };
    let of_price = |revision: &String| {
        let rules = cards.selling_of_revision(revision);
        rules.ok_or_else(|| unknown(ALL_PROVIDERS, revision))
    };
    let by = By {
        cards,
        card: named.cost.as_ref().map(of_cost).transpose()?,
        selling: named.price.as_ref().map(of_price).transpose()?,
    };
    let mut missing = None;
    let priced = price_event_by(event, &by, &mut missing);
    match missing {
        None => Ok(priced),
        Some(unknown) => Err(unknown),
    }
}

/// What an event is priced by.
struct By<'a> {
    cards: &'a CardSet,
    /// Without a card nothing has a cost.
    card: Option<&'a RateCard>,
    selling: Option<&'a SellingRules>,
}

fn price_event_by(event: &Event, by: &By<'_>, missing: &mut Option<UnknownRevision>) -> Priced {
    match event.usage_source {
        UsageSource::None => Priced::without_charges(Some(Usd::ZERO), Pricing::Free),
        UsageSource::Missing | UsageSource::Pending => {
            Priced::without_charges(None, Pricing::Unknown)
        }
        UsageSource::Reported
        | UsageSource::Partial
        | UsageSource::Measured
        | UsageSource::Estimated => {
            let buyer = Buyer {
                tenant: event.tenant_id.as_ref().map(|tenant| tenant.as_str()),
                plan: event.plan.as_deref(),
                paid_by: event.paid_by,
            };
            let (lines, at) = (&event.lines, event.started_at);
            price_by(by, &event.provider, lines, buyer, at, missing)
        }
    }
}

/// Prices lines by the active card of a provider and the active selling rules.
#[must_use]
pub fn price<'a>(
    provider: &str,
    lines: &[Line],
    cards: &CardSet,
    buyer: impl Into<Buyer<'a>>,
    at: Timestamp,
) -> Priced {
    let by = By {
        cards,
        card: cards.card(provider),
        selling: cards.selling(),
    };
    price_by(&by, provider, lines, buyer.into(), at, &mut None)
}

/// Prices lines by one card and those it names. `missing` is a card it names for one of the lines that
/// this process does not have.
fn price_by(
    by: &By<'_>,
    provider: &str,
    lines: &[Line],
    buyer: Buyer<'_>,
    at: Timestamp,
    missing: &mut Option<UnknownRevision>,
) -> Priced {
    let quantities = lines.iter().map(|line| line.usage.iter().count()).sum();
    if quantities == 0 {
        return Priced::without_charges(None, Pricing::Unknown);
    }
    let mut charges = Vec::with_capacity(quantities);
    for line in lines {
        let rates = by.card.map_or(Rates::None, |card| {
            rates_of(by.cards, card, line, at, missing)
        });
        let (card, own_name) = rates.card_and_model();
        let offer = by
            .selling
            .map(|rules| rules.offer(buyer, provider, line, card.or(by.card), own_name, at));
        let is_covered =
            rates.is_reported() && offer.as_ref().is_some_and(|offer| has_fixed(offer, line));
        let sale = Sale {
            offer: offer.as_ref(),
            paid_by: buyer.paid_by,
            is_covered,
        };
        for (meter, quantity) in line.usage.iter() {
            let price = rates.price(meter);
            if price.is_none() && quantity.is_zero() {
                continue;
            }
            charges.push(charge_of(line, meter, quantity, price, &sale));
        }
    }
    let mut priced = add_up(charges);
    priced.rate_cards.cost = by.card.map(|card| card.revision().to_owned());
    priced.rate_cards.price = by.selling.map(|rules| rules.revision().to_owned());
    priced
}

/// Whether a fixed price holds for a quantity of the line.
fn has_fixed(offer: &Offer<'_>, line: &Line) -> bool {
    line.usage.iter().any(|(meter, _)| {
        matches!(
            offer.rule(meter, meter),
            Some((_, SellingPrice::Fixed { .. }))
        )
    })
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

impl<'a> Rates<'a> {
    fn price(&self, meter: Meter) -> Option<Price> {
        match self {
            Self::None => None,
            Self::Reported(card, reported) => Some(Price::reported(card, reported, meter)),
            Self::Selected(selection) => selection.price(meter),
        }
    }

    fn is_reported(&self) -> bool {
        matches!(self, Self::Reported(..))
    }

    /// Whose words and names the line is read by.
    fn card_and_model(&self) -> (Option<&'a RateCard>, Option<&'a str>) {
        match self {
            Self::None => (None, None),
            Self::Reported(card, _) => (Some(card), None),
            Self::Selected(selection) => (Some(selection.card()), selection.model()),
        }
    }
}

/// How a line is sold.
struct Sale<'a> {
    offer: Option<&'a Offer<'a>>,
    paid_by: PaidBy,
    /// Fixed prices stand for the vendor's own amount.
    is_covered: bool,
}

/// The price half of a charge: rate, rule and amount.
type Sold<'a> = (Option<Rate>, Option<&'a str>, Option<Usd>);

impl<'a> Sale<'a> {
    fn sell(
        &self,
        meter: Meter,
        quantity: Decimal,
        cost: Option<&Price>,
        cost_usd: Option<Usd>,
    ) -> Sold<'a> {
        let priced_as = match cost {
            Some(cost) => cost.of,
            // As nearly every card says.
            None if meter == Meter::ReasoningTokens => Meter::OutputTokens,
            None => meter,
        };
        let rule = self.offer.and_then(|offer| offer.rule(meter, priced_as));
        let cost_rate = cost.map(|cost| &cost.rate);
        match rule {
            Some((rule, SellingPrice::Fixed { usd, per })) => {
                let billed = charge(quantity, usd, &[], per).ok();
                (Some(Rate { usd, per }), Some(rule), billed)
            }
            _ if self.is_covered => (Some(nothing()), Some(PRICE_RULE_COVERED), Some(Usd::ZERO)),
            Some((rule, SellingPrice::Markup(markup))) => {
                let billed = cost_rate
                    .zip(cost_usd)
                    .and_then(|(rate, _)| charge(quantity, rate.usd, &[markup], rate.per).ok());
                let marked_up = cost_rate.and_then(|rate| {
                    let usd = rate.usd.checked_mul(markup)?;
                    Some(Rate { usd, per: rate.per })
                });
                (marked_up, Some(rule), billed)
            }
            None if self.paid_by == PaidBy::Operator => (
                cost_rate.cloned(),
                cost_rate.map(|_| PRICE_RULE_COST),
                cost_usd,
            ),
            None => (
                Some(nothing()),
                Some(PRICE_RULE_PAID_ELSEWHERE),
                Some(Usd::ZERO),
            ),
        }
    }
}

fn nothing() -> Rate {
    Rate {
        usd: Decimal::ZERO,
        per: Decimal::from(1),
    }
}

fn charge_of(
    line: &Line,
    meter: Meter,
    quantity: Decimal,
    price: Option<Price>,
    sale: &Sale<'_>,
) -> Charge {
    let stepped = match &price {
        Some(price) => price.billed(quantity),
        None => Some(quantity),
    };
    let stepped = stepped.filter(|quantity| !quantity.is_negative());
    let cost_usd = price
        .as_ref()
        .zip(stepped)
        .and_then(|(price, quantity)| charge(quantity, price.rate.usd, &[], price.rate.per).ok());
    let (price_rate, price_rule, billed_usd) = match stepped {
        Some(quantity) => sale.sell(meter, quantity, price.as_ref(), cost_usd),
        None => (None, None, None),
    };
    let (cost_rate, cost_rule) = price.map(|price| (price.rate, price.rule)).unzip();
    Charge {
        model: line.model.clone(),
        meter,
        quantity: stepped.unwrap_or(quantity),
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
