//! Spool → collector, at least once: a record is acknowledged only after the collector's receipt.
//!
//! A collector that is away costs nothing but patience: tries go on for ever, further and further
//! apart. One bad record never holds up its neighbours: the collector answers for each one, and a
//! batch that it refuses as a whole is halved until the bad record stands alone and is set aside.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use farebox_pricing::time::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::config::{ShipTo, SpoolConfig};
use crate::directory::unix_millis;
use crate::metrics::{Metrics, ShipOutcome};
use crate::spool::{Position, Spool};

mod batch;
pub(crate) mod link;

use batch::{Receipt, Record, Source};
use link::{Link, Sent, Stamp};

/// How time passes for the shipper.
struct Pace {
    /// The collector hears of us this often, records or not.
    report: Duration,
    /// Once there is something to ship, this long more of it is waited for.
    linger: Duration,
    /// A record that the collector cannot take yet, or that cannot be set aside, waits this long.
    hold: Duration,
    /// A record that is so old and still cannot be taken is set aside: it would keep its segment, and
    /// what lies behind it, on the disk for ever.
    retry_max: Duration,
}

const PACE: Pace = Pace {
    report: Duration::from_secs(5),
    linger: Duration::from_millis(50),
    hold: Duration::from_secs(15),
    retry_max: Duration::from_secs(24 * 60 * 60),
};
/// Waits between tries while the collector is away: doubled from the first to the last, and of
/// that a random part, so that proxies do not come back all at once.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);
const BACK_OFF_LAST: Duration = Duration::from_secs(30);
/// The collector's `retry-after` is honoured up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Requeued records in one batch.
const REQUEUED_RECORDS_MAX: usize = 100;

/// Ships until `stop`, then as long as the drain allows.
pub async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let config = &shared.config;
    let Some(ship_to) = &config.ship_to else {
        stop.cancelled().await;
        return;
    };
    let shipper = Shipper::new(
        shared.spool.clone(),
        Arc::clone(&shared.metrics),
        ship_to,
        &config.spool,
    );
    let shipper = match shipper {
        Ok(shipper) => Shipper {
            urgent: shared.owners.urgent(),
            ..shipper
        },
        Err(error) => {
            tracing::error!(%error, "nothing can be shipped");
            stop.cancelled().await;
            return;
        }
    };
    let drain = Duration::from_secs(config.proxy.drain_ship_seconds);
    shipper.ship(stop, drain).await;
}

struct Shipper {
    spool: Spool,
    metrics: Arc<Metrics>,
    link: Link,
    records_max: usize,
    bytes_max: usize,
    pace: Pace,
    /// In flight in the spool, to be released at their time, the earliest first.
    held: Vec<(Instant, Position)>,
    back_off: Duration,
    /// What is there is wanted at the collector at once.
    urgent: Arc<Notify>,
}

/// The collector is away, or does not want us now.
#[derive(Debug, PartialEq, Eq)]
struct Away {
    retry_after: Option<Duration>,
}

impl Shipper {
    fn new(
        spool: Spool,
        metrics: Arc<Metrics>,
        ship_to: &ShipTo,
        config: &SpoolConfig,
    ) -> Result<Self, link::InvalidTarget> {
        Ok(Self {
            spool,
            metrics,
            link: Link::new(ship_to, config.ship_compression)?,
            records_max: config.ship_records_max.clamp(1, batch::RECORDS_MAX),
            bytes_max: config.ship_bytes_max.clamp(1, batch::BYTES_MAX),
            pace: PACE,
            held: Vec::new(),
            back_off: BACK_OFF_FIRST,
            urgent: Arc::default(),
        })
    }

    async fn ship(mut self, stop: CancellationToken, drain: Duration) {
        let end = async {
            stop.cancelled().await;
            sleep(drain).await;
        };
        tokio::select! {
            () = self.work(&stop) => {}
            () = end => tracing::info!("shipping ends with records left in the spool"),
        }
    }

    /// Until the stop, and from then on until nothing is left that can be shipped.
    async fn work(&mut self, stop: &CancellationToken) {
        let mut next_report = Instant::now();
        loop {
            self.release_held(Instant::now());
            let draining = stop.is_cancelled();
            if draining && !self.is_anything_left().await {
                return;
            }
            let is_report = tokio::select! {
                biased;
                () = sleep_until(next_report) => true,
                () = self.spool.shippable() => false,
                () = sleep_until(self.next_release()) => continue,
                () = stop.cancelled(), if !draining => continue,
            };
            let done = if is_report {
                next_report = Instant::now() + self.pace.report;
                self.report_and_requeue().await
            } else {
                if !draining {
                    tokio::select! {
                        () = sleep(self.pace.linger) => {}
                        () = self.urgent.notified() => {}
                        () = stop.cancelled() => {}
                    }
                }
                self.ship_what_is_there().await
            };
            if let Err(away) = done {
                self.wait_out(&away, stop, draining).await;
            }
        }
    }

