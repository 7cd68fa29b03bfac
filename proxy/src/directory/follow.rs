//! Keeping the directory current: one task of the background runtime.
//!
//! A full load on every connect, then LISTEN and a poll: one change in Postgres costs one change
//! here. When Postgres is away the content stays and only its age grows.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use farebox_pricing::event::Environment;
use farebox_pricing::id::TenantId;
use farebox_pricing::time::Timestamp;
use futures_util::{StreamExt, stream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_postgres::{AsyncMessage, Client, IsolationLevel, NoTls, Row};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Change, Content, Directory, KeyRow, Limit, LimitAction, MayAttribute, Network, Remembered,
    RevokeStreams, SecretHash, Tenant, TenantStatus, WindowKind, copy, unix_millis,
};
use crate::config::Secret;

/// Between two looks at the changes, whether or not a notification came.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// A statement that takes longer is given up and the connection with it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connecting may take so long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A full load may take so long.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Waits between two tries to connect: doubled from the first to the last.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);
const RECONNECT_LAST: Duration = Duration::from_secs(5);
/// Changes read in one poll; the next follows at once.
const CHANGES_MAX: i64 = 1_000;
/// The copy on disk is written this long after the first change it lacks.
const COPY_DELAY: Duration = Duration::from_secs(2);

const CHANNEL: &str = "farebox_directory";

/// Where the directory comes from and where its copy goes.
#[derive(Clone, Debug)]
pub struct Source {
    /// Postgres; `None`: the copy on disk is all there is.
    pub database_url: Option<Secret>,
    /// A direct address for LISTEN; `None`: the same as above.
    pub database_listen_url: Option<Secret>,
    /// The copy on disk.
    pub copy: PathBuf,
    /// What proves the copy.
    pub key_secrets: Vec<Secret>,
}

/// Why the connection to Postgres was given up.
#[derive(Debug)]
enum Lost {
    Postgres(tokio_postgres::Error),
    Timeout(&'static str),
}

impl From<tokio_postgres::Error> for Lost {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Postgres(error) => match error.as_db_error() {
                Some(refused) => write!(f, "{error}: {}", refused.message()),
                None => match std::error::Error::source(error) {
                    Some(source) => write!(f, "{error}: {source}"),
                    None => error.fmt(f),
                },
            },
            Self::Timeout(what) => write!(f, "{what} took too long"),
        }
    }
}

