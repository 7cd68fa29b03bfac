//! The data plane: from the SDK's call to the usage event in the spool, and on to the collector.
//!
//! One call, in the order of the modules: [`downstream`] takes the connection, [`request`] is the
//! walk and names every step; [`route`] finds the upstream and [`provider`] the endpoint,
//! [`identity`] and [`attribution`] say whose call it is, [`admission`] whether it may go,
//! [`spool`] keeps its intent, [`upstream`] carries it, [`observe`] and [`reader`] watch the [`answer`],
//! [`settle`] makes its event, [`shipper`] brings it to the collector.
//!
//! Each worker is one thread with its own runtime and its own connections to upstreams, so that a
//! request never crosses a thread. Everything that may wait (the directory, the shipper, argon2, the
//! disk) lives beside them.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use farebox_pricing::event::Event;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub mod admission;
pub mod amend;
pub mod answer;
pub mod attribution;
pub mod body;
mod bound;
pub mod config;
pub mod decode;
pub mod directory;
pub mod downstream;
pub mod failure;
pub mod framing;
pub mod headers;
mod http1;
pub mod identity;
pub mod metrics;
pub mod objects;
pub mod observe;
pub mod ops;
pub mod owners;
pub mod process;
pub mod provider;
pub mod providers;
pub mod reader;
pub mod refusals;
pub mod request;
pub mod reread;
pub mod route;
pub mod sessions;
pub mod settle;
pub mod shipper;
pub mod socket;
pub mod spool;
pub mod tls;
pub mod unrecorded;
pub mod upstream;

use attribution::Aliases;
use config::Config;
use directory::Directory;
use downstream::Seat;
use identity::Identity;
use metrics::Metrics;
use observe::Abandoned;
use owners::Owners;
use request::View;
use route::Upstreams;
use spool::{Orphan, Spool, SpoolOptions};
use unrecorded::Unrecorded;
use upstream::Pool;
use upstream::configured::{apart, slots_of, test_twins, upstreams_of};

/// After the drain's bound running streams are cut and have this long to be settled.
const CUT_SETTLE_TIME: Duration = Duration::from_secs(2);

/// What every worker reaches.
pub struct Shared {
    /// As given.
    pub config: Config,
    /// Other names of our headers.
    pub aliases: Aliases,
    /// Tenants, keys, limits.
    pub directory: Arc<Directory>,
    /// Keys that were verified.
    pub identity: Identity,
    /// Limits.
    pub admission: Arc<admission::Admission>,
    /// The durable queue.
    pub spool: Spool,
    /// Calls without an intent.
    pub unrecorded: Unrecorded,
    /// Answers that are read to their end without their callers.
    pub abandoned: Abandoned,
    /// Who owns what vendors keep.
    pub owners: Owners,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Wakes whoever waits for the drain to begin; [`Self::is_draining`] tells that it has.
    pub draining: CancellationToken,
    has_begun_to_drain: AtomicBool,
    /// Wakes running streams to look whether they are cut; [`Self::cuts`] tells that it did.
    pub cut: Arc<Notify>,
    cuts: AtomicU64,
    cutting_all: AtomicBool,
}

impl Shared {
    /// How often running streams had to look whether they are cut.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }

    /// New calls are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.has_begun_to_drain.load(Ordering::Acquire)
    }

    /// New calls are refused from here on.
    fn begin_to_drain(&self) {
        self.has_begun_to_drain.store(true, Ordering::Release);
        self.draining.cancel();
    }

    /// A call passes without an intent.
    fn note_unrecorded(&self, event: &Event, refusal: &spool::Refusal) {
        self.unrecorded.count(event, refusal);
        self.metrics.unrecorded(event.tenant_id.as_ref());
    }

    fn wake_streams(&self) {
        self.cuts.fetch_add(1, Ordering::AcqRel);
        self.cut.notify_waiters();
    }

    /// The drain's bound has passed.
    #[must_use]
    pub fn is_cutting_all(&self) -> bool {
        self.cutting_all.load(Ordering::Relaxed)
    }
}

