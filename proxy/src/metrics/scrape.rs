//! The series of settled events, the spool's and the directory's numbers in Prometheus' text format,
//! exact to the last digit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use farebox_pricing::event::Ending;
use farebox_pricing::money::{SCALE_MAX, Usd};

use super::events::{Series, Totals};
use super::text::{Family, decimal};
use crate::spool::Stats;

pub(super) fn calls(all: &[Arc<Series>], text: &mut String) {
    let mut family = Family::counter("farebox_requests_total", "Calls by how they ended.");
    for series in all {
        let (tenant, provider, model) = series.labels();
        for endpoint in &series.totals().endpoints {
            let counted = Ending::ALL.iter().zip(endpoint.calls);
            for (ending, calls) in counted.filter(|(_, calls)| *calls > 0) {
                let labels = [
                    ("tenant", tenant),
                    ("provider", provider),
                    ("endpoint", endpoint.endpoint.name()),
                    ("model", model),
                    ("ending", ending.name()),
                ];
                family.line(text, &labels, &calls.to_string());
            }
        }
    }
}

pub(super) fn usage(all: &[Arc<Series>], text: &mut String) {
    let mut family = Family::counter("farebox_usage_total", "What was used, by meter.");
    for series in all {
        let (tenant, provider, model) = series.labels();
        for (meter, units) in &series.totals().usage {
            let labels = [
                ("tenant", tenant),
                ("provider", provider),
                ("model", model),
                ("meter", meter.name()),
            ];
            family.line(text, &labels, &decimal(*units, SCALE_MAX.into()));
        }
    }
}

pub(super) fn money(all: &[Arc<Series>], text: &mut String) {
    let cost = Family::counter(
        "farebox_cost_usd_total",
        "What the providers charge, in US dollars.",
    );
    amounts(all, text, cost, |totals| totals.cost);
    let billed = Family::counter(
        "farebox_billed_usd_total",
        "What the tenants are billed, in US dollars.",
    );
    amounts(all, text, billed, |totals| totals.billed);
}

fn amounts(all: &[Arc<Series>], text: &mut String, mut family: Family, of: fn(&Totals) -> u128) {
    for series in all {
        let (tenant, provider, model) = series.labels();
        let labels = [("tenant", tenant), ("provider", provider), ("model", model)];
        let pico = of(&series.totals());
        family.line(text, &labels, &decimal(pico, Usd::SCALE.into()));
    }
}

pub(super) fn unpriced(all: &[Arc<Series>], text: &mut String) {
    let mut family = Family::counter(
        "farebox_unpriced_events_total",
        "Events with a line that has no rate.",
    );
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for series in all {
        let (_, provider, model) = series.labels();
        *sums.entry((provider, model)).or_default() += series.totals().unpriced;
    }
    for ((provider, model), events) in sums.into_iter().filter(|(_, events)| *events > 0) {
        let labels = [("provider", provider), ("model", model)];
        family.line(text, &labels, &events.to_string());
    }
}

pub(super) fn usage_missing(all: &[Arc<Series>], text: &mut String) {
    let mut family = Family::counter(
        "farebox_usage_missing_total",
        "Events whose usage nobody told.",
    );
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for series in all {
        let (_, provider, _) = series.labels();
        for endpoint in &series.totals().endpoints {
            let call = (provider, endpoint.endpoint.name());
            *sums.entry(call).or_default() += endpoint.usage_missing;
        }
    }
    for ((provider, endpoint), events) in sums.into_iter().filter(|(_, events)| *events > 0) {
        let labels = [("provider", provider), ("endpoint", endpoint)];
        family.line(text, &labels, &events.to_string());
    }
}

pub(super) fn spool(spool: &Stats, text: &mut String) {
    let mut gauge = |name, help, value: String| Family::gauge(name, help).line(text, &[], &value);
    gauge(
        "farebox_intents_open",
        "Calls without a settlement.",
        spool.intents_open.to_string(),
    );
    gauge(
        "farebox_spool_bytes",
        "Bytes of the spool on disk.",
        spool.bytes.to_string(),
    );
    gauge(
        "farebox_spool_records",
        "Settlements that are not acknowledged.",
        spool.unshipped.to_string(),
    );
    gauge(
        "farebox_spool_oldest_seconds",
        "Age of the oldest settlement that is not acknowledged.",
        seconds(Duration::from_millis(spool.oldest_ms)),
    );
    gauge(
        "farebox_spool_rejected",
        "Records set aside.",
        spool.failed.to_string(),
    );
}

pub(super) fn directory(age: Option<Duration>, text: &mut String) {
    let mut family = Family::gauge(
        "farebox_directory_age_seconds",
        "Since the directory was last known to be current.",
    );
    if let Some(age) = age {
        family.line(text, &[], &seconds(age));
    }
}

fn seconds(duration: Duration) -> String {
    decimal(duration.as_millis(), 3)
}
