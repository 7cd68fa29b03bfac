//! Limits as rows of the directory: what is counted, of whose calls, in which window.
//!
//! A limit that names nothing binds every call; each dimension it names narrows it, and all limits
//! that match a call hold.

use std::borrow::Cow;
use std::str::FromStr;

use farebox_pricing::id::TenantId;
use farebox_pricing::money::Decimal;
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::Meter;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::rows::is_named_by;

/// The window a limit counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// At the same time: no window at all.
    Concurrent,
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A calendar day.
    Day,
    /// A calendar week, from Monday.
    Week,
    /// A calendar month.
    Month,
}

impl WindowKind {
    /// The name in JSON and SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Concurrent => "concurrent",
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

impl FromStr for WindowKind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "concurrent" => Self::Concurrent,
            "second" => Self::Second,
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            _ => return Err(()),
        })
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Calls.
    Requests,
    /// Calls that run at the same time.
    Concurrency,
    /// Tokens of every kind together.
    Tokens,
    /// Money.
    Usd,
    /// One meter.
    Meter(Meter),
}

impl Counted {
    /// The name in JSON and SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Concurrency => "concurrency",
            Self::Tokens => "tokens",
            Self::Usd => "usd",
            Self::Meter(meter) => meter.name(),
        }
    }

    /// How much of it is known only when the call has ended.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Tokens | Self::Usd | Self::Meter(_))
    }
}

impl FromStr for Counted {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "requests" => Self::Requests,
            "concurrency" => Self::Concurrency,
            "tokens" => Self::Tokens,
            "usd" => Self::Usd,
            other => Self::Meter(other.parse().map_err(|_| ())?),
        })
    }
}

impl Serialize for Counted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'de, str>::deserialize(deserializer)?;
        name.parse()
            .map_err(|()| serde::de::Error::custom("not a meter of limits"))
    }
}

/// Whose money a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// What the tenant owes.
    #[default]
    Billed,
    /// What the provider charges the operator.
    Cost,
}

/// What a limit does when it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitAction {
    /// The call is refused.
    Refuse,
    /// The call passes with a warning.
    Warn,
}

/// What holds while a limit cannot be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fail {
    /// The call is refused.
    #[default]
    Closed,
    /// The call passes.
    Open,
}

/// What a limit can be for each value of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// The tenant.
    Tenant,
    /// The customer.
    Customer,
    /// The project.
    Project,
    /// The agent.
    Agent,
    /// The virtual key.
    Key,
    /// The vendor.
    Provider,
    /// The upstream.
    Upstream,
    /// The model.
    Model,
}

impl Dimension {
    /// The name in JSON and SQL.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Customer => "customer",
            Self::Project => "project",
            Self::Agent => "agent",
            Self::Key => "key",
            Self::Provider => "provider",
            Self::Upstream => "upstream",
            Self::Model => "model",
        }
    }
}

impl FromStr for Dimension {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let all = [
            Self::Tenant,
            Self::Customer,
            Self::Project,
            Self::Agent,
            Self::Key,
            Self::Provider,
            Self::Upstream,
            Self::Model,
        ];
        all.into_iter().find(|own| own.name() == name).ok_or(())
    }
}

/// What a limit narrows itself to beside its tenant; `None`: every value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The customer.
    pub customer_id: Option<String>,
    /// The project.
    pub project: Option<String>,
    /// The agent.
    pub agent: Option<String>,
    /// The virtual key.
    pub key_id: Option<Uuid>,
    /// The vendor.
    pub provider: Option<String>,
    /// The upstream.
    pub upstream: Option<String>,
    /// The model: its name, with or without a date, or a pattern.
    pub model: Option<String>,
}

/// One call, as limits look at it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The tenant.
    pub tenant: Option<&'a str>,
    /// The customer.
    pub customer_id: Option<&'a str>,
    /// The project.
    pub project: Option<&'a str>,
    /// The agent.
    pub agent: Option<&'a str>,
    /// The virtual key.
    pub key_id: Option<Uuid>,
    /// The vendor.
    pub provider: &'a str,
    /// The upstream.
    pub upstream: &'a str,
    /// The model, when it is known yet.
    pub model: Option<&'a str>,
}

