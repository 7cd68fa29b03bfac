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
use crate::ingest::months::DAY_MILLIS;

/// Where one event of so many is asked for, or more, all are read.
const COMMON_ONE_OF: i64 = 200;
/// Days looked at together, at first and at most.
const DAYS_FIRST: i64 = 2;
const DAYS_MAX: i64 = 128;
/// Last day that is looked at, counted from 1970: events are of years before 2100.
const DAY_MAX: i64 = 47_500;
/// What had not what was expected of it is followed by twice as much, so often at most.
const ROUNDS_MAX: u32 = 10;

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
fn is_indexed(column: FilterColumn, value: &str) -> bool {
    match column {
        FilterColumn::Session
        | FilterColumn::Run
        | FilterColumn::Call
        | FilterColumn::Response
        | FilterColumn::UpstreamRequest => true,
        FilterColumn::Ending => !matches!(value, "complete" | "continues"),
        FilterColumn::Status => value.parse().is_ok_and(|status: u16| status >= 400),
        FilterColumn::UsageSource => {
            matches!(value, "partial" | "estimated" | "pending" | "missing")
        }
        _ => false,
    }
}

/// Whether the sums lead to what is asked for.
pub(super) fn leads(filter: &Filter<'_>) -> bool {
    let asked = || {
        let equal = filter.equal.iter();
        equal.filter_map(|(column, value)| Some((*column, (*value)?)))
    };
    // Events without a price have an index too; of somebody's, there may be few where there are many.
    let is_listed = |column, value| {
        column == FilterColumn::Pricing && matches!(value, "unpriced" | "partial" | "unknown")
    };
    asked().any(|(column, value)| is_summed(column) && !is_listed(column, value))
        && !asked().any(|(column, value)| is_indexed(column, value))
}

/// A page of such events, the latest first.
pub(super) async fn page(
    client: &impl GenericClient,
    filter: &Filter<'_>,
) -> Result<Vec<UsageEvent>, Error> {
    let wanted = usize::try_from(filter.limit).unwrap_or_default() + 1;
    let asked = Asked::of(client, filter).await?;
    let mut events: Vec<UsageEvent> = Vec::new();
    let (first, mut end) = bounds(filter);
    let mut span = DAYS_FIRST;
    let mut later = Later::default();
    while events.len() < wanted {
        // Days without any event are passed over.
        let Some(last) = last_day(client, first, end).await? else {
            break;
        };
        let (begin, until) = (first.max(last + 1 - span), last + 1);
        match Found::of(client, &asked, begin, until).await? {
            Found::Nowhere => {}
            Found::On(days) => later.add(days, begin, until),
            Found::Everywhere => {
                let missing = wanted - events.len();
                events.extend(later.read(client, &asked, missing).await?);
                if events.len() < wanted {
                    let window = within(filter, begin, until, wanted - events.len());
                    events.extend(read_page(client, &window, None).await?);
                }
            }
        }
        // As many days together as should have what is wanted yet.
        if later.expected() >= wanted.saturating_sub(events.len()) {
            let missing = wanted.saturating_sub(events.len());
            events.extend(later.read(client, &asked, missing).await?);
        }
        (end, span) = (begin, DAYS_MAX.min(4 * span));
    }
    let missing = wanted.saturating_sub(events.len());
    events.extend(later.read(client, &asked, missing).await?);
    Ok(events)
}

/// What is asked of the sums.
struct Asked<'a> {
    filter: &'a Filter<'a>,
    /// What the customer that is asked for is kept as, of one tenant or of several.
    references: Vec<String>,
}

impl<'a> Asked<'a> {
    async fn of(client: &impl GenericClient, filter: &'a Filter<'a>) -> Result<Self, Error> {
        let mut references = Vec::new();
        if let Some(customer) = filter.value(FilterColumn::Customer) {
            let rows = client
                .query(
                    "select reference
                     from farebox_private.customers
                     where customer_id = $1 and ($2::text is null or tenant_id = $2)",
                    &[&customer, &filter.value(FilterColumn::Tenant)],
                )
                .await?;
            for row in rows {
                references.push(row.try_get(0)?);
            }
        }
        Ok(Self { filter, references })
    }

    /// Conditions on `usage_events`, rows of sums, that an index of sums answers without its table: no subquery.
    fn conditions(&'a self) -> Conditions<'a> {
        let mut all = Conditions::none();
        all.equal(self.filter, |column| {
            is_summed(column) && column != FilterColumn::Customer
        });
        if let Some(customer) = self.filter.value(FilterColumn::Customer) {
            let place = all.place(&self.references);
            let mut text = format!("usage_events.customer_id = any(${place})");
            // Nobody's customers are kept as they are.
            if !self.filter.is_by_time() {
                let place = all.place(customer);
                text = format!(
                    "({text} and usage_events.tenant_id is not null
                      or usage_events.customer_id = ${place} and usage_events.tenant_id is null)"
                );
            }
            all.texts.push(text);
        }
        all
    }
}

