//! Which rule holds for a charge. Nothing here allocates.

use super::super::bit;
use super::super::by_name::ByName;
use super::super::name::without_date;
use super::compile::payer;
use super::{Buyer, CompiledRule, ForSale, SellingPrice, SellingRules};
use crate::time::Timestamp;
use crate::usage::Meter;

/// Buyer's own, of its plan, of everybody; for each the rules of any model, of the provider and of three names.
const LISTS: usize = 3 * 5;
/// Rules that hold for a line and are remembered; where more do, all are asked again for each meter.
const HELD_MAX: usize = 24;

/// The rules that may hold for one line.
#[derive(Debug)]
pub struct Offer<'a> {
    selling: &'a SellingRules,
    lists: Lists<'a>,
    buyer: Buyer<'a>,
    line: ForSale<'a>,
    at: Timestamp,
    /// Those of the lists that hold, whatever the meter; `None` where there are too many.
    held: Option<Held>,
}

/// Rules that may hold.
#[derive(Debug, Default)]
struct Lists<'a> {
    lists: [&'a [u32]; LISTS],
    len: usize,
}

impl<'a> Lists<'a> {
    fn add(&mut self, rules: &'a [u32]) {
        if !rules.is_empty() {
            self.lists[self.len] = rules;
            self.len += 1;
        }
    }

    fn find(&mut self, rules: &'a ByName<Vec<u32>>, name: &str) {
        if let Some(rules) = rules.get(name) {
            self.add(rules);
        }
    }

    fn places(&self) -> impl Iterator<Item = &'a u32> {
        self.lists[..self.len].iter().copied().flatten()
    }
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
        let mut lists = Lists::default();
        for scope in scopes.into_iter().flatten() {
            lists.add(&scope.any);
            if !scope.by_provider.is_empty() {
                lists.find(&scope.by_provider, line.provider);
            }
            if !scope.by_model.is_empty() {
                // The name that was said goes before those it stands for.
                lists.find(&scope.by_model, said);
                if let Some(name) = own_name.filter(|name| *name != said) {
                    lists.find(&scope.by_model, name);
                }
                if let Some(name) = without_date(said).filter(|name| Some(*name) != own_name) {
                    lists.find(&scope.by_model, name);
                }
            }
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
        for place in self.lists.places() {
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
                let all = self.lists.places().map(rule);
                best_of(all.filter(|rule| self.holds(rule)), meter, priced_as)
            }
        }?;
        Some((&best.name, best.price))
    }

    fn holds(&self, rule: &CompiledRule) -> bool {
        rule.paid_by & payer(self.buyer.paid_by) != 0
            && is_or_any(rule.provider.as_deref(), Some(self.line.provider))
            && is_or_any(rule.plan.as_deref(), self.buyer.plan)
            && (rule.is_plain || self.meets(rule))
    }

    /// Whether its dates and conditions hold.
    fn meets(&self, rule: &CompiledRule) -> bool {
        rule.from.is_none_or(|from| from <= self.at)
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

/// Of the rules for a meter the one that asks for the most: first by its scope, then one that names the meter itself,
/// then by the rest of its rank. Of two that are equal in all, which two names of the model can bring, the first.
fn best_of<'a>(
    rules: impl Iterator<Item = &'a CompiledRule>,
    meter: Meter,
    priced_as: Meter,
) -> Option<&'a CompiledRule> {
    let mut best = None;
    for rule in rules {
        if rule.meters & (bit(meter) | bit(priced_as)) == 0 {
            continue;
        }
        let rank = (rule.rank.scope, rule.meters & bit(meter) != 0, rule.order);
        if best.is_none_or(|(_, highest)| rank > highest) {
            best = Some((rule, rank));
        }
    }
    best.map(|(rule, _)| rule)
}

fn is_or_any(asked: Option<&str>, is: Option<&str>) -> bool {
    asked.is_none() || asked == is
}
