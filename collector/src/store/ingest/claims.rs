//! One charge for one answer of a provider, however often and through whichever proxy it is fetched.
//!
//! An answer that may be told of twice has one row in `response_claims`: the event that was charged for it,
//! and the one that waits for its usage. A call that made its answer and said all of it has none until
//! somebody asks for the answer (`meetings`). Two collectors that book the same answer at the same time meet in the row's
//! primary key; the second waits for the first to commit and then sees whom it charged. Rows are
//! taken in the order of their keys. Attempts and parts of one call are never each other's repeats, nor
//! are two calls that each made an answer, whatever id the vendor gave both. A file of a batch's results
//! answers for the batch, from when it is known to belong to it. What an event is to another is a row of
//! `event_links`, whichever of the two is booked first; events are never touched.

use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::Transaction;
use farebox_pricing::event::{Event, Pricing};
use farebox_pricing::time::Timestamp;
use farebox_pricing::usage::UsageSource;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{BatchError, Known, Placement, objects, tenant_of};
use crate::ingest::Priced;

mod meetings;

/// How long after a call its result may be fetched again and still be known as the same: vendors keep
/// stored answers for thirty days.
const REPEAT_DAYS_MAX: i64 = 35;
const DAY_MILLIS: i64 = 86_400_000;
/// Why a result that was fetched costs nothing, now and later.
const NOTHING_TO_BILL: [&str; 2] = ["failed", "no_results"];

/// An event and its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    event_id: Uuid,
    call_id: Uuid,
    is_original: bool,
}

/// How an event stands to another one: a row beside the two, of which either may be booked already.
struct Link<'a> {
    event_id: Uuid,
    relation: &'static str,
    other: Uuid,
    tenant: Option<&'a str>,
}

impl<'a> Link<'a> {
    fn settles(event_id: Uuid, pending: Uuid, tenant: Option<&'a str>) -> Self {
        let relation = "settles";
        Self {
            event_id,
            relation,
            other: pending,
            tenant,
        }
    }

    /// What an event that is booked now is to earlier ones.
    fn of(ready: &'a Priced, placement: &Placement) -> impl Iterator<Item = Self> {
        let relations = [
            ("settles", placement.settles),
            ("repeats", placement.repeats),
        ];
        relations
            .into_iter()
            .filter_map(|(relation, other)| Some((relation, other?)))
            .map(|(relation, other)| Self {
                event_id: ready.record.event.event_id,
                relation,
                other,
                tenant: tenant_of(ready),
            })
    }
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
    meetings::attend(transaction, part).await?;
    adopt(transaction, part, objects::note(transaction, part).await?).await?;
    let parts = objects::parts(transaction, part).await?;
    // In the order of the keys; the places of one key in the order of the events.
    let mut answers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
    let mut ids: HashMap<Uuid, &str> = HashMap::new();
    for (place, ready) in part.iter().enumerate() {
        let whole = parts.get(&place).map(String::as_str);
        let Some(id) = whole.or(ready.record.event.response_id.as_deref()) else {
            continue;
        };
        if let Some(claim) = claim_of(ready, id) {
            answers.entry(claim).or_default().push(place);
            if !meetings::is_whole(&ready.record.event) {
                ids.insert(claim, id);
            }
        }
    }
    meetings::leave_alone(transaction, &mut answers, &ids).await?;
    if answers.is_empty() {
        return Ok(());
    }
    let told = meetings::told(transaction, part, &answers, &ids).await?;
    let mut wanted = Vec::with_capacity(answers.len());
    let mut late = Vec::new();
    for (claim, places) in &answers {
        let mut new = Claim::default().or_told(told.get(claim), part, places);
        stand(&mut new, part, placements, places, &mut late);
        if new != Claim::default() {
            wanted.push((*claim, new));
        }
    }
    let inserted = insert(transaction, &wanted, known).await?;
    if inserted == answers.len() as u64 {
        return note(transaction, part, placements, late).await;
    }
    late.clear();
    // Somebody was there before, or an event only asks.
    let held = held(transaction, part, &answers).await?;
    for (claim, places) in &answers {
        let Some(before) = held.get(claim) else {
            continue;
        };
        for place in places {
            (placements[*place].settles, placements[*place].repeats) = (None, None);
        }
        let still = before.still_holds(part, places);
        let mut after = still.or_told(told.get(claim), part, places);
        stand(&mut after, part, placements, places, &mut late);
        if after != *before {
            update(transaction, *claim, after).await?;
        }
    }
    note(transaction, part, placements, late).await
}

