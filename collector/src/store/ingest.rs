//! One transaction books a batch: claims on provider ids, `COPY` by `event_id`, roll-ups, the node's
//! report, commit.
//!
//! Locks are taken in one order by every collector: tenants, customers, months, answers, objects, claims, events by id,
//! hours, days, totals, sessions, activity, the node. A month stays open while its events are booked (`for share`; closing
//! takes `for update`).

use std::collections::{BTreeSet, HashMap};

use deadpool_postgres::Transaction;
use farebox_pricing::event::Pricing;
use farebox_pricing::time::Timestamp;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::StoreError;
use crate::ingest::months::{Calendar, Month, utc_month};
use crate::ingest::{BatchContext, Priced};

mod claims;
mod events;
mod objects;
mod reports;
pub(crate) mod sums;
pub(crate) mod tenants;

pub use reports::sequence_holes;

/// What became of a record that the database took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Booked {
    /// Booked now.
    Now,
    /// Booked now, without amounts: its provider id was charged before.
    AsRepeat,
    /// Booked before with the same content.
    Before,
    /// Booked before with other content.
    Otherwise,
}

/// What is known of a batch's ids before it is booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// They, and the provider ids they answer for, are taken as new; one that is not fails the batch,
    /// which is then to come again.
    Nothing,
    /// The ledger is asked which of them it has.
    AskFirst,
}

/// Why a batch was not booked; nothing of it is stored then.
#[derive(Debug)]
pub(crate) enum BatchError {
    /// A record of it can never be stored; halving finds which.
    Data(StoreError),
    /// An id was booked before, or another transaction was in the way; at once again, asking first.
    Again(StoreError),
    /// The database is away or refuses us.
    Store(StoreError),
}

impl<E: Into<StoreError>> From<E> for BatchError {
    fn from(error: E) -> Self {
        let error = error.into();
        let failed = match &error {
            StoreError::Failed(failed) => failed,
            StoreError::SumTooLarge => return Self::Data(error),
            _ => return Self::Store(error),
        };
        match failed.code() {
            Some(state)
                if *state == SqlState::T_R_DEADLOCK_DETECTED
                    || *state == SqlState::T_R_SERIALIZATION_FAILURE
                    || *state == SqlState::UNIQUE_VIOLATION =>
            {
                Self::Again(error)
            }
            // Data exceptions, broken constraints, a row too large for an index.
            Some(state) if ["22", "23", "54"].contains(&&state.code()[..2]) => Self::Data(error),
            _ => Self::Store(error),
        }
    }
}

/// Where an event is counted, and how it stands to others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    pub(crate) period: Month,
    /// Days since 2000-01-01, tenant-local.
    pub(crate) day: i32,
    pub(crate) is_late: bool,
    pub(crate) settles: Option<Uuid>,
    pub(crate) repeats: Option<Uuid>,
}

impl Placement {
    pub(crate) fn pricing(&self, ready: &Priced) -> Pricing {
        match self.repeats {
            Some(_) => Pricing::Repeat,
            None => ready.pricing,
        }
    }
}

/// Books a batch, sorted by id, and says of each record what became of it.
pub(crate) async fn book(
    batch: &BatchContext<'_>,
    part: &[&Priced],
    known: Known,
) -> Result<Vec<Booked>, BatchError> {
    let mut client = batch.store.client().await?;
    ensure_partitions(&client, part).await?;
    let transaction = client.transaction().await?;
    let mut booked_before = match known {
        Known::Nothing => HashMap::new(),
        Known::AskFirst => events::digests(&transaction, part).await?,
    };
    reports::add_removed(&transaction, batch, part, &mut booked_before).await?;
    let is_new = |ready: &&Priced| !booked_before.contains_key(&ready.record.event.event_id);
    let new: Vec<&Priced> = part.iter().copied().filter(is_new).collect();
    let calendars = tenants::calendars(&transaction, &new).await?;
    let references = tenants::customers(&transaction, &new).await?;
    let customers: Vec<Option<&str>> = new
        .iter()
        .map(|ready| {
            let customer = ready.record.event.customer_id.as_deref();
            references.of(tenant_of(ready), customer)
        })
        .collect();
    let mut placements = place(&transaction, &new, &calendars).await?;
    claims::take(&transaction, &new, &mut placements, known).await?;
    events::insert(&transaction, batch, &new, &placements, &customers).await?;
    let is_aside = sums::add(&transaction, &new, &placements, &customers).await?;
    tenants::note_sessions(&transaction, &new).await?;
    tenants::note_activity(&transaction, batch, &new).await?;
    tenants::note_keys(&transaction, &new).await?;
    let booked = outcomes(part, &booked_before, &placements);
    let received = part.iter().zip(&booked);
    let received = received.filter(|(_, booked)| **booked != Booked::Otherwise);
    reports::note(&transaction, batch, received.map(|(ready, _)| *ready)).await?;
    outlast_crash(&transaction).await?;
    transaction.commit().await?;
    if is_aside {
        batch.store.new_sums().notify_one();
    }
    Ok(booked)
}

