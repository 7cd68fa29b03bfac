//! What settled events add up to, by tenant, provider and model.
//!
//! Recording is on the path of every call: one hash, one read lock of a shard, one lock of the
//! series; nothing is allocated for a series that exists.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use farebox_pricing::event::{Ending, EndpointKind, Event, Pricing};
use farebox_pricing::money::{Decimal, SCALE_MAX, Usd};
use farebox_pricing::usage::{Meter, UsageSource};
use prometheus::{Histogram, HistogramVec, IntCounterVec};

use super::names::Names;
use super::{scrape, tenant_name};

/// Locks the series are spread over.
const SHARDS: usize = 16;
/// The model of an event that was billed under none.
const MODEL_UNKNOWN: &str = "unknown";
const ENDINGS: usize = Ending::ALL.len();

type Shard = RwLock<HashMap<u64, Vec<Arc<Series>>>>;

pub(super) struct Events {
    hasher: RandomState,
    shards: [Shard; SHARDS],
    upstream_errors: IntCounterVec,
    duration: HistogramVec,
    ttfb: HistogramVec,
    overhead: HistogramVec,
}

pub(super) struct Series {
    tenant: String,
    provider: String,
    model: String,
    totals: Mutex<Totals>,
}

#[derive(Default)]
pub(super) struct Totals {
    pub(super) endpoints: Vec<EndpointTotals>,
    /// In units of 10^-[`SCALE_MAX`].
    pub(super) usage: Vec<(Meter, u128)>,
    /// In units of 1e-12 USD.
    pub(super) cost: u128,
    pub(super) billed: u128,
    pub(super) unpriced: u64,
}

pub(super) struct EndpointTotals {
    pub(super) endpoint: EndpointKind,
    pub(super) calls: [u64; ENDINGS],
    pub(super) usage_missing: u64,
    duration: Histogram,
    ttfb: Histogram,
    overhead: Histogram,
}

impl Events {
    pub(super) fn new(
        upstream_errors: IntCounterVec,
        duration: HistogramVec,
        ttfb: HistogramVec,
        overhead: HistogramVec,
    ) -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Shard::default()),
            upstream_errors,
            duration,
            ttfb,
            overhead,
        }
    }

    pub(super) fn record(&self, names: &Names, event: &Event, cost_usd: Option<Usd>) {
        let tenant = tenant_name(event.tenant_id.as_ref());
        let provider = event.provider.as_str();
        let model = event.model.as_deref().unwrap_or(MODEL_UNKNOWN);
        let series = self.find(tenant, provider, model).unwrap_or_else(|| {
            self.find_or_make(names.tenant(tenant), provider, names.model(model))
        });
        {
            let mut totals = series.totals();
            let endpoint = self.endpoint(&mut totals.endpoints, event);
            endpoint.add(event);
            totals.add(event, cost_usd);
        }
        self.note_upstream_error(event);
    }

    fn find(&self, tenant: &str, provider: &str, model: &str) -> Option<Arc<Series>> {
        let hash = self.hasher.hash_one((tenant, provider, model));
        let shard = self
            .shard(hash)
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let all = shard.get(&hash)?;
        all.iter()
            .find(|series| series.is(tenant, provider, model))
            .cloned()
    }

    fn find_or_make(&self, tenant: &str, provider: &str, model: &str) -> Arc<Series> {
        if let Some(series) = self.find(tenant, provider, model) {
            return series;
        }
        let hash = self.hasher.hash_one((tenant, provider, model));
        let mut shard = self
            .shard(hash)
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let all = shard.entry(hash).or_default();
        if let Some(series) = all.iter().find(|series| series.is(tenant, provider, model)) {
            return Arc::clone(series);
        }
        let series = Arc::new(Series {
            tenant: tenant.to_owned(),
            provider: provider.to_owned(),
            model: model.to_owned(),
            totals: Mutex::default(),
        });
        all.push(Arc::clone(&series));
        series
    }

    fn shard(&self, hash: u64) -> &Shard {
        &self.shards[hash as usize % SHARDS]
    }

    fn endpoint<'a>(
        &self,
        endpoints: &'a mut Vec<EndpointTotals>,
        event: &Event,
    ) -> &'a mut EndpointTotals {
        let found = endpoints
            .iter()
            .position(|totals| totals.endpoint == event.endpoint);
        let place = found.unwrap_or_else(|| {
            let call = [event.provider.as_str(), event.endpoint.name()];
            endpoints.push(EndpointTotals {
                endpoint: event.endpoint,
                calls: [0; ENDINGS],
                usage_missing: 0,
                duration: self.duration.with_label_values(&call),
                ttfb: self.ttfb.with_label_values(&call),
                overhead: self.overhead.with_label_values(&call[1..]),
            });
            endpoints.len() - 1
        });
        &mut endpoints[place]
    }

    fn note_upstream_error(&self, event: &Event) {
        let code;
        let status = match (event.status, event.ending) {
            (Some(status), _) if status >= 400 => {
                code = status.to_string();
                code.as_str()
            }
            (Some(_), Ending::UpstreamFailed) => "broken",
            (None, Ending::UpstreamFailed) => "none",
            (_, Ending::Timeout) => "timeout",
            _ => return,
        };
        let credential = event.credential_id.as_deref().unwrap_or("");
        let labels = [event.upstream.as_str(), credential, status];
        self.upstream_errors.with_label_values(&labels).inc();
    }

    pub(super) fn encode(&self, text: &mut String) {
        let mut all: Vec<Arc<Series>> = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.values().flatten().cloned());
        }
        all.sort_by(|left, right| left.labels().cmp(&right.labels()));
        scrape::calls(&all, text);
        scrape::usage(&all, text);
        scrape::money(&all, text);
        scrape::unpriced(&all, text);
        scrape::usage_missing(&all, text);
    }
}

