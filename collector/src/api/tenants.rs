//! `/api/v1/tenants`: who there is, what has been seen of them, and their settings.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use farebox_pricing::id;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::api::keys::one_of;
use crate::api::operation::{Answer, Begun, Operation, begin, read, value};
use crate::api::page;
use crate::api::params::{Content, Params, Segment, present};
use crate::api::{App, Shared};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::audit::Change;
use crate::records::tenants::{self, Filter, Tenant, TenantRow, Unattributed};
use crate::store::{DatabaseError, SqlState};

mod settings;

const ACTIVE: &str = "active";
const STATUSES: [&str; 3] = [ACTIVE, "suspended", "archived"];
/// Most characters of a reason.
const REASON_CHARS_MAX: usize = 256;

/// Which tenants.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// `active`, `suspended` or `archived`; all but archived when not given.
    status: Option<String>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of tenants, and beside them what is nobody's.
#[derive(Serialize, ToSchema)]
pub(crate) struct Tenants {
    /// Most recently seen first.
    items: Vec<Tenant>,
    /// Given as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
    /// Calls without a tenant; for the operator only.
    #[serde(skip_serializing_if = "Option::is_none")]
    unattributed: Option<Unattributed>,
}

/// A tenant to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// The identifier used on the wire: 1 to 128 characters, NFC, no control characters.
    tenant_id: String,
    /// A name for people.
    name: Option<String>,
    /// Selling rules may go by it.
    plan: Option<String>,
    /// IANA name; `UTC` when not given.
    time_zone: Option<String>,
    /// `active` (when not given), `suspended` or `archived`.
    status: Option<String>,
    /// Why, told to its callers.
    status_reason: Option<String>,
    /// Settings by name.
    #[serde(default)]
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
}

/// What to change of a tenant; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantPatch {
    /// A name for people; null removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
    /// The plan; null removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    plan: Option<Option<String>>,
    /// IANA name; counts from the tenant's next month.
    time_zone: Option<String>,
    /// `active`, `suspended` or `archived`.
    status: Option<String>,
    /// Why, told to its callers; goes with the status it was said for.
    status_reason: Option<String>,
    /// Settings to set; null puts one back to its default. Others stay.
    #[serde(default)]
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
}

/// Tenants, most recently seen first, with what was seen of each.
///
/// The order is that of when the first page was asked for: a tenant that is called while the list is
/// read keeps its place.
#[utoipa::path(get, path = "/api/v1/tenants", tag = "tenants", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page; a tenant's key sees its own.", body = Tenants)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Listing>,
) -> Result<Json<Tenants>, ApiError> {
    if let Some(status) = &asked.status {
        one_of("status", status, &STATUSES)?;
    }
    let after = page::cursor::<3>(asked.cursor.as_deref())?;
    if let Some([begun_at, place, _]) = &after {
        page::time("cursor", Some(begun_at))?;
        if !place.is_empty() {
            page::time("cursor", Some(place))?;
        }
    }
    let now = crate::ingest::now().to_string();
    let (begun_at, after) = match &after {
        Some([begun_at, place, tenant]) => (begun_at, Some([place.as_str(), tenant.as_str()])),
        None => (&now, None),
    };
    let filter = Filter {
        own: principal.tenant(),
        status: asked.status.as_deref(),
        begun_at,
        after,
        limit: page::limit(asked.limit)?,
    };
    let client = app.client().await?;
    let found = page::Page::cut(
        tenants::list(&client, &filter).await?,
        filter.limit,
        |last| {
            let place = last.place.clone().unwrap_or_default();
            vec![begun_at.clone(), place, last.tenant_id.clone()]
        },
    );
    let unattributed = match principal.is_tenant() {
        true => None,
        false => Some(tenants::unattributed(&client).await?),
    };
    Ok(Json(Tenants {
        items: found.items,
        next_cursor: found.next_cursor,
        unattributed,
    }))
}

