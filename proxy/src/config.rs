//! What the proxy can be told, in its final types. Loading, the environment and the gathering of
//! mistakes are the program's; defaults stand here and nowhere else.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use farebox_pricing::id::Form;
use farebox_pricing::vault::MasterKeys;
use serde::Deserialize;

/// A text that never shows itself.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that sends or compares it.
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

/// What to do with a caller that shows no virtual key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anonymous {
    /// 401 `missing_key`.
    #[default]
    Refuse,
    /// A trusted network: the tenant header is believed, the caller's own credential passes through.
    Header,
}

/// What to do with a call that names no tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unattributed {
    /// It passes and its rows have a null tenant.
    #[default]
    Accept,
    /// 400 `tenant_required`.
    Refuse,
}

/// What to do with a tenant that the directory does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownTenant {
    /// It passes; the collector creates the tenant with its first event.
    #[default]
    Create,
    /// 404 `unknown_tenant`.
    Refuse,
}

/// Whether a tenant is read from the request body's metadata.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyTenant {
    /// Never.
    #[default]
    Ignore,
    /// When nothing earlier gave a tenant.
    Read,
}

/// What to do with a route that the provider's table does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownRoutes {
    /// 404 `unknown_route`.
    Refuse,
    /// Forwarded; an event with `usage_source = missing`.
    Forward,
}

/// Whether limits are applied at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limits {
    /// Applied.
    #[default]
    On,
    /// The kill switch: calls are metered and none is refused for a limit.
    Off,
}

/// Whether usage is asked for on streams that would send none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamUsage {
    /// Spliced into the request, removed from the answer.
    Ask,
    /// Nothing is changed.
    Untouched,
}

/// A TLS listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Certificate chain, PEM; read again when the file changes.
    pub cert: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Accept only clients with a certificate of this authority, PEM.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// One upstream: a built-in one needs only what differs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// `openai` and the like, for an upstream that is not built in.
    pub dialect: Option<String>,
    /// Scheme, host, port and an optional path prefix.
    pub base_url: Option<String>,
    /// Name of the environment variable that holds the operator's credential.
    pub credential_env: Option<String>,
    /// File that holds the operator's credential.
    pub credential_file: Option<PathBuf>,
    /// The operator's credential, resolved by the program from the two above.
    #[serde(skip)]
    pub credential: Option<Secret>,
    /// Overrides the provider's own default.
    pub stream_usage: Option<StreamUsage>,
    /// Lets every tenant reach every stored object and list them.
    pub shared_state: bool,
    /// `forward` lets routes through that mint tokens which bypass metering.
    pub escape_routes: EscapeRoutes,
    /// Extra certificate authorities for this upstream, PEM.
    pub ca_file: Option<PathBuf>,
    /// The region, for the event.
    pub region: Option<String>,
}

/// Routes that mint tokens or sessions which bypass metering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EscapeRoutes {
    /// 403 `route_not_allowed`.
    #[default]
    Refuse,
    /// Forwarded.
    Forward,
}

/// The section `[proxy]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyConfig {
    /// Plain HTTP/1.1 and h2c; `None` with `listen = ""`.
    pub listen: Option<SocketAddr>,
    /// TLS with ALPN h2 and http/1.1.
    pub tls: Option<TlsConfig>,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub ops_listen: SocketAddr,
    /// Lets the plain listener stand off loopback.
    pub allow_plaintext: bool,
    /// Callers without a virtual key.
    pub anonymous: Anonymous,
    /// Calls without a tenant.
    pub unattributed: Unattributed,
    /// Tenants the directory does not know.
    pub unknown_tenant: UnknownTenant,
    /// Tenant from the body.
    pub body_tenant: BodyTenant,
    /// Routes outside the table; unset: by whose credential is used.
    pub unknown_routes: Option<UnknownRoutes>,
    /// The kill switch.
    pub limits: Limits,
    /// What a proxy was granted of limits holds so long after its last word.
    pub lease_grace_seconds: u64,
    /// Where test keys go.
    pub test_upstream: Option<String>,
    /// Header names that mean a header of ours: `alias → x-farebox-…`.
    pub header_aliases: BTreeMap<String, String>,
    /// Worker threads; 0: one a core.
    pub workers: usize,
    /// Most connections open at once; above it a connection waits in the listener's backlog.
    pub connections_max: usize,
    /// Most bytes of a request head; above it 431.
    pub head_bytes_max: usize,
    /// Most bytes of a request body held for a decision.
    pub request_hold_bytes_max: usize,
    /// A request head must be complete within this; an idle connection is kept as long.
    pub head_timeout_ms: u64,
    /// A request body that is held must arrive within this, and any body may pause no longer.
    pub body_timeout_ms: u64,
    /// A caller that takes no byte of the answer for this long is cut.
    pub downstream_write_timeout_ms: u64,
    /// Connecting to an upstream, TLS included.
    pub connect_timeout_ms: u64,
    /// To an upstream's first response byte.
    pub first_byte_timeout_ms: u64,
    /// Between two bytes of an upstream's answer.
    pub upstream_idle_timeout_ms: u64,
    /// An idle upstream connection is kept this long.
    pub upstream_keepalive_ms: u64,
    /// Idle upstream connections kept for each worker and upstream.
    pub upstream_idle_max: usize,
    /// Longest wait for the collector to say who owns something kept by a vendor.
    pub state_lookup_ms: u64,
    /// Between two checkpoints of a running WebSocket.
    pub socket_settle_seconds: u64,
    /// Running streams may finish this long after SIGTERM.
    pub drain_seconds: u64,
    /// The spool may ship this long after the last stream.
    pub drain_ship_seconds: u64,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        let aliases = [
            ("x-llmobserve-tenant-id", "x-farebox-tenant"),
            ("x-llmobserve-customer-id", "x-farebox-customer"),
            ("x-customer-id", "x-farebox-customer"),
        ];
        Self {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
            tls: None,
            ops_listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            allow_plaintext: false,
            anonymous: Anonymous::default(),
            unattributed: Unattributed::default(),
            unknown_tenant: UnknownTenant::default(),
            body_tenant: BodyTenant::default(),
            unknown_routes: None,
            limits: Limits::default(),
            lease_grace_seconds: 900,
            test_upstream: None,
            header_aliases: aliases
                .map(|(from, to)| (from.to_owned(), to.to_owned()))
                .into(),
            workers: 0,
            connections_max: 16_384,
            head_bytes_max: 64 * 1024,
            request_hold_bytes_max: 8 * 1024 * 1024,
            head_timeout_ms: 75_000,
            body_timeout_ms: 60_000,
            downstream_write_timeout_ms: 60_000,
            connect_timeout_ms: 10_000,
            first_byte_timeout_ms: 600_000,
            upstream_idle_timeout_ms: 600_000,
            upstream_keepalive_ms: 60_000,
            upstream_idle_max: 256,
            state_lookup_ms: 1_000,
            socket_settle_seconds: 60,
            drain_seconds: 30,
            drain_ship_seconds: 5,
        }
    }
}

