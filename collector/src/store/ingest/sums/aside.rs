//! What a batch adds to many sums is set aside: copied into `new_sums`, which costs a tenth of growing each
//! sum, and keeps batches from waiting for each other's rows until they commit. `merge_sums` adds up what many
//! batches left; until then every reader of sums reads it as well.

use bytes::Bytes;
use deadpool_postgres::Transaction;
use farebox_pricing::time::Timestamp;
use futures_util::SinkExt;
use tokio_postgres::types::Type;

use super::BatchError;
use crate::ingest::months::HOUR_MILLIS;
use crate::rollup::{self, Set, Sum};
use crate::store::copy::{Fields, Rows};
use crate::store::{Client, StoreError};

/// First guess of a row's size, in bytes.
const ROW_BYTES: usize = 1_024;
/// So many bytes are sent at once.
const SEND_BYTES: usize = 256 * 1024;

const COPY: &str = "copy farebox_private.new_sums_rows (
        hour, day, period, tenant_id, customer_id, project, key_id, environment, paid_by, provider, endpoint,
        pricing, models, meters, quantities, costs_usd, billed_usd, events, unpriced_events)
    from stdin with (format binary)";
const COLUMNS: i16 = 19;

/// Leaves what a batch adds, to be merged later.
pub(super) async fn set(
    transaction: &Transaction<'_>,
    batch: &rollup::Batch<'_>,
) -> Result<(), BatchError> {
    let statement = transaction.prepare_cached(COPY).await?;
    let sink = transaction.copy_in::<_, Bytes>(&statement).await?;
    let mut sink = std::pin::pin!(sink);
    let mut rows = Rows::new(COLUMNS, SEND_BYTES + ROW_BYTES);
    for of_group in batch.sets() {
        put(rows.row(), &of_group);
        if rows.len() >= SEND_BYTES {
            sink.send(rows.take()).await?;
        }
    }
    sink.send(rows.finish()).await?;
    sink.finish().await?;
    Ok(())
}

fn put(fields: &mut Fields, of_group: &Set<'_, '_>) {
    let group = of_group.group;
    fields.timestamp(Timestamp::from_millis(of_group.hour * HOUR_MILLIS));
    // A tenant's day is within those that Postgres has.
    fields.integer(of_group.day as i32);
    fields.integer(group.period.0);
    fields.optional_text(group.tenant_id);
    fields.optional_text(group.customer_id);
    fields.optional_text(group.project);
    fields.optional_uuid(group.key_id);
    for text in [
        group.environment,
        group.paid_by,
        group.provider,
        group.endpoint,
        group.pricing,
    ] {
        fields.text(text);
    }
    let meters = of_group.meters;
    fields.array(&Type::TEXT, meters.keys(), |out, (model, _)| {
        out.optional_text(*model);
    });
    fields.array(&Type::TEXT, meters.keys(), |out, (_, meter)| {
        out.text(meter);
    });
    let mut amounts = |put: fn(&mut Fields, &Sum)| {
        fields.array(&Type::NUMERIC, meters.values(), put);
    };
    amounts(|out, sum| out.optional_decimal(Some(sum.quantity)));
    amounts(|out, sum| out.optional_usd(Some(sum.cost_usd)));
    amounts(|out, sum| out.optional_usd(Some(sum.billed_usd)));
    let mut counts = |put: fn(&mut Fields, &Sum)| {
        fields.array(&Type::INT8, meters.values(), put);
    };
    counts(|out, sum| out.optional_bigint(Some(sum.events)));
    counts(|out, sum| out.optional_bigint(Some(sum.unpriced_events)));
}

/// Merges what was set aside, unless another collector does; how many daily sums grew.
pub(crate) async fn merge(client: &Client) -> Result<i64, StoreError> {
    let statement = client
        .prepare_cached(
            "select farebox_private.merge_sums()
             where pg_try_advisory_xact_lock(hashtextextended('farebox_sums', 0))",
        )
        .await?;
    let merged = client.query_opt(&statement, &[]).await?;
    Ok(merged.map_or(0, |row| row.get(0)))
}
