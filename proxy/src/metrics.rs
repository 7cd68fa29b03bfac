//! The proxy's numbers for Prometheus: every metric name stands here or in `metrics/scrape.rs`, nowhere else.
//!
//! Counters never fall. Tenants and models past their caps are counted together as `other`, calls
//! without a tenant as `unattributed`. Money and quantities are kept as integers and printed as
//! decimals at the scrape, so no float is ever added up.

use std::sync::Arc;
use std::time::Duration;

use farebox_pricing::event::{Event, Transport};
use farebox_pricing::id::TenantId;
use farebox_pricing::money::Usd;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::admission::exchange::Gauged;
use crate::config::MetricsConfig;
use crate::failure::Code;
use crate::spool::Stats;

mod events;
mod histogram;
mod limits;
mod names;
mod scrape;
mod shards;
mod text;

use events::Events;
use names::Names;
use shards::OpenCounts;

/// Tenant of calls that name none.
const UNATTRIBUTED: &str = "unattributed";

/// Seconds of one sync of the spool.
const FSYNC_BUCKETS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];

/// What the collector said of a shipped record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShipOutcome {
    /// Stored.
    Accepted,
    /// It had it already.
    Duplicate,
    /// Never to be stored.
    Rejected,
    /// It has another record of this id.
    Conflict,
    /// To be sent again.
    Retry,
}

impl ShipOutcome {
    const ALL: [Self; 5] = [
        Self::Accepted,
        Self::Duplicate,
        Self::Rejected,
        Self::Conflict,
        Self::Retry,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
            Self::Conflict => "conflict",
            Self::Retry => "retry",
        }
    }
}

/// The proxy's numbers. One for the process; every worker writes.
pub struct Metrics {
    registry: Registry,
    names: Names,
    events: Events,
    refusals: IntCounterVec,
    unrecorded: IntCounterVec,
    streams: OpenCounts,
    abandoned: IntGauge,
    session_conflicts: IntCounter,
    fsync: Histogram,
    shipped: Vec<IntCounter>,
}

impl Metrics {
    /// All numbers at zero.
    #[must_use]
    pub fn new(config: &MetricsConfig) -> Arc<Self> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels);
            registered(&registry, made)
        };
        let refusals = counters(
            "farebox_refusals_total",
            "Calls that the proxy refused.",
            &["tenant", "code"],
        );
        let unrecorded = counters(
            "farebox_unrecorded_calls_total",
            "Calls that passed without an intent in the spool.",
            &["tenant"],
        );
        let upstream_errors = counters(
            "farebox_upstream_errors_total",
            "Answers of status 400 or above, and calls without a whole answer.",
            &["upstream", "credential", "status"],
        );
        let shipped = counters(
            "farebox_shipped_events_total",
            "Records by what the collector said of them.",
            &["outcome"],
        );
        let session_conflicts = counters(
            "farebox_session_conflicts_total",
            "Calls that named another tenant than their session's first.",
            &[],
        );
        let abandoned = registered(
            &registry,
            IntGauge::new(
                "farebox_abandoned_answers_open",
                "Answers that are read to their end after their callers went away.",
            ),
        );
        let fsync = Histogram::with_opts(
            HistogramOpts::new("farebox_spool_fsync_seconds", "One sync of the spool.")
                .buckets(FSYNC_BUCKETS.to_vec()),
        );
        let fsync = registered(&registry, fsync);
        Arc::new(Self {
            names: Names::new(config),
            events: Events::new(upstream_errors),
            refusals,
            unrecorded,
            streams: OpenCounts::default(),
            abandoned,
            session_conflicts: session_conflicts.with_label_values::<&str>(&[]),
            fsync,
            shipped: ShipOutcome::ALL
                .iter()
                .map(|outcome| shipped.with_label_values(&[outcome.name()]))
                .collect(),
            registry,
        })
    }

    /// One settled event, with what its provider charges; what it bills is the event's own claim.
    pub fn record_event(&self, event: &Event, cost_usd: Option<Usd>) {
        self.events.record(&self.names, event, cost_usd);
    }

    /// A call that was refused.
    pub fn refusal(&self, tenant: Option<&TenantId>, code: Code) {
        let tenant = self.names.tenant(tenant_name(tenant));
        self.refusals
            .with_label_values(&[tenant, code.name()])
            .inc();
    }

    /// A call that passed without an intent.
    pub fn unrecorded(&self, tenant: Option<&TenantId>) {
        let tenant = self.names.tenant(tenant_name(tenant));
        self.unrecorded.with_label_values(&[tenant]).inc();
    }

    /// An answer began to run.
    pub fn stream_opened(&self, transport: Transport) {
        self.streams.add(transport, 1);
    }

    /// An answer has ended.
    pub fn stream_closed(&self, transport: Transport) {
        self.streams.add(transport, -1);
    }

    /// Answers that are read to their end after their callers went away.
    #[must_use]
    pub fn abandoned_open(&self) -> &IntGauge {
        &self.abandoned
    }

    /// A call named another tenant than its session's first.
    pub fn session_conflict(&self) {
        self.session_conflicts.inc();
    }

    /// The spool was synced once.
    pub fn spool_synced(&self, took: Duration) {
        self.fsync.observe(took.as_secs_f64());
    }

    /// The collector answered for a record.
    pub fn shipped(&self, outcome: ShipOutcome) {
        self.shipped[outcome as usize].inc();
    }

    /// Everything in Prometheus' text format, with the spool and the directory as they are now.
    #[must_use]
    pub fn encode(&self, spool: &Stats, directory_age: Option<Duration>) -> String {
        let mut text = TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| {
                tracing::error!(%error, "metrics cannot be encoded");
                String::new()
            });
        self.events.encode(&mut text);
        scrape::streams(&self.streams, &mut text);
        scrape::spool(spool, &mut text);
        scrape::directory(directory_age, &mut text);
        text
    }

    /// How far limits are used, in the same format.
    pub fn encode_limits(&self, all: &[Gauged], is_store_away: bool, text: &mut String) {
        limits::limits(&self.names, all, is_store_away, text);
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    made: Result<C, prometheus::Error>,
) -> C {
    let metric = made.expect("names and labels are constants of this file");
    registry
        .register(Box::new(metric.clone()))
        .expect("each name is registered once");
    metric
}

fn tenant_name(tenant: Option<&TenantId>) -> &str {
    tenant.map_or(UNATTRIBUTED, TenantId::as_str)
}

#[cfg(test)]
pub(crate) mod tests;
