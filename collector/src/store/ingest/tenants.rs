//! Tenants, customers and months that a batch names: made at their first event, and the months held.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use deadpool_postgres::Transaction;
use sha2::{Digest, Sha256};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{BatchError, tenant_of};
use crate::ingest::months::{Calendar, Month};
use crate::ingest::{BatchContext, Priced};
use crate::store::StoreError;

/// Closed months in a row that are looked past for an open one.
const CLOSED_MONTHS_MAX: usize = 240;

/// The calendars of the batch's tenants. A tenant that nobody made yet is made here.
pub(super) async fn calendars<'a>(
    transaction: &Transaction<'_>,
    part: &[&'a Priced],
) -> Result<HashMap<&'a str, Calendar>, BatchError> {
    // One by one: few are different, and collecting would sort them all.
    let mut named: BTreeSet<&str> = BTreeSet::new();
    for tenant in part.iter().copied().filter_map(tenant_of) {
        named.insert(tenant);
    }
    let named: Vec<&str> = named.into_iter().collect();
    if named.is_empty() {
        return Ok(HashMap::new());
    }
    let statement = transaction
        .prepare_cached(
            "select tenant_id, time_zone, time_zone_before, time_zone_from - date '2000-01-01'
             from farebox_private.tenants
             where tenant_id = any($1)",
        )
        .await?;
    let rows = transaction.query(&statement, &[&named]).await?;
    let known: HashMap<&str, &Row> = rows.iter().map(|row| (row.get(0), row)).collect();
    let new: Vec<&str> = named
        .iter()
        .copied()
        .filter(|tenant| !known.contains_key(tenant))
        .collect();
    if !new.is_empty() {
        let statement = transaction
            .prepare_cached(
                "insert into farebox_private.tenants (tenant_id, created_by)
                 select tenant_id, 'ingest' from unnest($1::text[]) as tenant_id
                 on conflict do nothing",
            )
            .await?;
        transaction.execute(&statement, &[&new]).await?;
    }
    Ok(named
        .into_iter()
        .map(|tenant| {
            (
                tenant,
                known
                    .get(tenant)
                    .map_or_else(Calendar::utc, |row| calendar(row)),
            )
        })
        .collect())
}

/// Of a row whose second to fourth columns are the zone, the one before, and the first day that is not its.
pub(crate) fn calendar(row: &Row) -> Calendar {
    let before: Option<&str> = row.get(2);
    let from: Option<i32> = row.get(3);
    Calendar::new(row.get(1), before.zip(from.map(Month)))
}

/// What stands for end customers in what is kept, by tenant and id.
#[derive(Debug, Default)]
pub(crate) struct References(HashMap<String, HashMap<String, String>>);

impl References {
    /// A customer as it is kept; nobody's customers have no row, and are kept as they are.
    pub(crate) fn of<'a>(
        &'a self,
        tenant: Option<&str>,
        customer: Option<&'a str>,
    ) -> Option<&'a str> {
        let customer = customer?;
        let known = tenant.and_then(|tenant| self.0.get(tenant)?.get(customer));
        Some(known.map_or(customer, String::as_str))
    }
}

/// The batch's customers; those that nobody made yet are made here.
pub(super) async fn customers(
    transaction: &Transaction<'_>,
    part: &[&Priced],
) -> Result<References, BatchError> {
    let mut pairs: BTreeSet<(&str, &str)> = BTreeSet::new();
    for ready in part {
        let customer = ready.record.event.customer_id.as_deref();
        if let Some(pair) = tenant_of(ready).zip(customer) {
            pairs.insert(pair);
        }
    }
    references(transaction, pairs).await
}

/// What stands for these customers; those that nobody made yet are made here, in their order.
pub(crate) async fn references(
    transaction: &Transaction<'_>,
    pairs: BTreeSet<(&str, &str)>,
) -> Result<References, BatchError> {
    let wanted = pairs.len();
    let (tenants, customers): (Vec<&str>, Vec<&str>) = pairs.into_iter().unzip();
    let mut known = known_references(transaction, &tenants, &customers).await?;
    if known.len() < wanted {
        let statement = transaction
            .prepare_cached(
                "insert into farebox_private.customers (tenant_id, customer_id)
                 select * from unnest($1::text[], $2::text[])
                 on conflict do nothing",
            )
            .await?;
        transaction
            .execute(&statement, &[&tenants, &customers])
            .await?;
        known = known_references(transaction, &tenants, &customers).await?;
    }
    let mut references = References::default();
    for row in known {
        let of_tenant = references.0.entry(row.get(0)).or_default();
        of_tenant.insert(row.get(1), row.get(2));
    }
    Ok(references)
}

async fn known_references(
    transaction: &Transaction<'_>,
    tenants: &[&str],
    customers: &[&str],
) -> Result<Vec<Row>, BatchError> {
    if tenants.is_empty() {
        return Ok(Vec::new());
    }
    let statement = transaction
        .prepare_cached(
            "select customers.tenant_id, customers.customer_id, customers.reference
             from unnest($1::text[], $2::text[]) as wanted (tenant_id, customer_id)
             join farebox_private.customers
                 on customers.tenant_id = wanted.tenant_id
                 and customers.customer_id = wanted.customer_id",
        )
        .await?;
    Ok(transaction
        .query(&statement, &[&tenants, &customers])
        .await?)
}

