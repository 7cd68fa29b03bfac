//! `/api/v1/usage`: sums over the roll-ups.

use axum::extract::State;
use axum::{Extension, Json};
use farebox_pricing::id;
use farebox_pricing::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::App;
use crate::api::page;
use crate::api::params::Params;
use crate::error::{ApiError, ErrorBody};
use crate::ingest::months::{DAY_MILLIS, HOUR_MILLIS};
use crate::principal::Principal;
use crate::records::bounded;
use crate::records::usage::{self, Dimension, Question, ROWS_MAX, Source, UsageRow};

/// What to add up.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Asked {
    /// Comma-separated: `tenant customer project agent section key environment provider endpoint model
    /// meter`, and one of `hour` (UTC), `day` (the tenant's) and `month` (as invoiced). One sum when not
    /// given. `agent` and `section` are read from the events, everything else from roll-ups.
    group_by: Option<String>,
    /// Inclusive, a whole hour, or a day for its midnight; a whole day when grouped by `day`.
    from: Option<String>,
    /// Exclusive, as `from`.
    to: Option<String>,
    /// Only this tenant.
    tenant: Option<String>,
    /// Only this customer.
    customer: Option<String>,
    /// Only this project.
    project: Option<String>,
    /// Only the virtual key of this id.
    key: Option<String>,
    /// Only `live` or `test`.
    environment: Option<String>,
    /// Only this vendor.
    provider: Option<String>,
    /// Only this kind of call.
    endpoint: Option<String>,
    /// Only this model.
    model: Option<String>,
    /// Only this meter; `calls` counts calls.
    meter: Option<String>,
    /// Only this agent.
    agent: Option<String>,
    /// Only this section.
    section: Option<String>,
}

/// Sums by group, and their total.
#[derive(Serialize, ToSchema)]
pub(crate) struct Usage {
    /// By time first, then the most expensive.
    items: Vec<UsageRow>,
    /// Always null: an answer is whole.
    next_cursor: Option<String>,
    /// All of it.
    total: UsageRow,
}

/// Usage, cost and what is billed, grouped as asked.
#[utoipa::path(get, path = "/api/v1/usage", tag = "usage", security(("bearer" = [])),
    params(Asked),
    responses((status = 200, description = "The sums.", body = Usage),
        (status = 400, description = "A parameter cannot be used, `field` says which; or `too_much_to_read`: a shorter time is to be asked for.", body = ErrorBody),
        (status = 404, description = "Another tenant.", body = ErrorBody)))]
pub(crate) async fn usage(
    State(app): State<App>,
    Extension(principal): Extension<Principal>,
    Params(asked): Params<Asked>,
) -> Result<Json<Usage>, ApiError> {
    let group_by = dimensions(asked.group_by.as_deref())?;
    let is_finer = asked.agent.is_some() || asked.section.is_some();
    let source = source(&group_by, is_finer)?;
    let (from, to) = page::span(asked.from.as_deref(), asked.to.as_deref())?;
    check_whole("from", from, source)?;
    check_whole("to", to, source)?;
    let tenant = principal.scope(asked.tenant.as_deref())?;
    let filters = [
        (Dimension::Tenant, tenant),
        (Dimension::Customer, asked.customer.as_deref()),
        (Dimension::Project, asked.project.as_deref()),
        (Dimension::Key, asked.key.as_deref()),
        (Dimension::Environment, asked.environment.as_deref()),
        (Dimension::Provider, asked.provider.as_deref()),
        (Dimension::Endpoint, asked.endpoint.as_deref()),
        (Dimension::Model, asked.model.as_deref()),
        (Dimension::Meter, asked.meter.as_deref()),
        (Dimension::Agent, asked.agent.as_deref()),
        (Dimension::Section, asked.section.as_deref()),
    ];
    for (dimension, value) in filters {
        // Such a text is in no row, and Postgres takes no NUL.
        if value.is_some_and(|text| text.chars().any(char::is_control)) {
            return Err(ApiError::invalid(
                dimension.name(),
                id::InvalidId::Control.to_string(),
            ));
        }
    }
    let ask = Question {
        group_by: &group_by,
        source,
        is_tenant: principal.is_tenant(),
        from,
        to,
        filters,
    };
    let mut client = app.client().await?;
    let (items, total) = bounded::read(&mut client, app.read_bound(), async |reading| {
        usage::sums(reading, &ask).await
    })
    .await
    .map_err(ApiError::of_reading)?;
    if items.len() > ROWS_MAX {
        return Err(ApiError::invalid(
            "group_by",
            format!("more than {ROWS_MAX} groups; ask for a shorter span or fewer dimensions"),
        ));
    }
    Ok(Json(Usage {
        items,
        next_cursor: None,
        total: total.unwrap_or_else(|| UsageRow {
            calls: "0".to_owned(),
            billed_usd: "0".to_owned(),
            cost_usd: (!principal.is_tenant()).then(|| "0".to_owned()),
            usage: Some(Default::default()),
            ..UsageRow::default()
        }),
    }))
}