/// Days that have what is asked for and were not read yet.
#[derive(Default)]
struct Later {
    days: Vec<Day>,
    /// From the earliest to the end of the latest, counted from 1970.
    begin: i64,
    end: i64,
}

impl Later {
    /// Earlier days than those that are there.
    fn add(&mut self, days: Vec<Day>, begin: i64, end: i64) {
        if self.days.is_empty() {
            self.end = end;
        }
        self.begin = begin;
        self.days.extend(days);
    }

    fn expected(&self) -> usize {
        self.days.iter().map(Day::expected).sum()
    }

    /// The latest so many of their events; nothing is left to read.
    async fn read(
        &mut self,
        client: &impl GenericClient,
        asked: &Asked<'_>,
        wanted: usize,
    ) -> Result<Vec<UsageEvent>, Error> {
        let days = std::mem::take(&mut self.days);
        if days.is_empty() || wanted == 0 {
            return Ok(Vec::new());
        }
        let window = within(asked.filter, self.begin, self.end, wanted);
        let ids = ids(client, asked, &window, days).await?;
        match ids.is_empty() {
            true => Ok(Vec::new()),
            false => read_page(client, &window, Some(&ids)).await,
        }
    }
}

/// The filter held to some days, for so many events.
fn within<'a>(filter: &Filter<'a>, begin: i64, end: i64, wanted: usize) -> Filter<'a> {
    Filter {
        from: filter
            .from
            .max(Some(Timestamp::from_millis(begin * DAY_MILLIS))),
        to: earlier(filter.to, Timestamp::from_millis(end * DAY_MILLIS)),
        // A page asks for one more.
        limit: u32::try_from(wanted - 1).unwrap_or_default(),
        ..*filter
    }
}

fn earlier(one: Option<Timestamp>, other: Timestamp) -> Option<Timestamp> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// The first day that may be looked at and the one after the last, counted from 1970.
fn bounds(filter: &Filter<'_>) -> (i64, i64) {
    let day = |at: Timestamp| at.as_millis().div_euclid(DAY_MILLIS).clamp(0, DAY_MAX);
    let ends = [filter.to, filter.after.map(started_at)];
    let end = ends.into_iter().flatten().map(day).fold(DAY_MAX, i64::min);
    (filter.from.map_or(0, day), end + 1)
}

/// The last day before `end` of which there are sums.
async fn last_day(client: &impl GenericClient, first: i64, end: i64) -> Result<Option<i64>, Error> {
    let row = client
        .query_one(
            "select (greatest(
                 (select max(utc_day) from farebox_private.total_sums
                  where utc_day >= date 'epoch' + $1::bigint::integer
                      and utc_day < date 'epoch' + $2::bigint::integer),
                 (select max(hour at time zone 'UTC')::date from farebox_private.new_sums
                  where (hour at time zone 'UTC')::date >= date 'epoch' + $1::bigint::integer
                      and (hour at time zone 'UTC')::date < date 'epoch' + $2::bigint::integer)
             ) - date 'epoch')::bigint",
            &[&first, &end],
        )
        .await?;
    row.try_get(0)
}

/// Where the sums have what is asked for.
enum Found {
    Nowhere,
    /// So often that it is met soon.
    Everywhere,
    /// On these tenants' days.
    On(Vec<Day>),
}

/// A day of UTC on which a tenant, or nobody, has what is asked for.
struct Day {
    tenant_id: Option<String>,
    /// Counted from 1970.
    day: i64,
    events: i64,
}

impl Day {
    fn expected(&self) -> usize {
        usize::try_from(self.events.max(1)).unwrap_or_default()
    }
}

impl Found {
    async fn of(
        client: &impl GenericClient,
        asked: &Asked<'_>,
        begin: i64,
        end: i64,
    ) -> Result<Self, Error> {
        let filter = asked.filter;
        let fine = filter
            .equal
            .iter()
            .any(|(column, value)| value.is_some() && is_fine(*column));
        let table = match fine {
            true => "usage_daily",
            false => "usage_totals",
        };
        let mut asked = asked.conditions();
        let matched = asked.text();
        asked.texts.clear();
        let [from, to] = [begin, end].map(|day| asked.place(day));
        // Each day by itself, so that an index by tenant, day and meter passes over the other meters.
        asked.texts.push(format!(
            "usage_events.meter = 'calls'
             and usage_events.utc_day >= date 'epoch' + ${from}::bigint::integer
             and usage_events.utc_day < date 'epoch' + ${to}::bigint::integer
             and usage_events.day = any(array(
                 select date 'epoch' + day
                 from generate_series(${from}::bigint::integer - 1, ${to}::bigint::integer) as day))"
        ));
        asked.equal(filter, |column| column == FilterColumn::Tenant);
        let within = asked.text();
        let sql = format!(
            "select
                usage_events.tenant_id,
                (usage_events.utc_day - date 'epoch')::bigint,
                sum(usage_events.events)::bigint,
                (select sum(usage_events.events)::bigint
                 from farebox_private.usage_totals as usage_events
                 where {within})
             from farebox_private.{table} as usage_events
             where {within} and {matched}
             group by 1, 2"
        );
        let (mut found, mut all) = (0_i64, 0);
        let mut days = Vec::new();
        for row in asked.ask(client, &sql).await? {
            let events: i64 = row.try_get(2)?;
            found = found.saturating_add(events.max(0));
            all = row.try_get::<_, Option<i64>>(3)?.unwrap_or(0);
            days.push(Day {
                tenant_id: row.try_get(0)?,
                day: row.try_get(1)?,
                events,
            });
        }
        Ok(match days.is_empty() {
            true => Self::Nowhere,
            false if found.saturating_mul(COMMON_ONE_OF) >= all => Self::Everywhere,
            false => Self::On(days),
        })
    }
}

