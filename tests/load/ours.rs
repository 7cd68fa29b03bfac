//! Farebox as a subject: a proxy whose spool fills undisturbed, then a collector that empties it.

use std::net::SocketAddr;
use std::time::Duration;

use farebox_tests::Result;
use farebox_tests::measure::Family;
use farebox_tests::stack::{Key, Stack, world};
use farebox_tests::wait::eventually;

use crate::bench::{Options, Subject, cpu_per_request};
use crate::client::Ask;
use crate::figures::micros;
use crate::table::Table;

/// Longest time the collector may take for one round's events.
const DRAIN_MAX: Duration = Duration::from_secs(300);
/// Room for every event of a run, so that none passes unrecorded.
const SPOOL_BYTES: &str = "17179869184";

/// A deployment with its key.
pub(crate) struct Ours {
    stack: Stack,
    key: Key,
}

impl Ours {
    /// Starts the proxy before `upstream`, with the spool on and the collector away again.
    pub(crate) async fn start(upstream: SocketAddr) -> Result<Self> {
        let base_url = format!("http://{upstream}");
        let settings = [
            ("upstreams.openai.base_url", base_url.as_str()),
            ("spool.bytes_max", SPOOL_BYTES),
            ("proxy.drain_ship_seconds", "0"),
        ];
        let mut stack = Stack::with(&settings).await?;
        let key = stack.issue(&["--tenant", "bench"])?;
        stack.known(&key).await?;
        stack.collector()?.kill();
        Ok(Self { stack, key })
    }

    /// Lets the events be taken.
    pub(crate) async fn start_collector(&mut self) -> Result<()> {
        self.stack.start_collector().await
    }

    /// Ends both in order.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.stack.proxy()?.stop().await?;
        self.stack.collector()?.stop().await?;
        Ok(())
    }

    /// As the bench sees it.
    pub(crate) fn subject(&mut self) -> Result<Subject> {
        Ok(Subject {
            name: "farebox",
            plain: self.stack.plain,
            tls: self.stack.tls,
            ca: self.stack.ca(),
            family: Family::of(self.stack.proxy()?.pid()),
            key: self.key.secret.clone(),
            stream_path: crate::bench::PATH,
        })
    }

    /// With an empty spool and a running collector: what shipping costs the proxy, and what an event
    /// costs the collector and Postgres together.
    pub(crate) async fn shipping(&mut self, options: &Options, table: &mut Table) -> Result<()> {
        self.stack.proxy()?.kill();
        std::fs::remove_dir_all(self.stack.spool())?;
        self.stack.start_collector().await?;
        self.stack.start_proxy().await?;
        self.stack.known(&self.key).await?;
        let before = self.count().await?;
        let ledger = [
            Family::of(self.stack.collector()?.pid()),
            Family::of(world()?.cluster.pid()?),
        ];
        let used = |ledger: &[Family]| {
            ledger
                .iter()
                .map(|family| family.cpu_ns())
                .sum::<Result<u64>>()
        };
        let cpu_before = used(&ledger)?;
        let subject = self.subject()?;
        let proxy_cpu = cpu_per_request(&subject, false, Ask::Json, options).await?;
        let events = eventually("the spool is empty", DRAIN_MAX, || async {
            let metrics = self
                .stack
                .metrics()
                .await
                .map_err(|error| error.to_string())?;
            let waiting = metrics
                .lines()
                .find_map(|line| line.strip_prefix("farebox_spool_records "));
            if waiting.map(str::trim) != Some("0") {
                return Err(format!("{waiting:?} records wait"));
            }
            self.count()
                .await
                .map(|now| now - before)
                .map_err(|error| error.to_string())
        })
        .await?;
        let per_event = (used(&ledger)? - cpu_before) / events.max(1);
        table.row(
            "CPU per request while shipping too",
            String::new(),
            Some(micros(proxy_cpu)),
            None,
        );
        table.row(
            &format!("collector and Postgres CPU per event ({events} events)"),
            String::new(),
            Some(micros(per_event)),
            None,
        );
        Ok(())
    }

    async fn count(&self) -> Result<u64> {
        let row = self
            .stack
            .sql()
            .await?
            .query_one("select count(*) from farebox_private.usage_events", &[])
            .await?;
        Ok(u64::try_from(row.get::<_, i64>(0))?)
    }
}
