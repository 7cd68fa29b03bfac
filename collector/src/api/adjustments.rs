//! `/api/v1/adjustments`: corrections of booked events. A request corrects one page of events and
//! says where the next begins, so that a month of any size is corrected within bounds; what was booked
//! already is found right and books nothing again.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use farebox_pricing::event::Pricing;
use farebox_pricing::id::TenantId;
use farebox_pricing::price::{price_event, price_event_as_stamped};
use farebox_pricing::rate_card::CardSet;
use farebox_pricing::usage::Usage;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::App;
use crate::api::operation::{Answer, Begun, Operation, begin, read, read_or_default};
use crate::api::page::{self, Page};
use crate::api::params::{Content, Params, Segment};
use crate::error::{ApiError, ErrorBody};
use crate::principal::Principal;
use crate::records::audit::Change;
use crate::records::tenants;
use crate::store::Transaction;
use crate::store::adjustments::{
    self, Adjustment, Batch, ByHand, Failure, Filter, Kind, Report, Standing, Target,
};

mod asked;

pub(crate) use asked::Adjust;
use asked::{Asked, Reread};

/// Events that one request corrects at most.
const EVENTS_MAX: u32 = 1_000;

/// Which adjustments.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// One tenant's.
    tenant: Option<String>,
    /// One event's.
    event_id: Option<Uuid>,
    /// One batch's.
    batch_id: Option<Uuid>,
    /// `reprice`, `retag`, `reread` or `manual`.
    kind: Option<String>,
    /// Booked in this month, such as 2026-11.
    period: Option<String>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What a request booked, or would.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Adjusted {
    /// Names what was booked; given again with `cursor` it stays one batch.
    batch_id: Uuid,
    /// `reprice`, `retag`, `reread` or `manual`.
    kind: String,
    /// Nothing was booked.
    dry_run: bool,
    /// Events looked at.
    events: usize,
    /// Events that stand otherwise now.
    changed: usize,
    /// Adjustments booked.
    adjustments: usize,
    /// What moved, by tenant and month.
    moved: Vec<Moved>,
    /// Events that are not in the ledger, or that stand with another event.
    skipped: Vec<Uuid>,
    /// Give it as `cursor` for the events that follow; null: there is none.
    next_cursor: Option<String>,
}

/// What moved for one tenant and month.
#[derive(Debug, Serialize, ToSchema)]
struct Moved {
    /// The tenant; null: unattributed.
    tenant_id: Option<String>,
    /// The month it is booked in.
    period: String,
    /// The month it corrects; an earlier one makes it a credit or debit line of the invoice.
    corrects: String,
    /// Signed change of the count of events.
    events: i64,
    /// Signed change of the cost.
    cost_usd: String,
    /// Signed change of what is billed.
    billed_usd: String,
}

/// Adjustments, newest first.
#[utoipa::path(get, path = "/api/v1/adjustments", tag = "adjustments", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page; a tenant's key sees its own, without purchase prices.", body = Page<Adjustment>)))]
pub(crate) async fn list(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<Adjustment>>, ApiError> {
    let limit = page::limit(asked.limit)?;
    let tenant = principal.scope(asked.tenant.as_deref())?;
    let period = asked.period.as_deref().map(page::month).transpose()?;
    let after = page::after(asked.cursor.as_deref())?;
    let filter = Filter {
        tenant,
        event_id: asked.event_id,
        batch_id: asked.batch_id,
        kind: asked.kind.as_deref(),
        period: period.as_deref(),
    };
    let client = app.client().await?;
    let items = adjustments::list(&client, principal.is_tenant(), &filter, after, limit).await?;
    Ok(Json(Page::cut(items, limit, |item| {
        vec![item.adjustment_id.to_string()]
    })))
}

/// Corrects events: the difference to how they stand is booked as adjustments.
///
/// `reprice` prices them anew, `retag` moves them to another tenant, customer or project, `reread`
/// takes corrected lines, `manual` books a named amount on one event. With `dry_run` nothing is booked.
#[utoipa::path(post, path = "/api/v1/adjustments", tag = "adjustments", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = Adjust,
    responses((status = 200, description = "Nothing was to be booked, or it was a dry run.", body = Adjusted),
        (status = 201, description = "Booked.", body = Adjusted),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 404, description = "There is no such tenant or event.", body = ErrorBody),
        (status = 409, description = "`period_closed`: a month is closed and the request does not take the next one.", body = ErrorBody)))]
