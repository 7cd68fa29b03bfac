//! What a key may do, as it is asked for: its defaults, and what fits together.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use farebox_pricing::id;
use farebox_pricing::time::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use super::one_of;
use crate::api::page;
use crate::api::params::present;
use crate::error::ApiError;
use crate::principal::{SCOPE_ADMIN, SCOPE_READ};
use crate::records::keys::{NewKey, VirtualKey};

/// The scope that lets a key call through the proxy.
const SCOPE_PROXY: &str = "proxy";
/// Every scope there is.
const SCOPES: [&str; 3] = [SCOPE_PROXY, SCOPE_READ, SCOPE_ADMIN];
/// Entries of a list of a key's rights.
const ENTRIES_MAX: usize = 256;
/// Days without use that can be allowed.
pub(crate) const STALE_DAYS: RangeInclusive<i32> = 1..=3_650;

/// A key to issue.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issue {
    /// A name for people.
    pub(super) name: String,
    /// The key's own tenant; without one it speaks for nobody or for whom `may_attribute` says.
    #[serde(alias = "tenant")]
    pub(super) tenant_id: Option<String>,
    /// Which tenants a key without its own may name: `none`, `any`, `list` or `prefix`.
    pub(super) may_attribute: Option<String>,
    /// The list, or the one prefix.
    #[serde(default)]
    pub(super) may_attribute_values: Vec<String>,
    /// `proxy` (when not given), `usage:read`, `admin`.
    pub(super) scopes: Option<Vec<String>>,
    /// `live` (when not given) or `test`.
    pub(super) environment: Option<String>,
    /// The caller's own provider credential passes through.
    #[serde(default)]
    pub(super) own_credential: bool,
    /// Upstreams it may reach; all when not given.
    pub(super) allowed_upstreams: Option<Vec<String>>,
    /// Models it may ask for; all when not given.
    pub(super) allowed_models: Option<Vec<String>>,
    /// Functions and hosted tools its calls may offer a model; all when not given.
    pub(super) allowed_tools: Option<Vec<String>>,
    /// Networks in CIDR form it may come from; all when not given.
    pub(super) networks: Option<Vec<String>>,
    /// When it stops working; never when not given.
    pub(super) expires_at: Option<String>,
    /// Whether revocation cuts running streams (`cut`, when not given) or lets them `finish`.
    pub(super) revoke_streams: Option<String>,
    /// Projects it may name, and has to name one of; all when not given.
    pub(super) allowed_projects: Option<Vec<String>>,
    /// Days without use after which it is stale; as its tenant or the deployment says when not given.
    pub(super) stale_after_days: Option<i32>,
}

impl Issue {
    /// As the key stands, for a change of its rights.
    pub(super) fn of(key: &VirtualKey) -> Self {
        let key = key.clone();
        Self {
            name: key.name,
            tenant_id: key.tenant_id,
            may_attribute: Some(key.may_attribute),
            may_attribute_values: key.may_attribute_values,
            scopes: Some(key.scopes),
            environment: Some(key.environment),
            own_credential: key.own_credential,
            allowed_upstreams: key.allowed_upstreams,
            allowed_models: key.allowed_models,
            networks: key.networks,
            expires_at: key.expires_at,
            revoke_streams: Some(key.revoke_streams),
            allowed_projects: key.allowed_projects,
            allowed_tools: key.allowed_tools,
            stale_after_days: key.stale_after_days,
        }
    }
}

/// What to change of a key; what is left out stays. Its tenant and its environment are for ever.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KeyPatch {
    /// A name for people.
    name: Option<String>,
    /// Which tenants a key without its own may name: `none`, `any`, `list` or `prefix`.
    may_attribute: Option<String>,
    /// The list, or the one prefix; none when only `may_attribute` is given.
    may_attribute_values: Option<Vec<String>>,
    /// `proxy`, `usage:read`, `admin`.
    scopes: Option<Vec<String>>,
    /// The caller's own provider credential passes through.
    own_credential: Option<bool>,
    /// Upstreams it may reach; null: all.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_upstreams: Option<Option<Vec<String>>>,
    /// Models it may ask for; null: all.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_models: Option<Option<Vec<String>>>,
    /// Functions and hosted tools its calls may offer a model; null: all.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_tools: Option<Option<Vec<String>>>,
    /// Projects it may name, and has to name one of; null: all.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_projects: Option<Option<Vec<String>>>,
    /// Networks in CIDR form it may come from; null: all.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    networks: Option<Option<Vec<String>>>,
    /// When it stops working; null: never.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Option<String>>,
    /// `cut` or `finish`.
    revoke_streams: Option<String>,
    /// Days without use after which it is stale; null: as its tenant or the deployment says.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<i32>)]
    stale_after_days: Option<Option<i32>>,
}

