//! One charge for one answer of a provider, however often and through whichever proxy it is fetched.
//!
//! Each answer has one row in `response_claims`: the event that was charged for it, and the one that
//! waits for its usage. Two collectors that book the same answer at the same time meet in the row's
//! primary key; the second waits for the first to commit and then sees whom it charged. Rows are
//! taken in the order of their keys. Attempts and parts of one call are never each other's repeats.

use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::Transaction;
use farebox_pricing::event::Pricing;
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::UsageSource;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{BatchError, Known, Placement, tenant_of};
use crate::ingest::Priced;

/// How long after a call its result may be fetched again and still be known as the same: vendors keep
/// stored answers for thirty days.
const REPEAT_DAYS_MAX: i64 = 35;
const DAY_MILLIS: i64 = 86_400_000;

/// An event and its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    event_id: Uuid,
    call_id: Uuid,
}

/// Who stands for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Claim {
    charged: Option<Owner>,
    pending: Option<Owner>,
}

/// Finds events that answer for a provider id which an earlier event was charged for (`repeats`), or
/// whose usage an earlier event left pending (`settles`), and claims the ids that nobody has.
pub(super) async fn take(
    transaction: &Transaction<'_>,
    part: &[&Priced],
    placements: &mut [Placement],
    known: Known,
) -> Result<(), BatchError> {
    // In the order of the keys; the places of one key in the order of the events.
    let mut answers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    for (place, ready) in part.iter().enumerate() {
        if let Some(claim) = claim_of(ready) {
            answers.entry(claim).or_default().push(place);
        }
    }
    if answers.is_empty() {
        return Ok(());
    }
    let mut wanted = Vec::with_capacity(answers.len());
    for (claim, places) in &answers {
        let mut new = Claim::default();
        stand(&mut new, part, placements, places);
        if new != Claim::default() {
            wanted.push((*claim, new));
        }
    }
    let inserted = insert(transaction, &wanted, known).await?;
    if inserted == answers.len() as u64 {
        return Ok(());
    }
    // Somebody was there before, or an event only asks.
    let held = held(transaction, part, &answers).await?;
    for (claim, places) in &answers {
        let Some(before) = held.get(claim) else {
            continue;
        };
        for place in places {
            (placements[*place].settles, placements[*place].repeats) = (None, None);
        }
        let mut after = before.still_holds(part, places);
        stand(&mut after, part, placements, places);
        if after != *before {
            update(transaction, *claim, after).await?;
        }
    }
    Ok(())
}

/// The first half of a SHA-256 over who asked whom for what.
fn claim_of(ready: &Priced) -> Option<Uuid> {
    let event = &ready.record.event;
    let response_id = event.response_id.as_deref()?;
    let mut hash = Sha256::new();
    for text in [tenant_of(ready), Some(&event.upstream), Some(response_id)] {
        // No text is as long as `null`, so that no two lists of texts look the same.
        let length = text.map_or(u64::MAX, |text| text.len() as u64);
        hash.update(length.to_be_bytes());
        hash.update(text.unwrap_or_default());
    }
    let digest: [u8; 32] = hash.finalize().into();
    Uuid::from_slice(&digest[..16]).ok()
}

/// Lets the events of one answer find who stands for it, and stand for it themselves where nobody does.
fn stand(claim: &mut Claim, part: &[&Priced], placements: &mut [Placement], places: &[usize]) {
    for &place in places {
        let event = &part[place].record.event;
        let own = Owner {
            event_id: event.event_id,
            call_id: event.call_id,
        };
        let of_another_call = |owner: &Owner| owner.call_id != own.call_id;
        if let Some(pending) = claim.pending.filter(of_another_call) {
            placements[place].settles = Some(pending.event_id);
        }
        if is_charged(part[place].pricing) {
            let charged = *claim.charged.get_or_insert(own);
            placements[place].repeats = Some(charged)
                .filter(of_another_call)
                .map(|charged| charged.event_id);
        }
        if event.usage_source == UsageSource::Pending {
            claim.pending.get_or_insert(own);
        }
    }
}

/// Whether an event of this pricing asks money for its lines, now or when a rate is found.
fn is_charged(pricing: Pricing) -> bool {
    matches!(
        pricing,
        Pricing::Priced | Pricing::Partial | Pricing::Unpriced
    )
}

