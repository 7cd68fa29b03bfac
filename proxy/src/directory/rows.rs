//! What the directory knows of tenants and virtual keys, in its final types.
//!
//! A row is what the collector's views said, parsed once. What cannot be understood is read as the
//! narrower right: an unknown word never widens what a key may do.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use farebox_pricing::event::Environment;
use farebox_pricing::id::TenantId;
use farebox_pricing::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Network;
use crate::attribution::MetadataSchema;
use crate::config::{OnDownstreamGone, OnUnrecordable, SpoolSync, StreamUsage};

/// Whether a tenant may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// It may.
    Active,
    /// 403 `tenant_suspended`.
    Suspended,
    /// Gone for good; answered as a suspended one.
    Archived,
}

/// What to do with a model that has no price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnpricedModels {
    /// The call passes and its row is `unpriced`.
    #[default]
    Allow,
    /// 403 `model_unpriced`.
    Refuse,
}

/// A tenant's settings that the proxy obeys. `None`: the deployment's own default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantSettings {
    /// A spool that cannot take an intent.
    pub on_unrecordable: OnUnrecordable,
    /// An answer whose caller went away.
    pub on_downstream_gone: OnDownstreamGone,
    /// When an intent is safe from a power cut.
    pub spool_sync: Option<SpoolSync>,
    /// Whether usage is asked for on streams.
    pub stream_usage: Option<StreamUsage>,
    /// Models without a price.
    pub unpriced_models: UnpricedModels,
    /// What its suspension does to running streams.
    pub suspend_streams: RevokeStreams,
}

impl TenantSettings {
    /// Reads the settings it knows; an unknown value of a known key is as if it were not set, and
    /// is counted, so that one mistyped setting does not take the others with it.
    #[must_use]
    pub fn parse(settings: &serde_json::Value) -> (Self, usize) {
        let mut unknown = 0;
        let read = |name: &str| {
            let value = settings.get(name).filter(|value| !value.is_null())?;
            Some((name.to_owned(), value.clone()))
        };
        let on_unrecordable = typed(read("on_unrecordable"), &mut unknown).unwrap_or_default();
        let on_downstream_gone =
            typed(read("on_downstream_gone"), &mut unknown).unwrap_or_default();
        let spool_sync = typed(read("spool_sync"), &mut unknown);
        let stream_usage = typed(read("stream_usage"), &mut unknown);
        let unpriced_models = typed(read("unpriced_models"), &mut unknown).unwrap_or_default();
        let suspend_streams = typed(read("suspend_streams"), &mut unknown).unwrap_or_default();
        let parsed = Self {
            suspend_streams,
            on_unrecordable,
            on_downstream_gone,
            spool_sync,
            stream_usage,
            unpriced_models,
        };
        (parsed, unknown)
    }
}

fn typed<T: for<'de> Deserialize<'de>>(
    found: Option<(String, serde_json::Value)>,
    unknown: &mut usize,
) -> Option<T> {
    let (name, value) = found?;
    let parsed = serde_json::from_value(value).ok();
    if parsed.is_none() {
        *unknown += 1;
        tracing::warn!(setting = name, "a tenant's setting has an unknown value");
    }
    parsed
}

/// One tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its identifier.
    pub tenant_id: TenantId,
    /// Whether it may call.
    pub status: TenantStatus,
    /// Why it may not, in the operator's words.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// Its settings as they were written, for the copy on disk.
    settings_json: serde_json::Value,
    /// Its plan, by which it may be charged.
    #[serde(default)]
    pub plan: Option<String>,
    /// Where its days and months begin.
    #[serde(default)]
    zones: TimeZones,
    #[serde(skip)]
    parsed: OnceLock<TenantSettings>,
    #[serde(skip)]
    metadata_schema: OnceLock<Option<MetadataSchema>>,
    #[serde(skip)]
    lists: OnceLock<TenantLists>,
}

/// A tenant's time zone; a changed one counts from the next month.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeZones {
    /// IANA name; empty: UTC.
    pub zone: String,
    /// The one that holds before [`Self::from`].
    pub before: Option<String>,
    /// First day of [`Self::zone`].
    pub from: Option<String>,
}

/// What a tenant's calls may ask for; `None`: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TenantLists {
    /// Models: names, with or without a date, or patterns.
    pub allowed_models: Option<Vec<String>>,
    /// Upstreams.
    pub allowed_upstreams: Option<Vec<String>>,
    /// Functions and hosted tools.
    pub allowed_tools: Option<Vec<String>>,
    /// Agents it may have.
    pub agents_max: Option<u64>,
}

impl Tenant {
    /// A tenant with its settings as written.
    #[must_use]
    pub fn new(tenant_id: TenantId, status: TenantStatus, settings: serde_json::Value) -> Self {
        Self {
            tenant_id,
            status,
            status_reason: None,
            settings_json: settings,
            plan: None,
            zones: TimeZones::default(),
            parsed: OnceLock::new(),
            metadata_schema: OnceLock::new(),
            lists: OnceLock::new(),
        }
    }

