//! Events into the ledger: copied straight into their month.
//!
//! A month's partition has no row security of its own, because `COPY` would be refused; nobody may
//! read it (docs/decisions/0013). An id that is there already ends the whole copy, and the batch comes
//! again after asking which ids are known.

use std::collections::HashMap;

use bytes::Bytes;
use deadpool_postgres::Transaction;
use farebox_pricing::money::Usd;
use futures_util::SinkExt;
use uuid::Uuid;

use super::{BatchError, Placement};
use crate::ingest::check::parse_sha256;
use crate::ingest::months::{Month, partition, utc_month};
use crate::ingest::row::{CONTENT_COLUMNS, CONTENT_COUNT};
use crate::ingest::{BatchContext, Priced, json};
use crate::store::copy::{Fields, Rows};

/// First guess of a row's size, in bytes.
const ROW_BYTES: usize = 2_048;
/// So many bytes are sent at once: what both sides hold of it stays in their caches.
const SEND_BYTES: usize = 256 * 1024;

/// In the order in which `booked` puts them, behind the content.
const BOOKED_COLUMNS: &str = "customer_id, received_at, period, day, is_late, clock_suspect, \
    charges, cost_usd, billed_usd, claimed_usd, price_mismatch, pricing, cost_card, price_card, \
    node, epoch, seq, content_sha256, content_digest, further, plan";
const BOOKED_COUNT: i16 = 21;

/// Books events, sorted by id, none of which is in the ledger.
pub(super) async fn insert(
    transaction: &Transaction<'_>,
    batch: &BatchContext<'_>,
    part: &[&Priced],
    placements: &[Placement],
    customers: &[Option<&str>],
) -> Result<(), BatchError> {
    let month_of = |ready: &Priced| utc_month(ready.record.event.started_at);
    let (mut rest, mut customers) = (placements, customers);
    for of_month in part.chunk_by(|one, next| month_of(one) == month_of(next)) {
        let (placements, later) = rest.split_at(of_month.len());
        rest = later;
        let (kept, later) = customers.split_at(of_month.len());
        customers = later;
        let month = month_of(of_month[0]);
        copy(transaction, batch, month, of_month, placements, kept).await?;
    }
    Ok(())
}

async fn copy(
    transaction: &Transaction<'_>,
    batch: &BatchContext<'_>,
    month: Month,
    part: &[&Priced],
    placements: &[Placement],
    customers: &[Option<&str>],
) -> Result<(), BatchError> {
    let statement = format!(
        "copy farebox_private.{} ({CONTENT_COLUMNS}, {BOOKED_COLUMNS})
         from stdin with (format binary)",
        partition(month)
    );
    let statement = transaction.prepare_cached(&statement).await?;
    let sink = transaction.copy_in::<_, Bytes>(&statement).await?;
    let mut sink = std::pin::pin!(sink);
    let mut rows = Rows::new(CONTENT_COUNT + BOOKED_COUNT, SEND_BYTES + ROW_BYTES);
    for ((ready, placement), customer) in part.iter().zip(placements).zip(customers) {
        let fields = rows.row();
        fields.append(&ready.record.content);
        fields.optional_text(*customer);
        booked(fields, batch, ready, placement);
        if rows.len() >= SEND_BYTES {
            sink.send(rows.take()).await?;
        }
    }
    sink.send(rows.finish()).await?;
    sink.finish().await?;
    Ok(())
}

/// What the events with these ids were booked with, for comparison.
pub(super) async fn digests(
    transaction: &Transaction<'_>,
    part: &[&Priced],
) -> Result<HashMap<Uuid, Vec<u8>>, BatchError> {
    let event_ids: Vec<Uuid> = part
        .iter()
        .map(|ready| ready.record.event.event_id)
        .collect();
    let (Some(first), Some(last)) = (event_ids.first(), event_ids.last()) else {
        return Ok(HashMap::new());
    };
    // The bounds keep it to the batch's months.
    let statement = transaction
        .prepare_cached(
            "select event_id, content_digest
             from farebox_private.usage_events
             where event_id = any($1)
                 and event_id between $2 and $3",
        )
        .await?;
    let rows = transaction
        .query(&statement, &[&event_ids, first, last])
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn booked(fields: &mut Fields, batch: &BatchContext<'_>, ready: &Priced, placement: &Placement) {
    fields.timestamp(batch.received_at);
    fields.integer(placement.period.0);
    fields.integer(placement.day);
    fields.boolean(placement.is_late);
    fields.boolean(batch.is_clock_suspect);
    money(fields, ready, placement);
    let record = &ready.record;
    fields.optional_text(record.place.node.as_deref());
    fields.optional_bigint(record.place.epoch);
    fields.optional_bigint(record.place.seq);
    fields.optional_bytes(record.content_sha256.as_ref().map(|hash| &hash[..]));
    fields.bytes(&record.digest);
    fields.optional_jsonb(record.further.as_deref());
    fields.optional_text(record.event.plan.as_deref());
}

fn money(fields: &mut Fields, ready: &Priced, placement: &Placement) {
    let is_repeat = placement.repeats.is_some();
    if is_repeat {
        fields.text("[]");
        fields.optional_usd(Some(Usd::ZERO));
        fields.optional_usd(Some(Usd::ZERO));
    } else {
        fields.text_by(|out| json::charges(out, &ready.charges));
        fields.optional_usd(ready.cost_usd);
        fields.optional_usd(ready.billed_usd);
    }
    fields.optional_usd(ready.record.claimed_usd);
    fields.boolean(!is_repeat && ready.is_mismatch());
    fields.text(placement.pricing(ready).name());
    for card in [&ready.rate_cards.cost, &ready.rate_cards.price] {
        let hash = card.as_deref().and_then(parse_sha256);
        fields.optional_bytes(hash.as_ref().map(|hash| &hash[..]));
    }
}
