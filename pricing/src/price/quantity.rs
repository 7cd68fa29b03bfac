//! One quantity of a line: what it costs, how it is sold, and the charge that says so.

use std::sync::Arc;

use super::{PRICE_RULE_COST, PRICE_RULE_COVERED, PRICE_RULE_PAID_ELSEWHERE};
use crate::event::{Charge, PaidBy, PriceRule, Rate};
use crate::money::{Decimal, Usd, charge};
use crate::rate_card::Price;
use crate::rate_card::selling::{Offer, SellingPrice};
use crate::usage::Meter;

/// How a line is sold.
pub(super) struct Sale<'s, 'a> {
    pub(super) offer: Option<&'s Offer<'a>>,
    pub(super) paid_by: PaidBy,
    /// Fixed prices stand for the vendor's own amount.
    pub(super) is_covered: bool,
}

/// Names that the charges of a line share.
pub(super) struct Names<'a> {
    model: Arc<str>,
    /// The selling rule of the charge before.
    rule: Option<(&'a str, Arc<str>)>,
}

impl<'a> Names<'a> {
    pub(super) fn of(model: &str) -> Self {
        Self {
            model: Arc::from(model),
            rule: None,
        }
    }

    fn rule(&mut self, name: &'a str) -> Arc<str> {
        match &self.rule {
            Some((last, shared)) if std::ptr::eq(*last, name) => Arc::clone(shared),
            _ => {
                let shared = Arc::from(name);
                self.rule = Some((name, Arc::clone(&shared)));
                shared
            }
        }
    }
}

/// Which selling rule.
#[derive(Clone, Copy)]
enum SoldBy<'a> {
    Rule(&'a str),
    Own(&'static str),
}

/// The price half of a charge.
#[derive(Default)]
pub(super) struct Sold<'a> {
    rate: Option<Rate>,
    rule: Option<SoldBy<'a>>,
    pub(super) usd: Option<Usd>,
    /// Where the rule has steps of its own.
    quantity: Option<Decimal>,
}

impl<'a> Sale<'_, 'a> {
    /// `quantity` as it was counted, `stepped` as the vendor bills it.
    fn sell(
        &self,
        meter: Meter,
        quantity: Decimal,
        stepped: Decimal,
        cost: Option<&Price<'_>>,
        cost_usd: Option<Usd>,
    ) -> Sold<'a> {
        let priced_as = match cost {
            Some(cost) => cost.of,
            // As nearly every card says.
            None if meter == Meter::ReasoningTokens => Meter::OutputTokens,
            None => meter,
        };
        let rule = self.offer.and_then(|offer| offer.rule(meter, priced_as));
        let cost_rate = cost.map(|cost| cost.rate);
        match rule {
            Some((rule, SellingPrice::Fixed { usd, per, steps })) => {
                let own = steps.map(|steps| steps.billed(quantity));
                let billed = own.unwrap_or(Some(stepped));
                Sold {
                    rate: Some(Rate { usd, per }),
                    rule: Some(SoldBy::Rule(rule)),
                    usd: billed.and_then(|billed| charge(billed, usd, &[], per).ok()),
                    quantity: own.flatten(),
                }
            }
            _ if self.is_covered => Sold::nothing(PRICE_RULE_COVERED),
            Some((rule, SellingPrice::Markup(markup))) => Sold {
                rate: cost_rate.and_then(|rate| {
                    let usd = rate.usd.checked_mul(markup)?;
                    Some(Rate { usd, per: rate.per })
                }),
                rule: Some(SoldBy::Rule(rule)),
                usd: cost_rate
                    .zip(cost_usd)
                    .and_then(|(rate, _)| charge(stepped, rate.usd, &[markup], rate.per).ok()),
                quantity: None,
            },
            None if self.paid_by == PaidBy::Operator => Sold {
                rate: cost_rate,
                rule: cost_rate.map(|_| SoldBy::Own(PRICE_RULE_COST)),
                usd: cost_usd,
                quantity: None,
            },
            None => Sold::nothing(PRICE_RULE_PAID_ELSEWHERE),
        }
    }
}

impl Sold<'_> {
    /// Owed for by something else.
    fn nothing(rule: &'static str) -> Self {
        Self {
            rate: Some(Rate {
                usd: Decimal::ZERO,
                per: Decimal::from(1),
            }),
            rule: Some(SoldBy::Own(rule)),
            usd: Some(Usd::ZERO),
            quantity: None,
        }
    }
}

/// A quantity of a line with its price, before anything of it is written down.
pub(super) struct Quantity<'p, 'a> {
    meter: Meter,
    /// As the vendor bills it.
    quantity: Decimal,
    price: Option<&'p Price<'a>>,
    pub(super) cost_usd: Option<Usd>,
    pub(super) sold: Sold<'a>,
}

impl<'p, 'a> Quantity<'p, 'a> {
    pub(super) fn priced(
        meter: Meter,
        quantity: Decimal,
        price: Option<&'p Price<'a>>,
        sale: &Sale<'_, 'a>,
    ) -> Self {
        let stepped = match price {
            Some(price) => price.billed(quantity),
            None => Some(quantity),
        };
        let stepped = stepped.filter(|quantity| !quantity.is_negative());
        let cost_usd = price.zip(stepped).and_then(|(price, quantity)| {
            charge(quantity, price.rate.usd, &[], price.rate.per).ok()
        });
        let sold = stepped.map_or_else(Sold::default, |stepped| {
            sale.sell(meter, quantity, stepped, price, cost_usd)
        });
        Self {
            meter,
            quantity: stepped.unwrap_or(quantity),
            price,
            cost_usd,
            sold,
        }
    }

    pub(super) fn charge(&self, names: &mut Names<'a>) -> Charge {
        Charge {
            model: Arc::clone(&names.model),
            meter: self.meter,
            quantity: self.quantity,
            cost_rate: self.price.map(|price| price.rate),
            price_rate: self.sold.rate,
            cost_usd: self.cost_usd,
            billed_usd: self.sold.usd,
            cost_rule: self.price.map(Price::rule),
            price_rule: self.sold.rule.map(|rule| match rule {
                SoldBy::Rule(name) => PriceRule::Named(names.rule(name)),
                SoldBy::Own(name) => PriceRule::Own(name),
            }),
            billed_quantity: self.sold.quantity,
        }
    }
}