    /// Whether a drain has something to wait for: records that are not held, synced or not.
    async fn is_anything_left(&self) -> bool {
        let spool = self.spool.clone();
        let unshipped = tokio::task::spawn_blocking(move || spool.stats().unshipped).await;
        unshipped.is_ok_and(|unshipped| unshipped > self.held.len() as u64)
    }

    async fn ship_what_is_there(&mut self) -> Result<(), Away> {
        loop {
            let (spool, records_max, bytes_max) =
                (self.spool.clone(), self.records_max, self.bytes_max);
            let taking =
                tokio::task::spawn_blocking(move || spool.next_batch(records_max, bytes_max));
            let taken = taking
                .await
                .unwrap_or_else(|error| Err(io::Error::other(error)));
            let batch = taken.map_err(|error| {
                tracing::error!(%error, "spooled records cannot be read");
                Away { retry_after: None }
            })?;
            if batch.is_empty() {
                return Ok(());
            }
            let is_full = batch.len() >= self.records_max;
            self.ship_batch(batch.into_iter().map(Record::from).collect())
                .await?;
            if !is_full {
                return Ok(());
            }
        }
    }

    /// Says that we are alive, and ships what somebody asked to ship again.
    async fn report_and_requeue(&mut self) -> Result<(), Away> {
        let spool = self.spool.clone();
        let reading =
            tokio::task::spawn_blocking(move || spool.next_requeued(REQUEUED_RECORDS_MAX));
        let requeued = reading
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        let requeued = requeued.unwrap_or_else(|error| {
            tracing::error!(%error, "requeued records cannot be read");
            Vec::new()
        });
        if requeued.is_empty() {
            return self.report().await;
        }
        self.ship_batch(requeued.into_iter().map(Record::from).collect())
            .await
    }

    async fn report(&mut self) -> Result<(), Away> {
        match self.send(&[]).await {
            Sent::Receipts(_) => {
                self.back_off = BACK_OFF_FIRST;
                Ok(())
            }
            Sent::Away(retry_after) => Err(Away { retry_after }),
            Sent::Refused(status, _) => {
                tracing::error!(status, "the collector refuses a report without records");
                Err(Away { retry_after: None })
            }
        }
    }

