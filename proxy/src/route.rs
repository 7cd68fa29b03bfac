//! From the caller's URI to an upstream and the exact path and query it will see.
//!
//! `/t/<tenant>` and `/s/<session>` stand before `/<upstream>`, each optional, in this order. What
//! follows the upstream's name goes on byte for byte; only query parameters of ours are removed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use percent_encoding::percent_decode_str;

use crate::failure::{Code, Refusal};
use crate::provider::Endpoint;
use crate::upstream::Upstream;

/// Query parameters that are ours.
const TENANT_PARAMETER: &str = "farebox-tenant";
const SESSION_PARAMETER: &str = "farebox-session";
const KEY_PARAMETER: &str = "farebox-key";
/// A parameter of vendors that may carry a virtual key.
const VENDOR_KEY_PARAMETER: &str = "key";
/// How a virtual key begins.
const KEY_START: &str = "vk_";

/// What serves a route that no table lists, where such routes are forwarded: never metered as zero.
pub static UNKNOWN: Endpoint = Endpoint::DEFAULT;

/// The configured upstreams by name.
pub type Upstreams = HashMap<String, Arc<Upstream>, RandomState>;

/// Where a call goes, and what its URI said of the caller.
pub struct Route<'a> {
    /// The upstream.
    pub upstream: &'a Arc<Upstream>,
    /// The path the upstream sees, without its own prefix.
    pub path: &'a str,
    /// The query the upstream sees.
    pub query: Option<Cow<'a, str>>,
    /// The decoded `/t/…`.
    pub path_tenant: Option<Cow<'a, str>>,
    /// The decoded `/s/…`.
    pub path_session: Option<Cow<'a, str>>,
    /// The decoded query parameters of ours.
    pub query_tenant: Option<Cow<'a, str>>,
    /// See above.
    pub query_session: Option<Cow<'a, str>>,
}

/// Finds the upstream a URI names.
pub fn find<'a>(upstreams: &'a Upstreams, uri: &'a http::Uri) -> Result<Route<'a>, Refusal> {
    let mut rest = uri.path();
    let path_tenant = take_prefix(&mut rest, "/t/")?;
    let path_session = take_prefix(&mut rest, "/s/")?;
    let name_and_path = rest.strip_prefix('/').ok_or(Code::UnknownUpstream)?;
    let (name, path) = match name_and_path.find('/') {
        Some(at) => name_and_path.split_at(at),
        None => (name_and_path, "/"),
    };
    let upstream = upstreams.get(name).ok_or(Code::UnknownUpstream)?;
    let mut route = Route {
        upstream,
        path,
        query: None,
        path_tenant,
        path_session,
        query_tenant: None,
        query_session: None,
    };
    route.query = uri.query().and_then(|query| read_query(query, &mut route));
    Ok(route)
}

fn take_prefix<'a>(rest: &mut &'a str, prefix: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
    let Some(after) = rest.strip_prefix(prefix) else {
        return Ok(None);
    };
    let end = after.find('/').unwrap_or(after.len());
    let (segment, left) = after.split_at(end);
    *rest = left;
    let decoded = percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| Code::InvalidTenant)?;
    Ok(Some(decoded))
}

/// Takes our parameters out of a query; the rest keeps its bytes and its order. Names and values are
/// compared decoded, as the identity reads them, so that no spelling of a virtual key goes on.
fn read_query<'a>(query: &'a str, route: &mut Route<'a>) -> Option<Cow<'a, str>> {
    if !query.contains("farebox-") && !query.contains(KEY_START) && !query.contains('%') {
        return Some(Cow::Borrowed(query));
    }
    let mut kept = String::with_capacity(query.len());
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8_lossy();
        let place = match &*percent_decode_str(name).decode_utf8_lossy() {
            TENANT_PARAMETER => &mut route.query_tenant,
            SESSION_PARAMETER => &mut route.query_session,
            KEY_PARAMETER => continue,
            VENDOR_KEY_PARAMETER if value.starts_with(KEY_START) => continue,
            _ => {
                push_pair(&mut kept, pair);
                continue;
            }
        };
        // The first one holds; what is no UTF-8 is found out by whoever validates it.
        if place.is_none() {
            *place = Some(value);
        }
    }
    (!kept.is_empty()).then_some(Cow::Owned(kept))
}

/// A query without the caller's own credential, for a call that goes with the operator's.
#[must_use]
pub fn without_credential(query: &str) -> Cow<'_, str> {
    let is_credential = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        percent_decode_str(name).decode_utf8_lossy() == VENDOR_KEY_PARAMETER
    };
    if !query.split('&').any(is_credential) {
        return Cow::Borrowed(query);
    }
    let mut kept = String::with_capacity(query.len());
    query
        .split('&')
        .filter(|pair| !is_credential(pair))
        .for_each(|pair| push_pair(&mut kept, pair));
    Cow::Owned(kept)
}

fn push_pair(query: &mut String, pair: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(pair);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> (Option<String>, Option<String>) {
        let upstream = crate::upstream::tests::upstream("openai");
        let mut route = Route {
            upstream: &upstream,
            path: "/",
            query: None,
            path_tenant: None,
            path_session: None,
            query_tenant: None,
            query_session: None,
        };
        let kept = read_query(text, &mut route).map(Cow::into_owned);
        (kept, route.query_tenant.map(Cow::into_owned))
    }

    #[test]
    fn only_our_parameters_leave_the_query() {
        assert_eq!(query("a=1&b=%2F&a=2"), (Some("a=1&b=%2F&a=2".into()), None));
        assert_eq!(
            query("a=1&farebox-tenant=ac%20me&b"),
            (Some("a=1&b".into()), Some("ac me".into()))
        );
        assert_eq!(query("farebox-key=vk_x&key=vk_y"), (None, None));
        assert_eq!(
            query("key=AIza&farebox-session=s"),
            (Some("key=AIza".into()), None)
        );
        assert_eq!(query("k%65y=%76k_AAAA&a=%20"), (Some("a=%20".into()), None));
        assert_eq!(without_credential("a=1&key=AIza&b"), "a=1&b");
        assert_eq!(without_credential("keys=1&a"), "keys=1&a");
    }

    #[test]
    fn prefixes_come_in_order_and_the_rest_is_untouched() {
        let upstream = crate::upstream::tests::upstream("openai");
        let upstreams = Upstreams::from_iter([("openai".to_owned(), upstream)]);
        let check = |uri: &str, expected: Option<(&str, Option<&str>, Option<&str>)>| {
            let uri: http::Uri = uri.parse().unwrap();
            let found = find(&upstreams, &uri).ok();
            let seen = found.as_ref().map(|route| {
                (
                    route.path,
                    route.path_tenant.as_deref(),
                    route.path_session.as_deref(),
                )
            });
            assert_eq!(seen, expected, "{uri}");
        };
        check(
            "/openai/v1/chat/completions",
            Some(("/v1/chat/completions", None, None)),
        );
        check(
            "/t/acme/openai/v1//x/../y",
            Some(("/v1//x/../y", Some("acme"), None)),
        );
        check("/t/a%2Fb/s/s1/openai", Some(("/", Some("a/b"), Some("s1"))));
        check("/s/s1/t/acme/openai/v1", None);
        check("/nobody/v1", None);
        check("/t/acme", None);
    }
}
