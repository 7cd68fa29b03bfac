//! Which rule holds for a charge. Nothing here allocates.

use super::super::name::without_date;
use super::super::select::at_most;
use super::super::{RateCard, WHOLE_INPUT, bit};
use super::compile::payer;
use super::{Buyer, CompiledRule, Scope, SellingPrice, SellingRules};
use crate::money::Decimal;
use crate::time::Timestamp;
use crate::usage::{Line, Meter};

/// Buyer's own, of its plan, of everybody; for each the rules of any model and of three names.
const LISTS: usize = 3 * 4;

/// The rules that may hold for one line.
#[derive(Debug)]
pub struct Offer<'a> {
    selling: &'a SellingRules,
    lists: [&'a [u32]; LISTS],
    buyer: Buyer<'a>,
    provider: &'a str,
    line: &'a Line,
    card: Option<&'a RateCard>,
    /// The line's whole input; `None` when it is too large to say.
    input: Option<Decimal>,
    at: Timestamp,
}

impl<'a> Offer<'a> {
    pub(super) fn new(
        selling: &'a SellingRules,
        buyer: Buyer<'a>,
        provider: &'a str,
        line: &'a Line,
        card: Option<&'a RateCard>,
        own_name: Option<&'a str>,
        at: Timestamp,
    ) -> Self {
        let own = buyer
            .tenant
            .and_then(|tenant| selling.by_tenant.get(tenant));
        let of_plan = buyer.plan.and_then(|plan| selling.by_plan.get(plan));
        let scopes = [own, of_plan, Some(&selling.everybody)];
        let said = line.model.as_str();
        let names = [
            Some(said),
            own_name.filter(|name| *name != said),
            without_date(said).filter(|name| Some(*name) != own_name),
        ];
        let mut lists: [&[u32]; LISTS] = [&[]; LISTS];
        let found = scopes.into_iter().flatten().flat_map(|scope: &Scope| {
            let of_model = names
                .into_iter()
                .flatten()
                .filter_map(|name| scope.by_model.get(name));
            std::iter::once(&scope.any_model).chain(of_model)
        });
        for (list, rules) in lists.iter_mut().zip(found) {
            *list = rules;
        }
        let input = WHOLE_INPUT
            .iter()
            .filter_map(|meter| line.usage.quantity(*meter));
        let input = Decimal::checked_sum(input).and_then(|input| at_most(line, input).ok());
        Self {
            selling,
            lists,
            buyer,
            provider,
            line,
            card,
            input,
            at,
        }
    }

    /// The rule of a meter, and what it asks. `priced_as` is the meter whose rate the cost has: a rule
    /// for output tokens is one for reasoning tokens where those cost what output does.
    #[must_use]
    pub fn rule(&self, meter: Meter, priced_as: Meter) -> Option<(&'a str, SellingPrice)> {
        let rules = self.lists.iter().copied().flatten();
        let rules = rules.map(|place| &self.selling.rules[*place as usize]);
        let best = rules
            .filter(|rule| rule.meters & (bit(meter) | bit(priced_as)) != 0 && self.holds(rule))
            .max_by_key(|rule| (rule.rank.scope, rule.meters & bit(meter) != 0, rule.rank))?;
        Some((&best.name, best.price))
    }

    fn holds(&self, rule: &CompiledRule) -> bool {
        rule.paid_by & payer(self.buyer.paid_by) != 0
            && is_or_any(rule.provider.as_deref(), Some(self.provider))
            && is_or_any(rule.plan.as_deref(), self.buyer.plan)
            && rule.from.is_none_or(|from| from <= self.at)
            && rule.to.is_none_or(|to| self.at < to)
            && rule.when.holds_at(self.input, self.at)
            && rule
                .named
                .iter()
                .all(|(name, value)| self.says(name, value))
    }

    /// Whether the line has a condition, in its own words or in others that mean the same to the card.
    fn says(&self, name: &str, value: &str) -> bool {
        let conditions = &self.line.conditions;
        if conditions.get(name).is_some_and(|said| said == value) {
            return true;
        }
        let meant = self.card.and_then(|card| card.words.meant(name, value));
        meant.is_some_and(|word| {
            let words = self.card.map(|card| &card.words);
            conditions
                .iter()
                .any(|(name, value)| words.and_then(|words| words.meant(name, value)) == Some(word))
        })
    }
}

fn is_or_any(asked: Option<&str>, is: Option<&str>) -> bool {
    asked.is_none() || asked == is
}
