//! Keeping the directory current: one task of the background runtime.
//!
//! A full load on every connect, then LISTEN and a poll: one change in Postgres costs one change
//! here. When Postgres is away the content stays and only its age grows.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farebox_database::{Address, InvalidAddress};
use farebox_pricing::rate_card::CardSet;
use futures_util::{StreamExt, stream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_postgres::{AsyncMessage, Client, IsolationLevel};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::exchange::Mark;
use super::journal::{self, Journal};
use super::{Content, Directory, cards, copy, read, unix_millis};
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
/// Changes are appended to the copy on disk this long after the first that it lacks.
const APPEND_DELAY: Duration = Duration::from_millis(200);
/// A whole copy is written at most this often.
const COPY_DELAY: Duration = Duration::from_secs(2);
/// A large copy is written more rarely: this many times as long after the last one as that one took.
const COPY_REST_FACTOR: u32 = 50;

/// The first load waits so long for the first word on leases, so that no limit is met without any.
const FIRST_LEASE_WAIT: Duration = Duration::from_secs(2);

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
    /// Turns true with the first word on leases; limits are served from then on, not earlier.
    pub first_lease: Option<watch::Receiver<bool>>,
}

/// Why the connection to Postgres was given up.
#[derive(Debug)]
pub(crate) enum Lost {
    Postgres(tokio_postgres::Error),
    Address(InvalidAddress),
    Timeout(&'static str),
    Answer,
}

impl From<InvalidAddress> for Lost {
    fn from(error: InvalidAddress) -> Self {
        Self::Address(error)
    }
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
            Self::Address(error) => error.fmt(f),
            Self::Timeout(what) => write!(f, "{what} took too long"),
            Self::Answer => f.write_str("an answer that cannot be read"),
        }
    }
}

