//! The collector: takes events from proxies, keeps the ledger in Postgres, and serves the API.
//!
//! A request's way: `server` gives it an id, `principal` knows who asks, `api` answers, and only
//! the files below `store` run SQL. The collector writes Postgres; it calls no provider and is needed
//! by no proxied request.
//!
//! Without Postgres it keeps running: ingest and API answer 503 with `retry-after`, `/readyz` says
//! no, and the pool connects again by itself.

mod api;
pub mod cards;
pub mod config;
pub mod csv;
mod error;
mod export;
pub mod keys;
mod merging;
mod metrics;
pub mod migrate;
mod principal;
mod reconcile;
mod retention;
mod server;
pub mod store;
mod tls;

pub mod ingest;
pub mod rollup;

mod reprice;

/// What the API reads and writes, one file a noun.
#[path = "store"]
mod records {
    pub(crate) mod audit;
    pub(crate) mod bounded;
    pub(crate) mod credentials;
    pub(crate) mod customers;
    pub(crate) mod events;
    pub(crate) mod explanations;
    pub(crate) mod exports;
    pub(crate) mod gathered;
    pub(crate) mod idempotency;
    pub(crate) mod keys;
    pub(crate) mod limit_status;
    pub(crate) mod limits;
    pub(crate) mod nodes;
    pub(crate) mod owners;
    pub(crate) mod prices;
    pub(crate) mod reconciliations;
    pub(crate) mod retention;
    pub(crate) mod runs;
    pub(crate) mod sessions;
    pub(crate) mod tenants;
    pub(crate) mod usage;
}

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use api::openapi_json;
pub use config::{CollectorConfig, InvalidConfig, Secret, TlsConfig};
pub use records::nodes::{IngestToken, issue_ingest_token};

/// Why the collector did not start.
#[derive(Debug)]
pub enum Error {
    /// The configuration cannot be served; every mistake found.
    Config(Vec<InvalidConfig>),
    /// The database's address cannot be read; it is not repeated, it may hold a password.
    Database(String),
    /// Certificate or key.
    Tls(String),
    /// The address cannot be bound.
    Listen(SocketAddr, std::io::Error),
    /// A part of the process could not be made.
    Start(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(mistakes) => {
                let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join("; "))
            }
            Self::Database(cause) | Self::Start(cause) | Self::Tls(cause) => f.write_str(cause),
            Self::Listen(address, cause) => write!(f, "collector.listen {address}: {cause}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(_, cause) => Some(cause),
            _ => None,
        }
    }
}

/// What starting gives.
pub type Result<T> = std::result::Result<T, Error>;

/// A collector that accepts connections.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    is_tls: bool,
    task: JoinHandle<()>,
}

impl Running {
    /// The address it is bound to; with port 0 asked for, the one the kernel gave.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://…` or `https://…` of that address.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Returns when the collector has drained after its shutdown was asked for.
    pub async fn finished(self) {
        if let Err(cause) = self.task.await {
            tracing::error!(%cause, "the collector's task failed");
        }
    }
}

/// Binds and serves until `shutdown`. The database may be away when it starts.
pub async fn run(config: CollectorConfig, shutdown: CancellationToken) -> Result<Running> {
    let mistakes = config.mistakes();
    if !mistakes.is_empty() {
        return Err(Error::Config(mistakes));
    }
    let tls = config.tls.as_ref().map(tls::Acceptor::load).transpose()?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|cause| Error::Listen(config.listen, cause))?;
    let address = listener
        .local_addr()
        .map_err(|cause| Error::Listen(config.listen, cause))?;
    let app = api::Shared::start(&config)?;
    let metrics = app.metrics.clone();
    let watching = tokio::spawn(api::watch(app.clone(), shutdown.clone()));
    let removing = tokio::spawn(retention::run(
        app.clone(),
        config.retention_days,
        shutdown.clone(),
    ));
    let merging = tokio::spawn(merging::run(app.clone(), shutdown.clone()));
    let following = tokio::spawn(api::follow_cards(app.clone(), shutdown.clone()));
    let router = api::router(app);
    let is_tls = tls.is_some();
    if let Some(tls) = &tls {
        tokio::spawn(Arc::clone(tls).watch(shutdown.clone()));
    }
    let drain = Duration::from_secs(config.drain_seconds);
    let task = tokio::spawn(async move {
        server::serve(listener, router, metrics, tls, shutdown, drain).await;
        watching.abort();
        removing.abort();
        merging.abort();
        following.abort();
    });
    tracing::info!(%address, is_tls, "collector listens");
    Ok(Running {
        address,
        is_tls,
        task,
    })
}