impl KeyPatch {
    /// The key's rights with the changes in them.
    pub(super) fn onto(self, key: &VirtualKey) -> Issue {
        let mut changed = Issue::of(key);
        if let Some(name) = self.name {
            changed.name = name;
        }
        if let Some(may_attribute) = self.may_attribute {
            changed.may_attribute = Some(may_attribute);
            changed.may_attribute_values = Vec::new();
        }
        if let Some(values) = self.may_attribute_values {
            changed.may_attribute_values = values;
        }
        if let Some(scopes) = self.scopes {
            changed.scopes = Some(scopes);
        }
        changed.own_credential = self.own_credential.unwrap_or(changed.own_credential);
        for (place, patch) in [
            (&mut changed.allowed_upstreams, self.allowed_upstreams),
            (&mut changed.allowed_models, self.allowed_models),
            (&mut changed.allowed_projects, self.allowed_projects),
            (&mut changed.allowed_tools, self.allowed_tools),
            (&mut changed.networks, self.networks),
        ] {
            if let Some(patch) = patch {
                *place = patch;
            }
        }
        if let Some(expires_at) = self.expires_at {
            changed.expires_at = expires_at;
        }
        if let Some(revoke_streams) = self.revoke_streams {
            changed.revoke_streams = Some(revoke_streams);
        }
        if let Some(days) = self.stale_after_days {
            changed.stale_after_days = days;
        }
        changed
    }
}

/// What an issue asks for, with its defaults, once it has been found to be consistent.
#[derive(Debug)]
pub(super) struct Rights {
    may_attribute: String,
    scopes: Vec<String>,
    environment: String,
    revoke_streams: String,
    expires_at: Option<Timestamp>,
}

impl Rights {
    pub(super) fn of(asked: &Issue) -> Result<Self, ApiError> {
        let or = |given: &Option<String>, default: &str| {
            given.clone().unwrap_or_else(|| default.to_owned())
        };
        id::check(&asked.name).map_err(|cause| ApiError::invalid("name", cause.to_string()))?;
        if let Some(tenant_id) = &asked.tenant_id {
            id::check(tenant_id)
                .map_err(|cause| ApiError::invalid("tenant_id", cause.to_string()))?;
        }
        let rights = Self {
            may_attribute: or(&asked.may_attribute, "none"),
            scopes: asked
                .scopes
                .clone()
                .unwrap_or_else(|| vec![SCOPE_PROXY.to_owned()]),
            environment: or(&asked.environment, "live"),
            revoke_streams: or(&asked.revoke_streams, "cut"),
            expires_at: page::time("expires_at", asked.expires_at.as_deref())?,
        };
        one_of("environment", &rights.environment, &["live", "test"])?;
        one_of("revoke_streams", &rights.revoke_streams, &["cut", "finish"])?;
        rights.check_attribution(asked)?;
        rights.check_scopes(asked)?;
        check_entries("allowed_upstreams", asked.allowed_upstreams.as_deref())?;
        check_entries("allowed_models", asked.allowed_models.as_deref())?;
        check_entries("allowed_projects", asked.allowed_projects.as_deref())?;
        check_entries("allowed_tools", asked.allowed_tools.as_deref())?;
        check_entries("networks", asked.networks.as_deref())?;
        if asked
            .stale_after_days
            .is_some_and(|days| !STALE_DAYS.contains(&days))
        {
            return Err(ApiError::invalid("stale_after_days", "between 1 and 3650"));
        }
        if !asked.networks.iter().flatten().all(|text| is_network(text)) {
            return Err(ApiError::invalid("networks", "addresses or CIDR networks"));
        }
        Ok(rights)
    }

    fn check_attribution(&self, asked: &Issue) -> Result<(), ApiError> {
        let field = "may_attribute";
        let values = &asked.may_attribute_values;
        one_of(
            field,
            &self.may_attribute,
            &["none", "any", "list", "prefix"],
        )?;
        if asked.tenant_id.is_some() && self.may_attribute != "none" {
            return Err(ApiError::invalid(
                field,
                "a key with a tenant speaks for that tenant only",
            ));
        }
        let is_count_right = match self.may_attribute.as_str() {
            "list" => (1..=ENTRIES_MAX).contains(&values.len()),
            "prefix" => values.len() == 1,
            _ => values.is_empty(),
        };
        if !is_count_right || values.iter().any(|text| id::check(text).is_err()) {
            return Err(ApiError::invalid(
                "may_attribute_values",
                "tenants for `list`, one beginning for `prefix`, none otherwise",
            ));
        }
        Ok(())
    }

    fn check_scopes(&self, asked: &Issue) -> Result<(), ApiError> {
        if self.scopes.is_empty() {
            return Err(ApiError::invalid("scopes", "at least one"));
        }
        for scope in &self.scopes {
            one_of("scopes", scope, &SCOPES)?;
        }
        let is_reader = self.scopes.iter().any(|scope| scope != SCOPE_PROXY);
        if is_reader && asked.tenant_id.is_none() {
            return Err(ApiError::invalid(
                "tenant_id",
                "a key that reads or manages does so for its own tenant",
            ));
        }
        Ok(())
    }

