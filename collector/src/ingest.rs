//! A batch of records from a proxy: check each one, price it again, book what is good, and say of
//! each what became of it.
//!
//! One bad record never blocks its neighbours: what cannot be read is refused before the database is
//! asked, and a batch that the database refuses is halved until the bad record stands alone. Every
//! record gets exactly one receipt, in the order in which it came; a receipt is given only after the
//! transaction that booked the record has committed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{SystemTime, UNIX_EPOCH};

use farebox_pricing::event::{Charge, Pricing, RateCards};
use farebox_pricing::money::Usd;
use farebox_pricing::price::{UnknownRevision, price_event_as_stamped};
use farebox_pricing::rate_card::CardSet;
use farebox_pricing::time::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::cards::Cards;
use crate::store::ingest::{BatchError, Booked, Known};
use crate::store::{Store, StoreError};

pub mod body;
pub mod check;
pub(crate) mod json;
pub mod months;
mod record;
pub(crate) mod row;

use body::InvalidBody;
use check::Checked;

/// Most records one request may hold.
pub const BATCH_RECORDS_MAX: usize = 1_000;
/// Most bytes of a request's body, decompressed.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Milliseconds by which a proxy's clock and ours may differ before its events are marked.
pub const CLOCK_DIFFERENCE_MAX_MS: u64 = 5 * 60 * 1_000;
/// Times a record is priced again with a revision that was fetched for it: its card, its selling
/// rules, and a card that its card names.
const LESSONS_MAX: u32 = 3;
/// Times a batch is tried again because another one was in its way.
const RETRIES_MAX: u32 = 8;

/// What a request says of the proxy that sent it.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The proxy's name.
    pub node: String,
    /// Its process start.
    pub epoch: i64,
    /// Its clock when it sent.
    pub sent_at: Timestamp,
    /// Earliest `started_at` of what it has not shipped yet.
    pub open_since: Timestamp,
}

/// The collector's clock.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Booked now.
    Accepted,
    /// Booked before, with the same content.
    Duplicate,
    /// Can never be booked; the reason says why.
    Rejected,
    /// The id is booked with other content.
    Conflict,
    /// Cannot be booked yet; the reason says what is missing.
    Retry,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [
        Self::Accepted,
        Self::Duplicate,
        Self::Rejected,
        Self::Conflict,
        Self::Retry,
    ];

    /// The name in JSON and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Rejected => "rejected",
            Self::Conflict => "conflict",
            Self::Retry => "retry",
        }
    }
}

/// The answer for one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// The record's id, where one could be read.
    pub event_id: Option<Uuid>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, unless it is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The answer for a batch.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// One for each record, in their order.
    pub receipts: Vec<Receipt>,
    /// How many booked records had another figure claimed by the proxy.
    pub price_mismatches: u64,
}

/// A record that is ready to be booked.
pub(crate) struct Priced {
    /// Its place in the batch.
    pub(crate) position: usize,
    pub(crate) record: Checked,
    pub(crate) charges: Vec<Charge>,
    pub(crate) cost_usd: Option<Usd>,
    pub(crate) billed_usd: Option<Usd>,
    pub(crate) pricing: Pricing,
    pub(crate) rate_cards: RateCards,
}

impl Priced {
    /// Whether the proxy claimed another figure than ours.
    pub(crate) fn is_mismatch(&self) -> bool {
        self.record.claimed_usd.is_some() && self.record.claimed_usd != self.billed_usd
    }
}

/// A request's records, read and priced.
#[derive(Default)]
pub struct Batch {
    /// One for each record; what cannot be booked has its own already.
    receipts: Vec<Option<Receipt>>,
    priced: Vec<Priced>,
    waiting: Vec<Unknown>,
    /// Records whose id came before in this batch: their place, the first one's, and whether they are the same.
    repeated: Vec<(usize, Uuid, usize, bool)>,
}

