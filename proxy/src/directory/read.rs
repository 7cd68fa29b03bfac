//! The rows of the collector's views, and what they mean to the proxy.
//!
//! A row that cannot be understood is left out and said so; it never keeps the others from serving.

use std::collections::HashSet;
use std::pin::pin;

use farebox_pricing::event::Environment;
use farebox_pricing::id::TenantId;
use farebox_pricing::time::Timestamp;
use futures_util::TryStreamExt;
use tokio_postgres::{Client, Error, Row, Transaction};
use uuid::Uuid;

use super::{
    Basis, Change, Content, CredentialRow, Dimension, Fail, KeyRow, Limit, LimitAction,
    MayAttribute, Network, Remembered, RevokeStreams, Scope, SecretHash, Tenant, TenantStatus,
    TimeZones,
};

const TENANTS: &str = "
    select tenant_id::text, status::text, coalesce(settings, '{}')::text, status_reason::text,
           plan::text, time_zone::text, time_zone_before::text, time_zone_from::text
    from farebox_private.directory_tenants";

// An infinite time is none: such a key never expires, and one revoked since ever is revoked.
const KEYS: &str = "
    select key_id, prefix::text, secret_hash::text, name::text, tenant_id::text,
           may_attribute::text, may_attribute_values::text[], scopes::text[], environment::text,
           own_credential, allowed_upstreams::text[], allowed_models::text[], networks::text[],
           case when isfinite(expires_at) then (extract(epoch from expires_at) * 1000)::bigint
                when expires_at = '-infinity' then 0 end,
           case when isfinite(revoked_at) then (extract(epoch from revoked_at) * 1000)::bigint
                when revoked_at is not null then 0 end,
           revoke_streams::text, allowed_projects::text[], allowed_tools::text[]
    from farebox_private.directory_keys";

const LIMITS: &str = "
    select limit_id, tenant_id::text, meter::text, amount::text, window_kind::text, action::text,
           dry_run,
           case when isfinite(expires_at) then (extract(epoch from expires_at) * 1000)::bigint
                when expires_at = '-infinity' then 0 end,
           customer_id::text, project::text, agent::text, key_id, provider::text, upstream::text,
           model::text, per::text[], basis::text, fail::text
    from farebox_private.directory_limits";

const CREDENTIALS: &str = "
    select credential_id, tenant_id::text, upstream::text, host::text, master_key_id::text,
           wrapped_key::text, sealed::text
    from farebox_private.directory_credentials";

/// Everything, as one snapshot sees it.
pub(super) async fn everything(snapshot: &Transaction<'_>) -> Result<Content, Error> {
    Ok(Content {
        tenants: all(snapshot, TENANTS, read_tenant).await?,
        keys: all(snapshot, KEYS, read_key).await?,
        limits: all(snapshot, LIMITS, read_limit).await?,
        credentials: all(snapshot, CREDENTIALS, read_credential).await?,
        cards: None,
    })
}

/// Row by row, so that a large table is not there twice.
async fn all<T>(
    snapshot: &Transaction<'_>,
    select: &str,
    read: fn(&Row) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let nothing: [&str; 0] = [];
    let mut rows = pin!(snapshot.query_raw(select, nothing).await?);
    let mut found = Vec::new();
    while let Some(row) = rows.try_next().await? {
        found.extend(read(&row));
    }
    Ok(found)
}

pub(super) async fn changed_tenants(
    client: &Client,
    ids: HashSet<String>,
) -> Result<Vec<Change>, Error> {
    let asked: Vec<&String> = ids.iter().collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let select = format!("{TENANTS} where tenant_id = any($1)");
    let rows = client.query(&select, &[&asked]).await?;
    let mut found: Vec<Tenant> = rows.iter().filter_map(read_tenant).collect();
    let changes = ids
        .iter()
        .filter_map(|id| TenantId::new(id).ok())
        .map(|id| {
            let at = found.iter().position(|tenant| tenant.tenant_id == id);
            let tenant = at.map(|at| found.swap_remove(at));
            Change::Tenant(id, tenant)
        });
    Ok(changes.collect())
}

