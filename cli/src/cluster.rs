//! The private Postgres of one data directory, run with the machine's own programs.
//!
//! It listens on a unix socket in a short directory of mode 0700 and nowhere else. `cluster.json`
//! in the data directory says where the cluster and its socket are; the cluster's own
//! `PG_VERSION` picks the programs. A postmaster that is already running on it is adopted.

mod place;
mod programs;

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use place::Place;
use programs::Programs;
pub(crate) use programs::install_line;

/// The cluster's superuser, who owns the database; reachable through the 0700 socket only.
pub(crate) const SUPERUSER: &str = "farebox_superuser";
/// The database.
pub(crate) const DATABASE: &str = "farebox";
/// Longest wait for a start or a stop.
const WAIT_SECONDS: &str = "60";

/// Why there is no cluster.
#[derive(Debug)]
pub(crate) enum Error {
    /// No Postgres of a major version that serves was found.
    NoPrograms {
        /// The line that installs one.
        install: String,
    },
    /// A program ran and failed.
    Failed {
        /// Which one.
        program: &'static str,
        /// What it said last.
        said: String,
    },
    /// A file or directory of it cannot be used.
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `cluster.json` does not say what it should.
    Broken(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPrograms { install } => write!(
                f,
                "no Postgres {} or newer on this machine; install it with\n\n    {install}\n\nor name a database in DATABASE_URL",
                programs::MAJOR_MIN
            ),
            Self::Failed { program, said } => write!(f, "{program} failed: {said}"),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Broken(why) => write!(f, "cluster.json: {why}"),
        }
    }
}

impl std::error::Error for Error {}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Io {
        path: path.to_owned(),
        source,
    }
}

/// A cluster whose postmaster runs.
#[derive(Debug)]
pub(crate) struct Cluster {
    place: Place,
    programs: Programs,
    record: PathBuf,
}

impl Cluster {
    /// Starts the data directory's cluster, made first if there is none, or adopts it.
    pub(crate) fn start(data_dir: &Path) -> Result<Self, Error> {
        let record = data_dir.join("cluster.json");
        let place = match read_record(&record)? {
            Some(place) => place,
            None => Place::choose(data_dir)?,
        };
        let wanted_major = place.major()?;
        let programs = Programs::find(wanted_major).ok_or_else(|| Error::NoPrograms {
            install: install_line(wanted_major),
        })?;
        place.prepare()?;
        let cluster = Self {
            place,
            programs,
            record,
        };
        cluster.write_record()?;
        if wanted_major.is_none() {
            cluster.create()?;
        }
        if !cluster.is_running()? {
            cluster.start_postmaster()?;
        }
        cluster.create_database()?;
        Ok(cluster)
    }

    /// Address of the database for a role, through the socket.
    pub(crate) fn url(&self, role: &str) -> String {
        url(&self.place.socket_dir, role)
    }

