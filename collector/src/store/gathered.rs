//! Events under an id that callers give: sessions and runs. A list of them goes through the events from the
//! latest on and takes each that is the first of its id, so that a page costs what its rows cost, however many
//! events there are.
//!
//! What a retag moved is where it is booked now: adjustments name the session and the run of their event.
//! Ids of events begin with the millisecond in which they started, so that their order is that of time.

use deadpool_postgres::GenericClient;
use farebox_pricing::time::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

/// What events are gathered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Session,
    Run,
}

impl By {
    fn column(self) -> &'static str {
        match self {
            Self::Session => "session_id",
            Self::Run => "run_id",
        }
    }
}

/// Which of them; `None` filters nothing.
pub(crate) struct Filter<'a> {
    pub(crate) is_tenant: bool,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) session: Option<&'a str>,
    pub(crate) run: Option<&'a str>,
    /// Begun in this span.
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    /// The first event of the last row of the page before.
    pub(crate) after: Option<Uuid>,
    pub(crate) limit: u32,
}

/// Conditions on events that may be the first of theirs, and their values.
struct Conditions<'a> {
    /// On events; on adjustments; on all that counts into a sum.
    events: String,
    adjustments: String,
    counted: String,
    values: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
}

impl<'a> Conditions<'a> {
    fn of(filter: &Filter<'a>) -> Self {
        let mut all = Self {
            events: String::new(),
            adjustments: String::new(),
            counted: String::new(),
            values: vec![Box::new(filter.is_tenant)],
        };
        for (column, value) in [("session_id", filter.session), ("run_id", filter.run)] {
            if let Some(value) = value {
                let place = all.place(value);
                all.everywhere(&format!(" and {{}}.{column} = ${place}"));
            }
        }
        if let Some(tenant) = filter.tenant {
            let place = all.place(tenant);
            all.listed(&format!(" and {{}}.tenant_id = ${place}"));
        }
        for (bound, comparison) in [(filter.from, ">="), (filter.to, "<")] {
            if let Some(at) = bound {
                let place = all.place(at.to_string());
                let time = format!("${place}::text::timestamptz");
                // Ids choose the months; what they said beyond would only make the planner expect less of a
                // tenant's index, which is by time.
                let month = format!("date_trunc('month', {time}, 'UTC')");
                let id = match (filter.tenant.is_some(), comparison) {
                    (false, _) => time.clone(),
                    (true, ">=") => month,
                    (true, _) => format!("({month} + interval '32 days')"),
                };
                all.listed(&format!(
                    " and {{}}.event_id {comparison} farebox_private.first_event_id({id})
                      and {{}}.started_at {comparison} {time}"
                ));
            }
        }
        if let Some(after) = filter.after {
            let place = all.place(after);
            let at = all.place(super::events::started_at(after).to_string());
            all.listed(&format!(
                " and {{}}.event_id < ${place} and {{}}.started_at <= ${at}::text::timestamptz"
            ));
        }
        all
    }

    fn place(&mut self, value: impl ToSql + Sync + Send + 'a) -> usize {
        self.values.push(Box::new(value));
        self.values.len()
    }

    fn listed(&mut self, condition: &str) {
        self.events.push_str(&condition.replace("{}", "events"));
        self.adjustments
            .push_str(&condition.replace("{}", "adjustments"));
    }

    fn everywhere(&mut self, condition: &str) {
        self.listed(condition);
        self.counted.push_str(&condition.replace("{}", "counted"));
    }
}

/// A page, the latest begun first: `columns` over `counted`, behind the first event's id. One row more than
/// asked for says that there is a next page.
pub(crate) async fn list(
    client: &impl GenericClient,
    by: By,
    columns: &str,
    filter: &Filter<'_>,
) -> Result<Vec<Row>, Error> {
    let mut conditions = Conditions::of(filter);
    let limit = conditions.place(i64::from(filter.limit) + 1);
    let sql = sql(by, columns, filter, &conditions, limit);
    let values: Vec<&(dyn ToSql + Sync)> = (conditions.values.iter())
        .map(|value| &**value as &(dyn ToSql + Sync))
        .collect();
    client.query(&sql, &values).await
}

