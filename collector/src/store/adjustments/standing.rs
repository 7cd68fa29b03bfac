//! How events stand: as booked, or as their latest correction left them.

use std::sync::Arc;

use deadpool_postgres::GenericClient;
use farebox_pricing::event::{Charge, Event, PriceRule, Rate};
use farebox_pricing::money::{Decimal, Usd};
use farebox_pricing::usage::Meter;
use serde::Deserialize;
use tokio_postgres::Row;
use uuid::Uuid;

use super::Standing;
use crate::ingest::months::Month;
use crate::store::StoreError;
use crate::store::ingest::BatchError;

/// A charge as the ledger keeps it, without its members' names.
#[derive(Deserialize)]
struct Kept(
    Arc<str>,
    Meter,
    Decimal,
    Option<(Decimal, Decimal)>,
    Option<(Decimal, Decimal)>,
    Option<Usd>,
    Option<Usd>,
    Option<Arc<str>>,
    Option<PriceRule>,
    #[serde(default)] Option<Decimal>,
);

const STANDINGS: &str = r#"
    select
        json_build_object(
            'event_id', events.event_id, 'call_id', events.call_id, 'part', events.part,
            'is_final', events.is_final, 'schema', events.schema,
            'tenant_id', stands.tenant_id, 'customer_id', coalesce((
                select customers.customer_id
                from farebox_private.customers
                where customers.tenant_id = stands.tenant_id
                    and customers.reference = stands.customer_id
            ), stands.customer_id), 'project', stands.project,
            'plan', case
                when stands.tenant_id is not distinct from events.tenant_id then events.plan
                -- Moved: it is sold to its tenant of today.
                else (
                    select tenants.plan
                    from farebox_private.tenants
                    where tenants.tenant_id = stands.tenant_id
                )
            end,
            'agent', events.agent, 'revision', events.revision, 'session_id', events.session_id,
            'run_id', events.run_id,
            'environment', events.environment, 'attribution', events.attribution, 'key_id', events.key_id,
            'credential_id', events.credential_id, 'paid_by', events.paid_by,
            'upstream', events.upstream, 'provider', events.provider, 'endpoint', events.endpoint,
            'region', events.region, 'model_requested', events.model_requested, 'model', events.model,
            'service_tier', events.service_tier,
            'started_at', to_char(events.started_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'status', events.status, 'ending', events.ending, 'transport', events.transport,
            'attempt', events.attempt, 'lines', stands.lines::json, 'usage_source', stands.usage_source,
            'pricing', stands.pricing,
            'rate_cards', json_build_object(
                'cost', encode(stands.cost_card, 'hex'), 'price', encode(stands.price_card, 'hex')))::text,
        stands.charges, stands.cost_usd::text, stands.billed_usd::text,
        events.day - date '2000-01-01', events.period - date '2000-01-01', events.tenant_id, stands.number
    from farebox_private.usage_events as events
    left join lateral (
        select *
        from farebox_private.corrections
        where corrections.event_id = events.event_id
        order by corrections.number desc
        limit 1
    ) as latest on true
    cross join lateral (
        select latest.number, latest.tenant_id, latest.customer_id, latest.project, latest.lines,
            latest.usage_source, latest.charges, latest.cost_usd, latest.billed_usd, latest.pricing,
            latest.cost_card, latest.price_card
        where latest.number is not null
        union all
        select 0, events.tenant_id, events.customer_id, events.project, events.lines,
            events.usage_source, events.charges, events.cost_usd, events.billed_usd, events.pricing,
            events.cost_card, events.price_card
        where latest.number is null
    ) as stands
    where events.event_id = any($1)
    order by events.event_id"#;

/// How these events stand, in the order of their ids; those that are not in the ledger are left out.
pub(crate) async fn standings(
    client: &impl GenericClient,
    event_ids: &[Uuid],
) -> Result<Vec<Standing>, BatchError> {
    let rows = client.query(STANDINGS, &[&event_ids]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Standing, BatchError> {
    let event: Event = json(row.try_get(0)?)?;
    let charges: Vec<Kept> = json(row.try_get(1)?)?;
    let amount = |index: usize| -> Result<Option<Usd>, BatchError> {
        let text: Option<&str> = row.try_get(index)?;
        text.map(|text| text.parse().map_err(unreadable))
            .transpose()
    };
    Ok(Standing {
        pricing: event.pricing,
        event,
        charges: charges.into_iter().map(charge).collect(),
        cost_usd: amount(2)?,
        billed_usd: amount(3)?,
        day: row.try_get(4)?,
        period: Month(row.try_get(5)?),
        first_tenant: row.try_get(6)?,
        corrections: row.try_get(7)?,
    })
}

fn charge(kept: Kept) -> Charge {
    let Kept(
        model,
        meter,
        quantity,
        cost_rate,
        price_rate,
        cost_usd,
        billed_usd,
        cost_rule,
        price_rule,
        billed_quantity,
    ) = kept;
    let rate = |rate: Option<(Decimal, Decimal)>| rate.map(|(usd, per)| Rate { usd, per });
    Charge {
        model,
        meter,
        quantity,
        cost_rate: rate(cost_rate),
        price_rate: rate(price_rate),
        cost_usd,
        billed_usd,
        cost_rule,
        price_rule,
        billed_quantity,
    }
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, BatchError> {
    serde_json::from_str(text).map_err(unreadable)
}

/// What we wrote ourselves and cannot read: a newer version's.
fn unreadable(cause: impl std::fmt::Display) -> BatchError {
    BatchError::Store(StoreError::Unreadable(cause.to_string()))
}
