//! `/api/v1/invoices`: a tenant's month as it stands, closed for good, and handed out.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::App;
use crate::api::operation::{Answer, Begun, begin, read, value};
use crate::api::page::{self, Page};
use crate::api::params::{Content, Params, Segment};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::audit::Change;
use crate::records::reconciliations::{self, Reconciliation};
use crate::records::tenants;
use crate::store::GenericClient;
use crate::store::invoices::{self, Closing, Invoice, InvoiceLine, Obstacle};

mod print;

/// Which invoices.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// One tenant's.
    tenant: Option<String>,
    /// Of one month, such as 2026-11.
    month: Option<String>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Whose month.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhoseMonth {
    /// The tenant; a tenant's key may leave it out.
    tenant: Option<String>,
    /// The month, such as 2026-11.
    month: String,
}

/// How an invoice is handed out.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Form {
    /// `json` (when not given), `csv` or `html`, made for printing.
    format: Option<String>,
}

/// A month to close.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloseMonth {
    /// The tenant.
    #[serde(alias = "tenant")]
    tenant_id: String,
    /// The month, such as 2026-11.
    #[serde(alias = "period")]
    month: String,
    /// Live nodes that are not waited for, though they may still ship something of it; recorded.
    #[serde(default)]
    despite: Vec<String>,
}

/// A month as it stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct Preview {
    tenant_id: String,
    /// The month, by its first day.
    period: String,
    /// `USD`.
    currency: &'static str,
    /// Sum of the lines that are billed.
    billed_usd: String,
    /// Events without a price; above zero they block the close.
    unpriced_events: i64,
    lines: Vec<InvoiceLine>,
    /// For the operator: how the vendors on its lines agree with their own reports of the month, by the
    /// latest comparison of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    reconciliations: Option<Vec<Reconciliation>>,
}

/// A closed invoice with its lines.
#[derive(Serialize, ToSchema)]
pub(crate) struct WholeInvoice {
    invoice: Invoice,
    lines: Vec<InvoiceLine>,
    /// For the operator, and never in what is handed out: how the vendors on its lines agree with their
    /// own reports of the month, by the latest comparison of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    reconciliations: Option<Vec<Reconciliation>>,
}

/// Closed invoices, newest first.
#[utoipa::path(get, path = "/api/v1/invoices", tag = "invoices", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page; a tenant's key sees its own.", body = Page<Invoice>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<Invoice>>, ApiError> {
    let limit = page::limit(asked.limit)?;
    let tenant = principal.scope(asked.tenant.as_deref())?;
    let month = asked.month.as_deref().map(page::month).transpose()?;
    let after = page::cursor::<1>(asked.cursor.as_deref())?
        .map(|[id]| id.parse::<Uuid>())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))?;
    let client = app.client().await?;
    let items = invoices::list(&client, tenant, month.as_deref(), after, limit).await?;
    let items = items
        .into_iter()
        .map(|invoice| shown(&principal, invoice))
        .collect();
    Ok(Json(Page::cut(items, limit, |item| {
        vec![item.invoice_id.to_string()]
    })))
}

/// A tenant's month as it stands, closed or not.
#[utoipa::path(get, path = "/api/v1/invoices/preview", tag = "invoices", security(("bearer" = [])),
    params(WhoseMonth),
    responses((status = 200, description = "Its lines.", body = Preview),
        (status = 400, description = "No tenant or no month.", body = ErrorBody),
        (status = 404, description = "There is no such tenant.", body = ErrorBody)))]
pub(crate) async fn preview(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<WhoseMonth>,
) -> Result<Json<Preview>, ApiError> {
    let tenant = principal
        .scope(asked.tenant.as_deref())?
        .ok_or_else(|| ApiError::invalid("tenant", "is required"))?;
    let month = page::month(&asked.month)?;
    let client = app.client().await?;
    let lines = invoices::preview(&client, tenant, &month).await?;
    if lines.is_empty() && !tenants::exists(&client, tenant).await? {
        return Err(ApiError::not_found());
    }
    let reconciliations = compared(&client, &principal, &lines, &month).await?;
    Ok(Json(Preview {
        reconciliations,
        tenant_id: tenant.to_owned(),
        period: month,
        currency: "USD",
        billed_usd: invoices::total(&lines)
            .ok_or_else(|| ApiError::internal(&"an invoice's sum does not fit"))?
            .to_string(),
        unpriced_events: lines.iter().filter_map(|line| line.unpriced_events).sum(),
        lines,
    }))
}

/// Closes a month: its invoice never changes from here on, and what comes later goes to the next.
#[utoipa::path(post, path = "/api/v1/invoices", tag = "invoices", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = CloseMonth,
    responses((status = 201, description = "Closed.", body = WholeInvoice),
        (status = 404, description = "There is no such tenant.", body = ErrorBody),
        (status = 409, description = "`period_closed`, `period_not_over`, `nodes_behind` (live nodes may still ship something of it) or `unpriced_usage` (with the models).", body = ErrorBody)))]