/// One tenant.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant_id}", tag = "tenants", security(("bearer" = [])),
    params(("tenant_id" = String, Path, description = "The tenant, percent-encoded.")),
    responses((status = 200, description = "The tenant.", body = Tenant),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(tenant_id): Segment,
) -> Result<Json<Tenant>, ApiError> {
    principal.scope(Some(&tenant_id))?;
    // Postgres takes no NUL in a text.
    if id::check(&tenant_id).is_err() {
        return Err(ApiError::not_found());
    }
    let client = app.client().await?;
    let found = tenants::find(&client, &tenant_id, principal.is_tenant()).await?;
    found.map(Json).ok_or_else(ApiError::not_found)
}

/// Makes a tenant.
#[utoipa::path(post, path = "/api/v1/tenants", tag = "tenants", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = NewTenant,
    responses((status = 201, description = "Made.", body = Tenant),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 409, description = "There is one of that id, or the Idempotency-Key was used with another request.", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let row = asked_row(&app, read(&body)?)?;
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &headers, "tenants.create", &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let made = tenants::create(&operation.transaction, &row, operation.actor())
        .await
        .map_err(refused_by_database)?;
    let Some(made) = made else {
        return Err(ApiError::conflict(
            "already_exists",
            "there is a tenant of that id",
        ));
    };
    record(&operation, "tenant.create", Value::Null, &made).await?;
    finish(operation, &made, StatusCode::CREATED).await
}

/// The row a new tenant gets, checked.
fn asked_row(app: &Shared, asked: NewTenant) -> Result<TenantRow, ApiError> {
    app.tenant_form
        .check(&asked.tenant_id)
        .map_err(|cause| ApiError::invalid("tenant_id", cause.to_string()))?;
    let mut settings = Map::new();
    settings::merge(&mut settings, &asked.settings)?;
    let status = asked.status.unwrap_or_else(|| ACTIVE.to_owned());
    let row = TenantRow {
        tenant_id: asked.tenant_id,
        name: asked.name,
        status_reason: asked.status_reason.filter(|_| status != ACTIVE),
        status,
        plan: asked.plan,
        time_zone: asked.time_zone.unwrap_or_else(|| "UTC".to_owned()),
        settings: Value::Object(settings),
    };
    check_row(&row)?;
    Ok(row)
}

