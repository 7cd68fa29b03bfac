//! One role at a time, for servers: proxy, collector, migrate, simulate.

use std::future::Future;
use std::path::Path;

use farebox_collector::config::Secret as CollectorSecret;
use farebox_pricing::key::KeySecrets;
use farebox_proxy::config::{Config, Secret, ShipTo};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::{MigrateArgs, RoleArgs, SimulateArgs};
use crate::cluster;
use crate::config::{self, Settings, host_of};
use crate::data_dir::DataDir;
use crate::database::with_role;
use crate::failure::{Failure, Outcome};
use crate::simulate;

/// The role by which a proxy reads its directory.
pub(crate) const PROXY_ROLE: &str = "farebox_proxy";

/// Upstreams whose dialect need not be configured; of some the address must be.
pub(crate) fn built_in_upstreams() -> Vec<&'static str> {
    farebox_proxy::provider::ALL
        .iter()
        .map(|provider| provider.name)
        .collect()
}

/// Runs a role on a runtime of its own.
pub(crate) fn block_on<T>(role: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::missing("runtime", error))?
        .block_on(role)
}

/// A token that SIGINT and SIGTERM cancel. The second of them ends the process at once, which loses
/// nothing: what is not shipped is in the spool.
pub(crate) fn stop_signal() -> Outcome<CancellationToken> {
    let open = |kind| signal(kind).map_err(|error| Failure::missing("signals", error));
    let mut interrupt = open(SignalKind::interrupt())?;
    let mut terminate = open(SignalKind::terminate())?;
    let mut hangup = open(SignalKind::hangup())?;
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        loop {
            if !is_stop(&mut interrupt, &mut terminate, &mut hangup).await {
                tracing::info!(
                    "certificates are read again when their files change; other configuration needs a restart"
                );
            } else if asked.is_cancelled() {
                std::process::exit(1);
            } else {
                tracing::info!("stopping");
                asked.cancel();
            }
        }
    });
    Ok(stop)
}

async fn is_stop(interrupt: &mut Signal, terminate: &mut Signal, hangup: &mut Signal) -> bool {
    tokio::select! {
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
        _ = hangup.recv() => false,
    }
}

/// `farebox proxy`.
pub(crate) async fn proxy(args: &RoleArgs) -> Outcome {
    let settings = config::load(args.config.as_deref(), &built_in_upstreams())?;
    let data_dir = DataDir::resolve(args.data_dir.data_dir.as_deref(), "farebox")?;
    data_dir.create()?;
    let config = proxy_config(&settings, &data_dir)?;
    if config.ship_to.is_none() {
        tracing::warn!(
            "collector.url or collector.ingest_token is not set: events stay in the spool"
        );
    }
    let stop = stop_signal()?;
    let running = farebox_proxy::run(config, stop)
        .await
        .map_err(|error| Failure::missing("proxy", error))?;
    if let Some(addr) = running.plain_addr {
        println!("proxy        http://{addr}");
    }
    if let Some(addr) = running.tls_addr {
        println!("proxy        https://{addr}");
    }
    println!("operations   http://{}", running.ops_addr);
    running.finished().await;
    Ok(())
}

/// `farebox collector`.
pub(crate) async fn collector(args: &RoleArgs) -> Outcome {
    let settings = config::load(args.config.as_deref(), &built_in_upstreams())?;
    let config = collector_config(&settings);
    let stop = stop_signal()?;
    let running = farebox_collector::run(config, stop)
        .await
        .map_err(|error| Failure::missing("collector", error))?;
    println!("collector    {}", running.url());
    running.finished().await;
    Ok(())
}

/// `farebox migrate`.
pub(crate) async fn migrate(args: &MigrateArgs) -> Outcome {
    use farebox_collector::migrate::{ROLE_PREFIX, migrate, print_roles};
    if args.print_roles {
        let text = print_roles(ROLE_PREFIX).map_err(|error| Failure::missing("roles", error))?;
        print!("{text}");
        return Ok(());
    }
    let settings = config::load(args.config.as_deref(), &built_in_upstreams())?;
    let url = match settings.database_url {
        Some(url) => url.expose().to_owned(),
        None => cluster_url(args.data_dir.data_dir.as_deref())?,
    };
    let done = migrate(&url, ROLE_PREFIX)
        .await
        .map_err(|error| Failure::missing("migrate", error))?;
    for name in &done.migrations {
        println!("ran {name}");
    }
    println!(
        "{} migrations run, {} partitions made, {} rate cards loaded",
        done.migrations.len(),
        done.partitions,
        done.rate_cards
    );
    Ok(())
}

