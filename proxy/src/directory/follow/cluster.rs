//! A Postgres of a test's own, with the real tables, triggers, views and the lease function.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Source;
use crate::config::Secret;

/// A cluster of this test alone, on a socket only, stopped when dropped.
pub(crate) struct Cluster {
    pub(crate) folder: tempfile::TempDir,
    programs: PathBuf,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let programs = programs().expect("these tests need Postgres' server programs");
        let folder = tempfile::Builder::new()
            .prefix("fbd")
            .tempdir_in("/tmp")
            .unwrap();
        let cluster = Self { folder, programs };
        let as_root = run(Command::new("id").arg("-u")) == "0\n";
        if as_root {
            run(Command::new("chown")
                .arg("postgres")
                .arg(cluster.folder.path()));
        }
        let files = cluster.folder.path().join("files");
        let files = files.to_str().unwrap();
        run(cluster.program("initdb").args([
            "-D",
            files,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]));
        cluster.resume();
        cluster.file("roles.sql");
        cluster.sql(
            "create schema farebox_private authorization farebox_owner;
             create table farebox_private.schema_migrations
                 (version int, name text, checksum text, applied_at timestamptz);
             alter table farebox_private.schema_migrations owner to farebox_owner;
             create role proxy login in role farebox_proxy;",
        );
        let files = [
            "migrations/0001_foundation.sql",
            "migrations/0002_directory.sql",
            "migrations/0003_ledger.sql",
            "migrations/0004_intake.sql",
            "migrations/0007_limits.sql",
            "migrations/0008_keys.sql",
            "migrations/0013_lease_reports.sql",
            "functions/renew_limit_leases.sql",
            "views/directory_tenants.sql",
            "views/directory_keys.sql",
            "views/directory_limits.sql",
            "views/directory_rate_cards.sql",
            "views/directory_credentials.sql",
            "views/directory_sessions.sql",
        ];
        for file in files {
            cluster.file(file);
        }
        cluster
    }

    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        if run(Command::new("id").arg("-u")) != "0\n" {
            return Command::new(program);
        }
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command.current_dir("/");
        command
    }

    fn pg_ctl(&self, arguments: &[&str]) {
        let files = self.folder.path().join("files");
        let log = self.folder.path().join("log");
        run(self
            .program("pg_ctl")
            .args(["-w", "-s", "-D"])
            .arg(files)
            .arg("-l")
            .arg(log)
            .args(arguments));
    }

    pub(crate) fn resume(&self) {
        let options = format!(
            "-c listen_addresses= -c fsync=off -k {}",
            self.folder.path().display()
        );
        self.pg_ctl(&["-o", &options, "start"]);
    }

    pub(crate) fn stop(&self) {
        self.pg_ctl(&["-m", "immediate", "stop"]);
    }

    fn psql(&self) -> Command {
        let mut psql = self.program("psql");
        psql.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-h",
        ]);
        psql.arg(self.folder.path());
        psql
    }

    /// As the superuser.
    pub(crate) fn sql(&self, text: &str) {
        run(self.psql().args(["-c", text]));
    }

    /// One of the repository's files; all but the roles as the owner.
    fn file(&self, file: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../sql")
            .join(file);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let role = if file == "roles.sql" {
            "postgres"
        } else {
            "farebox_owner"
        };
        run(self
            .psql()
            .args(["-c", &format!("set role {role}; {text}")]));
    }

    pub(crate) fn source(&self, copy: &Path) -> Source {
        let host = self.folder.path().display().to_string();
        Source {
            database_url: Some(Secret::new(format!(
                "postgresql:///postgres?host={host}&user=proxy"
            ))),
            database_listen_url: None,
            copy: copy.to_owned(),
            key_secrets: vec![Secret::new("a secret of thirty-two characters".into())],
            first_lease: None,
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let files = self.folder.path().join("files");
        let _ = self
            .program("pg_ctl")
            .args(["-m", "immediate", "-D"])
            .arg(files)
            .arg("stop")
            .output();
    }
}

fn programs() -> Option<PathBuf> {
    let told = Command::new("pg_config").arg("--bindir").output().ok();
    let told = told.and_then(|told| String::from_utf8(told.stdout).ok());
    let mut folders: Vec<PathBuf> = told.into_iter().map(|told| told.trim().into()).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders
        .into_iter()
        .find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
