//! `/api/v1/export`: the ledger as files, streamed.

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::api::App;
use crate::api::keys::one_of;
use crate::api::page;
use crate::api::params::Params;
use crate::error::{ApiError, ErrorBody};
use crate::export::{self, Writing};
use crate::principal::Principal;
use crate::records::exports::{Question, Shape};

const FORMATS: [&str; 4] = ["csv", "json", "clients", "focus"];
/// Length of a day as text.
const DAY_LEN: usize = "2026-11-22".len();

/// Which file.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// `csv` (when not given) and `json`: events with all their fields. `clients`: CSV with `Date,
    /// Client_ID, Service, Model, Calls, Tokens, Cost, Project`. `focus`: CSV with the columns of FOCUS 1.2.
    format: Option<String>,
    /// The month it is invoiced in, as `2026-11`.
    month: Option<String>,
    /// Inclusive: RFC 3339 or a day for events; a day otherwise.
    from: Option<String>,
    /// Exclusive, as `from`.
    to: Option<String>,
    /// Only this tenant.
    tenant: Option<String>,
    /// `live` or `test`; events of both when not given, `live` otherwise.
    environment: Option<String>,
}

/// A file of the ledger. It streams: an answer that breaks off is not whole.
#[utoipa::path(get, path = "/api/v1/export", tag = "usage", security(("bearer" = [])),
    params(Asked),
    responses((status = 200, description = "The file.", body = String, content_type = "text/csv"),
        (status = 400, description = "A parameter cannot be used; `field` says which.", body = ErrorBody),
        (status = 404, description = "Another tenant.", body = ErrorBody),
        (status = 503, description = "Too many exports are running; see `retry-after`.", body = ErrorBody)))]
pub(crate) async fn export(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Asked>,
) -> Result<Response, ApiError> {
    let format = asked.format.as_deref().unwrap_or("csv");
    one_of("format", format, &FORMATS)?;
    let (shape, writing) = match format {
        "json" => (Shape::Events, Writing::Json),
        "clients" => (Shape::Clients, Writing::Csv),
        "focus" => (Shape::Focus, Writing::Csv),
        _ => (Shape::Events, Writing::Csv),
    };
    if let Some(environment) = &asked.environment {
        one_of("environment", environment, &["live", "test"])?;
    }
    let (from, to) = page::span(asked.from.as_deref(), asked.to.as_deref())?;
    for (field, text) in [("from", &asked.from), ("to", &asked.to)] {
        let is_time = text.as_ref().is_some_and(|text| text.len() != DAY_LEN);
        if shape != Shape::Events && is_time {
            return Err(ApiError::invalid(field, "a day like 2026-11-22"));
        }
    }
    let bound = |at: Option<farebox_pricing::time::Timestamp>| {
        at.map(|at| {
            let text = at.to_string();
            match shape {
                Shape::Events => text,
                Shape::Clients | Shape::Focus => text[..DAY_LEN].to_owned(),
            }
        })
    };
    let tenant = principal.scope(asked.tenant.as_deref())?;
    if tenant.is_some_and(|tenant| tenant.chars().any(char::is_control)) {
        return Err(ApiError::not_found());
    }
    let question = Question {
        is_tenant: principal.is_tenant(),
        tenant: tenant.map(str::to_owned),
        period: asked.month.as_deref().map(first_day).transpose()?,
        from: bound(from),
        to: bound(to),
        environment: asked.environment,
    };
    let name = asked.month.as_deref().unwrap_or("all");
    let (kind, ending) = match writing {
        Writing::Csv => ("text/csv; charset=utf-8; header=present", "csv"),
        Writing::Json => ("application/json", "json"),
    };
    let headers = [
        (header::CONTENT_TYPE, kind.to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"farebox-{format}-{name}.{ending}\""),
        ),
    ];
    let body = export::body(app.client().await?, shape, writing, question).await?;
    Ok((headers, body).into_response())
}

/// `2026-11` is the month that begins on 2026-11-01.
pub(crate) fn first_day(month: &str) -> Result<String, ApiError> {
    let invalid = || ApiError::invalid("month", "a month like 2026-11");
    if month.len() != "2026-11".len() {
        return Err(invalid());
    }
    let day = format!("{month}-01");
    page::time("month", Some(&day)).map_err(|_| invalid())?;
    Ok(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_its_first_day() {
        assert_eq!(first_day("2026-11").unwrap(), "2026-11-01");
        for bad in ["2026-13", "2026-1", "2026-11-01", "", "éé-11", "\"2026-1"] {
            assert!(first_day(bad).is_err(), "{bad}");
        }
    }
}
