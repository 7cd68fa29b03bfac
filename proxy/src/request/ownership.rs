//! Which routes a caller may reach at all, and whether what it asks for is its tenant's.

use farebox_pricing::event::PaidBy;

use super::held::Body;
use super::{Caller, Passage, Route};
use crate::Worker;
use crate::failure::{Code, Refusal};
use crate::objects;
use crate::owners::{Account, Owner, Unavailable};
use crate::provider::{Class, Endpoint, Keeps};
use crate::upstream::Upstream;

/// Refuses routes that no tenant may reach. With the caller's own credential the vendor decides who
/// owns what.
pub(super) fn check_class(
    endpoint: &Endpoint,
    upstream: &Upstream,
    paid_by: PaidBy,
) -> Result<(), Refusal> {
    match endpoint.class {
        Class::Metered | Class::Free => Ok(()),
        Class::Escape if upstream.forwards_escape_routes => Ok(()),
        Class::Escape => Err(Code::RouteNotAllowed.into()),
        Class::State if paid_by != PaidBy::Operator || upstream.has_shared_state => Ok(()),
        Class::State if endpoint.keeps == Keeps::List => Err(Refusal::from(Code::RouteNotAllowed)
            .with_detail("A list of what all tenants made needs upstreams.X.shared_state = true.")),
        Class::State => Ok(()),
    }
}

/// Refuses a call with the operator's credential on something that is not its tenant's. What stands in
/// a body is looked at only where the body is held anyway, or where nothing else says what is meant.
pub(super) async fn check_owner(
    worker: &Worker,
    route: &Route<'_>,
    caller: &Caller,
    passage: &Passage,
    body: &mut Body,
) -> Result<(), Refusal> {
    if passage.paid_by != PaidBy::Operator || passage.upstream.has_shared_state {
        return Ok(());
    }
    let mut asked: Vec<Vec<String>> = Vec::new();
    match passage.endpoint.keeps {
        Keeps::Item => {
            let named = objects::named_in_path(passage.endpoint, route.path);
            asked.push(named.ok_or(Code::UnknownObject)?);
        }
        Keeps::Told(member) => {
            let named = objects::named_in_member(body.hold(worker).await?, member);
            asked.push(vec![named.ok_or(Code::UnknownObject)?]);
        }
        Keeps::Nothing | Keeps::Creates | Keeps::Stores | Keeps::List => {}
    }
    if let Some(held) = body.known() {
        let named = objects::named_in_body(held).ok_or_else(|| {
            Refusal::from(Code::RequestTooLarge).with_detail("It names too many stored objects.")
        })?;
        asked.extend(named.into_iter().map(|name| vec![name]));
    }
    match asked.is_empty() {
        true => Ok(()),
        false => Box::pin(ask_owners(worker, caller, passage, asked)).await,
    }
}

/// Refuses a call on things of which one is not its tenant's; each goes by some names.
async fn ask_owners(
    worker: &Worker,
    caller: &Caller,
    passage: &Passage,
    asked: Vec<Vec<String>>,
) -> Result<(), Refusal> {
    // As the event names it, by which the ledger tells who made what.
    let credential = passage.credential.as_ref();
    let account = Account {
        provider: passage.upstream.provider.name,
        credential: credential.map_or(passage.upstream.name.as_str(), |chosen| {
            chosen.credential_id.as_str()
        }),
    };
    let own = Owner(caller.tenant_id.clone());
    for names in asked {
        match worker.shared.owners.owner(account, &names).await {
            Ok(Some(owner)) if owner == own => {}
            Ok(_) => return Err(Code::UnknownObject.into()),
            Err(Unavailable) => return Err(Code::OwnerUnavailable.into()),
        }
    }
    Ok(())
}
