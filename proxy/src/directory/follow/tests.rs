//! Against a real Postgres with the real tables, triggers and views.

use std::path::{Path, PathBuf};
use std::process::Command;

use farebox_pricing::time::Timestamp;
use uuid::Uuid;

use super::super::{Held, TenantStatus};
use super::*;
use crate::failure::Code;

/// Longest wait for what has to happen; a change has to be here within a second.
const PATIENCE: Duration = Duration::from_secs(20);
const REVOCATION_MAX: Duration = Duration::from_secs(1);

/// A cluster of this test alone, on a socket only, stopped when dropped.
struct Cluster {
    folder: tempfile::TempDir,
    programs: PathBuf,
}

impl Cluster {
    fn start() -> Self {
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

    fn resume(&self) {
        let options = format!(
            "-c listen_addresses= -c fsync=off -k {}",
            self.folder.path().display()
        );
        self.pg_ctl(&["-o", &options, "start"]);
    }

    fn stop(&self) {
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
    fn sql(&self, text: &str) {
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

    fn source(&self, copy: &Path) -> Source {
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

async fn until(what: &str, patience: Duration, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(
        tokio::time::timeout(patience, waiting).await.is_ok(),
        "never: {what}"
    );
}

const KEY_ID: Uuid = Uuid::from_u128(7);
const LIMIT_ID: Uuid = Uuid::from_u128(9);

fn insert(cluster: &Cluster) {
    cluster.sql(&format!(
        "insert into farebox_private.tenants (tenant_id, settings)
             values ('acmé', '{{\"on_unrecordable\": \"refuse\", \"unpriced_models\": null}}');
         insert into farebox_private.virtual_keys
             (key_id, prefix, secret_hash, name, tenant_id, networks, allowed_models, expires_at)
             values ('{KEY_ID}', 'vk_ABCDE', '$argon2id$v=19$x', 'one', 'acmé', '{{10.0.0.0/8}}', '{{gpt-4o}}', 'infinity');
         insert into farebox_private.limits (limit_id, tenant_id, meter, amount, window_kind, expires_at)
             values ('{LIMIT_ID}', 'acmé', 'requests', 2.50, 'minute', '2030-01-01T00:00:00.5Z');
         insert into farebox_private.limits (limit_id, meter, amount, window_kind)
             values (gen_random_uuid(), 'billed', 1, 'month');",
    ));
}

#[tokio::test]
async fn the_directory_is_loaded_follows_each_change_and_outlives_postgres() {
    let cluster = Cluster::start();
    insert(&cluster);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("directory");
    let source = cluster.source(&copy);
    let directory = Arc::new(Directory::new());
    let stop = CancellationToken::new();
    let following = tokio::spawn(Arc::clone(&directory).follow(source.clone(), stop.clone()));
    until("the first load", PATIENCE, || directory.is_loaded()).await;

    let tenant = directory.tenant("acmé").unwrap();
    assert!(tenant.is_active());
    assert_eq!(
        tenant.settings().on_unrecordable,
        crate::config::OnUnrecordable::Refuse
    );
    let key = directory.key_by_prefix("vk_ABCDE").unwrap();
    assert_eq!(
        (key.key_id, key.name.as_str(), key.expires_at),
        (KEY_ID, "one", None)
    );
    assert_eq!(key.scopes, ["proxy"]);
    assert!(key.may_use("gpt-4o") && !key.may_use("gpt-4"));
    assert!(
        key.may_come_from("10.1.1.1".parse().unwrap())
            && !key.may_come_from("11.1.1.1".parse().unwrap())
    );
    let limits = directory.limits_of(Some("acmé"));
    assert_eq!(limits.len(), 1, "a limit that others count is left out");
    assert_eq!(
        (limits[0].limit_id, limits[0].amount.to_string().as_str()),
        (LIMIT_ID, "2.5")
    );
    assert_eq!(
        limits[0].expires_at,
        Some(Timestamp::from_millis(1_893_456_000_500))
    );
    assert!(directory.age().unwrap() < PATIENCE);

    // One change a change, and a revocation within a second.
    let mut revocations = directory.revocations();
    revocations.mark_unchanged();
    let generation = directory.generation();
    cluster.sql(&format!(
        "update farebox_private.virtual_keys set revoked_at = now() where key_id = '{KEY_ID}'"
    ));
    until("the revocation", REVOCATION_MAX, || {
        directory.cut_for(Some(KEY_ID), Some("acmé")) == Some(Code::RevokedKey)
    })
    .await;
    assert!(revocations.has_changed().unwrap());
    assert_eq!(directory.generation(), generation + 1);
    cluster.sql("update farebox_private.tenants set status = 'suspended'");
    until("the suspension", REVOCATION_MAX, || {
        !directory.tenant("acmé").unwrap().is_active()
    })
    .await;
    cluster.sql("delete from farebox_private.limits");
    until("the limit's end", REVOCATION_MAX, || {
        directory.limits_of(Some("acmé")).is_empty()
    })
    .await;
    cluster.sql(
        "insert into farebox_private.tenants (tenant_id) select 'tenant ' || n from generate_series(1, 2500) n",
    );
    until("many changes", PATIENCE, || {
        (1..=2500).all(|n| directory.tenant(&format!("tenant {n}")).is_some())
    })
    .await;

    // Without Postgres the content stays, and what changed meanwhile comes when it is back.
    cluster.stop();
    let age = directory.age().unwrap();
    until("an older directory", PATIENCE, || {
        directory.age().unwrap() > age + Duration::from_secs(1)
    })
    .await;
    assert!(directory.key(KEY_ID).is_some());
    cluster.resume();
    cluster.sql(&format!(
        "delete from farebox_private.virtual_keys where key_id = '{KEY_ID}'"
    ));
    until("the deletion", PATIENCE, || directory.key(KEY_ID).is_none()).await;
    assert!(directory.key_by_prefix("vk_ABCDE").is_none());
    stop.cancel();
    following.await.unwrap();

    // What was known at the end starts the next process without Postgres.
    let next = Directory::new();
    next.load_copy(&source);
    assert!(next.is_loaded());
    assert_eq!(next.tenant("acmé").unwrap().status, TenantStatus::Suspended);
    assert!(next.tenant("tenant 2500").is_some());
}

#[tokio::test]
async fn a_directory_that_never_reached_postgres_serves_its_copy_and_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let source = Source {
        database_url: Some(Secret::new(
            "postgresql:///postgres?host=/nowhere&user=proxy".into(),
        )),
        database_listen_url: None,
        copy: folder.path().join("directory"),
        key_secrets: vec![Secret::new("a secret of thirty-two characters".into())],
        first_lease: None,
    };
    let directory = Arc::new(Directory::new());
    directory.load_copy(&source);
    assert!(!directory.is_loaded());
    assert_eq!(directory.age(), None);
    let known = Held {
        keys: vec![Arc::new(super::super::tests::key_row("vk_ABCDE", "hash"))],
        ..Held::default()
    };
    copy::save(&source.copy, &known, 1_000, &source.key_secrets).unwrap();
    directory.load_copy(&source);
    let stop = CancellationToken::new();
    let following = tokio::spawn(Arc::clone(&directory).follow(source, stop.clone()));
    assert!(directory.is_loaded() && directory.key_by_prefix("vk_ABCDE").is_some());
    assert!(directory.age().unwrap() > Duration::from_secs(1_000_000));
    stop.cancel();
    following.await.unwrap();
}
