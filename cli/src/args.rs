//! The command line: every verb and flag there is, and nothing that is not.

pub(crate) mod books;
mod filters;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use uuid::Uuid;

use crate::price::PriceVerb;
use crate::verbs::apply::ApplyArgs;
use crate::verbs::credential::CredentialVerb;
use crate::verbs::customer::CustomerVerb;
use crate::verbs::key::rotate::{AuditArgs, RotateArgs};
use crate::verbs::tenant::login::LoginVerb;

pub(crate) mod limit;
mod reads;
mod reread;

use limit::LimitVerb;
pub(crate) use reads::{
    EventsArgs, ExportArgs, ExportFormat, ReconcileArgs, RunsArgs, SessionsArgs, TraceArgs,
    UsageArgs,
};
pub(crate) use reread::RereadArgs;

/// Meters the AI-provider traffic of tenants: proxy, collector, and the verbs to run them.
///
/// Exit codes: 0 done; 1 the answer is no; 2 wrong usage; 3 something it needs is missing or cannot
/// be reached.
#[derive(Debug, Parser)]
#[command(name = "farebox", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Write the log as JSON, one object a line; RUST_LOG says how much of it.
    #[arg(long, global = true)]
    pub(crate) log_json: bool,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run everything on this machine: Postgres (unless DATABASE_URL names one), collector, proxy,
    /// and a simulated upstream for test keys.
    Up(UpArgs),
    /// Run everything on a private cluster, send traffic of three tenants, show their invoices.
    Demo(DemoArgs),
    /// Run the proxy alone.
    Proxy(RoleArgs),
    /// Run the collector alone.
    Collector(RoleArgs),
    /// Bring the database's schema up to this version.
    Migrate(MigrateArgs),
    /// Run the simulated upstream alone.
    Simulate(SimulateArgs),
    /// Check configuration, rate cards, TLS files and connections; tell all mistakes at once.
    Check(RoleArgs),
    /// Tenants and their settings.
    #[command(subcommand)]
    Tenant(TenantVerb),
    /// The tenants' own end customers.
    #[command(subcommand)]
    Customer(CustomerVerb),
    /// Virtual keys.
    #[command(subcommand)]
    Key(KeyVerb),
    /// Provider credentials, the operator's or a tenant's own, encrypted at rest.
    #[command(subcommand)]
    Credential(CredentialVerb),
    /// Make so what one file declares: tenants, keys' rights, limits, credentials' names; all of it or
    /// nothing.
    Apply(ApplyArgs),
    /// Rates, quantities and budgets.
    #[command(subcommand)]
    Limit(LimitVerb),
    /// Usage and money, grouped.
    Usage(Box<UsageArgs>),
    /// Usage events, newest first.
    Events(Box<EventsArgs>),
    /// Sessions with their sums, the latest begun first.
    Sessions(SessionsArgs),
    /// Runs of agents; one run with its steps as a tree.
    Runs(RunsArgs),
    /// Why one event is what it is: attribution, limits, what was seen, meters, rates, invoice line.
    Trace(TraceArgs),
    /// Write the ledger to a file: events, a table by client, or FOCUS.
    Export(ExportArgs),
    /// Compare the ledger with a vendor's own usage and cost reports; exit 1 when they differ.
    Reconcile(ReconcileArgs),
    /// Read stored evidence again with this version's readers, and show what differs from what was
    /// booked.
    Reread(RereadArgs),
    /// Rate cards and selling rules: what they say, what usage would cost, whether they are sound, which
    /// are in force.
    #[command(subcommand)]
    Price(PriceVerb),
    /// A tenant's months: as they stand, closed, and handed out.
    #[command(subcommand)]
    Invoice(books::InvoiceVerb),
    /// Move booked usage to the tenant, customer or project it belongs to, and back.
    Retag(Box<books::RetagArgs>),
    /// The proxies that ship, and which of them a close waits for.
    #[command(subcommand)]
    Node(books::NodeVerb),
    /// What booked events come to by the prices in force; the difference is booked as adjustments.
    Reprice(RepriceArgs),
    /// The proxy's durable spool, safe beside a running proxy.
    #[command(subcommand)]
    Spool(SpoolVerb),
    /// Tokens by which proxies ship their events.
    #[command(subcommand)]
    IngestToken(IngestTokenVerb),
    /// Print a shell's completions: `source <(farebox completions bash)`.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// Where the data are.
