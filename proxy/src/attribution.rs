//! What a call says of itself: tenant, customer, session and the other labels, from headers, path
//! and query, in the order of precedence.

use std::borrow::Cow;
use std::collections::BTreeMap;

use farebox_pricing::event::Attribution;
use farebox_pricing::evidence::is_storable;
use farebox_pricing::id::{self, TenantId};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode;
use serde_json::Value;

use crate::failure::{Code, Refusal};
use crate::headers::OWN_PREFIX;
use crate::route::Route;

mod schema;

pub use schema::MetadataSchema;

/// Most keys of the metadata header.
pub const METADATA_KEYS_MAX: usize = 16;
/// Most bytes of the metadata header.
pub const METADATA_BYTES_MAX: usize = 4 * 1024;

/// Labels of a call, already made to fit.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// Tenants named by header, path and query, the one that takes precedence first.
    pub named_tenants: Vec<(TenantId, Attribution)>,
    /// See the event's fields of the same names.
    pub customer_id: Option<String>,
    /// See the event.
    pub project: Option<String>,
    /// See the event.
    pub agent: Option<String>,
    /// See the event.
    pub revision: Option<String>,
    /// See the event.
    pub session_id: Option<String>,
    /// See the event.
    pub run_id: Option<String>,
    /// See the event.
    pub span_id: Option<String>,
    /// See the event.
    pub parent_span_id: Option<String>,
    /// See the event.
    pub section: Option<String>,
    /// See the event.
    pub metadata: BTreeMap<String, Value>,
    /// See the event.
    pub synthetic: bool,
    /// A text had to be made to fit.
    pub sanitised: bool,
    /// The SDK's own retry count.
    pub client_retry: Option<u32>,
}

/// Header names that mean one of ours. A handful, looked at for each header of each call: comparing
/// them in turn costs less than hashing one name.
#[derive(Debug, Default)]
pub struct Aliases(Vec<(HeaderName, String)>);

impl Aliases {
    /// From configuration; a name that is no header is an error with its text.
    pub fn new(configured: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut aliases = Vec::new();
        for (alias, ours) in configured {
            let name: HeaderName = alias
                .parse()
                .map_err(|_| format!("proxy.header_aliases: {alias} is not a header name"))?;
            let ours = ours.strip_prefix(OWN_PREFIX).ok_or_else(|| {
                format!("proxy.header_aliases: {ours} does not begin with {OWN_PREFIX}")
            })?;
            aliases.push((name, ours.to_owned()));
        }
        Ok(Self(aliases))
    }

    /// Whether the header ends here because it means one of ours.
    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.ours(name).is_some()
    }

    fn ours(&self, name: &HeaderName) -> Option<&str> {
        let found = self.0.iter().find(|(alias, _)| alias == name);
        found.map(|(_, ours)| ours.as_str())
    }
}

/// Reads every label. A tenant that is no identifier is refused; other labels are made to fit.
pub fn read(headers: &HeaderMap, route: &Route<'_>, aliases: &Aliases) -> Result<Labels, Refusal> {
    let mut labels = Labels::default();
    for (name, value) in headers {
        let name = name.as_str();
        if let Some(ours) = name.strip_prefix(OWN_PREFIX) {
            labels.take(ours, value, false)?;
        } else if name == "traceparent" {
            labels.take_traceparent(value);
        } else if name == "x-stainless-retry-count" {
            labels.client_retry = client_retry(value);
        }
    }
    if !aliases.0.is_empty() {
        for (name, value) in headers {
            if let Some(ours) = aliases.ours(name) {
                labels.take(ours, value, true)?;
            }
        }
    }
    for (text, attribution) in [
        (&route.path_tenant, Attribution::Path),
        (&route.query_tenant, Attribution::Query),
    ] {
        let Some(text) = text else { continue };
        labels.named_tenants.push((tenant(text)?, attribution));
    }
    for session in [&route.path_session, &route.query_session]
        .into_iter()
        .flatten()
    {
        if labels.session_id.is_none() {
            labels.session_id = labels.label(session);
        }
    }
    Ok(labels)
}

impl Labels {
    /// A header of our name holds against an alias of it; a tenant is kept from both, so that a
    /// contradiction can be seen.
    fn take(&mut self, name: &str, value: &HeaderValue, is_alias: bool) -> Result<(), Refusal> {
        match name {
            "tenant" => {
                let text = percent_decode(value.as_bytes())
                    .decode_utf8()
                    .map_err(|_| Code::InvalidTenant)?;
                self.named_tenants
                    .push((tenant(&text)?, Attribution::Header));
                return Ok(());
            }
            "metadata" => {
                self.metadata = metadata(value.as_bytes())?;
                return Ok(());
            }
            "synthetic" => {
                self.synthetic = !matches!(value.as_bytes(), b"" | b"0" | b"false");
                return Ok(());
            }
            _ => {}
        }
        let text = self.decoded(value);
        let place = match name {
            "customer" => &mut self.customer_id,
            "session" => &mut self.session_id,
            "project" => &mut self.project,
            "agent" => &mut self.agent,
            "revision" => &mut self.revision,
            "run" => &mut self.run_id,
            "span" => &mut self.span_id,
            "parent-span" => &mut self.parent_span_id,
            "section" => &mut self.section,
            // `x-farebox-key` is the identity's; an unknown name of ours says nothing.
            _ => return Ok(()),
        };
        if !(is_alias && place.is_some()) {
            *place = text;
        }
        Ok(())
    }