/// Holds the batch's months for share, in order, and says in which one each is booked: itself, or
/// the first open one after it.
pub(crate) async fn hold_open_months<'a>(
    transaction: &Transaction<'_>,
    months: BTreeSet<(Option<&'a str>, Month)>,
) -> Result<HashMap<(Option<&'a str>, Month), Month>, BatchError> {
    // Wanted month → the month looked at now.
    let mut looking: BTreeMap<(Option<&str>, Month), Month> = months
        .into_iter()
        .map(|(tenant, month)| ((tenant, month), month))
        .collect();
    let mut open = HashMap::with_capacity(looking.len());
    for _ in 0..CLOSED_MONTHS_MAX {
        if looking.is_empty() {
            break;
        }
        let wanted: BTreeSet<(Option<&str>, Month)> = looking
            .iter()
            .map(|((tenant, _), month)| (*tenant, *month))
            .collect();
        let closed = hold(transaction, &wanted).await?;
        let (still, found): (BTreeMap<_, _>, BTreeMap<_, _>) =
            looking.into_iter().partition(|((tenant, _), month)| {
                closed.contains(&(tenant.map(str::to_owned), *month))
            });
        open.extend(found);
        looking = still
            .into_iter()
            .map(|(wanted, month)| (wanted, month.next()))
            .collect();
    }
    Ok(open)
}

/// Holds rows of `periods`, making those that are missing; gives the closed ones.
async fn hold(
    transaction: &Transaction<'_>,
    wanted: &BTreeSet<(Option<&str>, Month)>,
) -> Result<BTreeSet<(Option<String>, Month)>, BatchError> {
    let mut held = select_for_share(transaction, wanted).await?;
    if held.len() < wanted.len() {
        let tenants: Vec<Option<&str>> = wanted.iter().map(|(tenant, _)| *tenant).collect();
        let months: Vec<i32> = wanted.iter().map(|(_, month)| month.0).collect();
        let statement = transaction
            .prepare_cached(
                "insert into farebox_private.periods (tenant_id, period)
                 select tenant_id, date '2000-01-01' + month
                 from unnest($1::text[], $2::integer[]) as wanted (tenant_id, month)
                 on conflict do nothing",
            )
            .await?;
        transaction
            .execute(&statement, &[&tenants, &months])
            .await?;
        held = select_for_share(transaction, wanted).await?;
    }
    Ok(held
        .into_iter()
        .filter_map(|(key, is_closed)| is_closed.then_some(key))
        .collect())
}

/// Attributed months first, then the unattributed ones: `=` finds no null, and `is not distinct
/// from` uses no index.
async fn select_for_share(
    transaction: &Transaction<'_>,
    wanted: &BTreeSet<(Option<&str>, Month)>,
) -> Result<Vec<((Option<String>, Month), bool)>, StoreError> {
    let mut rows = Vec::new();
    let attributed: (Vec<&str>, Vec<i32>) = wanted
        .iter()
        .filter_map(|(tenant, month)| Some(((*tenant)?, month.0)))
        .unzip();
    if !attributed.0.is_empty() {
        let statement = transaction
            .prepare_cached(
                "select periods.tenant_id, periods.period - date '2000-01-01', periods.state = 'closed'
                 from unnest($1::text[], $2::integer[]) as wanted (tenant_id, month)
                 join farebox_private.periods
                     on periods.tenant_id = wanted.tenant_id
                     and periods.period = date '2000-01-01' + wanted.month
                 order by periods.tenant_id collate \"C\", periods.period
                 for share of periods",
            )
            .await?;
        rows.extend(
            transaction
                .query(&statement, &[&attributed.0, &attributed.1])
                .await?,
        );
    }
    let unattributed: Vec<i32> = wanted
        .iter()
        .filter(|(tenant, _)| tenant.is_none())
        .map(|(_, month)| month.0)
        .collect();
    if !unattributed.is_empty() {
        let statement = transaction
            .prepare_cached(
                "select periods.tenant_id, periods.period - date '2000-01-01', periods.state = 'closed'
                 from farebox_private.periods
                 where periods.tenant_id is null
                     and periods.period - date '2000-01-01' = any($1::integer[])
                 order by periods.period
                 for share of periods",
            )
            .await?;
        rows.extend(transaction.query(&statement, &[&unattributed]).await?);
    }
    Ok(rows
        .iter()
        .map(|row| ((row.get(0), Month(row.get(1))), row.get(2)))
        .collect())
}

