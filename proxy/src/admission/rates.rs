//! Requests by the second and by the minute: the generic cell rate algorithm, each proxy its share of
//! the live ones. `N` for a window lets exactly `N` pass at once and then one every `window / N`.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use farebox_pricing::money::Decimal;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use uuid::Uuid;

use crate::directory::{Limit, WindowKind};

/// Above so many, counters of values that were not seen for a window are thrown away.
const VALUES_PRUNED_ABOVE: usize = 10_000;

type Limiter<C> =
    RateLimiter<Box<str>, HashMapStateStore<Box<str>>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// What a rate's amount comes to in this proxy.
enum Rate<C: Clock> {
    /// No call at all: an amount below one.
    Nothing,
    /// So many that no proxy reaches it.
    Everything,
    Counted(Limiter<C>),
}

struct Counter<C: Clock> {
    amount: Decimal,
    window: WindowKind,
    live: u32,
    rate: Rate<C>,
}

/// The counters of all rates.
pub(crate) struct Rates<C: Clock = DefaultClock> {
    clock: C,
    counters: RwLock<HashMap<Uuid, Arc<Counter<C>>>>,
}

/// A rate is reached; the time after which one more fits, when there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached(pub(crate) Option<Duration>);

impl Default for Rates {
    fn default() -> Self {
        Self::with_clock(DefaultClock::default())
    }
}

impl<C: Clock + Clone> Rates<C> {
    pub(crate) fn with_clock(clock: C) -> Self {
        Self {
            clock,
            counters: RwLock::default(),
        }
    }

    /// Counts one call of a limit for a value, in a deployment of so many proxies.
    pub(crate) fn count(&self, limit: &Limit, scope: &str, live: u32) -> Result<(), Reached> {
        let found = {
            let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
            counters.get(&limit.limit_id).cloned()
        };
        let counter = match found {
            Some(counter) if counter.is_of(limit, live) => counter,
            _ => self.renew(limit, live),
        };
        match &counter.rate {
            Rate::Nothing => Err(Reached(None)),
            Rate::Everything => Ok(()),
            Rate::Counted(limiter) => {
                // Now and then: a look at all of them is not for every call.
                if limiter.len() > VALUES_PRUNED_ABOVE && fastrand::u32(..1_000) == 0 {
                    limiter.retain_recent();
                }
                limiter
                    .check_key(&Box::from(scope))
                    .map_err(|reached| Reached(Some(reached.wait_time_from(self.clock.now()))))
            }
        }
    }

    /// Forgets limits that are gone.
    pub(crate) fn retain(&self, is_there: impl Fn(Uuid) -> bool) {
        let mut counters = self
            .counters
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        counters.retain(|limit_id, _| is_there(*limit_id));
    }

    fn renew(&self, limit: &Limit, live: u32) -> Arc<Counter<C>> {
        let mut counters = self
            .counters
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = counters.get(&limit.limit_id)
            && counter.is_of(limit, live)
        {
            return Arc::clone(counter);
        }
        let counter = Arc::new(Counter {
            amount: limit.amount,
            window: limit.window,
            live,
            rate: Rate::new(limit, live, self.clock.clone()),
        });
        counters.insert(limit.limit_id, Arc::clone(&counter));
        counter
    }
}

impl<C: Clock> Counter<C> {
    fn is_of(&self, limit: &Limit, live: u32) -> bool {
        (self.amount, self.window, self.live) == (limit.amount, limit.window, live)
    }
}

impl<C: Clock + Clone> Rate<C> {
    fn new(limit: &Limit, live: u32, clock: C) -> Self {
        let calls = match u32::try_from(floor(limit.amount)) {
            Ok(calls) => calls,
            Err(_) if limit.amount.is_negative() => 0,
            Err(_) => return Self::Everything,
        };
        let Some(all) = NonZeroU32::new(calls) else {
            return Self::Nothing;
        };
        let window = if limit.window == WindowKind::Second {
            Duration::from_secs(1)
        } else {
            Duration::from_secs(60)
        };
        // A share below one call is one call, more rarely.
        let live = live.max(1);
        let burst = NonZeroU32::new(all.get() / live).unwrap_or(NonZeroU32::MIN);
        match Quota::with_period(window.saturating_mul(live) / calls) {
            Some(quota) => {
                let quota = quota.allow_burst(burst);
                let store = HashMapStateStore::default();
                Self::Counted(RateLimiter::new(quota, store, clock))
            }
            // More than one in a nanosecond.
            None => Self::Everything,
        }
    }
}

/// Whole calls: half a call is none.
fn floor(amount: Decimal) -> i128 {
    amount.mantissa() / 10i128.pow(amount.scale().into())
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;
    use crate::directory::tests::limit;

    fn passed<C: Clock + Clone>(rates: &Rates<C>, limit: &Limit, live: u32, calls: usize) -> usize {
        (0..calls)
            .filter(|_| rates.count(limit, "[]", live).is_ok())
            .count()
    }

    #[test]
    fn exactly_the_amount_of_a_burst_passes_from_any_number_of_threads() {
        let rates = Rates::default();
        let limit = limit(1, Some("acme"), 2, WindowKind::Minute);
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..10)
                .map(|_| scope.spawn(|| passed(&rates, &limit, 1, 5)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(passed, 2);
        assert!(
            matches!(rates.count(&limit, "[]", 1), Err(Reached(Some(wait))) if wait.as_secs() >= 28)
        );
    }

    proptest! {
        #[test]
        fn a_burst_passes_its_share_and_one_more_a_part_of_the_window_later(amount in 1u32..200, window in 0usize..2, live in 1u32..5) {
            let window = [WindowKind::Second, WindowKind::Minute][window];
            let seconds = [1, 60][usize::from(window == WindowKind::Minute)];
            let clock = FakeRelativeClock::default();
            let rates = Rates::with_clock(clock.clone());
            let limit = limit(1, None, amount.into(), window);
            let calls = (amount / live).max(1) as usize;
            prop_assert_eq!(passed(&rates, &limit, live, calls + 50), calls);
            let share = Duration::from_secs(seconds) * live / amount;
            clock.advance(share - Duration::from_nanos(1));
            prop_assert_eq!(passed(&rates, &limit, live, 5), 0);
            clock.advance(Duration::from_nanos(1));
            prop_assert_eq!(passed(&rates, &limit, live, 5), 1);
        }
    }

    #[test]
    fn values_are_counted_apart_and_a_change_of_the_rate_begins_anew() {
        let rates = Rates::default();
        let one = limit(1, None, 1, WindowKind::Minute);
        assert!(rates.count(&one, "[\"a\"]", 1).is_ok());
        assert!(rates.count(&one, "[\"b\"]", 1).is_ok());
        assert!(rates.count(&one, "[\"a\"]", 1).is_err());
        let more = Limit {
            amount: 2.into(),
            ..one
        };
        assert!(rates.count(&more, "[\"a\"]", 1).is_ok());
        let nothing = limit(2, None, 0, WindowKind::Second);
        assert_eq!(rates.count(&nothing, "[]", 1), Err(Reached(None)));
        rates.retain(|limit_id| limit_id == Uuid::from_u128(2));
        assert_eq!(rates.counters.read().unwrap().len(), 1);
    }
}
