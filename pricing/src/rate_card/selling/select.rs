//! Which rule holds for a charge. Nothing here allocates.

use std::sync::Arc;

use super::super::bit;
use super::super::name::without_date;
use super::compile::payer;
use super::{Buyer, CompiledRule, ForSale, SellingPrice, SellingRules};
use crate::time::Timestamp;
use crate::usage::Meter;

/// Rules that hold for a line and are remembered; where more do, all are asked again for each meter.
const HELD_MAX: usize = 16;

/// The rules that may hold for one line.
#[derive(Debug)]
pub struct Offer<'a> {
    selling: &'a SellingRules,
    buyer: Buyer<'a>,
    line: ForSale<'a>,
    at: Timestamp,
    /// Those that hold, whatever the meter, the greatest scope first.
    held: [Held; HELD_MAX],
    /// How many hold; they are all remembered where they are at most [`HELD_MAX`].
    held_len: usize,
}

/// A rule that holds: the scope of its rank, and its place in the list of all.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    scope: u8,
    place: u32,
}

impl<'a> Offer<'a> {
    pub(super) fn new(
        selling: &'a SellingRules,
        buyer: Buyer<'a>,
        line: ForSale<'a>,
        at: Timestamp,
    ) -> Self {
        let mut offer = Self {
            selling,
            buyer,
            line,
            at,
            held: [Held::default(); HELD_MAX],
            held_len: 0,
        };
        let (mut held, mut len) = ([Held::default(); HELD_MAX], 0);
        offer.each_held(|place, rule| {
            let scope = rule.rank.scope;
            if len < HELD_MAX {
                let mut at = len;
                // Of equal scopes the one that came first stays first.
                while at > 0 && held[at - 1].scope < scope {
                    held[at] = held[at - 1];
                    at -= 1;
                }
                held[at] = Held { scope, place };
            }
            len += 1;
        });
        (offer.held, offer.held_len) = (held, len);
        offer
    }

    /// Calls `take` with each rule that holds for the line, and its place.
    fn each_held(&self, mut take: impl FnMut(u32, &'a CompiledRule)) {
        self.each_list(|places| {
            for place in places {
                let rule = &self.selling.rules[*place as usize];
                if self.holds(rule) {
                    take(*place, rule);
                }
            }
        });
    }

    /// The buyer's own rules, those of its plan, those of everybody; of each those of any model, of the
    /// provider and of the model's names. The name that was said goes before those it stands for.
    fn each_list(&self, mut take: impl FnMut(&'a [u32])) {
        let (selling, line) = (self.selling, &self.line);
        let own = self
            .buyer
            .tenant
            .and_then(|name| selling.by_tenant.get(name));
        let of_plan = self.buyer.plan.and_then(|name| selling.by_plan.get(name));
        let said = line.line.model.as_str();
        let own_name = line.own_name;
        let names = [
            Some(said),
            own_name.filter(|name| *name != said),
            without_date(said).filter(|name| Some(*name) != own_name),
        ];
        for scope in [own, of_plan, Some(&selling.everybody)]
            .into_iter()
            .flatten()
        {
            take(&scope.any);
            if let Some(places) = scope.by_provider.get(line.provider) {
                take(places);
            }
            for name in names.into_iter().flatten() {
                if let Some(places) = scope.by_model.get(name) {
                    take(places);
                }
            }
        }
    }

    /// The rule of a meter, and what it asks. `priced_as` is the meter whose rate the cost has: a rule
    /// for output tokens is one for reasoning tokens where those cost what output does.
    #[must_use]
    pub fn rule(&self, meter: Meter, priced_as: Meter) -> Option<(&'a Arc<str>, &'a SellingPrice)> {
        let mut best = Best::of(meter, priced_as);
        match self.held.get(..self.held_len) {
            Some(held) => {
                for one in held {
                    // Nothing of a lesser scope goes before what was found.
                    if best.rule.is_some() && one.scope < best.rank.0 {
                        break;
                    }
                    best.meet(&self.selling.rules[one.place as usize]);
                }
            }
            None => self.each_held(|_, rule| best.meet(rule)),
        }
        best.rule.map(|rule| (&rule.name, &rule.price))
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
struct Best<'a> {
    meter: u64,
    meter_or_as: u64,
    rank: (u8, bool, u32),
    rule: Option<&'a CompiledRule>,
}

impl<'a> Best<'a> {
    fn of(meter: Meter, priced_as: Meter) -> Self {
        Self {
            meter: bit(meter),
            meter_or_as: bit(meter) | bit(priced_as),
            rank: (0, false, 0),
            rule: None,
        }
    }

    fn meet(&mut self, rule: &'a CompiledRule) {
        if rule.meters & self.meter_or_as == 0 {
            return;
        }
        let rank = (rule.rank.scope, rule.meters & self.meter != 0, rule.order);
        if self.rule.is_none() || rank > self.rank {
            (self.rule, self.rank) = (Some(rule), rank);
        }
    }
}

fn is_or_any(asked: Option<&str>, is: Option<&str>) -> bool {
    asked.is_none() || asked == is
}