impl Directory {
    /// Loads the copy on disk, when there is a good one. For the start, before anything listens.
    pub fn load_copy(&self, source: &Source) {
        match copy::load(&source.copy, &source.key_secrets) {
            Ok(Some(loaded)) => {
                let changes = journal::read(&source.copy, &loaded.secret, loaded.proof);
                self.replace(loaded.content, loaded.current_at_millis);
                if let Some((at, _)) = changes.last() {
                    self.mark_current(*at);
                }
                self.apply(changes.into_iter().map(|(_, change)| change).collect());
            }
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
        let mut is_away = false;
        while !shutdown.is_cancelled() {
            let before = self.current_at_millis();
            let lost = tokio::select! {
                lost = self.session(&url, &source) => lost,
                () = shutdown.cancelled() => break,
            };
            if self.current_at_millis() != before {
                wait = RECONNECT_FIRST;
                is_away = false;
            }
            // Once an outage, not once a try.
            if let Err(error) = lost
                && !std::mem::replace(&mut is_away, true)
            {
                tracing::warn!(%error, "directory: no Postgres, serving what is in memory");
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
    async fn session(&self, url: &Secret, source: &Source) -> Result<(), Lost> {
        let wake = Arc::new(Notify::new());
        // Dropping the set ends the connections' tasks with the session.
        let mut connections = JoinSet::new();
        let mut client = connect(url, &wake, &mut connections).await?;
        let listener = match &source.database_listen_url {
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
        let (content, mut last) = within(
            LOAD_TIMEOUT,
            "the full load",
            load(&mut client, &self.cards()),
        )
        .await?;
        tracing::info!(
            tenants = content.tenants.len(),
            keys = content.keys.len(),
            limits = content.limits.len(),
            "directory loaded"
        );
        self.learn_limits(&content.limits);
        if let Some(mut first) = source.first_lease.clone() {
            let _ =
                tokio::time::timeout(FIRST_LEASE_WAIT, first.wait_for(|is_there| *is_there)).await;
        }
        self.replace(content, started_at);
        let mut mark = Mark::default();
        loop {
            let asked_at = unix_millis();
            let polling = self.poll(&client, &mut last);
            let mut is_more = within(STATEMENT_TIMEOUT, "a poll", polling).await?;
            self.mark_current(asked_at);
            is_more |= self.tell_and_hear(&client, &mut mark).await?;
            if !is_more {
                // A lost connection shows as the next poll's error.
                let _ = tokio::time::timeout(POLL_INTERVAL, wake.notified()).await;
            }
        }
    }

    /// Sessions and refused calls. Where the database does not take them the directory goes on
    /// without; what was not told is tried again.
    async fn tell_and_hear(&self, client: &Client, mark: &mut Mark) -> Result<bool, Lost> {
        let exchanging = self.exchange().run(client, mark);
        match within(STATEMENT_TIMEOUT, "the exchange of sessions", exchanging).await {
            Err(Lost::Postgres(error)) if error.as_db_error().is_some() => {
                // Once a connection, not once a look.
                if !std::mem::replace(&mut mark.is_refused, true) {
                    let error = Lost::Postgres(error);
                    tracing::warn!(%error, "sessions and refusals are not exchanged");
                }
                Ok(false)
            }
            other => other,
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
        let mut has_new_cards = false;
        let mut credentials = HashSet::new();
        for row in &rows {
            let entity: &str = row.try_get(2)?;
            match row.try_get(1)? {
                "tenant" => {
                    tenants.insert(entity.to_owned());
                }
                "key" => keys.extend(Uuid::parse_str(entity).ok()),
                "limit" => limits.extend(Uuid::parse_str(entity).ok()),
                "rate_card" => has_new_cards = true,
                "credential" => credentials.extend(Uuid::parse_str(entity).ok()),
                // Other kinds are a newer collector's.
                _ => {}
            }
        }
        let mut changes = Vec::new();
        changes.extend(read::changed_keys(client, keys).await?);
        changes.extend(read::changed_tenants(client, tenants).await?);
        changes.extend(read::changed_limits(client, limits).await?);
        changes.extend(read::changed_credentials(client, credentials).await?);
        self.apply(changes);
        if has_new_cards {
            self.put_cards(cards::in_force(client, &self.cards()).await?);
        }
        *last = newest.try_get(0)?;
        Ok(i64::try_from(rows.len()).is_ok_and(|count| count >= CHANGES_MAX))
    }
}

pub(super) async fn within<T, E: Into<Lost>>(
    limit: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Lost> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result.map_err(Into::into),
        Err(_) => Err(Lost::Timeout(what)),
    }
}

/// A connection of its own, which ends with the set.
pub(crate) async fn connect_alone(url: &Secret) -> Result<(Client, JoinSet<()>), Lost> {
    let mut connections = JoinSet::new();
    let client = connect(url, &Arc::new(Notify::new()), &mut connections).await?;
    Ok((client, connections))
}

async fn connect(
    url: &Secret,
    wake: &Arc<Notify>,
    connections: &mut JoinSet<()>,
) -> Result<Client, Lost> {
    let Address { mut config, tls } = url.expose().parse()?;
    config.application_name("farebox-proxy");
    config.connect_timeout(CONNECT_TIMEOUT);
    let connecting = config.connect(tls);
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
async fn load(client: &mut Client, held: &CardSet) -> Result<(Content, i64), Lost> {
    let snapshot = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    let newest = "select coalesce(max(change_id), 0) from farebox_private.directory_changes";
    let last: i64 = snapshot.query_one(newest, &[]).await?.try_get(0)?;
    let mut content = read::everything(&snapshot).await?;
    content.cards = Some(cards::in_force(&snapshot, held).await?);
    snapshot.commit().await?;
    Ok((content, last))
}

/// Keeps the copy: single changes are appended at once; a whole one is written where more has changed, not
/// more often than every [`COPY_DELAY`] and not for more than a fiftieth of the time.
async fn keep_copy(directory: Arc<Directory>, source: Source, shutdown: CancellationToken) {
    let mut journal = None;
    let mut whole_at = Instant::now() + COPY_DELAY;
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(APPEND_DELAY) => false,
            () = shutdown.cancelled() => true,
        };
        let is_due = is_last || Instant::now() >= whole_at;
        if !directory.unsaved.is_empty() {
            let (directory, source, before) =
                (Arc::clone(&directory), source.clone(), journal.take());
            let began = Instant::now();
            let saving =
                tokio::task::spawn_blocking(move || save(&directory, &source, before, is_due));
            match saving.await {
                Ok((kept, was_whole)) => {
                    journal = kept;
                    if was_whole {
                        let rest = began.elapsed() * COPY_REST_FACTOR;
                        whole_at = Instant::now() + rest.max(COPY_DELAY);
                    }
                }
                Err(error) => tracing::error!(%error, "directory copy not written"),
            }
        }
        if is_last {
            return;
        }
    }
}

/// Brings the copy up to date as far as it is due; also whether that took a whole one.
fn save(
    directory: &Directory,
    source: &Source,
    journal: Option<Journal>,
    is_due: bool,
) -> (Option<Journal>, bool) {
    let current_at = directory.current_at_millis();
    let warn = |error: std::io::Error| tracing::warn!(%error, "directory copy not written");
    let needs_whole = directory.unsaved.is_whole() || journal.as_ref().is_none_or(Journal::is_full);
    if needs_whole && is_due {
        directory.unsaved.take_all();
        let held = directory.held();
        let begun = copy::save(&source.copy, &held, current_at, &source.key_secrets)
            .and_then(|proof| Journal::begin(&source.copy, &source.key_secrets[0], proof));
        return match begun {
            Ok(journal) => (Some(journal), true),
            Err(error) => {
                warn(error);
                directory.unsaved.note_whole();
                (None, true)
            }
        };
    }
    // Also while a whole one is waiting for its turn: what was revoked is not forgotten that long.
    let Some(mut journal) = journal else {
        return (None, false);
    };
    match journal.append(current_at, &directory.take_unsaved()) {
        Ok(()) => (Some(journal), false),
        Err(error) => {
            // Nothing behind a line that may be torn would be read.
            warn(error);
            directory.unsaved.note_whole();
            (None, false)
        }
    }
}

#[cfg(test)]
pub(crate) mod cluster;
#[cfg(test)]
mod tests;
