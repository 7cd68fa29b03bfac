//! Writes corrections and adjustments, many rows in one statement.

use std::sync::Arc;

use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{Batch, Row, Standing, Target, tenant_of};
use crate::ingest::check::parse_sha256;
use crate::ingest::json;
use crate::store::ingest::BatchError;
use crate::store::ingest::tenants::References;

/// Parameters of a statement.
type Values<'a> = [&'a (dyn ToSql + Sync)];

/// How the events stand from here on.
pub(super) async fn insert_corrections(
    transaction: &Transaction<'_>,
    batch: &Batch<'_>,
    changed: &[(&Standing, &Target)],
    customers: &References,
) -> Result<(), BatchError> {
    let text = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    let card = |card: &Option<Arc<str>>| card.as_deref().and_then(parse_sha256).map(Vec::from);
    let of = |pick: fn(&Standing) -> Option<&str>| -> Vec<Option<&str>> {
        changed.iter().map(|(standing, _)| pick(standing)).collect()
    };
    let to = |pick: fn(&Target) -> Option<&str>| -> Vec<Option<&str>> {
        changed.iter().map(|(_, target)| pick(target)).collect()
    };
    let ids: Vec<Uuid> = changed.iter().map(|_| Uuid::now_v7()).collect();
    let events: Vec<Uuid> = changed
        .iter()
        .map(|(standing, _)| standing.event.event_id)
        .collect();
    let numbers: Vec<i32> = changed
        .iter()
        .map(|(standing, _)| standing.corrections + 1)
        .collect();
    let lines: Vec<String> = changed
        .iter()
        .map(|(_, target)| text(&|out| json::lines(out, &target.lines)))
        .collect();
    let charges: Vec<String> = changed
        .iter()
        .map(|(_, target)| text(&|out| json::charges(out, &target.charges)))
        .collect();
    let sources = to(|target| Some(target.usage_source.name()));
    let pricing = to(|target| Some(target.pricing.name()));
    let amounts =
        |pick: fn(&Target) -> Option<farebox_pricing::money::Usd>| -> Vec<Option<String>> {
            changed
                .iter()
                .map(|(_, target)| pick(target).map(|amount| amount.to_string()))
                .collect()
        };
    let cost_cards: Vec<Option<Vec<u8>>> = changed
        .iter()
        .map(|(_, target)| card(&target.rate_cards.cost))
        .collect();
    let price_cards: Vec<Option<Vec<u8>>> = changed
        .iter()
        .map(|(_, target)| card(&target.rate_cards.price))
        .collect();
    let customers_before: Vec<Option<&str>> = changed
        .iter()
        .map(|(standing, _)| customers.of(standing.tenant(), standing.event.customer_id.as_deref()))
        .collect();
    let customers_after: Vec<Option<&str>> = changed
        .iter()
        .map(|(_, target)| customers.of(tenant_of(target), target.customer_id.as_deref()))
        .collect();
    let values: &Values<'_> = &[
        &batch.batch_id,
        &batch.kind.name(),
        &batch.actor,
        &batch.reason,
        &batch.undoes,
        &ids,
        &events,
        &numbers,
        &to(|target| target.old_revision.as_deref()),
        &to(|target| target.new_revision.as_deref()),
        &of(Standing::tenant),
        &customers_before,
        &of(|standing| standing.event.project.as_deref()),
        &to(tenant_of),
        &customers_after,
        &to(|target| target.project.as_deref()),
        &lines,
        &sources,
        &charges,
        &amounts(|target| target.cost_usd),
        &amounts(|target| target.billed_usd),
        &pricing,
        &cost_cards,
        &price_cards,
    ];
    transaction
        .execute(
            "insert into farebox_private.corrections (
                 batch_id, kind, actor, reason, undoes, correction_id, event_id, number,
                 old_revision, new_revision, tenant_before, customer_before, project_before,
                 tenant_id, customer_id, project, lines, usage_source, charges, cost_usd, billed_usd,
                 pricing, cost_card, price_card)
             select $1, $2, $3, $4, $5, id, event_id, number, old_revision, new_revision,
                 tenant_before, customer_before, project_before, tenant_id, customer_id, project,
                 lines, usage_source, charges, cost_usd::numeric, billed_usd::numeric, pricing,
                 cost_card, price_card
             from unnest($6::uuid[], $7::uuid[], $8::integer[], $9::text[], $10::text[], $11::text[],
                 $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[],
                 $18::text[], $19::text[], $20::text[], $21::text[], $22::text[], $23::bytea[],
                 $24::bytea[])
                 as new (id, event_id, number, old_revision, new_revision, tenant_before,
                     customer_before, project_before, tenant_id, customer_id, project, lines,
                     usage_source, charges, cost_usd, billed_usd, pricing, cost_card, price_card)",
            values,
        )
        .await?;
    Ok(())
}