/// One worker's own.
pub struct Worker {
    /// What all share.
    pub shared: Arc<Shared>,
    /// By configured name. A worker's own: with each call references are counted.
    upstreams: Upstreams,
    /// The same names, where test keys go.
    test_upstreams: Upstreams,
    /// What the directory says.
    view: View,
    /// The same spool as all others'; its tickets are counted apart.
    spool: Spool,
    /// Its connections to upstreams.
    pub pool: Arc<Pool>,
    /// Turns at TLS handshakes.
    turns: downstream::Turns,
}

/// Why the proxy cannot start. The text names the thing.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

fn cannot(what: impl fmt::Display) -> impl FnOnce(Box<dyn std::error::Error>) -> StartError {
    move |error| StartError(format!("{what}: {error}"))
}

/// A proxy that runs.
pub struct Running {
    /// Plain HTTP, when configured.
    pub plain_addr: Option<SocketAddr>,
    /// TLS, when configured.
    pub tls_addr: Option<SocketAddr>,
    /// Metrics and health.
    pub ops_addr: SocketAddr,
    finished: oneshot::Receiver<()>,
}

impl Running {
    /// Waits until the drain is over, whoever began it.
    pub async fn finished(self) {
        // A dropped sender is an end too.
        let _ = self.finished.await;
    }
}

/// Starts the proxy; `shutdown` begins the drain.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<Running, StartError> {
    tls::install_provider();
    process::grow_descriptor_table();
    process::forbid_core_dumps();
    // Parsing the cards takes milliseconds; the first call shall not wait for it.
    let _ = farebox_pricing::rate_card::CardSet::built_in();
    let upstreams = upstreams_of(&config).map_err(StartError)?;
    let test_upstreams = test_twins(&config, &upstreams).map_err(StartError)?;
    let aliases = Aliases::new(&config.proxy.header_aliases).map_err(StartError)?;

    let directory = Arc::new(Directory::new());
    directory.load_copy(&directory_source(&config));
    let identity = Identity::new(Arc::clone(&directory), &config.key_secrets)
        .map_err(|error| cannot("keys.secret")(error.into()))?;
    let metrics = Metrics::new(&config.metrics);
    let spool = open_spool(&config, &metrics)?;
    let admission = admission::Admission::new(config.proxy.limits, Arc::clone(&directory));
    let notes = config.directory_copy.parent().unwrap_or(Path::new("."));
    let admission = Arc::new(admission.noting(notes, spool.epoch()));
    let shared = Arc::new(Shared {
        admission,
        aliases,
        identity,
        directory,
        spool,
        unrecorded: Unrecorded::default(),
        abandoned: Abandoned::default(),
        owners: Owners::new(Duration::from_millis(config.proxy.state_lookup_ms)),
        metrics,
        draining: CancellationToken::new(),
        has_begun_to_drain: AtomicBool::new(false),
        cut: Arc::new(Notify::new()),
        cuts: AtomicU64::new(0),
        cutting_all: AtomicBool::new(false),
        config,
    });

    let proxy = &shared.config.proxy;
    let plain = match proxy.listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let secure = match &proxy.tls {
        Some(config) => {
            let acceptor =
                tls::Acceptor::load(config).map_err(|error| StartError(error.to_string()))?;
            Some((bind(config.listen).await?, acceptor))
        }
        None => None,
    };
    let ops = bind(proxy.ops_listen).await?;
    let local = |listener: &TcpListener| {
        listener
            .local_addr()
            .map_err(|error| cannot("listener")(error.into()))
    };
    let plain_addr = plain.as_ref().map(local).transpose()?;
    let tls_addr = secure
        .as_ref()
        .map(|(listener, _)| local(listener))
        .transpose()?;
    let ops_addr = local(&ops)?;

    let mut background = start_background(&shared, ops);
    directory::leases::first(&shared, &mut background.first_lease).await;
    let (seats, workers) = start_workers(&shared, [&upstreams, &test_upstreams])?;
    if let Some(listener) = plain {
        tokio::spawn(downstream::listen(
            listener,
            None,
            seats.clone(),
            proxy.connections_max,
            Arc::clone(&shared),
        ));
    }
    if let Some((listener, acceptor)) = secure {
        tokio::spawn(Arc::clone(&acceptor).reload_on_change());
        tokio::spawn(downstream::listen(
            listener,
            Some(acceptor),
            seats,
            proxy.connections_max,
            Arc::clone(&shared),
        ));
    }
    let (done, finished) = oneshot::channel();
    tokio::spawn(async move {
        shutdown.cancelled().await;
        drain(shared, workers, background).await;
        let _ = done.send(());
    });
    Ok(Running {
        plain_addr,
        tls_addr,
        ops_addr,
        finished,
    })
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| cannot(format!("listen on {address}"))(error.into()))
}

