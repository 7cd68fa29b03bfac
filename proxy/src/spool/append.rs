//! Appending: intents, checkpoints, settlements, and the ticket that ties them together.
//!
//! A [`Ticket`] is the right to settle one event, with room for it. Settling consumes it. One that is dropped
//! unsettled is counted, keeps its room and its intent, and can be taken up again; the next start finds it
//! in any case.

use std::fmt;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::calls::Open;
use super::record::{Draft, Kind};
use super::recovery;
use super::state::{State, second_of, started_ms};
use super::{Orphan, Own, Position, Refusal, Spool};

/// An intent in the spool whose settlement is to come.
pub struct Ticket {
    shared: Own,
    slot: u32,
    event_id: Uuid,
    position: Position,
    is_settled: bool,
}

impl Ticket {
    pub(super) fn new(shared: &Own, slot: u32, event_id: Uuid, position: Position) -> Self {
        Self {
            shared: shared.clone(),
            slot,
            event_id,
            position,
            is_settled: false,
        }
    }

    /// The event it is for.
    #[must_use]
    pub fn event_id(&self) -> Uuid {
        self.event_id
    }

    /// Where its intent was appended, to wait for with [`Spool::synced`].
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("event_id", &self.event_id)
            .finish_non_exhaustive()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        let slot = self.slot;
        self.shared.with(|state| {
            if let Some(open) = state.calls.of_slot(slot) {
                open.is_abandoned = true;
                state.counts.abandoned += 1;
            }
        });
    }
}

/// A settlement that was not appended, with the ticket to try again.
#[derive(Debug)]
pub struct Unsettled {
    /// Still open.
    pub ticket: Ticket,
    /// What was wrong; [`Refusal::TooLarge`] wants a smaller settlement.
    pub refusal: Refusal,
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "event {} is not settled: {}",
            self.ticket.event_id, self.refusal
        )
    }
}

impl std::error::Error for Unsettled {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.refusal)
    }
}

impl Spool {
    /// A record of about so many bytes is about to be made and appended. Costs next to nothing, and its append
    /// less.
    pub fn announce(&self, bytes: usize) {
        self.shared.ahead.ask_for(bytes);
    }

    /// Records that an upstream may see a call from now on, and holds room for its settlement.
    ///
    /// When this returns, the intent survives the death of this process; for the machine's see [`Spool::synced`].
    pub fn append_intent(&self, event_id: Uuid, intent: &[u8]) -> Result<Ticket, Refusal> {
        self.check_bytes(intent)?;
        let draft = Draft::new(Kind::Intent, event_id, intent, started_ms(event_id));
        let (slot, position) = self.shared.with(|state| {
            state.accepts_calls()?;
            let limits = &state.limits;
            let bytes = draft.bytes() as u64 + limits.reservation + limits.keep;
            state.want(bytes)?;
            let epoch = state.epoch;
            let position = state
                .append(&draft, epoch, 0)
                .map_err(|error| failing(&error))?;
            let open = Open {
                event_id,
                intent: Some(position),
                checkpoint: None,
                is_abandoned: false,
            };
            Ok((state.open(open), position))
        })?;
        Ok(Ticket::new(&self.shared, slot, event_id, position))
    }

    /// Replaces what a crash would say about this call. Refused when only settlements still have room.
    pub fn append_checkpoint(
        &self,
        ticket: &Ticket,
        checkpoint: &[u8],
    ) -> Result<Position, Refusal> {
        self.check_bytes(checkpoint)?;
        let draft = Draft::new(Kind::Checkpoint, ticket.event_id, checkpoint, now_ms());
        self.shared.with(|state| {
            state.accepts_rows()?;
            state.want(draft.bytes() as u64 + state.limits.keep)?;
            let epoch = state.epoch;
            let position = state
                .append(&draft, epoch, 0)
                .map_err(|error| failing(&error))?;
            state.repin(ticket.slot, Kind::Checkpoint, position);
            Ok(position)
        })
    }

    /// Settles an event now. There is always room, up to `settlement_bytes_max`.
    ///
    /// When this returns, the settlement survives the death of this process.
    pub fn append_settlement(
        &self,
        ticket: Ticket,
        settlement: &[u8],
    ) -> Result<Position, Unsettled> {
        self.append_settlement_at(ticket, settlement, now_ms())
    }

