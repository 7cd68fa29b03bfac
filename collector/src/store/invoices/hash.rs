//! What a closed invoice is known by: one hash over its lines, one over every event and adjustment
//! with its amount. Both can be made again with the SQL of docs/billing.md.

use std::fmt::Write;

use deadpool_postgres::Transaction;
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use tokio_postgres::Error;
use uuid::Uuid;

use super::close::Month;

/// A month's entries, counted and hashed.
pub(super) struct Entries {
    pub(super) sha256: String,
    pub(super) count: i64,
}

/// The entries of a month in the order of their ids, one line each: the id, a space, `billed_usd`
/// (`null` where it is not known), a line feed. Read as they come: memory does not grow with them.
pub(super) async fn of_entries(
    transaction: &Transaction<'_>,
    tenant: &str,
    month: &Month,
) -> Result<Entries, Error> {
    let rows = transaction
        .query_raw(
            "select id::text, amount
             from (
                 select event_id as id, trim_scale(billed_usd)::text as amount
                 from farebox_private.usage_events
                 where tenant_id = $1
                     and period = $2::text::date
                     and environment = 'live'
                     and not is_late
                     and started_at >= $3::text::timestamptz - interval '2 days'
                     and started_at < $4::text::timestamptz + interval '2 days'
                 union all
                 select event_id, trim_scale(billed_usd)::text
                 from farebox_private.usage_events
                 where tenant_id = $1
                     and period = $2::text::date
                     and environment = 'live'
                     and is_late
                 union all
                 select adjustment_id, trim_scale(billed_usd)::text
                 from farebox_private.adjustments
                 where tenant_id = $1
                     and period = $2::text::date
                     and environment = 'live'
             ) as entries
             order by id",
            &[
                tenant,
                month.first_day.as_str(),
                month.from_at.as_str(),
                month.to_at.as_str(),
            ],
        )
        .await?;
    let mut rows = std::pin::pin!(rows);
    let mut hash = Sha256::new();
    let mut count = 0;
    while let Some(row) = rows.try_next().await? {
        let (id, amount): (&str, Option<&str>) = (row.try_get(0)?, row.try_get(1)?);
        hash.update(id);
        hash.update(" ");
        hash.update(amount.unwrap_or("null"));
        hash.update("\n");
        count += 1;
    }
    Ok(Entries {
        sha256: hex(&hash.finalize()),
        count,
    })
}

/// The lines as the database has them, so that its SQL gives the same.
pub(super) async fn of_lines(
    transaction: &Transaction<'_>,
    invoice_id: Uuid,
) -> Result<String, Error> {
    let row = transaction
        .query_one(
            "select encode(sha256(convert_to(coalesce(string_agg(
                 concat_ws('|', line, kind, coalesce(provider, ''), coalesce(model, ''),
                     coalesce(meter, ''), coalesce(trim_scale(quantity)::text, ''),
                     trim_scale(billed_usd), coalesce(corrects::text, ''), coalesce(text, '')),
                 E'\n' order by line), ''), 'UTF8')), 'hex')
             from farebox_private.invoice_lines
             where invoice_id = $1",
            &[&invoice_id],
        )
        .await?;
    row.try_get(0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
