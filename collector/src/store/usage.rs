//! Sums over the roll-ups, grouped as asked. Values travel as parameters.
//!
//! Whole days are read from the daily sums, 24 times fewer than the hourly ones: of UTC as well as the
//! tenants' own, since a row of those sums lies within one day of either.

mod dimension;

use crate::ingest::months::DAY_MILLIS;
use deadpool_postgres::GenericClient;
use farebox_pricing::time::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::{Error, Row, types::ToSql};
use utoipa::ToSchema;

pub(crate) use dimension::Dimension;

/// Rows of one answer; a finer question needs a shorter span.
pub(crate) const ROWS_MAX: usize = 10_000;
/// The parameter of the first filter.
const FIRST_FILTER: usize = 6;

/// Which roll-up answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Hours in UTC, read as such.
    Hourly,
    /// Hours in UTC, whole days of them from the daily sums.
    Utc,
    /// Days in the tenant's zone.
    Daily,
    /// The events themselves, for what the roll-ups do not hold apart; bounds are hours.
    Events,
    /// As [`Source::Events`]; bounds are the tenants' days.
    EventsByDay,
}

/// What one event adds to the roll-ups: `calls`, the quantities of its lines, the amounts of its charges.
pub(super) const METERS: &str = "
        select
            usage_events.model,
            'calls' as meter,
            case when usage_events.attempt = 1 and usage_events.part = 1 then 1 else 0 end::numeric as quantity,
            0::numeric as cost_usd,
            0::numeric as billed_usd,
            1 as events,
            case when usage_events.pricing in ('unpriced', 'partial') then 1 else 0 end as unpriced_events
        union all
        select line.value ->> 'model', used.key, used.value::numeric, 0, 0, 0, 0
        from jsonb_array_elements(usage_events.lines::jsonb) as line (value)
        cross join lateral jsonb_each_text(line.value -> 'usage') as used (key, value)
        where usage_events.pricing <> 'repeat'
        union all
        select
            charge.value ->> 0,
            charge.value ->> 1,
            0,
            coalesce((charge.value ->> 5)::numeric, 0),
            coalesce((charge.value ->> 6)::numeric, 0),
            0,
            0
        from jsonb_array_elements(usage_events.charges::jsonb) as charge (value)";

/// Events and their corrections with the columns of a roll-up, and `agent` and `section`. For days of other zones
/// ids bound what is read by `{wide}` wider than asked, and the exact bounds come after.
const EVENTS: &str = "(
    select
        date_trunc('hour', usage_events.started_at, 'UTC') as hour,
        usage_events.day, usage_events.period, usage_events.tenant_id, usage_events.customer_id,
        usage_events.project, usage_events.agent, usage_events.section, usage_events.key_id,
        usage_events.environment, usage_events.paid_by, usage_events.provider, usage_events.endpoint,
        counted.model, counted.meter, counted.quantity, counted.cost_usd, counted.billed_usd,
        counted.events, counted.unpriced_events
    from farebox_private.usage_events
    cross join lateral (
{METERS}
    ) as counted
    where ($2::text is null or usage_events.event_id
            >= farebox_private.first_event_id($2::text::timestamptz - interval '{wide}'))
        and ($3::text is null or usage_events.event_id
            < farebox_private.first_event_id($3::text::timestamptz + interval '{wide}'))
        and ($6::text is null or usage_events.tenant_id = $6)
    union all
    select
        date_trunc('hour', adjustments.started_at, 'UTC'),
        adjustments.day, adjustments.period, adjustments.tenant_id, adjustments.customer_id,
        adjustments.project, usage_events.agent, usage_events.section, adjustments.key_id,
        adjustments.environment, adjustments.paid_by, adjustments.provider, adjustments.endpoint,
        adjustments.model, adjustments.meter, adjustments.quantity, adjustments.cost_usd,
        adjustments.billed_usd, adjustments.events, adjustments.unpriced_events
    from farebox_private.adjustments
    join farebox_private.usage_events using (event_id)
    where ($2::text is null or adjustments.started_at >= $2::text::timestamptz - interval '{wide}')
        and ($3::text is null or adjustments.started_at < $3::text::timestamptz + interval '{wide}')
        and ($6::text is null or adjustments.tenant_id = $6)
) as counted_events";

/// What usage can be held to.
pub(crate) const FILTERS: usize = 11;

