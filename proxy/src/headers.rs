//! Which headers go on and which end here, in both directions.
//!
//! Hop-by-hop headers end here (RFC 9110 section 7.6.1), so do headers of ours and credentials. All
//! others pass in their order, duplicates included.

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::identity::CREDENTIAL_HEADERS;
use crate::provider::Credential;

/// How our own headers begin.
pub const OWN_PREFIX: &str = "x-farebox-";
/// The call's id, on every answer whose intent is in the spool.
pub const EVENT_HEADER: HeaderName = HeaderName::from_static("x-farebox-event");
/// The code of a refusal or failure of ours.
pub const ERROR_HEADER: HeaderName = HeaderName::from_static("x-farebox-error");
/// A limit in warning.
pub const WARNING_HEADER: HeaderName = HeaderName::from_static("x-farebox-warning");

/// What happens to a request's credentials.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// Every carrier is removed; the operator's credential takes its place.
    Replace,
    /// Only the carriers that hold a virtual key are removed; the caller's own credential goes on.
    KeepOwn,
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

fn is_credential(name: &HeaderName) -> bool {
    CREDENTIAL_HEADERS.contains(&name.as_str())
}

fn holds_virtual_key(value: &HeaderValue) -> bool {
    memchr::memmem::find(value.as_bytes(), b"vk_").is_some() || {
        // Basic hides it in base64; whoever presented a key by Basic presented it there.
        value
            .as_bytes()
            .get(..6)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic "))
    }
}

/// Whether a request has more than one `host`, which makes it malformed (RFC 9112 section 3.2).
pub fn names_several_hosts(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().nth(1).is_some()
}

/// Names that the `connection` header adds to the hop-by-hop ones.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| {
            !name.eq_ignore_ascii_case("close") && !name.eq_ignore_ascii_case("keep-alive")
        })
        .filter_map(|name| name.parse().ok())
        .collect()
}

/// Hands on the headers an upstream sees, one by one, `host` first.
///
/// `is_ours` tells aliases of our headers. `content-length` goes on when the body does, as it is.
pub fn for_upstream(
    from: &HeaderMap,
    authority: &HeaderValue,
    credentials: Credentials,
    is_ours: impl Fn(&HeaderName) -> bool,
    mut each: impl FnMut(&HeaderName, &HeaderValue),
) {
    let named = if from.contains_key(header::CONNECTION) {
        named_by_connection(from)
    } else {
        Vec::new()
    };
    each(&header::HOST, authority);
    let mut cookies: Option<Vec<u8>> = None;
    for (name, value) in from {
        let name_text = name.as_str();
        if name == header::HOST
            || is_hop_by_hop(name)
            || name_text.starts_with(OWN_PREFIX)
            || is_ours(name)
        {
            continue;
        }
        if is_credential(name) && (credentials == Credentials::Replace || holds_virtual_key(value))
        {
            continue;
        }
        if named.contains(name)
            || (name == header::SEC_WEBSOCKET_PROTOCOL && holds_virtual_key(value))
        {
            continue;
        }
        if name == header::COOKIE {
            // HTTP/2 sends crumbs, HTTP/1.1 has one line (RFC 9113 section 8.2.3).
            match &mut cookies {
                Some(cookies) => {
                    cookies.extend_from_slice(b"; ");
                    cookies.extend_from_slice(value.as_bytes());
                }
                None => cookies = Some(value.as_bytes().to_vec()),
            }
            continue;
        }
        each(name, value);
    }
    if let Some(value) = cookies.and_then(|cookies| HeaderValue::from_bytes(&cookies).ok()) {
        each(&header::COOKIE, &value);
    }
    if takes_trailers(from) {
        each(&header::TE, &HeaderValue::from_static("trailers"));
    }
}

/// Whether who sends these takes trailers.
pub fn takes_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|value| {
        value.to_str().is_ok_and(|te| {
            te.split(',')
                .any(|item| item.trim().eq_ignore_ascii_case("trailers"))
        })
    })
}

