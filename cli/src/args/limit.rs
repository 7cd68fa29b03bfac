//! Flags of `farebox limit`.

use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use super::Reach;
use super::filters::OfLimits;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Window {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Concurrent,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Action {
    Refuse,
    Warn,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Basis {
    Billed,
    Cost,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Fail {
    Closed,
    Open,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Dimension {
    Tenant,
    Customer,
    Project,
    Agent,
    Key,
    Provider,
    Upstream,
    Model,
}

/// One word of a closed set, as the API writes it.
pub(crate) fn word(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// The tenant it binds [default: every tenant, all together].
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// The customer it binds [default: all].
    #[arg(long)]
    pub(crate) customer: Option<String>,
    /// The project it binds [default: all].
    #[arg(long)]
    pub(crate) project: Option<String>,
    /// The agent it binds [default: all].
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// The virtual key it binds, by its id [default: all].
    #[arg(long)]
    pub(crate) key: Option<Uuid>,
    /// The vendor it binds [default: all].
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// The upstream it binds [default: all].
    #[arg(long)]
    pub(crate) upstream: Option<String>,
    /// The model it binds: its name, which stands for its dated ones too, or a pattern with `*`
    /// [default: all].
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Each value of this has the amount for itself; may be repeated.
    #[arg(long, value_enum)]
    pub(crate) per: Vec<Dimension>,
    /// What is counted: requests, concurrency, tokens, usd, or a meter such as audio_seconds.
    #[arg(long, default_value = "requests")]
    pub(crate) meter: String,
    /// How much a window allows, a decimal.
    #[arg(long)]
    pub(crate) amount: String,
    /// The window; for concurrency it may be left out.
    #[arg(long, value_enum)]
    pub(crate) window: Option<Window>,
    /// Whose money: what the tenant owes, or what the provider charges the operator [default: billed;
    /// cost for every tenant together and for a provider].
    #[arg(long, value_enum)]
    pub(crate) basis: Option<Basis>,
    /// What happens past it.
    #[arg(long, value_enum, default_value = "refuse")]
    pub(crate) action: Action,
    /// What holds while it cannot be checked: calls are refused, or pass.
    #[arg(long, value_enum, default_value = "closed")]
    pub(crate) fail: Fail,
    /// Count and report, never enforce.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// When it stops to hold, RFC 3339 [default: never].
    #[arg(long)]
    pub(crate) expires_at: Option<String>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LimitVerb {
    /// Set how much the calls of a scope may use in a window; an equal limit before is replaced.
    Set(Box<LimitArgs>),
    /// All limits.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// How far limits are used: used, reserved, remaining, percent, when they reset.
    Status {
        #[command(flatten)]
        of: OfLimits,
        #[command(flatten)]
        reach: Reach,
    },
    /// When limits warned, refused, or would have.
    Events {
        #[command(flatten)]
        of: OfLimits,
        #[command(flatten)]
        reach: Reach,
    },
    /// Remove a limit.
    Remove {
        limit_id: Uuid,
        #[command(flatten)]
        reach: Reach,
    },
}
