//! The one door to Postgres: the pool, and below it the only files that run SQL.
//!
//! Connections are given back as they are (no `discard all`), so that prepared statements and the
//! staging table of ingest stay with their session. Nothing here relies on a session setting, so a
//! transaction pooler may stand between: the one that is made, [`SETTINGS`], is about time only.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime,
};
use farebox_database::Address;
use tokio::sync::Notify;

// What callers of the store name of its packages, from its one home.
pub use deadpool_postgres::{Client, PoolError};
pub(crate) use deadpool_postgres::{GenericClient, Transaction};
pub(crate) use tokio_postgres::Error as DatabaseError;
pub(crate) use tokio_postgres::error::SqlState;

pub mod ingest;

pub(crate) mod adjustments;
pub(crate) mod copy;
pub(crate) mod invoices;

use ingest::Known;

/// Batches that are looked up first after one that had to come again.
const CAUTIOUS_BATCHES: u32 = 32;
/// Longest wait for a free connection, and for a new one to be made.
const CONNECTION_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// Said once to each connection. Compiling a statement takes seconds where it has many parts, and is done
/// because of what the planner fears that it reads; a page stops long before. Not in the address: poolers refuse
/// options there.
const SETTINGS: &str = "set jit = off";

/// A pool of connections to the ledger.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    caution: Arc<Caution>,
    new_sums: Arc<Notify>,
}

/// How many of the next batches the ledger is asked about first, because records came again lately.
#[derive(Debug, Default)]
pub(crate) struct Caution(AtomicU32);

impl Caution {
    /// What to take as known of the next batch.
    pub(crate) fn look(&self) -> Known {
        let left = |left: u32| left.checked_sub(1);
        match self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left)
        {
            Ok(_) => Known::AskFirst,
            Err(_) => Known::Nothing,
        }
    }

    /// A batch had to come again.
    pub(crate) fn raise(&self) {
        self.0.store(CAUTIOUS_BATCHES, Ordering::Relaxed);
    }
}

/// Why the database did not do what was asked.
#[derive(Debug)]
pub enum StoreError {
    /// The address is no Postgres URL; the text names no secret.
    Address(String),
    /// No connection could be had.
    Unreachable(PoolError),
    /// A batch's sum is larger than any that is kept.
    SumTooLarge,
    /// A row that another version wrote.
    Unreadable(String),
    /// A statement failed.
    Failed(tokio_postgres::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(reason) => write!(f, "database address: {reason}"),
            Self::Unreachable(error) => write!(f, "database cannot be reached: {error}"),
            Self::SumTooLarge => f.write_str("a sum does not fit"),
            Self::Unreadable(reason) => write!(f, "a row cannot be read: {reason}"),
            // The driver's own text is only "db error"; the server's message is what helps.
            Self::Failed(error) => match error.as_db_error() {
                Some(db) => write!(f, "database: {}: {}", db.code().code(), db.message()),
                None => write!(f, "database: {error}"),
            },
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address(_) | Self::SumTooLarge | Self::Unreadable(_) => None,
            Self::Unreachable(error) => Some(error),
            Self::Failed(error) => Some(error),
        }
    }
}

impl From<PoolError> for StoreError {
    fn from(error: PoolError) -> Self {
        Self::Unreachable(error)
    }
}

impl From<crate::rollup::Overflow> for StoreError {
    fn from(_: crate::rollup::Overflow) -> Self {
        Self::SumTooLarge
    }
}

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error)
    }
}

impl Store {
    /// A pool of at most `pool_size` connections; none is made before it is needed.
    pub fn connect(database_url: &str, pool_size: usize) -> Result<Self, StoreError> {
        let Address { mut config, tls } = parse_address(database_url)?;
        if config.get_application_name().is_none() {
            config.application_name("farebox collector");
        }
        let manager = Manager::from_config(
            config,
            tls,
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .max_size(pool_size)
            .runtime(Runtime::Tokio1)
            // The one that was used last knows the tables and statements; a new one takes its time to learn them.
            .queue_mode(QueueMode::Lifo)
            .wait_timeout(Some(CONNECTION_WAIT))
            .create_timeout(Some(CONNECTION_WAIT))
            .post_create(Hook::async_fn(|client, _| {
                Box::pin(async move {
                    client
                        .batch_execute(SETTINGS)
                        .await
                        .map_err(HookError::Backend)
                })
            }))
            .build()
            .map_err(|error| StoreError::Address(error.to_string()))?;
        Ok(Self {
            pool,
            caution: Arc::default(),
            new_sums: Arc::default(),
        })
    }

    pub(crate) fn caution(&self) -> &Caution {
        &self.caution
    }

    /// Told when a batch left sums that are to be merged.
    pub(crate) fn new_sums(&self) -> &Notify {
        &self.new_sums
    }

    /// A connection, given back when dropped.
    pub async fn client(&self) -> Result<Client, PoolError> {
        self.pool.get().await
    }
}

/// Reads a Postgres URL or key-value text; the error does not repeat it, it may hold a password.
pub(crate) fn parse_address(text: &str) -> Result<Address, StoreError> {
    Address::from_str(text).map_err(|error| StoreError::Address(error.to_string()))
}
