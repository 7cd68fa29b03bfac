//! What the collector is told before it starts: the `[collector]` section and the secrets that the
//! caller resolved from files or the environment. Every default and bound stands here, once.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use farebox_pricing::id::Form;
use farebox_pricing::key::KeySecrets;
use farebox_pricing::rate_card::bundle::PublicKey;
use farebox_pricing::vault::MasterKeys;
use serde::Deserialize;

/// Where the collector listens when nothing is said.
pub const LISTEN_DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8090);
/// Database connections kept open at most.
pub const DATABASE_CONNECTIONS_DEFAULT: usize = 8;
/// Batches being checked and stored at one time; a further one is told to come back.
pub const INGEST_BATCHES_DEFAULT: usize = 8;
/// Seconds that one look through the events may take; who asks for more is told to ask for less.
pub const READ_SECONDS_DEFAULT: u64 = 10;
/// Most seconds that can be named for it.
pub const READ_SECONDS_MAX: u64 = 3_600;
/// Seconds that requests in flight get to finish after the stop was asked for.
pub const DRAIN_SECONDS_DEFAULT: u64 = 10;
/// The role every serving connection works as, so that row security and grants hold.
pub const DATABASE_ROLE_DEFAULT: &str = "farebox_collector";
/// The role that removes old events and erased ids.
pub const RETENTION_ROLE_DEFAULT: &str = "farebox_retention";
/// Fewest days that events are kept: longer than a month, so that it can be closed before they go.
pub const RETENTION_DAYS_MIN: u32 = 35;
/// Most days that can be named.
pub const RETENTION_DAYS_MAX: u32 = 36_500;

/// A text that is printed nowhere: not by `Debug`, not in an error, not in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Certificate and key of the collector's own listener, PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The `[collector]` section. The skipped fields are secrets and belong to other sections; the
/// caller of [`crate::run`] fills them in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollectorConfig {
    /// Address of ingest, API and operations; port 0 is any free one.
    pub listen: SocketAddr,
    /// Allows plain HTTP on an address that other machines reach.
    pub allow_plaintext: bool,
    /// Serves TLS (h2, http/1.1) instead of plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Database connections kept open at most.
    pub database_connections_max: usize,
    /// The role every connection works as (`set role`); empty: the login's own.
    pub database_role: String,
    /// Days that events are kept of tenants without a rule of their own; unset: for ever.
    pub retention_days: Option<u32>,
    /// The role that removes them, granted to the same login; empty: nothing is removed.
    pub retention_role: String,
    /// Batches being stored at one time.
    pub ingest_batches_max: usize,
    /// Seconds that a list or a sum may take that is read from the events themselves.
    pub read_seconds: u64,
    /// Seconds that requests in flight get after the stop was asked for.
    pub drain_seconds: u64,
    /// Public keys that prices are signed with. With one, prices are taken in signed bundles only.
    pub price_keys: Vec<PublicKey>,

    /// The database, as `postgres://…` or `host=…`.
    #[serde(skip)]
    pub database_url: Option<Secret>,
    /// The operator's token. Without one nobody is the operator.
    #[serde(skip)]
    pub admin_token: Option<Secret>,
    /// The deployment's key secrets. Without them no key is issued and none is believed.
    #[serde(skip)]
    pub key_secrets: Option<KeySecrets>,
    /// The token that `/metrics` asks for off loopback.
    #[serde(skip)]
    pub metrics_token: Option<Secret>,
    /// Master keys of the credential vault. Without them no credential is taken in.
    #[serde(skip)]
    pub master_keys: Option<Arc<MasterKeys>>,
    /// What a new tenant's identifier has to look like.
    #[serde(skip)]
    pub tenant_form: Form,
    /// Days without use after which a key is stale; `None`: as the view says.
    #[serde(skip)]
    pub stale_after_days: Option<u32>,
    /// Where credentials of the configured upstreams go.
    #[serde(skip)]
    pub upstream_hosts: BTreeMap<String, String>,
}

