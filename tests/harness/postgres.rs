//! A private Postgres cluster for one test run: unix socket only, no durability, gone afterwards.
//!
//! Invariants: it runs as `postgres` when we are root; a keeper process ends it and removes its
//! folder as soon as the test process is gone, however that happened.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Result, binary};

/// Longest start of a cluster.
const START_MAX: Duration = Duration::from_secs(60);
/// Settings that make a cluster fast and forgetful.
const FORGETFUL: &str = "listen_addresses = ''
unix_socket_permissions = 0777
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 200
shared_buffers = 128MB
max_wal_size = 2GB
wal_level = minimal
max_wal_senders = 0
log_min_messages = warning
";

/// A running cluster.
pub struct Cluster {
    folder: PathBuf,
    programs: PathBuf,
    _keeper: Keeper,
}

impl Cluster {
    /// Makes and starts one.
    pub fn start() -> Result<Self> {
        Self::with(&[])
    }

    /// Makes and starts one whose write-ahead log is in files of a mebibyte, so that
    /// [`Cluster::limit_files`] can go down to what a table reaches in a test.
    pub fn start_with_small_log() -> Result<Self> {
        Self::with(&["--wal-segsize=1"])
    }

    fn with(initdb: &[&str]) -> Result<Self> {
        let programs = binary::postgres()?;
        let folder = tempfile::Builder::new()
            .prefix("fbt")
            .tempdir_in("/tmp")?
            .keep();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
        let keeper = Keeper::watch(&folder)?;
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&folder))?;
        }
        let cluster = Self {
            folder,
            programs,
            _keeper: keeper,
        };
        run(cluster
            .as_owner("initdb")
            .args(["-D"])
            .arg(cluster.files())
            .args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ])
            .args(initdb))?;
        let mut settings = std::fs::OpenOptions::new()
            .append(true)
            .open(cluster.files().join("postgresql.conf"))?;
        settings.write_all(FORGETFUL.as_bytes())?;
        cluster.resume()?;
        Ok(cluster)
    }

    /// Starts the server again after [`Cluster::stop`].
    pub fn resume(&self) -> Result<()> {
        let options = format!("-k {}", self.folder.display());
        run(self
            .as_owner("pg_ctl")
            .arg("-D")
            .arg(self.files())
            .arg("-o")
            .arg(options)
            .arg("-l")
            .arg(self.folder.join("log"))
            .args(["-w", "-t"])
            .arg(START_MAX.as_secs().to_string())
            .arg("start"))
    }

    /// Stops the server at once, as an outage would; the data stays.
    pub fn stop(&self) -> Result<()> {
        run(self.as_owner("pg_ctl").arg("-D").arg(self.files()).args([
            "-m",
            "immediate",
            "-w",
            "stop",
        ]))
    }

    /// SIGKILL to the postmaster; the processes that it leaves notice and end. The data stays as it is.
    pub fn kill(&self) -> Result<()> {
        run(Command::new("kill").args(["-KILL", &self.pid()?.to_string()]))
    }

    /// Lets no file of the server grow past so many bytes, as on a full disk; `None`: as large as it
    /// likes. Holds for the processes that run and for those they start.
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<()> {
        let bound = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let server = self.pid()?;
        // The postmaster first: who starts after the look has it from there.
        self.limit(server, &bound)?;
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            if status.contains(&format!("\nPPid:\t{server}\n")) {
                // One that has ended since needs no bound.
                let _ = self.limit(pid, &bound);
            }
        }
        Ok(())
    }

    fn limit(&self, pid: u32, bound: &str) -> Result<()> {
        let mut command = self.as_owner("/usr/bin/prlimit");
        run(command
            .arg(format!("--fsize={bound}:"))
            .args(["--pid", &pid.to_string()]))
    }

    /// The postmaster's process id.
    pub fn pid(&self) -> Result<u32> {
        let text = std::fs::read_to_string(self.files().join("postmaster.pid"))?;
        Ok(text.lines().next().unwrap_or_default().trim().parse()?)
    }

    /// The URL of one database, as its owner.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_as(database, "postgres")
    }

    /// The URL of one database for another login.
    #[must_use]
    pub fn url_as(&self, database: &str, user: &str) -> String {
        let host = self.folder.display().to_string().replace('/', "%2F");
        format!("postgresql://{user}@{host}/{database}")
    }

    /// A connection, driven by a task of its own.
    pub async fn connect(&self, database: &str) -> Result<tokio_postgres::Client> {
        connect(&self.url(database)).await
    }

    /// The folder that holds the cluster and its log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has the process ended with the cluster, should the test process die without doing it.
    pub fn adopt(&self, pid: u32) -> Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("pids"))?;
        Ok(writeln!(file, "{pid}")?)
    }

    /// Has a folder of a stack removed with the cluster, should nobody have done it before.
    pub fn adopt_folder(&self, folder: &Path) -> Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("folders"))?;
        Ok(writeln!(file, "{}", folder.display())?)
    }

    fn files(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn as_owner(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=postgres", "--regid=postgres", "--init-groups"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.folder);
        command
    }
}

/// A connection to any URL, driven by a task of its own.
pub async fn connect(url: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
    tokio::spawn(async move {
        // The client sees the same failure at its next query.
        let _ = connection.await;
    });
    Ok(client)
}

/// A shell that waits for our end of a pipe to close, then stops the cluster and removes its folder.
struct Keeper(Child);

impl Keeper {
    fn watch(folder: &Path) -> Result<Self> {
        const SCRIPT: &str = r#"trap "" TERM INT HUP
cat >/dev/null
for role in $(cat "$1/pids" 2>/dev/null); do
  case "$(readlink "/proc/$role/exe")" in */farebox*) kill -KILL "$role" 2>/dev/null;; esac
done
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
[ -n "$pid" ] && kill -QUIT "$pid" 2>/dev/null
n=0; while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.1; done
[ -f "$1/folders" ] && while read -r left; do
  case "$left" in /tmp/fbs*) rm -rf "$left";; esac
done <"$1/folders"
rm -rf "$1""#;
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "keeper"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let started = Instant::now();
        while started.elapsed() < START_MAX {
            match self.0.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                _ => return,
            }
        }
    }
}

/// Whether this process runs as root.
#[must_use]
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self")
        .is_ok_and(|entry| std::os::unix::fs::MetadataExt::uid(&entry) == 0)
}

fn run(command: &mut Command) -> Result<()> {
    // Output goes to a file: a daemon that inherits a pipe would keep it open for ever.
    let said = tempfile::tempfile()?;
    let status = command
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(said.try_clone()?)
        .status()?;
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    let mut said = said;
    std::io::Seek::rewind(&mut said)?;
    std::io::Read::read_to_string(&mut said, &mut text)?;
    Err(format!("{command:?} ended with {status}: {text}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cluster_starts_answers_stops_and_leaves_nothing() {
        let cluster = Cluster::start().unwrap();
        let folder = cluster.folder().to_owned();
        let client = cluster.connect("postgres").await.unwrap();
        let row = client
            .query_one("select current_setting('server_encoding')", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, String>(0), "UTF8");
        cluster.stop().unwrap();
        assert!(cluster.connect("postgres").await.is_err());
        cluster.resume().unwrap();
        cluster.connect("postgres").await.unwrap();
        drop(cluster);
        assert!(!folder.exists());
    }
}