/// Reads a request's body, and prices its records by the revisions in memory.
pub fn read(body: &[u8], cards: &Cards) -> Result<Batch, InvalidBody> {
    let set = cards.in_force();
    let mut batch = Batch::default();
    let mut first_of: HashMap<Uuid, (usize, [u8; 32])> = HashMap::new();
    body::records(body, |read| {
        let position = batch.receipts.len();
        batch.receipts.push(None);
        let record = match read {
            Ok(record) => record,
            Err(refused) => {
                batch.receipts[position] = Some(Receipt {
                    event_id: refused.event_id,
                    outcome: Outcome::Rejected,
                    reason: Some(refused.reason),
                });
                return;
            }
        };
        let event_id = record.event.event_id;
        match first_of.entry(event_id) {
            Entry::Occupied(first) => {
                let (first, digest) = first.get();
                let is_same = *digest == record.digest;
                batch.repeated.push((position, event_id, *first, is_same));
                return;
            }
            Entry::Vacant(entry) => entry.insert((position, record.digest)),
        };
        match price_again(position, record, &set) {
            Ok(ready) => batch.priced.push(ready),
            Err(unknown) => batch.waiting.push(*unknown),
        }
    })?;
    Ok(batch)
}

/// Books a batch. An error means that nothing of it may be taken as stored, and that the same batch
/// is to be sent again; what was stored of it then comes back as `duplicate`.
pub async fn ingest(
    store: &Store,
    cards: &Cards,
    sender: &Sender,
    batch: Batch,
    received_at: Timestamp,
) -> Result<Answer, StoreError> {
    let Batch {
        mut receipts,
        mut priced,
        waiting,
        repeated,
    } = batch;
    for unknown in learn(store, cards, waiting, &mut priced).await? {
        receipts[unknown.position] = Some(Receipt {
            event_id: Some(unknown.record.event.event_id),
            outcome: Outcome::Retry,
            reason: Some(unknown.missing.to_string()),
        });
    }
    // Ids grow with time, so that pages of the indexes are filled in order. A record is large; only
    // its address is moved.
    let mut in_order: Vec<&Priced> = priced.iter().collect();
    in_order.sort_unstable_by_key(|ready| ready.record.event.event_id);

    let mut price_mismatches = 0;
    let batch = BatchContext {
        store,
        sender,
        received_at,
        is_clock_suspect: sender.sent_at.as_millis().abs_diff(received_at.as_millis())
            > CLOCK_DIFFERENCE_MAX_MS,
    };
    book_halving(&batch, &in_order, &mut receipts, &mut price_mismatches).await?;
    for (position, event_id, first, is_same) in repeated {
        receipts[position] = Some(receipt_of_repeat(
            event_id,
            receipts[first].as_ref(),
            is_same,
        ));
    }
    let receipts = receipts
        .into_iter()
        .map(|receipt| receipt.expect("every record got a receipt above"))
        .collect();
    Ok(Answer {
        receipts,
        price_mismatches,
    })
}

/// What all transactions of one request share.
pub(crate) struct BatchContext<'a> {
    pub(crate) store: &'a Store,
    pub(crate) sender: &'a Sender,
    pub(crate) received_at: Timestamp,
    pub(crate) is_clock_suspect: bool,
}

/// A record whose revision is not in memory.
struct Unknown {
    position: usize,
    record: Checked,
    missing: UnknownRevision,
}

/// Prices what waits for revisions that the database has; the rest waits on.
async fn learn(
    store: &Store,
    cards: &Cards,
    mut waiting: Vec<Unknown>,
    priced: &mut Vec<Priced>,
) -> Result<Vec<Unknown>, StoreError> {
    for _ in 0..LESSONS_MAX {
        if waiting.is_empty() {
            break;
        }
        let missing = waiting.iter().map(|unknown| &unknown.missing);
        let set = cards.with_revisions(store, missing).await?;
        let again = std::mem::take(&mut waiting);
        for unknown in again {
            match price_again(unknown.position, unknown.record, &set) {
                Ok(ready) => priced.push(ready),
                Err(unknown) => waiting.push(*unknown),
            }
        }
    }
    Ok(waiting)
}

