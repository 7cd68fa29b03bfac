//! Which rule holds for a charge. Nothing here allocates.

use super::super::bit;
use super::super::name::without_date;
use super::compile::payer;
use super::{Buyer, CompiledRule, ForSale, Scope, SellingPrice, SellingRules};
use crate::time::Timestamp;
use crate::usage::Meter;

/// Buyer's own, of its plan, of everybody; for each the rules of any model and of three names.
const LISTS: usize = 3 * 4;
/// Rules that hold for a line and are remembered; where more do, all are asked again for each meter.
const HELD_MAX: usize = 24;

/// The rules that may hold for one line.
#[derive(Debug)]
pub struct Offer<'a> {
    selling: &'a SellingRules,
    lists: [&'a [u32]; LISTS],
    buyer: Buyer<'a>,
    line: ForSale<'a>,
    at: Timestamp,
    /// Those of the lists that hold, whatever the meter; `None` where there are too many.
    held: Option<Held>,
}

/// Places in the list of all rules.
#[derive(Debug, Default)]
struct Held {
    places: [u32; HELD_MAX],
    len: usize,
}

impl<'a> Offer<'a> {
    pub(super) fn new(
        selling: &'a SellingRules,
        buyer: Buyer<'a>,
        line: ForSale<'a>,
        at: Timestamp,
    ) -> Self {
        let own = buyer
            .tenant
            .and_then(|tenant| selling.by_tenant.get(tenant));
        let of_plan = buyer.plan.and_then(|plan| selling.by_plan.get(plan));
        let scopes = [own, of_plan, Some(&selling.everybody)];
        let said = line.line.model.as_str();
        let own_name = line.own_name;
        let names = [
            Some(said),
            own_name.filter(|name| *name != said),
            without_date(said).filter(|name| Some(*name) != own_name),
        ];
        let mut lists: [&[u32]; LISTS] = [&[]; LISTS];
        let found = scopes.into_iter().flatten().flat_map(|scope: &Scope| {
            let has_models = !scope.by_model.is_empty();
            let of_model = names
                .into_iter()
                .flatten()
                .filter(move |_| has_models)
                .filter_map(|name| scope.by_model.get(name));
            std::iter::once(&scope.any_model).chain(of_model)
        });
        for (list, rules) in lists.iter_mut().zip(found) {
            *list = rules;
        }
        let mut offer = Self {
            selling,
            lists,
            buyer,
            line,
            at,
            held: None,
        };
        offer.held = offer.held();
        offer
    }

    fn held(&self) -> Option<Held> {
        let mut held = Held::default();
        for place in self.lists.iter().copied().flatten() {
            if self.holds(&self.selling.rules[*place as usize]) {
                *held.places.get_mut(held.len)? = *place;
                held.len += 1;
            }
        }
        Some(held)
    }

    /// The rule of a meter, and what it asks. `priced_as` is the meter whose rate the cost has: a rule
    /// for output tokens is one for reasoning tokens where those cost what output does.
    #[must_use]
    pub fn rule(&self, meter: Meter, priced_as: Meter) -> Option<(&'a str, SellingPrice)> {
        let rule = |place: &u32| &self.selling.rules[*place as usize];
        let best = match &self.held {
            Some(held) => best_of(held.places[..held.len].iter().map(rule), meter, priced_as),
            None => {
                let all = self.lists.iter().copied().flatten().map(rule);
                best_of(all.filter(|rule| self.holds(rule)), meter, priced_as)
            }
        }?;
        Some((&best.name, best.price))
    }

    fn holds(&self, rule: &CompiledRule) -> bool {
        rule.paid_by & payer(self.buyer.paid_by) != 0
            && is_or_any(rule.provider.as_deref(), Some(self.line.provider))
            && is_or_any(rule.plan.as_deref(), self.buyer.plan)
            && rule.from.is_none_or(|from| from <= self.at)
            && rule.to.is_none_or(|to| self.at < to)
            && rule.when.holds_at(self.line.input, self.at)
            && rule
                .named
                .iter()
                .all(|(name, value)| self.says(name, value))
    }

    /// Whether the line has a condition, in its own words or in others that mean the same to the card.
    fn says(&self, name: &str, value: &str) -> bool {
        let conditions = &self.line.line.conditions;
        if conditions.get(name).is_some_and(|said| said == value) {
            return true;
        }
        let words = self.line.card.map(|card| &card.words);
        let meant = words.and_then(|words| words.meant(name, value));
        meant.is_some_and(|word| {
            conditions
                .iter()
                .any(|(name, value)| words.and_then(|words| words.meant(name, value)) == Some(word))
        })
    }
}

/// Of the rules for a meter the one that asks for the most.
fn best_of<'a>(
    rules: impl Iterator<Item = &'a CompiledRule>,
    meter: Meter,
    priced_as: Meter,
) -> Option<&'a CompiledRule> {
    rules
        .filter(|rule| rule.meters & (bit(meter) | bit(priced_as)) != 0)
        .max_by_key(|rule| (rule.rank.scope, rule.meters & bit(meter) != 0, rule.rank))
}

fn is_or_any(asked: Option<&str>, is: Option<&str>) -> bool {
    asked.is_none() || asked == is
}
