//! Adds a batch's sums to the roll-up tables: few of them at once, many by way of `new_sums`.

use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{BatchError, Placement};
use crate::ingest::Priced;
use crate::rollup::{self, Sums};

mod aside;

pub(crate) use aside::merge;

/// Most hourly sums that a batch grows by itself. One takes some 70,000 instructions, and as much for its day.
const GROWN_AT_ONCE_MAX: usize = 64;

/// Adds the hours and days of the events that were booked; whether they were set aside.
pub(super) async fn add(
    transaction: &Transaction<'_>,
    part: &[&Priced],
    placements: &[Placement],
    customers: &[Option<&str>],
) -> Result<bool, BatchError> {
    let mut batch = rollup::Batch::default();
    for ((ready, placement), customer) in part.iter().zip(placements).zip(customers) {
        let pricing = placement.pricing(ready);
        let (day, period) = (placement.day, placement.period);
        let event = &ready.record.event;
        batch.add(event, *customer, &ready.charges, pricing, day, period)?;
    }
    let is_aside = batch.len() > GROWN_AT_ONCE_MAX;
    match is_aside {
        true => aside::set(transaction, &batch).await?,
        false => write(transaction, &batch).await?,
    }
    Ok(is_aside)
}

/// Adds a batch's sums, hours before days before their totals, each in the order of its keys.
pub(crate) async fn write(
    transaction: &Transaction<'_>,
    batch: &rollup::Batch<'_>,
) -> Result<(), BatchError> {
    upsert(transaction, HOURLY, &batch.hourly()?).await?;
    let daily = batch.daily()?;
    upsert(transaction, DAILY, &daily).await?;
    upsert(transaction, TOTALS, &rollup::totals(&daily)?).await
}

/// A statement that adds a batch's sums to a table: what is inserted, and the key that may be there.
macro_rules! grown {
    ($into:literal, $or:literal) => {
        concat!(
            $into,
            "
    from unnest(
        $1::bigint[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[],
        $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
        $15::text[], $16::text[], $17::bigint[], $18::bigint[], $19::bigint[])
        as grown (slot, period, tenant_id, customer_id, project, key_id, environment, paid_by,
            provider, endpoint, model, pricing, meter, quantity, cost_usd, billed_usd, events,
            unpriced_events, utc_day)
    ",
            $or,
            "
    set quantity = sums.quantity + excluded.quantity,
        cost_usd = sums.cost_usd + excluded.cost_usd,
        billed_usd = sums.billed_usd + excluded.billed_usd,
        events = sums.events + excluded.events,
        unpriced_events = sums.unpriced_events + excluded.unpriced_events"
        )
    };
}

const HOURLY: &str = grown!(
    "insert into farebox_private.hourly_sums as sums (
        hour, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider,
        endpoint, model, pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events)
    select
        timestamptz 'epoch' + slot * interval '1 hour', date '2000-01-01' + period, tenant_id,
        customer_id, project, key_id, environment, paid_by, provider, endpoint, model, pricing, meter,
        quantity::numeric, cost_usd::numeric, billed_usd::numeric, events, unpriced_events",
    "on conflict (
        tenant_id, hour, meter, model, endpoint, provider, key_id, customer_id, project, period,
        environment, paid_by, pricing) do update"
);

const DAILY: &str = grown!(
    "insert into farebox_private.daily_sums as sums (
        day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider,
        endpoint, model, pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events,
        utc_day)
    select
        date '2000-01-01' + slot::integer, date '2000-01-01' + period, tenant_id,
        customer_id, project, key_id, environment, paid_by, provider, endpoint, model, pricing, meter,
        quantity::numeric, cost_usd::numeric, billed_usd::numeric, events, unpriced_events,
        date 'epoch' + utc_day::integer",
    "on conflict (
        tenant_id, day, meter, model, endpoint, provider, key_id, customer_id, project, period,
        environment, paid_by, pricing, utc_day) do update"
);

const TOTALS: &str = grown!(
    "insert into farebox_private.total_sums as sums (
        day, period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter, quantity, cost_usd, billed_usd, events, unpriced_events,
        utc_day)
    select
        date '2000-01-01' + slot::integer, date '2000-01-01' + period, tenant_id, environment, paid_by, provider, endpoint, model, pricing, meter,
        quantity::numeric, cost_usd::numeric, billed_usd::numeric, events, unpriced_events,
        date 'epoch' + utc_day::integer",
    "on conflict (
        tenant_id, day, meter, model, endpoint, provider, period, environment, paid_by, pricing, utc_day) do update"
);

async fn upsert(
    transaction: &Transaction<'_>,
    statement: &str,
    sums: &Sums<'_>,
) -> Result<(), BatchError> {
    if sums.is_empty() {
        return Ok(());
    }
    let slots: Vec<i64> = sums.keys().map(|key| key.slot).collect();
    let periods: Vec<i32> = sums.keys().map(|key| key.group.period.0).collect();
    let tenants: Vec<Option<&str>> = sums.keys().map(|key| key.group.tenant_id).collect();
    let customers: Vec<Option<&str>> = sums.keys().map(|key| key.group.customer_id).collect();
    let projects: Vec<Option<&str>> = sums.keys().map(|key| key.group.project).collect();
    let keys: Vec<Option<Uuid>> = sums.keys().map(|key| key.group.key_id).collect();
    let environments: Vec<&str> = sums.keys().map(|key| key.group.environment).collect();
    let paid_by: Vec<&str> = sums.keys().map(|key| key.group.paid_by).collect();
    let providers: Vec<&str> = sums.keys().map(|key| key.group.provider).collect();
    let endpoints: Vec<&str> = sums.keys().map(|key| key.group.endpoint).collect();
    let models: Vec<Option<&str>> = sums.keys().map(|key| key.model).collect();
    let pricing: Vec<&str> = sums.keys().map(|key| key.group.pricing).collect();
    let meters: Vec<&str> = sums.keys().map(|key| key.meter).collect();
    let quantities: Vec<String> = sums.values().map(|sum| sum.quantity.to_string()).collect();
    let costs: Vec<String> = sums.values().map(|sum| sum.cost_usd.to_string()).collect();
    let billed: Vec<String> = sums
        .values()
        .map(|sum| sum.billed_usd.to_string())
        .collect();
    let events: Vec<i64> = sums.values().map(|sum| sum.events).collect();
    let unpriced: Vec<i64> = sums.values().map(|sum| sum.unpriced_events).collect();
    let utc_days: Vec<i64> = sums.keys().map(|key| key.utc_day).collect();
    let statement = transaction.prepare_cached(statement).await?;
    let columns: [&(dyn ToSql + Sync); 19] = [
        &slots,
        &periods,
        &tenants,
        &customers,
        &projects,
        &keys,
        &environments,
        &paid_by,
        &providers,
        &endpoints,
        &models,
        &pricing,
        &meters,
        &quantities,
        &costs,
        &billed,
        &events,
        &unpriced,
        &utc_days,
    ];
    transaction.execute(&statement, &columns).await?;
    Ok(())
}
