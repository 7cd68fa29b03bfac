//! Questions that may have to read very many events to be answered: each of their statements ends after a time,
//! and what it changed is nothing.

use std::time::Duration;

use deadpool_postgres::{Client, Transaction};
use tokio_postgres::Error;

/// Asks in a transaction that only reads. It is over, and nothing of it stays with the connection, when this
/// returns an answer.
pub(crate) async fn read<T>(
    client: &mut Client,
    bound: Duration,
    ask: impl AsyncFnOnce(&Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let reading = client.build_transaction().read_only(true).start().await?;
    let bound = bound.as_millis();
    reading
        .batch_execute(&format!("set local statement_timeout = {bound}"))
        .await?;
    let answer = ask(&reading).await?;
    reading.commit().await?;
    Ok(answer)
}