    /// The same on a plan.
    #[must_use]
    pub fn on_plan(self, plan: Option<String>) -> Self {
        Self { plan, ..self }
    }

    /// The same tenant with its time zones.
    #[must_use]
    pub fn in_zones(mut self, zones: TimeZones) -> Self {
        self.zones = zones;
        self
    }

    /// Where its days and months begin.
    #[must_use]
    pub fn zones(&self) -> &TimeZones {
        &self.zones
    }

    /// What its calls may ask for. Lists that cannot be read let nothing pass.
    #[must_use]
    pub fn lists(&self) -> &TenantLists {
        self.lists.get_or_init(|| {
            TenantLists::deserialize(&self.settings_json).unwrap_or_else(|error| {
                tracing::error!(tenant = %self.tenant_id, %error, "a tenant's lists cannot be read");
                TenantLists {
                    allowed_models: Some(Vec::new()),
                    allowed_upstreams: Some(Vec::new()),
                    allowed_tools: Some(Vec::new()),
                    agents_max: Some(0),
                }
            })
        })
    }

    /// Whether it may reach an upstream.
    #[must_use]
    pub fn may_reach(&self, upstream: &str) -> bool {
        is_listed(self.lists().allowed_upstreams.as_deref(), upstream)
    }

    /// Whether it may use a model.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        is_model_listed(self.lists().allowed_models.as_deref(), model)
    }

    /// The settings the proxy obeys.
    #[must_use]
    pub fn settings(&self) -> &TenantSettings {
        self.parsed
            .get_or_init(|| TenantSettings::parse(&self.settings_json).0)
    }

    /// What its calls' metadata have to look like; `None`: anything.
    #[must_use]
    pub fn metadata_schema(&self) -> Option<&MetadataSchema> {
        let schema = self.metadata_schema.get_or_init(|| {
            let written = self.settings_json.get("metadata_schema")?;
            MetadataSchema::read(written)
        });
        schema.as_ref()
    }

    /// Whether its running streams have to end.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        !self.is_active() && self.settings().suspend_streams == RevokeStreams::Cut
    }

    /// Whether it may call.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == TenantStatus::Active
    }
}

/// Which tenants a key may name that is not a tenant's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MayAttribute {
    /// None.
    #[default]
    None,
    /// Every tenant.
    Any,
    /// Those listed.
    List,
    /// Those that begin with one of the listed texts.
    Prefix,
}

/// What a revocation does to running streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokeStreams {
    /// They are cut.
    #[default]
    Cut,
    /// They may finish.
    Finish,
}

/// An argon2 hash in its text form; `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretHash(Arc<str>);

impl SecretHash {
    /// Wraps the PHC text.
    #[must_use]
    pub fn new(phc: &str) -> Self {
        Self(phc.into())
    }

    /// The PHC text, for the one place that verifies.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

/// The SHA-256 of a value that argon2 has verified; lives and dies with its row.
#[derive(Clone, Default)]
pub struct Remembered(OnceLock<[u8; 32]>);

impl Remembered {
    /// Whether this is the digest of the value verified earlier.
    #[must_use]
    pub fn is(&self, digest: &[u8; 32]) -> bool {
        self.0.get() == Some(digest)
    }

    /// Remembers a verified value's digest. The first one stays: a hash has one right value.
    pub fn remember(&self, digest: [u8; 32]) {
        let _ = self.0.set(digest);
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remembered({})", self.0.get().is_some())
    }
}

/// One virtual key, without the key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyRow {
    /// Its identity.
    pub key_id: Uuid,
    /// The first eight characters, unique.
    pub prefix: String,
    /// argon2id of the whole key.
    pub secret_hash: SecretHash,
    /// Its name, for people.
    pub name: String,
    /// The tenant it belongs to.
    pub tenant_id: Option<TenantId>,
    /// Which tenants it may name, when it belongs to none.
    pub may_attribute: MayAttribute,
    /// What `list` and `prefix` speak of.
    pub may_attribute_values: Vec<String>,
    /// What it may do: `proxy`, `usage:read`, ….
    pub scopes: Vec<String>,
    /// Live or test.
    pub environment: Environment,
    /// The caller's own provider credential passes through.
    pub own_credential: bool,
    /// `None`: all.
    pub allowed_upstreams: Option<Vec<String>>,
    /// `None`: all.
    pub allowed_models: Option<Vec<String>>,
    /// `None`: all, and none at all.
    #[serde(default)]
    pub allowed_projects: Option<Vec<String>>,
    /// Functions and hosted tools; `None`: all.
    #[serde(default)]
    pub allowed_tools: Option<Vec<String>>,
    /// `None`: every address.
    pub networks: Option<Vec<Network>>,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
    /// Refused when set.
    pub revoked_at: Option<Timestamp>,
    /// What its revocation does to running streams.
    pub revoke_streams: RevokeStreams,
    /// Of this proxy alone, never stored.
    #[serde(skip)]
    pub remembered: Remembered,
}

