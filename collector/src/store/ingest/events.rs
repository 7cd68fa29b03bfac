//! Events into the ledger, and how they stand to those already in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use deadpool_postgres::Transaction;
use farebox_pricing::event::{Event, Pricing};
use farebox_pricing::money::Usd;
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::{Usage, UsageSource};
use futures_util::SinkExt;
use uuid::Uuid;

use super::{BatchError, Placement, tenant_of};
use crate::ingest::{BatchContext, Priced};
use crate::store::copy::Rows;

/// How long after a call its result may be fetched again and still be known as the same: vendors keep
/// stored answers for thirty days. The bound keeps the lookup in two or three partitions.
const REPEAT_DAYS_MAX: i64 = 35;
const DAY_MILLIS: i64 = 86_400_000;
/// First guess of a staged row's size, in bytes.
const ROW_BYTES: usize = 2_048;

/// Finds events that answer for a provider id which an earlier event was charged for (`repeats`), or
/// whose usage an earlier event left pending (`settles`). Attempts and parts of one call are never
/// each other's repeats.
pub(super) async fn join_by_response(
    transaction: &Transaction<'_>,
    part: &[Priced],
    placements: &mut [Placement],
) -> Result<(), BatchError> {
    let mut wanted = Wanted::default();
    // (tenant, upstream, response id) → events of this batch that answer for it, by place.
    let mut in_batch: HashMap<(Option<&str>, &str, &str), Vec<usize>> = HashMap::new();
    for (place, ready) in part.iter().enumerate() {
        let event = &ready.record.event;
        if let Some(response_id) = event.response_id.as_deref() {
            wanted.push(place, ready, response_id);
            let key = (tenant_of(ready), event.upstream.as_str(), response_id);
            in_batch.entry(key).or_default().push(place);
        }
    }
    if wanted.places.is_empty() {
        return Ok(());
    }
    for earlier in wanted.find(transaction).await? {
        let placement = &mut placements[earlier.place];
        if earlier.is_pending {
            placement.settles.get_or_insert(earlier.event_id);
        }
        if earlier.is_charged && is_charged(part[earlier.place].pricing) {
            placement.repeats.get_or_insert(earlier.event_id);
        }
    }
    for places in in_batch.into_values() {
        for (at, &later) in places.iter().enumerate() {
            for &earlier in &places[..at] {
                join_within(part, placements, earlier, later);
            }
        }
    }
    Ok(())
}

/// An earlier event for the same provider id.
struct Earlier {
    place: usize,
    event_id: Uuid,
    is_pending: bool,
    is_charged: bool,
}

#[derive(Default)]
struct Wanted<'a> {
    places: Vec<i32>,
    event_ids: Vec<Uuid>,
    call_ids: Vec<Uuid>,
    tenants: Vec<Option<&'a str>>,
    upstreams: Vec<&'a str>,
    response_ids: Vec<&'a str>,
    earliest: Option<Timestamp>,
}

impl<'a> Wanted<'a> {
    fn push(&mut self, place: usize, ready: &'a Priced, response_id: &'a str) {
        let event = &ready.record.event;
        // A batch is bounded far below two thousand million records.
        self.places.push(place as i32);
        self.event_ids.push(event.event_id);
        self.call_ids.push(event.call_id);
        self.tenants.push(tenant_of(ready));
        self.upstreams.push(&event.upstream);
        self.response_ids.push(response_id);
        let earliest = self.earliest.unwrap_or(event.started_at);
        self.earliest = Some(earliest.min(event.started_at));
    }

