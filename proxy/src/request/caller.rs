//! Who is calling and for whom: the virtual key, the tenant by precedence, what the session adds.

use std::net::IpAddr;
use std::sync::Arc;

use farebox_pricing::event::Attribution;
use farebox_pricing::id::{InvalidId, TenantId};
use http::request::Parts;
use uuid::Uuid;

use super::head::Said;
use super::held::Body;
use super::view::{KeyView, TenantView};
use crate::Worker;
use crate::attribution::{self, Labels};
use crate::config::{Anonymous, BodyTenant, Unattributed, UnknownTenant};
use crate::directory::{KeyRow, Tenant, TenantStatus};
use crate::failure::{Code, Refusal};
use crate::identity;
use crate::settle;

/// Who pays for a call, and what it is called.
pub(super) struct Caller {
    pub(super) key: Option<Arc<KeyView>>,
    pub(super) tenant_id: Option<TenantId>,
    /// What holds for its tenant's calls; what holds for anybody's, where it has none.
    pub(super) view: Arc<TenantView>,
    pub(super) attribution: Attribution,
    pub(super) labels: Labels,
}

impl Caller {
    /// The tenant, where the directory knows it.
    pub(super) fn tenant(&self) -> Option<&Tenant> {
        self.view.row.as_deref()
    }
}

/// The virtual key, checked; `None` on a trusted network without one. A refusal names the key that
/// was right once.
pub(super) async fn identify(
    worker: &Worker,
    peer: IpAddr,
    head: &Parts,
    said: Option<&Said>,
) -> Result<Option<Arc<KeyView>>, (Refusal, Option<Uuid>)> {
    let shared = &worker.shared;
    if let Some(shown) = said.and_then(Said::key)
        && let Some(key) = worker.view.key(shown.prefix())
        && shown.is_good_for(&key, peer, settle::now)
    {
        return Ok(Some(key));
    }
    let Some(presented) = identity::find_presented(&head.headers, head.uri.query()) else {
        return match shared.config.proxy.anonymous {
            Anonymous::Header => Ok(None),
            Anonymous::Refuse => Err((Code::MissingKey.into(), None)),
        };
    };
    // On the heap, as everything is that few calls come to: the walk of each call has room for the largest.
    match Box::pin(shared.identity.authenticate(&presented, peer)).await {
        Ok(row) => Ok(Some(worker.view.key_of_row(row))),
        Err(refusal) => Err((refusal, shared.identity.key_id_of(&presented.value))),
    }
}

/// Key's tenant > header > path > query > session > body > none; a scoped key is never contradicted.
/// A refusal leaves the key where it was.
pub(super) async fn attribute(
    worker: &Worker,
    key: &mut Option<Arc<KeyView>>,
    mut labels: Labels,
    body: &mut Body,
) -> Result<Caller, Refusal> {
    let shared = &worker.shared;
    let sessions = &shared.directory.exchange().sessions;
    let key_id = key.as_ref().map(|key| key.key_id);
    let named = std::mem::take(&mut labels.named_tenants);
    let own = key.as_ref().and_then(|key| key.own.as_ref());
    let scoped = own.and_then(|own| own.tenant_id.as_ref());
    let (mut tenant_id, mut attribution) = match scoped {
        Some(own) if named.iter().any(|(named, _)| named != own) => {
            return Err(Code::TenantConflict.into());
        }
        Some(own) => (Some(own.clone()), Attribution::Key),
        None => {
            for (named, _) in &named {
                may_name(worker, key.as_deref().map(KeyView::row), named)?;
            }
            match named.into_iter().next() {
                Some((tenant, attribution)) => (Some(tenant), attribution),
                None => (None, Attribution::None),
            }
        }
    };
    if tenant_id.is_none()
        && let Some(session) = &labels.session_id
        && let Some(tenant) = sessions.tenant(key_id, session)
    {
        (tenant_id, attribution) = (Some(tenant), Attribution::Session);
    }
    if tenant_id.is_none() && shared.config.proxy.body_tenant == BodyTenant::Read {
        let held = Box::pin(body.hold(worker)).await?;
        if let Some(text) = attribution::body_tenant(held) {
            let tenant = TenantId::new(&text).map_err(invalid)?;
            may_name(worker, key.as_deref().map(KeyView::row), &tenant)?;
            (tenant_id, attribution) = (Some(tenant), Attribution::Body);
        }
    }
    let view = match own.filter(|_| attribution == Attribution::Key) {
        Some(own) => Arc::clone(own),
        None => worker.view.tenant(tenant_id.as_ref()),
    };
    check_tenant(worker, tenant_id.as_ref(), view.row.as_deref())?;
    if sessions.join(key_id, tenant_id.as_ref(), scoped.is_some(), &mut labels) {
        shared.metrics.session_conflict();
    }
    check_labels(
        key.as_deref().map(KeyView::row),
        view.row.as_deref(),
        &labels,
    )?;
    Ok(Caller {
        key: key.take(),
        tenant_id,
        view,
        attribution,
        labels,
    })
}

/// Whether a tenant of this name may be named, by this key.
fn may_name(worker: &Worker, key: Option<&KeyRow>, tenant: &TenantId) -> Result<(), Refusal> {
    if key.is_some_and(|key| !key.may_name(tenant.as_str())) {
        return Err(Code::MayNotAttribute.into());
    }
    let form = &worker.shared.config.tenant_form;
    form.check(tenant.as_str()).map_err(invalid)
}

fn invalid(error: InvalidId) -> Refusal {
    Refusal::from(Code::InvalidTenant).with_detail(error.to_string())
}

/// Whether a call may be of this tenant, of one that is not known, or of none: of nobody that is stopped.
fn check_tenant(
    worker: &Worker,
    tenant_id: Option<&TenantId>,
    tenant: Option<&Tenant>,
) -> Result<(), Refusal> {
    let config = &worker.shared.config.proxy;
    if tenant_id.is_none() && config.unattributed == Unattributed::Refuse {
        return Err(Code::TenantRequired.into());
    }
    match tenant {
        Some(tenant) if tenant.is_active() => Ok(()),
        Some(tenant) => Err(stopped(tenant)),
        None if tenant_id.is_some() && config.unknown_tenant == UnknownTenant::Refuse => {
            Err(Code::UnknownTenant.into())
        }
        None => Ok(()),
    }
}

fn stopped(tenant: &Tenant) -> Refusal {
    let refusal = Refusal::from(Code::TenantSuspended);
    match (&tenant.status_reason, tenant.status) {
        (Some(reason), _) => refusal.with_detail(format!("Reason: {reason}")),
        (None, TenantStatus::Archived) => refusal.with_detail("It is archived."),
        (None, _) => refusal,
    }
}

/// What key and tenant ask of the labels, those that the session gave included.
fn check_labels(
    key: Option<&KeyRow>,
    tenant: Option<&Tenant>,
    labels: &Labels,
) -> Result<(), Refusal> {
    if key.is_some_and(|key| !key.may_work_on(labels.project.as_deref())) {
        return Err(Refusal::from(Code::MayNotAttribute)
            .with_detail("The key is for some projects only, and the call names none of them."));
    }
    match tenant.and_then(Tenant::metadata_schema) {
        Some(schema) => schema
            .check(&labels.metadata)
            .map_err(|why| Refusal::from(Code::InvalidMetadata).with_detail(why)),
        None => Ok(()),
    }
}
