//! What the collector knows of the proxies themselves: their reports and the numbers received.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use deadpool_postgres::{Client, Transaction};
use uuid::Uuid;

use super::{BatchError, tenant_of};
use crate::config::RETENTION_DAYS_MIN;
use crate::ingest::{BatchContext, Priced};
use crate::store::StoreError;

/// Nothing younger is ever removed, in milliseconds.
const REMOVED_AGE_MIN_MS: i64 = RETENTION_DAYS_MIN as i64 * 24 * 60 * 60 * 1_000;

/// Notes the node's report, and the numbers of what is stored now. A retired node that ships again is
/// live again.
pub(super) async fn note<'a>(
    transaction: &Transaction<'_>,
    batch: &BatchContext<'_>,
    received: impl Iterator<Item = &'a Priced>,
) -> Result<(), BatchError> {
    let mut numbers: BTreeMap<(&str, i64), Vec<i64>> = BTreeMap::new();
    for ready in received {
        let place = &ready.record.place;
        if let (Some(node), Some(epoch), Some(seq)) = (&place.node, place.epoch, place.seq) {
            numbers.entry((node, epoch)).or_default().push(seq);
        }
    }
    if !numbers.is_empty() {
        let nodes: Vec<&str> = numbers.keys().map(|(node, _)| *node).collect();
        let epochs: Vec<i64> = numbers.keys().map(|(_, epoch)| *epoch).collect();
        let ranges: Vec<String> = numbers.into_values().map(multirange).collect();
        let statement = transaction
            .prepare_cached(
                "insert into farebox_private.received_sequences as received (node, epoch, ranges)
                 select node, epoch, ranges::int8multirange
                 from unnest($1::text[], $2::bigint[], $3::text[]) as new (node, epoch, ranges)
                 on conflict (node, epoch) do update
                 set ranges = received.ranges + excluded.ranges
                 where not received.ranges @> excluded.ranges",
            )
            .await?;
        transaction
            .execute(&statement, &[&nodes, &epochs, &ranges])
            .await?;
    }
    let sender = batch.sender;
    let statement = transaction
        .prepare_cached(
            "insert into farebox_private.nodes as nodes (node, epoch, last_seen_at, sent_at, open_since)
             select
                 $1,
                 $2,
                 timestamptz 'epoch' + $3::bigint * interval '1 millisecond',
                 timestamptz 'epoch' + $4::bigint * interval '1 millisecond',
                 timestamptz 'epoch' + $5::bigint * interval '1 millisecond'
             on conflict (node) do update
             set epoch = excluded.epoch,
                 last_seen_at = excluded.last_seen_at,
                 sent_at = excluded.sent_at,
                 open_since = excluded.open_since,
                 retired_at = null,
                 retired_by = null
             where nodes.epoch is null
                 or (excluded.epoch, excluded.sent_at) >= (nodes.epoch, nodes.sent_at)",
        )
        .await?;
    transaction
        .execute(
            &statement,
            &[
                &sender.node,
                &sender.epoch,
                &batch.received_at.as_millis(),
                &sender.sent_at.as_millis(),
                &sender.open_since.as_millis(),
            ],
        )
        .await?;
    Ok(())
}

/// Adds what was booked and then removed by retention: its number says that it was there. Only old
/// events are asked about, and they are rare; where nothing was ever removed, that alone is looked at.
pub(super) async fn add_removed(
    transaction: &Transaction<'_>,
    batch: &BatchContext<'_>,
    part: &[&Priced],
    booked_before: &mut HashMap<Uuid, Vec<u8>>,
) -> Result<(), BatchError> {
    let removed_at_most = batch.received_at.as_millis() - REMOVED_AGE_MIN_MS;
    let old: Vec<&Priced> = part
        .iter()
        .copied()
        .filter(|ready| ready.record.event.started_at.as_millis() < removed_at_most)
        .filter(|ready| !booked_before.contains_key(&ready.record.event.event_id))
        .collect();
    if old.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = old
        .iter()
        .map(|ready| ready.record.event.event_id)
        .collect();
    let tenants: Vec<Option<&str>> = old.iter().map(|ready| tenant_of(ready)).collect();
    let started: Vec<i64> = old
        .iter()
        .map(|ready| ready.record.event.started_at.as_millis())
        .collect();
    let nodes: Vec<Option<&str>> = old
        .iter()
        .map(|ready| ready.record.place.node.as_deref())
        .collect();
    let epochs: Vec<Option<i64>> = old.iter().map(|ready| ready.record.place.epoch).collect();
    let seqs: Vec<Option<i64>> = old.iter().map(|ready| ready.record.place.seq).collect();
    let statement = transaction
        .prepare_cached(
            "select event_id
             from unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[])
                 as old (event_id, tenant_id, started_ms, node, epoch, seq)
             join farebox_private.received_sequences as received
                 on received.node = old.node
                 and received.epoch = old.epoch
                 and received.ranges @> old.seq
             join farebox_private.retained
                 on retained.tenant_id is not distinct from old.tenant_id
                 and retained.removed_before
                     > timestamptz 'epoch' + old.started_ms * interval '1 millisecond'
             where exists (select from farebox_private.retained)
                 and not exists (
                     select from farebox_private.usage_events
                     where usage_events.event_id = old.event_id)",
        )
        .await?;
    let rows = transaction
        .query(
            &statement,
            &[&ids, &tenants, &started, &nodes, &epochs, &seqs],
        )
        .await?;
    let removed: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
    for ready in old {
        let event_id = ready.record.event.event_id;
        if removed.contains(&event_id) {
            booked_before.insert(event_id, ready.record.digest.to_vec());
        }
    }
    Ok(())
}

/// Numbers as Postgres reads a multirange: `{[1,4),[7,8)}`.
fn multirange(mut numbers: Vec<i64>) -> String {
    numbers.sort_unstable();
    numbers.dedup();
    let mut text = String::from("{");
    let mut rest = &numbers[..];
    while let [first, ..] = rest {
        let run = rest
            .iter()
            .zip(*first..)
            .take_while(|(number, expected)| **number == *expected)
            .count();
        let separator = if text.len() > 1 { "," } else { "" };
        // Writing to a String does not fail.
        let _ = write!(text, "{separator}[{first},{}]", rest[run - 1]);
        rest = &rest[run..];
    }
    text.push('}');
    text
}

/// How many numbers below the highest received are missing, over all nodes and epochs.
pub async fn sequence_holes(client: &Client) -> Result<i64, StoreError> {
    let statement = client
        .prepare_cached(
            "select coalesce(sum(
                 upper(received.ranges) - 1
                 - (select sum(upper(part) - lower(part)) from unnest(received.ranges) as part)
             ), 0)::bigint
             from farebox_private.received_sequences as received
             where not isempty(received.ranges)",
        )
        .await?;
    Ok(client.query_one(&statement, &[]).await?.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_numbers_become_ranges() {
        let check = |numbers: &[i64], expected: &str| {
            assert_eq!(multirange(numbers.to_vec()), expected);
        };
        check(&[], "{}");
        check(&[5], "{[5,5]}");
        check(&[3, 1, 2, 2, 7], "{[1,3],[7,7]}");
    }
}