/// The private cluster's address, as its owner.
pub(crate) fn cluster_url(data_dir: Option<&Path>) -> Outcome<String> {
    let data_dir = DataDir::resolve(data_dir, "farebox")?;
    cluster::recorded_url(data_dir.path(), cluster::SUPERUSER)?.ok_or_else(|| {
        Failure::Missing(
            "DATABASE_URL names no database, and `farebox up` has made none here".to_owned(),
        )
    })
}

/// `farebox simulate`.
pub(crate) async fn simulate(args: &SimulateArgs) -> Outcome {
    if !args.listen.ip().is_loopback() && !args.allow_plaintext {
        return Err(Failure::Usage(format!(
            "{}: plain HTTP off loopback needs --allow-plaintext",
            args.listen
        )));
    }
    let config = simulate::Config {
        listen: args.listen,
        credential: args.credential.clone(),
    };
    let stop = stop_signal()?;
    let running = simulate::run(config, stop)
        .await
        .map_err(|error| Failure::missing(args.listen, error))?;
    println!("simulated upstream   http://{}", running.addr);
    running.finished().await;
    Ok(())
}

/// What the proxy is told, from the settings of a server.
pub(crate) fn proxy_config(settings: &Settings, data_dir: &DataDir) -> Outcome<Config> {
    let mut spool = settings.spool.clone();
    DataDir::create_private(spool.dir.get_or_insert_with(|| data_dir.join("spool")))?;
    let ship_to = match (&settings.collector_url, &settings.ingest_token) {
        (Some(url), Some(token)) => Some(ShipTo {
            collector_url: url.clone(),
            ingest_token: token.clone(),
            ca_file: settings.collector_ca_file.clone(),
        }),
        _ => None,
    };
    if settings.key_secrets.is_empty() {
        return Err(Failure::Usage(
            "keys.secret_file or keys.secret_env: the proxy needs the key secret of the deployment"
                .to_owned(),
        ));
    }
    if settings.tls_listen.is_some() {
        return Err(Failure::Usage(
            "proxy.tls.cert, proxy.tls.key: a TLS listener needs both; only `up` makes its own"
                .to_owned(),
        ));
    }
    let as_proxy = |url: &Secret| Secret::new(with_role(url.expose(), PROXY_ROLE));
    Ok(Config {
        proxy: settings.proxy.clone(),
        spool,
        metrics: settings.metrics.clone(),
        upstreams: settings.upstreams.clone(),
        database_url: settings.database_url.as_ref().map(as_proxy),
        database_listen_url: settings.database_listen_url.as_ref().map(as_proxy),
        key_secrets: settings.key_secrets.clone(),
        master_keys: settings.master_keys.clone(),
        tenant_form: settings.tenant_form.clone(),
        ship_to,
        directory_copy: data_dir.join("directory.json"),
    })
}

/// What the collector is told, from the settings of a server.
pub(crate) fn collector_config(settings: &Settings) -> farebox_collector::CollectorConfig {
    let secret = |secret: &Secret| CollectorSecret::new(secret.expose());
    let lines: Vec<&str> = settings.key_secrets.iter().map(Secret::expose).collect();
    farebox_collector::CollectorConfig {
        database_url: settings.database_url.as_ref().map(secret),
        admin_token: settings.admin_token.as_ref().map(secret),
        key_secrets: KeySecrets::parse(&lines.join("\n")).ok(),
        metrics_token: settings.metrics.token.as_ref().map(secret),
        master_keys: settings.master_keys.clone(),
        tenant_form: settings.tenant_form.clone(),
        stale_after_days: settings.stale_after_days,
        upstream_hosts: settings
            .upstreams
            .iter()
            .filter_map(|(name, upstream)| Some((name.clone(), host_of(name, upstream)?)))
            .collect(),
        ..settings.collector.clone()
    }
}