/// A question to the roll-ups.
pub(crate) struct Question<'a> {
    pub(crate) group_by: &'a [Dimension],
    pub(crate) source: Source,
    /// Purchase prices are hidden where the operator pays.
    pub(crate) is_tenant: bool,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    /// Equalities; `None` filters nothing. The tenant's comes first.
    pub(crate) filters: [(Dimension, Option<&'a str>); FILTERS],
}

/// One group's sums.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct UsageRow {
    /// The hour in UTC; present when grouped by it, as all of the following.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hour: Option<String>,
    /// The day in the tenant's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// The month in which it is invoiced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<String>,
    /// The tenant; null: unattributed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Option<String>>,
    /// The tenant's end customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<Option<String>>,
    /// A project of the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<Option<String>>,
    /// An agent of the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<Option<String>>,
    /// A part of the product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section: Option<Option<String>>,
    /// The virtual key's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Option<String>>,
    /// `live` or `test`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The vendor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The kind of call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Option<String>>,
    /// The meter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
    /// Quantity of the meter, when grouped by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantity: Option<String>,
    /// Quantities by meter, when not grouped by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub usage: Option<Box<RawValue>>,
    /// Calls (first attempts and parts).
    pub calls: String,
    /// Events.
    pub events: i64,
    /// Events that lack a price, whole or in part.
    pub unpriced_events: i64,
    /// What the providers charge, as far as priced; for a tenant, where it pays them itself.
    pub cost_usd: Option<String>,
    /// What the operator charges, as far as priced.
    pub billed_usd: String,
    /// Share of the total cost in percent, four decimals; null when there is none.
    pub cost_percent: Option<String>,
    /// Share of the total billed in percent, four decimals; null when there is none.
    pub billed_percent: Option<String>,
}

/// The whole days of UTC in a span, which may be open at either end; `None` when there is none.
fn whole_days(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<[Option<i64>; 2]> {
    let first = from.map(|at| at.as_millis().div_euclid(DAY_MILLIS) + i64::from(!is_midnight(at)));
    let end = to.map(|at| at.as_millis().div_euclid(DAY_MILLIS));
    let is_empty = first.zip(end).is_some_and(|(first, end)| first >= end);
    (!is_empty).then_some([first, end])
}

fn is_midnight(at: Timestamp) -> bool {
    at.as_millis().rem_euclid(DAY_MILLIS) == 0
}

/// Whole days (`$4` to `$5`, counted from 1970, null: open) from the daily sums, and the hours before and
/// after them where there are any. A tenant's day is at most one day beside that of UTC, which leads a
/// tenant's rows through its index.
fn days_and_edges(question: &Question<'_>) -> String {
    let days = daily(question);
    let edge = |from: &str, to: &str| {
        format!(
            "
    union all
    select {SUMMED}
    from farebox_private.usage_hourly
    where hour >= {from} and hour < {to}"
        )
    };
    let midnight =
        |day: &str| format!("(date 'epoch' + {day}::integer)::timestamp at time zone 'UTC'");
    let is_within_day = |at: Option<Timestamp>| at.is_some_and(|at| !is_midnight(at));
    let mut rows = format!(
        "
    select {SUMMED}
    from {days} as days
    where ($4::integer is null
            or (utc_day >= date 'epoch' + $4::integer and day >= date 'epoch' + $4::integer - 1))
        and ($5::integer is null
            or (utc_day < date 'epoch' + $5::integer and day < date 'epoch' + $5::integer + 1))"
    );
    if is_within_day(question.from) {
        rows.push_str(&edge("$2::text::timestamptz", &midnight("$4")));
    }
    if is_within_day(question.to) {
        rows.push_str(&edge(&midnight("$5"), "$3::text::timestamptz"));
    }
    format!("({rows}\n) as counted_events")
}

/// Daily sums: those over all customers, projects and keys where the question parts none of them.
fn daily(question: &Question<'_>) -> &'static str {
    let fine = [Dimension::Customer, Dimension::Project, Dimension::Key];
    match fine.iter().any(|dimension| parts(question, *dimension)) {
        true => "farebox_private.usage_daily",
        false => TOTALS,
    }
}

fn events(wide: &str) -> String {
    EVENTS.replace("{METERS}", METERS).replace("{wide}", wide)
}

/// Whether a question groups or filters by a dimension.
fn parts(question: &Question<'_>, dimension: Dimension) -> bool {
    let mut filters = question.filters.iter();
    question.group_by.contains(&dimension)
        || filters.any(|(of, value)| *of == dimension && value.is_some())
}

/// End customers by what they are kept as.
const NAMED_CUSTOMERS: &str = "left join (
                select tenant_id as owner, reference, customer_id as name
                from farebox_private.customers
            ) as named
                on named.owner = counted_events.tenant_id
                and named.reference = counted_events.customer_id";

/// With the columns of the daily sums.
const TOTALS: &str = "(
        select *, null::text as customer_id, null::text as project, null::uuid as key_id
        from farebox_private.usage_totals
    )";

