//! `/api/v1/customers`: the tenants' own end customers. They are made at their first event too.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use farebox_pricing::id;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::api::App;
use crate::api::operation::{Answer, Begun, Operation, begin, read};
use crate::api::page::{self, Page};
use crate::api::params::{Content, Params, Segments, present};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::audit::Change;
use crate::records::customers::{self, Customer, Filter};
use crate::records::tenants;

/// Which customers.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Of this tenant.
    tenant: Option<String>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A customer to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCustomer {
    /// Its tenant; a tenant's key may leave it out.
    #[serde(alias = "tenant")]
    tenant_id: Option<String>,
    /// The identifier used on the wire: 1 to 128 characters, NFC, no control characters.
    customer_id: String,
    /// A name for people.
    name: Option<String>,
}

/// What to change of a customer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CustomerPatch {
    /// A name for people; null removes it.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<String>>,
}

/// Customers, by tenant and id, with what was seen of each.
#[utoipa::path(get, path = "/api/v1/customers", tag = "tenants", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page.", body = Page<Customer>),
        (status = 404, description = "Another tenant.", body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<Customer>>, ApiError> {
    let tenant = principal.scope(asked.tenant.as_deref())?;
    if let Some(tenant) = tenant {
        page::clean("tenant", tenant)?;
    }
    let filter = Filter {
        is_tenant: principal.is_tenant(),
        tenant,
        customer: None,
        after: page::cursor::<2>(asked.cursor.as_deref())?,
        limit: page::limit(asked.limit)?,
    };
    let items = customers::list(&app.client().await?, &filter).await?;
    Ok(Json(Page::cut(items, filter.limit, |last| {
        vec![last.tenant_id.clone(), last.customer_id.clone()]
    })))
}

/// One customer.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant_id}/customers/{customer_id}", tag = "tenants", security(("bearer" = [])),
    params(("tenant_id" = String, Path, description = "The tenant, percent-encoded."),
        ("customer_id" = String, Path, description = "The customer, percent-encoded.")),
    responses((status = 200, description = "The customer.", body = Customer),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segments(tenant_id, customer_id): Segments,
) -> Result<Json<Customer>, ApiError> {
    principal.scope(Some(&tenant_id))?;
    known_form(&tenant_id, &customer_id)?;
    let client = app.client().await?;
    find(&client, &principal, &tenant_id, &customer_id)
        .await
        .map(Json)
}

/// Makes a customer.
#[utoipa::path(post, path = "/api/v1/customers", tag = "tenants", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = NewCustomer,
    responses((status = 201, description = "Made.", body = Customer),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is no such tenant.", body = ErrorBody),
        (status = 409, description = "There is one of that id, or the Idempotency-Key was used with another request.", body = ErrorBody)))]
pub(crate) async fn create(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked: NewCustomer = read(&body)?;
    let tenant_id = principal
        .scope(asked.tenant_id.as_deref())?
        .ok_or_else(|| ApiError::invalid("tenant_id", "a customer is of a tenant"))?
        .to_owned();
    let mut client = app.client().await?;
    let operation =
        match begin(&mut client, &principal, &headers, "customers.create", &body).await? {
            Begun::Fresh(operation) => operation,
            Begun::Replay(answer) => return Ok(answer),
        };
    let wanted = Wanted {
        tenant_id: &tenant_id,
        customer_id: &asked.customer_id,
        name: asked.name.as_deref(),
    };
    if !put(&operation, &wanted).await?.is_made {
        return Err(ApiError::conflict(
            "already_exists",
            "there is a customer of that id",
        ));
    }
    let made = find(
        &operation.transaction,
        &principal,
        &tenant_id,
        &asked.customer_id,
    )
    .await?;
    operation.finish(StatusCode::CREATED, &made).await
}