impl Claim {
    /// Without owners that are so old that the same id means another answer.
    fn still_holds(self, part: &[&Priced], places: &[usize]) -> Self {
        let started_at = places
            .iter()
            .map(|place| part[*place].record.event.started_at)
            .min()
            .unwrap_or_default();
        let since = first_id(started_at.as_millis() - REPEAT_DAYS_MAX * DAY_MILLIS);
        let is_young = |owner: &Owner| owner.event_id >= since;
        Self {
            charged: self.charged.filter(is_young),
            pending: self.pending.filter(is_young),
        }
    }
}

/// The lowest id of a millisecond.
fn first_id(millis: i64) -> Uuid {
    let at = Timestamp::from_millis(millis.max(0)).as_millis() as u64;
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&at.to_be_bytes()[2..]);
    Uuid::from_bytes(bytes)
}

/// Claims what nobody has, and says how many those were. Waits for others that claim the same now.
/// Where the batch is taken as new, one claim that somebody has fails it.
async fn insert(
    transaction: &Transaction<'_>,
    wanted: &[(Uuid, Claim)],
    known: Known,
) -> Result<u64, BatchError> {
    if wanted.is_empty() {
        return Ok(0);
    }
    let claims: Vec<Uuid> = wanted.iter().map(|(claim, _)| *claim).collect();
    let id = |owner: Option<Owner>| owner.map(|owner| owner.event_id);
    let charged: Vec<Option<Uuid>> = wanted.iter().map(|(_, new)| id(new.charged)).collect();
    let pending: Vec<Option<Uuid>> = wanted.iter().map(|(_, new)| id(new.pending)).collect();
    // Looking before each insertion would cost as much again as the insertion.
    let statement = match known {
        Known::Nothing => {
            "insert into farebox_private.response_claims (claim, charged_event_id, pending_event_id)
             select * from unnest($1::uuid[], $2::uuid[], $3::uuid[])"
        }
        Known::AskFirst => {
            "insert into farebox_private.response_claims (claim, charged_event_id, pending_event_id)
             select * from unnest($1::uuid[], $2::uuid[], $3::uuid[])
             on conflict do nothing"
        }
    };
    let statement = transaction.prepare_cached(statement).await?;
    let inserted = transaction
        .execute(&statement, &[&claims, &charged, &pending])
        .await?;
    Ok(inserted)
}

/// The claims as they stand, held until we are done.
async fn held(
    transaction: &Transaction<'_>,
    part: &[&Priced],
    answers: &BTreeMap<Uuid, Vec<usize>>,
) -> Result<HashMap<Uuid, Claim>, BatchError> {
    let claims: Vec<Uuid> = answers.keys().copied().collect();
    let statement = transaction
        .prepare_cached(
            "select claim, charged_event_id, pending_event_id
             from farebox_private.response_claims
             where claim = any($1)
             order by claim
             for update",
        )
        .await?;
    let rows = transaction.query(&statement, &[&claims]).await?;
    let owners: Vec<Uuid> = rows
        .iter()
        .flat_map(|row| [row.get::<_, Option<Uuid>>(1), row.get(2)])
        .flatten()
        .collect();
    let mut calls = calls(transaction, &owners).await?;
    // What was claimed just now is not in the ledger yet.
    calls.extend(part.iter().map(|ready| {
        let event = &ready.record.event;
        (event.event_id, event.call_id)
    }));
    // Without its event a claim is of a call of its own.
    let owner = |event_id: Option<Uuid>| {
        event_id.map(|event_id| Owner {
            event_id,
            call_id: calls.get(&event_id).copied().unwrap_or(event_id),
        })
    };
    Ok(rows
        .iter()
        .map(|row| {
            let claim = Claim {
                charged: owner(row.get(1)),
                pending: owner(row.get(2)),
            };
            (row.get(0), claim)
        })
        .collect())
}

async fn calls(
    transaction: &Transaction<'_>,
    event_ids: &[Uuid],
) -> Result<HashMap<Uuid, Uuid>, BatchError> {
    let statement = transaction
        .prepare_cached(
            "select event_id, call_id
             from farebox_private.usage_events
             where event_id = any($1)",
        )
        .await?;
    let rows = transaction.query(&statement, &[&event_ids]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn update(
    transaction: &Transaction<'_>,
    claim: Uuid,
    after: Claim,
) -> Result<(), BatchError> {
    let statement = transaction
        .prepare_cached(
            "update farebox_private.response_claims
             set charged_event_id = $2, pending_event_id = $3
             where claim = $1",
        )
        .await?;
    let id = |owner: Option<Owner>| owner.map(|owner| owner.event_id);
    transaction
        .execute(
            &statement,
            &[&claim, &id(after.charged), &id(after.pending)],
        )
        .await?;
    Ok(())
}
