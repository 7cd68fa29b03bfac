//! A socket's call is settled part by part: the settlement of one and the intent of the next are one
//! append, and a running part leaves checkpoints that a crash would make its row.

use std::time::Duration;

use farebox_pricing::event::{Ending, Event};
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::UsageSource;

use super::{Call, Clock, new_event_id, now, with_record};

/// The reason of a row that a crash made.
const INTERRUPTED: &str = "interrupted";

impl Call {
    /// Ends a part that is not the last and begins the next. Facts of the request go over into it.
    pub fn settle_part(&mut self, settle_interval: Duration) {
        let mut next = self.event.clone();
        next.started_at = now();
        next.event_id = new_event_id(next.started_at);
        next.part += 1;
        let mut next_evidence = Evidence {
            reader_version: self.evidence.reader_version,
            route: self.evidence.route.clone(),
            request: self.evidence.request.clone(),
            ..Evidence::default()
        };
        if let Some(status) = self.evidence.response.get("status").cloned() {
            next_evidence.response.insert("status", status);
        }
        let mut intent = self.as_interrupted(next.clone(), &next_evidence, settle_interval);
        let intent = with_record(&mut intent, <[u8]>::to_vec);

        let evidence = std::mem::replace(&mut self.evidence, next_evidence);
        let draft = (self.endpoint.usage_of)(&evidence);
        self.event.ending = Ending::Continues;
        self.event.is_final = false;
        self.fill_end(draft, evidence);
        self.shared.metrics.record_event(&self.event, self.cost_usd);
        let spool = &self.shared.spool;
        if let Some(ticket) = self.ticket.take() {
            let event_id = self.event.event_id;
            let appended = with_record(&mut self.event, |record| {
                let next_id = next.event_id;
                match spool.append_settlement_and_intent(ticket, record, next_id, &intent) {
                    Ok((_, ticket)) => Ok(ticket),
                    Err(unsettled) => {
                        // No room for another call: what was counted has its own.
                        let refusal = unsettled.refusal;
                        if let Err(error) = spool.append_settlement(unsettled.ticket, record) {
                            tracing::error!(%event_id, %error, "part cannot be spooled");
                        }
                        Err(refusal)
                    }
                }
            });
            match appended {
                Ok(ticket) => self.ticket = Some(ticket),
                Err(refusal) => {
                    self.shared.unrecorded.count(&next, &refusal);
                    self.shared.metrics.unrecorded(next.tenant_id.as_ref());
                }
            }
        }
        self.event = next;
        self.clock = Clock::start();
        self.cost_usd = None;
    }

    /// Replaces what a crash would say of the present part. Refused only where the spool is nearly
    /// full; then the last one stands.
    pub fn checkpoint(&mut self, settle_interval: Duration) {
        if self.ticket.is_none() {
            return;
        }
        let evidence = self.evidence.clone();
        let mut event = self.as_interrupted(self.event.clone(), &evidence, settle_interval);
        let Some(ticket) = &self.ticket else { return };
        let spool = &self.shared.spool;
        let appended = with_record(&mut event, |record| spool.append_checkpoint(ticket, record));
        if let Err(error) = appended {
            tracing::warn!(event_id = %event.event_id, %error, "checkpoint cannot be spooled");
        }
    }

    /// The last part has ended, and the socket with it.
    pub fn settle_socket(&mut self, ending: Ending) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        let evidence = std::mem::take(&mut self.evidence);
        let draft = (self.endpoint.usage_of)(&evidence);
        self.event.ending = ending;
        self.fill_end(draft, evidence);
        self.record();
    }

    /// The record of a part that goes on, as a crash would leave it: what is counted so far, and bounds
    /// of what may follow until the next checkpoint.
    fn as_interrupted(
        &mut self,
        event: Box<Event>,
        evidence: &Evidence,
        settle_interval: Duration,
    ) -> Box<Event> {
        let mut evidence = evidence.clone();
        evidence.counts.unseen_ms = u64::try_from(settle_interval.as_millis()).unwrap_or(u64::MAX);
        let mut draft = (self.endpoint.usage_of)(&evidence);
        draft.source = match draft.source {
            // More may have followed of which nothing is known.
            UsageSource::None => UsageSource::Missing,
            UsageSource::Reported => UsageSource::Partial,
            other => other,
        };
        draft.reason = Some(INTERRUPTED);
        let present = std::mem::replace(&mut self.event, event);
        self.event.ending = Ending::Interrupted;
        self.fill_end(draft, evidence);
        self.event.ended_at = None;
        self.event.duration_ms = None;
        self.cost_usd = None;
        std::mem::replace(&mut self.event, present)
    }
}