    /// Ships a batch, halving it where the collector refuses it as a whole.
    async fn ship_batch(&mut self, batch: Vec<Record>) -> Result<(), Away> {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.send(&part).await {
                Sent::Receipts(receipts) => {
                    self.back_off = BACK_OFF_FIRST;
                    self.settle(part, receipts).await;
                }
                Sent::Refused(..) if part.len() > 1 => {
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
                Sent::Refused(status, answer) => {
                    // Refused with nothing in it as well: then it is not the record's fault.
                    if let Err(away) = self.report().await {
                        parts.push(part);
                        self.give_back(parts);
                        return Err(away);
                    }
                    let reason = format!("the collector answers {status}");
                    for record in part {
                        self.set_aside(record, &reason, &answer).await;
                        self.metrics.shipped(ShipOutcome::Rejected);
                    }
                }
                Sent::Away(retry_after) => {
                    parts.push(part);
                    self.give_back(parts);
                    return Err(Away { retry_after });
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, records: &[Record]) -> Sent {
        let now = Timestamp::from_millis(unix_millis());
        let oldest = self.spool.oldest_open_or_unshipped_started_at();
        let oldest = oldest.and_then(|millis| i64::try_from(millis).ok());
        let stamp = Stamp {
            node: self.spool.node(),
            epoch: self.spool.epoch(),
            sent_at: now,
            open_since: oldest.map_or(now, Timestamp::from_millis),
        };
        let body = batch::body(records, self.spool.node());
        self.link.post(&stamp, body, records.len()).await
    }

    /// Does with each record what the collector said of it.
    async fn settle(&mut self, records: Vec<Record>, receipts: Vec<Receipt>) {
        let mut received = Vec::with_capacity(records.len());
        for (record, receipt) in records.into_iter().zip(receipts) {
            let outcome = receipt.outcome();
            self.metrics.shipped(outcome);
            match outcome {
                ShipOutcome::Accepted | ShipOutcome::Duplicate => match record.source {
                    Source::Spool(position) => received.push(position),
                    Source::Requeue(requeued) => {
                        if let Err(error) = self.spool.acknowledge_requeued(&requeued) {
                            tracing::error!(%error, "a requeued record stays");
                        }
                    }
                },
                ShipOutcome::Retry => {
                    let reason = receipt.reason.as_deref().unwrap_or("no reason");
                    tracing::warn!(event_id = %record.event_id, reason, "the collector cannot take a record yet");
                    if self.waits_for_ever(&record) {
                        let reason = format!("{}: {reason}", outcome.name());
                        self.set_aside(record, &reason, &receipt.to_json()).await;
                    } else {
                        self.hold(&record.source);
                    }
                }
                ShipOutcome::Rejected | ShipOutcome::Conflict => {
                    let reason = receipt.reason.as_deref().unwrap_or("no reason");
                    let reason = format!("{}: {reason}", outcome.name());
                    self.set_aside(record, &reason, &receipt.to_json()).await;
                }
            }
        }
        self.spool.acknowledge(&received);
    }

    /// Whether a record that cannot be taken yet has waited long enough in the spool. One that was set
    /// aside before goes back there at once: whoever asked for it sees that it came too early.
    fn waits_for_ever(&self, record: &Record) -> bool {
        let age_ms = u64::try_from(unix_millis())
            .unwrap_or_default()
            .saturating_sub(record.appended_ms);
        matches!(record.source, Source::Requeue(_))
            || Duration::from_millis(age_ms) >= self.pace.retry_max
    }

    async fn set_aside(&mut self, record: Record, reason: &str, receipt: &str) {
        let event_id = record.event_id;
        tracing::error!(%event_id, reason, "a record is set aside");
        let (spool, reason, receipt) = (self.spool.clone(), reason.to_owned(), receipt.to_owned());
        let source = record.source.clone();
        let writing = tokio::task::spawn_blocking(move || match &record.source {
            Source::Spool(position) => spool.set_aside(*position, &reason, &receipt),
            Source::Requeue(requeued) => spool.set_aside_requeued(requeued, &reason, &receipt),
        });
        let written = writing
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)));
        if let Err(error) = written {
            tracing::error!(%event_id, %error, "a record cannot be set aside yet");
            self.hold(&source);
        }
    }

    /// Keeps a record out of the next batches. A requeued one is read again anyway.
    fn hold(&mut self, source: &Source) {
        if let Source::Spool(position) = source {
            self.held.push((Instant::now() + self.pace.hold, *position));
        }
    }

    fn next_release(&self) -> Instant {
        let far = Instant::now() + self.pace.hold;
        self.held.first().map_or(far, |(at, _)| *at)
    }

    fn release_held(&mut self, now: Instant) {
        let due = self.held.partition_point(|(at, _)| *at <= now);
        let due: Vec<Position> = self
            .held
            .drain(..due)
            .map(|(_, position)| position)
            .collect();
        if !due.is_empty() {
            self.spool.release(&due);
        }
    }

    fn give_back(&self, parts: Vec<Vec<Record>>) {
        let positions: Vec<Position> = parts
            .into_iter()
            .flatten()
            .filter_map(|record| match record.source {
                Source::Spool(position) => Some(position),
                Source::Requeue(_) => None,
            })
            .collect();
        self.spool.release(&positions);
    }

    /// Waits before the next try. The beginning of the stop ends the wait once: the drain is short.
    async fn wait_out(&mut self, away: &Away, stop: &CancellationToken, draining: bool) {
        let wait = match away.retry_after {
            Some(retry_after) => retry_after.min(RETRY_AFTER_MAX),
            None => jittered(self.back_off),
        };
        self.back_off = (self.back_off * 2).min(BACK_OFF_LAST);
        let until = Instant::now() + wait;
        if draining {
            sleep_until(until).await;
        } else if timeout_at(until, stop.cancelled()).await.is_ok() {
            self.back_off = BACK_OFF_FIRST;
        }
    }
}

/// Between half and the whole of it.
fn jittered(wait: Duration) -> Duration {
    let half = wait / 2;
    let spread = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_micros(RandomState::new().build_hasher().finish() % spread)
}

#[cfg(test)]
mod tests;