    /// The same for who knows what time it is, in milliseconds since 1970.
    pub fn append_settlement_at(
        &self,
        mut ticket: Ticket,
        settlement: &[u8],
        now_ms: u64,
    ) -> Result<Position, Unsettled> {
        if let Err(refusal) = self.check_bytes(settlement) {
            return Err(Unsettled { ticket, refusal });
        }
        let draft = Draft::new(Kind::Settlement, ticket.event_id, settlement, now_ms);
        let settled = self.shared.with(|state| {
            state.accepts_rows()?;
            let position = state
                .append_settling(&draft)
                .map_err(|error| failing(&error))?;
            state.close(ticket.slot, ticket.event_id, position);
            Ok(position)
        });
        match settled {
            Ok(position) => {
                ticket.is_settled = true;
                Ok(position)
            }
            Err(refusal) => Err(Unsettled { ticket, refusal }),
        }
    }

    /// Settles one part of a socket and records the intent of the next: both or neither.
    ///
    /// Refused like an intent; the settlement alone still has its room then.
    pub fn append_settlement_and_intent(
        &self,
        mut ticket: Ticket,
        settlement: &[u8],
        next_id: Uuid,
        intent: &[u8],
    ) -> Result<(Position, Ticket), Unsettled> {
        if let Err(refusal) = self
            .check_bytes(settlement)
            .and_then(|()| self.check_bytes(intent))
        {
            return Err(Unsettled { ticket, refusal });
        }
        let draft = Draft::turn(ticket.event_id, settlement, &next_id, intent, now_ms());
        let settled = self.shared.with(|state| {
            state.accepts_calls()?;
            state.want(draft.bytes() as u64 + state.limits.keep)?;
            let position = state
                .append_settling(&draft)
                .map_err(|error| failing(&error))?;
            state.close(ticket.slot, ticket.event_id, position);
            let open = Open {
                event_id: next_id,
                intent: Some(position),
                checkpoint: None,
                is_abandoned: false,
            };
            Ok((state.open(open), position))
        });
        match settled {
            Ok((slot, position)) => {
                ticket.is_settled = true;
                Ok((position, Ticket::new(&self.shared, slot, next_id, position)))
            }
            Err(refusal) => Err(Unsettled { ticket, refusal }),
        }
    }

    /// A row about calls that passed without an intent, from the room that is kept for such rows.
    pub fn append_unrecorded(
        &self,
        event_id: Uuid,
        settlement: &[u8],
    ) -> Result<Position, Refusal> {
        self.check_bytes(settlement)?;
        let draft = Draft::new(Kind::Settlement, event_id, settlement, now_ms());
        self.shared.with(|state| {
            state.accepts_rows()?;
            state.want(draft.bytes() as u64)?;
            let position = state
                .append_settling(&draft)
                .map_err(|error| failing(&error))?;
            state.queue(position, second_of(event_id));
            Ok(position)
        })
    }

    /// Takes up the calls whose tickets were dropped unsettled, so that they can be settled as interrupted.
    pub fn take_abandoned(&self) -> Vec<Orphan> {
        let (abandoned, staged) = self.shared.with(|state| {
            let abandoned: Vec<(u32, Open)> = state
                .calls
                .iter()
                .filter(|(_, open)| open.is_abandoned)
                .map(|(slot, open)| (slot, *open))
                .collect();
            state.set_abandoned(&abandoned, false);
            (abandoned, state.staging.staged())
        });
        if let Err(error) = staged.write() {
            tracing::error!(%error, "spool: cannot write a segment");
            // What they say cannot be read yet.
            self.shared
                .with(|state| state.set_abandoned(&abandoned, true));
            return Vec::new();
        }
        recovery::orphans(&self.shared, abandoned)
    }

    fn check_bytes(&self, payload: &[u8]) -> Result<(), Refusal> {
        let bytes_max = self.shared.payload_bytes_max;
        if payload.len() > bytes_max {
            return Err(Refusal::TooLarge {
                bytes: payload.len(),
                bytes_max,
            });
        }
        Ok(())
    }
}

impl State {
    fn set_abandoned(&mut self, calls: &[(u32, Open)], is_abandoned: bool) {
        for (slot, _) in calls {
            if let Some(open) = self.calls.of_slot(*slot) {
                open.is_abandoned = is_abandoned;
            }
        }
    }

    fn accepts_rows(&self) -> Result<(), Refusal> {
        if self.is_closed {
            Err(Refusal::Closed)
        } else {
            Ok(())
        }
    }

    fn accepts_calls(&self) -> Result<(), Refusal> {
        self.accepts_rows()?;
        if self.is_failing {
            Err(Refusal::Failing)
        } else {
            Ok(())
        }
    }
}

fn failing(error: &io::Error) -> Refusal {
    tracing::error!(%error, "spool: cannot append");
    Refusal::Failing
}

/// Milliseconds since 1970; records carry when they were appended.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
