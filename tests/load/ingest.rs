//! What one collector and its Postgres take for long: batches as proxies ship them, sent as fast as receipts
//! come, with a line every few seconds.
//!
//! Postgres is as durable as a ledger is in production. Its CPU and the collector's are told; the sender's is not in
//! the figures, but takes its share of the machine.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use farebox_tests::Result;
use farebox_tests::measure::Family;
use farebox_tests::stack::{Stack, world};
use farebox_tests::wire::{Connection, Request};
use tokio::task::JoinSet;

use crate::figures::micros;
use crate::table;

/// What the tests' cluster leaves out for speed.
const DURABLE: [&str; 4] = [
    "alter system set fsync = on",
    "alter system set full_page_writes = on",
    "alter system set synchronous_commit = on",
    "select pg_reload_conf()",
];
/// Calls of one session.
const SESSION_CALLS: u64 = 7;
/// Calls that begin in one millisecond.
const MILLISECOND_CALLS: u64 = 16;
const DAY_MILLIS: u64 = 86_400_000;

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long to send, in seconds.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// A line after so many seconds.
    #[arg(long, default_value_t = 10)]
    every: u64,
    /// Requests under way at a time.
    #[arg(long, default_value_t = 2)]
    senders: u64,
    /// Events of a request.
    #[arg(long, default_value_t = 1000)]
    batch: u64,
    /// Tenants that the events are of.
    #[arg(long, default_value_t = 50)]
    tenants: u64,
}

/// What all senders share.
struct Load {
    api: SocketAddr,
    token: String,
    options: Options,
    /// Today in UTC; the first call began with it. And its begin, in milliseconds since the Unix epoch.
    today: String,
    midnight: u64,
    /// Milliseconds that had passed of today when the load began.
    passed: u64,
    started: Instant,
    until: Instant,
    taken: AtomicU64,
    accepted: AtomicU64,
}

/// Sends, and prints what was taken.
pub(crate) async fn run(options: Options) -> Result<()> {
    let mut stack = Stack::prepare(&[]).await?;
    let sql = stack.sql().await?;
    for statement in DURABLE {
        sql.batch_execute(statement).await?;
    }
    stack.start_collector().await?;
    let collector = Family::of(stack.collector()?.pid());
    let postgres = Family::of(world()?.cluster.pid()?);
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let today = sql
        .query_one(
            "select (timestamptz 'epoch' + $1::bigint * interval '1 millisecond')::date::text",
            &[&i64::try_from(now)?],
        )
        .await?;
    let (seconds, every) = (options.seconds, Duration::from_secs(options.every.max(1)));
    let started = Instant::now();
    let load = Arc::new(Load {
        api: stack.api,
        token: std::fs::read_to_string(stack.folder.path().join("ingest.token"))?,
        today: today.get(0),
        midnight: now - now % DAY_MILLIS,
        passed: now % DAY_MILLIS,
        started,
        until: started + Duration::from_secs(seconds),
        taken: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
        options,
    });
    println!("{}\n", table::machine());
    println!(
        "| second | events/s | collector, CPU an event | Postgres, CPU an event | collector, resident |"
    );
    println!("| --- | --- | --- | --- | --- |");
    let used = || Result::Ok([collector.cpu_ns()?, postgres.cpu_ns()?]);
    let begin = used()?;
    let mut senders = JoinSet::new();
    for _ in 0..load.options.senders {
        senders.spawn(send(Arc::clone(&load)));
    }
    let (mut before, mut so_far, mut at) = (begin, 0, started);
    while at + every <= load.until {
        tokio::time::sleep_until((at + every).into()).await;
        let (cpu, events) = (used()?, load.accepted.load(Ordering::Relaxed));
        let took = at.elapsed();
        row(
            &started.elapsed().as_secs().to_string(),
            events - so_far,
            took,
            [cpu[0] - before[0], cpu[1] - before[1]],
            collector.resident_bytes()?,
        );
        (before, so_far, at) = (cpu, events, Instant::now());
    }
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    let (cpu, events) = (used()?, load.accepted.load(Ordering::Relaxed));
    row(
        "all",
        events,
        started.elapsed(),
        [cpu[0] - begin[0], cpu[1] - begin[1]],
        collector.peak_resident_bytes()?,
    );
    let counted = sql
        .query_one(
            "select count(*), (select sum(events)::bigint from farebox.usage_daily)
             from farebox_private.usage_events",
            &[],
        )
        .await?;
    let booked: [i64; 2] = [counted.get(0), counted.get(1)];
    if booked != [i64::try_from(events)?; 2] {
        return Err(format!("{events} accepted, {booked:?} in the ledger and its roll-up").into());
    }
    println!(
        "\nThe ledger and its roll-ups hold all {events}; the last line's memory is the most there ever was."
    );
    Ok(())
}

fn row(second: &str, events: u64, took: Duration, cpu_ns: [u64; 2], bytes: u64) {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let [collector, postgres] = cpu_ns.map(|ns| micros(ns / events.max(1)));
    println!(
        "| {second} | {} | {collector} | {postgres} | {} MiB |",
        events * 1_000 / millis,
        bytes >> 20
    );
}

