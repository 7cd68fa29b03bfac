//! `/api/v1/reconcile`: the ledger against vendors' own reports.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use farebox_pricing::id;
use farebox_pricing::money::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::App;
use crate::api::operation::{Answer, Begun, begin, read};
use crate::api::page::{self, Page};
use crate::api::params::{Content, Params, Segment};
use crate::error::{ApiError, ErrorBody};
use crate::keys::hex;
use crate::principal::Principal;
use crate::reconcile::{self, Tolerance, formats};
use crate::records::audit::Change;
use crate::records::reconciliations::{
    self, NewReconciliation, ROWS_MAX, Reconciliation, ReconciliationLine,
};

/// Bytes of a request with its files.
pub(crate) const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Files compared at once.
const FILES_MAX: usize = 64;
/// Days compared at once.
const DAYS_MAX: usize = 366;
/// Differing lines that stand in the answer itself; the rest is behind `…/lines`.
const LINES_SHOWN: i64 = 1_000;
/// A difference of cost up to this is none, when nothing is said: what rounding alone can do.
const TOLERANCE_USD: &str = "0.000001";
/// A difference up to this share is none, when nothing is said.
const TOLERANCE_PERCENT: &str = "0.1";

/// What to compare.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// The vendor.
    provider: String,
    /// The vendor's reports as they are, JSON or CSV; all that belong together.
    files: Vec<String>,
    /// First day, UTC; the first of the reports when not given.
    from: Option<String>,
    /// The day after the last one; the one after the last of the reports when not given.
    to: Option<String>,
    /// A difference of a line's cost up to this is none; `0.000001` when not given.
    tolerance_usd: Option<String>,
    /// A difference up to this share of the vendor's is none; `0.1` when not given.
    tolerance_percent: Option<String>,
    /// The vendor's ids of its keys, and the credentials they are here; keys are not told apart when not
    /// given.
    #[serde(default)]
    keys: BTreeMap<String, String>,
}

/// A comparison with the lines that differ.
#[derive(Serialize, ToSchema)]
pub(crate) struct Compared {
    /// The comparison.
    reconciliation: Reconciliation,
    /// Lines that differ, at most 1,000.
    items: Vec<ReconciliationLine>,
}

/// Compares the ledger with a vendor's own usage and cost reports, line by line, and keeps the result.
#[utoipa::path(post, path = "/api/v1/reconcile", tag = "billing", security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated request harmless for 24 hours.")),
    request_body = Asked,
    responses((status = 201, description = "Compared.", body = Compared),
        (status = 400, description = "Something in it cannot be used; `field` says what.", body = ErrorBody),
        (status = 409, description = "The Idempotency-Key was used with another request.", body = ErrorBody),
        (status = 413, description = "More than 32 MiB of reports.", body = ErrorBody)))]