    /// Stops the postmaster; sessions still open are ended.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        self.run(
            "pg_ctl",
            Command::new(self.programs.path("pg_ctl"))
                .args(["stop", "-s", "-m", "fast", "-w", "-t", WAIT_SECONDS, "-D"])
                .arg(&self.place.cluster_dir),
        )
    }

    /// Stops it and removes everything it ever wrote.
    pub(crate) fn remove(self) -> Result<(), Error> {
        self.stop()?;
        self.place.remove()?;
        fs::remove_file(&self.record).map_err(at(&self.record))
    }

    /// Made beside and renamed, so that one which was interrupted is made again.
    fn create(&self) -> Result<(), Error> {
        let beside = self.place.make_beside()?;
        self.run(
            "initdb",
            Command::new(self.programs.path("initdb"))
                .args(["--encoding=UTF8", "--locale=C.UTF-8", "--auth-local=trust"])
                .args(["--auth-host=reject", "--username", SUPERUSER, "-D"])
                .arg(&beside),
        )?;
        fs::rename(&beside, &self.place.cluster_dir).map_err(at(&beside))
    }

    fn is_running(&self) -> Result<bool, Error> {
        let status = self
            .command(
                Command::new(self.programs.path("pg_ctl"))
                    .args(["status", "-D"])
                    .arg(&self.place.cluster_dir),
            )
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(at(&self.programs.path("pg_ctl")))?;
        Ok(status.success())
    }

    fn start_postmaster(&self) -> Result<(), Error> {
        let options = format!(
            "-c listen_addresses='' -c unix_socket_permissions=0700 -c unix_socket_directories='{}'",
            self.place.socket_dir.display()
        );
        self.run(
            "pg_ctl",
            Command::new(self.programs.path("pg_ctl"))
                .args([
                    "start",
                    "-s",
                    "-w",
                    "-t",
                    WAIT_SECONDS,
                    "-o",
                    &options,
                    "-D",
                ])
                .arg(&self.place.cluster_dir)
                .arg("-l")
                .arg(self.place.log_file()),
        )
    }

    fn create_database(&self) -> Result<(), Error> {
        let exists = self
            .command(
                Command::new(self.programs.path("psql"))
                    .args([
                        "-X", "-A", "-t", "-w", "-U", SUPERUSER, "-d", "postgres", "-h",
                    ])
                    .arg(&self.place.socket_dir)
                    .arg("-c")
                    .arg(format!(
                        "select 1 from pg_database where datname = '{DATABASE}'"
                    )),
            )
            .output()
            .map_err(at(&self.programs.path("psql")))?;
        if !exists.status.success() {
            return Err(failed("psql", &exists.stderr));
        }
        if !exists.stdout.trim_ascii().is_empty() {
            return Ok(());
        }
        self.run(
            "createdb",
            Command::new(self.programs.path("createdb"))
                .args(["-w", "-U", SUPERUSER, "-h"])
                .arg(&self.place.socket_dir)
                .arg(DATABASE),
        )
    }

    /// As the cluster's own user, from a directory which that user can read.
    fn command<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if let Some(user) = &self.place.user {
            command.uid(user.uid).gid(user.gid);
        }
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .env_remove("PGDATA")
            .env_remove("PGHOST")
            .env_remove("PGPORT")
            .env_remove("PGOPTIONS")
            .env("LC_ALL", "C")
    }

    fn run(&self, program: &'static str, command: &mut Command) -> Result<(), Error> {
        // Not `output()`: the postmaster inherits the pipes, and reading them would never end.
        let log = self.place.program_log();
        let file = fs::File::create(&log).map_err(at(&log))?;
        let copy = file.try_clone().map_err(at(&log))?;
        let status = self
            .command(command)
            .stdout(file)
            .stderr(copy)
            .status()
            .map_err(at(&self.programs.path(program)))?;
        if status.success() {
            return Ok(());
        }
        let mut said = fs::read(&log).unwrap_or_default();
        if let Ok(server) = fs::read(self.place.log_file()) {
            said.push(b'\n');
            said.extend(server);
        }
        Err(failed(program, &said))
    }

    fn write_record(&self) -> Result<(), Error> {
        let record = json!({
            "cluster_dir": self.place.cluster_dir,
            "socket_dir": self.place.socket_dir,
            "user": self.place.user.as_ref().map(|user| user.name.clone()),
        });
        let beside = self.record.with_extension("json.new");
        fs::write(&beside, format!("{record:#}\n")).map_err(at(&beside))?;
        fs::rename(&beside, &self.record).map_err(at(&self.record))
    }
}

fn failed(program: &'static str, said: &[u8]) -> Error {
    let said = String::from_utf8_lossy(said);
    let mut last: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = last.len().saturating_sub(6);
    Error::Failed {
        program,
        said: last.split_off(from).join("\n"),
    }
}

fn read_record(path: &Path) -> Result<Option<Place>, Error> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(at(path)(source)),
    };
    let record: Value =
        serde_json::from_slice(&text).map_err(|error| Error::Broken(error.to_string()))?;
    let text = |key: &str| record.get(key).and_then(Value::as_str);
    match (text("cluster_dir"), text("socket_dir")) {
        (Some(cluster), Some(socket)) => {
            Place::of(cluster.into(), socket.into(), text("user")).map(Some)
        }
        _ => Err(Error::Broken("cluster_dir or socket_dir is missing".into())),
    }
}

/// The database of a recorded cluster whether or not it runs, for verbs beside a running `up`.
pub(crate) fn recorded_url(data_dir: &Path, role: &str) -> Result<Option<String>, Error> {
    let place = read_record(&data_dir.join("cluster.json"))?;
    Ok(place.map(|place| url(&place.socket_dir, role)))
}

/// `postgresql:///farebox?host=…&user=…`, as libpq and every driver read it.
fn url(socket_dir: &Path, role: &str) -> String {
    format!(
        "postgresql:///{DATABASE}?host={}&user={role}",
        percent_encoded(&socket_dir.display().to_string())
    )
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
