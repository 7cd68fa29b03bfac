//! Flags of the verbs that correct, close and hand out the books.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use super::Reach;

/// Whose month.
#[derive(Debug, Args)]
pub(crate) struct WhoseMonth {
    /// The tenant.
    #[arg(value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    /// The month, such as 2026-11.
    #[arg(value_name = "MONTH")]
    pub(crate) month: Option<String>,
    /// The tenant.
    #[arg(long = "tenant", value_name = "TENANT")]
    pub(crate) tenant_flag: Option<String>,
    /// The month, such as 2026-11.
    #[arg(long = "month", value_name = "MONTH")]
    pub(crate) month_flag: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum InvoiceVerb {
    /// Closed invoices, newest first.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
        /// Only of this month, such as 2026-11.
        #[arg(long)]
        month: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// A tenant's month as it stands.
    Preview {
        #[command(flatten)]
        whose: WhoseMonth,
        #[command(flatten)]
        reach: Reach,
    },
    /// Close a tenant's month: its invoice never changes from here on.
    ///
    /// Refused while the month has not ended in the tenant's time zone, while a live proxy may still
    /// ship events of it, and while usage in it has no price; the answer says which.
    Close {
        #[command(flatten)]
        whose: WhoseMonth,
        /// Do not wait for this proxy; recorded with the invoice. May be repeated.
        #[arg(long, value_name = "NODE")]
        despite: Vec<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// A closed invoice with its lines.
    Show {
        /// Its number or id.
        invoice: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Hand a closed invoice out.
    Export {
        /// Its number or id.
        invoice: String,
        /// The form; html is made for printing.
        #[arg(long, value_enum, default_value = "csv")]
        format: InvoiceForm,
        /// Write it to this file [default: standard output].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        reach: Reach,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum InvoiceForm {
    Csv,
    Json,
    Html,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeVerb {
    /// Proxies that ship or shipped, and what is missing of their numbers.
    List(Reach),
    /// Numbers of a proxy that have not arrived.
    Holes {
        /// The proxy's name.
        node: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Stop waiting for a proxy that is gone; it is live again when it ships again.
    Retire {
        /// The proxy's name.
        node: String,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Without --commit it says what would be booked, and books nothing.
#[derive(Debug, Args)]
pub(crate) struct RetagArgs {
    /// Why; it stands with every adjustment.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Book it.
    #[arg(long)]
    pub(crate) commit: bool,
    /// Only say what would be booked, as without --commit.
    #[arg(long, conflicts_with = "commit")]
    pub(crate) dry_run: bool,
    /// Take a batch back: its events go where they were before.
    #[arg(long, value_name = "BATCH-ID")]
    pub(crate) undo: Option<Uuid>,
    /// Where a month is closed, book into the first open one after it [default: refuse].
    #[arg(long)]
    pub(crate) next_open_month: bool,
    /// The tenant the events go to.
    #[arg(long, value_name = "TENANT")]
    pub(crate) to_tenant: Option<String>,
    /// They go to no tenant.
    #[arg(long, conflicts_with = "to_tenant")]
    pub(crate) to_nobody: bool,
    /// The customer they go to.
    #[arg(long, value_name = "CUSTOMER")]
    pub(crate) to_customer: Option<String>,
    /// They go to no customer.
    #[arg(long, conflicts_with = "to_customer")]
    pub(crate) no_customer: bool,
    /// The project they go to.
    #[arg(long, value_name = "PROJECT")]
    pub(crate) to_project: Option<String>,
    /// They go to no project.
    #[arg(long, conflicts_with = "to_project")]
    pub(crate) no_project: bool,
    /// This event. May be repeated, up to 1000 times.
    #[arg(long = "event", value_name = "EVENT-ID")]
    pub(crate) events: Vec<Uuid>,
    /// Events of this tenant.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Events of no tenant.
    #[arg(long, conflicts_with = "tenant")]
    pub(crate) unattributed: bool,
    /// Of this customer.
    #[arg(long)]
    pub(crate) customer: Option<String>,
    /// Of this project.
    #[arg(long)]
    pub(crate) project: Option<String>,
    /// By this virtual key.
    #[arg(long, value_name = "KEY-ID")]
    pub(crate) key: Option<Uuid>,
    /// Of this conversation.
    #[arg(long)]
    pub(crate) session: Option<String>,
    /// Of this run.
    #[arg(long)]
    pub(crate) run: Option<String>,
    /// To this vendor.
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// Of this billed model.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Started from this time on, RFC 3339 or a day.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Started before this time.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}