impl Default for CollectorConfig {
    fn default() -> Self {
        Self {
            listen: LISTEN_DEFAULT,
            allow_plaintext: false,
            tls: None,
            database_connections_max: DATABASE_CONNECTIONS_DEFAULT,
            database_role: DATABASE_ROLE_DEFAULT.to_owned(),
            retention_days: None,
            retention_role: RETENTION_ROLE_DEFAULT.to_owned(),
            ingest_batches_max: INGEST_BATCHES_DEFAULT,
            read_seconds: READ_SECONDS_DEFAULT,
            drain_seconds: DRAIN_SECONDS_DEFAULT,
            price_keys: Vec::new(),
            database_url: None,
            admin_token: None,
            key_secrets: None,
            metrics_token: None,
            master_keys: None,
            tenant_form: Form::default(),
            stale_after_days: None,
            upstream_hosts: BTreeMap::new(),
        }
    }
}

/// A configuration that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidConfig {
    /// The key, as the file writes it.
    pub key: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

impl std::error::Error for InvalidConfig {}

impl CollectorConfig {
    /// Every mistake in it, not only the first.
    #[must_use]
    pub fn mistakes(&self) -> Vec<InvalidConfig> {
        let mut found = Vec::new();
        let mut mistake = |key, message: &str| {
            found.push(InvalidConfig {
                key,
                message: message.to_owned(),
            });
        };
        if self.database_url.is_none() {
            mistake("database.url_env", "the collector needs a database");
        }
        if self.tls.is_none() && !self.allow_plaintext && !self.listen.ip().is_loopback() {
            mistake(
                "collector.listen",
                "plain HTTP off loopback needs collector.tls or collector.allow_plaintext = true",
            );
        }
        if self.database_connections_max == 0 {
            mistake("collector.database_connections_max", "at least 1");
        }
        if self.ingest_batches_max == 0 {
            mistake("collector.ingest_batches_max", "at least 1");
        }
        if !(1..=READ_SECONDS_MAX).contains(&self.read_seconds) {
            mistake("collector.read_seconds", "between 1 and 3600");
        }
        let is_identifier = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !self.database_role.chars().all(is_identifier) {
            mistake(
                "collector.database_role",
                "letters, digits and underscores only",
            );
        }
        if !self.retention_role.chars().all(is_identifier) {
            mistake(
                "collector.retention_role",
                "letters, digits and underscores only",
            );
        }
        let is_short = |days: u32| !(RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(&days);
        if self.retention_days.is_some_and(is_short) {
            mistake(
                "collector.retention_days",
                "between 35 and 36500: a month is closed before its events go",
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served() -> CollectorConfig {
        CollectorConfig {
            database_url: Some(Secret::new("host=/tmp")),
            ..CollectorConfig::default()
        }
    }

    #[test]
    fn plain_http_off_loopback_is_refused_unless_allowed() {
        let check = |listen: &str, allow_plaintext: bool, is_fine: bool| {
            let config = CollectorConfig {
                listen: listen.parse().unwrap(),
                allow_plaintext,
                ..served()
            };
            assert_eq!(config.mistakes().is_empty(), is_fine, "{listen}");
        };
        check("127.0.0.1:0", false, true);
        check("[::1]:0", false, true);
        check("0.0.0.0:0", false, false);
        check("0.0.0.0:0", true, true);
        check("10.1.2.3:8090", false, false);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let config = CollectorConfig {
            database_role: "x; drop".into(),
            ingest_batches_max: 0,
            ..CollectorConfig::default()
        };
        let keys: Vec<_> = config.mistakes().iter().map(|m| m.key).collect();
        assert_eq!(
            keys,
            [
                "database.url_env",
                "collector.ingest_batches_max",
                "collector.database_role"
            ]
        );
    }

    #[test]
    fn a_secret_is_not_in_debug_output() {
        let printed = format!("{:?}", served());
        assert!(!printed.contains("/tmp"), "{printed}");
    }

    #[test]
    fn unknown_keys_are_refused() {
        let refused: Result<CollectorConfig, _> = serde_json::from_str(r#"{"listn":"x"}"#);
        assert!(refused.is_err());
    }
}
