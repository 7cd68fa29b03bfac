//! `/api/v1/keys`: virtual keys. The operator manages all of them, a tenant's key with the scope
//! `admin` its tenant's. A secret is in the answer that issues it and nowhere else: a repeated
//! request with the same `Idempotency-Key` is answered with the key and without its secret.

use std::net::IpAddr;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use farebox_pricing::id;
use farebox_pricing::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::App;
use crate::api::operation::{Answer, Begun, begin, read, read_or_default, value};
use crate::api::page::{self, Page};
use crate::api::params::{Content, Params, Segment};
use crate::error::{ApiError, ErrorBody};
use crate::keys as secrets;
use crate::principal::{Principal, SCOPE_ADMIN, SCOPE_READ};
use crate::records::audit::Change;
use crate::records::keys::{self, NewKey, VirtualKey};
use crate::records::tenants;

/// The scope that lets a key call through the proxy.
const SCOPE_PROXY: &str = "proxy";
/// Every scope there is.
const SCOPES: [&str; 3] = [SCOPE_PROXY, SCOPE_READ, SCOPE_ADMIN];
/// Entries of a list of a key's rights.
const ENTRIES_MAX: usize = 256;
/// Times a key is drawn again because its prefix is taken: of 33 million prefixes that many in a row
/// are not taken by chance.
const DRAWS_MAX: usize = 16;

/// Which keys.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// One tenant's keys.
    tenant: Option<String>,
    /// Revoked ones too; false when not given.
    #[serde(default)]
    revoked: bool,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A key to issue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issue {
    /// A name for people.
    name: String,
    /// The key's own tenant; without one it speaks for nobody or for whom `may_attribute` says.
    #[serde(alias = "tenant")]
    tenant_id: Option<String>,
    /// Which tenants a key without its own may name: `none`, `any`, `list` or `prefix`.
    may_attribute: Option<String>,
    /// The list, or the one prefix.
    #[serde(default)]
    may_attribute_values: Vec<String>,
    /// `proxy` (when not given), `usage:read`, `admin`.
    scopes: Option<Vec<String>>,
    /// `live` (when not given) or `test`.
    environment: Option<String>,
    /// The caller's own provider credential passes through.
    #[serde(default)]
    own_credential: bool,
    /// Upstreams it may reach; all when not given.
    allowed_upstreams: Option<Vec<String>>,
    /// Models it may ask for; all when not given.
    allowed_models: Option<Vec<String>>,
    /// Functions and hosted tools its calls may offer a model; all when not given.
    allowed_tools: Option<Vec<String>>,
    /// Networks in CIDR form it may come from; all when not given.
    networks: Option<Vec<String>>,
    /// When it stops working; never when not given.
    expires_at: Option<String>,
    /// Whether revocation cuts running streams (`cut`, when not given) or lets them `finish`.
    revoke_streams: Option<String>,
}

/// How to revoke.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Revoke {
    /// Why; kept in the audit log.
    reason: Option<String>,
    /// `cut` or `finish`, instead of what the key says.
    revoke_streams: Option<String>,
}

/// Virtual keys, newest first.
#[utoipa::path(get, path = "/api/v1/keys", tag = "keys", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page.", body = Page<VirtualKey>),
        (status = 403, description = "A key without the scope `admin`.", body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<VirtualKey>>, ApiError> {
    let limit = page::limit(asked.limit)?;
    let tenant = principal.scope(asked.tenant.as_deref())?;
    let after = page::cursor::<1>(asked.cursor.as_deref())?
        .map(|[id]| id.parse::<Uuid>())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))?;
    let items = keys::list(&app.client().await?, tenant, asked.revoked, after, limit).await?;
    Ok(Json(Page::cut(items, limit, |key| {
        vec![key.key_id.to_string()]
    })))
}

/// One virtual key, by id or visible prefix.
#[utoipa::path(get, path = "/api/v1/keys/{key}", tag = "keys", security(("bearer" = [])),
    params(("key" = String, Path, description = "The key's id or visible prefix.")),
    responses((status = 200, description = "The key, without its secret.", body = VirtualKey),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(key): Segment,
) -> Result<Json<VirtualKey>, ApiError> {
    let found = keys::find(&app.client().await?, &key, principal.tenant()).await?;
    found.map(Json).ok_or_else(ApiError::not_found)
}

