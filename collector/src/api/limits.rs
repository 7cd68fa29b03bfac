//! `/api/v1/limits`: how much a tenant may do in a window of time. The operator sets them; a tenant
//! sees its own.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use farebox_pricing::id;
use farebox_pricing::money::Decimal;
use serde::Deserialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::App;
use crate::api::customers::tenants_missing;
use crate::api::keys::one_of;
use crate::api::operation::{Answer, Begun, Operation, begin, read, value};
use crate::api::page::{self, Page};
use crate::api::params::{Content, Params, Segment};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::audit::Change;
use crate::records::limits::{self, Limit, LimitTerms};
use crate::records::tenants;

/// What a limit may count: what the proxies enforce.
const METERS: [&str; 1] = ["requests"];
const WINDOWS: [&str; 4] = ["second", "minute", "hour", "day"];
const ACTIONS: [&str; 2] = ["refuse", "warn"];
/// Requests a window may allow at most; the proxies count in 32 bits.
const REQUESTS_MAX: i128 = u32::MAX as i128;

/// Which limits.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// One tenant's limits.
    tenant: Option<String>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A limit to set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetLimit {
    /// The tenant it binds; every tenant, each for itself, when not given.
    #[serde(alias = "tenant")]
    tenant_id: Option<String>,
    /// `requests`.
    meter: String,
    /// How much a window allows: a whole number from 1, best as a string.
    #[schema(value_type = String)]
    amount: Value,
    /// `second`, `minute`, `hour` or `day`.
    #[serde(alias = "window")]
    window_kind: String,
    /// `refuse` (when not given) or `warn`.
    action: Option<String>,
    /// Counted and reported, never enforced.
    #[serde(default)]
    dry_run: bool,
    /// When it stops to hold; never when not given.
    expires_at: Option<String>,
}

/// Limits, newest first.
#[utoipa::path(get, path = "/api/v1/limits", tag = "limits", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page; a tenant's key sees its own.", body = Page<Limit>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<Limit>>, ApiError> {
    let limit = page::limit(asked.limit)?;
    principal.scope(asked.tenant.as_deref())?;
    let after = page::cursor::<1>(asked.cursor.as_deref())?
        .map(|[id]| id.parse::<Uuid>())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))?;
    let client = app.client().await?;
    let tenant = asked.tenant.as_deref();
    let items = limits::list(&client, principal.tenant(), tenant, after, limit).await?;
    Ok(Json(Page::cut(items, limit, |item| {
        vec![item.limit_id.to_string()]
    })))
}

