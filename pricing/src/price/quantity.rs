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

/// What the tenant is asked for a quantity.
#[derive(Clone, Copy, Default)]
enum Terms<'a> {
    /// Nothing that is known.
    #[default]
    Unknown,
    /// What the provider asks.
    Cost,
    /// That, times the second, by a rule.
    Markup(&'a Arc<str>, &'a Decimal),
    /// A rate of its own, by a rule.
    Fixed(&'a Arc<str>, Rate),
    /// Nothing: it is owed for by something else.
    Nothing(&'static str),
}

/// The price half of a charge.
#[derive(Default)]
pub(super) struct Sold<'a> {
    terms: Terms<'a>,
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
        let rule = self.offer.and_then(|offer| {
            let priced_as = match cost {
                Some(cost) => cost.of,
                // As nearly every card says.
                None if meter == Meter::ReasoningTokens => Meter::OutputTokens,
                None => meter,
            };
            offer.rule(meter, priced_as)
        });
        match rule {
            Some((
                rule,
                &SellingPrice::Fixed {
                    usd,
                    per,
                    ref steps,
                },
            )) => {
                let own = steps.as_ref().map(|steps| steps.billed(quantity));
                let billed = own.unwrap_or(Some(stepped));
                Sold {
                    terms: Terms::Fixed(rule, Rate { usd, per }),
                    usd: billed.and_then(|billed| charge(billed, usd, &[], per).ok()),
                    quantity: own.flatten(),
                }
            }
            _ if self.is_covered => Sold::nothing(PRICE_RULE_COVERED),
            Some((rule, SellingPrice::Markup(markup))) => Sold {
                terms: Terms::Markup(rule, markup),
                usd: cost.filter(|_| cost_usd.is_some()).and_then(|cost| {
                    charge(stepped, cost.rate.usd, &[*markup], cost.rate.per).ok()
                }),
                quantity: None,
            },
            None if self.paid_by == PaidBy::Operator => Sold {
                terms: Terms::Cost,
                usd: cost_usd,
                quantity: None,
            },
            None => Sold::nothing(PRICE_RULE_PAID_ELSEWHERE),
        }
    }
}

impl Sold<'_> {
    fn nothing(rule: &'static str) -> Self {
        Self {
            terms: Terms::Nothing(rule),
            usd: Some(Usd::ZERO),
            quantity: None,
        }
    }
}

impl Terms<'_> {
    /// The rate that is asked and the rule that asks it, beside what the provider asks.
    fn of(&self, cost: Option<&Price<'_>>) -> (Option<Rate>, Option<PriceRule>) {
        match *self {
            Self::Unknown => (None, None),
            Self::Cost => match cost {
                Some(cost) => (Some(cost.rate), Some(PriceRule::Own(PRICE_RULE_COST))),
                None => (None, None),
            },
            Self::Markup(rule, markup) => {
                let rate = cost.and_then(|cost| {
                    let usd = cost.rate.usd.checked_mul(*markup)?;
                    Some(Rate { usd, ..cost.rate })
                });
                (rate, Some(PriceRule::Named(Arc::clone(rule))))
            }
            Self::Fixed(rule, rate) => (Some(rate), Some(PriceRule::Named(Arc::clone(rule)))),
            Self::Nothing(rule) => {
                let rate = Rate {
                    usd: Decimal::ZERO,
                    per: Decimal::from(1),
                };
                (Some(rate), Some(PriceRule::Own(rule)))
            }
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

    /// `model` is shared by the charges of a line.
    pub(super) fn charge(&self, model: &Arc<str>) -> Charge {
        let (price_rate, price_rule) = self.sold.terms.of(self.price);
        Charge {
            model: Arc::clone(model),
            meter: self.meter,
            quantity: self.quantity,
            cost_rate: self.price.map(|price| price.rate),
            price_rate,
            cost_usd: self.cost_usd,
            billed_usd: self.sold.usd,
            cost_rule: self.price.map(Price::rule),
            price_rule,
            billed_quantity: self.sold.quantity,
        }
    }
}