impl Directory {
    /// Loads the copy on disk, when there is a good one. For the start, before anything listens.
    pub fn load_copy(&self, source: &Source) {
        match copy::load(&source.copy, &source.key_secrets) {
            Ok(Some((content, current_at))) => self.replace(content, current_at),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(path = %source.copy.display(), %error, "directory copy not used");
            }
        }
    }

    /// Follows Postgres until the shutdown. Never returns early.
    pub async fn follow(self: Arc<Self>, source: Source, shutdown: CancellationToken) {
        let Some(url) = source.database_url.clone() else {
            shutdown.cancelled().await;
            return;
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_copy(
            Arc::clone(&self),
            source.clone(),
            shutdown.clone(),
        ));
        let mut wait = RECONNECT_FIRST;
        while !shutdown.is_cancelled() {
            let before = self.current_at_millis();
            let lost = tokio::select! {
                lost = self.session(&url, source.database_listen_url.as_ref()) => lost,
                () = shutdown.cancelled() => break,
            };
            if self.current_at_millis() != before {
                wait = RECONNECT_FIRST;
            }
            if let Err(error) = lost {
                tracing::warn!(%error, "directory: lost Postgres, serving what is in memory");
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shutdown.cancelled() => break,
            }
            wait = (wait * 2).min(RECONNECT_LAST);
        }
        while tasks.join_next().await.is_some() {}
    }

    /// One connection's life: load, then one change after the other.
    async fn session(&self, url: &Secret, listen_url: Option<&Secret>) -> Result<(), Lost> {
        let wake = Arc::new(Notify::new());
        // Dropping the set ends the connections' tasks with the session.
        let mut connections = JoinSet::new();
        let mut client = connect(url, &wake, &mut connections).await?;
        let listener = match listen_url {
            Some(url) => Some(connect(url, &wake, &mut connections).await?),
            None => None,
        };
        // Before the load, so that no change falls between the two.
        let listening = listener.as_ref().unwrap_or(&client);
        let listen = format!("listen {CHANNEL}");
        within(
            STATEMENT_TIMEOUT,
            "listen",
            listening.batch_execute(&listen),
        )
        .await?;
        let started_at = unix_millis();
        let (content, mut last) = within(LOAD_TIMEOUT, "the full load", load(&mut client)).await?;
        tracing::info!(
            tenants = content.tenants.len(),
            keys = content.keys.len(),
            limits = content.limits.len(),
            "directory loaded"
        );
        self.replace(content, started_at);
        loop {
            let asked_at = unix_millis();
            let polling = self.poll(&client, &mut last);
            let is_more = within(STATEMENT_TIMEOUT, "a poll", polling).await?;
            self.mark_current(asked_at);
            if !is_more {
                // A lost connection shows as the next poll's error.
                let _ = tokio::time::timeout(POLL_INTERVAL, wake.notified()).await;
            }
        }
    }

    async fn poll(&self, client: &Client, last: &mut i64) -> Result<bool, Lost> {
        // Writers take one lock, so numbers become visible in their order: what is above the last
        // one is all there is.
        let select = "
            select change_id, kind, entity_id
            from farebox_private.directory_changes
            where change_id > $1
            order by change_id
            limit $2";
        let rows = client.query(select, &[last, &CHANGES_MAX]).await?;
        let Some(newest) = rows.last() else {
            return Ok(false);
        };
        let mut tenants = HashSet::new();
        let mut keys = HashSet::new();
        let mut limits = HashSet::new();
        for row in &rows {
            let entity: &str = row.try_get(2)?;
            match row.try_get(1)? {
                "tenant" => {
                    tenants.insert(entity.to_owned());
                }
                "key" => keys.extend(Uuid::parse_str(entity).ok()),
                "limit" => limits.extend(Uuid::parse_str(entity).ok()),
                // The cards are compiled in; other kinds are a newer collector's.
                _ => {}
            }
        }
        let mut changes = Vec::new();
        changes.extend(changed_keys(client, keys).await?);
        changes.extend(changed_tenants(client, tenants).await?);
        changes.extend(changed_limits(client, limits).await?);
        self.apply(changes);
        *last = newest.try_get(0)?;
        Ok(i64::try_from(rows.len()).is_ok_and(|count| count >= CHANGES_MAX))
    }
}

async fn within<T, E: Into<Lost>>(
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Lost> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Lost::Timeout(what)),
    }
}

