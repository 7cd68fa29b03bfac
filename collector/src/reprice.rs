//! Events priced anew: what other cards or rules would charge for the same lines.
//!
//! Nothing is booked here. What counts is how an event stands, its corrections included, so that what
//! was repriced already shows no difference the second time.

use std::collections::BTreeMap;

use farebox_pricing::event::{Charge, Pricing, RateCards};
use farebox_pricing::money::Usd;
use farebox_pricing::price::price_event;
use farebox_pricing::rate_card::CardSet;
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::adjustments::Standing;

/// What an event owes by model and meter: cost, then price.
type Amounts<'a> = BTreeMap<(&'a str, &'static str), (Usd, Usd)>;

/// A sum past what an amount holds; quantities are bounded so that no event reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// What an event would change by.
#[derive(Clone, Debug)]
pub(crate) struct Repriced {
    pub(crate) old: Side,
    pub(crate) new: Side,
    /// What each meter would change by; no meter that stays.
    pub(crate) deltas: Vec<Delta>,
}

/// How an event stands, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RepricedSide)]
pub(crate) struct Side {
    /// How far it is priced.
    #[schema(value_type = String)]
    pub pricing: Pricing,
    /// The cost; null: not known.
    #[schema(value_type = Option<String>)]
    pub cost_usd: Option<Usd>,
    /// What is billed; null: not known.
    #[schema(value_type = Option<String>)]
    pub billed_usd: Option<Usd>,
    /// The revisions: `{cost, price}`.
    #[schema(value_type = Object)]
    pub rate_cards: RateCards,
}

/// What a meter changes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Delta {
    /// The model of the line.
    pub model: String,
    /// The meter.
    pub meter: String,
    /// Signed change of the cost.
    #[schema(value_type = String)]
    pub cost_usd: Usd,
    /// Signed change of what is billed.
    #[schema(value_type = String)]
    pub billed_usd: Usd,
}

impl Repriced {
    /// Whether anything would be booked.
    pub(crate) fn is_different(&self) -> bool {
        let (old, new) = (&self.old, &self.new);
        !self.deltas.is_empty() || old.pricing != new.pricing
    }
}

/// An event by other prices, against how it stands. A repeat stands with the event that it repeats.
pub(crate) fn reprice(standing: &Standing, cards: &CardSet) -> Result<Option<Repriced>, Overflow> {
    if standing.pricing == Pricing::Repeat {
        return Ok(None);
    }
    let priced = price_event(&standing.event, cards);
    let deltas = deltas(&sums(&standing.charges)?, &sums(&priced.charges)?)?;
    Ok(Some(Repriced {
        deltas,
        old: Side {
            pricing: standing.pricing,
            cost_usd: standing.cost_usd,
            billed_usd: standing.billed_usd,
            rate_cards: standing.event.rate_cards.clone(),
        },
        new: Side {
            pricing: priced.pricing,
            cost_usd: priced.cost_usd,
            billed_usd: priced.billed_usd,
            rate_cards: priced.rate_cards,
        },
    }))
}

/// What has no price is nothing in the sums.
fn sums(charges: &[Charge]) -> Result<Amounts<'_>, Overflow> {
    let mut amounts = Amounts::new();
    for charge in charges {
        let place = (&*charge.model, charge.meter.name());
        let sum = amounts.entry(place).or_default();
        let add = |sum: Usd, by: Option<Usd>| sum.checked_add(by.unwrap_or_default());
        *sum = (
            add(sum.0, charge.cost_usd).ok_or(Overflow)?,
            add(sum.1, charge.billed_usd).ok_or(Overflow)?,
        );
    }
    Ok(amounts)
}