/// Opens the spool and settles what an earlier process left in flight.
fn open_spool(config: &Config, metrics: &Arc<Metrics>) -> Result<Spool, StartError> {
    let section = &config.spool;
    let directory = section
        .dir
        .as_ref()
        .ok_or_else(|| StartError("spool.dir: not set".to_owned()))?;
    let on_sync = Arc::clone(metrics);
    let options = SpoolOptions {
        segment_bytes: usize::try_from(section.segment_bytes).unwrap_or(usize::MAX),
        bytes_max: section.bytes_max,
        settlement_bytes_max: settle::SETTLEMENT_BYTES_MAX,
        sync_interval: Duration::from_millis(section.sync_interval_ms),
        on_sync: Some(Arc::new(move |took| on_sync.spool_synced(took))),
        ..SpoolOptions::default()
    };
    let (spool, recovery) =
        Spool::open(directory, options).map_err(|error| StartError(error.to_string()))?;
    if let Some(unclean) = recovery.unclean {
        tracing::warn!(
            epoch = unclean.epoch,
            last_seq = unclean.last_seq,
            may_have_lost = unclean.may_have_lost,
            "the last epoch did not end in order"
        );
    }
    let interrupted = recovery.orphans.len();
    for orphan in recovery.orphans {
        settle_interrupted(&spool, orphan);
    }
    if interrupted > 0 {
        tracing::warn!(
            interrupted,
            "calls in flight at the last end are settled as interrupted"
        );
    }
    Ok(spool)
}

/// An intent is the row of an interrupted call already.
fn settle_interrupted(spool: &Spool, orphan: Orphan) {
    let event_id = orphan.ticket.event_id();
    let record = orphan.latest().map(<[u8]>::to_vec);
    let Some(record) = record else {
        tracing::error!(%event_id, "the intent of an interrupted call is lost; its row cannot be made");
        return;
    };
    if let Err(unsettled) = spool.append_settlement(orphan.ticket, &record) {
        tracing::error!(%event_id, error = %unsettled.refusal, "interrupted call cannot be settled yet");
    }
}

fn directory_source(config: &Config) -> directory::follow::Source {
    directory::follow::Source {
        database_url: config.database_url.clone(),
        database_listen_url: config.database_listen_url.clone(),
        copy: config.directory_copy.clone(),
        key_secrets: config.key_secrets.clone(),
        first_lease: None,
    }
}

struct Background {
    stop: CancellationToken,
    shipper: tokio::task::JoinHandle<()>,
    leases: tokio::task::JoinHandle<()>,
    first_lease: watch::Receiver<bool>,
}

