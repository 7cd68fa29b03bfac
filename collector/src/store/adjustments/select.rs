//! Which events a correction is about: by ids, by what they have in common, or by an earlier batch.

use deadpool_postgres::GenericClient;
use farebox_pricing::time::Timestamp;
use uuid::Uuid;

use super::{Standing, standings};
use crate::store::ingest::BatchError;

/// What events have in common. Nothing set is every event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) tenant: Option<String>,
    /// Those of no tenant.
    pub(crate) unattributed: bool,
    pub(crate) customer: Option<String>,
    pub(crate) project: Option<String>,
    pub(crate) key_id: Option<Uuid>,
    pub(crate) upstream: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) run: Option<String>,
    /// How far they are priced now.
    pub(crate) pricing: Option<String>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
}

/// The next events after an id, in the order of their ids, and the last id looked at, when there may
/// be more.
pub(crate) async fn selected(
    client: &impl GenericClient,
    selection: &Selection,
    after: Option<Uuid>,
    limit: u32,
) -> Result<(Vec<Standing>, Option<Uuid>), BatchError> {
    let limit = i64::from(limit);
    let from = selection.from.map(Timestamp::as_millis);
    let to = selection.to.map(Timestamp::as_millis);
    // Where an event was moved to stands in its corrections.
    let rows = client
        .query(
            "select event_id
             from farebox_private.usage_events as events
             where ($1::uuid is null or event_id > $1)
                 and ($2::bigint is null or event_id >= farebox_private.first_event_id(
                     timestamptz 'epoch' + $2 * interval '1 millisecond'))
                 and ($3::bigint is null or event_id < farebox_private.first_event_id(
                     timestamptz 'epoch' + $3 * interval '1 millisecond'))
                 and ($4::text is null or tenant_id = $4 or exists (
                     select from farebox_private.corrections
                     where corrections.event_id = events.event_id and corrections.tenant_id = $4))
                 and ($5::uuid is null or key_id = $5)
                 and ($6::text is null or upstream = $6)
                 and ($7::text is null or provider = $7)
                 and ($8::text is null or model = $8)
                 and ($9::text is null or session_id = $9)
                 and ($10::text is null or run_id = $10)
             order by event_id
             limit $11",
            &[
                &after,
                &from,
                &to,
                &selection.tenant,
                &selection.key_id,
                &selection.upstream,
                &selection.provider,
                &selection.model,
                &selection.session,
                &selection.run,
                &limit,
            ],
        )
        .await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
    let more = ids.last().copied().filter(|_| ids.len() as i64 == limit);
    let mut found = standings(client, &ids).await?;
    found.retain(|standing| selection.has(standing));
    Ok((found, more))
}

impl Selection {
    /// Whether an event has it in common as it stands now.
    fn has(&self, standing: &Standing) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
        };
        is(&self.tenant, standing.tenant())
            && (!self.unattributed || standing.tenant().is_none())
            && is(&self.customer, standing.event.customer_id.as_deref())
            && is(&self.project, standing.event.project.as_deref())
            && is(&self.pricing, Some(standing.pricing.name()))
    }
}

/// An event that was moved again since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UndoConflict(pub(crate) Uuid);

/// The next events that a batch moved, with where they were before.
pub(crate) async fn undoing(
    client: &impl GenericClient,
    batch_id: Uuid,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Result<Undoing, UndoConflict>, BatchError> {
    let limit = i64::from(limit);
    let rows = client
        .query(
            "select moved.event_id, moved.tenant_before, coalesce((
                     select customers.customer_id
                     from farebox_private.customers
                     where customers.tenant_id = moved.tenant_before
                         and customers.reference = moved.customer_before
                 ), moved.customer_before), moved.project_before,
                 exists (
                     select from farebox_private.corrections as later
                     where later.event_id = moved.event_id
                         and later.kind = 'retag'
                         and later.number > moved.number
                         and later.undoes is distinct from moved.batch_id
                 )
             from farebox_private.corrections as moved
             where moved.batch_id = $1
                 and moved.kind = 'retag'
                 and ($2::uuid is null or moved.event_id > $2)
             order by moved.event_id
             limit $3",
            &[&batch_id, &after, &limit],
        )
        .await?;
    if let Some(row) = rows.iter().find(|row| row.get(4)) {
        return Ok(Err(UndoConflict(row.get(0))));
    }
    let ids: Vec<Uuid> = rows.iter().map(|row| row.get(0)).collect();
    let more = ids.last().copied().filter(|_| ids.len() as i64 == limit);
    let before = rows
        .iter()
        .map(|row| Before {
            event_id: row.get(0),
            tenant_id: row.get(1),
            customer_id: row.get(2),
            project: row.get(3),
        })
        .collect();
    Ok(Ok(Undoing {
        standings: standings(client, &ids).await?,
        before,
        more,
    }))
}

/// Events of a batch.
pub(crate) struct Undoing {
    pub(crate) standings: Vec<Standing>,
    pub(crate) before: Vec<Before>,
    pub(crate) more: Option<Uuid>,
}

/// Where an event was.
pub(crate) struct Before {
    pub(crate) event_id: Uuid,
    pub(crate) tenant_id: Option<String>,
    pub(crate) customer_id: Option<String>,
    pub(crate) project: Option<String>,
}
