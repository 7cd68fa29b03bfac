//! `/api/v1/keys/audit`: what is careless about the keys that work, rule by rule; a gate for
//! deployments.

use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::one_of;
use crate::api::App;
use crate::api::page::{self, Page};
use crate::api::params::Params;
use crate::error::{ApiError, ErrorBody};
use crate::principal::{Principal, SCOPE_ADMIN};
use crate::records::keys::{self, VirtualKey};

/// A prefix shorter than this speaks for too many tenants.
const PREFIX_CHARS_MIN: usize = 3;
/// Lists that can be required of every key.
const LISTS: [&str; 4] = ["upstreams", "models", "projects", "networks"];

/// Which keys, and what is required of them.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Auditing {
    /// One tenant's keys.
    tenant: Option<String>,
    /// Allow-lists that every key has to have, with commas between: `upstreams`, `models`, `projects`, `networks`.
    require: Option<String>,
    /// Keys of a page that are looked at, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One rule that a key breaks.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Finding {
    /// The key.
    pub key_id: Uuid,
    /// Its visible prefix.
    pub prefix: String,
    /// Its name.
    pub name: String,
    /// Its own tenant, or null.
    pub tenant_id: Option<String>,
    /// `no_expiry`, `stale`, `may_attribute_any`, `short_prefix`, `admin_calls_providers`,
    /// `admin_from_anywhere`, `no_upstreams`, `no_models`, `no_projects` or `no_networks`.
    pub rule: &'static str,
    /// A sentence for people.
    pub message: &'static str,
}

/// What is careless about keys that work, newest key first. A page may hold none and still have a next one.
#[utoipa::path(get, path = "/api/v1/keys/audit", tag = "keys", security(("bearer" = [])),
    params(Auditing),
    responses((status = 200, description = "A page.", body = Page<Finding>),
        (status = 400, description = "A parameter cannot be used; `field` says which.", body = ErrorBody),
        (status = 403, description = "A key without the scope `admin`.", body = ErrorBody)))]
pub(crate) async fn audit(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Auditing>,
) -> Result<Json<Page<Finding>>, ApiError> {
    let limit = page::limit(asked.limit)?;
    let tenant = principal.scope(asked.tenant.as_deref())?;
    if let Some(tenant) = tenant {
        page::clean("tenant", tenant)?;
    }
    let required: Vec<&str> = asked
        .require
        .iter()
        .flat_map(|lists| lists.split(','))
        .collect();
    for list in &required {
        one_of("require", list, &LISTS)?;
    }
    let after = page::cursor::<1>(asked.cursor.as_deref())?
        .map(|[id]| id.parse::<Uuid>())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))?;
    let found = keys::list(&app.client().await?, tenant, false, after, limit).await?;
    let page = Page::cut(found, limit, |key| vec![key.key_id.to_string()]);
    let now = crate::ingest::now().to_string();
    Ok(Json(Page {
        items: page
            .items
            .iter()
            // Both are RFC 3339 in UTC with milliseconds.
            .filter(|key| key.expires_at.as_ref().is_none_or(|at| *at > now))
            .flat_map(|key| findings(key, &required))
            .collect(),
        next_cursor: page.next_cursor,
    }))
}

fn findings(key: &VirtualKey, required: &[&str]) -> Vec<Finding> {
    let is_admin = key.scopes.iter().any(|scope| scope == SCOPE_ADMIN);
    let calls_providers = key.scopes.iter().any(|scope| scope == "proxy");
    let has_short_prefix = key.may_attribute == "prefix"
        && key
            .may_attribute_values
            .iter()
            .any(|value| value.chars().count() < PREFIX_CHARS_MIN);
    let lacks = |list: &str, own: &Option<Vec<String>>| required.contains(&list) && own.is_none();
    let rules = [
        (key.expires_at.is_none(), "no_expiry", "it never expires"),
        (
            key.is_stale,
            "stale",
            "it was not used for longer than it may",
        ),
        (
            key.may_attribute == "any",
            "may_attribute_any",
            "it speaks for every tenant",
        ),
        (
            has_short_prefix,
            "short_prefix",
            "it speaks for every tenant that begins with one or two characters",
        ),
        (
            is_admin && calls_providers,
            "admin_calls_providers",
            "one key manages keys and calls providers",
        ),
        (
            is_admin && key.networks.is_none(),
            "admin_from_anywhere",
            "it manages keys from any network",
        ),
        (
            lacks("upstreams", &key.allowed_upstreams),
            "no_upstreams",
            "it may reach every upstream",
        ),
        (
            lacks("models", &key.allowed_models),
            "no_models",
            "it may ask for every model",
        ),
        (
            lacks("projects", &key.allowed_projects),
            "no_projects",
            "it may name every project",
        ),
        (
            lacks("networks", &key.networks),
            "no_networks",
            "it may be used from every network",
        ),
    ];
    rules
        .into_iter()
        .filter(|(is_broken, ..)| *is_broken)
        .map(|(_, rule, message)| Finding {
            key_id: key.key_id,
            prefix: key.prefix.clone(),
            name: key.name.clone(),
            tenant_id: key.tenant_id.clone(),
            rule,
            message,
        })
        .collect()
}
