//! Limits on the walk: those that need nothing of the body before it is read, the others when the
//! facts they need are known. A call without limits passes both with one look.

use farebox_pricing::event::Transport;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::id::TenantId;
use farebox_pricing::rate_card::selling::Buyer;
use http::header;
use http::request::Parts;

use super::held::Body;
use super::record::{asked, content_length};
use super::{Caller, Passage, Route};
use crate::Worker;
use crate::admission::Shape;
use crate::directory::Subject;
use crate::failure::{Code, Refusal};
use crate::provider::Class;
use crate::settle;

/// Agents, rates, and what runs at the same time. Says whether some limits are still to be looked at.
pub(super) fn begin(
    worker: &Worker,
    caller: &Caller,
    passage: &mut Passage,
) -> Result<bool, Refusal> {
    let admission = &worker.shared.admission;
    check_agent(worker, caller)?;
    let Some(limits) = &caller.view.limits else {
        return Ok(false);
    };
    let mut permit = std::mem::take(&mut passage.permit);
    let call = subject(caller, passage, None);
    let tenant = caller.tenant();
    let matched = admission.begin(limits, &call, tenant, &mut permit)?;
    passage.permit = permit;
    Ok(matched.asks_for_body)
}

/// Quantities and budgets: reserves the most that the call can use.
pub(super) async fn reserve(
    worker: &Worker,
    head: &Parts,
    route: &Route<'_>,
    caller: &Caller,
    passage: &mut Passage,
    body: &mut Body,
) -> Result<(), Refusal> {
    let Some(limits) = &caller.view.limits else {
        return Ok(());
    };
    let endpoint = passage.endpoint;
    let is_socket = passage.transport == Transport::Websocket;
    if endpoint.class == Class::Metered && !is_socket && is_json(head) {
        body.hold_if_it_fits(worker).await?;
    }
    let mut evidence = Evidence::default();
    (endpoint.request_facts)(&mut evidence, &asked(head, route, body.known()));
    let bound = worker.shared.config.proxy.request_hold_bytes_max as u64;
    let body_bytes = match body.known() {
        Some(bytes) => bytes.len() as u64,
        None if is_socket => 0,
        None => content_length(&head.headers).unwrap_or(bound),
    };
    let buyer = Buyer {
        tenant: caller.tenant_id.as_ref().map(TenantId::as_str),
        plan: caller.tenant().and_then(|tenant| tenant.plan.as_deref()),
        paid_by: passage.paid_by,
    };
    let shape = Shape {
        buyer,
        cards: &caller.view.cards,
        provider: passage.upstream.provider.name,
        kind: endpoint.kind,
        is_metered: endpoint.class == Class::Metered,
        is_socket,
        paid_by: passage.paid_by,
        evidence: &evidence,
        body_bytes,
        at: settle::now(),
    };
    let mut permit = std::mem::take(&mut passage.permit);
    let call = subject(caller, passage, evidence.request_text("model"));
    let tenant = caller.tenant();
    worker
        .shared
        .admission
        .reserve(limits, &call, tenant, &shape, &mut permit)?;
    passage.permit = permit;
    Ok(())
}

/// A tenant that may have only so many agents.
fn check_agent(worker: &Worker, caller: &Caller) -> Result<(), Refusal> {
    let (Some(tenant), Some(agent)) = (caller.tenant(), &caller.labels.agent) else {
        return Ok(());
    };
    let max = tenant.lists().agents_max;
    let Some(max) = max.filter(|_| worker.shared.admission.is_on()) else {
        return Ok(());
    };
    let agents = &worker.shared.admission.agents;
    if agents.admit(tenant.tenant_id.as_str(), agent, max) {
        worker.shared.admission.agents_changed();
        return Ok(());
    }
    Err(Code::AgentLimit.into())
}

fn subject<'a>(caller: &'a Caller, passage: &'a Passage, model: Option<&'a str>) -> Subject<'a> {
    let labels = &caller.labels;
    Subject {
        tenant: caller.tenant_id.as_ref().map(TenantId::as_str),
        customer_id: labels.customer_id.as_deref(),
        project: labels.project.as_deref(),
        agent: labels.agent.as_deref(),
        key_id: caller.key.as_ref().map(|key| key.key_id),
        provider: passage.upstream.provider.name,
        upstream: &passage.upstream.name,
        model,
    }
}

/// Audio, files and forms are never held for a limit.
pub(super) fn is_json(head: &Parts) -> bool {
    let content_type = head.headers.get(header::CONTENT_TYPE);
    content_type
        .and_then(|text| text.to_str().ok())
        .is_none_or(|text| {
            let kind = text.split(';').next().unwrap_or_default().trim();
            kind.is_empty()
                || kind.eq_ignore_ascii_case("application/json")
                || kind.ends_with("+json")
                || kind.eq_ignore_ascii_case("text/plain")
        })
}