impl KeyRow {
    /// Whether a key without a tenant of its own may name this one.
    #[must_use]
    pub fn may_name(&self, tenant: &str) -> bool {
        let mut values = self.may_attribute_values.iter();
        match self.may_attribute {
            MayAttribute::None => false,
            MayAttribute::Any => true,
            MayAttribute::List => values.any(|value| value == tenant),
            MayAttribute::Prefix => values.any(|value| tenant.starts_with(value.as_str())),
        }
    }

    /// Whether the key has a scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|own| own == scope)
    }

    /// Whether the key may reach an upstream.
    #[must_use]
    pub fn may_reach(&self, upstream: &str) -> bool {
        is_listed(self.allowed_upstreams.as_deref(), upstream)
    }

    /// Whether the key may speak for a project; one with a list may not leave it out.
    #[must_use]
    pub fn may_work_on(&self, project: Option<&str>) -> bool {
        let list = self.allowed_projects.as_deref();
        list.is_none_or(|_| project.is_some_and(|project| is_listed(list, project)))
    }

    /// Whether the key may use a model: by its name, by its name without a date, or by a pattern.
    #[must_use]
    pub fn may_use(&self, model: &str) -> bool {
        is_model_listed(self.allowed_models.as_deref(), model)
    }

    /// Whether the key may be used from an address.
    #[must_use]
    pub fn may_come_from(&self, address: IpAddr) -> bool {
        self.networks
            .as_deref()
            .is_none_or(|networks| networks.iter().any(|network| network.holds(address)))
    }
}

/// `gpt-4o` names `gpt-4o-2024-08-06` too, but not `gpt-4o-mini`; `*` stands for any characters.
pub(super) fn is_named_by(model: &str, entry: &str) -> bool {
    if entry.contains('*') {
        return fits(entry.as_bytes(), model.as_bytes());
    }
    model
        .strip_prefix(entry)
        .is_some_and(|rest| rest.is_empty() || is_date(rest))
}

/// `-2024-08-06` or `-20240806`.
fn is_date(suffix: &str) -> bool {
    let digits = suffix.bytes().filter(u8::is_ascii_digit).count();
    let has_form = |form: &str| {
        suffix.len() == form.len()
            && suffix
                .bytes()
                .zip(form.bytes())
                .all(|(byte, wanted)| (byte == b'-') == (wanted == b'-'))
    };
    digits == 8 && (has_form("-dddddddd") || has_form("-dddd-dd-dd"))
}

/// Whether a pattern fits; goes back to the last `*` only, so that no pattern takes long.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                Some((star_at, from)) => {
                    star = Some((star_at, from + 1));
                    at = star_at + 1;
                    seen = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Whether a function or a hosted tool is on a list: by its name, by its name without a date, or by
/// a pattern.
#[must_use]
pub fn is_tool_listed(list: &[String], tool: &str) -> bool {
    let undated = tool.rsplit_once('_').map_or(tool, |(name, end)| {
        let is_date = end.len() == 8 && end.bytes().all(|byte| byte.is_ascii_digit());
        if is_date { name } else { tool }
    });
    list.iter()
        .any(|entry| is_named_by(tool, entry) || is_named_by(undated, entry))
}

fn is_model_listed(list: Option<&[String]>, model: &str) -> bool {
    list.is_none_or(|list| list.iter().any(|entry| is_named_by(model, entry)))
}

fn is_listed(list: Option<&[String]>, value: &str) -> bool {
    list.is_none_or(|list| list.iter().any(|entry| entry == value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mistyped_setting_leaves_the_others() {
        let settings = serde_json::json!({
            "on_unrecordable": "refuse",
            "spool_sync": "sometimes",
            "stream_usage": "ask",
            "colour": "green",
        });
        let (parsed, unknown) = TenantSettings::parse(&settings);
        assert_eq!(unknown, 1);
        assert_eq!(parsed.on_unrecordable, OnUnrecordable::Refuse);
        assert_eq!(parsed.spool_sync, None);
        assert_eq!(parsed.stream_usage, Some(StreamUsage::Ask));
        assert_eq!(parsed.unpriced_models, UnpricedModels::Allow);
    }

    #[test]
    fn a_hash_does_not_show_itself() {
        assert_eq!(
            format!("{:?}", SecretHash::new("$argon2id$v=19$x")),
            "SecretHash(…)"
        );
    }

    #[test]
    fn a_model_is_named_whole_by_its_date_or_by_a_pattern() {
        for (entry, model, is_named) in [
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "gpt-4o-2024-08-06", true),
            ("claude-sonnet-4", "claude-sonnet-4-20250514", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("gpt-4o", "gpt-4o-mini-2024-07-18", false),
            ("gpt-4o", "gpt-4o-2024-0806", false),
            ("gpt-4o-2024-08-06", "gpt-4o", false),
            ("gpt-4o*", "gpt-4o-mini", true),
            ("*-mini", "gpt-4o-mini", true),
            ("*-mini", "gpt-4o-mini-2024-07-18", false),
            ("gpt-*-mini*", "gpt-4o-mini-2024-07-18", true),
            ("*", "anything", true),
            ("*", "", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("", "gpt-4o", false),
        ] {
            assert_eq!(is_named_by(model, entry), is_named, "{entry} {model}");
        }
    }
}