/// One connection: a batch, its receipts, the next batch.
async fn send(load: Arc<Load>) -> Result<()> {
    let mut connection = Connection::open(load.api).await?;
    while Instant::now() < load.until {
        let first = load.taken.fetch_add(load.options.batch, Ordering::Relaxed);
        let now = load.time(load.passed + u64::try_from(load.started.elapsed().as_millis())?);
        let request = Request::post("/ingest/v1/events", load.batch(first)?)
            .bearer(load.token.trim())
            .with("x-farebox-node", "load")
            .with("x-farebox-epoch", "1")
            .with("x-farebox-sent-at", &now)
            .with("x-farebox-open-since", &now)
            .with("content-type", "application/json");
        let answer = connection.send(&request).await?;
        let accepted = answer.text().matches("\"accepted\"").count() as u64;
        if accepted != load.options.batch {
            return Err(format!("{}: {}", answer.status(), answer.text()).into());
        }
        load.accepted.fetch_add(accepted, Ordering::Relaxed);
    }
    Ok(())
}

impl Load {
    /// RFC 3339 of a time of today.
    fn time(&self, of_day: u64) -> String {
        let seconds = of_day % DAY_MILLIS / 1_000;
        format!(
            "{}T{:02}:{:02}:{:02}.{:03}Z",
            self.today,
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60,
            of_day % 1_000
        )
    }

    fn batch(&self, first: u64) -> Result<String> {
        let mut batch = String::from("[");
        for number in first..first + self.options.batch {
            if number > first {
                batch.push(',');
            }
            self.record(&mut batch, number)?;
        }
        batch.push(']');
        Ok(batch)
    }

    /// A chat call as a proxy ships it: several calls a session, half of them with a trace, ids of the vendor that
    /// nobody could foresee.
    fn record(&self, out: &mut String, number: u64) -> Result<()> {
        let of_day = number / MILLISECOND_CALLS;
        let millis = self.midnight + of_day;
        let random = scattered(number);
        let id = format!(
            "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
            millis >> 16,
            millis & 0xffff,
            random & 0xfff,
            random >> 12 & 0xfff,
            number
        );
        let (at, until) = (self.time(of_day), self.time(of_day + 2));
        let tenant = number % self.options.tenants;
        let customer = number / self.options.tenants % 5;
        let session = scattered(number / SESSION_CALLS) >> 16;
        let model = ["gpt-4o-mini", "gpt-4o"][usize::try_from(number / 3 % 2)?];
        let (input, output) = (number % 977 + 1, number % 61 + 1);
        let usage = format!(
            r#"{{"input_tokens":"{input}","cache_read_tokens":"0","output_tokens":"{output}","reasoning_tokens":"0"}}"#
        );
        let total = input + output;
        let (answer, request) = (scattered(random), scattered(random ^ 1));
        write!(
            out,
            r#"{{"event_id":"{id}","call_id":"{id}","part":1,"is_final":true,"schema":1,"tenant_id":"tenant-{tenant}","customer_id":"customer-{customer}","session_id":"session-{session:012x}","environment":"live","attribution":"key","key_id":"01a2049a-4f97-7039-8fcc-{tenant:012x}","credential_id":"openai","paid_by":"operator","upstream":"openai","provider":"openai","endpoint":"chat","model_requested":"{model}","model":"{model}","service_tier":"default","started_at":"{at}","ended_at":"{until}","ttfb_ms":"1.526","duration_ms":"1.555","overhead_ms":"0.023","status":200,"ending":"complete","transport":"http","request_bytes":193,"response_bytes":1186,"attempt":1,"lines":[{{"model":"{model}","usage":{usage}}}],"usage":{usage},"usage_source":"reported","evidence":{{"reader_version":1,"route":"POST /v1/chat/completions","request":{{"model":"{model}"}},"response":{{"status":200,"id":"chatcmpl-{answer:016x}{random:013x}","model":"{model}","service_tier":"default","finished":true}},"objects":[{{"at":"usage","value":{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total},"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}}}}],"counts":{{"request_bytes":193,"response_bytes":1186,"frames":1,"output_frames":0,"is_complete":true}}}},"pricing":"priced","upstream_request_id":"req_{request:016x}{answer:016x}","response_id":"chatcmpl-{answer:016x}{random:013x}","original":true,"node":"load","epoch":1,"seq":{seq},"content_sha256":"{answer:016x}{random:016x}{request:016x}{number:016x}""#,
            seq = number + 1
        )?;
        if number.is_multiple_of(2) {
            let run = scattered(number / 12);
            write!(
                out,
                r#","run_id":"{run:016x}{run:016x}","span_id":"{random:016x}""#
            )?;
        }
        out.push('}');
        Ok(())
    }
}

/// A number that no neighbour's leads to (the finisher of `SplitMix64`).
fn scattered(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