/// Columns that the hourly and the daily sums have in common.
const SUMMED: &str =
    "period, tenant_id, customer_id, project, key_id, environment, paid_by, provider,
        endpoint, model, meter, quantity, cost_usd, billed_usd, events, unpriced_events";

/// The statement: rows of groups, their dimensions first, and in the end one of all of it.
fn sql(question: &Question<'_>) -> String {
    let (table, time) = match question.source {
        Source::Hourly => (
            "farebox_private.usage_hourly as counted_events".to_owned(),
            Some(("hour", "timestamptz")),
        ),
        Source::Utc => (days_and_edges(question), None),
        Source::Daily => (
            format!("{} as counted_events", daily(question)),
            Some(("day", "date")),
        ),
        Source::Events => (events("0"), Some(("hour", "timestamptz"))),
        Source::EventsByDay => (events("1 day"), Some(("day", "date"))),
    };
    let dimensions: Vec<String> = (question.group_by.iter().enumerate())
        .map(|(index, dimension)| format!("{} as d{index}", dimension.column()))
        .collect();
    let names: Vec<String> = (0..question.group_by.len())
        .map(|index| format!("d{index}"))
        .collect();
    let none: Vec<String> = names.iter().map(|_| "null".to_owned()).collect();
    let listed = |parts: &[String]| {
        parts
            .iter()
            .map(|part| format!("{part}, "))
            .collect::<String>()
    };
    // Every statement has every parameter, and says its type.
    let mut conditions = vec![
        "coalesce($2::text, $3::text, '') is not null".to_owned(),
        "coalesce($4::integer, $5::integer, 0) is not null".to_owned(),
    ];
    if let Some((time, cast)) = time {
        conditions.push(format!("($2::text is null or {time} >= $2::text::{cast})"));
        conditions.push(format!("($3::text is null or {time} < $3::text::{cast})"));
    }
    for (index, (dimension, _)) in question.filters.iter().enumerate() {
        let place = index + FIRST_FILTER;
        let is_there = match dimension {
            Dimension::Agent | Dimension::Section => {
                matches!(question.source, Source::Events | Source::EventsByDay)
            }
            Dimension::Customer => parts(question, Dimension::Customer),
            _ => true,
        };
        // No roll-up has an agent or a section: who asks for a value of them asks the events. Customers are named where
        // somebody asks for them.
        conditions.push(match is_there {
            true => format!(
                "(${place}::text is null or {} = ${place})",
                dimension.column()
            ),
            false => format!("${place}::text is null"),
        });
    }
    let first_time = (question.group_by.iter())
        .position(|dimension| {
            matches!(
                dimension,
                Dimension::Hour | Dimension::Day | Dimension::Month
            )
        })
        .map_or_else(|| "null::text".to_owned(), |index| format!("d{index}"));
    // Without dimensions the sum of all is the only row.
    let groups = if names.is_empty() { "having false" } else { "" };
    let summed = "
                jsonb_object_agg(counted, trim_scale(quantity)::text)
                    filter (where counted <> 'calls') as usage,
                sum(quantity) as quantity,
                coalesce(sum(quantity) filter (where counted = 'calls'), 0) as calls,
                sum(events)::bigint as events,
                sum(unpriced_events)::bigint as unpriced_events,
                sum(cost) as cost,
                sum(billed) as billed";
    let told = "
            coalesce(usage, '{}')::text,
            trim_scale(quantity)::text,
            trim_scale(calls)::text,
            events,
            unpriced_events,
            trim_scale(cost)::text,
            trim_scale(billed)::text,
            round(100 * cost / nullif(sum(cost) over (), 0), 4)::text,
            round(100 * billed / nullif(sum(billed) over (), 0), 4)::text";
    format!(
        "with metered as (
            select
                {dimensions}
                meter as counted,
                sum(quantity) as quantity,
                case
                    when $1::boolean then sum(cost_usd) filter (where paid_by <> 'operator')
                    else sum(cost_usd)
                end as cost,
                sum(billed_usd) as billed,
                sum(events) as events,
                sum(unpriced_events) as unpriced_events
            from {table}
            {customers}
            where {conditions}
            group by {named} meter
        ), grouped as (
            select {named} {first_time} as order_time, {summed}
            from metered
            group by {named} ()
            {groups}
        ), counted_by_meter as (
            select
                counted,
                sum(quantity) as quantity,
                sum(cost) as cost,
                sum(billed) as billed,
                sum(events) as events,
                sum(unpriced_events) as unpriced_events
            from metered
            group by counted
        ), total as (
            select {summed}
            from counted_by_meter
        )
        (
            select {named} {told}, false
            from grouped
            where events is not null
            order by order_time, cost desc nulls last, billed desc
            limit {limit}
        )
        union all
        select {none} {told}, true
        from total
        where events is not null",
        dimensions = listed(&dimensions),
        customers = match parts(question, Dimension::Customer) {
            true => NAMED_CUSTOMERS,
            false => "",
        },
        conditions = conditions.join(" and "),
        named = listed(&names),
        none = listed(&none),
        limit = ROWS_MAX + 1,
    )
}

