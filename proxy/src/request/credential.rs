//! Which provider credential goes in for the caller's: the tenant's own, else the operator's, from
//! the vault, else from configuration. A credential that is there and cannot be used stops the call:
//! another one would bill somebody else.

use std::sync::Arc;

use farebox_pricing::event::{Environment, PaidBy};
use farebox_pricing::id::TenantId;

use super::Caller;
use crate::Worker;
use crate::config::Secret;
use crate::directory::Unusable;
use crate::failure::{Code, Refusal};
use crate::upstream::Upstream;

/// A credential for calls of a tenant to an upstream.
pub(crate) struct Chosen {
    /// The secret.
    pub(crate) secret: Secret,
    /// Its id in the vault; the upstream's name for the configured one.
    pub(super) credential_id: String,
    /// Who the provider bills for it.
    pub(super) paid_by: PaidBy,
}

/// Chooses for a call of that caller to that upstream.
pub(super) fn choose(
    worker: &Worker,
    caller: &Caller,
    upstream: &Upstream,
) -> Result<Arc<Chosen>, Refusal> {
    // A simulated upstream has a place of its own.
    let choose = || choose_anew(worker, caller, upstream);
    caller.view.credential(upstream.index, choose)
}

fn choose_anew(worker: &Worker, caller: &Caller, upstream: &Upstream) -> Result<Chosen, Refusal> {
    let is_test = caller
        .key
        .as_ref()
        .is_some_and(|key| key.environment == Environment::Test);
    let tenant = caller.tenant_id.as_ref().map(TenantId::as_str);
    let row = match is_test {
        // What is simulated gets no real credential.
        true => None,
        false => worker.shared.directory.credential(&upstream.name, tenant),
    };
    let Some(row) = row else {
        let secret = upstream.credential.clone().ok_or(Code::CredentialMissing)?;
        return Ok(Chosen {
            secret,
            credential_id: upstream.name.clone(),
            paid_by: PaidBy::Operator,
        });
    };
    let masters = worker.shared.config.master_keys.as_deref();
    let host = upstream.origin.authority.to_str().unwrap_or_default();
    let secret = row.open(masters, host).map_err(|unusable| {
        Refusal::from(Code::CredentialMissing).with_detail(match unusable {
            Unusable::OtherHost => "The credential is bound to another host than the upstream's.",
            Unusable::Sealed => "The credential cannot be opened here.",
        })
    })?;
    Ok(Chosen {
        secret: secret.clone(),
        credential_id: row.credential_id.to_string(),
        paid_by: match row.tenant_id {
            Some(_) => PaidBy::Tenant,
            None => PaidBy::Operator,
        },
    })
}
