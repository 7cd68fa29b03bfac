//! Lets old events go, again and again, while the collector runs.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::api::App;
use crate::records::retention;
use crate::store::StoreError;

/// Time between two passes.
const PASS_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Time until the next try after one that failed.
const FAILED_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Runs until `shutdown`. Without the retention role nothing is removed, and the log says so.
pub(crate) async fn run(app: App, default_days: Option<u32>, shutdown: CancellationToken) {
    let default_days = default_days.and_then(|days| i32::try_from(days).ok());
    loop {
        let wait = match pass(&app, default_days).await {
            Ok(removed) => {
                if removed != retention::Removed::default() {
                    tracing::info!(
                        months = removed.months,
                        events = removed.events,
                        links = removed.links,
                        "old events are removed"
                    );
                }
                PASS_INTERVAL
            }
            Err(cause) => {
                tracing::warn!(%cause, "old events stay: is the database there, and does its login have the retention role?");
                FAILED_INTERVAL
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn pass(app: &App, default_days: Option<i32>) -> Result<retention::Removed, StoreError> {
    let Some(store) = app.retention() else {
        return Ok(retention::Removed::default());
    };
    let mut client = store.client().await?;
    Ok(retention::pass(&mut client, default_days).await?)
}
