//! Flags of `farebox reread`.

use clap::Args;
use uuid::Uuid;

use super::Reach;

/// Without --commit it says what would be booked, and books nothing.
#[derive(Debug, Args)]
pub(crate) struct RereadArgs {
    /// Why; it stands with every adjustment.
    #[arg(long, required_if_eq("commit", "true"))]
    pub(crate) reason: Option<String>,
    /// Book it.
    #[arg(long)]
    pub(crate) commit: bool,
    /// Only say what would be booked, as without --commit.
    #[arg(long, conflicts_with = "commit")]
    pub(crate) dry_run: bool,
    /// From this time, inclusive, RFC 3339.
    #[arg(long, value_name = "TIME", conflicts_with = "events")]
    pub(crate) from: Option<String>,
    /// To this time, exclusive, RFC 3339.
    #[arg(long, value_name = "TIME", conflicts_with = "events")]
    pub(crate) to: Option<String>,
    /// Only this tenant's.
    #[arg(long, conflicts_with = "events")]
    pub(crate) tenant: Option<String>,
    /// Only this vendor's.
    #[arg(long, conflicts_with = "events")]
    pub(crate) provider: Option<String>,
    /// Only this event. May be repeated.
    #[arg(long = "event", value_name = "EVENT-ID")]
    pub(crate) events: Vec<Uuid>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}
