//! Which upstreams and models a key and its tenant may ask for.

use farebox_pricing::evidence::Evidence;
use farebox_pricing::rate_card::selling::Buyer;
use http::request::Parts;

use super::held::Body;
use super::record::asked;
use super::tools::check_tools;
use super::view::KeyView;
use super::{Caller, Passage, Route};
use crate::Worker;
use crate::directory::ModelRule;
use crate::failure::{Code, Refusal};
use crate::provider::Class;
use crate::settle;

/// Whether key and tenant may reach an upstream.
pub(super) fn may_reach(caller: &Caller, upstream: &str) -> bool {
    let (key, tenant) = (caller.key.as_ref(), caller.tenant());
    key.is_none_or(|key| key.may_reach(upstream))
        && tenant.is_none_or(|tenant| tenant.may_reach(upstream))
}

/// The lists of key and tenant: models, then tools.
pub(super) async fn check_lists(
    worker: &Worker,
    head: &Parts,
    route: &Route<'_>,
    caller: &Caller,
    passage: &Passage,
    body: &mut Body,
) -> Result<(), Refusal> {
    check_model(worker, head, route, caller, passage, body).await?;
    check_tools(worker, head, caller, passage, body).await
}

/// A key or a tenant with a list of models: whether the one asked for is on it. A tenant that refuses what has no
/// price: whether the one asked for has. Held is the body only of a call whose model neither path nor
/// query names. Where there is a list, the choice may not be left to the
/// vendor.
async fn check_model(
    worker: &Worker,
    head: &Parts,
    route: &Route<'_>,
    caller: &Caller,
    passage: &Passage,
    body: &mut Body,
) -> Result<(), Refusal> {
    let (key, tenant) = (caller.key.as_deref().map(KeyView::row), caller.tenant());
    let Some(rule) = ModelRule::of(key, tenant, passage.paid_by) else {
        return Ok(());
    };
    let endpoint = passage.endpoint;
    if endpoint.class != Class::Metered {
        return Ok(());
    }
    let model_in = |body: Option<&[u8]>| {
        let mut evidence = Evidence::default();
        (endpoint.request_facts)(&mut evidence, &asked(head, route, body));
        evidence.request_text("model").map(str::to_owned)
    };
    let model = match model_in(None) {
        Some(model) => Some(model),
        None => model_in(Some(body.hold(worker).await?)),
    };
    let Some(model) = model else {
        // Where a socket's messages name it, they are looked at before they go up.
        if endpoint
            .socket
            .is_some_and(|socket| socket.models.is_some())
        {
            return Ok(());
        }
        return if rule.is_listed() {
            Err(Refusal::from(Code::ModelNotAllowed)
                .with_detail("The request names no model, and only some are allowed."))
        } else {
            Ok(())
        };
    };
    let is_sold = || {
        let buyer = Buyer {
            tenant: tenant.map(|tenant| tenant.tenant_id.as_str()),
            plan: tenant.and_then(|tenant| tenant.plan.as_deref()),
            paid_by: passage.paid_by,
        };
        let (cards, provider) = (&caller.view.cards, passage.upstream.provider.name);
        cards.sells(buyer, provider, &model, settle::now())
    };
    match rule.refuses(&model, is_sold) {
        Some(code) => Err(code.into()),
        None => Ok(()),
    }
}
