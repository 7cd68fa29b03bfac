//! Calls that made their answers and said all of it claim nothing, which spares nearly every event a row and
//! the look for its place: two such calls are never each other's repeats. Whoever asks for an answer later
//! looks for them among the events, by the answer's id.
//!
//! An asking event and the call that made its answer may be booked at the same time, so that neither sees the
//! other. They are kept apart by an advisory lock: shared by batches that only make answers, and held alone by
//! one that asks, from before it looks until it commits. Asking is rare, and waits for milliseconds.

use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::Transaction;
use farebox_pricing::event::{EndpointKind, Event};
use farebox_pricing::usage::UsageSource;
use uuid::Uuid;

use super::super::objects::account_in;
use super::{DAY_MILLIS, Owner, REPEAT_DAYS_MAX, claim, first_id};
use crate::ingest::Priced;
use crate::store::ingest::BatchError;

/// Whether an event's call made its answer and says all of it.
pub(super) fn is_whole(event: &Event) -> bool {
    event.original
        && event.usage_source != UsageSource::Pending
        // Its results are in a file, and stand for it.
        && event.endpoint != EndpointKind::Batch
}

/// Waits until nobody books what this batch may ask for, or asks for what it makes.
pub(super) async fn attend(
    transaction: &Transaction<'_>,
    part: &[&Priced],
) -> Result<(), BatchError> {
    let Some(lock) = lock_of(part) else {
        return Ok(());
    };
    let statement = transaction.prepare_cached(lock).await?;
    transaction.execute(&statement, &[]).await?;
    Ok(())
}

fn lock_of(part: &[&Priced]) -> Option<&'static str> {
    let events = part.iter().map(|ready| &ready.record.event);
    let mut answers = events
        .filter(|event| event.response_id.is_some())
        .peekable();
    answers.peek()?;
    Some(match answers.all(|event| event.original) {
        true => "select pg_advisory_xact_lock_shared(hashtextextended('farebox_answers', 0))",
        false => "select pg_advisory_xact_lock(hashtextextended('farebox_answers', 0))",
    })
}

/// Leaves out the answers that need no claim: all of their events made them, and nobody asked before. `ids`
/// are those of the others.
pub(super) async fn leave_alone(
    transaction: &Transaction<'_>,
    answers: &mut BTreeMap<Uuid, Vec<usize>>,
    ids: &HashMap<Uuid, &str>,
) -> Result<(), BatchError> {
    let whole: Vec<Uuid> = answers
        .keys()
        .copied()
        .filter(|claim| !ids.contains_key(claim))
        .collect();
    if whole.is_empty() {
        return Ok(());
    }
    let statement = transaction
        .prepare_cached(
            "select claim
             from farebox_private.response_claims
             where claim = any($1)",
        )
        .await?;
    let rows = transaction.query(&statement, &[&whole]).await?;
    let asked: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
    answers.retain(|claim, _| ids.contains_key(claim) || asked.contains(claim));
    Ok(())
}

/// The events that were charged for the answers that are asked for now, though they claimed nothing.
pub(super) async fn told(
    transaction: &Transaction<'_>,
    part: &[&Priced],
    answers: &BTreeMap<Uuid, Vec<usize>>,
    ids: &HashMap<Uuid, &str>,
) -> Result<HashMap<Uuid, Owner>, BatchError> {
    let ids = asked_for(part, answers, ids);
    // A batch is sorted by id, and so by time.
    let (Some(first), false) = (part.first(), ids.is_empty()) else {
        return Ok(HashMap::new());
    };
    let since = first.record.event.started_at.as_millis() - REPEAT_DAYS_MAX * DAY_MILLIS;
    let statement = transaction
        .prepare_cached(
            "select event_id, call_id, provider, credential_id, tenant_id, response_id
             from farebox_private.usage_events
             where response_id = any($1)
                 and event_id >= $2
                 and pricing in ('priced', 'partial', 'unpriced')
             order by event_id",
        )
        .await?;
    let rows = transaction
        .query(&statement, &[&ids, &first_id(since)])
        .await?;
    let mut told = HashMap::new();
    for row in &rows {
        let account = account_in(row.get(3), row.get(4));
        if let Some(claim) = claim(row.get(2), &account, row.get(5)) {
            told.entry(claim).or_insert(Owner {
                event_id: row.get(0),
                call_id: row.get(1),
                is_original: true,
            });
        }
    }
    Ok(told)
}

/// The ids of the answers that an event asks for.
fn asked_for<'a>(
    part: &[&Priced],
    answers: &BTreeMap<Uuid, Vec<usize>>,
    ids: &HashMap<Uuid, &'a str>,
) -> Vec<&'a str> {
    let is_asking = |place: &usize| !part[*place].record.event.original;
    answers
        .iter()
        .filter(|(_, places)| places.iter().any(is_asking))
        .filter_map(|(claim, _)| ids.get(claim).copied())
        .collect()
}
