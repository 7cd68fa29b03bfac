//! Configuration: one TOML file and `FAREBOX_SECTION__KEY` of the environment, which wins.
//!
//! Unknown keys are refused. Every mistake is told together with its place, in one go; nothing
//! starts while there is one. Secrets are never in the file: it names where they are.

mod parse;
mod secrets;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use farebox_collector::config::CollectorConfig;
use farebox_pricing::id::Form;
use farebox_pricing::vault::MasterKeys;
use farebox_proxy::config::{MetricsConfig, ProxyConfig, Secret, SpoolConfig, UpstreamConfig};
use serde::Deserialize;

use parse::Source;
use secrets::Secrets;
pub(crate) use secrets::key_secrets as key_secrets_of;

/// The file read when none is named and it is there.
pub(crate) const FILE_DEFAULT: &str = "farebox.toml";

/// One thing wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// `farebox.toml:7`, the variable's name, or the key when nobody wrote it.
    pub(crate) place: String,
    /// What is wrong.
    pub(crate) message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// All that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistakes(pub(crate) Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration has mistakes:")?;
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// The section `[database]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DatabaseSection {
    url_env: Option<String>,
    url_file: Option<PathBuf>,
    listen_url_env: Option<String>,
    listen_url_file: Option<PathBuf>,
}

/// The section `[keys]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeysSection {
    secret_env: Option<String>,
    secret_file: Option<PathBuf>,
    stale_after_days: Option<u32>,
}

/// The section `[credentials]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CredentialsSection {
    master_key_env: Option<String>,
    master_key_file: Option<PathBuf>,
}

/// The section `[ids]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct IdsSection {
    tenant_pattern: Option<String>,
}

/// The keys of `[collector]` which say how others reach it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReachSection {
    url: Option<String>,
    ca_file: Option<PathBuf>,
    ingest_token_env: Option<String>,
    ingest_token_file: Option<PathBuf>,
    admin_token_env: Option<String>,
    admin_token_file: Option<PathBuf>,
}

const REACH_KEYS: [&str; 6] = [
    "url",
    "ca_file",
    "ingest_token_env",
    "ingest_token_file",
    "admin_token_env",
    "admin_token_file",
];

/// Everything the file and the environment said, in final types, with the secrets they name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Section `[proxy]`.
    pub(crate) proxy: ProxyConfig,
    /// Section `[spool]`.
    pub(crate) spool: SpoolConfig,
    /// Section `[metrics]`.
    pub(crate) metrics: MetricsConfig,
    /// Sections `[upstreams.*]`.
    pub(crate) upstreams: BTreeMap<String, UpstreamConfig>,
    /// Section `[collector]`.
    pub(crate) collector: CollectorConfig,
    /// The database.
    pub(crate) database_url: Option<Secret>,
    /// A direct address for LISTEN behind a transaction pooler.
    pub(crate) database_listen_url: Option<Secret>,
    /// One key secret each; the first signs, all verify.
    pub(crate) key_secrets: Vec<Secret>,
    /// Days without use after which a key is stale, where neither key nor tenant says.
    pub(crate) stale_after_days: Option<u32>,
    /// Master keys of the credential vault.
    pub(crate) master_keys: Option<Arc<MasterKeys>>,
    /// What a tenant's identifier has to look like.
    pub(crate) tenant_form: Form,
    /// Where the proxy ships to.
    pub(crate) collector_url: Option<String>,
    /// Extra certificate authority for it.
    pub(crate) collector_ca_file: Option<PathBuf>,
    /// This node's token there.
    pub(crate) ingest_token: Option<Secret>,
    /// The operator's token.
    pub(crate) admin_token: Option<Secret>,
    /// Where `up` and `demo` put a TLS listener without a certificate of its own: `proxy.tls.listen`
    /// that stands alone.
    pub(crate) tls_listen: Option<SocketAddr>,
}

/// Reads the file, when there is one, and the environment.
///
/// `built_in` are the upstreams that need not be configured; each takes its credential from
/// `<NAME>_API_KEY` where nothing else is said.
pub(crate) fn load(file: Option<&Path>, built_in: &[&str]) -> Result<Settings, Mistakes> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let default = Path::new(FILE_DEFAULT);
    let file = match file {
        Some(file) => Some(file),
        None => Some(default).filter(|file| file.exists()),
    };
    let text = match file {
        Some(file) => match std::fs::read_to_string(file) {
            Ok(text) => Some((file.display().to_string(), text)),
            Err(error) => {
                return Err(Mistakes(vec![Mistake {
                    place: file.display().to_string(),
                    message: format!("cannot be read: {error}"),
                }]));
            }
        },
        None => None,
    };
    parse_all(text, &environment, built_in)
}