pub(super) async fn changed_keys(
    client: &Client,
    ids: HashSet<Uuid>,
) -> Result<Vec<Change>, Error> {
    let select = format!("{KEYS} where key_id = any($1)");
    changed(
        client,
        &select,
        ids,
        read_key,
        |row| row.key_id,
        Change::Key,
    )
    .await
}

pub(super) async fn changed_limits(
    client: &Client,
    ids: HashSet<Uuid>,
) -> Result<Vec<Change>, Error> {
    let select = format!("{LIMITS} where limit_id = any($1)");
    changed(
        client,
        &select,
        ids,
        read_limit,
        |row| row.limit_id,
        Change::Limit,
    )
    .await
}

pub(super) async fn changed_credentials(
    client: &Client,
    ids: HashSet<Uuid>,
) -> Result<Vec<Change>, Error> {
    let select = format!("{CREDENTIALS} where credential_id = any($1)");
    let id_of = |row: &CredentialRow| row.credential_id;
    changed(
        client,
        &select,
        ids,
        read_credential,
        id_of,
        Change::Credential,
    )
    .await
}

/// The rows of these ids as they are now; an id without a row is one that is gone.
async fn changed<T>(
    client: &Client,
    select: &str,
    ids: HashSet<Uuid>,
    read: fn(&Row) -> Option<T>,
    id_of: fn(&T) -> Uuid,
    change: fn(Uuid, Option<T>) -> Change,
) -> Result<Vec<Change>, Error> {
    let asked: Vec<Uuid> = ids.into_iter().collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let rows = client.query(select, &[&asked]).await?;
    let mut found: Vec<T> = rows.iter().filter_map(read).collect();
    let changes = asked.into_iter().map(|id| {
        let at = found.iter().position(|row| id_of(row) == id);
        change(id, at.map(|at| found.swap_remove(at)))
    });
    Ok(changes.collect())
}

/// A row that cannot be read is left out and said so: it must not keep the others from serving.
fn understood<T>(what: &'static str, read: Result<T, Misread>) -> Option<T> {
    match read {
        Ok(row) => Some(row),
        Err(error) => {
            tracing::error!(what, ?error, "directory row left out");
            None
        }
    }
}