pub(crate) async fn compare(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Content(body): Content,
) -> Answer {
    let asked: Asked = read(&body)?;
    id::check(&asked.provider).map_err(|cause| ApiError::invalid("provider", cause.to_string()))?;
    if asked.files.is_empty() || asked.files.len() > FILES_MAX {
        return Err(ApiError::invalid("files", "between 1 and 64 reports"));
    }
    let tolerance = Tolerance {
        usd: amount(
            "tolerance_usd",
            asked.tolerance_usd.as_deref(),
            TOLERANCE_USD,
        )?,
        percent: amount(
            "tolerance_percent",
            asked.tolerance_percent.as_deref(),
            TOLERANCE_PERCENT,
        )?,
    };
    let mut files = Sha256::new();
    for (index, file) in asked.files.iter().enumerate() {
        if file.contains('\0') {
            return Err(ApiError::invalid(&format!("files.{index}"), "holds a NUL"));
        }
        files.update(Sha256::digest(file.as_bytes()));
    }
    let mut vendor = formats::read(&asked.provider, &asked.files)
        .map_err(|(index, cause)| ApiError::invalid(&format!("files.{index}"), cause))?;
    let (from_day, to_day) = span(&asked, &vendor)?;
    vendor.retain(|line| {
        let day = line.day.as_deref();
        day.is_none_or(|day| (from_day.as_str()..to_day.as_str()).contains(&day))
    });
    let by_id = reconcile::is_by_id(&vendor);
    if !by_id && vendor.iter().any(|line| line.day.is_none()) {
        return Err(ApiError::invalid(
            "files",
            "reports by call and by day do not mix",
        ));
    }
    let mut client = app.client().await?;
    let operation = match begin(&mut client, &principal, &headers, "reconcile", &body).await? {
        Begun::Fresh(operation) => operation,
        Begun::Replay(answer) => return Ok(answer),
    };
    let ledger = if by_id || !asked.keys.is_empty() {
        reconciliations::by_event(
            &operation.transaction,
            &asked.provider,
            &from_day,
            &to_day,
            by_id,
        )
        .await?
    } else {
        reconciliations::by_day(&operation.transaction, &asked.provider, &from_day, &to_day).await?
    };
    if ledger.len() > ROWS_MAX {
        return Err(ApiError::invalid(
            "from",
            "too many calls; ask for a shorter span",
        ));
    }
    let cards = app.cards.in_force();
    let keys = &asked.keys;
    let lines = reconcile::compare(&asked.provider, &cards, &vendor, &ledger, keys, tolerance)
        .map_err(|_| ApiError::invalid("files", "a sum does not fit a decimal"))?;
    let reconciliation_id = Uuid::now_v7();
    let new = NewReconciliation {
        reconciliation_id,
        provider: &asked.provider,
        from_day: &from_day,
        to_day: &to_day,
        by_id,
        tolerance_usd: &tolerance.usd.to_string(),
        tolerance_percent: &tolerance.percent.to_string(),
        files_sha256: &hex(&files.finalize()),
        created_by: operation.actor(),
    };
    reconciliations::keep(&operation.transaction, &new, &lines).await?;
    operation
        .record(&Change {
            action: "reconciliation.create",
            tenant_id: None,
            entity_kind: "reconciliation",
            entity_id: &reconciliation_id.to_string(),
            before: Value::Null,
            after: json!({"provider": asked.provider, "from_day": from_day, "to_day": to_day}),
            reason: None,
        })
        .await?;
    let kept = reconciliations::find(&operation.transaction, reconciliation_id).await?;
    let shown = Compared {
        reconciliation: kept.ok_or_else(ApiError::not_found)?,
        items: reconciliations::lines(
            &operation.transaction,
            reconciliation_id,
            false,
            0,
            LINES_SHOWN,
        )
        .await?,
    };
    operation.finish(StatusCode::CREATED, &shown).await
}

/// The days compared: as asked, else those of the reports.
fn span(asked: &Asked, vendor: &[formats::VendorLine]) -> Result<(String, String), ApiError> {
    let day = |field: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) if text.len() == "2026-11-22".len() => {
            page::time(field, Some(text)).map(|_| Some(text.clone()))
        }
        Some(_) => Err(ApiError::invalid(field, "a day like 2026-11-22")),
    };
    let days: BTreeSet<&str> = vendor
        .iter()
        .filter_map(|line| line.day.as_deref())
        .collect();
    let missing = |field: &str| ApiError::invalid(field, "the reports name no day; say it");
    let first = days.first().map(|day| (*day).to_owned());
    let last = days.last().and_then(|day| next_day(day));
    let from = day("from", &asked.from)?
        .or(first)
        .ok_or_else(|| missing("from"))?;
    let to = day("to", &asked.to)?
        .or(last)
        .ok_or_else(|| missing("to"))?;
    if from >= to {
        return Err(ApiError::invalid("to", "lies not behind `from`"));
    }
    let end = (0..DAYS_MAX).try_fold(from.clone(), |day, _| next_day(&day));
    if end.is_none_or(|end| to > end) {
        return Err(ApiError::invalid("to", "at most 366 days at once"));
    }
    Ok((from, to))
}

fn next_day(day: &str) -> Option<String> {
    let day: jiff::civil::Date = day.parse().ok()?;
    day.tomorrow().ok().map(|day| day.to_string())
}

fn amount(field: &str, asked: Option<&str>, default: &str) -> Result<Decimal, ApiError> {
    let read: Option<Decimal> = asked.unwrap_or(default).parse().ok();
    read.filter(|amount| !amount.is_negative() && amount.scale() <= 12)
        .ok_or_else(|| {
            ApiError::invalid(
                field,
                "a decimal from 0, at most 12 digits behind the point",
            )
        })
}

