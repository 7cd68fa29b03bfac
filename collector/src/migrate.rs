//! Brings a database to the schema of this program: roles, migrations, functions, views, the months
//! ahead, the built-in rate cards.
//!
//! One migrates at a time (an advisory lock); running it again changes nothing. Migrations are forward
//! only, and a released one that was edited is refused. Views and functions are made from their one
//! present text each time, so that grants of users survive.

use std::fmt;

use farebox_pricing::rate_card::CardSet;
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use crate::store::{StoreError, parse_address};
use farebox_database::Address;

mod files;

/// The prefix of the roles' names, unless another is asked for.
pub const ROLE_PREFIX: &str = "farebox";
/// Roles whose names carry the prefix.
const ROLES: [&str; 6] = [
    "owner",
    "proxy",
    "collector",
    "reader",
    "retention",
    "tenant",
];
/// Months after the present one that have their partition before an event names them.
pub const MONTHS_AHEAD: i32 = 3;
/// Months before the present one that do.
pub const MONTHS_BEHIND: i32 = 1;
/// Longest prefix, so that every role's name stays below Postgres' 63 bytes.
const ROLE_PREFIX_BYTES_MAX: usize = 40;
/// Times the roles are tried again while another database of the cluster makes them too.
const ROLE_ATTEMPTS_MAX: u32 = 10;
/// A migration that cannot run in a transaction begins with this line; it holds one statement.
const NO_TRANSACTION: &str = "-- no transaction";
/// Held while migrating; the number is `farebox` in a phone's letters.
const LOCK: i64 = 3_273_269;

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Names of the migrations that ran now.
    pub migrations: Vec<String>,
    /// Partitions made now.
    pub partitions: u64,
    /// Rate card revisions loaded now.
    pub rate_cards: u64,
}

/// Why the database could not be brought up.
#[derive(Debug)]
pub enum MigrateError {
    /// The prefix makes no role names.
    RolePrefix(String),
    /// The database is away, or a statement failed.
    Store(StoreError),
    /// Roles are missing and this login may not make them.
    RolesMissing(Vec<String>),
    /// A file of ours failed.
    File {
        /// Its name.
        name: String,
        /// Why.
        cause: StoreError,
    },
    /// A migration that ran here had another text.
    Changed(String),
    /// The database has a migration that this program does not know.
    Newer(i32),
}

impl fmt::Display for MigrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RolePrefix(prefix) => write!(
                f,
                "role prefix {prefix:?}: lower-case letters, digits and _, a letter first, at most \
                 {ROLE_PREFIX_BYTES_MAX} bytes"
            ),
            Self::Store(cause) => cause.fmt(f),
            Self::RolesMissing(roles) => write!(
                f,
                "roles or their grants are missing and this login may not make them ({}): run the \
                 text of `farebox migrate --print-roles` as a superuser",
                roles.join(", ")
            ),
            Self::File { name, cause } => write!(f, "sql/{name}: {cause}"),
            Self::Changed(name) => {
                write!(
                    f,
                    "sql/migrations/{name}: its text is not the one that ran here"
                )
            }
            Self::Newer(version) => write!(
                f,
                "the database is at migration {version:04}, which this program does not know; use a \
                 newer one"
            ),
        }
    }
}

