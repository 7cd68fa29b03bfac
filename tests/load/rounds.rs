//! The three ways to load a target: closed loop, paced, and slow streams.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use farebox_tests::Result;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::client::{Connection, Target};
use crate::figures::Latencies;

/// Connections that a paced round spreads its requests over.
const PACED_CONNECTIONS: usize = 16;
/// New slow streams a second.
const STREAMS_PER_SECOND: u32 = 500;

/// What a round saw.
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) elapsed: Duration,
    pub(crate) totals: Latencies,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let a_second = u128::from(self.requests) * 1000 / self.elapsed.as_millis().max(1);
        write!(
            f,
            "{} requests, {a_second}/s, {}",
            self.requests, self.totals
        )
    }
}

/// Each connection sends its next request when the last answer is in.
pub(crate) async fn closed(
    target: &Target,
    connections: usize,
    length: Duration,
) -> Result<Outcome> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(target.connect().await?);
    }
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for mut connection in open {
        tasks.spawn(async move {
            let mut seen = Vec::with_capacity(4096);
            while started.elapsed() < length {
                seen.push(connection.exchange().await?);
            }
            Ok::<_, farebox_tests::Error>(seen)
        });
    }
    let seen = gather(&mut tasks).await?;
    Ok(Outcome {
        requests: seen.len() as u64,
        elapsed: started.elapsed(),
        totals: Latencies::new(seen),
    })
}

/// Requests leave on time whether or not earlier answers are in.
pub(crate) async fn paced(target: &Target, rate: u32, length: Duration) -> Result<Outcome> {
    let idle = Arc::new(Mutex::new(Vec::with_capacity(PACED_CONNECTIONS)));
    for _ in 0..PACED_CONNECTIONS {
        let mut connection = target.connect().await?;
        connection.exchange().await?;
        idle.lock().await.push(connection);
    }
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut tasks = JoinSet::new();
    while started.elapsed() < length {
        ticks.tick().await;
        let kept = idle.lock().await.pop();
        let (idle, target) = (Arc::clone(&idle), target.clone());
        tasks.spawn(async move {
            let mut connection = match kept {
                Some(connection) => connection,
                None => target.connect().await?,
            };
            let took = connection.exchange().await?;
            idle.lock().await.push(connection);
            Ok::<_, farebox_tests::Error>(vec![took])
        });
    }
    let seen = gather(&mut tasks).await?;
    Ok(Outcome {
        requests: seen.len() as u64,
        elapsed: started.elapsed(),
        totals: Latencies::new(seen),
    })
}

async fn gather(tasks: &mut JoinSet<Result<Vec<Duration>>>) -> Result<Vec<Duration>> {
    let mut all = Vec::new();
    while let Some(done) = tasks.join_next().await {
        all.extend(done??);
    }
    Ok(all)
}

/// Streams that are open and stay open until closed.
pub(crate) struct SlowStreams {
    tasks: JoinSet<()>,
    pub(crate) first_bytes: Latencies,
}

impl SlowStreams {
    /// Opens `count` streams at a steady rate; first bytes are those of the later half.
    pub(crate) async fn open(target: &Target, count: usize) -> Result<Self> {
        let mut opening: JoinSet<Result<(Connection, Duration)>> = JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / STREAMS_PER_SECOND);
        let mut tasks = JoinSet::new();
        let mut first_bytes = Vec::with_capacity(count);
        for number in 0..count {
            ticks.tick().await;
            let target = target.clone();
            opening.spawn(async move {
                let mut connection = target.connect().await?;
                let first_byte = connection.begin_stream().await?;
                Ok((connection, first_byte))
            });
            while let Some(done) = opening.try_join_next() {
                keep(done??, number >= count / 2, &mut tasks, &mut first_bytes);
            }
        }
        while let Some(done) = opening.join_next().await {
            keep(done??, true, &mut tasks, &mut first_bytes);
        }
        Ok(Self {
            tasks,
            first_bytes: Latencies::new(first_bytes),
        })
    }

    /// Goes away from all of them.
    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}

fn keep(
    (mut connection, first_byte): (Connection, Duration),
    counts: bool,
    tasks: &mut JoinSet<()>,
    first_bytes: &mut Vec<Duration>,
) {
    if counts {
        first_bytes.push(first_byte);
    }
    tasks.spawn(async move {
        // Ends with the stream, or when the round closes it.
        let _ = connection.drain().await;
    });
}