/// Which comparisons.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// With this vendor.
    provider: Option<String>,
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Comparisons, the latest first.
#[utoipa::path(get, path = "/api/v1/reconcile", tag = "billing", security(("bearer" = [])),
    params(Listing),
    responses((status = 200, description = "A page.", body = Page<Reconciliation>),
        (status = 403, description = "Not the operator.", body = ErrorBody)))]
pub(crate) async fn list(
    State(app): State<App>,
    Params(asked): Params<Listing>,
) -> Result<Json<Page<Reconciliation>>, ApiError> {
    if asked
        .provider
        .as_deref()
        .is_some_and(|text| text.chars().any(char::is_control))
    {
        return Err(ApiError::invalid("provider", "holds control characters"));
    }
    let after = page::cursor::<1>(asked.cursor.as_deref())?
        .map(|[id]| id.parse::<Uuid>())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))?;
    let limit = page::limit(asked.limit)?;
    let client = app.client().await?;
    let items = reconciliations::list(&client, asked.provider.as_deref(), after, limit).await?;
    Ok(Json(Page::cut(items, limit, |last| {
        vec![last.reconciliation_id.to_string()]
    })))
}

/// One comparison with the lines that differ.
#[utoipa::path(get, path = "/api/v1/reconcile/{reconciliation_id}", tag = "billing", security(("bearer" = [])),
    params(("reconciliation_id" = Uuid, Path, description = "The comparison.")),
    responses((status = 200, description = "The comparison.", body = Compared),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn show(
    State(app): State<App>,
    Segment(reconciliation_id): Segment,
) -> Result<Json<Compared>, ApiError> {
    let id: Uuid = reconciliation_id
        .parse()
        .map_err(|_| ApiError::not_found())?;
    let client = app.client().await?;
    let found = reconciliations::find(&client, id).await?;
    Ok(Json(Compared {
        reconciliation: found.ok_or_else(ApiError::not_found)?,
        items: reconciliations::lines(&client, id, false, 0, LINES_SHOWN).await?,
    }))
}

/// Which lines.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LineListing {
    /// Items of a page, 1 to 1000; 100 when not given.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// All lines of one comparison, those that agree too.
#[utoipa::path(get, path = "/api/v1/reconcile/{reconciliation_id}/lines", tag = "billing", security(("bearer" = [])),
    params(("reconciliation_id" = Uuid, Path, description = "The comparison."), LineListing),
    responses((status = 200, description = "A page.", body = Page<ReconciliationLine>),
        (status = 404, description = "There is none.", body = ErrorBody)))]
pub(crate) async fn lines(
    State(app): State<App>,
    Segment(reconciliation_id): Segment,
    Params(asked): Params<LineListing>,
) -> Result<Json<Page<ReconciliationLine>>, ApiError> {
    let id: Uuid = reconciliation_id
        .parse()
        .map_err(|_| ApiError::not_found())?;
    let after = page::cursor::<1>(asked.cursor.as_deref())?
        .map(|[line]| line.parse::<i64>())
        .transpose()
        .map_err(|_| ApiError::invalid("cursor", "not a cursor of this list"))?;
    let limit = page::limit(asked.limit)?;
    let client = app.client().await?;
    reconciliations::find(&client, id)
        .await?
        .ok_or_else(ApiError::not_found)?;
    let items =
        reconciliations::lines(&client, id, true, after.unwrap_or(0), i64::from(limit) + 1).await?;
    Ok(Json(Page::cut(items, limit, |last| {
        vec![last.line.to_string()]
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_span_is_that_of_the_reports_unless_said() {
        let mut asked = Asked {
            provider: "v".into(),
            files: vec![],
            from: None,
            to: None,
            tolerance_usd: None,
            tolerance_percent: None,
            keys: BTreeMap::new(),
        };
        let line = |day: &str| formats::VendorLine {
            day: Some(day.into()),
            ..Default::default()
        };
        let lines = [line("2026-11-30"), line("2026-11-02")];
        let both = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(
            span(&asked, &lines).unwrap(),
            both("2026-11-02", "2026-12-01")
        );
        asked.to = Some("2026-11-10".into());
        assert_eq!(
            span(&asked, &lines).unwrap(),
            both("2026-11-02", "2026-11-10")
        );
        asked.to = Some("2026-11-01".into());
        assert!(span(&asked, &lines).is_err());
        asked.to = Some("2028-01-01".into());
        assert!(span(&asked, &lines).is_err());
        asked.to = None;
        assert!(span(&asked, &[]).is_err());
    }
}