impl<'a> Subject<'a> {
    /// Its value of a dimension.
    #[must_use]
    pub fn value(&self, dimension: Dimension) -> Option<Cow<'a, str>> {
        match dimension {
            Dimension::Tenant => self.tenant.map(Cow::Borrowed),
            Dimension::Customer => self.customer_id.map(Cow::Borrowed),
            Dimension::Project => self.project.map(Cow::Borrowed),
            Dimension::Agent => self.agent.map(Cow::Borrowed),
            Dimension::Key => self.key_id.map(|key_id| Cow::Owned(key_id.to_string())),
            Dimension::Provider => Some(Cow::Borrowed(self.provider)),
            Dimension::Upstream => Some(Cow::Borrowed(self.upstream)),
            Dimension::Model => self.model.map(Cow::Borrowed),
        }
    }
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// Its identity.
    pub limit_id: Uuid,
    /// `None`: calls of every tenant.
    pub tenant_id: Option<TenantId>,
    /// Which of those calls.
    pub scope: Scope,
    /// Dimensions each value of which has the amount for itself; empty: all calls share it.
    pub per: Vec<Dimension>,
    /// What is counted.
    pub meter: Counted,
    /// How much of it in one window.
    pub amount: Decimal,
    /// The window.
    pub window: WindowKind,
    /// Whose money.
    pub basis: Basis,
    /// What happens at the amount.
    pub action: LimitAction,
    /// What holds while it cannot be checked.
    pub fail: Fail,
    /// Only counted, never enforced.
    pub dry_run: bool,
    /// Inert from then on.
    pub expires_at: Option<Timestamp>,
}

impl Limit {
    /// Whether it binds a call, its model left aside.
    #[must_use]
    pub fn binds(&self, call: &Subject<'_>) -> bool {
        let is = |own: &Option<String>, value: Option<&str>| {
            own.as_deref().is_none_or(|own| value == Some(own))
        };
        let scope = &self.scope;
        self.tenant_id
            .as_ref()
            .is_none_or(|tenant| call.tenant == Some(tenant.as_str()))
            && is(&scope.customer_id, call.customer_id)
            && is(&scope.project, call.project)
            && is(&scope.agent, call.agent)
            && scope
                .key_id
                .is_none_or(|key_id| call.key_id == Some(key_id))
            && is(&scope.provider, Some(call.provider))
            && is(&scope.upstream, Some(call.upstream))
    }

    /// Whether it binds calls of a model; one that is not known yet may be any.
    #[must_use]
    pub fn binds_model(&self, model: Option<&str>) -> bool {
        match (&self.scope.model, model) {
            (Some(own), Some(model)) => is_named_by(model, own),
            _ => true,
        }
    }

    /// Whether the model decides if it binds, or what it counts for.
    #[must_use]
    pub fn asks_for_model(&self) -> bool {
        self.scope.model.is_some() || self.per.contains(&Dimension::Model)
    }

    /// Counted by the calendar and exactly, or at the same time; the others are rates.
    #[must_use]
    pub fn is_rate(&self) -> bool {
        self.meter == Counted::Requests
            && matches!(self.window, WindowKind::Second | WindowKind::Minute)
    }

    /// Its tenant may know it: not on the operator's cost, and not wider than the tenant.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.tenant_id.is_some() && self.basis == Basis::Billed
    }

    /// It never refuses: it warns, or only counts what it would refuse.
    #[must_use]
    pub fn is_soft(&self) -> bool {
        self.dry_run || self.action == LimitAction::Warn
    }

    /// What is counted is counted on.
    #[must_use]
    pub fn counts_as(&self, other: &Self) -> bool {
        (self.meter, self.window, self.basis) == (other.meter, other.window, other.basis)
            && self.per == other.per
    }
}
