//! Renewing the leases of limits: one call of one function in Postgres, in the background, whenever
//! something was used and at least every [`RENEW_INTERVAL`]. No request ever waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::unix_millis;
use crate::Shared;
use crate::admission::Admission;
use crate::admission::exchange::Answer;
use crate::config::Secret;

use super::follow::{Lost, connect_alone, within};

/// Between two reports at most, where a proxy is alone.
pub const RENEW_INTERVAL: Duration = Duration::from_millis(500);
/// The same beside others, who may want what is not needed here.
const SHARED_INTERVAL: Duration = Duration::from_millis(200);
/// Between two reports at least.
const RENEW_PAUSE: Duration = Duration::from_millis(100);
/// The same where a call was refused for want of a lease.
const URGENT_PAUSE: Duration = Duration::from_millis(10);
/// A report that takes longer is given up and the connection with it.
const REPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for one that hands in what earlier starts had noted of many counters.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two tries to connect.
const RECONNECT_WAIT: Duration = Duration::from_millis(500);
/// The first calls wait so long for the first word on limits' leases.
const FIRST_LEASE_WAIT: Duration = Duration::from_secs(1);
/// What goes back at the end is waited for so long.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whose leases they are.
struct Holder {
    /// The proxy.
    node: String,
    /// Its start.
    epoch: u64,
    /// Leases that are not renewed for this long hold no more.
    grace: Duration,
}

/// Where limits are known already, from the copy on disk: waits a moment for the first word on what may
/// be spent of them.
pub async fn first(shared: &Shared, first: &mut watch::Receiver<bool>) {
    if shared.directory.has_any_limit() && shared.config.database_url.is_some() {
        let first = first.wait_for(|is_there| *is_there);
        let _ = tokio::time::timeout(FIRST_LEASE_WAIT, first).await;
    }
}

/// Renews leases until the shutdown, then gives back what is left of them.
pub async fn keep(shared: Arc<Shared>, first: watch::Sender<bool>, shutdown: CancellationToken) {
    let (directory, admission) = (&shared.directory, &shared.admission);
    let holder = Holder {
        node: shared.spool.node().to_owned(),
        epoch: shared.spool.epoch(),
        grace: Duration::from_secs(shared.config.proxy.lease_grace_seconds),
    };
    let Some(url) = shared.config.database_url.clone() else {
        shutdown.cancelled().await;
        return;
    };
    // What is told of counters needs the limits they are of.
    tokio::select! {
        () = directory.limits_known() => {}
        () = shutdown.cancelled() => return,
    }
    let mut agents_after = 0;
    let mut is_away = false;
    while !shutdown.is_cancelled() {
        let lost = tokio::select! {
            lost = session(admission, &holder, &url, &mut agents_after, &mut is_away, &first, &shutdown) => lost,
            () = shutdown.cancelled() => return,
        };
        let Err(error) = lost else {
            return;
        };
        admission.lost();
        first.send_replace(true);
        // Once an outage, not once a try.
        if !std::mem::replace(&mut is_away, true) {
            tracing::warn!(%error, "limits: no Postgres, leases are spent and then each limit's `fail` holds");
        }
        tokio::select! {
            () = tokio::time::sleep(RECONNECT_WAIT) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// One connection's life. Ends in order with the shutdown, or when a later start of this proxy speaks.
async fn session(
    admission: &Admission,
    holder: &Holder,
    url: &Secret,
    agents_after: &mut i64,
    is_away: &mut bool,
    first: &watch::Sender<bool>,
    shutdown: &CancellationToken,
) -> Result<(), Lost> {
    let (client, _connection) = connect_alone(url).await?;
    loop {
        if !renew(&client, admission, holder, agents_after, false).await? {
            tracing::error!("limits: a later start of this proxy holds its leases");
            return Ok(());
        }
        *is_away = false;
        if admission.is_settled_in() {
            first.send_replace(true);
        }
        tokio::select! {
            () = shutdown.cancelled() => {
                let leaving = renew(&client, admission, holder, agents_after, true);
                let _ = tokio::time::timeout(LEAVE_TIMEOUT, leaving).await;
                return Ok(());
            }
            () = tokio::time::sleep(RENEW_PAUSE) => {}
            () = admission.urgent() => tokio::time::sleep(URGENT_PAUSE).await,
        }
        let most = if admission.is_shared() {
            SHARED_INTERVAL
        } else {
            RENEW_INTERVAL
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = admission.changed() => {}
            () = tokio::time::sleep(most) => {}
        }
    }
}

/// One report and its answer; `false`: this start is over.
async fn renew(
    client: &Client,
    admission: &Admission,
    holder: &Holder,
    agents_after: &mut i64,
    is_leaving: bool,
) -> Result<bool, Lost> {
    let patience = if admission.has_much_to_recover() {
        RECOVERY_TIMEOUT
    } else {
        REPORT_TIMEOUT
    };
    let report = admission.report(holder.grace.as_secs(), *agents_after, is_leaving);
    let asked_at = unix_millis();
    let grace = i64::try_from(holder.grace.as_millis()).unwrap_or(i64::MAX);
    match within(patience, "a report on limits", ask(client, holder, &report)).await {
        Ok(answer) if answer.is_stale => Ok(false),
        Ok(answer) if answer.is_late => {
            admission.not_reported(report);
            Err(Lost::Answer)
        }
        Ok(answer) => {
            let valid_until = asked_at.saturating_add(grace);
            *agents_after = admission.answered(report, answer, valid_until);
            Ok(true)
        }
        Err(error) => {
            admission.not_reported(report);
            Err(error)
        }
    }
}

async fn ask(
    client: &Client,
    holder: &Holder,
    report: &impl serde::Serialize,
) -> Result<Answer, Lost> {
    let report = serde_json::to_string(report).map_err(|_| Lost::Answer)?;
    let epoch = i64::try_from(holder.epoch).unwrap_or(i64::MAX);
    let row = client
        .query_one(
            "select farebox_private.renew_limit_leases($1, $2, $3::text::jsonb)::text",
            &[&holder.node, &epoch, &report],
        )
        .await?;
    serde_json::from_str(row.try_get(0)?).map_err(|_| Lost::Answer)
}
