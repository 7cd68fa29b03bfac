//! A migrated database for each test, and records as a proxy ships them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use farebox_collector::cards::Cards;
use farebox_collector::ingest::{Answer, Outcome, Sender, ingest, read};
use farebox_collector::migrate::{ROLE_PREFIX, migrate};
use farebox_collector::store::Store;
use farebox_pricing::time::Timestamp;
use farebox_tests::postgres::Cluster;
use serde_json::{Value, json};
use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

/// A superuser's URL of any database of a running cluster; without it the tests start their own.
const ADDRESS: &str = "FAREBOX_TEST_DATABASE_URL";

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

static DATABASES: AtomicU32 = AtomicU32::new(1);

/// A database of its own, dropped by [`Ledger::drop_database`].
pub(crate) struct Ledger {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) store: Store,
}

/// A cluster of this process' own goes with it, see its harness.
fn cluster() -> String {
    static OWN: LazyLock<Cluster> =
        LazyLock::new(|| Cluster::start().expect("Postgres' programs start a private cluster"));
    std::env::var(ADDRESS).unwrap_or_else(|_| OWN.url("postgres"))
}

pub(crate) async fn connect(url: &str, user: Option<&str>, database: &str) -> Result<Client> {
    let mut config: Config = url.parse()?;
    config.dbname(database);
    if let Some(user) = user {
        config.user(user);
    }
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        // A connection that breaks fails the test at its next statement.
        drop(connection.await);
    });
    Ok(client)
}

impl Ledger {
    /// Made and migrated; the store works as the collector's role.
    pub(crate) async fn new() -> Result<Self> {
        let ledger = Self::empty().await?;
        migrate(&ledger.url, ROLE_PREFIX).await?;
        Ok(ledger)
    }

    /// Made only.
    pub(crate) async fn empty() -> Result<Self> {
        let cluster = cluster();
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("ledger_{}_{number}", std::process::id());
        let client = connect(&cluster, None, "postgres").await?;
        client
            .batch_execute(&format!("create database {name}"))
            .await?;
        let (url, as_collector) = urls(&cluster, &name)?;
        Ok(Self {
            store: Store::connect(&as_collector, 8)?,
            name,
            url,
        })
    }

    pub(crate) async fn drop_database(self) -> Result {
        let Self { name, store, .. } = self;
        drop(store);
        let client = connect(&cluster(), None, "postgres").await?;
        client
            .batch_execute(&format!("drop database {name} with (force)"))
            .await?;
        // Logins belong to the cluster.
        let logins = client
            .query(
                "select rolname::text from pg_roles where right(rolname, length($1) + 1) = '_' || $1",
                &[&name],
            )
            .await?;
        for login in logins {
            let login: String = login.get(0);
            client.batch_execute(&format!("drop role {login}")).await?;
        }
        Ok(())
    }

    /// A superuser's connection.
    pub(crate) async fn sql(&self) -> Result<Client> {
        connect(&cluster(), None, &self.name).await
    }

    /// A connection that works as a role.
    pub(crate) async fn sql_as(&self, role: &str) -> Result<Client> {
        let client = self.sql().await?;
        client
            .batch_execute(&format!("set session authorization {role}"))
            .await?;
        Ok(client)
    }

    /// A tenant's own login.
    pub(crate) async fn login(&self, tenant: &str) -> Result<Client> {
        let login = format!("{tenant}_{}", self.name);
        self.sql()
            .await?
            .batch_execute(&format!(
                "create role {login} login in role farebox_tenant;
                 insert into farebox_private.tenant_logins (login, tenant_id) values ('{login}', '{tenant}')"
            ))
            .await?;
        connect(&cluster(), Some(&login), &self.name).await
    }

    pub(crate) async fn ship(&self, records: &[Value]) -> Result<Answer> {
        let texts: Vec<String> = records.iter().map(Value::to_string).collect();
        self.ship_texts(&texts).await
    }

    pub(crate) async fn ship_texts(&self, texts: &[String]) -> Result<Answer> {
        let cards = Cards::built_in();
        let batch = read(texts.join("\n").as_bytes(), &cards)?;
        let now: Timestamp = "2026-11-22T12:00:00Z".parse()?;
        let sender = Sender {
            node: "node-1".into(),
            epoch: 1,
            sent_at: now,
            open_since: now,
        };
        Ok(ingest(&self.store, &cards, &sender, batch, now).await?)
    }

    pub(crate) async fn one<T>(&self, sql: &str) -> Result<T>
    where
        T: for<'a> tokio_postgres::types::FromSql<'a>,
    {
        Ok(self.sql().await?.query_one(sql, &[]).await?.get(0))
    }
}

pub(crate) fn urls(cluster: &str, name: &str) -> Result<(String, String)> {
    let (front, query) = match cluster.split_once('?') {
        Some((front, query)) => (front, format!("?{query}&")),
        None => (cluster, "?".to_owned()),
    };
    let (host, _) = front.rsplit_once('/').ok_or("the URL names no database")?;
    Ok((
        format!("{host}/{name}{query}"),
        format!("{host}/{name}{query}options=-c%20role%3Dfarebox_collector"),
    ))
}

/// Milliseconds of an instant.
pub(crate) fn millis(at: &str) -> u64 {
    let at: Timestamp = at.parse().expect("the test names an instant");
    at.as_millis() as u64
}

/// An id of a millisecond, told apart by `number`.
pub(crate) fn id(millis: u64, number: u64) -> Uuid {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    bytes[6] = 0x70;
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    bytes[8] = 0x80;
    Uuid::from_bytes(bytes)
}

/// A call of `gpt-4o-mini`: 1,000 tokens in, 100 out, 0.00021 USD.
pub(crate) fn record(tenant: Option<&str>, at: &str, number: u64) -> Value {
    let event_id = id(millis(at), number);
    let at: Timestamp = at.parse().expect("the test names an instant");
    json!({
        "event_id": event_id, "call_id": event_id, "part": 1, "is_final": true, "schema": 1,
        "tenant_id": tenant, "environment": "live", "attribution": "header", "paid_by": "operator",
        "session_id": format!("session-{}", number % 7),
        "upstream": "openai", "provider": "openai", "endpoint": "chat",
        "model_requested": "gpt-4o-mini", "model": "gpt-4o-mini",
        "started_at": at, "ended_at": at, "duration_ms": "12.5",
        "status": 200, "ending": "complete", "transport": "http", "attempt": 1,
        "lines": [{"model": "gpt-4o-mini", "usage": {"input_tokens": "1000", "output_tokens": "100"}}],
        "usage": {"input_tokens": "1000", "output_tokens": "100"},
        "usage_source": "reported", "claimed_usd": "0.00021", "pricing": "priced",
        "evidence": {"reader_version": 1, "objects": [{"at": "usage", "value": {"prompt_tokens": 1000}}]},
        "response_id": format!("chatcmpl-{number}"), "upstream_request_id": format!("req-{number}"),
        "node": "node-1", "epoch": 1, "seq": number,
        "content_sha256": format!("{number:064x}"),
    })
}

pub(crate) fn outcomes(answer: &Answer) -> Vec<Outcome> {
    answer
        .receipts
        .iter()
        .map(|receipt| receipt.outcome)
        .collect()
}