/// Issues a virtual key. The answer is the only place that ever shows its secret.
#[utoipa::path(post, path = "/api/v1/keys", tag = "keys", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours; its answer lacks `secret`.")),
    request_body = Issue,
    responses((status = 201, description = "Issued.", body = VirtualKey),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is no such tenant.", body = ErrorBody),
        (status = 409, description = "The Idempotency-Key was used with another request.", body = ErrorBody)))]
pub(crate) async fn issue(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let mut asked: Issue = read(&body)?;
    if let Some(own) = principal.scope(asked.tenant_id.as_deref())? {
        asked.tenant_id = Some(own.to_owned());
    }
    if principal.is_tenant() && asked.own_credential {
        return Err(ApiError::forbidden(
            "`own_credential` is the operator's to give",
        ));
    }
    let rights = Rights::of(&asked)?;
    let secrets_of_deployment = app.key_secrets.clone().ok_or_else(|| {
        ApiError::unavailable("key_secret_missing", "the collector has no key secret")
    })?;
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &headers, "keys.issue", &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    if let Some(tenant_id) = &asked.tenant_id
        && !tenants::exists(&operation.transaction, tenant_id).await?
    {
        let mut missing = ApiError::new(
            StatusCode::NOT_FOUND,
            "unknown_tenant",
            "there is no such tenant; create it first",
        );
        missing.field = Some("tenant_id".to_owned());
        return Err(missing);
    }
    for _ in 0..DRAWS_MAX {
        let deployment = secrets_of_deployment.clone();
        let drawn = tokio::task::spawn_blocking(move || {
            let key = secrets::draw(&deployment)?;
            let hash = secrets::hash(key.reveal())?;
            Ok::<_, secrets::KeyFault>((key, hash))
        });
        let (secret, hash) = drawn
            .await
            .map_err(|cause| ApiError::internal(&cause))?
            .map_err(|cause| ApiError::internal(&cause))?;
        let new = rights.key(&asked, secret.prefix(), &hash, operation.actor());
        let Some(key) = keys::insert(&operation.transaction, &new).await? else {
            continue;
        };
        let kept = value(&key)?;
        operation
            .record(&Change {
                action: "key.issue",
                tenant_id: key.tenant_id.as_deref(),
                entity_kind: "key",
                entity_id: &key.key_id.to_string(),
                before: Value::Null,
                after: kept.clone(),
                reason: None,
            })
            .await?;
        let shown = value(&VirtualKey {
            secret: Some(secret.reveal().to_owned()),
            ..key
        })?;
        return operation.finish_as(StatusCode::CREATED, shown, kept).await;
    }
    Err(ApiError::internal(&"every drawn prefix was taken"))
}

