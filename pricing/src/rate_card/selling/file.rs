//! What stands in a file of selling rules.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::grammar::Since;
use super::super::shape::{Kind, Member, needed, optional};
use super::super::{CARD_BYTES_MAX, InvalidCard, shape};
use crate::event::PaidBy;
use crate::money::Decimal;
use crate::usage::Meter;

/// The operator's selling rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SellingFile {
    /// Version of this grammar.
    pub schema: u32,
    /// `price`.
    pub kind: String,
    /// What a reader should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The rules, in any order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// What is included in a month's price.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowances: Vec<Allowance>,
}

/// One rule: for whom and what, from when, how much.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name, which charges show.
    pub rule: String,
    /// Only this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Only tenants on this plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Only this model, as the vendor's card or the vendor names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only this vendor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Only these meters, and those that take their rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<Meter>,
    /// Who the provider bills; absent: the operator.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paid_by: Vec<PaidBy>,
    /// When it holds; empty: always.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, String>,
    /// Its start; absent: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Since>,
    /// Its end, not included; absent: until a later one of the same scope starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Since>,
    /// The cost times this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub markup: Option<Decimal>,
    /// US dollars, whatever the cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<Decimal>,
    /// Units the dollars are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per: Option<Decimal>,
    /// A line's quantity is charged for in whole steps of this, whatever the vendor's are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_up_to: Option<Decimal>,
    /// A line's quantity is charged for as at least this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Decimal>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Usage of a calendar month that is not charged beyond what the plan itself costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// Its name, which invoices show.
    pub allowance: String,
    /// Only this tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Only tenants on this plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Only this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only this vendor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Only these meters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meters: Vec<Meter>,
    /// That much of the month's price is included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<Decimal>,
    /// That many units of the meters are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Decimal>,
    /// First month it holds in, by a day in it; absent: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Since>,
    /// First month it does not hold in any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Since>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

const FILE: &[Member] = &[
    needed("schema", Kind::Integer),
    needed("kind", Kind::Text),
    optional("notes", Kind::Texts),
    optional(
        "rules",
        Kind::Many(&[
            needed("rule", Kind::Text),
            optional("tenant", Kind::Text),
            optional("plan", Kind::Text),
            optional("model", Kind::Text),
            optional("provider", Kind::Text),
            optional("meters", Kind::Meters),
            optional("paid_by", Kind::Texts),
            optional("when", Kind::When),
            optional("from", Kind::Text),
            optional("to", Kind::Text),
            optional("markup", Kind::Amount),
            optional("usd", Kind::Amount),
            optional("per", Kind::Amount),
            optional("round_up_to", Kind::Amount),
            optional("minimum", Kind::Amount),
            optional("note", Kind::Text),
        ]),
    ),
    optional(
        "allowances",
        Kind::Many(&[
            needed("allowance", Kind::Text),
            optional("tenant", Kind::Text),
            optional("plan", Kind::Text),
            optional("model", Kind::Text),
            optional("provider", Kind::Text),
            optional("meters", Kind::Meters),
            optional("usd", Kind::Amount),
            optional("quantity", Kind::Amount),
            optional("from", Kind::Text),
            optional("to", Kind::Text),
            optional("note", Kind::Text),
        ]),
    ),
];

pub(super) fn read(text: &str) -> Result<SellingFile, InvalidCard> {
    let one = |problem: String| InvalidCard(vec![format!("selling rules: {problem}")]);
    if text.len() > CARD_BYTES_MAX {
        return Err(one(format!("larger than {CARD_BYTES_MAX} bytes")));
    }
    let value = serde_json::from_str(text).map_err(|reason| one(reason.to_string()))?;
    shape::check_members(&value, FILE, "selling rules")?;
    // From the text, not from the value: only there a member that is given twice can be seen.
    serde_json::from_str(text).map_err(|reason| one(reason.to_string()))
}