/// When an intent is safe from a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpoolSync {
    /// Within `sync_interval_ms`.
    #[default]
    Interval,
    /// Before the upstream sees a byte.
    BeforeUpstream,
}

/// What to do with a call whose intent the spool cannot take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnrecordable {
    /// It passes; one row a minute says so.
    #[default]
    Allow,
    /// 503 `cannot_record`.
    Refuse,
}

/// What to do with an answer whose caller went away before its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDownstreamGone {
    /// The upstream is stopped; what it may bill has bounds.
    #[default]
    Cancel,
    /// It is read to its end, within bounds, for the provider's own count.
    Drain,
}

/// The section `[spool]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolConfig {
    /// Its directory; unset: `spool` in the data directory.
    pub dir: Option<PathBuf>,
    /// Most bytes on disk, room for settlements in flight included.
    pub bytes_max: u64,
    /// Bytes of one segment.
    pub segment_bytes: u64,
    /// Longest time between an append and its sync.
    pub sync_interval_ms: u64,
    /// Default of the tenants' setting.
    pub sync: SpoolSync,
    /// Records in one batch to the collector.
    pub ship_records_max: usize,
    /// Bytes in one batch to the collector, before compression.
    pub ship_bytes_max: usize,
    /// How batches are compressed.
    pub ship_compression: ShipCompression,
}

/// How batches to the collector are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShipCompression {
    /// zstd, and not at all to a collector on this machine.
    #[default]
    Auto,
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        Self {
            dir: None,
            bytes_max: 1024 * 1024 * 1024,
            segment_bytes: 16 * 1024 * 1024,
            sync_interval_ms: 20,
            sync: SpoolSync::default(),
            ship_records_max: 1_000,
            ship_bytes_max: 4 * 1024 * 1024,
            ship_compression: ShipCompression::default(),
        }
    }
}

/// The section `[metrics]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsConfig {
    /// Tenants with series of their own; the rest is `other`.
    pub max_tenants: usize,
    /// Models with series of their own; the rest is `other`.
    pub max_models: usize,
    /// File with the bearer token that `/metrics` asks for; needed off loopback.
    pub token_file: Option<PathBuf>,
    /// The token, resolved by the program.
    #[serde(skip)]
    pub token: Option<Secret>,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            max_tenants: 500,
            max_models: 500,
            token_file: None,
            token: None,
        }
    }
}

/// Where settled events go.
#[derive(Clone, Debug)]
pub struct ShipTo {
    /// The collector, `http://` or `https://`.
    pub collector_url: String,
    /// This node's ingest token.
    pub ingest_token: Secret,
    /// Extra certificate authority for the collector, PEM.
    pub ca_file: Option<PathBuf>,
}

/// Everything `run` needs, put together by the program.
#[derive(Clone, Debug)]
pub struct Config {
    /// Section `[proxy]`.
    pub proxy: ProxyConfig,
    /// Section `[spool]`, with `dir` set.
    pub spool: SpoolConfig,
    /// Section `[metrics]`.
    pub metrics: MetricsConfig,
    /// Sections `[upstreams.*]`; built-in ones need not appear.
    pub upstreams: BTreeMap<String, UpstreamConfig>,
    /// Postgres for the directory (role `farebox_proxy`); `None`: last good copy only.
    pub database_url: Option<Secret>,
    /// A direct address for LISTEN behind a transaction pooler.
    pub database_listen_url: Option<Secret>,
    /// Secrets of the virtual keys' tails; the first signs, all verify.
    pub key_secrets: Vec<Secret>,
    /// Master keys of the credential vault; `None`: nothing of it opens here.
    pub master_keys: Option<Arc<MasterKeys>>,
    /// What a tenant's identifier has to look like.
    pub tenant_form: Form,
    /// The collector; `None`: events stay in the spool.
    pub ship_to: Option<ShipTo>,
    /// Where the directory's last good copy is kept, 0600.
    pub directory_copy: PathBuf,
}
