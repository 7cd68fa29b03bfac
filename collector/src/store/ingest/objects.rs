//! Things that vendors keep, noted with the events that name them: whose they are, and which file
//! holds which batch's results. The first row of a thing stays, whoever names it later.

use std::borrow::Cow;
use std::collections::HashMap;

use deadpool_postgres::Transaction;
use farebox_pricing::event::{EndpointKind, Event};
use uuid::Uuid;

use super::{BatchError, tenant_of};
use crate::ingest::Priced;

/// The event's place in the batch, the file, and what it is a part of.
pub(super) type Part<'a> = (usize, &'a str, &'a str);

/// Where a vendor's ids are told apart: the credential, which rotation keeps; of a caller's own one we
/// know no more than the tenant. No credential's name holds a slash.
pub(super) fn account_of(event: &Event) -> Cow<'_, str> {
    let tenant = event.tenant_id.as_ref().map(|id| id.as_str());
    account_in(event.credential_id.as_deref(), tenant)
}

/// The same of an event's columns.
pub(super) fn account_in<'a>(credential: Option<&'a str>, tenant: Option<&str>) -> Cow<'a, str> {
    match credential {
        Some(credential) => Cow::Borrowed(credential),
        None => Cow::Owned(format!("tenant/{}", tenant.unwrap_or_default())),
    }
}

/// Notes what the events name, and gives the files that are known from now on to hold a batch's
/// results.
pub(super) async fn note<'a>(
    transaction: &Transaction<'_>,
    part: &[&'a Priced],
) -> Result<Vec<Part<'a>>, BatchError> {
    let mut named: Vec<(usize, &'a str)> = Vec::new();
    for (place, ready) in part.iter().enumerate() {
        let objects = ready.record.event.objects.iter();
        named.extend(objects.map(|object| (place, object.as_str())));
    }
    if named.is_empty() {
        return Ok(Vec::new());
    }
    // In one order for every collector; of one batch's events the earliest names a thing.
    let event = |place: usize| -> &'a Event { &part[place].record.event };
    named.sort_by(|(left, a), (right, b)| {
        let (left, right) = (event(*left), event(*right));
        (&left.provider, account_of(left), a, left.event_id).cmp(&(
            &right.provider,
            account_of(right),
            b,
            right.event_id,
        ))
    });
    named.dedup_by(|(later, b), (earlier, a)| {
        let (later, earlier) = (event(*later), event(*earlier));
        a == b && earlier.provider == later.provider && account_of(earlier) == account_of(later)
    });
    let providers: Vec<&str> = named
        .iter()
        .map(|(place, _)| &*event(*place).provider)
        .collect();
    let accounts: Vec<Cow<'_, str>> = named
        .iter()
        .map(|(place, _)| account_of(event(*place)))
        .collect();
    let accounts: Vec<&str> = accounts.iter().map(|account| &**account).collect();
    let ids: Vec<&str> = named.iter().map(|(_, object)| *object).collect();
    let tenants: Vec<Option<&str>> = named
        .iter()
        .map(|(place, _)| tenant_of(part[*place]))
        .collect();
    let events: Vec<Uuid> = named
        .iter()
        .map(|(place, _)| event(*place).event_id)
        .collect();
    let wholes: Vec<Option<&str>> = named
        .iter()
        .map(|(place, object)| whole_of(event(*place), object))
        .collect();
    let statement = transaction
        .prepare_cached(
            "insert into farebox_private.objects
                 (provider, account, object_id, tenant_id, event_id, part_of)
             select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[])
             on conflict do nothing
             returning event_id, object_id, part_of",
        )
        .await?;
    let rows = transaction
        .query(
            &statement,
            &[&providers, &accounts, &ids, &tenants, &events, &wholes],
        )
        .await?;
    let inserted: HashMap<(Uuid, &str), ()> = rows
        .iter()
        .filter(|row| row.get::<_, Option<&str>>(2).is_some())
        .map(|row| ((row.get(0), row.get(1)), ()))
        .collect();
    Ok(named
        .into_iter()
        .filter(|(place, object)| inserted.contains_key(&(event(*place).event_id, object)))
        .filter_map(|(place, object)| Some((place, object, whole_of(event(place), object)?)))
        .collect())
}

/// The batch that a file belongs to: what names it is a call that asked for the batch.
fn whole_of<'a>(event: &'a Event, object: &str) -> Option<&'a str> {
    let is_asking = event.endpoint == EndpointKind::Batch && !event.original;
    let whole = event.response_id.as_deref().filter(|_| is_asking)?;
    (whole != object).then_some(whole)
}

/// The batch for which an event's answer stands, by the event's place, where that is another id than
/// the answer's.
pub(super) async fn parts(
    transaction: &Transaction<'_>,
    part: &[&Priced],
) -> Result<HashMap<usize, String>, BatchError> {
    let asking: Vec<(usize, &Event, &str)> = part
        .iter()
        .enumerate()
        .map(|(place, ready)| (place, &*ready.record.event))
        .filter(|(_, event)| event.endpoint == EndpointKind::Batch && !event.original)
        .filter_map(|(place, event)| Some((place, event, event.response_id.as_deref()?)))
        .collect();
    if asking.is_empty() {
        return Ok(HashMap::new());
    }
    let providers: Vec<&str> = asking
        .iter()
        .map(|(_, event, _)| &*event.provider)
        .collect();
    let accounts: Vec<Cow<'_, str>> = asking
        .iter()
        .map(|(_, event, _)| account_of(event))
        .collect();
    let accounts: Vec<&str> = accounts.iter().map(|account| &**account).collect();
    let ids: Vec<&str> = asking.iter().map(|(_, _, id)| *id).collect();
    let statement = transaction
        .prepare_cached(
            "select asked.place, known.part_of
             from unnest($1::text[], $2::text[], $3::text[]) with ordinality
                 as asked (provider, account, object_id, place)
             join farebox_private.objects as known using (provider, account, object_id)
             where known.part_of is not null",
        )
        .await?;
    let rows = transaction
        .query(&statement, &[&providers, &accounts, &ids])
        .await?;
    Ok(rows
        .iter()
        .filter_map(|row| {
            let number = usize::try_from(row.get::<_, i64>(0) - 1).ok()?;
            Some((asking.get(number)?.0, row.get(1)))
        })
        .collect())
}
