//! A socket's call is settled part by part: the settlement of one and the intent of the next are one
//! append, and a running part leaves checkpoints that a crash would make its row.

use std::time::Duration;

use farebox_pricing::event::{Ending, Event};
use farebox_pricing::evidence::Evidence;
use farebox_pricing::price;
use farebox_pricing::rate_card::selling::Buyer;
use farebox_pricing::usage::UsageSource;

use super::{Call, Clock, new_event_id, now, with_record};
use crate::admission::SoFar;
use crate::config::OnUnrecordable;
use crate::failure::Code;

/// The reason of a row that a crash made.
const INTERRUPTED: &str = "interrupted";

/// What the evidence of the next part begins with: the facts that hold for the session.
#[must_use]
pub fn next_part(evidence: &Evidence) -> Evidence {
    let mut next = Evidence {
        reader_version: evidence.reader_version,
        route: evidence.route.clone(),
        request: evidence.request.clone(),
        ..Evidence::default()
    };
    if let Some(status) = evidence.response.get("status").cloned() {
        next.response.insert("status", status);
    }
    next
}

impl Call {
    /// Ends a part that is not the last and begins the next. Without room for the next one's intent the
    /// tenant's own choice holds: it is counted and runs without one, or, with the code, does not run
    /// and this part was the last.
    pub fn settle_part(&mut self, settle_interval: Duration) -> Result<(), Code> {
        let mut next = self.event.clone();
        next.started_at = now();
        next.event_id = new_event_id(next.started_at);
        next.part += 1;
        let next_evidence = next_part(&self.evidence);
        let mut intent = self.as_interrupted(next.clone(), &next_evidence, settle_interval);
        let intent = with_record(&mut intent, <[u8]>::to_vec);

        let evidence = std::mem::replace(&mut self.evidence, next_evidence);
        let draft = self.endpoint.draft(&evidence);
        self.event.ending = Ending::Continues;
        self.event.is_final = false;
        self.fill_end(draft, evidence);
        let spool = &self.worker.spool;
        let next_id = next.event_id;
        let appended = match self.ticket.take() {
            Some(ticket) => with_record(&mut self.event, |record| {
                spool
                    .append_settlement_and_intent(ticket, record, next_id, &intent)
                    .map(|(_, ticket)| ticket)
                    .map_err(|unsettled| (Some(unsettled.ticket), unsettled.refusal))
            }),
            // This part ran without an intent; there may be room again.
            None => spool
                .append_intent(next_id, &intent)
                .map_err(|refusal| (None, refusal)),
        };
        let mut ending = Ok(());
        match appended {
            Ok(ticket) => self.ticket = Some(ticket),
            Err((ticket, refusal)) => {
                if self.refuses_unrecorded() {
                    ending = Err(Code::CannotRecord);
                    self.event.ending = Ending::Cut;
                    self.event.is_final = true;
                    self.is_settled = true;
                } else {
                    self.worker.shared.note_unrecorded(&next, &refusal);
                }
                // No room for another call: what was counted has its own.
                if let Some(ticket) = ticket {
                    self.append_settlement(ticket);
                }
            }
        }
        self.worker
            .shared
            .metrics
            .record_event(&self.event, self.cost_usd);
        if ending.is_ok() {
            self.permit.spend(&self.event, self.cost_usd);
            self.event = next;
            self.clock = Clock::start();
            self.cost_usd = None;
        } else {
            self.permit.settle(&self.event, self.cost_usd);
        }
        ending
    }

    fn refuses_unrecorded(&self) -> bool {
        let tenant = self.event.tenant_id.as_ref();
        let tenant = tenant.and_then(|tenant| self.worker.shared.directory.tenant(tenant.as_str()));
        tenant.is_some_and(|tenant| tenant.settings().on_unrecordable == OnUnrecordable::Refuse)
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
        let spool = &self.worker.spool;
        let appended = with_record(&mut event, |record| spool.append_checkpoint(ticket, record));
        if let Err(error) = appended {
            tracing::warn!(event_id = %event.event_id, %error, "checkpoint cannot be spooled");
        }
    }

    /// Takes more of the call's limits where what passed by now comes near to what is held; the code of
    /// the one that has no more.
    pub fn cover(&mut self) -> Option<Code> {
        let draft = self.endpoint.draft(&self.evidence);
        let lines = &draft.lines;
        let (event, cards) = (&self.event, &self.view.cards);
        let paid_by = event.paid_by;
        let buyer = Buyer {
            tenant: event.tenant_id.as_ref().map(|tenant| tenant.as_str()),
            plan: event.plan.as_deref(),
            paid_by,
        };
        let priced = price::amounts(&event.provider, lines, cards, buyer, event.started_at);
        self.permit.cover(&SoFar {
            usage: draft.total(),
            billed: priced.billed_usd,
            cost: priced.cost_usd,
            paid_by,
        })
    }

    /// The last part has ended, and the socket with it.
    pub fn settle_socket(&mut self, ending: Ending) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        let evidence = std::mem::take(&mut self.evidence);
        let draft = self.endpoint.draft(&evidence);
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
        let mut draft = self.endpoint.draft(&evidence);
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
