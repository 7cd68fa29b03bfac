//! `farebox tenant login`: a tenant's own login to the database, which sees its rows alone.
//!
//! Only an owner of the database makes logins, so this does not go through the API.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::args::DataDirArg;
use crate::config;
use crate::data_dir::random_text;
use crate::database::{connect, login_url, reason};
use crate::failure::{Failure, Outcome};
use crate::roles::{block_on, built_in_upstreams, cluster_url};
use crate::say::say;
use crate::verbs::{hand_over, refuse_existing};

/// Longest name of a role in Postgres.
const ROLE_BYTES_MAX: usize = 63;

/// Where the database is: DATABASE_URL of an owner, in `up` the private cluster's.
#[derive(Debug, Args)]
pub(crate) struct Database {
    #[command(flatten)]
    data_dir: DataDirArg,
    /// Configuration file [default: farebox.toml when present].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LoginVerb {
    /// Make a login; its address, with a new password, is shown this once.
    #[command(group = clap::ArgGroup::new("where").required(true).args(["out", "reveal"]))]
    Create {
        tenant: String,
        /// The login's name [default: tenant_ and the tenant].
        #[arg(long, value_name = "ROLE")]
        login: Option<String>,
        /// Write the address to this new file, readable by its owner alone.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Show the address on the terminal.
        #[arg(long)]
        reveal: bool,
        #[command(flatten)]
        database: Database,
    },
    /// Drop a login.
    Drop {
        tenant: String,
        /// The login's name [default: tenant_ and the tenant].
        #[arg(long, value_name = "ROLE")]
        login: Option<String>,
        #[command(flatten)]
        database: Database,
    },
}

pub(crate) fn run(verb: &LoginVerb) -> Outcome {
    match verb {
        LoginVerb::Create {
            tenant,
            login,
            out,
            database,
            ..
        } => block_on(create(tenant, login.as_deref(), out.as_deref(), database)),
        LoginVerb::Drop {
            tenant,
            login,
            database,
        } => block_on(drop_login(tenant, login.as_deref(), database)),
    }
}

async fn create(
    tenant: &str,
    login: Option<&str>,
    out: Option<&Path>,
    database: &Database,
) -> Outcome {
    refuse_existing(out)?;
    let role = role_name(tenant, login)?;
    let url = database.url()?;
    let mut client = connect(&url).await?;
    let is_known = client
        .query_opt(
            "select from farebox_private.tenants where tenant_id = $1",
            &[&tenant],
        )
        .await
        .map_err(failed)?;
    if is_known.is_none() {
        return Err(Failure::No(format!("there is no tenant {tenant}")));
    }
    let password = random_text()?;
    // The server keeps and logs the verifier, never the password.
    let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
    let statements = format!(
        "create role {role} login nosuperuser nocreatedb nocreaterole noreplication nobypassrls
             password {} in role farebox_tenant;
         alter role {role} set default_transaction_read_only = on;
         alter role {role} set search_path = farebox;",
        quoted(&verifier),
        role = identifier(&role),
    );
    let transaction = client.transaction().await.map_err(failed)?;
    transaction
        .batch_execute(&statements)
        .await
        .map_err(failed)?;
    transaction
        .execute(
            "insert into farebox_private.tenant_logins (login, tenant_id, created_by)
             values ($1::text::name, $2, 'owner')",
            &[&role, &tenant],
        )
        .await
        .map_err(failed)?;
    audit(&transaction, "login.create", tenant, &role).await?;
    transaction.commit().await.map_err(failed)?;
    hand_over(&login_url(&url, &role, Some(&password))?, out)?;
    match out {
        Some(path) => say(&format!(
            "{role} may log in; its address is in {}",
            path.display()
        )),
        None => eprintln!("{role} may log in; the address is shown this once"),
    }
    Ok(())
}

async fn drop_login(tenant: &str, login: Option<&str>, database: &Database) -> Outcome {
    let role = role_name(tenant, login)?;
    let mut client = connect(&database.url()?).await?;
    let transaction = client.transaction().await.map_err(failed)?;
    let gone = transaction
        .execute(
            "delete from farebox_private.tenant_logins
             where login = $1::text::name and tenant_id = $2",
            &[&role, &tenant],
        )
        .await
        .map_err(failed)?;
    if gone == 0 {
        return Err(Failure::No(format!(
            "{role} is no login of the tenant {tenant}"
        )));
    }
    let drop = format!("drop role if exists {}", identifier(&role));
    transaction.batch_execute(&drop).await.map_err(failed)?;
    audit(&transaction, "login.drop", tenant, &role).await?;
    transaction.commit().await.map_err(failed)?;
    say(&format!("{role} may log in no more"));
    Ok(())
}

async fn audit(
    transaction: &tokio_postgres::Transaction<'_>,
    action: &str,
    tenant: &str,
    role: &str,
) -> Outcome {
    transaction
        .execute(
            "insert into farebox_private.audit_log (actor, action, tenant_id, entity_kind, entity_id)
             values ('owner:' || session_user, $1, $2, 'login', $3)",
            &[&action, &tenant, &role],
        )
        .await
        .map_err(failed)?;
    Ok(())
}

impl Database {
    fn url(&self) -> Outcome<String> {
        let settings = config::load(self.config.as_deref(), &built_in_upstreams())?;
        match settings.database_url {
            Some(url) => Ok(url.expose().to_owned()),
            None => cluster_url(self.data_dir.data_dir.as_deref()),
        }
    }
}

fn role_name(tenant: &str, login: Option<&str>) -> Outcome<String> {
    let role = match login {
        Some(login) => login.to_owned(),
        None => format!("tenant_{tenant}"),
    };
    let is_plain =
        !role.is_empty() && role.len() <= ROLE_BYTES_MAX && !role.chars().any(char::is_control);
    if !is_plain || role.starts_with("pg_") || role.starts_with("farebox_") {
        return Err(Failure::Usage(format!(
            "{role:?} cannot be a login; give --login with at most {ROLE_BYTES_MAX} bytes, not pg_… or farebox_…"
        )));
    }
    Ok(role)
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn failed(error: tokio_postgres::Error) -> Failure {
    match error.as_db_error() {
        Some(refused)
            if refused.code().code().starts_with("42")
                || refused.code().code().starts_with("23") =>
        {
            Failure::No(refused.message().to_owned())
        }
        _ => Failure::missing("database", reason(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_a_role_of_its_own() {
        assert_eq!(role_name("acme", None).ok().as_deref(), Some("tenant_acme"));
        assert_eq!(role_name("acme", Some("x")).ok().as_deref(), Some("x"));
        for wrong in ["", "pg_x", "farebox_owner", "a\0b", &"x".repeat(64)] {
            assert!(role_name("acme", Some(wrong)).is_err(), "{wrong:?}");
        }
        assert_eq!(identifier("a\"b"), "\"a\"\"b\"");
        assert_eq!(quoted("a'b"), "'a''b'");
    }
}