    async fn find(&self, transaction: &Transaction<'_>) -> Result<Vec<Earlier>, BatchError> {
        let earliest = self.earliest.unwrap_or_default().as_millis();
        let since = first_id(earliest - REPEAT_DAYS_MAX * DAY_MILLIS);
        let statement = transaction
            .prepare_cached(
                "select
                     wanted.place,
                     events.event_id,
                     events.usage_source = 'pending',
                     events.pricing in ('priced', 'partial', 'unpriced')
                 from unnest(
                     $1::integer[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[])
                     as wanted (place, event_id, call_id, tenant_id, upstream, response_id)
                 join farebox_private.usage_events as events
                     on events.response_id = wanted.response_id
                 where events.event_id >= $7
                     and events.event_id <> wanted.event_id
                     and events.call_id <> wanted.call_id
                     and events.upstream = wanted.upstream
                     and events.tenant_id is not distinct from wanted.tenant_id
                     and (events.usage_source = 'pending'
                         or events.pricing in ('priced', 'partial', 'unpriced'))
                 order by wanted.place, events.event_id",
            )
            .await?;
        let rows = transaction
            .query(
                &statement,
                &[
                    &self.places,
                    &self.event_ids,
                    &self.call_ids,
                    &self.tenants,
                    &self.upstreams,
                    &self.response_ids,
                    &since,
                ],
            )
            .await?;
        Ok(rows
            .iter()
            .map(|row| Earlier {
                place: row.get::<_, i32>(0) as usize,
                event_id: row.get(1),
                is_pending: row.get(2),
                is_charged: row.get(3),
            })
            .collect())
    }
}

fn join_within(part: &[Priced], placements: &mut [Placement], earlier: usize, later: usize) {
    let (first, second) = (&part[earlier], &part[later]);
    if first.record.event.call_id == second.record.event.call_id {
        return;
    }
    let event_id = first.record.event.event_id;
    if first.record.event.usage_source == UsageSource::Pending {
        placements[later].settles.get_or_insert(event_id);
    }
    if is_charged(placements[earlier].pricing(first)) && is_charged(second.pricing) {
        placements[later].repeats.get_or_insert(event_id);
    }
}

/// Whether an event of this pricing asks money for its lines, now or when a rate is found.
fn is_charged(pricing: Pricing) -> bool {
    matches!(
        pricing,
        Pricing::Priced | Pricing::Partial | Pricing::Unpriced
    )
}

/// The lowest id of a millisecond.
fn first_id(millis: i64) -> Uuid {
    let millis = u64::try_from(millis).unwrap_or(0);
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Uuid::from_bytes(bytes)
}

/// `COPY` is refused on a table with row security, hence the detour. The table is made in the
/// transaction, so that a transaction pooler may give us any session; it is empty when we find it.
const STAGE: &str = "create temporary table if not exists staged_events
    (like farebox_private.usage_events)
    with (toast_tuple_target = 8160)
    on commit delete rows";

/// In the order in which `write` puts them.
const COLUMNS: &str = "event_id, call_id, part, is_final, settles, schema, \
    tenant_id, customer_id, project, agent, revision, session_id, run_id, span_id, parent_span_id, \
    section, metadata, synthetic, environment, attribution, key_id, credential_id, paid_by, \
    upstream, provider, endpoint, region, model_requested, model, service_tier, \
    started_at, ended_at, received_at, period, day, is_late, clock_suspect, \
    ttfb_ms, ttft_ms, duration_ms, overhead_ms, \
    status, ending, streaming, transport, request_bytes, response_bytes, request_amended, attempt, \
    client_retry, sanitised, \
    lines, usage, usage_source, usage_reason, usage_low, usage_high, evidence, charges, \
    cost_usd, billed_usd, claimed_usd, price_mismatch, pricing, cost_card, price_card, repeats, \
    upstream_request_id, response_id, node, epoch, seq, content_sha256, content_digest, further";
const COLUMN_COUNT: i16 = 75;

/// Inserts what is not there yet and gives the ids that were.
pub(super) async fn insert(
    transaction: &Transaction<'_>,
    batch: &BatchContext<'_>,
    part: &[Priced],
    placements: &[Placement],
) -> Result<BTreeSet<Uuid>, BatchError> {
    if part.is_empty() {
        return Ok(BTreeSet::new());
    }
    transaction.batch_execute(STAGE).await?;
    let rows = rows(batch, part, placements);
    let copy = format!("copy pg_temp.staged_events ({COLUMNS}) from stdin with (format binary)");
    let sink = transaction.copy_in::<_, Bytes>(&copy).await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(rows).await?;
    sink.finish().await?;
    let insert = format!(
        "insert into farebox_private.usage_events ({COLUMNS})
         select {COLUMNS} from pg_temp.staged_events
         on conflict do nothing
         returning event_id"
    );
    let statement = transaction.prepare_cached(&insert).await?;
    let inserted = transaction.query(&statement, &[]).await?;
    Ok(inserted.iter().map(|row| row.get(0)).collect())
}

/// What the events with these ids were booked with, for comparison.
pub(super) async fn digests(
    transaction: &Transaction<'_>,
    event_ids: &[Uuid],
) -> Result<BTreeMap<Uuid, Vec<u8>>, BatchError> {
    if event_ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let statement = transaction
        .prepare_cached(
            "select event_id, content_digest
             from farebox_private.usage_events
             where event_id = any($1)",
        )
        .await?;
    let rows = transaction.query(&statement, &[&event_ids]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn rows(batch: &BatchContext<'_>, part: &[Priced], placements: &[Placement]) -> Bytes {
    let mut rows = Rows::new(COLUMN_COUNT, part.len() * ROW_BYTES);
    for (ready, placement) in part.iter().zip(placements) {
        rows.row();
        write(&mut rows, batch, ready, placement);
    }
    rows.finish()
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("maps with text keys always print")
}

fn write(rows: &mut Rows, batch: &BatchContext<'_>, ready: &Priced, placement: &Placement) {
    let event = &ready.record.event;
    identity(rows, event, placement);
    attribution(rows, event);
    rows.text(&event.upstream);
    rows.text(&event.provider);
    rows.text(event.endpoint.name());
    rows.optional_text(event.region.as_deref());
    rows.optional_text(event.model_requested.as_deref());
    rows.optional_text(event.model.as_deref());
    rows.optional_text(event.service_tier.as_deref());
    rows.timestamp(event.started_at);
    rows.optional_timestamp(event.ended_at);
    rows.timestamp(batch.received_at);
    rows.integer(placement.period.0);
    rows.integer(placement.day);
    rows.boolean(placement.is_late);
    rows.boolean(batch.is_clock_suspect);
    outcome(rows, event);
    money(rows, ready, placement);
    let place = &ready.record.place;
    rows.optional_text(event.upstream_request_id.as_deref());
    rows.optional_text(event.response_id.as_deref());
    rows.optional_text(place.node.as_deref());
    rows.optional_bigint(place.epoch);
    rows.optional_bigint(place.seq);
    rows.optional_bytes(ready.record.content_sha256.as_ref().map(|hash| &hash[..]));
    rows.bytes(&ready.record.digest);
    rows.optional_json(ready.record.further.as_deref());
}

fn identity(rows: &mut Rows, event: &Event, placement: &Placement) {
    rows.uuid(event.event_id);
    rows.uuid(event.call_id);
    rows.integer(event.part as i32);
    rows.boolean(event.is_final);
    rows.optional_uuid(placement.settles);
    rows.integer(event.schema as i32);
}

fn attribution(rows: &mut Rows, event: &Event) {
    rows.optional_text(event.tenant_id.as_ref().map(|id| id.as_str()));
    rows.optional_text(event.customer_id.as_deref());
    rows.optional_text(event.project.as_deref());
    rows.optional_text(event.agent.as_deref());
    rows.optional_text(event.revision.as_deref());
    rows.optional_text(event.session_id.as_deref());
    rows.optional_text(event.run_id.as_deref());
    rows.optional_text(event.span_id.as_deref());
    rows.optional_text(event.parent_span_id.as_deref());
    rows.optional_text(event.section.as_deref());
    match event.metadata.is_empty() {
        true => rows.null(),
        false => rows.json(&json(&event.metadata)),
    }
    rows.boolean(event.synthetic);
    rows.text(event.environment.name());
    rows.text(event.attribution.name());
    rows.optional_uuid(event.key_id);
    rows.optional_text(event.credential_id.as_deref());
    rows.text(event.paid_by.name());
}

fn outcome(rows: &mut Rows, event: &Event) {
    rows.optional_decimal(event.ttfb_ms);
    rows.optional_decimal(event.ttft_ms);
    rows.optional_decimal(event.duration_ms);
    rows.optional_decimal(event.overhead_ms);
    rows.optional_integer(event.status.map(i32::from));
    rows.text(event.ending.name());
    rows.boolean(event.streaming);
    rows.text(event.transport.name());
    // Both fit, the check has seen to it.
    rows.optional_bigint(event.request_bytes.map(|bytes| bytes as i64));
    rows.optional_bigint(event.response_bytes.map(|bytes| bytes as i64));
    rows.boolean(event.request_amended);
    rows.integer(event.attempt as i32);
    rows.optional_integer(event.client_retry.map(|count| count as i32));
    rows.boolean(event.sanitised);
}

fn money(rows: &mut Rows, ready: &Priced, placement: &Placement) {
    let event = &ready.record.event;
    let is_repeat = placement.repeats.is_some();
    rows.text(&json(&event.lines));
    match &event.lines[..] {
        [] => rows.json(&json(&event.usage)),
        [line] => rows.json(&json(&line.usage)),
        _ => rows.json(&json(&sum_of_lines(event))),
    }
    rows.text(event.usage_source.name());
    rows.optional_text(event.usage_reason.as_deref());
    for bound in [&event.usage_low, &event.usage_high] {
        match bound {
            Some(bound) => rows.json(&json(bound)),
            None => rows.null(),
        }
    }
    rows.optional_text(ready.record.evidence.as_deref());
    if is_repeat {
        rows.json("[]");
        rows.optional_usd(Some(Usd::ZERO));
        rows.optional_usd(Some(Usd::ZERO));
    } else {
        rows.json(&json(&ready.charges));
        rows.optional_usd(ready.cost_usd);
        rows.optional_usd(ready.billed_usd);
    }
    rows.optional_usd(ready.record.claimed_usd);
    rows.boolean(!is_repeat && ready.is_mismatch());
    rows.text(placement.pricing(ready).name());
    for card in [&ready.rate_cards.cost, &ready.rate_cards.price] {
        rows.optional_bytes(
            card.as_deref()
                .and_then(crate::ingest::check::parse_sha256)
                .as_ref()
                .map(|hash| &hash[..]),
        );
    }
    rows.optional_uuid(placement.repeats);
}

/// The lines' sum; quantities are bounded so that it fits.
fn sum_of_lines(event: &Event) -> Usage {
    let mut sum = Usage::new();
    for (meter, quantity) in event.lines.iter().flat_map(|line| line.usage.iter()) {
        let grown = sum
            .quantity(meter)
            .map_or(Some(quantity), |so_far| so_far.checked_add(quantity));
        if let Some(grown) = grown {
            sum.set(meter, grown);
        }
    }
    sum
}
