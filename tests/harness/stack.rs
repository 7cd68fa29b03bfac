//! A whole deployment of its own: a database, a collector process, a proxy process, and the
//! replaying upstream behind it. All of one test binary share the Postgres cluster.
//!
//! Invariants: ports are given once and stay through restarts; the directory holds every secret and
//! log and is removed with the stack.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::postgres::{self, Cluster};
use crate::process::Process;
use crate::replay::Replay;
use crate::wire::{Connection, Message, Request};
use crate::{Result, binary, tls, wait};

/// Longest start of a role.
const READY_MAX: Duration = Duration::from_secs(30);
/// Longest way of an event from its answer to its row.
pub const SHIPPED_MAX: Duration = Duration::from_secs(30);
/// The operator's token of every stack.
pub const ADMIN_TOKEN: &str = "operator-token-of-a-test-0123456789";
/// The provider credential of every stack; must be found nowhere but at the upstream.
pub const PROVIDER_CREDENTIAL: &str = "sk-provider-credential-canary-7f3a";
/// The token that proxies show the collector.
pub const INGEST_TOKEN: &str = "ingest-token-of-a-test-0123456789abcdef";
const KEY_SECRET: &str = "key-secret-of-a-test-0123456789abcdef0123456789abcdef";
/// Ports are taken from here up: below the range that Linux gives to outgoing connections.
const FIRST_PORT: u16 = 18_000;
const PORTS: u16 = 12_000;

/// What every stack of a test binary shares.
pub struct World {
    runtime: tokio::runtime::Runtime,
    /// The cluster.
    pub cluster: Cluster,
    making: Mutex<()>,
}

/// The shared world; the first caller starts it.
pub fn world() -> Result<&'static World> {
    static WORLD: OnceLock<std::result::Result<World, String>> = OnceLock::new();
    let made = WORLD.get_or_init(|| {
        std::thread::spawn(World::start)
            .join()
            .map_err(|_| "panicked".to_owned())?
    });
    made.as_ref().map_err(|error| error.clone().into())
}

impl World {
    fn start() -> std::result::Result<Self, String> {
        let start = || -> Result<Self> {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()?;
            let cluster = Cluster::start()?;
            runtime.block_on(async {
                let client = cluster.connect("postgres").await?;
                client
                    .batch_execute("create database farebox_template")
                    .await?;
                Ok::<_, crate::Error>(())
            })?;
            let migrated = Command::new(binary::farebox()?)
                .arg("migrate")
                .env("DATABASE_URL", cluster.url("farebox_template"))
                .output()?;
            check("farebox migrate", &migrated)?;
            Ok(Self {
                runtime,
                cluster,
                making: Mutex::new(()),
            })
        };
        start().map_err(|error| error.to_string())
    }

    /// A new database, migrated.
    pub async fn database(&self) -> Result<String> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("farebox_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let url = self.cluster.url("postgres");
        let statement = format!("create database {name} template farebox_template");
        // One at a time: copies of one template wait for each other in a way that can fail.
        let make = move || -> Result<()> {
            let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            self.runtime.block_on(async {
                Ok(postgres::connect(&url)
                    .await?
                    .batch_execute(&statement)
                    .await?)
            })
        };
        std::thread::scope(|scope| scope.spawn(make).join()).map_err(|_| "panicked")??;
        Ok(name)
    }

    /// A replaying upstream that lives as long as the test process.
    pub async fn replay(&self) -> Result<Replay> {
        self.runtime.spawn(Replay::start()).await?
    }
}

pub(crate) fn free_port() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(PORTS))?;
    for _ in 0..PORTS {
        let offset = (start + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS) % PORTS;
        let address = SocketAddr::from(([127, 0, 0, 1], FIRST_PORT + offset));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err("no free port".into())
}

/// A virtual key as issued.
#[derive(Clone, Debug)]
pub struct Key {
    /// The secret.
    pub secret: String,
}

impl Key {
    /// Its visible part.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.secret[..8]
    }
}

/// A deployment.
pub struct Stack {
    /// The upstream behind it, standing for openai, anthropic and deepgram.
    pub replay: Replay,
    /// Its database's name.
    pub database: String,
    /// Its files.
    pub folder: TempDir,
    /// The proxy's plain listener.
    pub plain: SocketAddr,
    /// The proxy's TLS listener.
    pub tls: SocketAddr,
    /// The proxy's operations listener.
    pub ops: SocketAddr,
    /// The collector.
    pub api: SocketAddr,
    settings: Vec<(String, String)>,
    collector: Option<Process>,
    proxy: Option<Process>,
}

impl Stack {
    /// Starts one with the defaults.
    pub async fn start() -> Result<Self> {
        Self::with(&[]).await
    }

    /// Starts one with settings: `("proxy.anonymous", "header")`.
    pub async fn with(settings: &[(&str, &str)]) -> Result<Self> {
        let mut stack = Self::prepare(settings).await?;
        stack.start_collector().await?;
        stack.start_proxy().await?;
        Ok(stack)
    }

