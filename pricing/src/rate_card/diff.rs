//! What differs between two cards of a vendor, price by price, as a review reads it.

use std::collections::BTreeMap;

use super::grammar::{CardFile, CardRate, Model};
use crate::money::Decimal;

/// A price for so many units, in US dollars or in credits, or a factor for one.
pub type Stated = (Decimal, Decimal);

/// One price that is not as before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The model.
    pub model: String,
    /// When the prices start; empty: since the model exists.
    pub from: String,
    /// The meter, `+` before it for an add-on, or `x` and the meters of a factor.
    pub of: String,
    /// When it holds: `name=value`, `&` between them.
    pub when: String,
    /// What it was; `None`: it was not there.
    pub before: Option<Stated>,
    /// What it is; `None`: it is gone.
    pub after: Option<Stated>,
}

type Place = (String, String, String, String);

/// Every price that is new, gone or another one, in order. Names, notes and sources do not count.
#[must_use]
pub fn diff(before: &CardFile, after: &CardFile) -> Vec<Change> {
    let (before, after) = (prices(before), prices(after));
    let mut places: Vec<&Place> = before.keys().chain(after.keys()).collect();
    places.sort();
    places.dedup();
    places
        .into_iter()
        .filter_map(|place| {
            let (was, is) = (before.get(place).copied(), after.get(place).copied());
            let (model, from, of, when) = place.clone();
            (!is_same(was, is)).then_some(Change {
                model,
                from,
                of,
                when,
                before: was,
                after: is,
            })
        })
        .collect()
}

/// The same price may be stated for another number of units.
fn is_same(was: Option<Stated>, is: Option<Stated>) -> bool {
    match (was, is) {
        (Some((was, was_per)), Some((is, is_per))) => {
            let (left, right) = (was.checked_mul(is_per), is.checked_mul(was_per));
            (was, was_per) == (is, is_per) || (left.is_some() && left == right)
        }
        (was, is) => was == is,
    }
}

fn prices(card: &CardFile) -> BTreeMap<Place, Stated> {
    let mut prices = BTreeMap::new();
    for model in &card.models {
        put(model, &mut prices);
    }
    for price in &card.credit_prices {
        let place = (
            String::new(),
            String::new(),
            "credit".into(),
            text(&price.when),
        );
        prices.insert(place, (price.usd, price.per));
    }
    prices
}

fn put(model: &Model, prices: &mut BTreeMap<Place, Stated>) {
    for revision in &model.revisions {
        let from = revision.from.map(|since| since.to_string());
        let from = from.unwrap_or_default();
        let mut put = |of: String, when: &BTreeMap<String, String>, stated: Stated| {
            let place = (model.model.clone(), from.clone(), of, text(when));
            prices.insert(place, stated);
        };
        let stated = |rate: &CardRate| (rate.usd.or(rate.credits).unwrap_or_default(), rate.per);
        for rate in &revision.rates {
            put(rate.meter.to_string(), &rate.when, stated(rate));
        }
        for addon in &revision.addons {
            put(format!("+ {}", addon.meter), &addon.when, stated(addon));
        }
        for factor in &revision.factors {
            let of = format!("x {}", factor.meters.join(" "));
            put(of, &factor.when, (factor.factor, Decimal::from(1)));
        }
    }
}

fn text(when: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = when
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate_card::CardSet;

    #[test]
    fn a_price_that_changed_came_or_went_is_told_once() {
        let before = CardSet::built_in().card("deepgram").unwrap().file();
        assert_eq!(diff(&before, &before), []);
        let mut after = before.clone();
        let nova = &mut after.models[0].revisions[0];
        nova.rates[0].usd = Some("0.0044".parse().unwrap());
        // The same price for other units is no other price.
        nova.rates[1].usd = Some("0.52".parse().unwrap());
        nova.rates[1].per = Decimal::from(6_000);
        nova.rates[1].note = Some("changed nothing".into());
        let gone = nova.addons.remove(0);
        let told: Vec<(String, bool, bool)> = diff(&before, &after)
            .into_iter()
            .map(|change| (change.of, change.before.is_some(), change.after.is_some()))
            .collect();
        let addon = format!("+ {}", gone.meter);
        assert_eq!(
            told,
            [(addon, true, false), ("audio_seconds".into(), true, true)]
        );
    }
}