/// The first half of a SHA-256 over who answered whom with what.
fn claim_of(ready: &Priced, id: &str) -> Option<Uuid> {
    let event = &ready.record.event;
    claim(&event.provider, &objects::account_of(event), id)
}

fn claim(provider: &str, account: &str, id: &str) -> Option<Uuid> {
    let mut hash = Sha256::new();
    for text in [provider, account, id] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let digest: [u8; 32] = hash.finalize().into();
    Uuid::from_slice(&digest[..16]).ok()
}

/// Lets the events of one answer find who stands for it, and stand for it themselves where nobody does.
fn stand<'a>(
    claim: &mut Claim,
    part: &[&'a Priced],
    placements: &mut [Placement],
    places: &[usize],
    late: &mut Vec<Link<'a>>,
) {
    for &place in places {
        let event = &part[place].record.event;
        let own = Owner {
            event_id: event.event_id,
            call_id: event.call_id,
            is_original: event.original,
        };
        let of_another_call = |owner: &Owner| owner.call_id != own.call_id;
        if let Some(pending) = claim.pending.filter(of_another_call)
            && tells(event)
        {
            placements[place].settles = Some(pending.event_id);
        }
        if is_charged(part[place].pricing) {
            let charged = *claim.charged.get_or_insert(own);
            placements[place].repeats = Some(charged)
                .filter(of_another_call)
                .filter(|charged| !(charged.is_original && own.is_original))
                .map(|charged| charged.event_id);
        }
        if event.usage_source == UsageSource::Pending && claim.pending.is_none() {
            claim.pending = Some(own);
            if let Some(charged) = claim.charged.filter(of_another_call) {
                let tenant = tenant_of(part[place]);
                late.push(Link::settles(charged.event_id, own.event_id, tenant));
            }
        }
    }
}

