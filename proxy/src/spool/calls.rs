//! The calls that are open: where their records lie, and which segments that pins.

use uuid::Uuid;

use super::Position;
use super::record::Kind;
use super::state::{State, second_of};

/// A call whose settlement is to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) event_id: Uuid,
    pub(super) intent: Option<Position>,
    pub(super) checkpoint: Option<Position>,
    /// Its ticket was dropped unsettled.
    pub(super) is_abandoned: bool,
}

/// All of them, by slot.
#[derive(Default)]
pub(super) struct OpenCalls {
    slots: Vec<Option<Open>>,
    free: Vec<u32>,
}

impl OpenCalls {
    /// The call in this slot.
    pub(super) fn of_slot(&mut self, slot: u32) -> Option<&mut Open> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// All with their slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Open)> {
        (0..)
            .zip(&self.slots)
            .filter_map(|(slot, open)| Some((slot, open.as_ref()?)))
    }

    /// All, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Open> {
        self.slots.iter_mut().flatten()
    }

    /// How many.
    pub(super) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn insert(&mut self, open: Open) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(open);
            return slot;
        }
        self.slots.push(Some(open));
        u32::try_from(self.slots.len() - 1).expect("open calls are bounded far below 2^32")
    }

    fn take(&mut self, slot: u32) -> Option<Open> {
        let open = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(open)
    }
}

impl State {
    /// Opens a call and reserves room for its settlement.
    pub(super) fn open(&mut self, open: Open) -> u32 {
        self.reserved += self.limits.reservation;
        self.count_started(second_of(open.event_id));
        for position in [open.intent, open.checkpoint].into_iter().flatten() {
            self.pin(position);
        }
        self.calls.insert(open)
    }

    /// Closes a call whose settlement has been appended at `position`, and queues that. The event stays counted by
    /// its second: it was open, now it is unshipped.
    pub(super) fn close(&mut self, slot: u32, event_id: Uuid, position: Position) {
        let Some(open) = self.calls.take(slot) else {
            return self.queue(position, second_of(event_id));
        };
        self.queue_counted(position, second_of(open.event_id));
        self.reserved = self.reserved.saturating_sub(self.limits.reservation);
        for old in [open.intent, open.checkpoint].into_iter().flatten() {
            self.unpin(old, position);
        }
    }

    /// Moves an open call's intent or checkpoint to a newer record.
    pub(super) fn repin(&mut self, slot: u32, kind: Kind, position: Position) {
        let Some(open) = self.calls.of_slot(slot) else {
            return;
        };
        let place = if kind == Kind::Checkpoint {
            &mut open.checkpoint
        } else {
            &mut open.intent
        };
        let old = place.replace(position);
        self.pin(position);
        if let Some(old) = old {
            self.unpin(old, position);
        }
    }

    /// Something open lies here now.
    pub(super) fn pin(&mut self, position: Position) {
        if let Some(segment) = self.segments.get_mut(&position.segment()) {
            segment.pins += 1;
        }
    }

    /// What was open here is settled, or its newest copy lies elsewhere.
    pub(super) fn unpin(&mut self, position: Position, obsolete_by: Position) {
        if let Some(segment) = self.segments.get_mut(&position.segment()) {
            segment.pins = segment.pins.saturating_sub(1);
            segment.obsolete_by = segment.obsolete_by.max(obsolete_by);
            self.wake.upkeep |= segment.pins == 0 && segment.unshipped == 0;
        }
    }
}
