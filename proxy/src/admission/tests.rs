//! Admission as a whole: which limits bind, what they hold, and what is given back.

use farebox_pricing::event::{EndpointKind, PaidBy};
use farebox_pricing::evidence::Evidence;
use farebox_pricing::id::TenantId;
use farebox_pricing::rate_card::CardSet;

use super::standing::Standing;
use super::*;
use crate::directory::tests::limit;
use crate::directory::{Content, Counted, Scope, WindowKind};
use crate::failure::Code;

fn admission(limits: Vec<Limit>) -> Admission {
    let directory = Arc::new(Directory::new());
    directory.replace(
        Content {
            limits,
            ..Content::default()
        },
        1,
    );
    let mut admission = Admission::new(Limits::On, directory);
    admission.around = Arc::new(Around {
        standing: Standing::alone(),
        ..Around::default()
    });
    admission
}

fn call(tenant: &str) -> Subject<'_> {
    Subject {
        tenant: Some(tenant),
        provider: "openai",
        upstream: "openai",
        ..Subject::default()
    }
}

fn begin(admission: &Admission, call: &Subject<'_>) -> Result<Permit, Refusal> {
    let mut permit = Permit::default();
    if let Some(limits) = admission.limits_of(call.tenant) {
        admission.begin(&limits, call, None, &mut permit)?;
    }
    Ok(permit)
}

fn reserve(admission: &Admission, call: &Subject<'_>) -> Result<Permit, Refusal> {
    let mut evidence = Evidence::default();
    if let Some(model) = call.model {
        evidence.request.insert("model", model);
    }
    evidence.request.insert("max_output_tokens", 100_u64);
    let shape = Shape {
        provider: "openai",
        kind: EndpointKind::Chat,
        is_metered: true,
        is_socket: false,
        paid_by: PaidBy::Operator,
        buyer: PaidBy::Operator.into(),
        cards: CardSet::built_in(),
        evidence: &evidence,
        body_bytes: 900,
        at: Timestamp::from_millis(1_795_317_480_000),
    };
    let mut permit = begin(admission, call)?;
    if let Some(limits) = admission.limits_of(call.tenant) {
        admission.reserve(&limits, call, None, &shape, &mut permit)?;
    }
    Ok(permit)
}

#[test]
fn the_directorys_limits_hold_unless_the_kill_switch_is_set() {
    let mut admission = admission(vec![limit(1, Some("acme"), 1, WindowKind::Day)]);
    let first = begin(&admission, &call("acme")).unwrap();
    let refusal = begin(&admission, &call("acme")).unwrap_err();
    assert_eq!(refusal.code, Code::RateLimited);
    assert!(begin(&admission, &call("globex")).is_ok());
    drop(first);
    assert!(
        begin(&admission, &call("acme")).is_ok(),
        "it was given back"
    );
    admission.is_on = false;
    assert!(admission.limits_of(Some("acme")).is_none());
}

#[test]
fn all_limits_that_match_hold_and_a_refused_call_gives_back_what_it_took() {
    let mut two = limit(1, Some("acme"), 2, WindowKind::Hour);
    two.meter = Counted::Requests;
    let mut one = limit(2, Some("acme"), 1, WindowKind::Day);
    one.scope.project = Some("x".to_owned());
    let admission = admission(vec![two, one]);
    let in_x = Subject {
        project: Some("x"),
        ..call("acme")
    };
    let _first = begin(&admission, &in_x).unwrap();
    assert!(begin(&admission, &in_x).is_err());
    assert!(begin(&admission, &in_x).is_err());
    // The refused calls left the wider limit as it was.
    let _second = begin(&admission, &call("acme")).unwrap();
    assert!(begin(&admission, &call("acme")).is_err());
}

#[test]
fn each_scope_binds_its_own_calls_alone() {
    let scoped = |scope: Scope| Limit {
        scope,
        ..limit(1, None, 0, WindowKind::Day)
    };
    let text = |value: &str| Some(value.to_owned());
    let key_id = Uuid::from_u128(9);
    let whole = Subject {
        customer_id: Some("c"),
        project: Some("p"),
        agent: Some("a"),
        key_id: Some(key_id),
        model: Some("gpt-4o-2024-08-06"),
        ..call("acme")
    };
    let scopes = [
        Scope {
            customer_id: text("c"),
            ..Scope::default()
        },
        Scope {
            project: text("p"),
            ..Scope::default()
        },
        Scope {
            agent: text("a"),
            ..Scope::default()
        },
        Scope {
            key_id: Some(key_id),
            ..Scope::default()
        },
        Scope {
            provider: text("openai"),
            ..Scope::default()
        },
        Scope {
            upstream: text("openai"),
            ..Scope::default()
        },
        Scope {
            model: text("gpt-4o"),
            ..Scope::default()
        },
        Scope {
            model: text("gpt-*"),
            project: text("p"),
            ..Scope::default()
        },
    ];
    for scope in scopes {
        let admission = admission(vec![scoped(scope.clone())]);
        assert!(reserve(&admission, &whole).is_err(), "{scope:?}");
        let other = Subject {
            provider: "anthropic",
            upstream: "other",
            model: Some("claude"),
            ..call("acme")
        };
        assert!(reserve(&admission, &other).is_ok(), "{scope:?}");
    }
}

