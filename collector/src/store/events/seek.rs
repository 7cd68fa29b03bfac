//! Pages of events by what the sums part as well: customer, project, key, model and the like. The sums say on
//! which days, and in which tenants' hours, there are such events, so that what few events have is found without
//! reading the many that do not have it. What many have is met soon by reading all of them.
//!
//! A row of the sums stands for every event that was first booked in it, whatever was corrected since: what has no
//! row was never booked.

use deadpool_postgres::GenericClient;
use farebox_pricing::time::Timestamp;
use tokio_postgres::Error;
use uuid::Uuid;

use super::{Conditions, Filter, FilterColumn, UsageEvent, page as read_page, started_at};

/// Where one event of so many is asked for, or more, all are read.
const COMMON_ONE_OF: i64 = 200;
/// Days looked at together, at first and at most.
const DAYS_FIRST: i64 = 2;
const DAYS_MAX: i64 = 128;
/// Hours looked into together at least.
const HOURS_MIN: usize = 32;
const DAY_MS: i64 = 24 * 3_600_000;

/// What the sums part and no index of events leads to.
fn is_summed(column: FilterColumn) -> bool {
    is_fine(column)
        || matches!(
            column,
            FilterColumn::Provider
                | FilterColumn::Model
                | FilterColumn::Endpoint
                | FilterColumn::Environment
                | FilterColumn::Pricing
        )
}

/// What only the finer ones part.
fn is_fine(column: FilterColumn) -> bool {
    matches!(
        column,
        FilterColumn::Customer | FilterColumn::Project | FilterColumn::Key
    )
}

/// What an index leads to by itself.
fn is_indexed(column: FilterColumn) -> bool {
    matches!(
        column,
        FilterColumn::Session
            | FilterColumn::Run
            | FilterColumn::Response
            | FilterColumn::UpstreamRequest
    )
}

/// Whether the sums lead to what is asked for.
pub(super) fn leads(filter: &Filter<'_>) -> bool {
    let asked = |of: fn(FilterColumn) -> bool| {
        let mut equal = filter.equal.iter();
        equal.any(|(column, value)| value.is_some() && of(*column))
    };
    asked(is_summed) && !asked(is_indexed)
}

/// A page of such events, the latest first.
pub(super) async fn page(
    client: &impl GenericClient,
    filter: &Filter<'_>,
) -> Result<Vec<UsageEvent>, Error> {
    let wanted = usize::try_from(filter.limit).unwrap_or_default() + 1;
    let mut events: Vec<UsageEvent> = Vec::new();
    let Some((first, mut end)) = days(client, filter).await? else {
        return Ok(events);
    };
    let mut span = DAYS_FIRST;
    // Days that have such events and were not read yet, to the end of the latest.
    let (mut days, mut expected, mut days_end) = (Vec::new(), 0, end);
    while end > first && events.len() < wanted {
        let begin = first.max(end - span);
        let found = Found::of(client, filter, begin, end).await?;
        let is_everywhere = matches!(found, Found::Everywhere);
        if let Found::On(more, count) = found {
            days.extend(more);
            expected += count;
        }
        // As many days together as should have what is wanted yet.
        let is_last = begin == first;
        if !days.is_empty() && (is_everywhere || is_last || expected >= wanted - events.len()) {
            let days_begin = if is_everywhere { end } else { begin };
            let window = within(filter, days_begin, days_end, wanted - events.len());
            let ids = ids(client, &window, &days).await?;
            if !ids.is_empty() {
                events.extend(read_page(client, &window, Some(&ids)).await?);
            }
            (days, expected, days_end) = (Vec::new(), 0, begin);
        }
        if is_everywhere && events.len() < wanted {
            let window = within(filter, begin, end, wanted - events.len());
            events.extend(read_page(client, &window, None).await?);
            days_end = begin;
        }
        (end, span) = (begin, DAYS_MAX.min(4 * span));
    }
    Ok(events)
}

