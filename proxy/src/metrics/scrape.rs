//! The series of settled events, the spool's and the directory's numbers in Prometheus' text format,
//! exact to the last digit.

use std::collections::BTreeMap;
use std::time::Duration;

use farebox_pricing::event::{Ending, Transport};
use farebox_pricing::money::{SCALE_MAX, Usd};

use super::events::{Series, Totals};
use super::histogram::{CALL_BOUNDS, Histogram, OVERHEAD_BOUNDS};
use super::shards::OpenCounts;
use super::text::{Family, decimal};
use crate::spool::Stats;

pub(super) fn calls(all: &[Series], text: &mut String) {
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

pub(super) fn usage(all: &[Series], text: &mut String) {
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

pub(super) fn money(all: &[Series], text: &mut String) {
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

fn amounts(all: &[Series], text: &mut String, mut family: Family, of: fn(&Totals) -> u128) {
    for series in all {
        let (tenant, provider, model) = series.labels();
        let labels = [("tenant", tenant), ("provider", provider), ("model", model)];
        let pico = of(&series.totals());
        family.line(text, &labels, &decimal(pico, Usd::SCALE.into()));
    }
}

pub(super) fn unpriced(all: &[Series], text: &mut String) {
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

pub(super) fn usage_missing(all: &[Series], text: &mut String) {
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

pub(super) fn durations(all: &[Series], text: &mut String) {
    let mut durations = BTreeMap::new();
    let mut ttfbs = BTreeMap::new();
    let mut overheads = BTreeMap::new();
    for series in all {
        let (_, provider, _) = series.labels();
        for totals in &series.totals().endpoints {
            let endpoint = ("endpoint", totals.endpoint.name());
            let call = vec![("provider", provider), endpoint];
            let sum = durations
                .entry(call.clone())
                .or_insert_with(Histogram::default);
            sum.add(&totals.duration);
            ttfbs
                .entry(call)
                .or_insert_with(Histogram::default)
                .add(&totals.ttfb);
            let overhead = overheads.entry(vec![endpoint]);
            overhead
                .or_insert_with(Histogram::default)
                .add(&totals.overhead);
        }
    }
    let duration = Family::histogram(
        "farebox_request_duration_seconds",
        "To the answer's last byte.",
    );
    histograms(text, duration, &CALL_BOUNDS, durations);
    let ttfb = Family::histogram("farebox_ttfb_seconds", "To the answer's first byte.");
    histograms(text, ttfb, &CALL_BOUNDS, ttfbs);
    let overhead = Family::histogram(
        "farebox_overhead_seconds",
        "Time that is the proxy's alone.",
    );
    histograms(text, overhead, &OVERHEAD_BOUNDS, overheads);
}

fn histograms<const N: usize>(
    text: &mut String,
    mut family: Family,
    bounds: &[u64; N],
    sums: BTreeMap<Vec<(&str, &str)>, Histogram<N>>,
) {
    for (labels, histogram) in sums {
        let mut up_to = 0;
        for (bound, count) in bounds.iter().zip(histogram.counts) {
            up_to += count;
            let bound = decimal(u128::from(*bound), 6);
            let labels = [&labels[..], &[("le", bound.as_str())]].concat();
            family.line_of("_bucket", text, &labels, &up_to.to_string());
        }
        let count = histogram.count.to_string();
        let whole = [&labels[..], &[("le", "+Inf")]].concat();
        family.line_of("_bucket", text, &whole, &count);
        let sum = decimal(u128::from(histogram.sum_micros), 6);
        family.line_of("_sum", text, &labels, &sum);
        family.line_of("_count", text, &labels, &count);
    }
}

pub(super) fn streams(open: &OpenCounts, text: &mut String) {
    let mut family = Family::gauge("farebox_streams_open", "Answers that are running.");
    for &transport in Transport::ALL {
        let labels = [("transport", transport.name())];
        family.line(text, &labels, &open.sum(transport).to_string());
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
