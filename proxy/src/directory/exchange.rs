//! What proxies tell each other and the operator through Postgres, beside the directory's own
//! changes: sessions that were learnt, and refused calls for the audit log.
//!
//! Sessions come without a notification: each look asks for what was written by transactions that the
//! look before could not see, so that nothing is missed and little comes twice. What cannot be
//! written stays here and is tried at the next look.

use std::time::Instant;

use farebox_pricing::id::TenantId;
use tokio_postgres::types::Json;
use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use crate::refusals::{self, Refusals};
use crate::sessions::{Inherited, SESSIONS_MAX, Session, SessionKey, Sessions};

/// Sessions told in one statement.
const TOLD_MAX: usize = 1_000;

/// What is exchanged.
#[derive(Default)]
pub struct Exchange {
    /// Sessions' tenants and labels.
    pub sessions: Sessions,
    /// Refused calls that are not in the audit log yet.
    pub refusals: Refusals,
}

/// How far one connection has read.
#[derive(Default)]
pub(super) struct Mark {
    xid: Option<String>,
    /// The database did not take something, and that was said.
    pub(super) is_refused: bool,
}

impl Exchange {
    /// Tells and hears. Says whether there is more to tell.
    pub(super) async fn run(&self, client: &Client, mark: &mut Mark) -> Result<bool, Error> {
        let untold = self.sessions.take_untold(TOLD_MAX);
        let is_more = untold.len() == TOLD_MAX;
        if let Err(error) = tell(client, &untold).await {
            self.sessions.put_back(untold);
            return Err(error);
        }
        let rows = self.refusals.take(Instant::now());
        if let Err(error) = record(client, &rows).await {
            self.refusals.put_back(rows);
            return Err(error);
        }
        self.hear(client, mark).await?;
        Ok(is_more)
    }

    async fn hear(&self, client: &Client, mark: &mut Mark) -> Result<(), Error> {
        // Taken first: what commits in between is seen now and once more at the next look.
        let next = client
            .query_one("select pg_snapshot_xmin(pg_current_snapshot())::text", &[])
            .await?
            .try_get(0)?;
        let most = i64::try_from(SESSIONS_MAX).unwrap_or(i64::MAX);
        let rows = client
            .query(
                "select key_id, session_id, tenant_id, labels::text
                 from farebox_private.directory_sessions
                 where changed_xid >= coalesce($1::text::xid8, '0'::xid8)
                 order by changed_xid desc
                 limit $2",
                &[&mark.xid, &most],
            )
            .await?;
        // Oldest first, so that the newest stay where there is no room for all.
        for (key, session) in rows.iter().rev().filter_map(read) {
            self.sessions.hear(key, session);
        }
        mark.xid = Some(next);
        Ok(())
    }
}

fn read(row: &Row) -> Option<(SessionKey, Session)> {
    let key_id: Uuid = row.try_get(0).ok()?;
    let tenant: Option<&str> = row.try_get(2).ok()?;
    let labels: Inherited = serde_json::from_str(row.try_get(3).ok()?).ok()?;
    let key = SessionKey {
        key_id: Some(key_id).filter(|key_id| !key_id.is_nil()),
        session_id: row.try_get(1).ok()?,
    };
    let tenant = tenant.map(TenantId::new).transpose().ok()?;
    Some((key, Session { tenant, labels }))
}

/// The first attribution stays; labels are added, never changed.
async fn tell(client: &Client, sessions: &[(SessionKey, Session)]) -> Result<(), Error> {
    if sessions.is_empty() {
        return Ok(());
    }
    // One row a session: two of them would meet in one statement.
    let mut last = std::collections::BTreeMap::new();
    for (key, session) in sessions {
        let key_id = key.key_id.unwrap_or(Uuid::nil());
        last.insert((key_id, key.session_id.as_str()), session);
    }
    let keys: Vec<Uuid> = last.keys().map(|(key_id, _)| *key_id).collect();
    let ids: Vec<&str> = last.keys().map(|(_, session_id)| *session_id).collect();
    let tenants: Vec<Option<&str>> = last
        .values()
        .map(|session| session.tenant.as_ref().map(TenantId::as_str))
        .collect();
    let labels: Vec<Json<&Inherited>> =
        last.values().map(|session| Json(&session.labels)).collect();
    client
        .execute(
            "insert into farebox_private.session_attributions as known
                (key_id, session_id, tenant_id, labels)
             select * from unnest($1::uuid[], $2::text[], $3::text[], $4::jsonb[])
             on conflict (key_id, session_id) do update
             set tenant_id = coalesce(known.tenant_id, excluded.tenant_id),
                 labels = excluded.labels || known.labels || case
                     when excluded.labels ? 'metadata'
                     then jsonb_build_object(
                         'metadata',
                         (excluded.labels -> 'metadata') || coalesce(known.labels -> 'metadata', '{}')
                     )
                     else '{}'
                 end,
                 changed_at = now(),
                 changed_xid = pg_current_xact_id()
             where known.tenant_id is null
                 or (known.tenant_id = excluded.tenant_id and not known.labels @> excluded.labels)",
            &[&keys, &ids, &tenants, &labels],
        )
        .await?;
    Ok(())
}

/// Refused calls are no usage; the operator finds them in the audit log.
async fn record(client: &Client, rows: &[refusals::Row]) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let actors: Vec<String> = rows
        .iter()
        .map(|row| match row.key_id {
            Some(key_id) => format!("key:{key_id}"),
            None => "anonymous".to_owned(),
        })
        .collect();
    let tenants: Vec<Option<&str>> = rows
        .iter()
        .map(|row| row.tenant.as_ref().map(TenantId::as_str))
        .collect();
    let keys: Vec<Option<String>> = rows
        .iter()
        .map(|row| row.key_id.map(|key_id| key_id.to_string()))
        .collect();
    let details: Vec<Json<serde_json::Value>> = rows
        .iter()
        .map(|row| {
            Json(serde_json::json!({
                "code": row.code.name(),
                "status": row.code.status(),
                "calls": row.calls,
            }))
        })
        .collect();
    client
        .execute(
            "insert into farebox_private.audit_log
                (actor, action, tenant_id, entity_kind, entity_id, details)
             select actor, 'call.refused', tenant_id, 'key', key_id, details
             from unnest($1::text[], $2::text[], $3::text[], $4::jsonb[])
                 as refused (actor, tenant_id, key_id, details)",
            &[&actors, &tenants, &keys, &details],
        )
        .await?;
    Ok(())
}