/// The groups, of which more than [`ROWS_MAX`] mean that the question is too fine, and all of them together;
/// `None` where there is nothing.
pub(crate) async fn sums(
    client: &impl GenericClient,
    question: &Question<'_>,
) -> Result<(Vec<UsageRow>, Option<UsageRow>), Error> {
    let text = |at: Timestamp| match question.source {
        Source::Hourly | Source::Utc | Source::Events => at.to_string(),
        Source::Daily | Source::EventsByDay => at.to_string()[.."2026-11-22".len()].to_owned(),
    };
    let days = match question.source {
        Source::Utc => whole_days(question.from, question.to),
        _ => None,
    };
    let source = match (question.source, days) {
        (Source::Utc, None) => Source::Hourly,
        (source, _) => source,
    };
    let question = &Question {
        source,
        ..*question
    };
    let (from, to) = (question.from.map(text), question.to.map(text));
    let [first, end] = days.unwrap_or_default().map(|day| i32::try_from(day?).ok());
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&question.is_tenant, &from, &to, &first, &end];
    for (_, value) in &question.filters {
        values.push(value);
    }
    let mut items = Vec::new();
    let mut total = None;
    let is_total = question.group_by.len() + 9;
    for row in client.query(&sql(question), &values).await? {
        match row.try_get(is_total)? {
            true => total = Some(read(&row, question.group_by, true)?),
            false => items.push(read(&row, question.group_by, false)?),
        }
    }
    if question.group_by.is_empty() {
        items.extend(total.clone());
    }
    Ok((items, total))
}

