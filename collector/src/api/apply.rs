//! `/api/v1/apply`: tenants, customers, keys' rights, limits, the names of credentials and selling prices
//! from one declarative document. One transaction: everything holds, or nothing happened.
//!
//! What the document does not name stays as it is. Secrets are in no file: keys are issued and
//! credentials set by their own verbs, and named here once they are there.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::customers::Wanted;
use crate::api::keys::KeyPatch;
use crate::api::limits::SetLimit;
use crate::api::operation::{Answer, Begun, Operation, begin, read, value};
use crate::api::params::Content;
use crate::api::{App, Shared, credentials, customers, keys, limits, prices, tenants};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records;

/// Things one document may declare.
const ENTRIES_MAX: usize = 10_000;

/// What is to be so.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Apply {
    /// What would change, and nothing is changed.
    #[serde(default)]
    dry_run: bool,
    /// Tenants by id, each with the members of `POST /api/v1/tenants` and `customers` (name by id). What is left out stays.
    #[serde(default)]
    #[schema(value_type = Object)]
    tenants: BTreeMap<String, Map<String, Value>>,
    /// Rights of keys that are issued: `key` (id or visible prefix), or `name` and `tenant_id`; then the members of `PATCH /api/v1/keys/{key}`.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    keys: Vec<Map<String, Value>>,
    /// Limits, each with the members of `POST /api/v1/limits`.
    #[serde(default)]
    #[schema(value_type = Vec<Object>)]
    limits: Vec<Value>,
    /// Names of credentials that are set: `upstream`, `tenant_id` for a tenant's own, `name`.
    #[serde(default)]
    credentials: Vec<DeclaredCredential>,
    /// Selling prices: the `rules` and `allowances` of the whole deployment, in place of those in force.
    #[serde(default)]
    #[schema(value_type = Object)]
    prices: Option<Map<String, Value>>,
}

/// A credential that has to be there.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeclaredCredential {
    /// The upstream it is for.
    upstream: String,
    /// The tenant whose own it is; the operator's when not given.
    #[serde(alias = "tenant")]
    tenant_id: Option<String>,
    /// Its name.
    name: String,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Applied {
    /// Nothing was changed; this is what would be.
    dry_run: bool,
    /// Things that were made or changed, in the document's order.
    changes: Vec<Changed>,
    /// Things that were so already.
    unchanged: usize,
}

/// One thing that was made or changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Changed {
    /// `tenant`, `customer`, `key`, `limit`, `credential` or `prices`.
    kind: &'static str,
    /// Which.
    id: String,
    /// `create` or `change`.
    action: &'static str,
    /// As it was; null when it was made.
    #[schema(value_type = Object)]
    before: Value,
    /// As it is.
    #[schema(value_type = Object)]
    after: Value,
}

/// Makes everything so that one document declares, or nothing of it.
#[utoipa::path(post, path = "/api/v1/apply", tag = "apply", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = Apply,
    responses((status = 200, description = "It is so; with `dry_run` it would be.", body = Applied),
        (status = 400, description = "Something in it cannot be; `field` says what, and nothing was changed.", body = ErrorBody),
        (status = 404, description = "It names a tenant or a key that is not there; nothing was changed.", body = ErrorBody)))]
pub(crate) async fn apply(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked: Apply = read(&body)?;
    let entries =
        asked.tenants.len() + asked.keys.len() + asked.limits.len() + asked.credentials.len();
    if entries > ENTRIES_MAX {
        return Err(ApiError::malformed(
            "a document declares at most 10000 things",
        ));
    }
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &headers, "apply", &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let dry_run = asked.dry_run;
    let mut applied = Applied {
        dry_run,
        changes: Vec::new(),
        unchanged: 0,
    };
    let has_prices = asked.prices.is_some();
    run(&app, &operation, &principal, asked, &mut applied).await?;
    if dry_run {
        return operation.abandon(StatusCode::OK, &applied).await;
    }
    let answer = operation.finish(StatusCode::OK, &applied).await?;
    // The pool may have one connection; reading prices asks for another.
    drop(client);
    if has_prices {
        prices::refresh(&app).await;
    }
    Ok(answer)
}

async fn run(
    app: &Shared,
    operation: &Operation<'_>,
    principal: &Principal,
    asked: Apply,
    applied: &mut Applied,
) -> Result<(), ApiError> {
    for (tenant_id, declared) in asked.tenants {
        let at = format!("tenants.{tenant_id}");
        tenant(app, operation, &tenant_id, declared, applied)
            .await
            .map_err(|error| within(&at, error))?;
    }
    for (number, declared) in asked.keys.into_iter().enumerate() {
        key(operation, principal, declared, applied)
            .await
            .map_err(|error| within(&format!("keys[{number}]"), error))?;
    }
    for (number, declared) in asked.limits.into_iter().enumerate() {
        limit(operation, declared, applied)
            .await
            .map_err(|error| within(&format!("limits[{number}]"), error))?;
    }
    for (number, declared) in asked.credentials.into_iter().enumerate() {
        let tenant_id = declared.tenant_id.as_deref();
        let (before, after) =
            credentials::declare(operation, tenant_id, &declared.upstream, &declared.name)
                .await
                .map_err(|error| within(&format!("credentials[{number}]"), error))?;
        let id = after.credential_id.to_string();
        applied.note("credential", id, value(&before)?, value(&after)?);
    }
    if let Some(declared) = asked.prices {
        let (before, after) = prices::declare(app, operation, declared)
            .await
            .map_err(|error| within("prices", error))?;
        applied.note("prices", "selling rules".to_owned(), before, after);
    }
    Ok(())
}