/// Sets a limit: replaces the one of the same tenant, meter and window, or makes it.
#[utoipa::path(post, path = "/api/v1/limits", tag = "limits", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = SetLimit,
    responses((status = 200, description = "Replaced.", body = Limit),
        (status = 201, description = "Made.", body = Limit),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is no such tenant.", body = ErrorBody)))]
pub(crate) async fn set(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let checked = Checked::of(read(&body)?)?;
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &headers, "limits.set", &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = limits::lock_like(&operation.transaction, &checked.terms()).await?;
    let limit_id = before
        .as_ref()
        .map_or_else(Uuid::now_v7, |limit| limit.limit_id);
    finish(operation, limit_id, before, &checked).await
}

/// Makes or replaces the limit of that id.
#[utoipa::path(put, path = "/api/v1/limits/{limit_id}", tag = "limits", security(("bearer" = [])),
    params(("limit_id" = Uuid, Path, description = "The limit."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = SetLimit,
    responses((status = 200, description = "Replaced.", body = Limit),
        (status = 201, description = "Made.", body = Limit),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is no such tenant.", body = ErrorBody)))]
pub(crate) async fn put(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(limit_id): Segment,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let limit_id: Uuid = limit_id
        .parse()
        .map_err(|_| ApiError::invalid("limit_id", "a UUID"))?;
    let checked = Checked::of(read(&body)?)?;
    let mut client = app.client().await?;
    let route = format!("limits.put {limit_id}");
    let operation = match begin(&mut client, &principal, &headers, &route, &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = limits::lock(&operation.transaction, limit_id).await?;
    finish(operation, limit_id, before, &checked).await
}

/// Removes a limit.
#[utoipa::path(delete, path = "/api/v1/limits/{limit_id}", tag = "limits", security(("bearer" = [])),
    params(("limit_id" = Uuid, Path, description = "The limit.")),
    responses((status = 200, description = "Removed; this was it.", body = Limit),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn remove(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(limit_id): Segment,
) -> Answer {
    let limit_id: Uuid = limit_id.parse().map_err(|_| ApiError::not_found())?;
    let mut client = app.client().await?;
    let no_headers = HeaderMap::new();
    let operation = match begin(&mut client, &principal, &no_headers, "", &[]).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = limits::lock(&operation.transaction, limit_id)
        .await?
        .ok_or_else(ApiError::not_found)?;
    limits::remove(&operation.transaction, limit_id).await?;
    operation
        .record(&Change {
            action: "limit.remove",
            tenant_id: before.tenant_id.as_deref(),
            entity_kind: "limit",
            entity_id: &limit_id.to_string(),
            before: value(&before)?,
            after: Value::Null,
            reason: None,
        })
        .await?;
    operation.finish(StatusCode::OK, &before).await
}

async fn finish(
    operation: Operation<'_>,
    limit_id: Uuid,
    before: Option<Limit>,
    checked: &Checked,
) -> Answer {
    let status = match &before {
        Some(_) => StatusCode::OK,
        None => StatusCode::CREATED,
    };
    let after = keep(&operation, limit_id, before.as_ref(), checked).await?;
    operation.finish(status, &after).await
}

/// A limit as a file declares it: made, or put in the place of the one like it.
pub(crate) async fn declare(
    operation: &Operation<'_>,
    asked: SetLimit,
) -> Result<(Option<Limit>, Limit), ApiError> {
    let checked = Checked::of(asked)?;
    let before = limits::lock_like(&operation.transaction, &checked.terms()).await?;
    if let Some(before) = &before
        && checked.is_as(before)
    {
        return Ok((Some(before.clone()), before.clone()));
    }
    let limit_id = before
        .as_ref()
        .map_or_else(Uuid::now_v7, |limit| limit.limit_id);
    let after = keep(operation, limit_id, before.as_ref(), &checked).await?;
    Ok((before, after))
}

async fn keep(
    operation: &Operation<'_>,
    limit_id: Uuid,
    before: Option<&Limit>,
    checked: &Checked,
) -> Result<Limit, ApiError> {
    if let Some(tenant_id) = &checked.asked.tenant_id
        && !tenants::exists(&operation.transaction, tenant_id).await?
    {
        return Err(tenants_missing());
    }
    let actor = operation.actor();
    let after = limits::put(&operation.transaction, limit_id, &checked.terms(), actor).await?;
    operation
        .record(&Change {
            action: "limit.set",
            tenant_id: after.tenant_id.as_deref(),
            entity_kind: "limit",
            entity_id: &limit_id.to_string(),
            before: value(&before)?,
            after: value(&after)?,
            reason: None,
        })
        .await?;
    Ok(after)
}

/// A limit that can be kept.
struct Checked {
    asked: SetLimit,
    amount: String,
    expires_at: Option<String>,
}

impl Checked {
    fn of(asked: SetLimit) -> Result<Self, ApiError> {
        if let Some(tenant_id) = &asked.tenant_id {
            id::check(tenant_id)
                .map_err(|cause| ApiError::invalid("tenant_id", cause.to_string()))?;
        }
        one_of("meter", &asked.meter, &METERS)?;
        one_of("window_kind", &asked.window_kind, &WINDOWS)?;
        if let Some(action) = &asked.action {
            one_of("action", action, &ACTIONS)?;
        }
        let amount = match &asked.amount {
            Value::String(text) => text.parse::<Decimal>().ok(),
            // Numbers keep their text, so nothing is rounded on the way.
            Value::Number(number) => number.as_str().parse::<Decimal>().ok(),
            _ => None,
        };
        let amount = amount
            .filter(|amount| amount.scale() == 0)
            .filter(|amount| (1..=REQUESTS_MAX).contains(&amount.mantissa()))
            .ok_or_else(|| {
                ApiError::invalid("amount", "a whole number between 1 and 4294967295")
            })?;
        let expires_at = page::time("expires_at", asked.expires_at.as_deref())?;
        Ok(Self {
            amount: amount.to_string(),
            expires_at: expires_at.map(|at| at.to_string()),
            asked,
        })
    }

    /// Whether a limit says this already.
    fn is_as(&self, limit: &Limit) -> bool {
        let terms = self.terms();
        limit.amount == terms.amount
            && limit.action == terms.action
            && limit.dry_run == terms.dry_run
            && limit.expires_at.as_deref() == terms.expires_at
    }

    fn terms(&self) -> LimitTerms<'_> {
        LimitTerms {
            tenant_id: self.asked.tenant_id.as_deref(),
            meter: &self.asked.meter,
            amount: &self.amount,
            window_kind: &self.asked.window_kind,
            action: self.asked.action.as_deref().unwrap_or("refuse"),
            dry_run: self.asked.dry_run,
            expires_at: self.expires_at.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(body: &str) -> Result<String, String> {
        let asked = read(body.as_bytes()).map_err(|error| error.code.to_owned())?;
        Checked::of(asked)
            .map(|checked| checked.amount)
            .map_err(|error| error.field.unwrap_or_default())
    }

    #[test]
    fn an_amount_is_a_whole_number_in_a_string_or_a_number() {
        let amount = |amount: &str| {
            checked(&format!(
                r#"{{"meter":"requests","window":"minute","amount":{amount}}}"#
            ))
        };
        assert_eq!(amount("\"60\""), Ok("60".into()));
        assert_eq!(amount("60"), Ok("60".into()));
        assert_eq!(amount("6e1"), Ok("60".into()));
        for wrong in ["0", "\"-1\"", "1.5", "4294967296", "true", "\"\"", "1e40"] {
            assert_eq!(amount(wrong), Err("amount".into()), "{wrong}");
        }
    }

    #[test]
    fn only_what_proxies_enforce_is_taken() {
        let check = |body: &str, field: &str| assert_eq!(checked(body).unwrap_err(), field);
        check(r#"{"meter":"cost","window":"day","amount":"1"}"#, "meter");
        check(
            r#"{"meter":"requests","window":"month","amount":"1"}"#,
            "window_kind",
        );
        check(
            r#"{"meter":"requests","window":"day","amount":"1","action":"cut"}"#,
            "action",
        );
        check(
            r#"{"meter":"requests","window":"day","amount":"1","model":"x"}"#,
            "malformed_request",
        );
    }
}