/// Prices by the revisions the proxy used. A record that names none is priced by the active ones.
fn price_again(position: usize, record: Checked, cards: &CardSet) -> Result<Priced, Box<Unknown>> {
    let priced = match price_event_as_stamped(&record.event, cards) {
        Ok(priced) => priced,
        Err(missing) => {
            return Err(Box::new(Unknown {
                position,
                record,
                missing,
            }));
        }
    };
    Ok(Priced {
        position,
        record,
        charges: priced.charges,
        cost_usd: priced.cost_usd,
        billed_usd: priced.billed_usd,
        pricing: priced.pricing,
        rate_cards: priced.rate_cards,
    })
}

/// Books all, or halves what the database refuses until the refused records stand alone.
async fn book_halving(
    batch: &BatchContext<'_>,
    priced: &[&Priced],
    receipts: &mut [Option<Receipt>],
    price_mismatches: &mut u64,
) -> Result<(), StoreError> {
    let mut pending = vec![priced];
    let mut retries = 0;
    // Nearly every record comes once, so the ledger is not asked first whether it knows one; but where
    // one came again, others do.
    let mut known = batch.store.caution().look();
    // An empty batch still brings the node's report.
    while let Some(part) = pending.pop() {
        match crate::store::ingest::book(batch, part, known).await {
            Ok(booked) => note(part, booked, receipts, price_mismatches),
            Err(BatchError::Again(_)) if retries < RETRIES_MAX => {
                retries += 1;
                known = Known::AskFirst;
                batch.store.caution().raise();
                pending.push(part);
            }
            Err(BatchError::Data(error)) => match part {
                [] => return Err(error),
                [alone] => {
                    receipts[alone.position] = Some(Receipt {
                        event_id: Some(alone.record.event.event_id),
                        outcome: Outcome::Rejected,
                        reason: Some(error.to_string()),
                    });
                }
                several => {
                    let (left, right) = several.split_at(several.len() / 2);
                    pending.push(right);
                    pending.push(left);
                }
            },
            Err(BatchError::Again(error) | BatchError::Store(error)) => return Err(error),
        }
    }
    Ok(())
}

fn note(
    part: &[&Priced],
    booked: Vec<Booked>,
    receipts: &mut [Option<Receipt>],
    price_mismatches: &mut u64,
) {
    for (ready, booked) in part.iter().zip(booked) {
        // A repeat's claim is not wrong: only the ledger knows that its id was charged before.
        *price_mismatches += u64::from(booked == Booked::Now && ready.is_mismatch());
        let (outcome, reason) = match booked {
            Booked::Now | Booked::AsRepeat => (Outcome::Accepted, None),
            Booked::Before => (Outcome::Duplicate, Some("booked before")),
            Booked::Otherwise => (
                Outcome::Conflict,
                Some("this id is booked with other content"),
            ),
        };
        receipts[ready.position] = Some(Receipt {
            event_id: Some(ready.record.event.event_id),
            outcome,
            reason: reason.map(str::to_owned),
        });
    }
}

/// A second record of one id in the same batch goes by what became of the first.
fn receipt_of_repeat(event_id: Uuid, first: Option<&Receipt>, is_same: bool) -> Receipt {
    let first = first.expect("the first record of an id has its receipt before later ones");
    let (outcome, reason) = match first.outcome {
        Outcome::Accepted | Outcome::Duplicate if is_same => {
            (Outcome::Duplicate, Some("twice in this batch".to_owned()))
        }
        Outcome::Accepted | Outcome::Duplicate => (
            Outcome::Conflict,
            Some("this id is booked with other content".to_owned()),
        ),
        Outcome::Rejected | Outcome::Retry | Outcome::Conflict => {
            (first.outcome, first.reason.clone())
        }
    };
    Receipt {
        event_id: Some(event_id),
        outcome,
        reason,
    }
}
