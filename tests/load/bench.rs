//! The benchmark: Farebox and nginx to the same upstream, rounds alternating within one run.
//!
//! CPU is that of whole processes (every thread and worker), memory is proportional set size, and
//! each printed figure is the median of its rounds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use farebox_tests::measure::Family;
use farebox_tests::{Result, tls};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::{Ask, Target};
use crate::figures::{Latencies, median, micros, micros_above, ratio};
use crate::nginx::Nginx;
use crate::ours::Ours;
use crate::rounds;
use crate::table::Table;

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Rounds of each figure; their median is printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of one round in seconds.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Connections of the closed loop.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Slow streams held open.
    #[arg(long, default_value_t = 1000)]
    streams: usize,
    /// Requests a second of the latency rounds.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Measure what an event costs the ledger, and nothing else.
    #[arg(long, conflicts_with = "nginx_only")]
    shipping_only: bool,
    /// Measure nginx alone.
    #[arg(long)]
    nginx_only: bool,
}

/// One of the two proxies.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) ca: PathBuf,
    pub(crate) family: Family,
    pub(crate) key: String,
    pub(crate) stream_path: &'static str,
}

/// The path of everything but nginx's streams.
pub(crate) const PATH: &str = "/openai/v1/chat/completions";

impl Subject {
    pub(crate) fn target(&self, is_tls: bool, ask: Ask) -> Result<Target> {
        let (address, ca) = if is_tls {
            (self.tls, Some(self.ca.as_path()))
        } else {
            (self.plain, None)
        };
        let path = if ask == Ask::Json {
            PATH
        } else {
            self.stream_path
        };
        Ok(Target::new(self.name, address, ca)?.with_request(path, &self.key, ask))
    }
}

/// Measures everything and prints the table.
pub(crate) async fn run(options: Options) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("fbench")
        .tempdir_in("/tmp")?;
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    let (_upstream, upstream) = start_upstream().await?;
    let certificate = tls::certificate(folder.path())?;
    let nginx = Nginx::start(folder.path(), upstream, &certificate).await?;
    let mut subjects = vec![Subject {
        name: "nginx",
        plain: nginx.plain,
        tls: nginx.tls,
        ca: certificate.cert.clone(),
        family: nginx.family(),
        key: "none".to_owned(),
        stream_path: "/sse/v1/chat/completions",
    }];
    let mut table = Table::default();
    let direct = Target::new("direct", upstream, None)?.with_request(
        "/v1/chat/completions",
        "none",
        Ask::Json,
    );
    let mut ours = if options.nginx_only {
        None
    } else {
        Some(Ours::start(upstream).await?)
    };
    if let Some(ours) = &mut ours {
        subjects.push(ours.subject()?);
    }

    if !options.shipping_only {
        warm(&subjects, &options).await?;
        memory(&subjects, &options, &mut table).await?;
        cpu(&subjects, &options, &mut table).await?;
        latency(&direct, &subjects, &options, &mut table).await?;
    }
    let shipped = match &mut ours {
        Some(ours) => ours.shipping(&options, &mut table).await,
        None => Ok(()),
    };
    table.print();
    shipped
}

pub(crate) async fn start_upstream() -> Result<(Child, SocketAddr)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("upstream")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let out = child.stdout.take().ok_or("the upstream has no output")?;
    let line = BufReader::new(out)
        .lines()
        .next_line()
        .await?
        .ok_or("the upstream said nothing")?;
    Ok((child, line.trim().parse()?))
}

async fn warm(subjects: &[Subject], options: &Options) -> Result<()> {
    for subject in subjects {
        for is_tls in [false, true] {
            for ask in [Ask::Json, Ask::Stream] {
                rounds::closed(
                    &subject.target(is_tls, ask)?,
                    options.connections,
                    Duration::from_secs(1),
                )
                .await?;
            }
        }
    }
    Ok(())
}

