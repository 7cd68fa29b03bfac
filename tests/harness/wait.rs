//! Waiting for a condition, never for a time.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::Result;

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `condition` gives a value; fails with the last thing it said when `deadline` has passed.
pub async fn eventually<T, F, Fut>(what: &str, deadline: Duration, mut condition: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = std::result::Result<T, String>>,
{
    let started = Instant::now();
    loop {
        match condition().await {
            Ok(value) => return Ok(value),
            Err(last) if started.elapsed() >= deadline => {
                return Err(format!("not within {deadline:?}: {what}; last seen: {last}").into());
            }
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// `Ok` when the statement holds, else what was seen instead.
pub fn holds(statement: bool, seen: impl std::fmt::Debug) -> std::result::Result<(), String> {
    if statement {
        Ok(())
    } else {
        Err(format!("{seen:?}"))
    }
}