/// As [`load`], from texts.
fn parse_all(
    file: Option<(String, String)>,
    environment: &BTreeMap<String, String>,
    built_in: &[&str],
) -> Result<Settings, Mistakes> {
    let mut mistakes = Vec::new();
    let mut source = Source::read(file, environment, built_in, &mut mistakes);
    let reach: ReachSection = source.part_of_section("collector", &REACH_KEYS, &mut mistakes);
    let database: DatabaseSection = source.section("database", &mut mistakes);
    let keys: KeysSection = source.section("keys", &mut mistakes);
    let credentials: CredentialsSection = source.section("credentials", &mut mistakes);
    let ids: IdsSection = source.section("ids", &mut mistakes);
    let mut settings = Settings {
        stale_after_days: keys.stale_after_days,
        tenant_form: tenant_form(&source, ids.tenant_pattern.as_deref(), &mut mistakes),
        spool: source.section("spool", &mut mistakes),
        metrics: source.section("metrics", &mut mistakes),
        collector: source.section("collector", &mut mistakes),
        ..Settings::default()
    };
    let is_plain_off = source.take_empty("proxy", "listen");
    settings.tls_listen = source.take_tls_listen_alone();
    settings.proxy = source.section("proxy", &mut mistakes);
    if is_plain_off {
        settings.proxy.listen = None;
    }
    for name in source.upstream_names() {
        let upstream = source.upstream(&name, &mut mistakes);
        check_upstream(&source, &name, &upstream, built_in, &mut mistakes);
        settings.upstreams.insert(name, upstream);
    }
    source.refuse_unknown_sections(&mut mistakes);

    let mut secrets = Secrets {
        environment,
        source: &source,
        mistakes: &mut mistakes,
    };
    let database_env = database.url_env.as_deref().unwrap_or("DATABASE_URL");
    settings.database_url = secrets.one(
        "database.url",
        Some(database_env).filter(|_| database.url_file.is_none() || database.url_env.is_some()),
        database.url_file.as_deref(),
    );
    settings.database_listen_url = secrets.one(
        "database.listen_url",
        database.listen_url_env.as_deref(),
        database.listen_url_file.as_deref(),
    );
    settings.ingest_token = secrets.one(
        "collector.ingest_token",
        reach.ingest_token_env.as_deref(),
        reach.ingest_token_file.as_deref(),
    );
    let admin_env = reach
        .admin_token_env
        .as_deref()
        .unwrap_or("FAREBOX_ADMIN_TOKEN");
    settings.admin_token = secrets.one(
        "collector.admin_token",
        Some(admin_env)
            .filter(|_| reach.admin_token_file.is_none() || reach.admin_token_env.is_some()),
        reach.admin_token_file.as_deref(),
    );
    settings.metrics.token = secrets.one(
        "metrics.token",
        None,
        settings.metrics.token_file.as_deref(),
    );
    settings.key_secrets = secrets.list(
        "keys.secret",
        keys.secret_env.as_deref(),
        keys.secret_file.as_deref(),
    );
    settings.master_keys = secrets.master_keys(
        credentials.master_key_env.as_deref(),
        credentials.master_key_file.as_deref(),
    );
    for name in built_in {
        settings.upstreams.entry((*name).to_owned()).or_default();
    }
    for (name, upstream) in &mut settings.upstreams {
        let own = credential_variable(name);
        let is_built_in = built_in.contains(&name.as_str());
        let variable = match (&upstream.credential_env, &upstream.credential_file) {
            (Some(variable), _) => Some(variable.as_str()),
            (None, None) if is_built_in => Some(own.as_str()),
            _ => None,
        };
        upstream.credential = secrets.one(
            &format!("upstreams.{name}.credential"),
            variable,
            upstream.credential_file.as_deref(),
        );
    }
    settings.collector_url = reach.url;
    settings.collector_ca_file = reach.ca_file;
    check_listeners(&source, &settings, &mut mistakes);
    if mistakes.is_empty() {
        Ok(settings)
    } else {
        Err(Mistakes(mistakes))
    }
}

/// `OPENAI_API_KEY` of `openai`.
pub(crate) fn credential_variable(upstream: &str) -> String {
    format!("{}_API_KEY", upstream.to_uppercase().replace('-', "_"))
}

/// Where a credential for that upstream goes: the host, and the port where it is written.
pub(crate) fn host_of(name: &str, upstream: &UpstreamConfig) -> Option<String> {
    let built_in = farebox_proxy::provider::find(name).map(|provider| provider.base_url);
    let base_url = upstream.base_url.as_deref().or(built_in)?;
    let (_, rest) = base_url.split_once("://")?;
    let host = rest.split('/').next().unwrap_or_default();
    (!host.is_empty()).then(|| host.to_owned())
}

fn tenant_form(source: &Source<'_>, pattern: Option<&str>, mistakes: &mut Vec<Mistake>) -> Form {
    let Some(pattern) = pattern else {
        return Form::default();
    };
    Form::new(pattern).unwrap_or_else(|error| {
        mistakes.push(Mistake {
            place: source.place(&["ids", "tenant_pattern"]),
            message: format!("ids.tenant_pattern: {error}"),
        });
        Form::default()
    })
}

