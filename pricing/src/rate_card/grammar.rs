//! The grammar of a rate card: what stands in a provider's file, and nothing that is computed.
//!
//! Amounts and quantities are decimal strings. Unknown members are refused, so that a misspelt
//! condition cannot make a price apply where it should not.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::money::Decimal;
use crate::time::Timestamp;
use crate::usage::Meter;

/// A condition on the whole input of the line: more than this many tokens.
pub(super) const INPUT_ABOVE: &str = "input_above";
/// A condition on the whole input of the line: this many tokens or more.
pub(super) const INPUT_AT_LEAST: &str = "input_at_least";
/// A condition on the start of the call: `HH:MM-HH:MM` in UTC, half-open, possibly over midnight.
pub(super) const UTC_HOURS: &str = "utc_hours";

/// One provider's prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardFile {
    /// Version of this grammar.
    pub schema: u32,
    /// The vendor.
    pub provider: String,
    /// What a reader of the card should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Values of a condition that mean the base rate, by the condition's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub base_values: BTreeMap<String, Vec<String>>,
    /// Conditions that mean another one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub synonyms: Vec<Synonym>,
    /// Names for several meters at once, for factors.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, Vec<Meter>>,
    /// Which meter's rate holds for a meter without one; followed further if that has none either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Fallback>,
    /// Conditions that describe a call: a value of one that no price of the model is written for means
    /// the base rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub neutral_conditions: Vec<String>,
    /// Starts of model names that gateways add, such as `openai/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_prefixes: Vec<String>,
    /// Ends of model names that gateways add, such as `-v1:0`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_suffixes: Vec<String>,
    /// Names that look like a dated form of a model but are another one, without a price here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub never_reduced: Vec<String>,
    /// Cards of other vendors whose models this one serves at their prices: asked in this order for
    /// a model that has no price here. Pinned by revision, so that this card's revision says it all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback_cards: Vec<FallbackCard>,
    /// What a credit costs, where rates are in credits. The one without conditions is the contract's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub credit_prices: Vec<CreditPrice>,
    /// The amount that the vendor itself reports for a call, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authoritative: Option<Authoritative>,
    /// The models. Prices of the one called `*` hold for every model that has none of its own.
    pub models: Vec<Model>,
}

/// A card of another vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FallbackCard {
    /// The vendor.
    pub provider: String,
    /// The revision of its card, SHA-256 in lower-case hex.
    pub revision: String,
}

/// US dollars for credits, the vendor's own unit of account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreditPrice {
    /// US dollars.
    pub usd: Decimal,
    /// Credits the dollars are for.
    pub per: Decimal,
    /// When it holds; empty: always.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, String>,
    /// Where the price was read.
    pub source: String,
    /// The day it was read, `YYYY-MM-DD`.
    pub checked: String,
    /// What other sources say, or how it was derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A line that has this meter costs what the vendor says, and its other meters add nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authoritative {
    /// The meter that carries the amount.
    pub meter: Meter,
    /// What one of it is, in words: without a declared unit an amount is no amount.
    pub unit: String,
    /// US dollars.
    pub usd: Decimal,
    /// Units the dollars are for.
    pub per: Decimal,
    /// Where the unit was read.
    pub source: String,
    /// The day it was read, `YYYY-MM-DD`.
    pub checked: String,
}

/// One condition said in other words: both are `name=value`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Synonym {
    /// What a line may say.
    pub said: String,
    /// What prices are written for.
    pub means: String,
}

/// A meter that takes another's rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// The meter without a rate.
    pub meter: Meter,
    /// The meter whose rate it takes.
    pub rate_of: Meter,
}

/// One model's prices over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The name of the model.
    pub model: String,
    /// Its other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Forms of further names, such as `aura-2-{word}-{language}`; asked after all exact names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
    /// Prices, each valid until the next one's start.
    pub revisions: Vec<Revision>,
}

/// One model's prices from a day on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// When these prices start; absent: since the model exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Since>,
    /// Further values of a condition that mean the base rate for this model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub base_values: BTreeMap<String, Vec<String>>,
    /// Prices by meter. Of those whose conditions hold the most specific one counts.
    pub rates: Vec<CardRate>,
    /// Prices that come on top of those, before factors. All whose conditions hold are added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addons: Vec<CardRate>,
    /// Factors on them. All whose conditions hold are multiplied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<Factor>,
}

/// `usd` or `credits` for every `per` units of a meter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardRate {
    /// What is counted.
    pub meter: Meter,
    /// US dollars; absent where the price is in credits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<Decimal>,
    /// The vendor's credits; their price is in `credit_prices`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits: Option<Decimal>,
    /// Units they are for.
    pub per: Decimal,
    /// A line's quantity is billed in whole steps of this size, the last one in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_up_to: Option<Decimal>,
    /// A line's quantity that is not zero is billed as at least this much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Decimal>,
    /// When it holds; empty: always.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, String>,
    /// Where the price was read.
    pub source: String,
    /// The day it was read, `YYYY-MM-DD`.
    pub checked: String,
    /// What other sources say, or how it was derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A factor on the rates of some meters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Factor {
    /// What the dollars are multiplied by.
    pub factor: Decimal,
    /// Meters, or names of groups of them.
    pub meters: Vec<String>,
    /// When it holds; never empty.
    pub when: BTreeMap<String, String>,
    /// Where the factor was read.
    pub source: String,
    /// The day it was read, `YYYY-MM-DD`.
    pub checked: String,
    /// What other sources say, or how it was derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// The start of a revision. Reads a day (midnight UTC) or an instant; prints the shorter form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Since(pub Timestamp);

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        f.write_str(text.strip_suffix("T00:00:00.000Z").unwrap_or(&text))
    }
}

impl Serialize for Since {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Since {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let instant = if text.contains('T') {
            text.parse()
        } else {
            format!("{text}T00:00:00Z").parse()
        };
        instant.map(Self).map_err(serde::de::Error::custom)
    }
}
