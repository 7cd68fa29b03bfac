//! Everything on one machine, as `up` and `demo` run it: started in order, stopped in reverse.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;

use farebox_pricing::time::Timestamp;
use farebox_pricing::vault::MasterKeys;
use farebox_proxy::config::{Secret, ShipTo, TlsConfig};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::certificates;
use crate::cluster::{self, Cluster};
use crate::config::{Settings, key_secrets_of};
use crate::connection::Connection;
use crate::data_dir::{DataDir, random_text};
use crate::database::make_viewer;
use crate::failure::{Failure, Outcome};
use crate::roles::{collector_config, proxy_config};
use crate::simulate;

/// Where the TLS listener stands when nothing is said.
pub(crate) const TLS_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8443);
const INGEST_TOKEN_FILE: &str = "ingest-token";

/// What runs.
pub(crate) struct Deployment {
    /// What `connection.json` says.
    pub(crate) connection: Connection,
    /// The simulated upstream.
    pub(crate) simulator: simulate::Running,
    data_dir: DataDir,
    proxy: farebox_proxy::Running,
    collector: farebox_collector::Running,
    cluster: Option<Cluster>,
    stop_proxy: CancellationToken,
    stop_rest: CancellationToken,
    _lock: File,
}

/// What the parts are told once the earlier ones run.
type Amend<'a> = &'a (dyn Fn(&mut Settings, SocketAddr) + Sync);

impl Deployment {
    /// Starts everything. `amend` sees the settings when the simulated upstream has its address.
    pub(crate) async fn start(
        data_dir: DataDir,
        mut settings: Settings,
        amend: Amend<'_>,
        keeps_cluster: bool,
        stop: &CancellationToken,
    ) -> Outcome<Self> {
        data_dir.create()?;
        let lock = data_dir.lock()?;
        Connection::remove(&data_dir)?;
        let cluster = match settings.database_url {
            Some(_) => None,
            None => {
                progress("starting a private Postgres");
                let dir = data_dir.path().to_owned();
                let cluster = tokio::task::spawn_blocking(move || Cluster::start(&dir))
                    .await
                    .map_err(|error| Failure::missing("cluster", error))??;
                settings.database_url = Some(Secret::new(cluster.url(cluster::SUPERUSER)));
                Some(cluster)
            }
        };
        let started = Self::start_parts(data_dir, settings, amend, lock, stop).await;
        match started {
            Ok(mut deployment) => {
                deployment.cluster = cluster;
                Ok(deployment)
            }
            Err(failure) => {
                if let Some(cluster) = cluster
                    && let Err(second) = end(cluster, keeps_cluster).await
                {
                    tracing::warn!(%second, "the private cluster is left behind");
                }
                Err(failure)
            }
        }
    }

    async fn start_parts(
        data_dir: DataDir,
        mut settings: Settings,
        amend: Amend<'_>,
        lock: File,
        stop: &CancellationToken,
    ) -> Outcome<Self> {
        if settings.key_secrets.is_empty() {
            settings.key_secrets = key_secrets_of(&data_dir.secret("key-secret")?);
        }
        if settings.master_keys.is_none() {
            let master_key = MasterKeys::parse(&data_dir.secret("master-key")?);
            let master_key = master_key.map_err(|error| Failure::missing("master-key", error))?;
            settings.master_keys = Some(Arc::new(master_key));
        }
        if settings.admin_token.is_none() {
            settings.admin_token = Some(Secret::new(random_text()?));
        }
        let ca_file = match &settings.proxy.tls {
            Some(_) => None,
            None => {
                let made = certificates::ensure(&data_dir)?;
                settings.proxy.tls = Some(TlsConfig {
                    listen: settings.tls_listen.take().unwrap_or(TLS_LISTEN),
                    cert: made.cert_file,
                    key: made.key_file,
                    client_ca: None,
                });
                Some(made.ca_file)
            }
        };
        let stop_rest = CancellationToken::new();
        let stop_proxy = CancellationToken::new();
        // Whatever was started is told to stop when the rest of the start fails.
        let guards = (
            stop_proxy.clone().drop_guard(),
            stop_rest.clone().drop_guard(),
        );
        let simulator = simulate::run(
            simulate::Config {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                credential: None,
            },
            stop_rest.clone(),
        )
        .await
        .map_err(|error| Failure::missing("simulated upstream", error))?;
        amend(&mut settings, simulator.addr);

        let database_url = database_url(&settings)?;
        progress("migrating the database");
        let migrated = farebox_collector::migrate::migrate(
            &database_url,
            farebox_collector::migrate::ROLE_PREFIX,
        )
        .await
        .map_err(|error| Failure::missing("migrate", error))?;
        tracing::info!(
            migrations = migrated.migrations.len(),
            "database is migrated"
        );
        let viewer_url = make_viewer(&database_url, &data_dir.secret("viewer-password")?).await?;
        refuse_stopped(stop)?;

        progress("starting collector and proxy");
        let collector = farebox_collector::run(collector_config(&settings), stop_rest.clone())
            .await
            .map_err(|error| Failure::missing("collector", error))?;
        let admin_token = settings
            .admin_token
            .as_ref()
            .map(|token| token.expose().to_owned());
        let admin_token = admin_token.unwrap_or_default();
        let collector_url = settings
            .collector_url
            .clone()
            .unwrap_or_else(|| collector.url());
        if settings.ingest_token.is_none() {
            let token = ingest_token(&data_dir, &collector_url, &admin_token).await?;
            settings.ingest_token = Some(token);
        }
        let mut config = proxy_config(&settings, &data_dir)?;
        config.ship_to = settings.ingest_token.clone().map(|ingest_token| ShipTo {
            collector_url: collector_url.clone(),
            ingest_token,
            ca_file: settings.collector_ca_file.clone(),
        });
        let proxy = farebox_proxy::run(config, stop_proxy.clone())
            .await
            .map_err(|error| Failure::missing("proxy", error))?;
        refuse_stopped(stop)?;

        let connection = Connection {
            proxy_url: proxy.plain_addr.map(|addr| format!("http://{addr}")),
            proxy_tls_url: proxy.tls_addr.map(|addr| format!("https://{addr}")),
            ca_file: ca_file.map(|file| file.display().to_string()),
            ops_url: format!("http://{}", proxy.ops_addr),
            collector_url,
            database_url: viewer_url,
            admin_token,
            pid: std::process::id(),
            started_at: now().to_string(),
        };
        wait_until_ready(&connection.ops_url, stop).await?;
        connection.write(&data_dir)?;
        let (proxy_guard, rest_guard) = guards;
        proxy_guard.disarm();
        rest_guard.disarm();
        Ok(Self {
            connection,
            simulator,
            data_dir,
            proxy,
            collector,
            cluster: None,
            stop_proxy,
            stop_rest,
            _lock: lock,
        })
    }