pub(crate) async fn adjust(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked = Asked::of(read(&body)?)?;
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &headers, "adjustments", &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let actor = operation.actor().to_owned();
    let batch = Batch {
        batch_id: asked.batch_id,
        kind: asked.kind,
        actor: &actor,
        reason: &asked.reason,
        closed_months: asked.closed_months,
        undoes: None,
    };
    adjustments::lock(&operation.transaction).await?;
    let (found, next) = find(&operation.transaction, &asked).await?;
    let cards = cards_for(&app, &operation.transaction, &asked, &found).await?;
    let mut answer = Adjusted::begin(&batch, asked.dry_run, found.len(), next);
    answer.skipped = missing(&asked.event_ids(), &found);
    let report = match &asked.by_hand {
        Some(by_hand) => {
            let [standing] = &found[..] else {
                return Err(ApiError::not_found());
            };
            let amounts = ByHand {
                meter: by_hand.meter,
                quantity: by_hand.quantity,
                cost_usd: by_hand.cost_usd,
                billed_usd: by_hand.billed_usd,
                reference: by_hand.reference.as_deref(),
            };
            adjustments::book_by_hand(&operation.transaction, &batch, standing, &amounts).await?
        }
        None => {
            check_tenant(&operation.transaction, &asked).await?;
            let mut corrections = Vec::with_capacity(found.len());
            for standing in found {
                match target(&standing, &asked, &cards)? {
                    Some(target) => corrections.push((standing, target)),
                    None => answer.skipped.push(standing.event.event_id),
                }
            }
            adjustments::book(&operation.transaction, &batch, &corrections).await?
        }
    };
    finish(operation, answer, report, &batch).await
}

/// What to take back.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Undo {
    /// Why; `undo of` the batch when not given.
    reason: Option<String>,
    /// Say what would be booked, and book nothing.
    #[serde(default)]
    dry_run: bool,
    /// `refuse` (when not given) or `next`.
    closed_periods: Option<String>,
    /// The undoing batch, on the pages after the first.
    batch_id: Option<Uuid>,
    /// `next_cursor` of the answer before.
    cursor: Option<String>,
}

/// Takes a batch of `retag` back: its events go where they were before.
#[utoipa::path(post, path = "/api/v1/adjustments/{batch_id}/undo", tag = "adjustments", security(("bearer" = [])),
    params(("batch_id" = Uuid, Path, description = "The batch."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = Undo,
    responses((status = 200, description = "Nothing was to be booked, or it was a dry run.", body = Adjusted),
        (status = 201, description = "Booked.", body = Adjusted),
        (status = 404, description = "There is no such batch of moved events.", body = ErrorBody),
        (status = 409, description = "`period_closed`, or `moved_again`: an event was moved again since.", body = ErrorBody)))]