fn dimensions(asked: Option<&str>) -> Result<Vec<Dimension>, ApiError> {
    let mut found: Vec<Dimension> = Vec::new();
    for name in asked.unwrap_or_default().split(',').map(str::trim) {
        if name.is_empty() {
            continue;
        }
        let known = Dimension::ALL
            .into_iter()
            .find(|known| known.name() == name);
        let Some(dimension) = known else {
            let names: Vec<_> = Dimension::ALL.iter().map(|known| known.name()).collect();
            return Err(ApiError::invalid(
                "group_by",
                format!("any of {}", names.join(", ")),
            ));
        };
        if !found.contains(&dimension) {
            found.push(dimension);
        }
    }
    Ok(found)
}

/// Days are the tenants' own and stand in a roll-up of their own, so they do not mix with hours. Agents
/// and sections stand in no roll-up.
fn source(group_by: &[Dimension], is_finer: bool) -> Result<Source, ApiError> {
    let has = |dimension| group_by.contains(&dimension);
    if has(Dimension::Hour) && has(Dimension::Day) {
        return Err(ApiError::invalid(
            "group_by",
            "either `hour` (UTC) or `day` (the tenant's), not both",
        ));
    }
    let is_finer = is_finer || has(Dimension::Agent) || has(Dimension::Section);
    Ok(match (has(Dimension::Day), is_finer) {
        (true, false) => Source::Daily,
        (false, false) if has(Dimension::Hour) => Source::Hourly,
        (false, false) => Source::Utc,
        (true, true) => Source::EventsByDay,
        (false, true) => Source::Events,
    })
}

/// The roll-ups know no part of an hour or a day; rounding in silence would be a wrong sum.
fn check_whole(field: &str, at: Option<Timestamp>, source: Source) -> Result<(), ApiError> {
    let (unit, message) = match source {
        Source::Hourly | Source::Utc | Source::Events => (HOUR_MILLIS, "a whole hour"),
        Source::Daily | Source::EventsByDay => (DAY_MILLIS, "a whole day when grouped by `day`"),
    };
    match at {
        Some(at) if at.as_millis().rem_euclid(unit) != 0 => Err(ApiError::invalid(field, message)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_taken_from_the_list_only() {
        let named = |asked| dimensions(Some(asked)).map_err(|error| error.field);
        assert_eq!(
            named("provider, model,provider"),
            Ok(vec![Dimension::Provider, Dimension::Model])
        );
        assert_eq!(named(""), Ok(vec![]));
        assert_eq!(named("provider;drop"), Err(Some("group_by".into())));
        for dimension in Dimension::ALL {
            assert_eq!(named(dimension.name()), Ok(vec![dimension]));
        }
    }

    #[test]
    fn a_span_that_the_roll_ups_cannot_answer_is_refused() {
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        let check = |text, source, is_fine| {
            assert_eq!(
                check_whole("from", at(text), source).is_ok(),
                is_fine,
                "{text}"
            );
        };
        check("2026-11-22T03:00:00Z", Source::Hourly, true);
        check("2026-11-22T03:15:00Z", Source::Hourly, false);
        check("2026-11-22T03:00:00Z", Source::Daily, false);
        check("2026-11-22T00:00:00Z", Source::Daily, true);
        assert!(source(&[Dimension::Hour, Dimension::Day], false).is_err());
        let source = |group_by: &[Dimension]| source(group_by, false).ok();
        assert_eq!(source(&[Dimension::Model]), Some(Source::Utc));
        assert_eq!(source(&[Dimension::Hour]), Some(Source::Hourly));
        assert_eq!(source(&[Dimension::Day]), Some(Source::Daily));
    }
}