/// The filter held to some days, for so many events.
fn within<'a>(filter: &Filter<'a>, begin: i64, end: i64, wanted: usize) -> Filter<'a> {
    Filter {
        from: filter
            .from
            .max(Some(Timestamp::from_millis(begin * DAY_MS))),
        to: earlier(filter.to, Timestamp::from_millis(end * DAY_MS)),
        // A page asks for one more.
        limit: u32::try_from(wanted - 1).unwrap_or_default(),
        ..*filter
    }
}

fn earlier(one: Option<Timestamp>, other: Timestamp) -> Option<Timestamp> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// The first day to look at and the one after the last, counted from 1970.
async fn days(
    client: &impl GenericClient,
    filter: &Filter<'_>,
) -> Result<Option<(i64, i64)>, Error> {
    let row = client
        .query_one(
            "select
                (least(
                    (select min(utc_day) from farebox_private.total_sums),
                    (select min(hour at time zone 'UTC')::date from farebox_private.new_sums)
                ) - date 'epoch')::bigint,
                (greatest(
                    (select max(utc_day) from farebox_private.total_sums),
                    (select max(hour at time zone 'UTC')::date from farebox_private.new_sums)
                ) - date 'epoch')::bigint",
            &[],
        )
        .await?;
    let (first, last): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    let day = |at: Timestamp| at.as_millis().div_euclid(DAY_MS);
    Ok(first.zip(last).map(|(first, last)| {
        let bounds = [filter.to, filter.after.map(started_at)];
        let end = bounds.into_iter().flatten().map(day).fold(last, i64::min) + 1;
        (filter.from.map_or(first, day).max(first), end)
    }))
}

/// Where the sums have what is asked for.
enum Found {
    Nowhere,
    /// So often that it is met soon.
    Everywhere,
    /// These tenants' days, and how many there should be.
    On(Vec<(Option<String>, i64)>, usize),
}

impl Found {
    async fn of(
        client: &impl GenericClient,
        filter: &Filter<'_>,
        begin: i64,
        end: i64,
    ) -> Result<Self, Error> {
        let mut asked = Conditions::none();
        asked.equal(filter, is_summed);
        let matched = asked.text();
        asked.texts.truncate(1);
        asked.equal(filter, |column| column == FilterColumn::Tenant);
        let fine = filter
            .equal
            .iter()
            .any(|(column, value)| value.is_some() && is_fine(*column));
        let table = match fine {
            true => "usage_daily",
            false => "usage_totals",
        };
        let [from, to] = [begin, end].map(|day| asked.place(day));
        let sql = format!(
            "select
                usage_events.tenant_id,
                (usage_events.utc_day - date 'epoch')::bigint,
                count(*) filter (where {matched}),
                coalesce(sum(usage_events.events) filter (where {matched}), 0)::bigint,
                sum(usage_events.events)::bigint
             from farebox_private.{table} as usage_events
             where usage_events.meter = 'calls'
                and usage_events.utc_day >= date 'epoch' + ${from}::bigint::integer
                and usage_events.utc_day < date 'epoch' + ${to}::bigint::integer
                and usage_events.day >= date 'epoch' + ${from}::bigint::integer - 1
                and usage_events.day <= date 'epoch' + ${to}::bigint::integer
                and {}
             group by 1, 2",
            asked.text()
        );
        let (mut found, mut all) = (0, 0);
        let mut days = Vec::new();
        for row in asked.ask(client, &sql).await? {
            let (rows, events): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
            all += row.try_get::<_, i64>(4)?;
            found += events.max(0);
            if rows > 0 {
                days.push((row.try_get(0)?, row.try_get(1)?));
            }
        }
        Ok(match days.is_empty() {
            true => Self::Nowhere,
            false if found.saturating_mul(COMMON_ONE_OF) >= all => Self::Everywhere,
            false => Self::On(days, usize::try_from(found).unwrap_or_default()),
        })
    }
}

