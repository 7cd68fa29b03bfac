//! What settled events add up to, by tenant, provider and model.
//!
//! Recording is on the path of every call: one hash, one read lock of the thread's own shard, one lock of the
//! series; nothing is allocated for a series that exists. A scrape adds the shards up.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use farebox_pricing::event::{Ending, EndpointKind, Event, Pricing};
use farebox_pricing::money::{Decimal, SCALE_MAX, UNITS, Usd};
use farebox_pricing::usage::{Meter, UsageSource};
use prometheus::IntCounterVec;

use super::histogram::{CALL_BOUNDS, Histogram, OVERHEAD_BOUNDS};
use super::names::Names;
use super::shards::{self, SHARDS};
use super::{scrape, tenant_name};

/// The model of an event that was billed under none.
const MODEL_UNKNOWN: &str = "unknown";
const ENDINGS: usize = Ending::ALL.len();

type Shard = RwLock<HashMap<u64, Vec<Arc<Series>>, BuildHasherDefault<Hashed>>>;

/// Takes a number that is a hash already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// An odd number without a pattern in its bits: the golden ratio's.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// A hash of three short names. Begun with a secret of the process, so that callers cannot choose models that
/// collide; there are no more series than the caps let in, so it need not be a strong one.
fn hash_of(secret: u64, names: [&str; 3]) -> u64 {
    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(MULTIPLIER);
        (product as u64) ^ ((product >> 64) as u64)
    };
    let mut hash = secret;
    for name in names.map(str::as_bytes) {
        hash = mix(hash, name.len() as u64);
        for word in name.as_chunks().0 {
            hash = mix(hash, u64::from_le_bytes(*word));
        }
        let last = match name.last_chunk() {
            Some(last) => u64::from_le_bytes(*last),
            None => name
                .iter()
                .fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        hash = mix(hash, last);
    }
    hash
}

pub(super) struct Events {
    secret: u64,
    shards: [Shard; SHARDS],
    upstream_errors: IntCounterVec,
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
    pub(super) duration: Histogram<{ CALL_BOUNDS.len() }>,
    pub(super) ttfb: Histogram<{ CALL_BOUNDS.len() }>,
    pub(super) overhead: Histogram<{ OVERHEAD_BOUNDS.len() }>,
}

impl Events {
    pub(super) fn new(upstream_errors: IntCounterVec) -> Self {
        Self {
            secret: RandomState::new().hash_one(()),
            shards: std::array::from_fn(|_| Shard::default()),
            upstream_errors,
        }
    }

    pub(super) fn record(&self, names: &Names, event: &Event, cost_usd: Option<Usd>) {
        let tenant = tenant_name(event.tenant_id.as_ref());
        let provider = &*event.provider;
        let model = event.model.as_deref().unwrap_or(MODEL_UNKNOWN);
        let add = |series: &Series| series.totals().add(event, cost_usd);
        if !self.with(tenant, provider, model, add) {
            let (tenant, model) = (names.tenant(tenant), names.model(model));
            self.make(tenant, provider, model);
            self.with(tenant, provider, model, add);
        }
        self.note_upstream_error(event);
    }

    /// Does it with the series, when there is one.
    fn with(&self, tenant: &str, provider: &str, model: &str, work: impl FnOnce(&Series)) -> bool {
        let hash = hash_of(self.secret, [tenant, provider, model]);
        let shard = self.shard().read().unwrap_or_else(PoisonError::into_inner);
        let all = shard.get(&hash).map_or(&[][..], Vec::as_slice);
        let series = all.iter().find(|series| series.is(tenant, provider, model));
        series.map(|series| work(series)).is_some()
    }

    fn make(&self, tenant: &str, provider: &str, model: &str) {
        let hash = hash_of(self.secret, [tenant, provider, model]);
        let mut shard = self.shard().write().unwrap_or_else(PoisonError::into_inner);
        let all = shard.entry(hash).or_default();
        if !all.iter().any(|series| series.is(tenant, provider, model)) {
            all.push(Arc::new(Series::new(tenant, provider, model)));
        }
    }

    /// This thread's.
    fn shard(&self) -> &Shard {
        &self.shards[shards::own()]
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
        let mut counted: Vec<Arc<Series>> = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            counted.extend(shard.values().flatten().cloned());
        }
        let mut sums = BTreeMap::new();
        for series in &counted {
            let (tenant, provider, model) = series.labels();
            let sum = sums
                .entry(series.labels())
                .or_insert_with(|| Series::new(tenant, provider, model));
            sum.totals().add_all(&series.totals());
        }
        let all: Vec<Series> = sums.into_values().collect();
        scrape::calls(&all, text);
        scrape::usage(&all, text);
        scrape::money(&all, text);
        scrape::unpriced(&all, text);
        scrape::usage_missing(&all, text);
        scrape::durations(&all, text);
    }
}