pub(crate) async fn close(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked: CloseMonth = read(&body)?;
    let month = page::month(&asked.month)?;
    if asked.tenant_id.contains('\0') {
        return Err(ApiError::not_found());
    }
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &headers, "invoices.close", &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let actor = operation.actor().to_owned();
    let closing = Closing {
        tenant: &asked.tenant_id,
        month: &month,
        despite: &asked.despite,
        actor: &actor,
    };
    let (invoice, lines) = invoices::close(&operation.transaction, &closing).await?;
    operation
        .record(&Change {
            action: "invoice.close",
            tenant_id: Some(&asked.tenant_id),
            entity_kind: "invoice",
            entity_id: &invoice.number,
            before: serde_json::Value::Null,
            after: value(&invoice)?,
            reason: None,
        })
        .await?;
    let reconciliations = compared(&operation.transaction, &principal, &lines, &month).await?;
    let whole = WholeInvoice {
        invoice,
        lines,
        reconciliations,
    };
    operation.finish(StatusCode::CREATED, &whole).await
}

/// One closed invoice with its lines.
#[utoipa::path(get, path = "/api/v1/invoices/{invoice}", tag = "invoices", security(("bearer" = [])),
    params(("invoice" = String, Path, description = "Its id or number.")),
    responses((status = 200, description = "The invoice.", body = WholeInvoice),
        (status = 404, description = "There is no such invoice.", body = ErrorBody)))]
pub(crate) async fn show(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(name): Segment,
) -> Result<Json<WholeInvoice>, ApiError> {
    Ok(Json(whole(&app, &principal, &name).await?))
}

/// One closed invoice to be handed out: JSON, CSV, or HTML made for printing.
#[utoipa::path(get, path = "/api/v1/invoices/{invoice}/export", tag = "invoices", security(("bearer" = [])),
    params(("invoice" = String, Path, description = "Its id or number."), Form),
    responses((status = 200, description = "The invoice in that form.", body = String),
        (status = 400, description = "No such form.", body = ErrorBody),
        (status = 404, description = "There is no such invoice.", body = ErrorBody)))]
pub(crate) async fn export(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(name): Segment,
    Params(form): Params<Form>,
) -> Answer {
    let format = form.format.as_deref().unwrap_or("json");
    if !["json", "csv", "html"].contains(&format) {
        return Err(ApiError::invalid("format", "`json`, `csv` or `html`"));
    }
    let whole = WholeInvoice {
        reconciliations: None,
        ..whole(&app, &principal, &name).await?
    };
    let file = format!("invoice-{}.{format}", whole.invoice.number);
    Ok(match format {
        "csv" => attached("text/csv; charset=utf-8", &file, print::csv(&whole)),
        "html" => (
            [(header::CONTENT_TYPE, "text/html; charset=utf-8")],
            print::html(&whole),
        )
            .into_response(),
        _ => Json(whole).into_response(),
    })
}

fn attached(kind: &'static str, file: &str, text: String) -> Response {
    let disposition = format!("attachment; filename=\"{file}\"");
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, text).into_response()
}

async fn whole(app: &App, principal: &Principal, name: &str) -> Result<WholeInvoice, ApiError> {
    if name.contains('\0') {
        return Err(ApiError::not_found());
    }
    let client = app.client().await?;
    let invoice = invoices::find(&client, principal.tenant(), name)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let lines = invoices::lines(&client, invoice.invoice_id).await?;
    let reconciliations = compared(&client, principal, &lines, &invoice.period).await?;
    Ok(WholeInvoice {
        invoice: shown(principal, invoice),
        lines,
        reconciliations,
    })
}

/// What vendors report is of purchases, which a tenant does not see.
async fn compared(
    client: &impl GenericClient,
    principal: &Principal,
    lines: &[InvoiceLine],
    month: &str,
) -> Result<Option<Vec<Reconciliation>>, ApiError> {
    if principal.is_tenant() {
        return Ok(None);
    }
    let providers: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| line.provider.as_deref())
        .collect();
    let providers: Vec<&str> = providers.into_iter().collect();
    Ok(Some(
        reconciliations::of_month(client, &providers, month).await?,
    ))
}

/// Who closed it and which proxies were late is the operator's matter.
fn shown(principal: &Principal, mut invoice: Invoice) -> Invoice {
    if principal.is_tenant() {
        (invoice.closed_by, invoice.despite) = (None, None);
    }
    invoice
}

impl From<Obstacle> for ApiError {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::Database(cause) => cause.into(),
            Obstacle::TooLarge => Self::internal(&"an invoice's sum does not fit"),
            Obstacle::NoTenant => Self::not_found(),
            Obstacle::Closed(number) => Self::conflict(
                "period_closed",
                format!("this month is closed by invoice {number}"),
            ),
            Obstacle::NotOver(end) => {
                Self::conflict("period_not_over", format!("this month ends at {end}"))
            }
            Obstacle::NodesBehind(nodes) => Self::conflict(
                "nodes_behind",
                format!(
                    "live nodes may still ship events of this month: {}; retire them, or name them in `despite`",
                    nodes.join(", ")
                ),
            ),
            Obstacle::Unpriced(models) => {
                let models: Vec<String> = models
                    .iter()
                    .map(|(provider, model, events)| {
                        format!("{provider} {model} ({events} events)")
                    })
                    .collect();
                Self::conflict(
                    "unpriced_usage",
                    format!("usage without a price: {}", models.join(", ")),
                )
            }
        }
    }
}
