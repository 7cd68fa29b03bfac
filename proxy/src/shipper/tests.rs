use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;
use crate::config::{MetricsConfig, Secret};
use crate::spool::{Selection, SpoolOptions, list_failed, requeue};

/// Longest wait for what has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

type Script = Box<dyn Fn(&[Value], &Log) -> (u16, Option<&'static str>, Value) + Send + Sync>;

/// What the collector of a test has seen.
#[derive(Default)]
struct Log {
    batches: Mutex<Vec<(HeaderMap, Vec<Value>)>>,
    connections: Mutex<usize>,
}

impl Log {
    fn posts(&self) -> usize {
        self.batches.lock().unwrap().len()
    }

    /// The records' numbers, by all that came, repeats included.
    fn seqs(&self) -> Vec<u64> {
        let batches = self.batches.lock().unwrap();
        let records = batches.iter().flat_map(|(_, records)| records);
        records
            .map(|record| record["seq"].as_u64().unwrap())
            .collect()
    }
}

fn receipts(records: &[Value], outcome: impl Fn(u64) -> &'static str) -> Value {
    let receipt = |record: &Value| {
        let outcome = outcome(record["seq"].as_u64().unwrap());
        json!({"event_id": record["event_id"], "outcome": outcome, "reason": "by the test"})
    };
    json!({"receipts": records.iter().map(receipt).collect::<Vec<_>>()})
}

fn accepting() -> Script {
    Box::new(|records, _| (200, None, receipts(records, |_| "accepted")))
}

/// A collector on a real socket that answers by its script; with `closing`, one answer a connection.
async fn collect(listener: TcpListener, script: Script, closing: bool) -> Arc<Log> {
    let log = Arc::new(Log::default());
    let seen = Arc::clone(&log);
    let script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            *seen.connections.lock().unwrap() += 1;
            let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
            let service = service_fn(move |request: Request<Incoming>| {
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                async move {
                    let (head, body) = request.into_parts();
                    assert_eq!(head.uri, "/ingest/v1/events");
                    let body = body.collect().await.unwrap().to_bytes();
                    let records: Vec<Value> = serde_json::from_slice(&body).unwrap();
                    let (status, retry_after, answer) = script(&records, &seen);
                    seen.batches.lock().unwrap().push((head.headers, records));
                    let mut response = Response::builder().status(status);
                    if let Some(retry_after) = retry_after {
                        response = response.header("retry-after", retry_after);
                    }
                    let body = Full::new(Bytes::from(answer.to_string()));
                    Ok::<_, Infallible>(response.body(body).unwrap())
                }
            });
            tokio::spawn(async move {
                let mut builder = hyper::server::conn::http1::Builder::new();
                builder.keep_alive(!closing);
                let _ = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    log
}

struct Bench {
    folder: tempfile::TempDir,
    spool: Spool,
    address: SocketAddr,
    stop: CancellationToken,
    shipping: Option<tokio::task::JoinHandle<()>>,
    retry_max: Duration,
    metrics: Arc<Metrics>,
}

impl Bench {
    fn new(address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(folder.path(), SpoolOptions::default()).unwrap();
        Self {
            folder,
            spool,
            address,
            stop: CancellationToken::new(),
            shipping: None,
            retry_max: PATIENCE,
            metrics: Metrics::new(&MetricsConfig::default()),
        }
    }

    /// A bench whose collector follows the script.
    async fn with(script: Script) -> (Self, Arc<Log>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bench = Self::new(listener.local_addr().unwrap());
        (bench, collect(listener, script, false).await)
    }

    fn append(&self, count: u64) {
        for number in 0..count {
            let event_id = Uuid::now_v7();
            let record = json!({"event_id": event_id, "number": number}).to_string();
            let ticket = self
                .spool
                .append_intent(event_id, record.as_bytes())
                .unwrap();
            self.spool
                .append_settlement(ticket, record.as_bytes())
                .unwrap();
        }
    }

    fn start(&mut self, drain: Duration) {
        let ship_to = ShipTo {
            collector_url: format!("http://{}", self.address),
            ingest_token: Secret::new("the token".into()),
            ca_file: None,
        };
        let config = SpoolConfig {
            ship_records_max: 16,
            ..SpoolConfig::default()
        };
        let metrics = Arc::clone(&self.metrics);
        let mut shipper = Shipper::new(self.spool.clone(), metrics, &ship_to, &config).unwrap();
        shipper.pace = Pace {
            report: Duration::from_millis(50),
            linger: Duration::from_millis(1),
            hold: Duration::from_millis(50),
            retry_max: self.retry_max,
        };
        self.shipping = Some(tokio::spawn(shipper.ship(self.stop.clone(), drain)));
    }

    async fn end(&mut self) {
        self.stop.cancel();
        self.shipping.take().unwrap().await.unwrap();
    }

    async fn until_shipped(&self) {
        until("everything is acknowledged", || {
            self.spool.stats().unshipped == 0
        })
        .await;
    }

    fn counted(&self, outcome: &str) -> u64 {
        let text = self.metrics.encode(&self.spool.stats(), None);
        let line = format!("farebox_shipped_events_total{{outcome=\"{outcome}\"}} ");
        text.lines()
            .find_map(|own| own.strip_prefix(&line))
            .unwrap()
            .parse()
            .unwrap()
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "never: {what}"
    );
}

#[tokio::test]
async fn every_record_arrives_once_with_its_place_and_digest() {
    let (mut bench, log) = Bench::with(accepting()).await;
    bench.append(50);
    bench.start(PATIENCE);
    bench.until_shipped().await;
    until("a report", || {
        log.batches
            .lock()
            .unwrap()
            .iter()
            .any(|(_, records)| records.is_empty())
    })
    .await;
    bench.end().await;

    let mut seqs = log.seqs();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=50).collect::<Vec<u64>>());
    assert_eq!(bench.counted("accepted"), 50);
    let batches = log.batches.lock().unwrap();
    for (headers, records) in batches.iter() {
        assert!(records.len() <= 16);
        assert_eq!(headers["authorization"], "Bearer the token");
        assert_eq!(headers["x-farebox-node"], bench.spool.node());
        assert_eq!(headers["x-farebox-epoch"], bench.spool.epoch().to_string());
        let time = |name: &str| {
            headers[name]
                .to_str()
                .unwrap()
                .parse::<Timestamp>()
                .unwrap()
        };
        assert!(time("x-farebox-open-since") <= time("x-farebox-sent-at"));
        for record in records {
            assert_eq!(record["node"], bench.spool.node());
            let spooled = json!({"event_id": record["event_id"], "number": record["number"]});
            let digest = format!("{:x}", Sha256::digest(spooled.to_string().as_bytes()));
            assert_eq!(record["content_sha256"], digest);
        }
    }
    assert_eq!(*log.connections.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_rejected_record_is_set_aside_and_its_neighbours_go_on() {
    let outcome = |seq| match seq {
        3 => "rejected",
        5 => "conflict",
        7 => "duplicate",
        _ => "accepted",
    };
    let (mut bench, log) = Bench::with(Box::new(move |records, _| {
        (200, None, receipts(records, outcome))
    }))
    .await;
    bench.append(20);
    bench.start(PATIENCE);
    bench.until_shipped().await;
    bench.end().await;
    let failed = list_failed(bench.folder.path()).unwrap();
    let reasons: HashSet<(u64, &str)> = failed
        .iter()
        .map(|record| (record.seq, record.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        HashSet::from([(3, "rejected: by the test"), (5, "conflict: by the test")])
    );
    assert!(
        failed
            .iter()
            .all(|record| record.receipt.contains("by the test"))
    );
    assert_eq!(log.seqs().len(), 20);
    assert_eq!(
        (bench.counted("rejected"), bench.counted("duplicate")),
        (1, 1)
    );
}

#[tokio::test]
async fn a_batch_refused_as_a_whole_is_halved_down_to_the_bad_record() {
    let script: Script = Box::new(|records, _| {
        if records
            .iter()
            .any(|record| record["seq"] == 11 || record["seq"] == 12)
        {
            return (400, None, json!({"error": {"code": "malformed"}}));
        }
        (200, None, receipts(records, |_| "accepted"))
    });
    let (mut bench, _log) = Bench::with(script).await;
    bench.append(16);
    bench.start(PATIENCE);
    bench.until_shipped().await;
    bench.end().await;
    let failed = list_failed(bench.folder.path()).unwrap();
    let seqs: HashSet<u64> = failed.iter().map(|record| record.seq).collect();
    assert_eq!(seqs, HashSet::from([11, 12]));
    assert_eq!(failed[0].reason, "the collector answers 400");
    assert!(failed[0].receipt.contains("malformed"));
    assert_eq!(bench.counted("accepted"), 14);
}

#[tokio::test]
async fn a_collector_that_refuses_everything_costs_no_record() {
    // From the first record on; a collector that refuses reports is not sent any.
    let script: Script = Box::new(|records, log| match records {
        [] if log.seqs().is_empty() => (200, None, receipts(records, |_| "accepted")),
        _ => (400, None, json!({})),
    });
    let (mut bench, log) = Bench::with(script).await;
    bench.append(2);
    bench.start(Duration::from_millis(100));
    let has_halved = || {
        let batches = log.batches.lock().unwrap();
        batches.iter().any(|(_, records)| records.len() == 1)
    };
    until("a record refused alone", has_halved).await;
    let posts = log.posts();
    until("a try after it", || log.posts() > posts + 1).await;
    bench.end().await;
    assert_eq!(list_failed(bench.folder.path()).unwrap(), []);
    assert_eq!(bench.spool.stats().unshipped, 2);
}

#[tokio::test]
async fn a_collector_that_is_away_gets_everything_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut bench = Bench::new(address);
    bench.append(40);
    bench.start(PATIENCE);
    // The first try has failed when all of it is back in the spool and nothing is in flight.
    until("a failed try", || bench.spool.stats().in_flight == 0).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let tries = Arc::new(Mutex::new(0));
    let script: Script = Box::new(move |records, _| {
        *tries.lock().unwrap() += 1;
        match *tries.lock().unwrap() {
            1 => (503, Some("0"), json!({})),
            2 => (429, Some("0"), json!({})),
            3 => (200, None, json!({"receipts": []})),
            _ => (200, None, receipts(records, |_| "accepted")),
        }
    });
    let _log = collect(listener, script, false).await;
    bench.until_shipped().await;
    bench.end().await;
    assert_eq!(bench.counted("accepted"), 40);
    assert_eq!(list_failed(bench.folder.path()).unwrap(), []);
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let script: Script = Box::new(|records, log| match log.posts() {
        0 => (503, Some("1"), json!({})),
        _ => (200, None, receipts(records, |_| "accepted")),
    });
    let (mut bench, log) = Bench::with(script).await;
    bench.append(1);
    let started = std::time::Instant::now();
    bench.start(PATIENCE);
    bench.until_shipped().await;
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(log.posts() >= 2);
    bench.end().await;
}

#[tokio::test]
async fn a_record_that_cannot_be_taken_yet_comes_again_and_holds_nobody_up() {
    let script: Script = Box::new(|records, log| {
        let was_there = log.seqs().iter().filter(|seq| **seq == 2).count();
        let outcome = move |seq| {
            if seq == 2 && was_there < 3 {
                "retry"
            } else {
                "accepted"
            }
        };
        (200, None, receipts(records, outcome))
    });
    let (mut bench, log) = Bench::with(script).await;
    bench.append(5);
    bench.start(PATIENCE);
    bench.until_shipped().await;
    bench.end().await;
    let seqs = log.seqs();
    assert_eq!(seqs.iter().filter(|seq| **seq == 2).count(), 4);
    assert_eq!(seqs.len(), 8);
    assert_eq!(bench.counted("retry"), 3);
}

#[tokio::test]
async fn a_record_that_can_never_be_taken_leaves_the_spool_and_may_come_again() {
    let script: Script = Box::new(|records, log| {
        // By then somebody has given the collector what it lacked.
        let is_ready = log.seqs().iter().filter(|seq| **seq == 2).count() >= 4;
        let outcome = move |seq| match seq {
            2 if !is_ready => "retry",
            _ => "accepted",
        };
        (200, None, receipts(records, outcome))
    });
    let (mut bench, log) = Bench::with(script).await;
    bench.retry_max = Duration::from_millis(100);
    bench.append(5);
    bench.start(PATIENCE);
    // Nothing of it pins the spool any more.
    bench.until_shipped().await;
    let aside = list_failed(bench.folder.path()).unwrap();
    assert_eq!(aside.len(), 1);
    assert_eq!(
        (aside[0].seq, aside[0].reason.as_str()),
        (2, "retry: by the test")
    );
    // Asked for too early it is set aside again, at once; later it is taken.
    let started = std::time::Instant::now();
    while bench.counted("accepted") < 5 {
        requeue(bench.folder.path(), &Selection::All).unwrap();
        assert!(started.elapsed() < PATIENCE, "{:?}", log.seqs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bench.end().await;
    assert_eq!(list_failed(bench.folder.path()).unwrap(), []);
}

#[tokio::test]
async fn a_connection_that_the_collector_closes_is_made_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut bench = Bench::new(listener.local_addr().unwrap());
    let log = collect(listener, accepting(), true).await;
    bench.append(40);
    bench.start(PATIENCE);
    bench.until_shipped().await;
    bench.end().await;
    assert_eq!(log.seqs().len(), 40);
    assert!(*log.connections.lock().unwrap() >= 3);
}

#[tokio::test]
async fn the_stop_ships_what_is_there_and_what_is_not_yet_synced() {
    let (mut bench, log) = Bench::with(accepting()).await;
    bench.start(PATIENCE);
    bench.append(100);
    bench.end().await;
    assert_eq!(log.seqs().len(), 100);
    assert_eq!(bench.spool.stats().unshipped, 0);
}

#[tokio::test]
async fn the_stop_leaves_the_rest_in_the_spool_when_nobody_takes_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut bench = Bench::new(listener.local_addr().unwrap());
    drop(listener);
    bench.append(3);
    bench.start(Duration::from_millis(300));
    let started = std::time::Instant::now();
    bench.end().await;
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert_eq!(bench.spool.stats().unshipped, 3);
}

#[tokio::test]
async fn a_busy_proxy_reports_and_requeues_as_an_idle_one() {
    let (mut bench, log) = Bench::with(accepting()).await;
    bench.start(PATIENCE);
    let reports = || {
        let batches = log.batches.lock().unwrap();
        batches
            .iter()
            .filter(|(_, records)| records.is_empty())
            .count()
    };
    let before = reports();
    until("reports between batches", || {
        bench.append(1);
        reports() > before + 3
    })
    .await;
    bench.end().await;
}

#[tokio::test]
async fn a_requeued_record_is_shipped_again_with_its_first_place() {
    let script: Script = Box::new(|records, log| {
        let is_first = !log.seqs().contains(&1);
        (
            200,
            None,
            receipts(records, move |seq| {
                if seq == 1 && is_first {
                    "rejected"
                } else {
                    "accepted"
                }
            }),
        )
    });
    let (mut bench, log) = Bench::with(script).await;
    bench.append(2);
    bench.start(PATIENCE);
    until("it is set aside", || bench.spool.stats().failed == 1).await;
    bench.until_shipped().await;
    assert_eq!(requeue(bench.folder.path(), &Selection::All).unwrap(), 1);
    until("it came again", || bench.counted("accepted") == 2).await;
    until("it is gone", || {
        bench.spool.next_requeued(1).unwrap().is_empty()
    })
    .await;
    bench.end().await;
    assert_eq!(log.seqs(), [1, 2, 1]);
    let batches = log.batches.lock().unwrap();
    let mut sent = batches
        .iter()
        .flat_map(|(_, records)| records)
        .filter(|record| record["seq"] == 1);
    assert_eq!(sent.next(), sent.next());
}

#[test]
fn a_wait_is_spread_over_its_second_half() {
    for _ in 0..100 {
        let wait = jittered(BACK_OFF_LAST);
        assert!(
            wait >= BACK_OFF_LAST / 2 && wait < BACK_OFF_LAST,
            "{wait:?}"
        );
    }
    assert_eq!(jittered(Duration::ZERO), Duration::ZERO);
}