    /// Where it keeps its files.
    pub(crate) fn data_dir(&self) -> &DataDir {
        &self.data_dir
    }

    /// Drains the proxy, lets it ship, then stops the rest.
    pub(crate) async fn stop(self, keeps_cluster: bool) -> Outcome {
        Connection::remove(&self.data_dir)?;
        self.stop_proxy.cancel();
        self.proxy.finished().await;
        self.stop_rest.cancel();
        self.collector.finished().await;
        self.simulator.finished().await;
        match self.cluster {
            Some(cluster) => end(cluster, keeps_cluster).await,
            None => Ok(()),
        }
    }
}

async fn end(cluster: Cluster, keeps: bool) -> Outcome {
    let ended = tokio::task::spawn_blocking(move || {
        if keeps {
            cluster.stop()
        } else {
            cluster.remove()
        }
    });
    Ok(ended
        .await
        .map_err(|error| Failure::missing("cluster", error))??)
}

/// A line of what is being done, for people who wait.
pub(crate) fn progress(what: &str) {
    eprintln!("  {what} …");
}

/// The present, in whole milliseconds.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn refuse_stopped(stop: &CancellationToken) -> Outcome {
    if stop.is_cancelled() {
        return Err(Failure::No(
            "stopped before everything was started".to_owned(),
        ));
    }
    Ok(())
}

fn database_url(settings: &Settings) -> Outcome<String> {
    settings
        .database_url
        .as_ref()
        .map(|url| url.expose().to_owned())
        .ok_or_else(|| Failure::Missing("there is no database".to_owned()))
}

/// The token this node ships with: the one it has, as long as the collector knows it, else a new one.
async fn ingest_token(
    data_dir: &DataDir,
    collector_url: &str,
    admin_token: &str,
) -> Outcome<Secret> {
    let (data_dir, api) = (
        data_dir.clone(),
        Api::new(collector_url, admin_token.to_owned(), None)?,
    );
    tokio::task::spawn_blocking(move || {
        let kept = std::fs::read_to_string(data_dir.join(INGEST_TOKEN_FILE)).unwrap_or_default();
        if let Some((token_id, secret)) = kept.trim().split_once(' ') {
            let known = api.list("/api/v1/ingest-tokens", &[], 1_000)?;
            let is_ours = |token: &Value| {
                token.get("token_id").and_then(Value::as_str) == Some(token_id)
                    && token.get("revoked_at").is_none_or(Value::is_null)
            };
            if known.iter().any(is_ours) {
                return Ok(Secret::new(secret.to_owned()));
            }
        }
        let answer = api.post("/api/v1/ingest-tokens", &json!({"name": "local"}))?;
        let text = |path: &str| answer.pointer(path).and_then(Value::as_str);
        let (Some(secret), Some(token_id)) = (text("/secret"), text("/token_id")) else {
            return Err(Failure::missing("ingest token", "the answer holds none"));
        };
        data_dir.write_private(
            INGEST_TOKEN_FILE,
            format!("{token_id} {secret}\n").as_bytes(),
        )?;
        Ok(Secret::new(secret.to_owned()))
    })
    .await
    .map_err(|error| Failure::missing("ingest token", error))?
}

/// Longest wait for the proxy to have its directory.
const READY_WAIT: std::time::Duration = std::time::Duration::from_secs(30);
const READY_PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

async fn wait_until_ready(ops_url: &str, stop: &CancellationToken) -> Outcome {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(READY_WAIT))
        .build()
        .into();
    let end = tokio::time::Instant::now() + READY_WAIT;
    loop {
        let (agent, url) = (agent.clone(), format!("{ops_url}/readyz"));
        let answer = tokio::task::spawn_blocking(move || agent.get(url).call()).await;
        if let Ok(Ok(answer)) = answer
            && answer.status().is_success()
        {
            return Ok(());
        }
        refuse_stopped(stop)?;
        if tokio::time::Instant::now() >= end {
            return Err(Failure::missing(
                "proxy",
                "it does not become ready; see its log",
            ));
        }
        tokio::time::sleep(READY_PAUSE).await;
    }
}