fn deltas(was: &Amounts<'_>, is: &Amounts<'_>) -> Result<Vec<Delta>, Overflow> {
    let mut places: Vec<_> = was.keys().chain(is.keys()).collect();
    places.sort_unstable();
    places.dedup();
    let mut deltas = Vec::new();
    for place in places {
        let of = |amounts: &Amounts<'_>| amounts.get(place).copied().unwrap_or_default();
        let (was, is) = (of(was), of(is));
        let less = |is: Usd, was: Usd| is.checked_add(Usd::from_pico(-was.as_pico()));
        let cost_usd = less(is.0, was.0).ok_or(Overflow)?;
        let billed_usd = less(is.1, was.1).ok_or(Overflow)?;
        if cost_usd != Usd::ZERO || billed_usd != Usd::ZERO {
            deltas.push(Delta {
                model: place.0.to_owned(),
                meter: place.1.to_owned(),
                cost_usd,
                billed_usd,
            });
        }
    }
    Ok(deltas)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use farebox_pricing::event::Event;
    use farebox_pricing::rate_card::selling::SellingRules;

    use super::*;
    use crate::ingest::months::Month;

    /// `gpt-4o-mini`: 1,000 tokens in, 100 out, 0.00021 USD, as it stands by those cards.
    fn standing(cards: &CardSet) -> Standing {
        let id = "019aa9a8-6f00-7000-8000-000000000001";
        let event: Event = serde_json::from_value(serde_json::json!({
            "event_id": id, "call_id": id, "part": 1, "is_final": true, "schema": 1,
            "tenant_id": "acme", "environment": "live", "attribution": "key", "paid_by": "operator",
            "upstream": "openai", "provider": "openai", "endpoint": "chat",
            "started_at": "2026-11-22T10:00:00Z", "ending": "complete", "transport": "http",
            "attempt": 1, "usage_source": "reported", "pricing": "unknown",
            "lines": [{"model": "gpt-4o-mini", "usage": {"input_tokens": "1000", "output_tokens": "100"}}],
        }))
        .unwrap();
        let priced = price_event(&event, cards);
        Standing {
            event,
            charges: priced.charges,
            cost_usd: priced.cost_usd,
            billed_usd: priced.billed_usd,
            pricing: priced.pricing,
            day: 0,
            period: Month(0),
            first_tenant: None,
            corrections: 0,
        }
    }

    fn marked_up(markup: &str) -> CardSet {
        let rules = format!(
            r#"{{"schema":1,"kind":"price","rules":[{{"rule":"m","markup":"{markup}"}}]}}"#
        );
        let rules = SellingRules::from_json(&rules).unwrap();
        CardSet::built_in().with_selling(Arc::new(rules))
    }

    fn told(was: &CardSet, is: &CardSet) -> Vec<(String, String, String)> {
        let repriced = reprice(&standing(was), is).unwrap().unwrap();
        assert_eq!(repriced.is_different(), !repriced.deltas.is_empty());
        let told = |delta: Delta| {
            let amounts = (delta.cost_usd.to_string(), delta.billed_usd.to_string());
            (delta.meter, amounts.0, amounts.1)
        };
        repriced.deltas.into_iter().map(told).collect()
    }

    #[test]
    fn a_difference_is_told_by_meter_and_there_is_none_by_the_same_prices() {
        let meter = |name: &str, cost: &str, billed: &str| {
            (name.to_owned(), cost.to_owned(), billed.to_owned())
        };
        let (cost, double) = (CardSet::built_in(), marked_up("2"));
        assert_eq!(told(cost, cost), []);
        assert_eq!(told(&double, &double), []);
        assert_eq!(
            told(cost, &double),
            [
                meter("input_tokens", "0", "0.00015"),
                meter("output_tokens", "0", "0.00006"),
            ]
        );
        assert_eq!(
            told(&double, cost)[0],
            meter("input_tokens", "0", "-0.00015")
        );
        // From nothing, when there was no price.
        assert_eq!(
            told(&CardSet::empty(), cost)[0],
            meter("input_tokens", "0.00015", "0.00015")
        );
    }

    #[test]
    fn a_price_that_comes_for_nothing_changes_how_far_an_event_is_priced() {
        let repriced = reprice(&standing(&CardSet::empty()), &marked_up("0")).unwrap();
        let repriced = repriced.unwrap();
        let states = (repriced.old.pricing, repriced.new.pricing);
        assert_eq!(states, (Pricing::Unpriced, Pricing::Priced));
        assert!(repriced.is_different());
        assert_eq!(repriced.new.billed_usd, Some(Usd::ZERO));

        let mut repeat = standing(CardSet::built_in());
        repeat.pricing = Pricing::Repeat;
        assert!(reprice(&repeat, &marked_up("2")).unwrap().is_none());
    }
}