fn sql(
    by: By,
    columns: &str,
    filter: &Filter<'_>,
    conditions: &Conditions<'_>,
    limit: usize,
) -> String {
    let id = by.column();
    let counted = &conditions.counted;
    // A tenant's index is by time, which its ids begin with: the same order.
    let time = if filter.tenant.is_some() {
        "events.started_at desc, "
    } else {
        ""
    };
    // Each arm can go through an index, `is not distinct from` cannot. With `offset 0` each is looked up where
    // it is asked for, and never all of them for a page.
    let same = |one: &str, other: &str| {
        format!(
            "{one}.{id} = {other}.{id}
                and ({one}.tenant_id = {other}.tenant_id
                    or ({one}.tenant_id is null and {other}.tenant_id is null))"
        )
    };
    let is_first = |of: &str, comparison: &str| {
        format!(
            "not exists (
                select from farebox_private.usage_events as counted
                where {} and counted.event_id {comparison} {of}.event_id {counted}
                offset 0
            )
            and not exists (
                select from farebox_private.adjustments as counted
                where {} and counted.event_id < {of}.event_id and counted.events > 0 {counted}
                offset 0
            )",
            same("counted", of),
            same("counted", of),
        )
    };
    // What was moved away as a whole is not here any more.
    let is_here = |of: &str| {
        format!(
            "case
                when not exists (
                    select from farebox_private.adjustments as counted
                    where {same} and counted.events < 0 {counted}
                    offset 0
                )
                then true
                else 0 < (
                    select count(*) from farebox_private.usage_events as counted where {same} {counted}
                ) + (
                    select coalesce(sum(counted.events), 0)
                    from farebox_private.adjustments as counted
                    where {same} {counted}
                )
            end",
            same = same("counted", of),
        )
    };
    format!(
        "with found as (
            (
                select events.event_id, events.tenant_id, events.{id}
                from farebox_private.usage_events as events
                where events.{id} is not null {on_events}
                    and {first_event}
                    and {event_is_here}
                order by {time}events.event_id desc
                limit ${limit}
            )
            union all
            (
                select adjustments.event_id, adjustments.tenant_id, adjustments.{id}
                from farebox_private.adjustments
                where adjustments.{id} is not null and adjustments.events > 0 {on_adjustments}
                    and {first_adjustment}
                    and {adjustment_is_here}
                group by adjustments.event_id, adjustments.tenant_id, adjustments.{id}
                order by adjustments.event_id desc
                limit ${limit}
            )
        ), page as (
            select * from found order by event_id desc limit ${limit}
        )
        select page.event_id, page.tenant_id, page.{id}, sums.*
        from page
        cross join lateral (
            select {columns}
            from (
                select
                    counted.tenant_id, counted.session_id, counted.customer_id, counted.agent, counted.endpoint,
                    coalesce(counted.span_id, counted.parent_span_id) as span_id,
                    counted.started_at,
                    coalesce(counted.ended_at, counted.started_at) as ended_at,
                    (counted.attempt = 1 and counted.part = 1)::integer as requests,
                    1 as events,
                    (counted.ending not in ('complete', 'continues'))::integer as errors,
                    case when not $1::boolean or counted.paid_by <> 'operator' then counted.cost_usd end as cost_usd,
                    counted.billed_usd
                from farebox_private.usage_events as counted
                where {of_page} {counted}
                union all
                select
                    counted.tenant_id, counted.session_id, counted.customer_id, moved.agent, counted.endpoint,
                    coalesce(moved.span_id, moved.parent_span_id),
                    counted.started_at,
                    coalesce(moved.ended_at, counted.started_at),
                    case when counted.meter = 'calls' then counted.quantity::integer else 0 end,
                    counted.events,
                    case when moved.ending not in ('complete', 'continues') then counted.events else 0 end,
                    case when not $1::boolean or counted.paid_by <> 'operator' then counted.cost_usd end,
                    counted.billed_usd
                from farebox_private.adjustments as counted
                left join farebox_private.usage_events as moved
                    on moved.event_id = counted.event_id and counted.events <> 0
                where {of_page} {counted}
            ) as counted
            left join farebox_private.customers
                on customers.tenant_id = counted.tenant_id and customers.reference = counted.customer_id
        ) as sums
        order by page.event_id desc",
        on_events = conditions.events,
        on_adjustments = conditions.adjustments,
        first_event = is_first("events", "<"),
        event_is_here = is_here("events"),
        first_adjustment = is_first("adjustments", "<="),
        adjustment_is_here = is_here("adjustments"),
        of_page = same("counted", "page"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_caller_says_is_in_the_statement() {
        let hostile = "'; drop table x; --";
        let filter = |text| Filter {
            is_tenant: true,
            tenant: text,
            session: text,
            run: text,
            from: None,
            to: None,
            after: None,
            limit: 1,
        };
        let said = filter(Some(hostile));
        let conditions = Conditions::of(&said);
        let text = sql(By::Run, "true", &said, &conditions, 5);
        assert!(!text.contains("drop"), "{text}");
        assert!(text.contains("counted.session_id = $2"), "{text}");
        assert!(text.contains("events.tenant_id = $4"), "{text}");
        assert!(!text.contains("{}"), "{text}");
    }
}