/// The latest events of a filter on these days, one more than a page at most.
async fn ids(
    client: &impl GenericClient,
    asked: &Asked<'_>,
    window: &Filter<'_>,
    mut days: Vec<Day>,
) -> Result<Vec<Uuid>, Error> {
    let wanted = usize::try_from(window.limit).unwrap_or_default() + 1;
    let mut found: Vec<Uuid> = Vec::new();
    // Those of nobody are few, and have an index of their own.
    if days.iter().any(|day| day.tenant_id.is_none()) {
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
             order by usage_events.event_id desc
             limit ${limit}",
            asked.text()
        );
        for row in asked.ask(client, &sql).await? {
            found.push(row.try_get(0)?);
        }
    }
    days.retain(|day| day.tenant_id.is_some());
    days.sort_unstable_by_key(|day| std::cmp::Reverse(day.day));
    let (mut attributed, mut round) = (0, 0);
    let mut rest = &days[..];
    while attributed < wanted && !rest.is_empty() {
        let mut take = enough(rest, (wanted - attributed) << round, Day::expected);
        // Whole days, of all tenants: what is left is earlier.
        while take < rest.len() && rest[take].day == rest[take - 1].day {
            take += 1;
        }
        let (now, earlier) = rest.split_at(take);
        (rest, round) = (earlier, ROUNDS_MAX.min(round + 1));
        let more = in_hours(client, asked, window, now, wanted - attributed).await?;
        attributed += more.len();
        found.extend(more);
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    found.truncate(wanted);
    Ok(found)
}

/// How many of these should have what is needed; all, where all have not.
fn enough<T>(rest: &[T], needed: usize, expected: impl Fn(&T) -> usize) -> usize {
    let mut sum = 0_usize;
    let last = rest.iter().position(|one| {
        sum = sum.saturating_add(expected(one));
        sum >= needed
    });
    last.map_or(rest.len(), |last| last + 1)
}

/// The latest events of a filter in the hours of these days that have some.
async fn in_hours(
    client: &impl GenericClient,
    asked: &Asked<'_>,
    window: &Filter<'_>,
    days: &[Day],
    wanted: usize,
) -> Result<Vec<Uuid>, Error> {
    let hours = hours(client, asked, days).await?;
    let mut found = Vec::new();
    let mut round = 0;
    let mut rest = &hours[..];
    while found.len() < wanted && !rest.is_empty() {
        let mut take = enough(rest, (wanted - found.len()) << round, |hour| {
            usize::try_from(hour.events.max(1)).unwrap_or_default()
        });
        // Whole hours, of all tenants: what is left is earlier.
        while take < rest.len() && rest[take].begin == rest[take - 1].begin {
            take += 1;
        }
        let (now, earlier) = rest.split_at(take);
        (rest, round) = (earlier, ROUNDS_MAX.min(round + 1));
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
        }
    }
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
    asked: &Asked<'_>,
    days: &[Day],
) -> Result<Vec<Hour>, Error> {
    let mut asked = asked.conditions();
    let attributed = days
        .iter()
        .filter_map(|day| Some((day.tenant_id.as_deref()?, day.day)));
    let (tenants, begins): (Vec<&str>, Vec<i64>) = attributed.unzip();
    let [tenants, begins] = [asked.place(tenants), asked.place(begins)];
    // Hour by hour through the index of a tenant's hours, so that it passes over the other meters.
    let sql = format!(
        "select days.tenant_id, extract(epoch from found.hour)::bigint, found.events
         from unnest(${tenants}::text[], ${begins}::bigint[]) as days (tenant_id, begin)
         cross join lateral (
             select usage_events.hour, sum(usage_events.events)::bigint as events
             from farebox_private.usage_hourly as usage_events
             where usage_events.tenant_id = days.tenant_id
                 and usage_events.hour = any(array(
                     select to_timestamp(days.begin * 86400 + hour * 3600)
                     from generate_series(0, 23) as hour))
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