/// The sessions that the tenants had, each once.
pub(super) async fn note_sessions(
    transaction: &Transaction<'_>,
    new: &[&Priced],
) -> Result<(), BatchError> {
    // In one order for all collectors, as every row that two of them may make.
    let mut seen: BTreeSet<(&str, Uuid)> = BTreeSet::new();
    let mut before = None;
    for ready in new {
        let session = ready.record.event.session_id.as_deref();
        let pair = tenant_of(ready).zip(session);
        // Calls of a session come together.
        if pair == before {
            continue;
        }
        before = pair;
        if let Some((tenant, session)) = pair {
            seen.insert((tenant, session_digest(session)));
        }
    }
    if seen.is_empty() {
        return Ok(());
    }
    let (tenants, sessions): (Vec<&str>, Vec<Uuid>) = seen.into_iter().unzip();
    let statement = transaction
        .prepare_cached(
            "insert into farebox_private.tenant_sessions (tenant_id, session)
             select tenant_id, session
             from unnest($1::text[], $2::uuid[]) as seen (tenant_id, session)
             on conflict do nothing",
        )
        .await?;
    transaction
        .execute(&statement, &[&tenants, &sessions])
        .await?;
    Ok(())
}

/// What `farebox_private.session_digest` gives.
fn session_digest(session: &str) -> Uuid {
    let digest = Sha256::digest(session);
    let mut bytes = uuid::Bytes::default();
    for (byte, of_digest) in bytes.iter_mut().zip(digest) {
        *byte = of_digest;
    }
    Uuid::from_bytes(bytes)
}

/// When the tenants were seen first and last.
pub(super) async fn note_activity(
    transaction: &Transaction<'_>,
    batch: &BatchContext<'_>,
    new: &[&Priced],
) -> Result<(), BatchError> {
    let mut seen: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for ready in new {
        let Some(tenant) = tenant_of(ready) else {
            continue;
        };
        let at = ready.record.event.started_at.as_millis();
        let (first, last) = seen.entry(tenant).or_insert((at, at));
        *first = at.min(*first);
        *last = at.max(*last);
    }
    if seen.is_empty() {
        return Ok(());
    }
    let tenants: Vec<&str> = seen.keys().copied().collect();
    let first: Vec<i64> = seen.values().map(|(first, _)| *first).collect();
    let last: Vec<i64> = seen.values().map(|(_, last)| *last).collect();
    let statement = transaction
        .prepare_cached(
            "insert into farebox_private.tenant_activity as activity
                 (tenant_id, first_seen, last_seen, changed_at)
             select
                 tenant_id,
                 timestamptz 'epoch' + first_ms * interval '1 millisecond',
                 timestamptz 'epoch' + last_ms * interval '1 millisecond',
                 timestamptz 'epoch' + $4::bigint * interval '1 millisecond'
             from unnest($1::text[], $2::bigint[], $3::bigint[]) as seen (tenant_id, first_ms, last_ms)
             on conflict (tenant_id) do update
             set first_seen = least(activity.first_seen, excluded.first_seen),
                 last_seen = greatest(activity.last_seen, excluded.last_seen),
                 changed_at = greatest(activity.changed_at, excluded.changed_at)
             where activity.first_seen > excluded.first_seen
                 or activity.last_seen < excluded.last_seen",
        )
        .await?;
    transaction
        .execute(
            &statement,
            &[&tenants, &first, &last, &batch.received_at.as_millis()],
        )
        .await?;
    Ok(())
}

/// When the keys were used first and last.
pub(super) async fn note_keys(
    transaction: &Transaction<'_>,
    new: &[&Priced],
) -> Result<(), BatchError> {
    let mut seen: BTreeMap<Uuid, (i64, i64)> = BTreeMap::new();
    for ready in new {
        let event = &ready.record.event;
        let Some(key_id) = event.key_id else {
            continue;
        };
        let at = event.started_at.as_millis();
        let (first, last) = seen.entry(key_id).or_insert((at, at));
        *first = at.min(*first);
        *last = at.max(*last);
    }
    if seen.is_empty() {
        return Ok(());
    }
    let keys: Vec<Uuid> = seen.keys().copied().collect();
    let first: Vec<i64> = seen.values().map(|(first, _)| *first).collect();
    let last: Vec<i64> = seen.values().map(|(_, last)| *last).collect();
    // Days are what it is for: a busy key is written once a minute.
    let statement = transaction
        .prepare_cached(
            "insert into farebox_private.key_activity as activity (key_id, first_used_at, last_used_at)
             select
                 key_id,
                 timestamptz 'epoch' + first_ms * interval '1 millisecond',
                 timestamptz 'epoch' + last_ms * interval '1 millisecond'
             from unnest($1::uuid[], $2::bigint[], $3::bigint[]) as seen (key_id, first_ms, last_ms)
             order by key_id
             on conflict (key_id) do update
             set first_used_at = least(activity.first_used_at, excluded.first_used_at),
                 last_used_at = greatest(activity.last_used_at, excluded.last_used_at)
             where activity.first_used_at > excluded.first_used_at
                 or activity.last_used_at < excluded.last_used_at - interval '1 minute'",
        )
        .await?;
    transaction
        .execute(&statement, &[&keys, &first, &last])
        .await?;
    Ok(())
}