impl Series {
    fn is(&self, tenant: &str, provider: &str, model: &str) -> bool {
        self.labels() == (tenant, provider, model)
    }

    pub(super) fn labels(&self) -> (&str, &str, &str) {
        (&self.tenant, &self.provider, &self.model)
    }

    pub(super) fn totals(&self) -> MutexGuard<'_, Totals> {
        // Every number is whole after every step, so a panic elsewhere leaves nothing half added.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    fn add(&mut self, event: &Event, cost_usd: Option<Usd>) {
        for (meter, quantity) in event.usage.iter() {
            let units = units_of(quantity);
            match self.usage.iter_mut().find(|(known, _)| *known == meter) {
                Some((_, total)) => *total = total.saturating_add(units),
                None => self.usage.push((meter, units)),
            }
        }
        self.cost = self.cost.saturating_add(pico_of(cost_usd));
        self.billed = self.billed.saturating_add(pico_of(event.claimed_usd));
        if matches!(event.pricing, Pricing::Unpriced | Pricing::Partial) {
            self.unpriced += 1;
        }
    }
}

impl EndpointTotals {
    fn add(&mut self, event: &Event) {
        // A call is counted once, whatever attempts and parts it has.
        if event.attempt == 1 && event.part == 1 {
            self.calls[event.ending as usize] += 1;
        }
        if event.usage_source == UsageSource::Missing {
            self.usage_missing += 1;
        }
        for (histogram, millis) in [
            (&self.duration, event.duration_ms),
            (&self.ttfb, event.ttfb_ms),
            (&self.overhead, event.overhead_ms),
        ] {
            if let Some(duration) = millis.and_then(duration_of) {
                histogram.observe(duration.as_secs_f64());
            }
        }
    }
}

/// Never below zero: a counter does not fall.
fn pico_of(amount: Option<Usd>) -> u128 {
    amount
        .and_then(|usd| u128::try_from(usd.as_pico()).ok())
        .unwrap_or(0)
}

fn units_of(quantity: Decimal) -> u128 {
    let scale = u32::from(SCALE_MAX - quantity.scale());
    u128::try_from(quantity.mantissa())
        .map_or(0, |mantissa| mantissa.saturating_mul(10u128.pow(scale)))
}

/// Milliseconds with at most three decimals, as events have them; more are cut off.
fn duration_of(millis: Decimal) -> Option<Duration> {
    let mantissa = u64::try_from(millis.mantissa()).ok()?;
    let nanos = match 6u32.checked_sub(millis.scale().into()) {
        Some(scale) => mantissa.checked_mul(10u64.pow(scale))?,
        None => mantissa / 10u64.pow(u32::from(millis.scale()) - 6),
    };
    Some(Duration::from_nanos(nanos))
}
