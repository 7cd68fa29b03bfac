//! The collector's numbers, and the one place that names them. Counters never fall within a process.

use prometheus::{
    Encoder, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// The content type of the Prometheus text format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What one collector counts.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    /// Receipts given, by outcome.
    pub ingest_events: IntCounterVec,
    /// Batches that were told to come back because too many were in flight.
    pub ingest_busy: IntCounter,
    /// Batches being stored now.
    pub ingest_batches_open: IntGauge,
    /// Events whose claimed amount differs from the booked one.
    pub price_mismatch: IntCounter,
    /// Settlements that nodes numbered and that never came.
    pub sequence_holes: IntGauge,
    /// Answers, by route, method and status.
    pub requests: IntCounterVec,
    /// Connections open now.
    pub connections_open: IntGauge,
    /// Virtual keys that were presented to the API, by result.
    pub authentications: IntCounterVec,
}

/// Outcomes of one record, in the order of the reference.
pub(crate) const OUTCOMES: [&str; 5] = ["accepted", "duplicate", "rejected", "conflict", "retry"];

impl Metrics {
    /// A registry of its own: two collectors in one process do not mix their numbers.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            let made = IntCounter::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let gauge = |name: &str, help: &str| {
            let made = IntGauge::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let build = IntGaugeVec::new(
            Opts::new("farebox_build_info", "The version that runs; always 1."),
            &["version", "role"],
        )?;
        registry.register(Box::new(build.clone()))?;
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION"), "collector"])
            .set(1);

        let metrics = Self {
            ingest_events: counters(
                "farebox_ingest_events_total",
                "Receipts given to nodes, by outcome.",
                &["outcome"],
            )?,
            ingest_busy: counter(
                "farebox_ingest_busy_total",
                "Batches told to come back because too many were in flight.",
            )?,
            ingest_batches_open: gauge(
                "farebox_ingest_batches_open",
                "Batches being checked and stored.",
            )?,
            price_mismatch: counter(
                "farebox_price_mismatch_total",
                "Events whose claimed amount differs from the one booked.",
            )?,
            sequence_holes: gauge(
                "farebox_sequence_holes",
                "Settlements that nodes numbered and that have not arrived.",
            )?,
            requests: counters(
                "farebox_collector_requests_total",
                "Answers of the collector, by route, method and status.",
                &["route", "method", "status"],
            )?,
            connections_open: gauge(
                "farebox_collector_connections_open",
                "Connections to the collector that are open.",
            )?,
            authentications: counters(
                "farebox_collector_authentications_total",
                "Principals presented to the collector, by kind and result.",
                &["kind", "result"],
            )?,
            registry: registry.clone(),
        };
        // A series that exists from the start can be alarmed on before its first event.
        for outcome in OUTCOMES {
            metrics.ingest_events.with_label_values(&[outcome]);
        }
        Ok(metrics)
    }

    /// The text format.
    pub(crate) fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_visible_before_its_first_event() {
        let text = String::from_utf8(Metrics::new().unwrap().render().unwrap()).unwrap();
        for outcome in OUTCOMES {
            let series = format!("farebox_ingest_events_total{{outcome=\"{outcome}\"}} 0");
            assert!(text.contains(&series), "{series} in\n{text}");
        }
        assert!(
            text.contains("farebox_build_info{role=\"collector\""),
            "{text}"
        );
    }
}
