//! What usage can be grouped by, and the column each stands for. No name in a statement comes from a request.

/// What usage can be grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    Tenant,
    Customer,
    Project,
    Key,
    Environment,
    Provider,
    Endpoint,
    Model,
    Meter,
    Agent,
    Section,
    Hour,
    Day,
    Month,
}

impl Dimension {
    /// Every dimension, in the order of an answer's columns.
    pub(crate) const ALL: [Self; 14] = [
        Self::Hour,
        Self::Day,
        Self::Month,
        Self::Tenant,
        Self::Customer,
        Self::Project,
        Self::Agent,
        Self::Section,
        Self::Key,
        Self::Environment,
        Self::Provider,
        Self::Endpoint,
        Self::Model,
        Self::Meter,
    ];

    /// Its name in `group_by` and in the answer.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Customer => "customer",
            Self::Project => "project",
            Self::Key => "key",
            Self::Environment => "environment",
            Self::Provider => "provider",
            Self::Endpoint => "endpoint",
            Self::Model => "model",
            Self::Meter => "meter",
            Self::Agent => "agent",
            Self::Section => "section",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// The expression over a roll-up.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Tenant => "tenant_id",
            Self::Customer => "coalesce(named.name, counted_events.customer_id)",
            Self::Project => "project",
            Self::Key => "key_id::text",
            Self::Environment => "environment",
            Self::Provider => "provider",
            Self::Endpoint => "endpoint",
            Self::Model => "model",
            Self::Meter => "meter",
            Self::Agent => "agent",
            Self::Section => "section",
            Self::Hour => r#"to_char(hour at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#,
            Self::Day => "day::text",
            Self::Month => "to_char(period, 'YYYY-MM')",
        }
    }
}