/// Memory of a slow stream above the warm process, and the first bytes of streams being opened.
async fn memory(subjects: &[Subject], options: &Options, table: &mut Table) -> Result<()> {
    let streams = options.streams as u64;
    let mut idle = Vec::new();
    for subject in subjects {
        idle.push(subject.family.memory_bytes()?);
    }
    table.row(
        "memory of the warm process, MiB",
        mib(idle.first()),
        idle.get(1).map(|bytes| mib(Some(bytes))),
        None,
    );
    for (name, is_tls) in [("plain", false), ("client TLS", true)] {
        let (mut per_stream, mut first_bytes) = (Vec::new(), Vec::new());
        for (subject, idle) in subjects.iter().zip(&idle) {
            let open = rounds::SlowStreams::open(
                &subject.target(is_tls, Ask::SlowStream)?,
                options.streams,
            )
            .await?;
            per_stream.push(subject.family.memory_bytes()?.saturating_sub(*idle) / streams);
            first_bytes.push(open.first_bytes.at(990));
            open.close().await;
        }
        let kib = |bytes: &u64| format!("{}.{} KiB", bytes / 1024, bytes % 1024 * 10 / 1024);
        let show =
            |values: &[u64], at: usize, show: &dyn Fn(&u64) -> String| values.get(at).map(show);
        table.row(
            &format!("memory per open slow stream, {name}, {streams} open"),
            show(&per_stream, 0, &kib).unwrap_or_default(),
            show(&per_stream, 1, &kib),
            None,
        );
        table.row(
            &format!("first byte p99 while opening {streams} slow streams, {name}"),
            show(&first_bytes, 0, &|ns| micros(*ns)).unwrap_or_default(),
            show(&first_bytes, 1, &|ns| micros(*ns)),
            None,
        );
    }
    Ok(())
}

fn mib(bytes: Option<&u64>) -> String {
    bytes
        .map(|bytes| (bytes / 1024 / 1024).to_string())
        .unwrap_or_default()
}

async fn cpu(subjects: &[Subject], options: &Options, table: &mut Table) -> Result<()> {
    for (figure, is_tls, ask) in [
        ("CPU per request, 1.2 KB JSON", false, Ask::Json),
        ("CPU per request, 1.2 KB JSON, client TLS", true, Ask::Json),
        ("CPU per 50-chunk event stream", false, Ask::Stream),
    ] {
        let mut seen = vec![Vec::new(); subjects.len()];
        for _ in 0..options.rounds {
            for (subject, seen) in subjects.iter().zip(&mut seen) {
                seen.push(cpu_per_request(subject, is_tls, ask, options).await?);
            }
        }
        let medians: Vec<u64> = seen.into_iter().map(median).collect();
        let nginx = medians.first().copied().unwrap_or_default();
        let ours = medians.get(1).copied();
        table.row(
            figure,
            micros(nginx),
            ours.map(micros),
            ours.map(|ours| format!("× {}", ratio(ours, nginx))),
        );
    }
    Ok(())
}

/// One closed round; nanoseconds of the subject's CPU for each request.
pub(crate) async fn cpu_per_request(
    subject: &Subject,
    is_tls: bool,
    ask: Ask,
    options: &Options,
) -> Result<u64> {
    let before = subject.family.cpu_ns()?;
    let length = Duration::from_secs(options.seconds);
    let outcome =
        rounds::closed(&subject.target(is_tls, ask)?, options.connections, length).await?;
    let used = subject.family.cpu_ns()?.saturating_sub(before);
    eprintln!(
        "  {} {}: {outcome}",
        subject.name,
        if is_tls { "TLS" } else { "plain" }
    );
    Ok(used / outcome.requests.max(1))
}

async fn latency(
    direct: &Target,
    subjects: &[Subject],
    options: &Options,
    table: &mut Table,
) -> Result<()> {
    let mut targets = vec![direct.clone()];
    for subject in subjects {
        targets.push(subject.target(false, Ask::Json)?);
    }
    let mut seen: Vec<Vec<Latencies>> = vec![Vec::new(); targets.len()];
    for _ in 0..options.rounds {
        for (target, seen) in targets.iter().zip(&mut seen) {
            let outcome =
                rounds::paced(target, options.rate, Duration::from_secs(options.seconds)).await?;
            eprintln!(
                "  {} at {}/s: {}",
                target.name, options.rate, outcome.totals
            );
            seen.push(outcome.totals);
        }
    }
    for (name, per_mille) in [("p50", 500), ("p99", 990)] {
        let at: Vec<u64> = seen
            .iter()
            .map(|rounds| median(rounds.iter().map(|round| round.at(per_mille)).collect()))
            .collect();
        let nginx = at.get(1).copied().unwrap_or_default();
        table.row(
            &format!(
                "latency {name} at {}/s (direct: {})",
                options.rate,
                micros(at.first().copied().unwrap_or_default())
            ),
            micros(nginx),
            at.get(2).copied().map(micros),
            at.get(2)
                .map(|ours| format!("{} µs above nginx", micros_above(*ours, nginx))),
        );
    }
    Ok(())
}
