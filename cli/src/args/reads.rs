//! What the reading verbs take.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use uuid::Uuid;

use super::Reach;
use super::filters::{Begun, Carrying};

#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// What to group by, with commas between: tenant, customer, project, agent, section, key,
    /// environment, provider, endpoint, model, meter, and one of hour, day, month.
    #[arg(long, value_name = "FIELDS")]
    pub(crate) group_by: Option<String>,
    /// From this hour, inclusive, RFC 3339; or a day.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// To this hour, exclusive, RFC 3339; or a day.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) carrying: Carrying,
    /// Only this meter; `calls` counts calls.
    #[arg(long)]
    pub(crate) meter: Option<String>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// From this time, inclusive, RFC 3339; or a day.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// To this time, exclusive, RFC 3339; or a day.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) carrying: Carrying,
    /// Only those without a tenant.
    #[arg(long, conflicts_with = "tenant")]
    pub(crate) unattributed: bool,
    /// Only through this configured upstream.
    #[arg(long)]
    pub(crate) upstream: Option<String>,
    /// Only of this session.
    #[arg(long)]
    pub(crate) session: Option<String>,
    /// Only of this run.
    #[arg(long)]
    pub(crate) run: Option<String>,
    /// Attempts and parts of this call.
    #[arg(long, value_name = "CALL-ID")]
    pub(crate) call: Option<String>,
    /// The one with this id in the provider's answer.
    #[arg(long, value_name = "ID")]
    pub(crate) response_id: Option<String>,
    /// The one with this request id header of the provider's.
    #[arg(long, value_name = "ID")]
    pub(crate) upstream_request_id: Option<String>,
    /// Only with this HTTP status.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Only those that ended so: complete, refused_by_upstream, upstream_failed, ….
    #[arg(long)]
    pub(crate) ending: Option<String>,
    /// Only those priced so: priced, partial, unpriced, unknown, free, repeat.
    #[arg(long)]
    pub(crate) pricing: Option<String>,
    /// Only those whose quantities are known so: reported, measured, estimated, missing, ….
    #[arg(long)]
    pub(crate) usage_source: Option<String>,
    /// At most this many.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct SessionsArgs {
    #[command(flatten)]
    pub(crate) begun: Begun,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// The one of this id, with its steps.
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) begun: Begun,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The event's id, as in the answer's header `x-farebox-event`.
    #[arg(value_name = "EVENT")]
    pub(crate) event: Uuid,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// A file's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Events with all their fields.
    Csv,
    /// The same as JSON.
    Json,
    /// Date, Client_ID, Service, Model, Calls, Tokens, Cost, Project.
    Clients,
    /// The columns of FOCUS 1.2.
    Focus,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file's shape [default: csv].
    #[arg(long, value_enum)]
    pub(crate) format: Option<ExportFormat>,
    /// The month it is invoiced in, such as 2026-11.
    #[arg(long, value_name = "MONTH")]
    pub(crate) month: Option<String>,
    /// From this time (events) or day, inclusive.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// To this time (events) or day, exclusive.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Only this tenant's.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only live or test traffic [default: both for events, else live].
    #[arg(long)]
    pub(crate) environment: Option<String>,
    /// Write to this new file, which is there only when it is whole [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["files", "list", "show"]))]
pub(crate) struct ReconcileArgs {
    /// The vendor's reports, JSON or CSV; all that belong together.
    #[arg(value_name = "FILE", requires = "provider")]
    pub(crate) files: Vec<PathBuf>,
    /// The vendor.
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// First day compared, UTC [default: the reports' first].
    #[arg(long, value_name = "DAY")]
    pub(crate) from: Option<String>,
    /// The day after the last one compared [default: the one after the reports' last].
    #[arg(long, value_name = "DAY")]
    pub(crate) to: Option<String>,
    /// A difference of a line's cost up to this is none [default: 0.000001].
    #[arg(long, value_name = "USD")]
    pub(crate) tolerance_usd: Option<String>,
    /// A difference up to this share of the vendor's is none [default: 0.1].
    #[arg(long, value_name = "PERCENT")]
    pub(crate) tolerance_percent: Option<String>,
    /// A key of the vendor's and the credential it is here; without any, keys are not told apart. May
    /// be repeated.
    #[arg(long = "key", value_name = "VENDOR-ID=CREDENTIAL")]
    pub(crate) keys: Vec<String>,
    /// Earlier comparisons.
    #[arg(long)]
    pub(crate) list: bool,
    /// An earlier comparison.
    #[arg(long, value_name = "ID")]
    pub(crate) show: Option<Uuid>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}