/// Puts a provider credential where the vendor expects it. An unusable one is left out, and the
/// vendor says so.
pub fn insert_credential(headers: &mut HeaderMap, place: Credential, credential: &str) {
    let (name, text) = match place {
        Credential::Bearer => (header::AUTHORIZATION, format!("Bearer {credential}")),
        Credential::Token => (header::AUTHORIZATION, format!("Token {credential}")),
        Credential::Header(name) => (HeaderName::from_static(name), credential.to_owned()),
    };
    if let Ok(mut value) = HeaderValue::try_from(text) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

/// The same as a line of a head.
pub fn write_credential(text: &mut BytesMut, place: Credential, credential: &str) {
    let (name, scheme) = match place {
        Credential::Bearer => (header::AUTHORIZATION.as_str(), "Bearer "),
        Credential::Token => (header::AUTHORIZATION.as_str(), "Token "),
        Credential::Header(name) => (name, ""),
    };
    // Without branches, so that the compiler makes a few vector instructions of it.
    let is_usable = credential.bytes().fold(true, |is_usable, byte| {
        is_usable & (byte == b'\t' || (byte >= b' ' && byte != 0x7f))
    });
    if is_usable {
        for part in [name, ": ", scheme, credential, "\r\n"] {
            text.extend_from_slice(part.as_bytes());
        }
    }
}

/// Takes from an answer's headers what belongs to the hop.
pub fn clean_answer(headers: &mut HeaderMap) {
    // Most answers have none of it; looking each name up would cost more than to look at those there are.
    if !headers.keys().any(ends_with_the_hop) {
        return;
    }
    if headers.contains_key(header::CONNECTION) {
        for name in named_by_connection(headers) {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    // With both, the chunks hold and the length is a trap (RFC 9112 section 6.3).
    if headers.remove(header::TRANSFER_ENCODING).is_some() {
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in OF_THE_HOP {
        headers.remove(name);
    }
}

/// What else belongs to the hop in an answer.
pub(crate) const OF_THE_HOP: [&str; 4] = [
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "upgrade",
];

fn ends_with_the_hop(name: &HeaderName) -> bool {
    name == header::CONNECTION
        || name == header::TRANSFER_ENCODING
        || OF_THE_HOP.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn upstream_of(
        pairs: &[(&'static str, &'static str)],
        credentials: Credentials,
    ) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        for_upstream(
            &map(pairs),
            &HeaderValue::from_static("up:1"),
            credentials,
            |_| false,
            |name, value| headers.push(pair(name.as_str(), value.to_str().unwrap())),
        );
        headers
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn what_belongs_to_the_hop_ends_here() {
        let seen = upstream_of(
            &[
                ("host", "proxy"),
                ("connection", "keep-alive, x-private"),
                ("x-private", "1"),
                ("te", "trailers, deflate"),
                ("transfer-encoding", "chunked"),
                ("accept", "a"),
                ("accept", "b"),
                ("cookie", "a=1"),
                ("cookie", "b=2"),
            ],
            Credentials::Replace,
        );
        assert_eq!(
            seen,
            [
                pair("host", "up:1"),
                pair("accept", "a"),
                pair("accept", "b"),
                pair("cookie", "a=1; b=2"),
                pair("te", "trailers")
            ]
        );
    }

    #[test]
    fn no_credential_and_nothing_of_ours_goes_on() {
        let pairs = [
            ("authorization", "Bearer vk_AAAA"),
            ("x-api-key", "sk-own"),
            ("x-goog-api-key", "own"),
            ("x-farebox-tenant", "acme"),
            ("x-farebox-anything", "1"),
        ];
        assert_eq!(
            upstream_of(&pairs, Credentials::Replace),
            [pair("host", "up:1")]
        );
        assert_eq!(
            upstream_of(&pairs, Credentials::KeepOwn),
            [
                pair("host", "up:1"),
                pair("x-api-key", "sk-own"),
                pair("x-goog-api-key", "own")
            ]
        );
    }
}