    /// Everything but the processes.
    pub async fn prepare(settings: &[(&str, &str)]) -> Result<Self> {
        let world = world()?;
        let database = world.database().await?;
        let replay = world.replay().await?;
        let stack = Self::lay_out(settings, database, replay, free_port()?)?;
        stack
            .sql()
            .await?
            .execute(
                "insert into farebox_private.ingest_tokens (token_id, name, token_sha256, created_by)
                 values (gen_random_uuid(), 'test', sha256(convert_to($1, 'UTF8')), 'test')",
                &[&INGEST_TOKEN],
            )
            .await?;
        Ok(stack)
    }

    /// One more setting, for what starts from here on.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// Another proxy of the same deployment: its own spool and ports, this one's database, collector and
    /// upstream.
    pub async fn beside(&self) -> Result<Self> {
        let (database, replay) = (self.database.clone(), self.replay.clone());
        let mut beside = Self::lay_out(&[], database, replay, self.api)?;
        beside.settings.clone_from(&self.settings);
        beside.start_proxy().await?;
        Ok(beside)
    }

    /// Folder, secrets and ports.
    fn lay_out(
        settings: &[(&str, &str)],
        database: String,
        replay: Replay,
        api: SocketAddr,
    ) -> Result<Self> {
        let world = world()?;
        let folder = tempfile::Builder::new().prefix("fbs").tempdir_in("/tmp")?;
        world.cluster.adopt_folder(folder.path())?;
        tls::certificate(folder.path())?;
        for (name, text) in [
            ("key.secret", KEY_SECRET),
            ("admin.token", ADMIN_TOKEN),
            ("ingest.token", INGEST_TOKEN),
        ] {
            write_private(&folder.path().join(name), text)?;
        }
        Ok(Self {
            replay,
            database,
            folder,
            plain: free_port()?,
            tls: free_port()?,
            ops: free_port()?,
            api,
            settings: settings
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            collector: None,
            proxy: None,
        })
    }

    /// The collector, until it is ready.
    pub async fn start_collector(&mut self) -> Result<()> {
        let process = Process::start(
            self.role("collector"),
            &self.folder.path().join("collector.log"),
        )?;
        self.collector = Some(process);
        self.ready("the collector", self.api, |stack| stack.collector.as_mut())
            .await
    }

    /// The proxy, until it is ready.
    pub async fn start_proxy(&mut self) -> Result<()> {
        let process = Process::start(self.role("proxy"), &self.folder.path().join("proxy.log"))?;
        self.proxy = Some(process);
        self.ready("the proxy", self.ops, |stack| stack.proxy.as_mut())
            .await
    }

    /// The proxy's process.
    pub fn proxy(&mut self) -> Result<&mut Process> {
        self.proxy
            .as_mut()
            .ok_or_else(|| "the proxy is not running".into())
    }

    /// The collector's process.
    pub fn collector(&mut self) -> Result<&mut Process> {
        self.collector
            .as_mut()
            .ok_or_else(|| "the collector is not running".into())
    }

    /// What a client of the TLS listener has to trust.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The proxy's spool.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    /// A connection to the stack's database as its superuser.
    pub async fn sql(&self) -> Result<tokio_postgres::Client> {
        world()?.cluster.connect(&self.database).await
    }

