//! What a key's lists let it ask for.

use farebox_pricing::evidence::Evidence;
use http::request::Parts;

use super::held::Body;
use super::record::asked;
use super::{Caller, Route};
use crate::Worker;
use crate::failure::{Code, Refusal};
use crate::provider::{Class, Endpoint};

/// A key with a list of models: whether the one asked for is on it. Held is the body only of a call
/// whose model neither path nor query names. A call that names none is not allowed: the vendor would
/// choose.
pub(super) async fn check_model(
    worker: &Worker,
    head: &Parts,
    route: &Route<'_>,
    caller: &Caller,
    endpoint: &Endpoint,
    body: &mut Body,
) -> Result<(), Refusal> {
    let Some(key) = &caller.key else {
        return Ok(());
    };
    if key.allowed_models.is_none() || endpoint.class != Class::Metered {
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
    match model {
        Some(model) if key.may_use(&model) => Ok(()),
        Some(_) => Err(Code::ModelNotAllowed.into()),
        None => Err(Refusal::from(Code::ModelNotAllowed)
            .with_detail("The request names no model, and the key is for some only.")),
    }
}