fn read(row: &Row, group_by: &[Dimension], is_total: bool) -> Result<UsageRow, Error> {
    let mut sums = UsageRow::default();
    for (index, dimension) in group_by.iter().enumerate() {
        if is_total {
            break;
        }
        let value: Option<String> = row.try_get(index)?;
        match dimension {
            Dimension::Hour => sums.hour = value,
            Dimension::Day => sums.day = value,
            Dimension::Month => sums.month = value,
            Dimension::Tenant => sums.tenant = Some(value),
            Dimension::Customer => sums.customer = Some(value),
            Dimension::Project => sums.project = Some(value),
            Dimension::Agent => sums.agent = Some(value),
            Dimension::Section => sums.section = Some(value),
            Dimension::Key => sums.key = Some(value),
            Dimension::Environment => sums.environment = value,
            Dimension::Provider => sums.provider = value,
            Dimension::Endpoint => sums.endpoint = value,
            Dimension::Model => sums.model = Some(value),
            Dimension::Meter => sums.meter = value,
        }
    }
    let after = group_by.len();
    if group_by.contains(&Dimension::Meter) && !is_total {
        sums.quantity = row.try_get(after + 1)?;
    } else {
        let usage: String = row.try_get(after)?;
        sums.usage = RawValue::from_string(usage).ok();
    }
    sums.calls = row.try_get(after + 2)?;
    sums.events = row.try_get(after + 3)?;
    sums.unpriced_events = row.try_get(after + 4)?;
    sums.cost_usd = row.try_get(after + 5)?;
    sums.billed_usd = row.try_get(after + 6)?;
    sums.cost_percent = row.try_get(after + 7)?;
    sums.billed_percent = row.try_get(after + 8)?;
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: [Dimension; FILTERS] = [
        Dimension::Tenant,
        Dimension::Customer,
        Dimension::Project,
        Dimension::Key,
        Dimension::Environment,
        Dimension::Provider,
        Dimension::Endpoint,
        Dimension::Model,
        Dimension::Meter,
        Dimension::Agent,
        Dimension::Section,
    ];

    fn question<'a>(group_by: &'a [Dimension], value: Option<&'a str>) -> Question<'a> {
        Question {
            group_by,
            source: Source::Hourly,
            is_tenant: true,
            from: None,
            to: None,
            filters: ASKED.map(|dimension| (dimension, value)),
        }
    }

    #[test]
    fn nothing_a_caller_says_is_in_the_statement() {
        let group_by = [Dimension::Tenant, Dimension::Meter];
        let hostile = sql(&question(&group_by, Some("'; drop table x; --")));
        assert_eq!(hostile, sql(&question(&group_by, Some("other"))));
        assert!(
            hostile.contains("tenant_id as d0, meter as d1, "),
            "{hostile}"
        );
        assert!(
            hostile.contains("$14::text is null or meter = $14"),
            "{hostile}"
        );
    }

    #[test]
    fn days_are_read_from_days_and_hours_from_hours() {
        let mut asked = question(&[Dimension::Hour], None);
        assert!(sql(&asked).contains("from farebox_private.usage_hourly"));
        asked.group_by = &[Dimension::Day];
        asked.source = Source::Daily;
        let daily = sql(&asked);
        assert!(
            daily.contains("from farebox_private.usage_totals"),
            "{daily}"
        );
        assert!(daily.contains("day >= $2::text::date"), "{daily}");
    }

    #[test]
    fn what_parts_customers_projects_or_keys_is_read_where_they_are_parted() {
        let check = |group_by: &[Dimension], filtered: Option<Dimension>, is_fine: bool| {
            for source in [Source::Daily, Source::Utc] {
                let mut asked = question(group_by, None);
                asked.source = source;
                for (dimension, value) in &mut asked.filters {
                    *value = (Some(*dimension) == filtered).then_some("some");
                }
                let sql = sql(&asked);
                let read = ["usage_daily", "usage_totals"].map(|table| sql.contains(table));
                assert_eq!(read, [is_fine, !is_fine], "{sql}");
            }
        };
        use Dimension::{Customer, Endpoint, Key, Meter, Model, Month, Project, Tenant};
        check(&[Model, Month, Tenant, Meter, Endpoint], None, false);
        check(&[Model], Some(Tenant), false);
        for fine in [Customer, Project, Key] {
            check(&[Model, fine], None, true);
            check(&[Model], Some(fine), true);
        }
    }

    #[test]
    fn hours_are_read_at_the_ends_of_a_span_only() {
        let at = |text: &str| (!text.is_empty()).then(|| text.parse::<Timestamp>().unwrap());
        let check = |from, to, days: Option<[Option<i64>; 2]>, edges: usize| {
            let mut asked = question(&[Dimension::Model], None);
            asked.source = Source::Utc;
            (asked.from, asked.to) = (at(from), at(to));
            assert_eq!(whole_days(asked.from, asked.to), days, "{from} {to}");
            if days.is_some() {
                let sql = sql(&asked);
                assert_eq!(sql.matches("usage_hourly").count(), edges, "{sql}");
            }
        };
        let (first, second) = ("1970-01-02T00:00:00Z", "1970-01-03T00:00:00Z");
        let (early, late) = ("1970-01-01T23:00:00Z", "1970-01-03T01:00:00Z");
        check(first, second, Some([Some(1), Some(2)]), 0);
        check(early, second, Some([Some(1), Some(2)]), 1);
        check(early, late, Some([Some(1), Some(2)]), 2);
        check("", late, Some([None, Some(2)]), 1);
        check("", "", Some([None, None]), 0);
        check(early, "1970-01-02T23:00:00Z", None, 0);
        check(second, first, None, 0);
    }
}