    /// A verb of the program; those that are clients of the collector are told where it is.
    pub fn verb(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.client(arguments).output()?)
    }

    /// [`Stack::verb`], to be run by the test.
    #[must_use]
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command.args(arguments);
        if !matches!(arguments.first(), Some(&("spool" | "check" | "migrate"))) {
            command
                .arg("--collector")
                .arg(format!("http://{}", self.api));
        }
        command
    }

    /// A verb that works on the database itself.
    pub fn owner(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.command().args(arguments).output()?)
    }

    /// A verb that needs no collector and has to succeed; what it printed.
    pub fn bare(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command().args(arguments).output()?;
        check(&arguments.join(" "), &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A verb that has to succeed; what it printed.
    pub fn done(&self, arguments: &[&str]) -> Result<String> {
        let output = self.verb(arguments)?;
        check(&arguments.join(" "), &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Issues a key: `&["--tenant", "acme"]`; the tenant is made when it is new.
    pub fn issue(&self, arguments: &[&str]) -> Result<Key> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("key-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let file = self.folder.path().join(&name);
        let file = file.to_str().ok_or("a path that is no text")?;
        if let Some(at) = arguments.iter().position(|flag| *flag == "--tenant") {
            // Exit code 1 when it is there already.
            self.verb(&["tenant", "create", arguments[at + 1]])?;
        }
        let mut all = vec!["key", "issue", "--name", &name, "--out", file];
        all.extend(arguments);
        self.done(&all)?;
        Ok(Key {
            secret: std::fs::read_to_string(file)?.trim().to_owned(),
        })
    }

    /// One request over a connection of its own.
    pub async fn send(&self, request: &Request) -> Result<Message> {
        Connection::open(self.plain).await?.send(request).await
    }

    /// One request as the operator to the collector.
    pub async fn api(&self, request: Request) -> Result<Message> {
        Connection::open(self.api)
            .await?
            .send(&request.bearer(ADMIN_TOKEN))
            .await
    }

    /// Rows of `farebox.usage_events` as JSON, oldest first.
    pub async fn rows(&self, filter: &str) -> Result<Vec<Value>> {
        let query = format!(
            "select to_jsonb(u) from farebox.usage_events u where {filter}
             order by u.started_at, u.call_id, u.part, u.event_id"
        );
        let rows = self.sql().await?.query(&query, &[]).await?;
        Ok(rows.into_iter().map(|row| row.get(0)).collect())
    }

    /// Waits until exactly `count` rows are there.
    pub async fn rows_when(&self, filter: &str, count: usize) -> Result<Vec<Value>> {
        wait::eventually(
            &format!("{count} rows where {filter}"),
            SHIPPED_MAX,
            || async {
                let rows = self.rows(filter).await.map_err(|error| error.to_string())?;
                if rows.len() == count {
                    Ok(rows)
                } else {
                    Err(format!("{} rows", rows.len()))
                }
            },
        )
        .await
    }

    /// Waits until a key works, that is, until the proxy's directory has it.
    pub async fn known(&self, key: &Key) -> Result<()> {
        wait::eventually("the proxy knows the key", READY_MAX, || async {
            // Refused to every caller, but only after the key was looked at: no row, no count.
            let path = "/openai/v1/realtime/client_secrets";
            let probe = Request::post(path, "{}").bearer(&key.secret);
            let answer = self.send(&probe).await.map_err(|error| error.to_string())?;
            if answer.status() != 401 {
                Ok(())
            } else {
                Err(answer.text())
            }
        })
        .await
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        Ok(Connection::open(self.ops)
            .await?
            .send(&Request::get("/metrics"))
            .await?
            .text())
    }

    async fn ready(
        &mut self,
        who: &str,
        address: SocketAddr,
        process: impl Fn(&mut Self) -> Option<&mut Process>,
    ) -> Result<()> {
        if let Some(process) = process(self) {
            world()?.cluster.adopt(process.pid())?;
        }
        let started = std::time::Instant::now();
        loop {
            let status = match Connection::open(address).await {
                Ok(mut connection) => connection
                    .send(&Request::get("/readyz"))
                    .await
                    .map(|answer| answer.status()),
                Err(error) => Err(error),
            };
            if matches!(status, Ok(200)) {
                return Ok(());
            }
            let Some(process) = process(self) else {
                return Err(format!("{who} was not started").into());
            };
            if !process.is_running() || started.elapsed() >= READY_MAX {
                return Err(format!(
                    "{who} is not ready ({status:?}); it printed: {}",
                    process.printed()
                )
                .into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn role(&self, role: &str) -> Command {
        let mut command = self.command();
        command.arg(role);
        command
    }

    fn command(&self) -> Command {
        let mut command =
            Command::new(binary::farebox().unwrap_or_else(|_| PathBuf::from("farebox")));
        command
            .current_dir(self.folder.path())
            .env_remove("OPENAI_API_KEY")
            .env(
                "DATABASE_URL",
                world()
                    .map(|world| world.cluster.url(&self.database))
                    .unwrap_or_default(),
            )
            .env("FAREBOX_DATA_DIR", self.folder.path())
            .env("FAREBOX_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("REPLAY_CREDENTIAL", PROVIDER_CREDENTIAL);
        for (key, value) in self.configuration() {
            command.env(
                format!(
                    "FAREBOX_{}",
                    key.to_uppercase().replace('.', "__").replace('-', "_")
                ),
                value,
            );
        }
        command
    }

    fn configuration(&self) -> Vec<(String, String)> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let mut all: Vec<(String, String)> = [
            ("proxy.listen", self.plain.to_string()),
            ("proxy.tls.listen", self.tls.to_string()),
            ("proxy.tls.cert", path("cert.pem")),
            ("proxy.tls.key", path("key.pem")),
            ("proxy.ops_listen", self.ops.to_string()),
            ("collector.listen", self.api.to_string()),
            ("collector.url", format!("http://{}", self.api)),
            ("collector.ingest_token_file", path("ingest.token")),
            ("keys.secret_file", path("key.secret")),
            ("spool.dir", path("spool")),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        for upstream in ["openai", "anthropic", "deepgram"] {
            all.push((
                format!("upstreams.{upstream}.base_url"),
                format!("http://{}", self.replay.address),
            ));
            all.push((
                format!("upstreams.{upstream}.credential_env"),
                "REPLAY_CREDENTIAL".to_owned(),
            ));
        }
        all.extend(self.settings.iter().cloned());
        all
    }
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

fn check(what: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Err(format!("{what} ended with {}: {out}{err}", output.status).into())
}