/// A built-in upstream that everybody has at an address of their own.
fn has_no_address(name: &str) -> bool {
    farebox_proxy::provider::find(name).is_some_and(|provider| provider.base_url.is_empty())
}

fn check_upstream(
    source: &Source<'_>,
    name: &str,
    upstream: &UpstreamConfig,
    built_in: &[&str],
    mistakes: &mut Vec<Mistake>,
) {
    let mut mistake = |key: &str, message: &str| {
        mistakes.push(Mistake {
            place: source.place(&["upstreams", name, key]),
            message: format!("upstreams.{name}: {message}"),
        });
    };
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if matches!(name, "t" | "s") {
        mistake(
            "",
            "`t` and `s` are prefixes of the path and cannot name an upstream",
        );
    } else if name.is_empty() || !name.chars().all(is_name) {
        mistake("", "a name is made of a–z, 0–9, `-`, `_` and `.`");
    }
    if !built_in.contains(&name) {
        match &upstream.dialect {
            None => mistake("", "an upstream that is not built in needs a dialect"),
            Some(dialect) if !built_in.contains(&dialect.as_str()) => {
                mistake(
                    "dialect",
                    &format!(
                        "there is no dialect {dialect:?}; known are {}",
                        built_in.join(", ")
                    ),
                );
            }
            Some(_) => {}
        }
        if upstream.base_url.is_none() {
            mistake("", "an upstream that is not built in needs a base_url");
        }
    } else if upstream.base_url.is_none() && has_no_address(name) {
        mistake("", "there is no address for all, it needs a base_url");
    }
    if let Some(url) = &upstream.base_url {
        let has_host = ["http://", "https://"]
            .iter()
            .filter_map(|scheme| url.strip_prefix(scheme))
            .any(|rest| !rest.is_empty() && !rest.starts_with('/'));
        if !has_host {
            mistake(
                "base_url",
                "base_url begins with http:// or https:// and names a host",
            );
        }
    }
    if upstream.credential_env.is_some() && upstream.credential_file.is_some() {
        mistake(
            "credential_file",
            "credential_env and credential_file exclude each other",
        );
    }
}

fn check_listeners(source: &Source<'_>, settings: &Settings, mistakes: &mut Vec<Mistake>) {
    let mut mistake = |path: [&str; 2], message: &str| {
        mistakes.push(Mistake {
            place: source.place(&path),
            message: format!("{}.{}: {message}", path[0], path[1]),
        });
    };
    let is_open = |addr: &SocketAddr| !addr.ip().is_loopback();
    let proxy = &settings.proxy;
    if proxy.listen.as_ref().is_some_and(is_open) && !proxy.allow_plaintext {
        mistake(
            ["proxy", "listen"],
            "plain HTTP off loopback shows keys and prompts; use [proxy.tls], or set proxy.allow_plaintext = true",
        );
    }
    if proxy.listen.is_none() && proxy.tls.is_none() {
        mistake(
            ["proxy", "listen"],
            "there is neither a plain nor a TLS listener",
        );
    }
    if is_open(&proxy.ops_listen) && settings.metrics.token.is_none() {
        mistake(
            ["proxy", "ops_listen"],
            "/metrics off loopback needs metrics.token_file",
        );
    }
    let collector = &settings.collector;
    if is_open(&collector.listen) && collector.tls.is_none() && !collector.allow_plaintext {
        mistake(
            ["collector", "listen"],
            "plain HTTP off loopback needs [collector.tls] or collector.allow_plaintext = true",
        );
    }
    if is_open(&collector.listen) && settings.metrics.token.is_none() {
        mistake(
            ["collector", "listen"],
            "/metrics off loopback needs metrics.token_file",
        );
    }
    let bounds = [
        (
            settings.spool.segment_bytes < 64 * 1024,
            ["spool", "segment_bytes"],
            "at least 65536",
        ),
        (
            settings.spool.bytes_max < 4 * settings.spool.segment_bytes,
            ["spool", "bytes_max"],
            "at least four segments",
        ),
        (
            settings.spool.sync_interval_ms == 0,
            ["spool", "sync_interval_ms"],
            "at least 1",
        ),
        (
            !(1..=1_000).contains(&settings.spool.ship_records_max),
            ["spool", "ship_records_max"],
            "between 1 and 1000, which is what a collector takes",
        ),
        (
            settings.stale_after_days == Some(0),
            ["keys", "stale_after_days"],
            "at least 1",
        ),
        (
            proxy.connections_max == 0,
            ["proxy", "connections_max"],
            "at least 1",
        ),
        (
            proxy.head_bytes_max < 8 * 1024,
            ["proxy", "head_bytes_max"],
            "at least 8192",
        ),
    ];
    for (is_wrong, path, message) in bounds {
        if is_wrong {
            mistake(path, message);
        }
    }
}

#[cfg(test)]
mod tests;