#[test]
fn a_limit_per_value_counts_each_for_itself() {
    let per = Limit {
        per: vec![Dimension::Tenant, Dimension::Customer],
        ..limit(1, None, 1, WindowKind::Day)
    };
    let admission = admission(vec![per]);
    let of = |tenant, customer_id| Subject {
        customer_id: Some(customer_id),
        ..call(tenant)
    };
    let mut held = Vec::new();
    for (tenant, customer) in [("a", "b-c"), ("a-b", "c"), ("a", "c")] {
        held.push(begin(&admission, &of(tenant, customer)).unwrap());
        assert!(begin(&admission, &of(tenant, customer)).is_err());
    }
}

#[test]
fn a_budget_holds_the_most_a_call_can_cost() {
    let mut budget = limit(1, Some("acme"), 1, WindowKind::Month);
    budget.meter = Counted::Usd;
    // 900 bytes at 0.15 and 100 tokens at 0.60 USD a million, ten times.
    budget.amount = "0.00195".parse().unwrap();
    let admission = admission(vec![budget]);
    let call = Subject {
        model: Some("gpt-4o-mini"),
        ..call("acme")
    };
    let mut held: Vec<Permit> = (0..10)
        .map(|_| reserve(&admission, &call).unwrap())
        .collect();
    let refusal = reserve(&admission, &call).unwrap_err();
    assert_eq!(refusal.code, Code::BudgetExceeded);
    assert!(
        refusal
            .message()
            .contains("reserved 0.00195, amount 0.00195 usd, resets_at")
    );
    held.pop();
    held.push(reserve(&admission, &call).unwrap());
    assert!(reserve(&admission, &call).is_err());
}

#[test]
fn calls_at_the_same_time_are_counted_until_they_end() {
    let mut at_once = limit(1, Some("acme"), 2, WindowKind::Concurrent);
    at_once.meter = Counted::Concurrency;
    let admission = admission(vec![at_once]);
    let first = begin(&admission, &call("acme")).unwrap();
    let _second = begin(&admission, &call("acme")).unwrap();
    let refusal = begin(&admission, &call("acme")).unwrap_err();
    assert_eq!(
        (refusal.code, refusal.retry_after_seconds),
        (Code::ConcurrencyLimited, Some(1))
    );
    drop(first);
    assert!(begin(&admission, &call("acme")).is_ok());
}

#[test]
fn an_expired_limit_is_inert_and_warnings_are_said() {
    let expired = Limit {
        expires_at: Some(Timestamp::from_millis(unix_millis())),
        ..limit(1, Some("acme"), 0, WindowKind::Day)
    };
    let warn = Limit {
        action: LimitAction::Warn,
        ..limit(2, Some("acme"), 0, WindowKind::Day)
    };
    let admission = admission(vec![expired, warn]);
    let permit = begin(&admission, &call("acme")).unwrap();
    assert_eq!(
        permit.warning(),
        Some("limit 00000000-0000-0000-0000-000000000002 is reached")
    );
    assert_eq!(admission.events.take().len(), 1);
    let _ = begin(&admission, &call("acme")).unwrap();
    assert!(admission.events.is_empty(), "told once a window");
}

/// A measurement, not a gate: `cargo test -p farebox-proxy --release -- --ignored admission --nocapture`.
#[test]
#[ignore = "a measurement"]
fn admission_of_ten_limits_takes_microseconds() {
    let limits = (0..10)
        .map(|id| {
            let mut limit = limit(id, Some("acme"), u32::MAX.into(), WindowKind::Month);
            limit.meter = match id % 4 {
                0 => Counted::Usd,
                1 => Counted::Tokens,
                2 => Counted::Requests,
                _ => Counted::Concurrency,
            };
            if limit.meter == Counted::Concurrency {
                limit.window = WindowKind::Concurrent;
            }
            limit
        })
        .collect();
    let admission = admission(limits);
    let call = Subject {
        model: Some("gpt-4o-mini"),
        tenant: Some("acme"),
        ..call("acme")
    };
    let mut took: Vec<u128> = (0..20_000)
        .map(|_| {
            let began = std::time::Instant::now();
            let permit = reserve(&admission, &call);
            let took = began.elapsed().as_nanos();
            assert!(permit.is_ok());
            took
        })
        .collect();
    took.sort_unstable();
    println!(
        "p50 {} ns, p99 {} ns",
        took[took.len() / 2],
        took[took.len() * 99 / 100]
    );
    assert!(took[took.len() * 99 / 100] < 20_000 || cfg!(debug_assertions));
    let _ = TenantId::new("acme");
}