/// A receipt lets the proxy forget the record, so the commit waits until it is written, also where the
/// server's own default is not to.
async fn outlast_crash(transaction: &Transaction<'_>) -> Result<(), BatchError> {
    let statement = transaction
        .prepare_cached(
            "select set_config('synchronous_commit', 'on', true)
             where current_setting('synchronous_commit') = 'off'",
        )
        .await?;
    transaction.execute(&statement, &[]).await?;
    Ok(())
}

/// Months are made ahead by `migrate`; any other month that an id names is made here, in its own
/// transaction, since the lock it takes should not wait for a batch.
async fn ensure_partitions(
    client: &deadpool_postgres::Client,
    part: &[&Priced],
) -> Result<(), BatchError> {
    // Sorted by id, and so by time.
    let mut months: Vec<i32> = part
        .iter()
        .map(|ready| utc_month(ready.record.event.started_at).0)
        .collect();
    months.dedup();
    if months.is_empty() {
        return Ok(());
    }
    let statement = client
        .prepare_cached(
            "select farebox_private.ensure_partition(date '2000-01-01' + month)
             from unnest($1::integer[]) as month
             where to_regclass(
                 'farebox_private.usage_events_'
                 || to_char(date '2000-01-01' + month, 'YYYYMM')) is null",
        )
        .await?;
    client.query(&statement, &[&months]).await?;
    Ok(())
}

/// The day of each event, and the month it is invoiced in, which is held open from here on.
async fn place(
    transaction: &Transaction<'_>,
    part: &[&Priced],
    calendars: &HashMap<&str, Calendar>,
) -> Result<Vec<Placement>, BatchError> {
    let utc = Calendar::utc();
    let own: Vec<(Option<&str>, i32, Month)> = part
        .iter()
        .map(|ready| {
            let tenant = tenant_of(ready);
            let calendar = tenant.and_then(|tenant| calendars.get(tenant));
            let at: Timestamp = ready.record.event.started_at;
            let (day, month) = calendar.unwrap_or(&utc).day(at);
            (tenant, day, month)
        })
        .collect();
    // One by one: few are different, and collecting would sort them all.
    let mut months: BTreeSet<(Option<&str>, Month)> = BTreeSet::new();
    for (tenant, _, month) in &own {
        months.insert((*tenant, *month));
    }
    let open = tenants::hold_open_months(transaction, months).await?;
    Ok(own
        .into_iter()
        .map(|(tenant, day, month)| {
            let period = open.get(&(tenant, month)).copied().unwrap_or(month);
            Placement {
                period,
                day,
                is_late: period != month,
                settles: None,
                repeats: None,
            }
        })
        .collect())
}

/// What became of each record; the placements are those of the new ones, in their order.
fn outcomes(
    part: &[&Priced],
    booked_before: &HashMap<Uuid, Vec<u8>>,
    placements: &[Placement],
) -> Vec<Booked> {
    let mut placements = placements.iter();
    part.iter()
        .map(|ready| {
            let record = &ready.record;
            match booked_before.get(&record.event.event_id) {
                Some(digest) if digest[..] != record.digest => Booked::Otherwise,
                Some(_) => Booked::Before,
                None if placements.next().is_some_and(|new| new.repeats.is_some()) => {
                    Booked::AsRepeat
                }
                None => Booked::Now,
            }
        })
        .collect()
}

/// The tenant's id, or nothing.
pub(crate) fn tenant_of(ready: &Priced) -> Option<&str> {
    ready.record.event.tenant_id.as_ref().map(|id| id.as_str())
}
