//! `/api/v1/tenants`: who there is, what has been seen of them, and their settings.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use farebox_pricing::id;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use crate::api::App;
use crate::api::keys::one_of;
use crate::api::operation::{Answer, Begun, Operation, begin, read, value};
use crate::api::page;
use crate::api::params::{Content, Params, Segment};
use crate::config::{RETENTION_DAYS_MAX, RETENTION_DAYS_MIN};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::audit::Change;
use crate::records::tenants::{self, Filter, Tenant, TenantRow, Unattributed};
use crate::store::{DatabaseError, SqlState};

/// Settings of a tenant and the values each takes; the first is what holds when it is not set.
const SETTINGS: [(&str, &[&str]); 5] = [
    ("on_downstream_gone", &["cancel", "drain"]),
    ("on_unrecordable", &["allow", "refuse"]),
    ("spool_sync", &["interval", "before_upstream"]),
    ("stream_usage", &["ask", "untouched"]),
    ("unpriced_models", &["allow", "refuse"]),
];
/// The setting that says how long a tenant's events are kept.
const RETENTION_DAYS: &str = "retention_days";
/// Settings that are lists: what the tenant's calls may ask for.
const LISTS: [&str; 3] = ["allowed_models", "allowed_tools", "allowed_upstreams"];
/// Entries of a list, and bytes of one, at most.
const ENTRIES_MAX: usize = 256;
const ENTRY_BYTES_MAX: usize = 256;
/// The setting that says how many agents a tenant may have.
const AGENTS_MAX: &str = "agents_max";
const STATUSES: [&str; 3] = ["active", "suspended", "archived"];

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
    /// Settings to set; null puts one back to its default. Others stay.
    #[serde(default)]
    #[schema(value_type = Object)]
    settings: Map<String, Value>,
}

/// Tells null from absent.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
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
    let asked: NewTenant = read(&body)?;
    id::check(&asked.tenant_id)
        .map_err(|cause| ApiError::invalid("tenant_id", cause.to_string()))?;
    let mut settings = Map::new();
    merge_settings(&mut settings, &asked.settings)?;
    let row = TenantRow {
        tenant_id: asked.tenant_id,
        name: asked.name,
        status: asked.status.unwrap_or_else(|| "active".to_owned()),
        plan: asked.plan,
        time_zone: asked.time_zone.unwrap_or_else(|| "UTC".to_owned()),
        settings: Value::Object(settings),
    };
    check_row(&row)?;
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
    finish(
        operation,
        "tenant.create",
        Value::Null,
        &made,
        StatusCode::CREATED,
    )
    .await
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
    let mut settings = before.settings.as_object().cloned().unwrap_or_default();
    merge_settings(&mut settings, &asked.settings)?;
    let after = TenantRow {
        tenant_id,
        name: asked.name.unwrap_or_else(|| before.name.clone()),
        status: asked.status.unwrap_or_else(|| before.status.clone()),
        plan: asked.plan.unwrap_or_else(|| before.plan.clone()),
        time_zone: asked.time_zone.unwrap_or_else(|| before.time_zone.clone()),
        settings: Value::Object(settings),
    };
    check_row(&after)?;
    tenants::update(&operation.transaction, &after)
        .await
        .map_err(refused_by_database)?;
    finish(
        operation,
        "tenant.set",
        value(&before)?,
        &after,
        StatusCode::OK,
    )
    .await
}

async fn finish(
    operation: Operation<'_>,
    action: &'static str,
    before: Value,
    after: &TenantRow,
    status: StatusCode,
) -> Answer {
    operation
        .record(&Change {
            action,
            tenant_id: Some(&after.tenant_id),
            entity_kind: "tenant",
            entity_id: &after.tenant_id,
            before,
            after: value(after)?,
            reason: None,
        })
        .await?;
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
    // Postgres knows the zones; a NUL it would not even take as a text.
    id::check(&row.time_zone).map_err(|cause| ApiError::invalid("time_zone", cause.to_string()))
}

/// Sets what is known and has a value of its kind; null takes a setting away.
fn merge_settings(
    settings: &mut Map<String, Value>,
    asked: &Map<String, Value>,
) -> Result<(), ApiError> {
    for (name, value) in asked {
        let field = format!("settings.{name}");
        if value.is_null() {
            // Of whatever kind it was.
            settings.remove(name);
            continue;
        }
        if name == RETENTION_DAYS {
            settings.insert(name.clone(), retention_days(&field, value)?.into());
            continue;
        }
        if LISTS.contains(&name.as_str()) {
            check_list(&field, value)?;
            settings.insert(name.clone(), value.clone());
            continue;
        }
        if name == AGENTS_MAX {
            let count = value.as_u64().filter(|count| *count <= u64::from(u32::MAX));
            let count = count.ok_or_else(|| ApiError::invalid(&field, "a whole number from 0"))?;
            settings.insert(name.clone(), Value::from(count));
            continue;
        }
        let Some((_, values)) = SETTINGS.iter().find(|(known, _)| known == name) else {
            return Err(ApiError::invalid(&field, "there is no such setting"));
        };
        match value {
            Value::String(text) => {
                one_of(&field, text, values)?;
                settings.insert(name.clone(), value.clone());
            }
            _ => return Err(ApiError::invalid(&field, "a text")),
        }
    }
    Ok(())
}

/// A number of days, kept as a text.
fn retention_days(field: &str, value: &Value) -> Result<String, ApiError> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    let days = text.parse::<u32>().ok();
    days.filter(|days| (RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(days))
        .map(|days| days.to_string())
        .ok_or_else(|| ApiError::invalid(field, "days between 35 and 36500"))
}

/// Names and patterns, none of them empty.
fn check_list(field: &str, value: &Value) -> Result<(), ApiError> {
    let is_entry = |entry: &Value| {
        entry.as_str().is_some_and(|text| {
            !text.is_empty() && text.len() <= ENTRY_BYTES_MAX && !text.contains('\0')
        })
    };
    let entries = value.as_array();
    let is_list =
        entries.is_some_and(|list| list.len() <= ENTRIES_MAX && list.iter().all(is_entry));
    if is_list {
        return Ok(());
    }
    Err(ApiError::invalid(field, "a list of at most 256 names"))
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
    use serde_json::json;

    use super::*;

    fn merged(asked: &Value) -> Result<Value, String> {
        let mut settings = Map::new();
        settings.insert("spool_sync".into(), "before_upstream".into());
        merge_settings(&mut settings, asked.as_object().unwrap())
            .map_err(|error| error.field.unwrap_or_default())?;
        Ok(Value::Object(settings))
    }

    #[test]
    fn settings_are_merged_and_checked() {
        assert_eq!(
            merged(&json!({"on_unrecordable": "refuse"})),
            Ok(json!({"spool_sync": "before_upstream", "on_unrecordable": "refuse"}))
        );
        assert_eq!(merged(&json!({"spool_sync": null})), Ok(json!({})));
        let refused = |asked: &Value, field: &str| assert_eq!(merged(asked).unwrap_err(), field);
        refused(
            &json!({"on_unrecordabel": "refuse"}),
            "settings.on_unrecordabel",
        );
        refused(
            &json!({"on_unrecordable": "maybe"}),
            "settings.on_unrecordable",
        );
        refused(
            &json!({"on_unrecordable": true}),
            "settings.on_unrecordable",
        );
    }

    #[test]
    fn null_and_absent_are_told_apart() {
        let patch: TenantPatch = read(br#"{"name":null}"#).unwrap();
        assert_eq!((patch.name, patch.plan), (Some(None), None));
    }
}