async fn tenant(
    app: &Shared,
    operation: &Operation<'_>,
    tenant_id: &str,
    mut declared: Map<String, Value>,
    applied: &mut Applied,
) -> Result<(), ApiError> {
    let customers_declared = declared.remove("customers");
    let (before, after) =
        tenants::declare(app, operation, tenant_id, Value::Object(declared)).await?;
    applied.note("tenant", tenant_id.to_owned(), before, after);
    let Some(customers_declared) = customers_declared else {
        return Ok(());
    };
    let names: BTreeMap<String, Option<String>> = serde_json::from_value(customers_declared)
        .map_err(|_| ApiError::invalid("customers", "an object: id to name or null"))?;
    for (customer_id, name) in names {
        let wanted = Wanted {
            tenant_id,
            customer_id: &customer_id,
            name: name.as_deref(),
        };
        let put = customers::put(operation, &wanted).await?;
        applied.note(
            "customer",
            format!("{tenant_id}/{customer_id}"),
            put.before,
            put.after,
        );
    }
    Ok(())
}

async fn key(
    operation: &Operation<'_>,
    principal: &Principal,
    mut declared: Map<String, Value>,
    applied: &mut Applied,
) -> Result<(), ApiError> {
    let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let transaction = &operation.transaction;
    let named = match text(declared.remove("key")) {
        Some(key) => key,
        None => {
            let name = text(declared.remove("name"))
                .ok_or_else(|| ApiError::invalid("name", "`key`, or `name` and `tenant_id`"))?;
            let tenant_id = text(
                declared
                    .remove("tenant_id")
                    .or_else(|| declared.remove("tenant")),
            );
            let found = records::keys::named(transaction, &name, tenant_id.as_deref()).await?;
            one_of_them(&found)?.to_string()
        }
    };
    let before = records::keys::lock(transaction, &named, None)
        .await?
        .ok_or_else(|| {
            let mut missing = ApiError::not_found();
            missing.message = "there is no such key; issue it with `farebox key issue`".to_owned();
            missing.field = Some("key".to_owned());
            missing
        })?;
    let patch: KeyPatch = serde_json::from_value(Value::Object(declared))
        .map_err(|cause| ApiError::malformed(cause.to_string()))?;
    let after = keys::set_rights(operation, principal, &before, patch).await?;
    applied.note("key", after.prefix.clone(), value(&before)?, value(&after)?);
    Ok(())
}

fn one_of_them(found: &[Uuid]) -> Result<Uuid, ApiError> {
    match found {
        [key_id] => Ok(*key_id),
        [] => Err(ApiError::invalid(
            "name",
            "there is no key of this name and tenant; issue it with `farebox key issue`",
        )),
        _ => Err(ApiError::invalid(
            "name",
            "several keys have this name and tenant; say `key` with one's visible prefix",
        )),
    }
}

async fn limit(
    operation: &Operation<'_>,
    declared: Value,
    applied: &mut Applied,
) -> Result<(), ApiError> {
    let asked: SetLimit =
        serde_json::from_value(declared).map_err(|cause| ApiError::malformed(cause.to_string()))?;
    let (before, after) = limits::declare(operation, asked).await?;
    let before = before.map_or(Ok(Value::Null), |before| value(&before))?;
    applied.note("limit", after.limit_id.to_string(), before, value(&after)?);
    Ok(())
}

impl Applied {
    fn note(&mut self, kind: &'static str, id: String, before: Value, after: Value) {
        if before == after {
            self.unchanged += 1;
            return;
        }
        self.changes.push(Changed {
            kind,
            id,
            action: if before.is_null() { "create" } else { "change" },
            before,
            after,
        });
    }
}

/// Says where in the document it is.
fn within(at: &str, mut error: ApiError) -> ApiError {
    error.field = Some(match error.field.take() {
        Some(field) => format!("{at}.{field}"),
        None => at.to_owned(),
    });
    error
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let error = within("keys[2]", ApiError::invalid("scopes", "at least one"));
        assert_eq!(error.field.as_deref(), Some("keys[2].scopes"));
        let error = within("keys[2]", ApiError::malformed("unknown field"));
        assert_eq!(error.field.as_deref(), Some("keys[2]"));
    }

    #[test]
    fn what_is_so_already_is_no_change() {
        let mut applied = Applied {
            dry_run: false,
            changes: Vec::new(),
            unchanged: 0,
        };
        applied.note("tenant", "acme".into(), json!({"a": 1}), json!({"a": 1}));
        applied.note("tenant", "globex".into(), Value::Null, json!({"a": 1}));
        assert_eq!((applied.unchanged, applied.changes.len()), (1, 1));
        assert_eq!(applied.changes[0].action, "create");
    }
}
