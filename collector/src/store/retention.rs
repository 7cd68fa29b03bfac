//! What is let go: old events by each tenant's own rule, and end customers' ids.
//!
//! Everything here runs as the retention role, which may delete events and nothing of the ledger's
//! sums, corrections or invoices. What was removed is noted, so that it is known when it comes again.

use deadpool_postgres::{Client, GenericClient};
use serde::Serialize;
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Json, ToSql};
use utoipa::ToSchema;

/// Most slices of one day that a pass removes of one tenant; the next pass goes on.
const SLICES_MAX: usize = 4_000;

/// Most tries of a pass to lock a month that others read; the next pass tries again.
const LOCK_TRIES_MAX: usize = 8;

/// The beginning of a month that is the first parameter.
const MONTH: &str = "($1::text::timestamp at time zone 'UTC')";

/// What a pass removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) months: u64,
    pub(crate) events: u64,
    pub(crate) links: u64,
}

/// Removes what is older than its tenant's rule; `default_days` is the rule of tenants without one.
/// Several collectors may try at once: one does it.
pub(crate) async fn pass(client: &mut Client, default_days: Option<i32>) -> Result<Removed, Error> {
    let mut removed = Removed::default();
    let rules = client
        .query(
            "select tenant_id, days,
                 (extract(epoch from now() - make_interval(days => days)) * 1000)::bigint
             from (
                 select tenant_id, coalesce((settings ->> 'retention_days')::integer, $1) as days
                 from farebox_private.tenants
                 union all
                 select null, $1
             ) as rules
             where days is not null
             order by tenant_id",
            &[&default_days],
        )
        .await?;
    if rules.is_empty() {
        return Ok(removed);
    }
    let months = client
        .query(
            "select to_date(right(relname, 6), 'YYYYMM')::text
             from pg_inherits
             join pg_class on pg_class.oid = pg_inherits.inhrelid
             where inhparent = 'farebox_private.usage_events'::regclass
                 and to_date(right(relname, 6), 'YYYYMM') + interval '1 month' <= now()
             order by 1",
            &[],
        )
        .await?;
    let mut oldest: Option<String> = None;
    for month in months {
        let month: String = month.try_get(0)?;
        if drop_month(client, &month, default_days).await? {
            removed.months += 1;
            // Behind the drop and not with it: whoever reads waits for one.
            let to = format!("({MONTH} + interval '1 month')");
            removed.links += remove_links(client, MONTH, &to, &[&month]).await?;
        } else if oldest.is_none() {
            oldest = Some(month);
        }
    }
    // Also what a pass left that ended right behind a drop.
    if let Some(oldest) = oldest {
        removed.links += remove_links(client, "'epoch'::timestamptz", MONTH, &[&oldest]).await?;
    }
    for rule in rules {
        let (tenant, before): (Option<String>, i64) = (rule.try_get(0)?, rule.try_get(2)?);
        for _ in 0..SLICES_MAX {
            match slice(client, tenant.as_deref(), before).await? {
                Some((events, links)) => {
                    removed.events += events;
                    removed.links += links;
                }
                None => break,
            }
        }
    }
    Ok(removed)
}

/// Drops a month that no tenant's rule keeps; whether it did. One that is read all the time stays for now.
async fn drop_month(
    client: &Client,
    month: &str,
    default_days: Option<i32>,
) -> Result<bool, Error> {
    let sql = "select farebox_private.drop_expired_month($1::text::date, $2)";
    for _ in 0..LOCK_TRIES_MAX {
        match client.query_one(sql, &[&month, &default_days]).await {
            Ok(dropped) => return dropped.try_get(0),
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {}
            Err(error) => return Err(error),
        }
    }
    tracing::info!(
        month,
        "a month past its retention stays for now: it is being read"
    );
    Ok(false)
}