/// The signed differences.
pub(super) async fn insert_adjustments(
    transaction: &Transaction<'_>,
    batch: &Batch<'_>,
    rows: &[Row<'_>],
) -> Result<(), BatchError> {
    if rows.is_empty() {
        return Ok(());
    }
    let texts = |pick: for<'r> fn(&'r Row<'r>) -> Option<&'r str>| -> Vec<Option<String>> {
        rows.iter()
            .map(|row| pick(row).map(str::to_owned))
            .collect()
    };
    let ids: Vec<Uuid> = rows.iter().map(|_| Uuid::now_v7()).collect();
    let events: Vec<Uuid> = rows.iter().map(|row| row.standing.event.event_id).collect();
    let started: Vec<i64> = rows
        .iter()
        .map(|row| row.standing.event.started_at.as_millis())
        .collect();
    let days: Vec<i32> = rows.iter().map(|row| row.standing.day).collect();
    let periods: Vec<i32> = rows.iter().map(|row| row.group.period.0).collect();
    let event_periods: Vec<i32> = rows.iter().map(|row| row.event_period.0).collect();
    let keys: Vec<Option<Uuid>> = rows.iter().map(|row| row.group.key_id).collect();
    let quantities: Vec<String> = rows.iter().map(|row| row.by.quantity.to_string()).collect();
    let costs: Vec<String> = rows.iter().map(|row| row.by.cost_usd.to_string()).collect();
    let billed: Vec<String> = rows
        .iter()
        .map(|row| row.by.billed_usd.to_string())
        .collect();
    let counts: Vec<i64> = rows.iter().map(|row| row.by.events).collect();
    let unpriced: Vec<i64> = rows.iter().map(|row| row.by.unpriced_events).collect();
    let values: &Values<'_> = &[
        &batch.batch_id,
        &batch.kind.name(),
        &batch.actor,
        &batch.reason,
        &ids,
        &events,
        &started,
        &days,
        &periods,
        &event_periods,
        &texts(|row| row.group.tenant_id),
        &texts(|row| row.group.customer_id),
        &texts(|row| row.group.project),
        &keys,
        &texts(|row| Some(row.group.environment)),
        &texts(|row| Some(row.group.paid_by)),
        &texts(|row| Some(row.group.provider)),
        &texts(|row| Some(row.group.endpoint)),
        &texts(|row| row.model),
        &texts(|row| Some(row.group.pricing)),
        &texts(|row| Some(row.meter)),
        &quantities,
        &costs,
        &billed,
        &counts,
        &unpriced,
        &texts(|row| row.old_revision),
        &texts(|row| row.new_revision),
        &texts(|row| row.standing.event.session_id.as_deref()),
        &texts(|row| row.standing.event.run_id.as_deref()),
    ];
    transaction
        .execute(
            "insert into farebox_private.adjustments (
                 batch_id, kind, actor, reason, adjustment_id, event_id, started_at, day, period,
                 event_period, tenant_id, customer_id, project, key_id, environment, paid_by, provider,
                 endpoint, model, pricing, meter, quantity, cost_usd, billed_usd, events,
                 unpriced_events, old_revision, new_revision, session_id, run_id)
             select $1, $2, $3, $4, id, event_id,
                 timestamptz 'epoch' + started_ms * interval '1 millisecond',
                 date '2000-01-01' + day, date '2000-01-01' + period, date '2000-01-01' + event_period,
                 tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
                 model, pricing, meter, quantity::numeric, cost_usd::numeric, billed_usd::numeric,
                 events, unpriced_events, old_revision, new_revision, session_id, run_id
             from unnest($5::uuid[], $6::uuid[], $7::bigint[], $8::integer[], $9::integer[],
                 $10::integer[], $11::text[], $12::text[], $13::text[], $14::uuid[], $15::text[],
                 $16::text[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[],
                 $22::text[], $23::text[], $24::text[], $25::bigint[], $26::bigint[], $27::text[],
                 $28::text[], $29::text[], $30::text[])
                 as new (id, event_id, started_ms, day, period, event_period, tenant_id, customer_id,
                     project, key_id, environment, paid_by, provider, endpoint, model, pricing, meter,
                     quantity, cost_usd, billed_usd, events, unpriced_events, old_revision,
                     new_revision, session_id, run_id)",
            values,
        )
        .await?;
    Ok(())
}

/// Whom events were moved to is seen as of them.
pub(super) async fn note_activity(
    transaction: &Transaction<'_>,
    batch: &Batch<'_>,
) -> Result<(), BatchError> {
    transaction
        .execute(
            "insert into farebox_private.tenant_activity as activity
                 (tenant_id, first_seen, last_seen, changed_at)
             select tenant_id, min(started_at), max(started_at), now()
             from farebox_private.adjustments
             where batch_id = $1 and tenant_id is not null and events > 0
             group by tenant_id
             order by tenant_id
             on conflict (tenant_id) do update
             set first_seen = least(activity.first_seen, excluded.first_seen),
                 last_seen = greatest(activity.last_seen, excluded.last_seen),
                 changed_at = excluded.changed_at
             where activity.first_seen > excluded.first_seen
                 or activity.last_seen < excluded.last_seen",
            &[&batch.batch_id],
        )
        .await?;
    Ok(())
}
