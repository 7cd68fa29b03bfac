//! From lines to charges: quantity × rate, and what of it the tenant owes.
//!
//! The proxy and the collector call the same code; the collector's figure is booked. A rate that is
//! missing makes an unknown amount, never a zero. Who needs no charges gets the same amounts without
//! them: texts are most of what a charge costs.

use std::fmt;
use std::sync::Arc;

use self::quantity::{Quantity, Sale};
use crate::event::{Charge, Event, Pricing, RateCards};
use crate::money::{Decimal, Usd};
use crate::rate_card::selling::{ALL_PROVIDERS, Buyer, ForSale, Offer, SellingPrice, SellingRules};
use crate::rate_card::{Authoritative, CardSet, Price, RateCard, Selection, Unpriced, whole_input};
use crate::time::Timestamp;
use crate::usage::{Line, Meter, UsageSource};

mod quantity;

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

/// An event's amounts without its charges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amounts {
    /// As in [`Priced`].
    pub cost_usd: Option<Usd>,
    /// As in [`Priced`].
    pub billed_usd: Option<Usd>,
    /// How far `billed_usd` is known.
    pub pricing: Pricing,
    /// The revisions it was priced by.
    pub rate_cards: RateCards,
}

impl Amounts {
    fn without_prices(amount: Option<Usd>, pricing: Pricing) -> Self {
        Self {
            cost_usd: amount,
            billed_usd: amount,
            pricing,
            rate_cards: RateCards::default(),
        }
    }
}

impl Priced {
    fn new(charges: Vec<Charge>, amounts: Amounts) -> Self {
        Self {
            charges,
            cost_usd: amounts.cost_usd,
            billed_usd: amounts.billed_usd,
            pricing: amounts.pricing,
            rate_cards: amounts.rate_cards,
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
    let by = By::active(cards, &event.provider);
    match without_prices(event) {
        Some(amounts) => Priced::new(Vec::new(), amounts),
        None => price_by(&by, &Call::of(event), &event.lines, &mut None),
    }
}

/// As [`price_event`], without the charges.
#[must_use]
pub fn event_amounts(event: &Event, cards: &CardSet) -> Amounts {
    without_prices(event).unwrap_or_else(|| {
        let by = By::active(cards, &event.provider);
        amounts_by(&by, &Call::of(event), &event.lines)
    })
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
    let of_cost = |revision: &str| {
        let card = cards.card_of_revision(&event.provider, revision);
        card.ok_or_else(|| unknown(&event.provider, revision))
    };
    let of_price = |revision: &str| {
        let rules = cards.selling_of_revision(revision);
        rules.ok_or_else(|| unknown(ALL_PROVIDERS, revision))
    };
    let by = By {
        cards,
        card: named.cost.as_deref().map(of_cost).transpose()?,
        selling: named.price.as_deref().map(of_price).transpose()?,
    };
    if let Some(amounts) = without_prices(event) {
        return Ok(Priced::new(Vec::new(), amounts));
    }
    let mut missing = None;
    let priced = price_by(&by, &Call::of(event), &event.lines, &mut missing);
    match missing {
        None => Ok(priced),
        Some(unknown) => Err(unknown),
    }
}

/// The amounts of an event that no price decides.
fn without_prices(event: &Event) -> Option<Amounts> {
    match event.usage_source {
        UsageSource::None => Some(Amounts::without_prices(Some(Usd::ZERO), Pricing::Free)),
        UsageSource::Missing | UsageSource::Pending => {
            Some(Amounts::without_prices(None, Pricing::Unknown))
        }
        UsageSource::Reported
        | UsageSource::Partial
        | UsageSource::Measured
        | UsageSource::Estimated => None,
    }
}

/// What lines are priced by.
struct By<'a> {
    cards: &'a CardSet,
    /// Without a card nothing has a cost.
    card: Option<&'a RateCard>,
    selling: Option<&'a SellingRules>,
}

impl<'a> By<'a> {
    fn active(cards: &'a CardSet, provider: &str) -> Self {
        Self {
            cards,
            card: cards.card(provider),
            selling: cards.selling(),
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
    let call = Call {
        provider,
        buyer: buyer.into(),
        at,
    };
    price_by(&By::active(cards, provider), &call, lines, &mut None)
}

/// As [`price`], without the charges.
#[must_use]
pub fn amounts<'a>(
    provider: &str,
    lines: &[Line],
    cards: &CardSet,
    buyer: impl Into<Buyer<'a>>,
    at: Timestamp,
) -> Amounts {
    let call = Call {
        provider,
        buyer: buyer.into(),
        at,
    };
    amounts_by(&By::active(cards, provider), &call, lines)
}

/// Whose call, of whom, and when.
struct Call<'a> {
    provider: &'a str,
    buyer: Buyer<'a>,
    at: Timestamp,
}

impl<'a> Call<'a> {
    fn of(event: &'a Event) -> Self {
        Self {
            provider: &event.provider,
            buyer: Buyer {
                tenant: event.tenant_id.as_ref().map(|tenant| tenant.as_str()),
                plan: event.plan.as_deref(),
                paid_by: event.paid_by,
            },
            at: event.started_at,
        }
    }
}

/// Prices lines by one card and those it names. `missing` is a card it names for one of the lines that
/// this process does not have.
fn price_by(
    by: &By<'_>,
    call: &Call<'_>,
    lines: &[Line],
    missing: &mut Option<UnknownRevision>,
) -> Priced {
    let mut sums = Sums::default();
    let mut charges = Vec::with_capacity(quantities(lines));
    for line in lines {
        let mut model = None;
        with_terms(by, call, line, missing, |rates, sale| {
            for (meter, quantity) in line.usage.iter() {
                let price = rates.price(meter);
                if price.is_none() && quantity.is_zero() {
                    continue;
                }
                let quantity = Quantity::priced(meter, quantity, price.as_ref(), sale);
                sums.add(quantity.cost_usd, quantity.sold.usd);
                let model = model.get_or_insert_with(|| Arc::from(line.model.as_str()));
                charges.push(quantity.charge(model));
            }
        });
    }
    Priced::new(charges, sums.amounts(by, lines))
}

fn amounts_by(by: &By<'_>, call: &Call<'_>, lines: &[Line]) -> Amounts {
    let mut sums = Sums::default();
    for line in lines {
        with_terms(by, call, line, &mut None, |rates, sale| {
            for (meter, quantity) in line.usage.iter() {
                if quantity.is_zero() {
                    // Nothing stays nothing at any price; only whether there is one tells.
                    if rates.have(meter) {
                        sums.add(Some(Usd::ZERO), Some(Usd::ZERO));
                    }
                    continue;
                }
                let price = rates.price(meter);
                let quantity = Quantity::priced(meter, quantity, price.as_ref(), sale);
                sums.add(quantity.cost_usd, quantity.sold.usd);
            }
        });
    }
    sums.amounts(by, lines)
}

fn quantities(lines: &[Line]) -> usize {
    lines.iter().map(|line| line.usage.len()).sum()
}

/// Does it with what holds for each quantity of a line: its rates and how it is sold. A quantity of zero is charged
/// for only where it has a price.
#[inline(always)]
fn with_terms<'a>(
    by: &By<'a>,
    call: &Call<'a>,
    line: &'a Line,
    missing: &mut Option<UnknownRevision>,
    work: impl FnOnce(&Rates<'a>, &Sale<'_, 'a>),
) {
    let input = whole_input(line);
    let rates = by.card.map_or(Rates::None, |card| {
        rates_of(by.cards, card, line, input, call.at, missing)
    });
    let (card, own_name) = rates.card_and_model();
    let offer = by.selling.map(|rules| {
        let line = ForSale {
            provider: call.provider,
            line,
            input: input.ok(),
            card: card.or(by.card),
            own_name,
        };
        rules.offer(call.buyer, line, call.at)
    });
    let is_covered =
        rates.is_reported() && offer.as_ref().is_some_and(|offer| has_fixed(offer, line));
    let sale = Sale {
        offer: offer.as_ref(),
        paid_by: call.buyer.paid_by,
        is_covered,
    };
    work(&rates, &sale);
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
    input: Result<Decimal, Unpriced<'a>>,
    at: Timestamp,
    missing: &mut Option<UnknownRevision>,
) -> Rates<'a> {
    let reported = card
        .authoritative()
        .filter(|reported| line.usage.quantity(reported.meter).is_some());
    if let Some(reported) = reported {
        return Rates::Reported(card, reported);
    }
    let select = |card: &'a RateCard, model: Option<usize>| {
        let selection = input.and_then(|input| card.select_model(model, line, input, at));
        selection.map_or(Rates::None, Rates::Selected)
    };
    let own = card.model_index(&line.model);
    if own.is_none() {
        for pin in card.fallback_cards() {
            let Some(other) = cards.card_of_revision(&pin.provider, &pin.revision) else {
                missing.get_or_insert_with(|| UnknownRevision {
                    provider: pin.provider.clone(),
                    revision: pin.revision.clone(),
                });
                return Rates::None;
            };
            let found = other.model_index(&line.model);
            if found.is_some() {
                return select(other, found);
            }
        }
    }
    select(card, own)
}

