//! Questions that may have to read very many events to be answered: each of their statements ends after a time,
//! and what it changed is nothing.

use std::time::Duration;

use deadpool_postgres::{Client, Transaction};
use tokio_postgres::Error;

/// A reading transaction. It ends with it, whatever was asked, so nothing stays with the connection.
pub(crate) async fn start(client: &mut Client, bound: Duration) -> Result<Transaction<'_>, Error> {
    let reading = client.build_transaction().read_only(true).start().await?;
    let bound = bound.as_millis();
    reading
        .batch_execute(&format!("set local statement_timeout = {bound}"))
        .await?;
    Ok(reading)
}