impl std::error::Error for MigrateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(cause) | Self::File { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

impl From<StoreError> for MigrateError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What the DBA runs once a cluster where the migrating login may not create roles.
pub fn print_roles(role_prefix: &str) -> Result<String, MigrateError> {
    check_prefix(role_prefix)?;
    Ok(with_prefix(files::ROLES, role_prefix))
}

/// Brings the database to the schema of this program. The login is a superuser, or a member of the
/// owner role.
pub async fn migrate(database_url: &str, role_prefix: &str) -> Result<Migrated, MigrateError> {
    check_prefix(role_prefix)?;
    let Address { mut config, tls } = parse_address(database_url)?;
    config.application_name("farebox migrate");
    let (client, connection) = config.connect(tls).await?;
    let driver = tokio::spawn(connection);
    let migrated = run(&client, role_prefix).await;
    // The lock goes with the session.
    drop(client);
    if let Ok(Err(cause)) = driver.await {
        tracing::debug!(%cause, "connection ended");
    }
    migrated
}

async fn run(client: &Client, role_prefix: &str) -> Result<Migrated, MigrateError> {
    client
        .query("select pg_advisory_lock($1)", &[&LOCK])
        .await?;
    ensure_roles(client, role_prefix).await?;
    client
        .batch_execute(&with_prefix("set role farebox_owner", role_prefix))
        .await?;
    let mut migrated = Migrated {
        migrations: run_migrations(client, role_prefix).await?,
        ..Migrated::default()
    };
    let replaced = files::VIEWS.iter().chain(files::FUNCTIONS);
    let mut text = String::from("begin;\n");
    for (name, sql) in replaced {
        in_file(
            name,
            client
                .batch_execute(&(std::mem::take(&mut text) + &with_prefix(sql, role_prefix)))
                .await,
        )?;
    }
    client.batch_execute("commit").await?;
    migrated.partitions = client
        .execute(
            "select
             from generate_series($1::integer, $2::integer) as month
             where farebox_private.ensure_partition(
                 ((now() at time zone 'UTC') + month * interval '1 month')::date)",
            &[&-MONTHS_BEHIND, &MONTHS_AHEAD],
        )
        .await?;
    migrated.rate_cards = load_rate_cards(client).await?;
    Ok(migrated)
}

/// Makes the roles when this login may; else they must be there. Roles belong to the whole cluster
/// and our lock to one database, so somebody else may be making them at this moment.
async fn ensure_roles(client: &Client, role_prefix: &str) -> Result<(), MigrateError> {
    let names: Vec<String> = ROLES
        .iter()
        .map(|role| format!("{role_prefix}_{role}"))
        .collect();
    let mut attempt = 1;
    loop {
        let row = client
            .query_one(
                "select
                     array(
                         select name from unnest($1::text[]) as name
                         where not exists (select from pg_roles where rolname = name)
                     ),
                     exists (
                         select from pg_roles where rolname = $1[1]
                             and has_database_privilege(oid, current_database(), 'create')
                     ),
                     (select rolsuper or rolcreaterole from pg_roles where rolname = current_user)",
                &[&names],
            )
            .await?;
        let missing: Vec<String> = row.get(0);
        let (is_granted, may_create): (bool, bool) = (row.get(1), row.get(2));
        if missing.is_empty() && is_granted {
            return Ok(());
        }
        if !may_create {
            return Err(MigrateError::RolesMissing(missing));
        }
        let made = client
            .batch_execute(&with_prefix(files::ROLES, role_prefix))
            .await;
        if made.is_ok() || attempt == ROLE_ATTEMPTS_MAX {
            return in_file("roles.sql", made);
        }
        attempt += 1;
    }
}

async fn run_migrations(client: &Client, role_prefix: &str) -> Result<Vec<String>, MigrateError> {
    client
        .batch_execute(
            "create schema if not exists farebox_private;
             create table if not exists farebox_private.schema_migrations (
                 version integer not null,
                 name text not null,
                 checksum text not null,
                 applied_at timestamptz not null default now(),
                 constraint schema_migrations_pkey primary key (version)
             )",
        )
        .await?;
    let rows = client
        .query(
            "select version, checksum from farebox_private.schema_migrations order by version",
            &[],
        )
        .await?;
    let applied: Vec<(i32, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let known = files::MIGRATIONS.iter().map(|(name, _)| number(name));
    let newest = known.max().unwrap_or_default();
    if let Some((version, _)) = applied.last().filter(|(version, _)| *version > newest) {
        return Err(MigrateError::Newer(*version));
    }
    let mut ran = Vec::new();
    for (name, sql) in files::MIGRATIONS {
        let version = number(name);
        let checksum = hex(&Sha256::digest(sql.as_bytes()));
        if let Some((_, ran_as)) = applied.iter().find(|(applied, _)| *applied == version) {
            if *ran_as != checksum {
                return Err(MigrateError::Changed((*name).to_owned()));
            }
            continue;
        }
        let note = format!(
            "insert into farebox_private.schema_migrations (version, name, checksum)
             values ({version}, '{name}', '{checksum}')"
        );
        let sql = with_prefix(sql, role_prefix);
        // One text is one implicit transaction, unless it asks for none.
        if sql.starts_with(NO_TRANSACTION) {
            in_file(name, client.batch_execute(&sql).await)?;
            client.batch_execute(&note).await?;
        } else {
            let text = format!("begin;\n{sql}\n;{note};\ncommit;");
            in_file(name, client.batch_execute(&text).await)?;
        }
        ran.push((*name).to_owned());
    }
    Ok(ran)
}

/// The number a file's name begins with. Numbers grow; between releases one may be missing.
fn number(name: &str) -> i32 {
    name.split('_')
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_default()
}

/// Built-in cards become revisions of the database. A new one is in force from here on where the one
/// before came with a program too; what the operator has activated stays.
async fn load_rate_cards(client: &Client) -> Result<u64, MigrateError> {
    let mut loaded = 0;
    for card in CardSet::built_in().active() {
        loaded += client
            .execute(
                "insert into farebox_private.rate_card_revisions
                     (sha256, provider, canonical, activated_at, activated_by)
                 select $1, $2, $3, case when is_ours then clock_timestamp() end,
                     case when is_ours then 'migrate' end
                 from (
                     select not exists (
                         select from farebox_private.rate_card_revisions as active
                         where active.provider = $2
                             and active.kind = 'cost'
                             and active.activated_by <> 'migrate'
                             and active.activated_at = (
                                 select max(newest.activated_at)
                                 from farebox_private.rate_card_revisions as newest
                                 where newest.provider = $2 and newest.kind = 'cost'
                             )
                     ) as is_ours
                 ) as decided
                 on conflict do nothing",
                &[&card.revision(), &card.provider(), &card.canonical()],
            )
            .await?;
    }
    Ok(loaded)
}

fn in_file(name: &str, result: Result<(), tokio_postgres::Error>) -> Result<(), MigrateError> {
    result.map_err(|cause| MigrateError::File {
        name: name.to_owned(),
        cause: cause.into(),
    })
}

fn check_prefix(prefix: &str) -> Result<(), MigrateError> {
    let is_name = prefix.len() <= ROLE_PREFIX_BYTES_MAX
        && prefix.starts_with(|first: char| first.is_ascii_lowercase())
        && prefix
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    match is_name {
        true => Ok(()),
        false => Err(MigrateError::RolePrefix(prefix.to_owned())),
    }
}

/// The files name the roles by the default prefix.
fn with_prefix(sql: &str, prefix: &str) -> String {
    if prefix == ROLE_PREFIX {
        return sql.to_owned();
    }
    ROLES.iter().fold(sql.to_owned(), |sql, role| {
        sql.replace(
            &format!("{ROLE_PREFIX}_{role}"),
            &format!("{prefix}_{role}"),
        )
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// A file that nobody listed would never reach a database.
    #[test]
    fn every_file_of_the_sql_folder_is_listed_in_order() {
        let check = |folder: &str, listed: &[(&str, &str)]| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../sql")
                .join(folder);
            let there: BTreeSet<String> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            let names: BTreeSet<String> =
                listed.iter().map(|(name, _)| (*name).to_owned()).collect();
            assert_eq!(there, names, "{folder}");
            assert_eq!(listed.len(), names.len(), "{folder} lists a file twice");
        };
        check("migrations", files::MIGRATIONS);
        check("functions", files::FUNCTIONS);
        check("views", files::VIEWS);
        let numbers: Vec<i32> = files::MIGRATIONS
            .iter()
            .map(|(name, _)| {
                assert!(name.starts_with(&format!("{:04}_", number(name))), "{name}");
                number(name)
            })
            .collect();
        assert!(
            numbers[0] == 1 && numbers.is_sorted_by(|one, next| one < next),
            "{numbers:?}"
        );
    }

    #[test]
    fn the_prefix_reaches_every_role_and_nothing_else() {
        let text = print_roles("acme_meter").unwrap();
        for role in ROLES {
            assert!(text.contains(&format!("'acme_meter_{role}'")), "{role}");
            assert!(!text.contains(&format!("farebox_{role}")), "{role}");
        }
        assert_eq!(
            with_prefix("grant x on farebox_private.y to farebox_reader", "z"),
            "grant x on farebox_private.y to z_reader"
        );
        for bad in ["", "Farebox", "1a", "a-b", "a\";drop", &"a".repeat(41)] {
            assert!(print_roles(bad).is_err(), "{bad:?}");
        }
    }
}