/// The latest events of a filter on these days, one more than a page at most.
async fn ids(
    client: &impl GenericClient,
    window: &Filter<'_>,
    days: &[(Option<String>, i64)],
) -> Result<Vec<Uuid>, Error> {
    let wanted = usize::try_from(window.limit).unwrap_or_default() + 1;
    let mut found: Vec<Uuid> = Vec::new();
    // Those of nobody are few, and have an index of their own.
    if days.iter().any(|(tenant, _)| tenant.is_none()) {
        let nobodys = Filter {
            unattributed: true,
            ..*window
        };
        let mut asked = Conditions::of(&nobodys);
        let limit = asked.place(i64::from(window.limit) + 1);
        let sql = format!(
            "select usage_events.event_id
             from farebox_private.usage_events
             where $1::boolean is not null and {}
             order by usage_events.started_at desc, usage_events.event_id desc
             limit ${limit}",
            asked.text()
        );
        for row in asked.ask(client, &sql).await? {
            found.push(row.try_get(0)?);
        }
    }
    let hours = hours(client, window, days).await?;
    let mut attributed = 0;
    let mut rest = &hours[..];
    while attributed < wanted && !rest.is_empty() {
        // As many hours as should have what is wanted yet.
        let mut expected = 0;
        let enough = rest.iter().position(|hour| {
            expected += hour.events.max(1);
            expected >= i64::try_from(wanted - attributed).unwrap_or(i64::MAX)
        });
        let take = enough.map_or(rest.len(), |last| last + 1).max(HOURS_MIN);
        let (now, later) = rest.split_at(take.min(rest.len()));
        rest = later;
        let mut asked = Conditions::of(window);
        let tenants: Vec<&str> = now.iter().map(|hour| &*hour.tenant_id).collect();
        let begins: Vec<i64> = now.iter().map(|hour| hour.begin).collect();
        let [tenants, begins] = [asked.place(tenants), asked.place(begins)];
        let limit = asked.place(i64::from(window.limit) + 1);
        let sql = format!(
            "select event_id
             from unnest(${tenants}::text[], ${begins}::bigint[]) as slots (tenant_id, begin)
             cross join lateral (
                 select usage_events.event_id
                 from farebox_private.usage_events
                 where $1::boolean is not null
                     and usage_events.tenant_id = slots.tenant_id
                     and usage_events.started_at >= to_timestamp(slots.begin)
                     and usage_events.started_at < to_timestamp(slots.begin + 3600)
                     and {}
                 order by usage_events.started_at desc, usage_events.event_id desc
                 limit ${limit}
             ) as found
             order by event_id desc
             limit ${limit}",
            asked.text()
        );
        for row in asked.ask(client, &sql).await? {
            found.push(row.try_get(0)?);
            attributed += 1;
        }
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    found.truncate(wanted);
    Ok(found)
}

/// An hour in which a tenant has what is asked for.
struct Hour {
    tenant_id: String,
    /// In seconds since the Unix epoch.
    begin: i64,
    events: i64,
}

/// Such hours of these days, the latest first.
async fn hours(
    client: &impl GenericClient,
    window: &Filter<'_>,
    days: &[(Option<String>, i64)],
) -> Result<Vec<Hour>, Error> {
    let mut asked = Conditions::none();
    asked.equal(window, is_summed);
    let attributed = days
        .iter()
        .filter_map(|(tenant, day)| Some((tenant.as_deref()?, *day)));
    let (tenants, begins): (Vec<&str>, Vec<i64>) = attributed.unzip();
    let [tenants, begins] = [asked.place(tenants), asked.place(begins)];
    // Day by day through the index of a tenant's hours, which the planner would not take by itself.
    let sql = format!(
        "select days.tenant_id, extract(epoch from found.hour)::bigint, found.events
         from unnest(${tenants}::text[], ${begins}::bigint[]) as days (tenant_id, begin)
         cross join lateral (
             select usage_events.hour, sum(usage_events.events)::bigint as events
             from farebox_private.usage_hourly as usage_events
             where usage_events.tenant_id = days.tenant_id
                 and usage_events.hour >= to_timestamp(days.begin * 86400)
                 and usage_events.hour < to_timestamp(days.begin * 86400 + 86400)
                 and usage_events.meter = 'calls'
                 and {}
             group by 1
         ) as found
         order by 2 desc",
        asked.text()
    );
    let rows = asked.ask(client, &sql).await?;
    rows.iter()
        .map(|row| {
            Ok(Hour {
                tenant_id: row.try_get(0)?,
                begin: row.try_get(1)?,
                events: row.try_get(2)?,
            })
        })
        .collect()
}