/// Changes a tenant: its name, plan, time zone, status and settings.
#[utoipa::path(patch, path = "/api/v1/tenants/{tenant_id}", tag = "tenants", security(("bearer" = [])),
    params(("tenant_id" = String, Path, description = "The tenant, percent-encoded."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = TenantPatch,
    responses((status = 200, description = "Changed.", body = Tenant),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn set(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(tenant_id): Segment,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked: TenantPatch = read(&body)?;
    if id::check(&tenant_id).is_err() {
        return Err(ApiError::not_found());
    }
    let mut client = app.client().await?;
    let route = format!("tenants.set {tenant_id}");
    let operation = match begin(&mut client, &principal, &headers, &route, &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = tenants::lock(&operation.transaction, &tenant_id)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let after = patched(&before, asked)?;
    change(&operation, &before, &after).await?;
    finish(operation, &after, StatusCode::OK).await
}

/// The row with the changes in it, checked. A reason goes with the status it was said for.
fn patched(before: &TenantRow, asked: TenantPatch) -> Result<TenantRow, ApiError> {
    let mut settings = before.settings.as_object().cloned().unwrap_or_default();
    settings::merge(&mut settings, &asked.settings)?;
    let status = asked.status.unwrap_or_else(|| before.status.clone());
    let kept_reason = before
        .status_reason
        .clone()
        .filter(|_| status == before.status);
    let after = TenantRow {
        tenant_id: before.tenant_id.clone(),
        name: asked.name.unwrap_or_else(|| before.name.clone()),
        status_reason: asked
            .status_reason
            .or(kept_reason)
            .filter(|_| status != ACTIVE),
        status,
        plan: asked.plan.unwrap_or_else(|| before.plan.clone()),
        time_zone: asked.time_zone.unwrap_or_else(|| before.time_zone.clone()),
        settings: Value::Object(settings),
    };
    check_row(&after)?;
    Ok(after)
}

/// Writes a changed row, with its audit row.
async fn change(
    operation: &Operation<'_>,
    before: &TenantRow,
    after: &TenantRow,
) -> Result<(), ApiError> {
    tenants::update(&operation.transaction, after)
        .await
        .map_err(refused_by_database)?;
    record(operation, "tenant.set", value(before)?, after).await
}

/// A tenant as a file declares it: made, or changed in what the file says.
pub(crate) async fn declare(
    app: &Shared,
    operation: &Operation<'_>,
    tenant_id: &str,
    declared: Value,
) -> Result<(Value, Value), ApiError> {
    if id::check(tenant_id).is_err() {
        return Err(ApiError::invalid("tenant_id", "an identifier"));
    }
    let malformed = |cause: serde_json::Error| ApiError::malformed(cause.to_string());
    let Some(before) = tenants::lock(&operation.transaction, tenant_id).await? else {
        let mut declared = declared;
        declared["tenant_id"] = tenant_id.into();
        let row = asked_row(app, serde_json::from_value(declared).map_err(malformed)?)?;
        let made = tenants::create(&operation.transaction, &row, operation.actor())
            .await
            .map_err(refused_by_database)?
            .ok_or_else(|| ApiError::conflict("already_exists", "there is a tenant of that id"))?;
        record(operation, "tenant.create", Value::Null, &made).await?;
        return Ok((Value::Null, value(&made)?));
    };
    let after = patched(
        &before,
        serde_json::from_value(declared).map_err(malformed)?,
    )?;
    let (was, is) = (value(&before)?, value(&after)?);
    if was != is {
        change(operation, &before, &after).await?;
    }
    Ok((was, is))
}

async fn record(
    operation: &Operation<'_>,
    action: &'static str,
    before: Value,
    after: &TenantRow,
) -> Result<(), ApiError> {
    operation
        .record(&Change {
            action,
            tenant_id: Some(&after.tenant_id),
            entity_kind: "tenant",
            entity_id: &after.tenant_id,
            before,
            after: value(after)?,
            reason: after.status_reason.as_deref(),
        })
        .await
}

async fn finish(operation: Operation<'_>, after: &TenantRow, status: StatusCode) -> Answer {
    let shown = tenants::find(&operation.transaction, &after.tenant_id, false)
        .await?
        .ok_or_else(ApiError::not_found)?;
    operation.finish(status, &shown).await
}

fn check_row(row: &TenantRow) -> Result<(), ApiError> {
    one_of("status", &row.status, &STATUSES)?;
    for (field, text) in [("name", &row.name), ("plan", &row.plan)] {
        if let Some(text) = text {
            id::check(text).map_err(|cause| ApiError::invalid(field, cause.to_string()))?;
        }
    }
    if let Some(reason) = &row.status_reason {
        let is_clean = !reason.chars().any(char::is_control);
        if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX || !is_clean {
            return Err(ApiError::invalid(
                "status_reason",
                "1 to 256 characters, no control characters",
            ));
        }
    }
    // Postgres knows the zones; a NUL it would not even take as a text.
    id::check(&row.time_zone).map_err(|cause| ApiError::invalid("time_zone", cause.to_string()))
}

/// The only thing checked by the database alone is whether a time zone exists.
fn refused_by_database(error: DatabaseError) -> ApiError {
    match error.code() {
        Some(state)
            if *state == SqlState::INVALID_PARAMETER_VALUE
                || *state == SqlState::CHECK_VIOLATION =>
        {
            ApiError::invalid("time_zone", "the name of an IANA time zone")
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_absent_are_told_apart() {
        let patch: TenantPatch = read(br#"{"name":null}"#).unwrap();
        assert_eq!((patch.name, patch.plan), (Some(None), None));
    }
}