    fn decoded(&mut self, value: &HeaderValue) -> Option<String> {
        let text = percent_decode(value.as_bytes())
            .decode_utf8_lossy()
            .into_owned();
        self.label(&text)
    }

    fn label(&mut self, text: &str) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        let (clean, is_changed) = id::sanitise(text, id::SCALARS_MAX);
        self.sanitised |= is_changed;
        Some(clean)
    }

    /// `version-traceid-parentid-flags` (W3C Trace Context); explicit headers hold.
    fn take_traceparent(&mut self, value: &HeaderValue) {
        let Ok(text) = value.to_str() else { return };
        let mut fields = text.split('-');
        let (Some(_), Some(trace), Some(parent)) = (fields.next(), fields.next(), fields.next())
        else {
            return;
        };
        let is_hex = |text: &str, len: usize| {
            text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if !is_hex(trace, 32) || !is_hex(parent, 16) {
            return;
        }
        self.run_id.get_or_insert_with(|| trace.to_owned());
        self.parent_span_id.get_or_insert_with(|| parent.to_owned());
    }
}

fn tenant(text: &str) -> Result<TenantId, Refusal> {
    TenantId::new(text)
        .map_err(|error| Refusal::from(Code::InvalidTenant).with_detail(error.to_string()))
}

fn metadata(bytes: &[u8]) -> Result<BTreeMap<String, Value>, Refusal> {
    if bytes.len() > METADATA_BYTES_MAX {
        return Err(Code::InvalidMetadata.into());
    }
    let members: BTreeMap<String, Value> =
        serde_json::from_slice(bytes).map_err(|_| Code::InvalidMetadata)?;
    let is_flat = members
        .values()
        .all(|value| !value.is_object() && !value.is_array());
    // A number that the ledger cannot keep would take the whole record with it.
    let is_storable = members.values().all(|value| match value {
        Value::Number(number) => is_storable(number.as_str()),
        _ => true,
    });
    if !is_flat || !is_storable || members.len() > METADATA_KEYS_MAX {
        return Err(Code::InvalidMetadata.into());
    }
    // NUL cannot be stored; everything else is the caller's own.
    let clean = |text: &str| text.replace('\0', "\u{FFFD}");
    Ok(members
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => (clean(&key), Value::String(clean(&text))),
            other => (clean(&key), other),
        })
        .collect())
}

/// How often the caller's client has tried before, by its own count; one that no row can hold is none.
fn client_retry(value: &HeaderValue) -> Option<u32> {
    let count: u32 = value.to_str().ok()?.parse().ok()?;
    i32::try_from(count).is_ok().then_some(count)
}

/// `metadata.tenant_id` of a JSON body.
#[must_use]
pub fn body_tenant(body: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        metadata: Option<Metadata<'a>>,
    }
    #[derive(serde::Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        tenant_id: Option<Cow<'a, str>>,
    }
    serde_json::from_slice::<Body<'_>>(body)
        .ok()?
        .metadata?
        .tenant_id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_flat_and_small() {
        assert!(metadata(br#"{"a":1,"b":"x","c":null}"#).is_ok());
        assert_eq!(
            metadata(br#"{"a":{}}"#).unwrap_err().code,
            Code::InvalidMetadata
        );
        assert_eq!(metadata(br#"[1]"#).unwrap_err().code, Code::InvalidMetadata);
        assert!(metadata(br#"{"a":1e999}"#).is_ok());
        assert_eq!(
            metadata(br#"{"a":1e1000}"#).unwrap_err().code,
            Code::InvalidMetadata
        );
        let many: Vec<String> = (0..17).map(|n| format!("\"k{n}\":1")).collect();
        assert_eq!(
            metadata(format!("{{{}}}", many.join(",")).as_bytes())
                .unwrap_err()
                .code,
            Code::InvalidMetadata
        );
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(METADATA_BYTES_MAX));
        assert_eq!(
            metadata(long.as_bytes()).unwrap_err().code,
            Code::InvalidMetadata
        );
    }

    #[test]
    fn the_body_names_a_tenant_only_as_a_text() {
        assert_eq!(
            body_tenant(br#"{"model":"m","metadata":{"tenant_id":"acme"}}"#).as_deref(),
            Some("acme")
        );
        assert_eq!(body_tenant(br#"{"metadata":{"tenant_id":7}}"#), None);
        assert_eq!(body_tenant(b"not json"), None);
    }
}
