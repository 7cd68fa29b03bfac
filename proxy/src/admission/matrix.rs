//! Every scope with every meter in every window it may have: exactly what fits passes, the next call is
//! refused with the meter's code, and a call of another value of the scope is not bound. Rates by the second
//! are beside their clock, in `rates`.

use farebox_pricing::event::{EndpointKind, PaidBy};
use farebox_pricing::evidence::Evidence;
use farebox_pricing::rate_card::CardSet;
use farebox_pricing::usage::Meter;

use super::standing::Standing;
use super::*;
use crate::directory::tests::limit;
use crate::directory::{Basis, Content, Counted, Scope, WindowKind};
use crate::failure::Code;

/// Calls that fit under each limit.
const FITTING: usize = 2;

fn counted() -> Vec<(Counted, EndpointKind, Code, &'static [WindowKind])> {
    use WindowKind::{Concurrent, Day, Hour, Minute, Month, Week};
    const QUANTITIES: &[WindowKind] = &[Minute, Hour, Day, Week, Month];
    let quantity = |meter, kind| (meter, kind, Code::QuantityExceeded, QUANTITIES);
    vec![
        (
            Counted::Requests,
            EndpointKind::Chat,
            Code::RateLimited,
            &[Minute, Hour, Day, Week, Month],
        ),
        (
            Counted::Concurrency,
            EndpointKind::Chat,
            Code::ConcurrencyLimited,
            &[Concurrent],
        ),
        quantity(Counted::Tokens, EndpointKind::Chat),
        quantity(Counted::Meter(Meter::InputTokens), EndpointKind::Chat),
        quantity(Counted::Meter(Meter::OutputTokens), EndpointKind::Chat),
        quantity(Counted::Meter(Meter::AudioSeconds), EndpointKind::Listen),
        quantity(Counted::Meter(Meter::Characters), EndpointKind::Speak),
        (
            Counted::Usd,
            EndpointKind::Chat,
            Code::BudgetExceeded,
            QUANTITIES,
        ),
    ]
}

/// A limit's scope, and whether its tenant is named beside it.
fn scopes() -> Vec<(&'static str, bool, Scope)> {
    let text = |value: &str| Some(value.to_owned());
    let of = |change: fn(&mut Scope)| {
        let mut scope = Scope::default();
        change(&mut scope);
        scope
    };
    vec![
        ("tenant", true, Scope::default()),
        (
            "customer",
            true,
            of(|scope| scope.customer_id = Some("c".to_owned())),
        ),
        (
            "project",
            true,
            of(|scope| scope.project = Some("p".to_owned())),
        ),
        (
            "agent",
            true,
            of(|scope| scope.agent = Some("a".to_owned())),
        ),
        (
            "key",
            false,
            of(|scope| scope.key_id = Some(Uuid::from_u128(9))),
        ),
        (
            "provider",
            false,
            of(|scope| scope.provider = Some("openai".to_owned())),
        ),
        (
            "upstream",
            false,
            of(|scope| scope.upstream = Some("first".to_owned())),
        ),
        (
            "model",
            false,
            of(|scope| scope.model = Some("gpt-4o-mini".to_owned())),
        ),
        (
            "tenant, project and model",
            true,
            Scope {
                project: text("p"),
                model: text("gpt-4o*"),
                ..Scope::default()
            },
        ),
        (
            "customer, agent, key and upstream",
            true,
            Scope {
                customer_id: text("c"),
                agent: text("a"),
                key_id: Some(Uuid::from_u128(9)),
                upstream: text("first"),
                ..Scope::default()
            },
        ),
    ]
}

fn bound() -> Subject<'static> {
    Subject {
        tenant: Some("acme"),
        customer_id: Some("c"),
        project: Some("p"),
        agent: Some("a"),
        key_id: Some(Uuid::from_u128(9)),
        provider: "openai",
        upstream: "first",
        model: Some("gpt-4o-mini"),
    }
}

fn other() -> Subject<'static> {
    Subject {
        tenant: Some("globex"),
        customer_id: None,
        project: Some("q"),
        agent: Some("b"),
        key_id: Some(Uuid::from_u128(8)),
        provider: "deepgram",
        upstream: "second",
        model: Some("nova-3"),
    }
}

fn ask(
    admission: &Admission,
    call: &Subject<'_>,
    kind: EndpointKind,
) -> std::result::Result<Permit, Refusal> {
    let mut evidence = Evidence::default();
    evidence.request.insert("max_output_tokens", 100_u64);
    if let Some(model) = call.model {
        evidence.request.insert("model", model);
    }
    let shape = Shape {
        provider: "openai",
        kind,
        is_metered: true,
        is_socket: false,
        paid_by: PaidBy::Operator,
        buyer: PaidBy::Operator.into(),
        cards: CardSet::built_in(),
        evidence: &evidence,
        body_bytes: 2_000,
        at: Timestamp::from_millis(1_795_317_480_000),
    };
    let mut permit = Permit::default();
    if let Some(limits) = admission.limits_of(call.tenant) {
        admission.begin(&limits, call, None, &mut permit)?;
        admission.reserve(&limits, call, None, &shape, &mut permit)?;
    }
    Ok(permit)
}

/// What one call reserves of a meter, in 1e-12.
fn need(meter: Counted) -> i128 {
    match meter {
        Counted::Requests | Counted::Concurrency => pico::ONE,
        // 2,000 bytes and 100 tokens; 0.15 and 0.60 USD a million.
        Counted::Tokens => 2_100 * pico::ONE,
        Counted::Meter(Meter::OutputTokens) => 100 * pico::ONE,
        // At 1,000 bytes a second.
        Counted::Meter(Meter::AudioSeconds) => 2 * pico::ONE,
        Counted::Meter(_) => 2_000 * pico::ONE,
        Counted::Usd => 2_000 * 150_000 + 100 * 600_000,
    }
}

#[test]
fn every_scope_holds_with_every_meter_in_every_window() {
    let mut checked = 0;
    for (name, has_tenant, scope) in scopes() {
        for (meter, kind, code, windows) in counted() {
            for window in windows {
                for basis in [Basis::Billed, Basis::Cost] {
                    if meter != Counted::Usd && basis == Basis::Cost {
                        continue;
                    }
                    let what = format!("{name}, {} a {}", meter.name(), window.name());
                    let amount = need(meter) * FITTING as i128;
                    let limit = Limit {
                        scope: scope.clone(),
                        meter,
                        basis,
                        amount: pico::text(amount).parse().unwrap(),
                        ..limit(1, has_tenant.then_some("acme"), 1, *window)
                    };
                    let directory = Arc::new(Directory::new());
                    let content = Content {
                        limits: vec![limit],
                        ..Content::default()
                    };
                    directory.replace(content, 1);
                    let mut admission = Admission::new(Limits::On, directory);
                    admission.around = Arc::new(Around {
                        standing: Standing::alone(),
                        ..Around::default()
                    });
                    let mut held = Vec::new();
                    for _ in 0..FITTING {
                        held.push(ask(&admission, &bound(), kind).expect(&what));
                    }
                    let refusal = ask(&admission, &bound(), kind).expect_err(&what);
                    assert_eq!(refusal.code, code, "{what}");
                    assert!(ask(&admission, &other(), kind).is_ok(), "{what}");
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 10 * (5 + 1 + 5 * 5 + 5 * 2));
}