impl<'a> Rates<'a> {
    fn price(&self, meter: Meter) -> Option<Price<'a>> {
        match self {
            Self::None => None,
            Self::Reported(card, reported) => Some(Price::reported(card, reported, meter)),
            Self::Selected(selection) => selection.price(meter),
        }
    }

    /// Whether there is a price of the meter.
    fn have(&self, meter: Meter) -> bool {
        match self {
            Self::None => false,
            Self::Reported(..) => true,
            Self::Selected(selection) => selection.has_rate(meter),
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

/// Amounts of quantities, while they are added up.
struct Sums {
    cost: Option<Usd>,
    billed: Option<Usd>,
    quantities: usize,
    /// How many of them have a price.
    known: usize,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            cost: Some(Usd::ZERO),
            billed: Some(Usd::ZERO),
            quantities: 0,
            known: 0,
        }
    }
}

impl Sums {
    /// Adds what a quantity costs and what is billed for it.
    fn add(&mut self, cost: Option<Usd>, billed: Option<Usd>) {
        self.quantities += 1;
        let cost = self.cost.zip(cost);
        self.cost = cost.and_then(|(sum, by)| sum.checked_add(by));
        if let Some(by) = billed {
            self.known += 1;
            self.billed = self.billed.and_then(|sum| sum.checked_add(by));
        }
    }

    fn amounts(self, by: &By<'_>, lines: &[Line]) -> Amounts {
        if quantities(lines) == 0 {
            return Amounts::without_prices(None, Pricing::Unknown);
        }
        let is_known = self.known > 0 || self.quantities == 0;
        let billed_usd = self.billed.filter(|_| is_known);
        Amounts {
            cost_usd: self.cost,
            billed_usd,
            pricing: match billed_usd {
                None => Pricing::Unpriced,
                Some(_) if self.known == self.quantities => Pricing::Priced,
                Some(_) => Pricing::Partial,
            },
            rate_cards: RateCards {
                cost: by.card.map(RateCard::shared_revision),
                price: by.selling.map(SellingRules::shared_revision),
            },
        }
    }
}

#[cfg(test)]
mod tests;