/// Whether an event says what an earlier one left open: its usage, or that there is nothing to bill.
fn tells(event: &Event) -> bool {
    match event.usage_source {
        UsageSource::Reported
        | UsageSource::Partial
        | UsageSource::Measured
        | UsageSource::Estimated => true,
        UsageSource::None => {
            let reason = event.usage_reason.as_deref();
            reason.is_some_and(|reason| NOTHING_TO_BILL.contains(&reason))
        }
        UsageSource::Missing | UsageSource::Pending => false,
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
    /// With the event that was charged before anybody claimed it.
    fn or_told(self, told: Option<&Owner>, part: &[&Priced], places: &[usize]) -> Self {
        let told = Self {
            charged: told.copied(),
            pending: None,
        };
        Self {
            charged: self.charged.or(told.still_holds(part, places).charged),
            ..self
        }
    }

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
    let is_original = |(_, new): &(Uuid, Claim)| new.charged.is_some_and(|own| own.is_original);
    let originals: Vec<bool> = wanted.iter().map(is_original).collect();
    // Looking before each insertion would cost as much again as the insertion.
    let statement = match known {
        Known::Nothing => {
            "insert into farebox_private.response_claims
                 (claim, charged_event_id, pending_event_id, charged_is_original)
             select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::boolean[])"
        }
        Known::AskFirst => {
            "insert into farebox_private.response_claims
                 (claim, charged_event_id, pending_event_id, charged_is_original)
             select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::boolean[])
             on conflict do nothing"
        }
    };
    let statement = transaction.prepare_cached(statement).await?;
    let inserted = transaction
        .execute(&statement, &[&claims, &charged, &pending, &originals])
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
            "select claim, charged_event_id, pending_event_id, charged_is_original
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
    let owner = |event_id: Option<Uuid>, is_original: bool| {
        event_id.map(|event_id| Owner {
            event_id,
            call_id: calls.get(&event_id).copied().unwrap_or(event_id),
            is_original,
        })
    };
    Ok(rows
        .iter()
        .map(|row| {
            let claim = Claim {
                charged: owner(row.get(1), row.get(3)),
                pending: owner(row.get(2), false),
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
             set charged_event_id = $2, pending_event_id = $3, charged_is_original = $4
             where claim = $1",
        )
        .await?;
    let id = |owner: Option<Owner>| owner.map(|owner| owner.event_id);
    transaction
        .execute(
            &statement,
            &[
                &claim,
                &id(after.charged),
                &id(after.pending),
                &after.charged.is_some_and(|charged| charged.is_original),
            ],
        )
        .await?;
    Ok(())
}

/// What a file of results was charged for, its batch was charged for; and that settles the call that
/// made the batch.
async fn adopt(
    transaction: &Transaction<'_>,
    part: &[&Priced],
    learnt: Vec<objects::Part<'_>>,
) -> Result<(), BatchError> {
    let claims = |(place, file, whole): &objects::Part<'_>| {
        let ready = part[*place];
        Some((claim_of(ready, file)?, claim_of(ready, whole)?, *place))
    };
    let pairs: Vec<(Uuid, Uuid, usize)> = learnt.iter().filter_map(claims).collect();
    if pairs.is_empty() {
        return Ok(());
    }
    let files: Vec<Uuid> = pairs.iter().map(|pair| pair.0).collect();
    let wholes: Vec<Uuid> = pairs.iter().map(|pair| pair.1).collect();
    let statement = transaction
        .prepare_cached(
            "insert into farebox_private.response_claims as known
                 (claim, charged_event_id, charged_is_original)
             select distinct on (pair.whole) pair.whole, held.charged_event_id, held.charged_is_original
             from unnest($1::uuid[], $2::uuid[]) as pair (file, whole)
             join farebox_private.response_claims as held on held.claim = pair.file
             where held.charged_event_id is not null
             order by pair.whole
             on conflict (claim) do update
             set charged_event_id = excluded.charged_event_id,
                 charged_is_original = excluded.charged_is_original
             where known.charged_event_id is null
             returning claim, charged_event_id, pending_event_id",
        )
        .await?;
    let rows = transaction.query(&statement, &[&files, &wholes]).await?;
    let mut late = Vec::new();
    for row in rows {
        let (whole, settling): (Uuid, Uuid) = (row.get(0), row.get(1));
        let place = pairs.iter().find(|pair| pair.1 == whole).map(|pair| pair.2);
        if let (Some(pending), Some(place)) = (row.get::<_, Option<Uuid>>(2), place) {
            late.push(Link::settles(settling, pending, tenant_of(part[place])));
        }
    }
    write(transaction, &late).await
}

/// Writes what the events booked now are to others, and the others to them.
async fn note<'a>(
    transaction: &Transaction<'_>,
    part: &[&'a Priced],
    placements: &[Placement],
    late: Vec<Link<'a>>,
) -> Result<(), BatchError> {
    let mut links = late;
    for (ready, placement) in part.iter().zip(placements) {
        links.extend(Link::of(ready, placement));
    }
    write(transaction, &links).await
}

async fn write(transaction: &Transaction<'_>, links: &[Link<'_>]) -> Result<(), BatchError> {
    if links.is_empty() {
        return Ok(());
    }
    let event_ids: Vec<Uuid> = links.iter().map(|link| link.event_id).collect();
    let relations: Vec<&str> = links.iter().map(|link| link.relation).collect();
    let others: Vec<Uuid> = links.iter().map(|link| link.other).collect();
    let tenants: Vec<Option<&str>> = links.iter().map(|link| link.tenant).collect();
    let statement = transaction
        .prepare_cached(
            "insert into farebox_private.event_links
                 (event_id, relation, other_event_id, tenant_id)
             select * from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[])
             on conflict do nothing",
        )
        .await?;
    transaction
        .execute(&statement, &[&event_ids, &relations, &others, &tenants])
        .await?;
    Ok(())
}