    pub(super) fn key<'a>(
        &'a self,
        asked: &'a Issue,
        prefix: &'a str,
        secret_hash: &'a str,
        issued_by: &'a str,
    ) -> NewKey<'a> {
        NewKey {
            prefix,
            secret_hash,
            name: &asked.name,
            tenant_id: asked.tenant_id.as_deref(),
            may_attribute: &self.may_attribute,
            may_attribute_values: &asked.may_attribute_values,
            scopes: &self.scopes,
            environment: &self.environment,
            own_credential: asked.own_credential,
            allowed_upstreams: asked.allowed_upstreams.as_deref(),
            allowed_models: asked.allowed_models.as_deref(),
            networks: asked.networks.as_deref(),
            expires_at: self.expires_at,
            revoke_streams: &self.revoke_streams,
            issued_by,
            allowed_projects: asked.allowed_projects.as_deref(),
            allowed_tools: asked.allowed_tools.as_deref(),
            stale_after_days: asked.stale_after_days,
            rotated_from: None,
        }
    }
}

/// A list that lets nothing through is a mistake, and there are no wildcards: leaving the list out
/// is how to say all.
fn check_entries(field: &str, entries: Option<&[String]>) -> Result<(), ApiError> {
    let Some(entries) = entries else {
        return Ok(());
    };
    if entries.is_empty() || entries.len() > ENTRIES_MAX {
        return Err(ApiError::invalid(
            field,
            format!("between 1 and {ENTRIES_MAX} entries; leave it out for all"),
        ));
    }
    let may_be_pattern = matches!(field, "allowed_models" | "allowed_tools");
    let is_plain =
        |entry: &String| id::check(entry).is_ok() && (may_be_pattern || !entry.contains('*'));
    if !entries.iter().all(is_plain) {
        return Err(ApiError::invalid(field, "names without wildcards"));
    }
    Ok(())
}

fn is_network(text: &str) -> bool {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    // Digits only: a sign would pass here and fail in Postgres.
    bits.is_none_or(|bits| {
        bits.bytes().all(|byte| byte.is_ascii_digit())
            && bits.parse::<u8>().is_ok_and(|bits| bits <= bits_max)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operation::read;

    fn rights(body: &str) -> Result<Rights, String> {
        let asked: Issue = read(body.as_bytes()).map_err(|error| error.code.to_owned())?;
        Rights::of(&asked).map_err(|error| error.field.unwrap_or_default())
    }

    #[test]
    fn a_key_that_asks_for_little_gets_the_defaults() {
        let rights = rights(r#"{"name":"ci","tenant":"acme"}"#).unwrap();
        assert_eq!(rights.scopes, ["proxy"]);
        assert_eq!(
            (rights.environment.as_str(), rights.may_attribute.as_str()),
            ("live", "none")
        );
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_name() {
        let check =
            |body: &str, field: &str| assert_eq!(rights(body).unwrap_err(), field, "{body}");
        check(r#"{"name":""}"#, "name");
        check(r#"{"name":"a","tenent":"b"}"#, "malformed_request");
        check(
            r#"{"name":"a","tenant_id":"b","may_attribute":"any"}"#,
            "may_attribute",
        );
        check(
            r#"{"name":"a","may_attribute":"list"}"#,
            "may_attribute_values",
        );
        check(
            r#"{"name":"a","may_attribute":"prefix","may_attribute_values":["a","b"]}"#,
            "may_attribute_values",
        );
        check(
            r#"{"name":"a","may_attribute_values":["a"]}"#,
            "may_attribute_values",
        );
        check(r#"{"name":"a","scopes":[]}"#, "scopes");
        check(r#"{"name":"a","scopes":["root"]}"#, "scopes");
        check(r#"{"name":"a","scopes":["usage:read"]}"#, "tenant_id");
        check(r#"{"name":"a","environment":"prod"}"#, "environment");
        check(
            r#"{"name":"a","allowed_upstreams":[]}"#,
            "allowed_upstreams",
        );
        check(
            r#"{"name":"a","allowed_upstreams":["open*"]}"#,
            "allowed_upstreams",
        );
        check(r#"{"name":"a","networks":["10.0.0.0/33"]}"#, "networks");
        check(r#"{"name":"a","networks":["example.com"]}"#, "networks");
        check(r#"{"name":"a","expires_at":"tomorrow"}"#, "expires_at");
    }

    #[test]
    fn networks_are_addresses_with_or_without_bits() {
        for fine in ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"] {
            assert!(is_network(fine), "{fine}");
        }
    }
}