#[derive(Debug)]
#[expect(dead_code, reason = "read by Debug, in the log")]
enum Misread {
    Column(Error),
    Word(&'static str),
}

impl From<Error> for Misread {
    fn from(error: Error) -> Self {
        Self::Column(error)
    }
}

fn read_tenant(row: &Row) -> Option<Tenant> {
    let read = || -> Result<Tenant, Misread> {
        let tenant_id = TenantId::new(row.try_get(0)?).map_err(|_| Misread::Word("tenant_id"))?;
        let status = match row.try_get(1)? {
            "active" => TenantStatus::Active,
            "archived" => TenantStatus::Archived,
            _ => TenantStatus::Suspended,
        };
        let settings = serde_json::from_str(row.try_get(2)?);
        let settings = settings.map_err(|_| Misread::Word("settings"))?;
        let zones = TimeZones {
            zone: row.try_get(5)?,
            before: row.try_get(6)?,
            from: row.try_get(7)?,
        };
        let mut tenant = Tenant::new(tenant_id, status, settings)
            .on_plan(row.try_get(4)?)
            .in_zones(zones);
        tenant.status_reason = row.try_get(3)?;
        Ok(tenant)
    };
    understood("tenant", read())
}

fn read_key(row: &Row) -> Option<KeyRow> {
    let read = || -> Result<KeyRow, Misread> {
        let tenant_id = row.try_get::<_, Option<&str>>(4)?.map(TenantId::new);
        let networks: Option<Vec<String>> = row.try_get(12)?;
        Ok(KeyRow {
            key_id: row.try_get(0)?,
            prefix: row.try_get(1)?,
            secret_hash: SecretHash::new(row.try_get(2)?),
            name: row.try_get(3)?,
            tenant_id: tenant_id
                .transpose()
                .map_err(|_| Misread::Word("tenant_id"))?,
            may_attribute: match row.try_get(5)? {
                "any" => MayAttribute::Any,
                "list" => MayAttribute::List,
                "prefix" => MayAttribute::Prefix,
                _ => MayAttribute::None,
            },
            may_attribute_values: row.try_get::<_, Option<_>>(6)?.unwrap_or_default(),
            scopes: row.try_get::<_, Option<_>>(7)?.unwrap_or_default(),
            environment: match row.try_get(8)? {
                "live" => Environment::Live,
                _ => Environment::Test,
            },
            own_credential: row.try_get(9)?,
            allowed_upstreams: row.try_get(10)?,
            allowed_models: row.try_get(11)?,
            allowed_projects: row.try_get(16)?,
            allowed_tools: row.try_get(17)?,
            networks: networks.map(|all| all.iter().map(|text| Network::new(text)).collect()),
            expires_at: row
                .try_get::<_, Option<i64>>(13)?
                .map(Timestamp::from_millis),
            revoked_at: row
                .try_get::<_, Option<i64>>(14)?
                .map(Timestamp::from_millis),
            revoke_streams: match row.try_get(15)? {
                "finish" => RevokeStreams::Finish,
                _ => RevokeStreams::Cut,
            },
            remembered: Remembered::default(),
        })
    };
    understood("key", read())
}

fn read_credential(row: &Row) -> Option<CredentialRow> {
    let read = || -> Result<CredentialRow, Misread> {
        let tenant_id = row.try_get::<_, Option<&str>>(1)?.map(TenantId::new);
        let tenant_id = tenant_id
            .transpose()
            .map_err(|_| Misread::Word("tenant_id"))?;
        let texts = [
            row.try_get(2)?,
            row.try_get(3)?,
            row.try_get(4)?,
            row.try_get(5)?,
            row.try_get(6)?,
        ];
        Ok(CredentialRow::new(row.try_get(0)?, tenant_id, texts))
    };
    understood("credential", read())
}

fn read_limit(row: &Row) -> Option<Limit> {
    let read = || -> Result<Option<Limit>, Misread> {
        let tenant_id = row.try_get::<_, Option<&str>>(1)?.map(TenantId::new);
        let amount: &str = row.try_get(3)?;
        let per: Vec<&str> = row.try_get(15)?;
        // What it counts, by what and when may be a newer collector's: it is not ours to apply.
        let (Ok(meter), Ok(window)) = (
            row.try_get::<_, &str>(2)?.parse(),
            row.try_get::<_, &str>(4)?.parse(),
        ) else {
            return Ok(None);
        };
        let per: Result<Vec<Dimension>, ()> = per.into_iter().map(str::parse).collect();
        Ok(Some(Limit {
            limit_id: row.try_get(0)?,
            tenant_id: tenant_id
                .transpose()
                .map_err(|_| Misread::Word("tenant_id"))?,
            scope: Scope {
                customer_id: row.try_get(8)?,
                project: row.try_get(9)?,
                agent: row.try_get(10)?,
                key_id: row.try_get(11)?,
                provider: row.try_get(12)?,
                upstream: row.try_get(13)?,
                model: row.try_get(14)?,
            },
            per: per.map_err(|()| Misread::Word("per"))?,
            meter,
            amount: amount.parse().map_err(|_| Misread::Word("amount"))?,
            window,
            basis: match row.try_get(16)? {
                "cost" => Basis::Cost,
                _ => Basis::Billed,
            },
            action: match row.try_get(5)? {
                "warn" => LimitAction::Warn,
                _ => LimitAction::Refuse,
            },
            fail: match row.try_get(17)? {
                "open" => Fail::Open,
                _ => Fail::Closed,
            },
            dry_run: row.try_get(6)?,
            expires_at: row
                .try_get::<_, Option<i64>>(7)?
                .map(Timestamp::from_millis),
        }))
    };
    understood("limit", read()).flatten()
}
