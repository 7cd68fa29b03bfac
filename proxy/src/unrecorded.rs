//! Calls that passed while the spool could take no intent: counted, and told by one row a minute for
//! each tenant, upstream and key, from space the spool keeps for it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use farebox_pricing::event::{Ending, Event};
use farebox_pricing::usage::Usage;
use serde_json::Value;
use uuid::Uuid;

use crate::settle;
use crate::spool::{Refusal, Spool};

/// How often the rows are written.
pub const ROW_INTERVAL: Duration = Duration::from_secs(60);
/// Rows kept for one interval; calls past it are counted on the row of their upstream without tenant.
pub const ROWS_MAX: usize = 1_000;

type Key = (Option<String>, String, Option<Uuid>);

/// What is not written yet.
#[derive(Default)]
pub struct Unrecorded(Mutex<HashMap<Key, (Event, u64)>>);

impl Unrecorded {
    /// One more call without an intent.
    pub fn count(&self, event: &Event, why: &Refusal) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tenant = event
            .tenant_id
            .as_ref()
            .map(|tenant| tenant.as_str().to_owned());
        let mut key = (tenant, event.upstream.clone(), event.key_id);
        if rows.len() >= ROWS_MAX && !rows.contains_key(&key) {
            key = (None, event.upstream.clone(), None);
        }
        if rows.is_empty() {
            tracing::error!(%why, "calls pass unrecorded");
        }
        rows.entry(key)
            .or_insert_with_key(|key| (row_of(event, key), 0))
            .1 += 1;
    }

    /// Writes a row for each; what the spool still refuses stays for the next time.
    pub fn write(&self, spool: &Spool) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.retain(|_, (event, calls)| {
            event.started_at = settle::now();
            event.event_id = settle::new_event_id(event.started_at);
            event.call_id = event.event_id;
            event
                .metadata
                .insert("calls".to_owned(), Value::from(*calls));
            let event_id = event.event_id;
            settle::with_record(event, |record| spool.append_unrecorded(event_id, record)).is_err()
        });
    }
}

/// The row that stands for many calls keeps only what they share.
fn row_of(event: &Event, key: &Key) -> Event {
    let mut row = event.clone();
    if key.0.is_none() {
        row.tenant_id = None;
    }
    row.key_id = key.2;
    row.metadata.clear();
    for label in [
        &mut row.customer_id,
        &mut row.project,
        &mut row.agent,
        &mut row.revision,
        &mut row.session_id,
        &mut row.run_id,
        &mut row.span_id,
        &mut row.parent_span_id,
        &mut row.section,
        &mut row.model_requested,
    ] {
        *label = None;
    }
    row.request_bytes = None;
    row.usage_low = None;
    row.usage_high = None;
    row.usage = Usage::new();
    row.evidence = None;
    row.ending = Ending::Interrupted;
    row.usage_reason = Some("unrecorded".into());
    row
}
