//! Which upstreams and models a key and its tenant may ask for.

use farebox_pricing::event::PaidBy;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::rate_card::selling::Buyer;
use http::request::Parts;

use super::held::Body;
use super::record::asked;
use super::tools::check_tools;
use super::{Caller, Passage, Route};
use crate::Worker;
use crate::directory::UnpricedModels;
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
    let listing = caller.key.as_ref();
    let listing = listing.filter(|key| key.allowed_models.is_some());
    let of_tenant = caller.tenant();
    let of_tenant = of_tenant.filter(|tenant| tenant.lists().allowed_models.is_some());
    let is_listed = listing.is_some() || of_tenant.is_some();
    let refuses_unpriced = passage.paid_by == PaidBy::Operator
        && caller
            .tenant()
            .is_some_and(|tenant| tenant.settings().unpriced_models == UnpricedModels::Refuse);
    let endpoint = passage.endpoint;
    if endpoint.class != Class::Metered || (!is_listed && !refuses_unpriced) {
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
        return if is_listed {
            Err(Refusal::from(Code::ModelNotAllowed)
                .with_detail("The request names no model, and only some are allowed."))
        } else {
            Ok(())
        };
    };
    if listing.is_some_and(|key| !key.may_use(&model))
        || of_tenant.is_some_and(|tenant| !tenant.may_use(&model))
    {
        return Err(Code::ModelNotAllowed.into());
    }
    let provider = passage.upstream.provider.name;
    if refuses_unpriced {
        let tenant = caller.tenant();
        let buyer = Buyer {
            tenant: tenant.map(|tenant| tenant.tenant_id.as_str()),
            plan: tenant.and_then(|tenant| tenant.plan.as_deref()),
            paid_by: passage.paid_by,
        };
        if !caller
            .view
            .cards
            .sells(buyer, provider, &model, settle::now())
        {
            return Err(Code::ModelUnpriced.into());
        }
    }
    Ok(())
}
