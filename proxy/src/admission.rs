//! Whether a call may go on: the rates of its tenant and of the whole deployment.
//!
//! Rates are counted by the generic cell rate algorithm, in each proxy by itself: `N` for a window
//! lets exactly `N` pass at once and then one every `window / N`. So `hour` and `day` are sliding
//! here, without a reset on the clock. A call that one limit refuses may have been counted by
//! another one; limits are asked from the shortest window up, so that it is never the longer one
//! that pays for a burst.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use farebox_pricing::id::TenantId;
use farebox_pricing::money::Decimal;
use farebox_pricing::time::Timestamp;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use uuid::Uuid;

use crate::config::Limits;
use crate::directory::{Directory, Limit, LimitAction, unix_millis};
use crate::failure::{Code, Refusal};

/// The meter that counts calls.
const REQUESTS: &str = "requests";
/// Above so many counters, those of limits that are gone are thrown away before one is added.
const COUNTERS_PRUNED_ABOVE: usize = 1_024;

/// The right to go on. Dropped when the call has ended; what is reserved for it is given back then.
#[derive(Debug, Default)]
#[must_use = "a permit that is dropped at once reserves nothing"]
pub struct Permit {
    warning: Option<String>,
}

impl Permit {
    /// For `x-farebox-warning`: the limits in warning. Visible ASCII.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

/// The counters of all rates. One for the process; every worker uses it.
pub struct Admission<C: Clock = DefaultClock> {
    is_on: bool,
    directory: Arc<Directory>,
    clock: C,
    counters: RwLock<HashMap<Uuid, Counter<C>>>,
}

struct Counter<C: Clock> {
    limit: Arc<Limit>,
    rate: Arc<Rate<C>>,
    would_refuse: Arc<AtomicU64>,
}

/// What a limit's amount comes to.
enum Rate<C: Clock> {
    /// No call at all: an amount below one.
    Nothing,
    /// So many that no proxy reaches it.
    Everything,
    Counted(Limiter<C>),
}

type Limiter<C> = RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// How one limit answers one call.
enum Verdict {
    Within,
    /// Reached; the time after which one more fits, when there is one.
    Reached(Option<Duration>),
}

impl Admission {
    /// With the deployment's switch, over the directory's limits.
    #[must_use]
    pub fn new(limits: Limits, directory: Arc<Directory>) -> Self {
        Self::with_clock(limits, directory, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Admission<C> {
    fn with_clock(limits: Limits, directory: Arc<Directory>, clock: C) -> Self {
        Self {
            is_on: limits == Limits::On,
            directory,
            clock,
            counters: RwLock::default(),
        }
    }

    /// Counts one call of a tenant, or of nobody, and says whether it may go on.
    pub fn admit(&self, tenant: Option<&TenantId>) -> Result<Permit, Refusal> {
        if !self.is_on {
            return Ok(Permit::default());
        }
        let limits = self.directory.limits_of(tenant.map(TenantId::as_str));
        if limits.is_empty() {
            return Ok(Permit::default());
        }
        self.admit_within(&limits, Timestamp::from_millis(unix_millis()))
    }

    fn admit_within(&self, limits: &[Arc<Limit>], now: Timestamp) -> Result<Permit, Refusal> {
        let mut permit = Permit::default();
        for limit in limits {
            let is_over = limit.expires_at.is_some_and(|expires_at| expires_at <= now);
            if is_over || limit.meter != REQUESTS {
                continue;
            }
            let Verdict::Reached(wait) = self.count(limit) else {
                continue;
            };
            match (limit.dry_run, limit.action) {
                (true, _) => self.note_would_refuse(limit.limit_id),
                (false, LimitAction::Warn) => permit.warn(limit),
                (false, LimitAction::Refuse) => return Err(refusal(limit, wait)),
            }
        }
        Ok(permit)
    }

    /// How many calls a limit in dry run would have refused in this proxy.
    #[must_use]
    pub fn would_refuse(&self, limit_id: Uuid) -> u64 {
        let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
        let counter = counters.get(&limit_id);
        counter.map_or(0, |counter| counter.would_refuse.load(Ordering::Relaxed))
    }

    fn note_would_refuse(&self, limit_id: Uuid) {
        let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = counters.get(&limit_id) {
            counter.would_refuse.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count(&self, limit: &Arc<Limit>) -> Verdict {
        {
            let counters = self.counters.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(counter) = counters.get(&limit.limit_id)
                && Arc::ptr_eq(&counter.limit, limit)
            {
                return counter.rate.count(&self.clock);
            }
        }
        self.renew(limit).count(&self.clock)
    }

    /// Makes the counter of a limit that is new or has changed; counting goes on where the rate is
    /// the same.
    fn renew(&self, limit: &Arc<Limit>) -> Arc<Rate<C>> {
        let mut counters = self
            .counters
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if counters.len() > COUNTERS_PRUNED_ABOVE {
            counters.retain(|_, counter| Arc::strong_count(&counter.limit) > 1);
        }
        let before = counters.get(&limit.limit_id);
        let same = before.filter(|counter| {
            (counter.limit.amount, counter.limit.window) == (limit.amount, limit.window)
        });
        let rate = match same {
            Some(counter) => Arc::clone(&counter.rate),
            None => Arc::new(Rate::new(limit, self.clock.clone())),
        };
        let would_refuse = before.map(|counter| Arc::clone(&counter.would_refuse));
        let counter = Counter {
            limit: Arc::clone(limit),
            rate: Arc::clone(&rate),
            would_refuse: would_refuse.unwrap_or_default(),
        };
        counters.insert(limit.limit_id, counter);
        rate
    }
}

impl Permit {
    fn warn(&mut self, limit: &Limit) {
        let text = format!("limit {} is reached", limit.limit_id);
        self.warning = Some(match self.warning.take() {
            Some(before) => format!("{before}, {text}"),
            None => text,
        });
    }
}

impl<C: Clock> Rate<C> {
    fn new(limit: &Limit, clock: C) -> Self {
        let calls = match u32::try_from(floor(limit.amount)) {
            Ok(calls) => calls,
            Err(_) if limit.amount.is_negative() => 0,
            Err(_) => return Self::Everything,
        };
        let Some(burst) = NonZeroU32::new(calls) else {
            return Self::Nothing;
        };
        let each = Duration::from_secs(limit.window.seconds()) / calls;
        match Quota::with_period(each) {
            Some(quota) => {
                let quota = quota.allow_burst(burst);
                Self::Counted(RateLimiter::direct_with_clock(quota, clock))
            }
            // More than one in a nanosecond.
            None => Self::Everything,
        }
    }

    fn count(&self, clock: &C) -> Verdict {
        match self {
            Self::Nothing => Verdict::Reached(None),
            Self::Everything => Verdict::Within,
            Self::Counted(limiter) => match limiter.check() {
                Ok(()) => Verdict::Within,
                Err(reached) => Verdict::Reached(Some(reached.wait_time_from(clock.now()))),
            },
        }
    }
}

/// Whole calls: half a call is none.
fn floor(amount: Decimal) -> i128 {
    amount.mantissa() / 10i128.pow(amount.scale().into())
}

/// Of a limit wider than the tenant only the code and the time are told.
fn refusal(limit: &Limit, wait: Option<Duration>) -> Refusal {
    let mut refusal = Refusal::new(Code::RateLimited);
    if limit.tenant_id.is_some() {
        refusal = refusal.with_detail(format!(
            "Limit {}: {} requests for each {}.",
            limit.limit_id,
            limit.amount,
            limit.window.name()
        ));
    }
    match wait {
        Some(wait) => refusal.retry_after(
            wait.as_millis()
                .div_ceil(1_000)
                .try_into()
                .unwrap_or(u64::MAX),
        ),
        None => refusal,
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    use super::*;
    use crate::directory::tests::limit;
    use crate::directory::{Content, WindowKind};

    const NOW_MILLIS: i64 = 1_795_317_480_000;

    fn now() -> Timestamp {
        Timestamp::from_millis(NOW_MILLIS)
    }

    fn admission() -> Admission {
        Admission::new(Limits::On, Arc::default())
    }

    fn passed<C: Clock + Clone>(
        admission: &Admission<C>,
        limits: &[Arc<Limit>],
        calls: usize,
    ) -> usize {
        (0..calls)
            .filter(|_| admission.admit_within(limits, now()).is_ok())
            .count()
    }

    #[test]
    fn exactly_the_amount_of_a_burst_passes_from_any_number_of_threads() {
        let admission = admission();
        let limits = [Arc::new(limit(1, Some("acme"), 2, WindowKind::Hour))];
        let passed: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..10)
                .map(|_| scope.spawn(|| passed(&admission, &limits, 5)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(passed, 2);
        let refusal = admission.admit_within(&limits, now()).unwrap_err();
        assert_eq!(refusal.code, Code::RateLimited);
        assert!(
            refusal
                .retry_after_seconds
                .is_some_and(|seconds| (1_790..=1_800).contains(&seconds))
        );
        assert!(
            refusal
                .message()
                .contains("00000001: 2 requests for each hour"),
            "{}",
            refusal.message()
        );
    }

    proptest! {
        #[test]
        fn a_burst_passes_its_amount_and_one_more_a_share_of_the_window_later(amount in 1u32..200, window in 0usize..4) {
            let window = [WindowKind::Second, WindowKind::Minute, WindowKind::Hour, WindowKind::Day][window];
            let clock = FakeRelativeClock::default();
            let admission = Admission::with_clock(Limits::On, Arc::default(), clock.clone());
            let limits = [Arc::new(limit(1, None, amount.into(), window))];
            let calls = amount as usize;
            prop_assert_eq!(passed(&admission, &limits, calls + 50), calls);
            let share = Duration::from_secs(window.seconds()) / amount;
            clock.advance(share - Duration::from_nanos(1));
            prop_assert_eq!(passed(&admission, &limits, 5), 0);
            clock.advance(Duration::from_nanos(1));
            prop_assert_eq!(passed(&admission, &limits, 5), 1);
        }
    }

    #[test]
    fn warning_lets_pass_and_says_so_and_dry_run_only_counts() {
        let admission = admission();
        let warn = Limit {
            action: LimitAction::Warn,
            ..limit(1, Some("acme"), 1, WindowKind::Day)
        };
        let dry_run = Limit {
            dry_run: true,
            ..limit(2, Some("acme"), 1, WindowKind::Day)
        };
        let limits = [Arc::new(warn), Arc::new(dry_run)];
        assert_eq!(
            admission.admit_within(&limits, now()).unwrap().warning(),
            None
        );
        assert_eq!(admission.would_refuse(Uuid::from_u128(2)), 0);
        let second = admission.admit_within(&limits, now()).unwrap();
        assert!(
            second
                .warning()
                .is_some_and(|text| text.starts_with("limit 00000000-"))
        );
        assert_eq!(admission.would_refuse(Uuid::from_u128(2)), 1);
    }

    #[test]
    fn an_expired_limit_and_a_meter_of_another_kind_are_inert() {
        let admission = admission();
        let expired = Limit {
            expires_at: Some(now()),
            ..limit(1, None, 0, WindowKind::Day)
        };
        let other = Limit {
            meter: "cost".into(),
            ..limit(2, None, 0, WindowKind::Day)
        };
        assert!(
            admission
                .admit_within(&[Arc::new(expired), Arc::new(other)], now())
                .is_ok()
        );
        let nothing = [Arc::new(limit(3, None, 0, WindowKind::Day))];
        let refusal = admission.admit_within(&nothing, now()).unwrap_err();
        assert_eq!((refusal.retry_after_seconds, refusal.detail), (None, None));
    }

    #[test]
    fn the_directorys_limits_hold_unless_the_kill_switch_is_set() {
        let directory = Arc::new(Directory::new());
        let limits = vec![limit(1, Some("acme"), 1, WindowKind::Day)];
        directory.replace(
            Content {
                limits,
                ..Content::default()
            },
            1,
        );
        let admission = Admission::new(Limits::On, Arc::clone(&directory));
        let tenant = TenantId::new("acme").unwrap();
        let passed = |tenant| (0..3).filter(|_| admission.admit(tenant).is_ok()).count();
        assert_eq!((passed(Some(&tenant)), passed(None)), (1, 3));
        let admission = Admission::new(Limits::Off, directory);
        assert!(admission.admit(Some(&tenant)).is_ok());
    }

    #[test]
    fn counting_goes_on_over_a_change_that_is_not_the_rates() {
        let admission = admission();
        let first = limit(1, Some("acme"), 2, WindowKind::Day);
        assert_eq!(passed(&admission, &[Arc::new(first.clone())], 1), 1);
        let expires_at = Some(Timestamp::from_millis(NOW_MILLIS + 1));
        let same_rate = Arc::new(Limit {
            expires_at,
            ..first.clone()
        });
        assert_eq!(passed(&admission, &[same_rate], 9), 1);
        let more = Arc::new(Limit {
            amount: 3.into(),
            ..first
        });
        assert_eq!(passed(&admission, &[more], 9), 3);
    }

    #[test]
    fn counters_of_limits_that_are_gone_are_thrown_away() {
        let admission = admission();
        for id in 0..3 * COUNTERS_PRUNED_ABOVE as u128 {
            let _ = admission.admit_within(&[Arc::new(limit(id, None, 1, WindowKind::Day))], now());
        }
        assert!(admission.counters.read().unwrap().len() <= COUNTERS_PRUNED_ABOVE + 1);
    }
}