#[derive(Debug, Args)]
pub(crate) struct DataDirArg {
    /// Data directory [default: $FAREBOX_DATA_DIR, else farebox in $XDG_DATA_HOME or ~/.local/share].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Configuration file [default: farebox.toml when present].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Data directory [default: $FAREBOX_DATA_DIR, else farebox-demo in $XDG_DATA_HOME or
    /// ~/.local/share].
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Compare the sums with what the simulated upstream says it served, remove the cluster, exit.
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Configuration file [default: farebox.toml when present].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Configuration file [default: farebox.toml when present].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the SQL that makes the roles, for the DBA, and do nothing.
    #[arg(long)]
    pub(crate) print_roles: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Address to listen on; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8085")]
    pub(crate) listen: SocketAddr,
    /// The only provider credential it takes [default: any that is no virtual key].
    #[arg(long, value_name = "TEXT")]
    pub(crate) credential: Option<String>,
    /// Listen off loopback, in plain text.
    #[arg(long)]
    pub(crate) allow_plaintext: bool,
}

/// Which events to price anew.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("how").required(true).args(["dry_run", "commit"]))]
pub(crate) struct RepriceArgs {
    /// Say what would change, by tenant and event, and book nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Book the differences; what is booked already is booked no second time.
    #[arg(long, requires = "reason")]
    pub(crate) commit: bool,
    /// Why; it stands with every adjustment.
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Started at or after, RFC 3339 or a day.
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Started before.
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Only this tenant's events.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Only this vendor's.
    #[arg(long)]
    pub(crate) provider: Option<String>,
    /// Only those of this billed model.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Only those that stand so: priced, partial or unpriced.
    #[arg(long)]
    pub(crate) pricing: Option<String>,
    /// A revision in place of the one in force, or its first characters. May be repeated.
    #[arg(long = "revision", value_name = "REVISION")]
    pub(crate) revisions: Vec<String>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// How a verb reaches the collector.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Collector, with the operator's token in FAREBOX_ADMIN_TOKEN [default: connection.json in the
    /// data directory].
    #[arg(long, value_name = "URL")]
    pub(crate) collector: Option<String>,
    /// Certificate authority of the collector, PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print CSV, every column whole.
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TenantVerb {
    /// All tenants, the most recently seen first, and what is nobody's.
    List(Reach),
    /// One tenant with its settings and sums; exit 1 when there is none.
    Show {
        tenant: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Make a tenant.
    Create {
        tenant: String,
        #[command(flatten)]
        fields: TenantFields,
        #[command(flatten)]
        reach: Reach,
    },
    /// Change a tenant.
    Set {
        tenant: String,
        #[command(flatten)]
        fields: TenantFields,
        #[command(flatten)]
        reach: Reach,
    },
    /// Refuse the tenant's calls on every proxy, cutting those that run unless its setting
    /// suspend_streams says finish.
    Suspend {
        tenant: String,
        /// Why; told to its callers.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// Let a suspended or archived tenant call again.
    Resume {
        tenant: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Suspend the tenant for good and leave it out of lists; its ledger stays.
    Archive {
        tenant: String,
        /// Why; told to its callers.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// A tenant's own logins to the database, which see its rows alone.
    #[command(subcommand)]
    Login(LoginVerb),
}

#[derive(Debug, Args)]
pub(crate) struct TenantFields {
    /// A name for people.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A plan; selling rules may go by it.
    #[arg(long)]
    pub(crate) plan: Option<String>,
    /// Time zone of the tenant's days and months, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: Option<String>,
    /// A setting, such as stream_usage=untouched; null takes it away. May be repeated.
    #[arg(long = "setting", value_name = "NAME=VALUE")]
    pub(crate) settings: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Environment {
    Live,
    Test,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RevokeStreams {
    Cut,
    Finish,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Issue a key; its secret is shown this once.
    Issue(Box<IssueArgs>),
    /// All keys, by their visible prefixes.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
        /// Revoked ones too.
        #[arg(long)]
        revoked: bool,
        /// Stale ones alone.
        #[arg(long)]
        stale: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// Revoke a key on every proxy.
    Revoke {
        /// The key's visible prefix or its id.
        #[arg(value_name = "PREFIX-OR-ID")]
        key: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Issue a key with the rights of another one, which still works for a while.
    Rotate(RotateArgs),
    /// Show which keys break which rules; exit 1 when one does.
    Audit(AuditArgs),
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("where").required(true).args(["out", "reveal"]))]
pub(crate) struct IssueArgs {
    /// A name for people.
    #[arg(long)]
    pub(crate) name: String,
    /// The key's own tenant; without one the key speaks for whom --may-attribute says.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Which tenants it may name: none, any, prefix:P or list:a,b.
    #[arg(long, value_name = "RULE", default_value = "none")]
    pub(crate) may_attribute: String,
    /// What it may do [default: proxy]. May be repeated.
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// A test key reaches the simulated upstream only and is on no invoice.
    #[arg(long, value_enum, default_value = "live")]
    pub(crate) environment: Environment,
    /// The caller's own provider credential passes through.
    #[arg(long)]
    pub(crate) own_credential: bool,
    /// An upstream it may reach [default: all]. May be repeated.
    #[arg(long = "allowed-upstream", value_name = "NAME")]
    pub(crate) allowed_upstreams: Vec<String>,
    /// A model it may ask for: a name, also with a date behind it, or a pattern with `*` [default:
    /// all]. May be repeated.
    #[arg(long = "allowed-model", value_name = "NAME")]
    pub(crate) allowed_models: Vec<String>,
    /// A function or hosted tool its calls may offer a model: a name or type, or a pattern with `*`
    /// [default: all]. May be repeated.
    #[arg(long = "allowed-tool", value_name = "NAME")]
    pub(crate) allowed_tools: Vec<String>,
    /// A network it may be used from, such as 10.0.0.0/8 [default: all]. May be repeated.
    #[arg(long = "network", value_name = "CIDR")]
    pub(crate) networks: Vec<String>,
    /// A project it may name, and has to name one of [default: all]. May be repeated.
    #[arg(long = "allowed-project", value_name = "NAME")]
    pub(crate) allowed_projects: Vec<String>,
    /// When it stops working, RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_at: Option<String>,
    /// Days without use after which it is stale [default: as its tenant or the deployment says, else 90].
    #[arg(long, value_name = "DAYS")]
    pub(crate) stale_after_days: Option<u32>,
    /// What becomes of its running streams when it is revoked.
    #[arg(long, value_enum, default_value = "cut")]
    pub(crate) revoke_streams: RevokeStreams,
    /// Write the secret to this new file, readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Show the secret on the terminal.
    #[arg(long)]
    pub(crate) reveal: bool,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// Which spool.
#[derive(Debug, Args)]
pub(crate) struct SpoolDir {
    #[command(flatten)]
    pub(crate) data_dir: DataDirArg,
    /// Its directory [default: spool.dir of the configuration, else spool in the data directory].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Configuration file [default: farebox.toml when present].
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which records that were set aside.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Every one.
    #[arg(long)]
    pub(crate) all: bool,
    /// The one of this event. May be repeated.
    #[arg(long = "event", value_name = "EVENT-ID")]
    pub(crate) events: Vec<Uuid>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SpoolVerb {
    /// How full it is and what waits in it.
    Stats(SpoolDir),
    /// Records that the collector refused and that were set aside.
    ListFailed(SpoolDir),
    /// Ship records again that were set aside.
    Requeue {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        spool: SpoolDir,
    },
    /// Delete records that were set aside. They are gone.
    Purge {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        spool: SpoolDir,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum IngestTokenVerb {
    /// Issue a token for a proxy; its secret is shown this once.
    #[command(group = clap::ArgGroup::new("where").required(true).args(["out", "reveal"]))]
    Issue {
        /// A name for people, usually the node's.
        #[arg(long)]
        name: String,
        /// Write the secret to this new file, readable by its owner alone.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Show the secret on the terminal.
        #[arg(long)]
        reveal: bool,
        #[command(flatten)]
        reach: Reach,
    },
    /// All tokens, without their secrets.
    List(Reach),
    /// Revoke a token; the proxy keeps its events until it has another.
    Revoke {
        token_id: Uuid,
        #[command(flatten)]
        reach: Reach,
    },
}