/// Revokes a virtual key: proxies refuse it within a second of their database seeing it.
#[utoipa::path(post, path = "/api/v1/keys/{key}/revoke", tag = "keys", security(("bearer" = [])),
    params(("key" = String, Path, description = "The key's id or visible prefix."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = Revoke,
    responses((status = 200, description = "Revoked, now or before.", body = VirtualKey),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn revoke(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(key): Segment,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked: Revoke = read_or_default(&body)?;
    revoke_as(&app, &principal, &key, &headers, &body, &asked).await
}

/// Revokes a virtual key, as `POST …/revoke` without a body does. The row stays.
#[utoipa::path(delete, path = "/api/v1/keys/{key}", tag = "keys", security(("bearer" = [])),
    params(("key" = String, Path, description = "The key's id or visible prefix.")),
    responses((status = 200, description = "Revoked, now or before.", body = VirtualKey),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn revoke_now(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(key): Segment,
) -> Answer {
    let (headers, asked) = (HeaderMap::new(), Revoke::default());
    revoke_as(&app, &principal, &key, &headers, &[], &asked).await
}

async fn revoke_as(
    app: &App,
    principal: &Principal,
    key: &str,
    headers: &HeaderMap,
    body: &[u8],
    asked: &Revoke,
) -> Answer {
    if let Some(streams) = &asked.revoke_streams {
        one_of("revoke_streams", streams, &["cut", "finish"])?;
    }
    let mut client = app.client().await?;
    let route = format!("keys.revoke {key}");
    let operation = match begin(&mut client, principal, headers, &route, body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = keys::find(&operation.transaction, key, principal.tenant())
        .await?
        .ok_or_else(ApiError::not_found)?;
    let after = keys::revoke(
        &operation.transaction,
        before.key_id,
        operation.actor(),
        asked.revoke_streams.as_deref(),
    )
    .await?;
    operation
        .record(&Change {
            action: "key.revoke",
            tenant_id: after.tenant_id.as_deref(),
            entity_kind: "key",
            entity_id: &after.key_id.to_string(),
            before: value(&before)?,
            after: value(&after)?,
            reason: asked.reason.as_deref(),
        })
        .await?;
    operation.finish(StatusCode::OK, &after).await
}

/// What an issue asks for, with its defaults, once it has been found to be consistent.
#[derive(Debug)]
struct Rights {
    may_attribute: String,
    scopes: Vec<String>,
    environment: String,
    revoke_streams: String,
    expires_at: Option<Timestamp>,
}

impl Rights {
    fn of(asked: &Issue) -> Result<Self, ApiError> {
        let or = |given: &Option<String>, default: &str| {
            given.clone().unwrap_or_else(|| default.to_owned())
        };
        id::check(&asked.name).map_err(|cause| ApiError::invalid("name", cause.to_string()))?;
        if let Some(tenant_id) = &asked.tenant_id {
            id::check(tenant_id)
                .map_err(|cause| ApiError::invalid("tenant_id", cause.to_string()))?;
        }
        let rights = Self {
            may_attribute: or(&asked.may_attribute, "none"),
            scopes: asked
                .scopes
                .clone()
                .unwrap_or_else(|| vec![SCOPE_PROXY.to_owned()]),
            environment: or(&asked.environment, "live"),
            revoke_streams: or(&asked.revoke_streams, "cut"),
            expires_at: page::time("expires_at", asked.expires_at.as_deref())?,
        };
        one_of("environment", &rights.environment, &["live", "test"])?;
        one_of("revoke_streams", &rights.revoke_streams, &["cut", "finish"])?;
        rights.check_attribution(asked)?;
        rights.check_scopes(asked)?;
        check_entries("allowed_upstreams", asked.allowed_upstreams.as_deref())?;
        check_entries("allowed_models", asked.allowed_models.as_deref())?;
        check_entries("allowed_tools", asked.allowed_tools.as_deref())?;
        check_entries("networks", asked.networks.as_deref())?;
        if !asked.networks.iter().flatten().all(|text| is_network(text)) {
            return Err(ApiError::invalid("networks", "addresses or CIDR networks"));
        }
        Ok(rights)
    }

    fn check_attribution(&self, asked: &Issue) -> Result<(), ApiError> {
        let field = "may_attribute";
        let values = &asked.may_attribute_values;
        one_of(
            field,
            &self.may_attribute,
            &["none", "any", "list", "prefix"],
        )?;
        if asked.tenant_id.is_some() && self.may_attribute != "none" {
            return Err(ApiError::invalid(
                field,
                "a key with a tenant speaks for that tenant only",
            ));
        }
        let is_count_right = match self.may_attribute.as_str() {
            "list" => (1..=ENTRIES_MAX).contains(&values.len()),
            "prefix" => values.len() == 1,
            _ => values.is_empty(),
        };
        if !is_count_right || values.iter().any(|text| id::check(text).is_err()) {
            return Err(ApiError::invalid(
                "may_attribute_values",
                "tenants for `list`, one beginning for `prefix`, none otherwise",
            ));
        }
        Ok(())
    }

    fn check_scopes(&self, asked: &Issue) -> Result<(), ApiError> {
        if self.scopes.is_empty() {
            return Err(ApiError::invalid("scopes", "at least one"));
        }
        for scope in &self.scopes {
            one_of("scopes", scope, &SCOPES)?;
        }
        let is_reader = self.scopes.iter().any(|scope| scope != SCOPE_PROXY);
        if is_reader && asked.tenant_id.is_none() {
            return Err(ApiError::invalid(
                "tenant_id",
                "a key that reads or manages does so for its own tenant",
            ));
        }
        Ok(())
    }

    fn key<'a>(
        &'a self,
        asked: &'a Issue,
        prefix: &'a str,
        secret_hash: &'a str,
        issued_by: &'a str,
    ) -> NewKey<'a> {
        NewKey {
            prefix,
            secret_hash,
            name: &asked.name,
            tenant_id: asked.tenant_id.as_deref(),
            may_attribute: &self.may_attribute,
            may_attribute_values: &asked.may_attribute_values,
            scopes: &self.scopes,
            environment: &self.environment,
            own_credential: asked.own_credential,
            allowed_upstreams: asked.allowed_upstreams.as_deref(),
            allowed_models: asked.allowed_models.as_deref(),
            allowed_tools: asked.allowed_tools.as_deref(),
            networks: asked.networks.as_deref(),
            expires_at: self.expires_at,
            revoke_streams: &self.revoke_streams,
            issued_by,
        }
    }
}

/// A member of a closed set.
pub(crate) fn one_of(field: &str, text: &str, members: &[&str]) -> Result<(), ApiError> {
    if members.contains(&text) {
        return Ok(());
    }
    Err(ApiError::invalid(
        field,
        format!("one of {}", members.join(", ")),
    ))
}

/// A list that lets nothing through is a mistake, and there are no wildcards: leaving the list out
/// is how to say all.
fn check_entries(field: &str, entries: Option<&[String]>) -> Result<(), ApiError> {
    let Some(entries) = entries else {
        return Ok(());
    };
    if entries.is_empty() || entries.len() > ENTRIES_MAX {
        return Err(ApiError::invalid(
            field,
            format!("between 1 and {ENTRIES_MAX} entries; leave it out for all"),
        ));
    }
    let may_be_pattern = matches!(field, "allowed_models" | "allowed_tools");
    let is_plain =
        |entry: &String| id::check(entry).is_ok() && (may_be_pattern || !entry.contains('*'));
    if !entries.iter().all(is_plain) {
        return Err(ApiError::invalid(field, "names without wildcards"));
    }
    Ok(())
}

fn is_network(text: &str) -> bool {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    // Digits only: a sign would pass here and fail in Postgres.
    bits.is_none_or(|bits| {
        bits.bytes().all(|byte| byte.is_ascii_digit())
            && bits.parse::<u8>().is_ok_and(|bits| bits <= bits_max)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(body: &str) -> Result<Rights, String> {
        let asked: Issue = read(body.as_bytes()).map_err(|error| error.code.to_owned())?;
        Rights::of(&asked).map_err(|error| error.field.unwrap_or_default())
    }

    #[test]
    fn a_key_that_asks_for_little_gets_the_defaults() {
        let rights = rights(r#"{"name":"ci","tenant":"acme"}"#).unwrap();
        assert_eq!(rights.scopes, ["proxy"]);
        assert_eq!(
            (rights.environment.as_str(), rights.may_attribute.as_str()),
            ("live", "none")
        );
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_name() {
        let check =
            |body: &str, field: &str| assert_eq!(rights(body).unwrap_err(), field, "{body}");
        check(r#"{"name":""}"#, "name");
        check(r#"{"name":"a","tenent":"b"}"#, "malformed_request");
        check(
            r#"{"name":"a","tenant_id":"b","may_attribute":"any"}"#,
            "may_attribute",
        );
        check(
            r#"{"name":"a","may_attribute":"list"}"#,
            "may_attribute_values",
        );
        check(
            r#"{"name":"a","may_attribute":"prefix","may_attribute_values":["a","b"]}"#,
            "may_attribute_values",
        );
        check(
            r#"{"name":"a","may_attribute_values":["a"]}"#,
            "may_attribute_values",
        );
        check(r#"{"name":"a","scopes":[]}"#, "scopes");
        check(r#"{"name":"a","scopes":["root"]}"#, "scopes");
        check(r#"{"name":"a","scopes":["usage:read"]}"#, "tenant_id");
        check(r#"{"name":"a","environment":"prod"}"#, "environment");
        check(
            r#"{"name":"a","allowed_upstreams":[]}"#,
            "allowed_upstreams",
        );
        check(
            r#"{"name":"a","allowed_upstreams":["open*"]}"#,
            "allowed_upstreams",
        );
        check(r#"{"name":"a","networks":["10.0.0.0/33"]}"#, "networks");
        check(r#"{"name":"a","networks":["example.com"]}"#, "networks");
        check(r#"{"name":"a","expires_at":"tomorrow"}"#, "expires_at");
    }

    #[test]
    fn networks_are_addresses_with_or_without_bits() {
        for fine in ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"] {
            assert!(is_network(fine), "{fine}");
        }
    }
}
