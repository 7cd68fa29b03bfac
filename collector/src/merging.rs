//! Merges the sums that batches set aside, while the collector runs.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::api::App;
use crate::store::StoreError;
use crate::store::ingest::sums::merge;

/// How long batches are gathered: the longer, the less it costs to merge one, and the more a reader of sums
/// adds up.
const GATHERED: Duration = Duration::from_secs(3);
/// Time until the next look at what nobody told of: left by a collector that ended, or where merging failed.
const LEFT_BEHIND: Duration = Duration::from_secs(30);

/// Runs until `shutdown`. What is not merged then is no less counted, and the next collector merges it.
pub(crate) async fn run(app: App, shutdown: CancellationToken) {
    loop {
        if let Err(cause) = pass(&app).await {
            tracing::warn!(%cause, "sums that batches set aside wait to be merged; they count, and reading sums takes longer");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = app.store().new_sums().notified() => {}
            () = tokio::time::sleep(LEFT_BEHIND) => {}
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(GATHERED) => {}
        }
    }
}

async fn pass(app: &App) -> Result<(), StoreError> {
    let merged = merge(&app.store().client().await?).await?;
    tracing::trace!(merged, "sums are merged");
    Ok(())
}