/// Removes one day of a tenant's events, the oldest first, and how many links went with them; `None`
/// when there is none, or another collector is at it.
async fn slice(
    client: &mut Client,
    tenant: Option<&str>,
    before_ms: i64,
) -> Result<Option<(u64, u64)>, Error> {
    // `=` uses the index, and a null is found by `is null` alone.
    let whose = match tenant {
        Some(_) => "tenant_id = $1::text",
        None => "tenant_id is null and $1::text is null",
    };
    let transaction = client.transaction().await?;
    let row = transaction
        .query_one(
            &format!(
                "select pg_try_advisory_xact_lock(hashtextextended('farebox_retention', 0)), (
                     select case
                         when min(started_at) is not null
                         then array[min(started_at), least(min(started_at) + interval '1 day', before)]
                     end::text[]
                     from farebox_private.usage_events
                     where {whose} and started_at < before)
                 from (select timestamptz 'epoch' + $2::bigint * interval '1 millisecond' as before) as bound"
            ),
            &[&tenant, &before_ms],
        )
        .await?;
    let (is_alone, bounds): (bool, Option<Vec<String>>) = (row.try_get(0)?, row.try_get(1)?);
    let Some([from, to]) = bounds.as_deref().filter(|_| is_alone) else {
        return Ok(None);
    };
    transaction
        .execute(
            "insert into farebox_private.retained as retained (tenant_id, removed_before)
             values ($1, $2::text::timestamptz)
             on conflict (tenant_id) do update
             set removed_before = greatest(retained.removed_before, excluded.removed_before),
                 removed_at = now()",
            &[&tenant, &to],
        )
        .await?;
    let events = transaction
        .execute(
            &format!(
                "delete from farebox_private.usage_events
                 where {whose} and started_at < $2::text::timestamptz"
            ),
            &[&tenant, &to],
        )
        .await?;
    let bounds = ["$1::text::timestamptz", "$2::text::timestamptz"];
    let links = remove_links(&transaction, bounds[0], bounds[1], &[from, to]).await?;
    transaction.commit().await?;
    Ok(Some((events, links)))
}

/// Removes what events made in a time were to each other, once both ends are gone: until then it says
/// what the other end was. Each bound is an instant in SQL.
async fn remove_links(
    client: &impl GenericClient,
    from: &str,
    to: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<u64, Error> {
    let id = |at: &str| format!("farebox_private.first_event_id({at})");
    let (from, to) = (id(from), id(to));
    let gone = |end: &str| {
        format!(
            "not exists (
                 select from farebox_private.usage_events as events
                 where events.event_id = links.{end})"
        )
    };
    let (of_event, of_other) = (gone("event_id"), gone("other_event_id"));
    client
        .execute(
            &format!(
                "delete from farebox_private.event_links as links
                 where ((links.event_id >= {from} and links.event_id < {to})
                         or (links.other_event_id >= {from} and links.other_event_id < {to}))
                     and {of_event} and {of_other}"
            ),
            parameters,
        )
        .await
}

/// An end customer whose id was erased.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Erased {
    /// The tenant.
    pub tenant_id: String,
    /// What stands for the customer from here on; nothing leads from it back to the id.
    pub stands_for: String,
    /// Events that the customer has.
    pub events: i64,
}

/// Takes a customer's id out of the row that holds it, its name and settings with it, and out of the
/// sessions that would hand it on; what is booked
/// refers to the row and stays as it is. `None` when there is no such customer.
pub(crate) async fn erase_customer(
    client: &mut Client,
    tenant: &str,
    customer: &str,
    actor: &str,
    request_id: &str,
) -> Result<Option<Erased>, Error> {
    let transaction = client.transaction().await?;
    let row = transaction
        .query_opt(
            "update farebox_private.customers
             set customer_id = 'erased-' || reference, name = null, settings = '{}', erased_at = now()
             where tenant_id = $1 and customer_id = $2 and erased_at is null
             returning customer_id, (
                 select coalesce(sum(daily.events), 0)::bigint
                 from farebox_private.usage_daily as daily
                 where daily.tenant_id = customers.tenant_id
                     and daily.customer_id = customers.reference)",
            &[&tenant, &customer],
        )
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    // Its sessions hand the id on to their later calls.
    transaction
        .execute(
            "update farebox_private.session_attributions
             set labels = labels - 'customer_id'
             where tenant_id = $1 and labels ->> 'customer_id' = $2",
            &[&tenant, &customer],
        )
        .await?;
    let erased = Erased {
        tenant_id: tenant.to_owned(),
        stands_for: row.try_get(0)?,
        events: row.try_get(1)?,
    };
    let details = serde_json::to_value(&erased).unwrap_or_default();
    transaction
        .execute(
            "insert into farebox_private.audit_log
                (actor, action, tenant_id, entity_kind, entity_id, request_id, details)
             values ($1, 'customer.erase', $2, 'customer', $3, $4, $5)",
            &[
                &actor,
                &tenant,
                &erased.stands_for,
                &request_id,
                &Json(details),
            ],
        )
        .await?;
    transaction.commit().await?;
    Ok(Some(erased))
}