/// Changes a customer.
#[utoipa::path(patch, path = "/api/v1/tenants/{tenant_id}/customers/{customer_id}", tag = "tenants", security(("bearer" = [])),
    params(("tenant_id" = String, Path, description = "The tenant, percent-encoded."),
        ("customer_id" = String, Path, description = "The customer, percent-encoded."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = CustomerPatch,
    responses((status = 200, description = "Changed.", body = Customer),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn set(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segments(tenant_id, customer_id): Segments,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    principal.scope(Some(&tenant_id))?;
    known_form(&tenant_id, &customer_id)?;
    let asked: CustomerPatch = read(&body)?;
    let mut client = app.client().await?;
    let route = format!("customers.set {tenant_id} {customer_id}");
    let operation = match begin(&mut client, &principal, &headers, &route, &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let before = customers::lock(&operation.transaction, &tenant_id, &customer_id)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let name = asked.name.unwrap_or(before);
    let wanted = Wanted {
        tenant_id: &tenant_id,
        customer_id: &customer_id,
        name: name.as_deref(),
    };
    put(&operation, &wanted).await?;
    let changed = find(&operation.transaction, &principal, &tenant_id, &customer_id).await?;
    operation.finish(StatusCode::OK, &changed).await
}

/// A customer as somebody wants it.
pub(crate) struct Wanted<'a> {
    pub(crate) tenant_id: &'a str,
    pub(crate) customer_id: &'a str,
    pub(crate) name: Option<&'a str>,
}

/// What became of it.
pub(crate) struct Put {
    pub(crate) is_made: bool,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

/// Makes or names a customer, with its audit row when that changes anything.
pub(crate) async fn put(operation: &Operation<'_>, wanted: &Wanted<'_>) -> Result<Put, ApiError> {
    let Wanted {
        tenant_id,
        customer_id,
        name,
    } = *wanted;
    id::check(customer_id).map_err(|cause| ApiError::invalid("customer_id", cause.to_string()))?;
    if let Some(name) = name {
        id::check(name).map_err(|cause| ApiError::invalid("name", cause.to_string()))?;
    }
    let is_known =
        id::check(tenant_id).is_ok() && tenants::exists(&operation.transaction, tenant_id).await?;
    if !is_known {
        return Err(tenants_missing());
    }
    let found = customers::lock(&operation.transaction, tenant_id, customer_id).await?;
    let as_json = |name: Option<&str>| json!({"tenant_id": tenant_id, "customer_id": customer_id, "name": name});
    let put = Put {
        is_made: found.is_none(),
        before: found
            .as_ref()
            .map_or(Value::Null, |name| as_json(name.as_deref())),
        after: as_json(name),
    };
    if put.before != put.after {
        customers::put(&operation.transaction, tenant_id, customer_id, name).await?;
        operation
            .record(&Change {
                action: if put.is_made {
                    "customer.create"
                } else {
                    "customer.set"
                },
                tenant_id: Some(tenant_id),
                entity_kind: "customer",
                entity_id: customer_id,
                before: put.before.clone(),
                after: put.after.clone(),
                reason: None,
            })
            .await?;
    }
    Ok(put)
}

/// Something names a tenant that is not there.
pub(crate) fn tenants_missing() -> ApiError {
    let mut missing = ApiError::new(
        StatusCode::NOT_FOUND,
        "unknown_tenant",
        "there is no such tenant; create it first",
    );
    missing.field = Some("tenant_id".to_owned());
    missing
}

/// What is no identifier names nothing, and Postgres takes no NUL in a text.
fn known_form(tenant_id: &str, customer_id: &str) -> Result<(), ApiError> {
    match id::check(tenant_id).and_then(|()| id::check(customer_id)) {
        Ok(()) => Ok(()),
        Err(_) => Err(ApiError::not_found()),
    }
}

async fn find(
    client: &impl crate::store::GenericClient,
    principal: &Principal,
    tenant_id: &str,
    customer_id: &str,
) -> Result<Customer, ApiError> {
    let filter = Filter {
        is_tenant: principal.is_tenant(),
        tenant: Some(tenant_id),
        customer: Some(customer_id),
        after: None,
        limit: 1,
    };
    let found = customers::list(client, &filter).await?;
    found.into_iter().next().ok_or_else(ApiError::not_found)
}