pub(crate) async fn undo(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Segment(undone): Segment,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let undone: Uuid = undone.parse().map_err(|_| ApiError::not_found())?;
    let asked: Undo = read_or_default(&body)?;
    let closed_months = asked::closed_months(asked.closed_periods.as_deref(), Kind::Retag)?;
    let after = asked::cursor(asked.cursor.as_deref())?;
    let reason = asked.reason.unwrap_or_else(|| format!("undo of {undone}"));
    let mut client = app.client().await?;
    let route = format!("adjustments.undo {undone}");
    let operation = match begin(&mut client, &principal, &headers, &route, &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let actor = operation.actor().to_owned();
    let batch = Batch {
        batch_id: asked.batch_id.unwrap_or_else(Uuid::now_v7),
        kind: Kind::Retag,
        actor: &actor,
        reason: &reason,
        closed_months,
        undoes: Some(undone),
    };
    adjustments::lock(&operation.transaction).await?;
    let moved = adjustments::undoing(&operation.transaction, undone, after, EVENTS_MAX).await?;
    let moved = moved.map_err(|conflict| {
        ApiError::conflict(
            "moved_again",
            format!("event {} was moved again since", conflict.0),
        )
    })?;
    if moved.before.is_empty() && after.is_none() {
        return Err(ApiError::not_found());
    }
    let mut corrections = Vec::with_capacity(moved.standings.len());
    for standing in moved.standings {
        let event_id = standing.event.event_id;
        let Some(before) = moved
            .before
            .iter()
            .find(|before| before.event_id == event_id)
        else {
            continue;
        };
        let target = Target {
            tenant_id: before
                .tenant_id
                .as_deref()
                .and_then(|id| TenantId::new(id).ok()),
            customer_id: before.customer_id.clone(),
            project: before.project.clone(),
            ..standing.as_target()
        };
        corrections.push((standing, target));
    }
    let answer = Adjusted::begin(&batch, asked.dry_run, corrections.len(), moved.more);
    let report = adjustments::book(&operation.transaction, &batch, &corrections).await?;
    finish(operation, answer, report, &batch).await
}

impl Adjusted {
    fn begin(batch: &Batch<'_>, dry_run: bool, events: usize, next: Option<Uuid>) -> Self {
        Self {
            batch_id: batch.batch_id,
            kind: batch.kind.name().to_owned(),
            dry_run,
            events,
            changed: 0,
            adjustments: 0,
            moved: Vec::new(),
            skipped: Vec::new(),
            next_cursor: next.map(|id| id.to_string()),
        }
    }
}

async fn finish(
    operation: Operation<'_>,
    mut answer: Adjusted,
    report: Report,
    batch: &Batch<'_>,
) -> Answer {
    answer.changed = report.changed;
    answer.adjustments = report.adjustments;
    for ((tenant_id, period, corrects), moved) in report.moved {
        answer.moved.push(Moved {
            tenant_id,
            period,
            corrects,
            events: moved.events,
            cost_usd: moved.cost_usd.to_string(),
            billed_usd: moved.billed_usd.to_string(),
        });
    }
    if answer.dry_run {
        return operation.abandon(StatusCode::OK, &answer).await;
    }
    if answer.changed == 0 {
        return operation.finish(StatusCode::OK, &answer).await;
    }
    let tenants: Vec<&Option<String>> = answer.moved.iter().map(|moved| &moved.tenant_id).collect();
    let one_tenant = match &tenants[..] {
        [first, rest @ ..] if rest.iter().all(|other| other == first) => first.as_deref(),
        _ => None,
    };
    operation
        .record(&Change {
            action: "adjustments.book",
            tenant_id: one_tenant,
            entity_kind: "adjustments",
            entity_id: &batch.batch_id.to_string(),
            before: serde_json::Value::Null,
            after: crate::api::operation::value(&answer)?,
            reason: Some(batch.reason),
        })
        .await?;
    operation.finish(StatusCode::CREATED, &answer).await
}

async fn find(
    transaction: &Transaction<'_>,
    asked: &Asked,
) -> Result<(Vec<Standing>, Option<Uuid>), ApiError> {
    let ids = asked.event_ids();
    if ids.is_empty() {
        let found =
            adjustments::selected(transaction, &asked.selection, asked.after, asked.limit).await?;
        return Ok(found);
    }
    Ok((adjustments::standings(transaction, &ids).await?, None))
}

fn missing(wanted: &[Uuid], found: &[Standing]) -> Vec<Uuid> {
    let is_there = |id: &Uuid| found.iter().any(|standing| standing.event.event_id == *id);
    wanted.iter().copied().filter(|id| !is_there(id)).collect()
}

/// A tenant that events are moved to must be there.
async fn check_tenant(transaction: &Transaction<'_>, asked: &Asked) -> Result<(), ApiError> {
    let Some(Some(tenant)) = asked
        .set
        .as_ref()
        .map(|set| set.tenant_id.as_ref()?.as_ref())
    else {
        return Ok(());
    };
    match tenants::find(transaction, tenant.as_str(), false).await? {
        Some(_) => Ok(()),
        None => {
            let mut error = ApiError::not_found();
            error.field = Some("set.tenant_id".to_owned());
            Err(error)
        }
    }
}

/// How an event should stand; `None` where no correction of this kind is about it.
fn target(standing: &Standing, asked: &Asked, cards: &CardSet) -> Result<Option<Target>, ApiError> {
    match asked.kind {
        Kind::Retag => Ok(Some(retagged(standing, asked))),
        // Its amounts stand with the event that it repeats.
        _ if standing.pricing == Pricing::Repeat => Ok(None),
        Kind::Reprice => Ok(Some(standing.priced(price_event(&standing.event, cards)))),
        Kind::Reread => {
            let event_id = standing.event.event_id;
            let reread = asked
                .reread
                .iter()
                .find(|reread| reread.event_id == event_id);
            reread
                .map(|reread| reread_to(standing, reread, cards))
                .transpose()
        }
        Kind::Manual => Ok(None),
    }
}

fn retagged(standing: &Standing, asked: &Asked) -> Target {
    let mut target = standing.as_target();
    if let Some(set) = &asked.set {
        if let Some(tenant_id) = &set.tenant_id {
            target.tenant_id.clone_from(tenant_id);
            // Customers and projects are a tenant's own.
            if target.tenant_id != standing.event.tenant_id {
                (target.customer_id, target.project) = (None, None);
            }
        }
        if let Some(customer_id) = &set.customer_id {
            target.customer_id.clone_from(customer_id);
        }
        if let Some(project) = &set.project {
            target.project.clone_from(project);
        }
    }
    target
}

/// Cards in force, and those that the request or the events name.
async fn cards_for(
    app: &App,
    transaction: &Transaction<'_>,
    asked: &Asked,
    found: &[Standing],
) -> Result<CardSet, ApiError> {
    match asked.kind {
        Kind::Reprice => super::prices::target(app, transaction, &asked.revisions).await,
        Kind::Reread => {
            let events = found.iter().map(|standing| &standing.event);
            Ok(app.cards.knowing(transaction, events).await?)
        }
        Kind::Retag | Kind::Manual => Ok(app.cards.in_force()),
    }
}

/// Priced by the revisions that the event stands by.
fn reread_to(standing: &Standing, reread: &Reread, cards: &CardSet) -> Result<Target, ApiError> {
    let mut event = standing.event.clone();
    event.lines.clone_from(&reread.lines);
    event.usage = Usage::new();
    event.usage_source = reread.usage_source;
    let priced = price_event_as_stamped(&event, cards)
        .map_err(|unknown| ApiError::invalid("events", unknown.to_string()))?;
    Ok(Target {
        lines: reread.lines.clone(),
        usage_source: reread.usage_source,
        old_revision: None,
        new_revision: reread
            .reader_version
            .map(|version| format!("reader {version}")),
        ..standing.priced(priced)
    })
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Batch(cause) => cause.into(),
            Failure::Closed(months) => {
                let months: Vec<String> = months
                    .iter()
                    .map(|(tenant, month)| {
                        format!("{} {month}", tenant.as_deref().unwrap_or("unattributed"))
                    })
                    .collect();
                Self::conflict(
                    "period_closed",
                    format!(
                        "closed: {}; `closed_periods: next` books into the next open month",
                        months.join(", ")
                    ),
                )
            }
        }
    }
}

/// An id as the types have it.
pub(crate) fn tenant_id(field: &str, text: &str) -> Result<TenantId, ApiError> {
    TenantId::new(text).map_err(|cause| ApiError::invalid(field, cause.to_string()))
}
