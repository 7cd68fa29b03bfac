//! Filters that several verbs take, said once.

use clap::Args;
use uuid::Uuid;

/// Which events, by what they carry.
#[derive(Debug, Args)]
pub(crate) struct Carrying {
    /// Only this tenant's.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only this customer's.
    #[arg(long)]
    pub(crate) customer: Option<String>,
    /// Only this project's.
    #[arg(long)]
    pub(crate) project: Option<String>,
    /// Only this agent's.
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Only this section's.
    #[arg(long)]
    pub(crate) section: Option<String>,
    /// Only of the virtual key of this id.
    #[arg(long, value_name = "KEY-ID")]
    pub(crate) key: Option<String>,
    /// Only live or test traffic.
    #[arg(long)]
    pub(crate) environment: Option<String>,
    /// Only this vendor's.
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// Only this kind of call.
    #[arg(long)]
    pub(crate) endpoint: Option<String>,
    /// Only this model's.
    #[arg(long)]
    pub(crate) model: Option<String>,
}

impl Carrying {
    /// As parameters of the API.
    pub(crate) fn named(&self) -> [(&'static str, &Option<String>); 10] {
        [
            ("tenant", &self.tenant),
            ("customer", &self.customer),
            ("project", &self.project),
            ("agent", &self.agent),
            ("section", &self.section),
            ("key", &self.key),
            ("environment", &self.environment),
            ("provider", &self.provider),
            ("endpoint", &self.endpoint),
            ("model", &self.model),
        ]
    }
}

/// Which sessions or runs.
#[derive(Debug, Args)]
pub(crate) struct Begun {
    /// Begun at or after, RFC 3339; or a day.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Begun before, RFC 3339; or a day.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Only this tenant's.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only of this session.
    #[arg(long)]
    pub(crate) session: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
}

impl Begun {
    /// As parameters of the API.
    pub(crate) fn named(&self) -> [(&'static str, &Option<String>); 4] {
        [
            ("from", &self.from),
            ("to", &self.to),
            ("tenant", &self.tenant),
            ("session", &self.session),
        ]
    }
}

/// What of limits.
#[derive(Debug, Args)]
pub(crate) struct OfLimits {
    /// Only this tenant's.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only this limit.
    #[arg(long)]
    pub(crate) limit: Option<Uuid>,
}
