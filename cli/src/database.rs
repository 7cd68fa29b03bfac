//! Database addresses and the few statements that `up` runs itself.

use std::fmt::Write;

use farebox_database::{Address, InvalidAddress};
use tokio_postgres::Client;
use tokio_postgres::config::Host;

use crate::failure::{Failure, Outcome};

/// The login in `connection.json`: sees all tenants, reads only.
pub(crate) const VIEWER: &str = "farebox_viewer";

/// The same address, working as that role whoever logs in. An address with options of its own is
/// left alone.
pub(crate) fn with_role(url: &str, role: &str) -> String {
    if url.contains("options") {
        return url.to_owned();
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return format!("{url} options='-c role={role}'");
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options=-c%20role%3D{role}")
}

/// A connection whose other half runs beside it.
pub(crate) async fn connect(url: &str) -> Outcome<Client> {
    let Address { config, tls } = url
        .parse()
        .map_err(|error: InvalidAddress| Failure::missing("database", error))?;
    let (client, connection) = config
        .connect(tls)
        .await
        .map_err(|error| Failure::missing("database", reason(&error)))?;
    tokio::spawn(async move {
        // The end shows as an error of the next statement.
        let _ = connection.await;
    });
    Ok(client)
}

/// The server's own words where there are some.
pub(crate) fn reason(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(refused), _) => format!("{}: {}", refused.code().code(), refused.message()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// Makes the viewer and gives its address. The database's owner asks.
pub(crate) async fn make_viewer(url: &str, password: &str) -> Outcome<String> {
    let client = connect(url).await?;
    // The password is hexadecimal text of our own; nothing in it needs quoting.
    let statements = format!(
        "do $viewer$
         begin
             if not exists (select from pg_catalog.pg_roles where rolname = '{VIEWER}') then
                 create role {VIEWER};
             end if;
         end
         $viewer$;
         alter role {VIEWER} login nosuperuser nocreatedb nocreaterole noreplication nobypassrls
             password '{password}';
         alter role {VIEWER} set default_transaction_read_only = on;
         alter role {VIEWER} set search_path = farebox;
         grant farebox_reader to {VIEWER};
         comment on role {VIEWER} is 'The login in connection.json: sees all tenants, reads only.'"
    );
    client
        .batch_execute(&statements)
        .await
        .map_err(|error| Failure::missing(format!("role {VIEWER}"), reason(&error)))?;
    login_url(url, VIEWER, Some(password))
}

/// The address with another login. Over a socket of the machine the role alone says who it is.
pub(crate) fn login_url(url: &str, role: &str, password: Option<&str>) -> Outcome<String> {
    let config: tokio_postgres::Config = url
        .parse()
        .map_err(|_| Failure::Usage("DATABASE_URL is no Postgres address".to_owned()))?;
    let database = config.get_dbname().unwrap_or("postgres");
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let role = crate::api::path_segment(role);
    let mut made = String::from("postgresql://");
    let login = match password {
        Some(password) => format!("{role}:{password}"),
        None => role.clone(),
    };
    match config.get_hosts().first() {
        Some(Host::Unix(dir)) => {
            let dir = crate::api::path_segment(&dir.display().to_string()).replace("%2F", "/");
            write!(made, "/{database}?host={dir}&user={role}")
        }
        Some(Host::Tcp(host)) => write!(made, "{login}@{host}:{port}/{database}"),
        None => write!(made, "{login}@localhost:{port}/{database}"),
    }
    .map_err(|error| Failure::missing("database address", error))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_viewer_takes_the_owners_place_in_the_address() {
        for (url, expected) in [
            (
                "postgresql:///farebox?host=/run/x&user=owner",
                "postgresql:///farebox?host=/run/x&user=farebox_viewer",
            ),
            (
                "postgres://owner:secret@db:6000/app",
                "postgresql://farebox_viewer:pw@db:6000/app",
            ),
        ] {
            assert_eq!(login_url(url, VIEWER, Some("pw")).unwrap(), expected);
        }
    }

    #[test]
    fn a_role_is_added_to_either_form_of_address_but_not_twice() {
        for (url, expected) in [
            ("postgres://h/d", "postgres://h/d?options=-c%20role%3Dr"),
            (
                "postgres://h/d?a=b",
                "postgres://h/d?a=b&options=-c%20role%3Dr",
            ),
            ("host=h", "host=h options='-c role=r'"),
            ("host=h options='-c x=y'", "host=h options='-c x=y'"),
        ] {
            assert_eq!(with_role(url, "r"), expected);
        }
    }
}