impl Series {
    fn new(tenant: &str, provider: &str, model: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            provider: provider.to_owned(),
            model: model.to_owned(),
            totals: Mutex::default(),
        }
    }

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
        self.endpoint(event.endpoint).add(event);
        for (meter, quantity) in event.usage.iter() {
            self.add_usage(meter, units_of(quantity));
        }
        self.cost = self.cost.saturating_add(pico_of(cost_usd));
        self.billed = self.billed.saturating_add(pico_of(event.claimed_usd));
        if matches!(event.pricing, Pricing::Unpriced | Pricing::Partial) {
            self.unpriced += 1;
        }
    }

    fn add_usage(&mut self, meter: Meter, units: u128) {
        match self.usage.iter_mut().find(|(known, _)| *known == meter) {
            Some((_, total)) => *total = total.saturating_add(units),
            None => self.usage.push((meter, units)),
        }
    }

    /// What the same series came to in another shard.
    fn add_all(&mut self, other: &Self) {
        for totals in &other.endpoints {
            self.endpoint(totals.endpoint).add_all(totals);
        }
        for (meter, units) in &other.usage {
            self.add_usage(*meter, *units);
        }
        self.cost = self.cost.saturating_add(other.cost);
        self.billed = self.billed.saturating_add(other.billed);
        self.unpriced += other.unpriced;
    }

    fn endpoint(&mut self, endpoint: EndpointKind) -> &mut EndpointTotals {
        let mut known = self.endpoints.iter();
        let place = known.position(|totals| totals.endpoint == endpoint);
        let place = place.unwrap_or_else(|| {
            self.endpoints.push(EndpointTotals {
                endpoint,
                calls: [0; ENDINGS],
                usage_missing: 0,
                duration: Histogram::default(),
                ttfb: Histogram::default(),
                overhead: Histogram::default(),
            });
            self.endpoints.len() - 1
        });
        &mut self.endpoints[place]
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
        self.duration.observe(&CALL_BOUNDS, event.duration_ms);
        self.ttfb.observe(&CALL_BOUNDS, event.ttfb_ms);
        self.overhead.observe(&OVERHEAD_BOUNDS, event.overhead_ms);
    }

    fn add_all(&mut self, other: &Self) {
        for (calls, more) in self.calls.iter_mut().zip(other.calls) {
            *calls += more;
        }
        self.usage_missing += other.usage_missing;
        self.duration.add(&other.duration);
        self.ttfb.add(&other.ttfb);
        self.overhead.add(&other.overhead);
    }
}

/// Never below zero: a counter does not fall.
fn pico_of(amount: Option<Usd>) -> u128 {
    amount
        .and_then(|usd| u128::try_from(usd.as_pico()).ok())
        .unwrap_or(0)
}

fn units_of(quantity: Decimal) -> u128 {
    let unit = u128::from(UNITS[usize::from(SCALE_MAX - quantity.scale())]);
    // Nearly all are small: of two words the product fits.
    match u64::try_from(quantity.mantissa()) {
        Ok(mantissa) => u128::from(mantissa) * unit,
        Err(_) => {
            u128::try_from(quantity.mantissa()).map_or(0, |mantissa| mantissa.saturating_mul(unit))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_quantity_is_counted_in_the_smallest_units(
            mantissa in prop_oneof![any::<i64>().prop_map(i128::from), any::<i128>()],
            scale in 0..=SCALE_MAX,
        ) {
            if let Ok(quantity) = Decimal::new(mantissa, scale) {
                let units = 10_u128.pow(u32::from(SCALE_MAX - quantity.scale()));
                let expected = u128::try_from(quantity.mantissa()).unwrap_or(0).saturating_mul(units);
                prop_assert_eq!(units_of(quantity), expected);
            }
        }

        #[test]
        fn names_that_differ_in_one_place_have_other_hashes(
            names: [String; 3], secret: u64, name in 0..3_usize, at: prop::sample::Index,
        ) {
            let mut other = names.clone();
            let place = at.index(other[name].chars().count() + 1);
            let place = other[name].char_indices().nth(place).map_or(other[name].len(), |(at, _)| at);
            other[name].insert(place, 'x');
            let hash = |names: &[String; 3]| hash_of(secret, names.each_ref().map(String::as_str));
            prop_assert_eq!(hash(&names), hash(&names.clone()));
            prop_assert_ne!(hash(&names), hash(&other));
        }
    }
}
