//! Selling rules: what the operator charges, as data beside what the providers charge.
//!
//! One file for the whole deployment, of the grammar of cards: decimal strings, conditions, dates, a
//! revision that is the SHA-256 of its canonical form. Of the rules that hold for a charge the one
//! that asks for the most counts: tenant before plan before model before provider before meter, then
//! conditions, then the latest start. Two that could tie are refused when the file is loaded.

use std::sync::Arc;

use super::by_name::{ByName, FewByName};
use super::condition::When;
use super::{InvalidCard, RateCard, Steps};
use crate::event::PaidBy;
use crate::money::Decimal;
use crate::time::Timestamp;
use crate::usage::{Line, Meter};

pub use self::diff::{RuleChange, diff_selling};
pub use self::file::{Allowance, Rule, SellingFile};
pub use self::lint::lint_selling;

mod compile;
mod diff;
mod file;
mod lint;
mod select;

pub use self::select::Offer;

/// What stands for the vendor where a revision is of selling rules, which are of all of them.
pub const ALL_PROVIDERS: &str = "*";
/// The member that tells selling rules from a vendor's card, and its value.
pub const KIND: &str = "price";
/// Most rules of a file.
pub const RULES_MAX: usize = 100_000;

/// Who is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buyer<'a> {
    /// Null: unattributed.
    pub tenant: Option<&'a str>,
    /// The tenant's plan when the call began.
    pub plan: Option<&'a str>,
    /// Who the provider bills.
    pub paid_by: PaidBy,
}

impl From<PaidBy> for Buyer<'_> {
    /// Nobody in particular.
    fn from(paid_by: PaidBy) -> Self {
        Self {
            tenant: None,
            plan: None,
            paid_by,
        }
    }
}

/// A line that is sold.
#[derive(Clone, Copy, Debug)]
pub struct ForSale<'a> {
    /// The vendor.
    pub provider: &'a str,
    /// The line.
    pub line: &'a Line,
    /// Its whole input; `None` when it is too large to say.
    pub input: Option<Decimal>,
    /// The card whose words its conditions are.
    pub card: Option<&'a RateCard>,
    /// The card's own name of the model.
    pub own_name: Option<&'a str>,
}

/// The rules of one revision, checked and indexed.
#[derive(Debug)]
pub struct SellingRules {
    canonical: Box<str>,
    revision: Arc<str>,
    rules: Box<[CompiledRule]>,
    allowances: Vec<Allowance>,
    by_tenant: ByName<Scope>,
    by_plan: FewByName<Scope>,
    everybody: Scope,
}

/// Rules of one buyer, as places in the list of all.
#[derive(Debug, Default)]
struct Scope {
    /// Of any model and provider.
    any: Vec<u32>,
    /// Of any model of one.
    by_provider: FewByName<Vec<u32>>,
    /// Of one model, of any provider or one.
    by_model: FewByName<Vec<u32>>,
}

#[derive(Debug)]
struct CompiledRule {
    /// Shared with the charges that were sold by it.
    name: Arc<str>,
    /// Beside a tenant; the index knows the tenant.
    plan: Option<Box<str>>,
    provider: Option<Box<str>>,
    /// A bit for each meter; all of them where the rule names none.
    meters: u64,
    /// A bit for each payer.
    paid_by: u8,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    when: When,
    /// Conditions as texts: they are compared in the words of the vendor's card.
    named: Box<[(Box<str>, Box<str>)]>,
    price: SellingPrice,
    rank: Rank,
    /// As the ranks of all rules are ordered, so are these.
    order: u32,
    /// Holds whatever the line and the time.
    is_plain: bool,
}

/// What a rule asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SellingPrice {
    /// The cost times this.
    Markup(Decimal),
    /// This much, whatever the cost.
    Fixed {
        /// US dollars.
        usd: Decimal,
        /// Units the dollars are for.
        per: Decimal,
        /// The rule's own; without any it charges for what the vendor bills.
        steps: Option<Steps>,
    },
}

/// The greatest one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// A bit for each of tenant, plan, model, provider, meter, the first the highest.
    scope: u8,
    conditions: usize,
    bound: Option<(Decimal, bool)>,
    from: Option<Timestamp>,
}

impl SellingRules {
    /// Reads and checks a file. All problems are reported together.
    pub fn from_json(text: &str) -> Result<Self, InvalidCard> {
        compile::compile(&file::read(text)?)
    }

    /// Whether a text is meant as selling rules and not as a vendor's card.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        #[derive(serde::Deserialize)]
        struct Head {
            kind: String,
        }
        serde_json::from_str::<Head>(text).is_ok_and(|head| head.kind == KIND)
    }

    /// SHA-256 of the canonical form, in lower-case hex.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The same, for what keeps it beside many others.
    pub(crate) fn shared_revision(&self) -> Arc<str> {
        Arc::clone(&self.revision)
    }

    /// The canonical form, RFC 8785; [`SellingRules::from_json`] reads it back to the same revision.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// What stands in the file. Read again from its text, so not for the path of a call.
    #[must_use]
    pub fn file(&self) -> SellingFile {
        serde_json::from_str(&self.canonical).expect("the canonical form was made of this")
    }

    /// What is included in a month's price.
    #[must_use]
    pub fn allowances(&self) -> &[Allowance] {
        &self.allowances
    }

    /// The rules that may hold for a line.
    #[must_use]
    pub fn offer<'a>(&'a self, buyer: Buyer<'a>, line: ForSale<'a>, at: Timestamp) -> Offer<'a> {
        Offer::new(self, buyer, line, at)
    }

    /// Whether a fixed price is written for a model, so that it can be charged without a cost.
    #[must_use]
    pub fn has_fixed_price(
        &self,
        buyer: Buyer<'_>,
        provider: &str,
        model: &str,
        at: Timestamp,
    ) -> bool {
        let line = Line {
            model: model.to_owned(),
            ..Line::default()
        };
        let line = ForSale {
            provider,
            line: &line,
            input: Some(Decimal::ZERO),
            card: None,
            own_name: None,
        };
        let offer = self.offer(buyer, line, at);
        Meter::ALL.iter().any(|meter| {
            matches!(
                offer.rule(*meter, *meter),
                Some((_, SellingPrice::Fixed { .. }))
            )
        })
    }
}

#[cfg(test)]
mod tests;
