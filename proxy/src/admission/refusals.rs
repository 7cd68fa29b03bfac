//! How a limit says no: its code, what of it may be told, and when it helps to come again.

use std::time::Duration;

use farebox_pricing::time::Timestamp;

use super::gauge::State;
use super::pico;
use crate::directory::{Counted, Limit, WindowKind};
use crate::failure::{Code, Refusal};

/// A place in what runs at the same time, or a lease that is on its way, is worth a try this soon.
const SOON_SECONDS: u64 = 1;

/// The code of a limit that is reached.
pub(crate) fn code(limit: &Limit) -> Code {
    match limit.meter {
        Counted::Requests => Code::RateLimited,
        Counted::Concurrency => Code::ConcurrencyLimited,
        Counted::Usd => Code::BudgetExceeded,
        Counted::Tokens | Counted::Meter(_) => Code::QuantityExceeded,
    }
}

/// Of a rate, which is counted in this proxy.
pub(crate) fn of_rate(limit: &Limit, wait: Option<Duration>) -> Refusal {
    let mut refusal = Refusal::new(Code::RateLimited);
    if limit.is_told() {
        refusal = refusal.with_detail(format!(
            "Limit {}: amount {} {} each {}.",
            limit.limit_id,
            limit.amount,
            limit.meter.name(),
            limit.window.name()
        ));
    }
    match wait {
        Some(wait) => refusal.retry_after(seconds(wait)),
        None => refusal,
    }
}

/// Of a counter. Of a limit on cost, or wider than its tenant, only the code and the time are told.
pub(crate) fn of_counter(limit: &Limit, state: State, now: i64) -> Refusal {
    let resets_at = Timestamp::from_millis(state.window.end);
    let has_window = limit.window != WindowKind::Concurrent;
    let mut said = String::new();
    if limit.is_told() {
        said = format!(
            "Limit {}: used {}, reserved {}, amount {} {}",
            limit.limit_id,
            pico::text(state.used),
            pico::text(state.reserved),
            limit.amount,
            limit.meter.name(),
        );
    }
    if has_window {
        let separator = if said.is_empty() { "" } else { ", " };
        said = format!("{said}{separator}resets_at {resets_at}");
    }
    let mut refusal = Refusal::new(code(limit));
    if !said.is_empty() {
        refusal = refusal.with_detail(format!("{said}."));
    }
    if has_window {
        refusal.retry_after(seconds(Duration::from_millis(state.window.left(now))))
    } else {
        refusal.retry_after(SOON_SECONDS)
    }
}

/// Of a limit that cannot be checked now.
pub(crate) fn unavailable(limit: &Limit) -> Refusal {
    let mut refusal = Refusal::new(Code::LimitUnavailable);
    if limit.is_told() {
        refusal = refusal.with_detail(format!("Limit {}.", limit.limit_id));
    }
    refusal.retry_after(SOON_SECONDS)
}

fn seconds(wait: Duration) -> u64 {
    let seconds = wait.as_millis().div_ceil(1_000);
    u64::try_from(seconds).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::calendar::Window;
    use super::*;
    use crate::directory::Basis;
    use crate::directory::tests::limit;

    const STATE: State = State {
        used: 9 * pico::ONE + pico::ONE / 2,
        reserved: 0,
        window: Window {
            start: 0,
            end: 86_400_000,
        },
    };

    #[test]
    fn the_tenants_own_limit_is_named_and_others_are_not() {
        let mut limit = limit(1, Some("acme"), 10, WindowKind::Day);
        limit.meter = Counted::Usd;
        let refusal = of_counter(&limit, STATE, 86_390_500);
        assert_eq!(refusal.code, Code::BudgetExceeded);
        assert_eq!(refusal.retry_after_seconds, Some(10));
        assert_eq!(
            refusal.message(),
            "The budget is spent. Limit 00000000-0000-0000-0000-000000000001: used 9.5, reserved 0, \
             amount 10 usd, resets_at 1970-01-02T00:00:00.000Z."
        );
        let on_cost = Limit {
            basis: Basis::Cost,
            ..limit.clone()
        };
        let wide = Limit {
            tenant_id: None,
            ..limit
        };
        for hidden in [on_cost, wide] {
            assert_eq!(
                of_counter(&hidden, STATE, 0).message(),
                "The budget is spent. resets_at 1970-01-02T00:00:00.000Z."
            );
            assert_eq!(unavailable(&hidden).detail, None);
        }
    }
}