/// Directory, shipper, operations and the small clocks.
fn start_background(shared: &Arc<Shared>, ops: TcpListener) -> Background {
    let stop = CancellationToken::new();
    let (first, first_lease) = watch::channel(false);
    let source = directory::follow::Source {
        first_lease: Some(first_lease.clone()),
        ..directory_source(&shared.config)
    };
    tokio::spawn(Arc::clone(&shared.directory).follow(source, stop.clone()));
    let keeping = directory::leases::keep(Arc::clone(shared), first, stop.clone());
    let leases = tokio::spawn(keeping);
    tokio::spawn(ops::serve(ops, Arc::clone(shared), stop.clone()));
    let shipper = tokio::spawn(shipper::run(Arc::clone(shared), stop.clone()));
    tokio::spawn(owners::answer(Arc::clone(shared), stop.clone()));
    let minute = Arc::clone(shared);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(unrecorded::ROW_INTERVAL).await;
            minute.unrecorded.write(&minute.spool);
            // A call that panicked left its intent behind; its row need not wait for the next start.
            minute
                .spool
                .take_abandoned()
                .into_iter()
                .for_each(|orphan| settle_interrupted(&minute.spool, orphan));
        }
    });
    let watching = Arc::clone(shared);
    tokio::spawn(async move {
        let mut revocations = watching.directory.revocations();
        while revocations.changed().await.is_ok() {
            watching.wake_streams();
        }
    });
    Background {
        stop,
        shipper,
        leases,
        first_lease,
    }
}

fn start_workers(
    shared: &Arc<Shared>,
    upstreams: [&Upstreams; 2],
) -> Result<(Vec<Seat>, Vec<Arc<AtomicUsize>>), StartError> {
    let config = &shared.config.proxy;
    let count = match config.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    let mut seats = Vec::new();
    let mut open_counts = Vec::new();
    for number in 0..count {
        let (hand_over, handed) = mpsc::unbounded_channel();
        let open = Arc::new(AtomicUsize::new(0));
        seats.push(Seat {
            hand_over,
            open: Arc::clone(&open),
        });
        open_counts.push(Arc::clone(&open));
        let worker = Arc::new(Worker {
            shared: Arc::clone(shared),
            upstreams: apart(upstreams[0]),
            test_upstreams: apart(upstreams[1]),
            view: View::new(Arc::clone(&shared.directory), Arc::clone(&shared.admission)),
            spool: shared.spool.clone(),
            pool: Pool::new(
                upstreams.map(slots_of).into_iter().max().unwrap_or(0),
                config.upstream_idle_max,
                Duration::from_millis(config.upstream_keepalive_ms),
                Duration::from_millis(config.connect_timeout_ms),
            ),
            turns: downstream::Turns::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| cannot("worker runtime")(error.into()))?;
        std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || runtime.block_on(downstream::serve(worker, handed, open)))
            .map_err(|error| cannot("worker thread")(error.into()))?;
    }
    Ok((seats, open_counts))
}

/// New calls are refused, running ones finish within the bound, then are cut; the spool ships what it
/// can and keeps the rest.
async fn drain(shared: Arc<Shared>, workers: Vec<Arc<AtomicUsize>>, background: Background) {
    shared.begin_to_drain();
    let bound = Duration::from_secs(shared.config.proxy.drain_seconds);
    let open = || {
        workers
            .iter()
            .map(|open| open.load(Ordering::Relaxed))
            .sum::<usize>()
    };
    if !within(bound, || open() == 0).await {
        tracing::warn!(open = open(), "drain: running streams are cut");
        shared.cutting_all.store(true, Ordering::Relaxed);
        shared.wake_streams();
        within(CUT_SETTLE_TIME, || open() == 0).await;
    }
    shared.unrecorded.write(&shared.spool);
    background.stop.cancel();
    if background.leases.await.is_err() {
        tracing::error!("the leases' task ended by a panic");
    }
    if background.shipper.await.is_err() {
        tracing::error!("shipper ended by a panic");
    }
    if let Err(error) = shared.spool.close() {
        tracing::error!(%error, "spool cannot be closed in order");
    }
}

async fn within(bound: Duration, is_true: impl Fn() -> bool) -> bool {
    let end = tokio::time::Instant::now() + bound;
    while !is_true() {
        if tokio::time::Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}
