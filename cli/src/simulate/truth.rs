//! The truth log: what the simulated upstream served, in the disjoint meters of the event.
//!
//! It is kept apart from everything that reads wire formats: each vendor's file first decides the
//! meters, then writes the wire from them. So a comparison with the ledger tests the whole way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

/// Calls kept; the oldest go first, and `dropped` says how many.
const CALLS_MAX: usize = 2_000_000;

/// One billable call.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// `openai`, `anthropic` or `deepgram`.
    pub(crate) provider: &'static str,
    /// The model billed.
    pub(crate) model: String,
    /// The id the caller saw in the answer.
    pub(crate) response_id: String,
    /// What decides between rates.
    pub(crate) conditions: BTreeMap<&'static str, String>,
    /// Disjoint quantities as decimal text; a meter of zero is not listed.
    pub(crate) usage: BTreeMap<&'static str, String>,
    /// The last byte was handed to the connection.
    pub(crate) is_finished: bool,
}

/// The log; cheap to append to, read as a whole.
#[derive(Default)]
pub(crate) struct Truth(Mutex<Log>);

#[derive(Default)]
struct Log {
    calls: VecDeque<Served>,
    dropped: u64,
}

/// A call in the log whose answer is still leaving.
pub(super) struct ServedCall {
    truth: Arc<Truth>,
    number: u64,
}

impl ServedCall {
    /// The last byte has been handed over.
    pub(super) fn finish(self) {
        let mut log = self.truth.lock();
        let index = self.number.checked_sub(log.dropped);
        if let Some(served) = index
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| log.calls.get_mut(index))
        {
            served.is_finished = true;
        }
    }
}

impl Truth {
    fn lock(&self) -> std::sync::MutexGuard<'_, Log> {
        // Nothing panics while holding the lock; a poisoned log is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a call before its first byte leaves.
    pub(super) fn record(self: &Arc<Self>, served: Served) -> ServedCall {
        let mut log = self.lock();
        if log.calls.len() == CALLS_MAX {
            log.calls.pop_front();
            log.dropped += 1;
        }
        let number = log.dropped + log.calls.len() as u64;
        log.calls.push_back(served);
        drop(log);
        ServedCall {
            truth: Arc::clone(self),
            number,
        }
    }

    /// Every call kept, oldest first.
    pub(crate) fn calls(&self) -> Vec<Served> {
        self.lock().calls.iter().cloned().collect()
    }

    /// As `GET /_truth` shows it.
    pub(crate) fn to_json(&self) -> Value {
        let log = self.lock();
        let calls: Vec<Value> = log
            .calls
            .iter()
            .map(|served| {
                json!({
                    "provider": served.provider,
                    "model": served.model,
                    "response_id": served.response_id,
                    "conditions": served.conditions,
                    "usage": served.usage,
                    "is_finished": served.is_finished,
                })
            })
            .collect();
        json!({ "calls": calls, "dropped": log.dropped })
    }
}

/// Meters from counts, leaving out what is zero.
pub(super) fn meters<const N: usize>(
    counts: [(&'static str, u64); N],
) -> BTreeMap<&'static str, String> {
    counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(meter, count)| (meter, count.to_string()))
        .collect()
}