async fn connect(
    url: &Secret,
    wake: &Arc<Notify>,
    connections: &mut JoinSet<()>,
) -> Result<Client, Lost> {
    let mut config: tokio_postgres::Config = url.expose().parse()?;
    config.application_name("farebox-proxy");
    config.connect_timeout(CONNECT_TIMEOUT);
    let connecting = config.connect(NoTls);
    let (client, mut connection) = within(CONNECT_TIMEOUT, "connecting", connecting).await?;
    let wake = Arc::clone(wake);
    connections.spawn(async move {
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        while let Some(message) = messages.next().await {
            match message {
                Ok(AsyncMessage::Notification(_)) => wake.notify_one(),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        // The session looks at once and finds the connection closed.
        wake.notify_one();
    });
    Ok(client)
}

/// Everything, and the number of the last change that it holds.
async fn load(client: &mut Client) -> Result<(Content, i64), Lost> {
    let snapshot = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    let newest = "select coalesce(max(change_id), 0) from farebox_private.directory_changes";
    let last: i64 = snapshot.query_one(newest, &[]).await?.try_get(0)?;
    let tenants = snapshot.query(TENANTS, &[]).await?;
    let keys = snapshot.query(KEYS, &[]).await?;
    let limits = snapshot.query(LIMITS, &[]).await?;
    snapshot.commit().await?;
    let content = Content {
        tenants: tenants.iter().filter_map(read_tenant).collect(),
        keys: keys.iter().filter_map(read_key).collect(),
        limits: limits.iter().filter_map(read_limit).collect(),
    };
    Ok((content, last))
}

const TENANTS: &str = "
    select tenant_id::text, status::text, coalesce(settings, '{}')::text
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
           revoke_streams::text
    from farebox_private.directory_keys";

const LIMITS: &str = "
    select limit_id, tenant_id::text, meter::text, amount::text, window_kind::text, action::text,
           dry_run,
           case when isfinite(expires_at) then (extract(epoch from expires_at) * 1000)::bigint
                when expires_at = '-infinity' then 0 end
    from farebox_private.directory_limits";

async fn changed_tenants(client: &Client, ids: HashSet<String>) -> Result<Vec<Change>, Lost> {
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

async fn changed_keys(client: &Client, ids: HashSet<Uuid>) -> Result<Vec<Change>, Lost> {
    let asked: Vec<Uuid> = ids.into_iter().collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let select = format!("{KEYS} where key_id = any($1)");
    let rows = client.query(&select, &[&asked]).await?;
    let mut found: Vec<KeyRow> = rows.iter().filter_map(read_key).collect();
    let changes = asked.into_iter().map(|id| {
        let at = found.iter().position(|key| key.key_id == id);
        Change::Key(id, at.map(|at| found.swap_remove(at)))
    });
    Ok(changes.collect())
}

async fn changed_limits(client: &Client, ids: HashSet<Uuid>) -> Result<Vec<Change>, Lost> {
    let asked: Vec<Uuid> = ids.into_iter().collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let select = format!("{LIMITS} where limit_id = any($1)");
    let rows = client.query(&select, &[&asked]).await?;
    let mut found: Vec<Limit> = rows.iter().filter_map(read_limit).collect();
    let changes = asked.into_iter().map(|id| {
        let at = found.iter().position(|limit| limit.limit_id == id);
        Change::Limit(id, at.map(|at| found.swap_remove(at)))
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
    Column(tokio_postgres::Error),
    Word(&'static str),
}

impl From<tokio_postgres::Error> for Misread {
    fn from(error: tokio_postgres::Error) -> Self {
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
        Ok(Tenant::new(tenant_id, status, settings))
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

fn read_limit(row: &Row) -> Option<Limit> {
    let read = || -> Result<Option<Limit>, Misread> {
        let tenant_id = row.try_get::<_, Option<&str>>(1)?.map(TenantId::new);
        let amount: &str = row.try_get(3)?;
        Ok(Some(Limit {
            limit_id: row.try_get(0)?,
            tenant_id: tenant_id
                .transpose()
                .map_err(|_| Misread::Word("tenant_id"))?,
            meter: row.try_get(2)?,
            amount: amount.parse().map_err(|_| Misread::Word("amount"))?,
            window: match row.try_get(4)? {
                "second" => WindowKind::Second,
                "minute" => WindowKind::Minute,
                "hour" => WindowKind::Hour,
                "day" => WindowKind::Day,
                // Counted by somebody else, or by a newer proxy.
                _ => return Ok(None),
            },
            action: match row.try_get(5)? {
                "warn" => LimitAction::Warn,
                _ => LimitAction::Refuse,
            },
            dry_run: row.try_get(6)?,
            expires_at: row
                .try_get::<_, Option<i64>>(7)?
                .map(Timestamp::from_millis),
        }))
    };
    understood("limit", read()).flatten()
}

/// Writes the copy whenever the content has changed, not more often than every [`COPY_DELAY`], and
/// once more at the end.
async fn keep_copy(directory: Arc<Directory>, source: Source, shutdown: CancellationToken) {
    let mut saved = directory.generation();
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(COPY_DELAY) => false,
            () = shutdown.cancelled() => true,
        };
        let generation = directory.generation();
        if generation != saved {
            let (directory, source) = (Arc::clone(&directory), source.clone());
            let saving = tokio::task::spawn_blocking(move || {
                let current_at = directory.current_at_millis();
                copy::save(
                    &source.copy,
                    directory.content(),
                    current_at,
                    &source.key_secrets,
                )
            });
            match saving.await {
                Ok(Ok(())) => saved = generation,
                Ok(Err(error)) => tracing::warn!(%error, "directory copy not written"),
                Err(error) => tracing::error!(%error, "directory copy not written"),
            }
        }
        if is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
