//! Where a virtual key stands in a request, and what else may carry a credential.
//!
//! The order is the public contract's. Only a value that begins with `vk_` is ours; everything
//! else in the same places is a provider credential, or nothing.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use farebox_pricing::key::KEY_START;
use http::HeaderMap;
use percent_encoding::percent_decode_str;

/// The header of our own.
const FAREBOX_KEY: &str = "x-farebox-key";
/// Headers that may carry a key, the first one first. But for `authorization` they carry nothing else.
const ORDER: [&str; 6] = [
    FAREBOX_KEY,
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "xi-api-key",
];
/// The header in which browsers send a key with a WebSocket.
pub const WEBSOCKET_PROTOCOL: &str = "sec-websocket-protocol";
/// The subprotocol of OpenAI's browser clients; the key follows.
pub const WEBSOCKET_PROTOCOL_START: &str = "openai-insecure-api-key.";

/// Headers that carry a credential: none of them reaches an upstream as it came, unless the key has
/// `own_credential`. `sec-websocket-protocol` loses only [`is_credential_protocol`]'s elements.
pub const CREDENTIAL_HEADERS: [&str; 7] = [
    FAREBOX_KEY,
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "xi-api-key",
];
/// Query parameters that carry a credential.
pub const CREDENTIAL_QUERY: [&str; 2] = ["key", "farebox-key"];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// A longer Basic credential is not looked into.
const BASIC_BYTES_MAX: usize = 1_024;

/// Where a key was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// `x-farebox-key`.
    FareboxKey,
    /// `authorization: Bearer`.
    Bearer,
    /// `authorization: Token`.
    Token,
    /// `authorization: Basic`, the password.
    Basic,
    /// One of the headers that carry nothing but a key.
    Header(&'static str),
    /// One of the query parameters.
    Query(&'static str),
    /// `sec-websocket-protocol`, with the whole subprotocol as it came, to be mapped back when echoed.
    WebsocketProtocol(String),
}

/// A value that begins with `vk_`. `Debug` shows only where it was.
#[derive(Clone, PartialEq, Eq)]
pub struct Presented<'a> {
    /// The value.
    pub value: Cow<'a, str>,
    /// Where it was.
    pub carrier: Carrier,
}

impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A subprotocol holds the key.
        match &self.carrier {
            Carrier::WebsocketProtocol(_) => f.write_str("Presented(WebsocketProtocol)"),
            carrier => write!(f, "Presented({carrier:?})"),
        }
    }
}

/// The first virtual key of a request, in the contract's order.
#[must_use]
pub fn find_presented<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<Presented<'a>> {
    let borrowed = |value: &'a str, carrier| Presented {
        value: Cow::Borrowed(value),
        carrier,
    };
    if let Some(presented) = in_headers(headers) {
        return Some(presented);
    }
    if let Some(presented) = query.and_then(in_query) {
        return Some(presented);
    }
    values(headers, WEBSOCKET_PROTOCOL)
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .find_map(|protocol| {
            let value = protocol.strip_prefix(WEBSOCKET_PROTOCOL_START);
            let value = value.unwrap_or(protocol);
            let carrier = || Carrier::WebsocketProtocol(protocol.to_owned());
            is_ours(value).then(|| borrowed(value, carrier()))
        })
}

/// Whether an element of `sec-websocket-protocol` carries a credential: a virtual key of ours, or a
/// provider's in OpenAI's form. The one after `token` is Deepgram's, the caller has to tell.
#[must_use]
pub fn is_credential_protocol(protocol: &str) -> bool {
    is_ours(protocol) || protocol.starts_with(WEBSOCKET_PROTOCOL_START)
}

/// In one pass over the headers: looking each name up costs more than looking at those that are there.
fn in_headers(headers: &HeaderMap) -> Option<Presented<'_>> {
    let mut first: Option<(usize, Presented<'_>)> = None;
    for (name, value) in headers {
        let name = name.as_str();
        let Some(rank) = ORDER.iter().position(|known| *known == name) else {
            continue;
        };
        if first.as_ref().is_some_and(|(before, _)| *before <= rank) {
            continue;
        }
        let Ok(value) = value.to_str().map(str::trim) else {
            continue;
        };
        let carrier = match rank {
            0 => Carrier::FareboxKey,
            1 => {
                first = in_authorization(value)
                    .map(|presented| (rank, presented))
                    .or(first);
                continue;
            }
            _ => Carrier::Header(ORDER[rank]),
        };
        if is_ours(value) {
            let value = Cow::Borrowed(value);
            first = Some((rank, Presented { value, carrier }));
        }
    }
    first.map(|(_, presented)| presented)
}

fn is_ours(value: &str) -> bool {
    value.starts_with(KEY_START)
}

fn values<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    let all = headers.get_all(name).into_iter();
    all.filter_map(|value| value.to_str().ok()).map(str::trim)
}

fn in_authorization(value: &str) -> Option<Presented<'_>> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim_start();
    let carrier = if scheme.eq_ignore_ascii_case("bearer") {
        Carrier::Bearer
    } else if scheme.eq_ignore_ascii_case("token") {
        Carrier::Token
    } else if scheme.eq_ignore_ascii_case("basic") {
        return in_basic(rest);
    } else {
        return None;
    };
    is_ours(rest).then_some(Presented {
        value: Cow::Borrowed(rest),
        carrier,
    })
}

fn in_basic(encoded: &str) -> Option<Presented<'static>> {
    if encoded.len() > BASIC_BYTES_MAX {
        return None;
    }
    let decoded = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let (_, password) = decoded.split_once(':')?;
    is_ours(password).then(|| Presented {
        value: Cow::Owned(password.to_owned()),
        carrier: Carrier::Basic,
    })
}

fn in_query(query: &str) -> Option<Presented<'_>> {
    CREDENTIAL_QUERY.into_iter().find_map(|wanted| {
        query.split('&').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let name = percent_decode_str(name).decode_utf8().ok()?;
            let value = (name == wanted).then(|| percent_decode_str(value))?;
            let value = value.decode_utf8().ok()?;
            is_ours(&value).then_some(Presented {
                value,
                carrier: Carrier::Query(wanted),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_key_is_found_in_every_place() {
        let check = |pairs: &[(&'static str, &str)], query, expected: Option<(&str, Carrier)>| {
            let headers = headers(pairs);
            let found = find_presented(&headers, query);
            let found = found.map(|found| (found.value.into_owned(), found.carrier));
            assert_eq!(
                found,
                expected.map(|(value, carrier)| (value.to_owned(), carrier))
            );
        };
        check(
            &[("x-farebox-key", " vk_A ")],
            None,
            Some(("vk_A", Carrier::FareboxKey)),
        );
        check(
            &[("authorization", "Bearer vk_A")],
            None,
            Some(("vk_A", Carrier::Bearer)),
        );
        check(
            &[("authorization", "bEARER  vk_A")],
            None,
            Some(("vk_A", Carrier::Bearer)),
        );
        check(
            &[("authorization", "Token vk_A")],
            None,
            Some(("vk_A", Carrier::Token)),
        );
        // `user:vk_A`, with and without padding.
        check(
            &[("authorization", "Basic dXNlcjp2a19B")],
            None,
            Some(("vk_A", Carrier::Basic)),
        );
        check(
            &[("authorization", "Basic dTp2a19B")],
            None,
            Some(("vk_A", Carrier::Basic)),
        );
        check(
            &[("authorization", "Basic OnZrX0E=")],
            None,
            Some(("vk_A", Carrier::Basic)),
        );
        check(
            &[("authorization", "Basic OnZrX0E")],
            None,
            Some(("vk_A", Carrier::Basic)),
        );
        check(
            &[("x-api-key", "vk_A")],
            None,
            Some(("vk_A", Carrier::Header("x-api-key"))),
        );
        check(
            &[("api-key", "vk_A")],
            None,
            Some(("vk_A", Carrier::Header("api-key"))),
        );
        check(
            &[("x-goog-api-key", "vk_A")],
            None,
            Some(("vk_A", Carrier::Header("x-goog-api-key"))),
        );
        check(
            &[("xi-api-key", "vk_A")],
            None,
            Some(("vk_A", Carrier::Header("xi-api-key"))),
        );
        check(
            &[],
            Some("a=b&key=vk_A"),
            Some(("vk_A", Carrier::Query("key"))),
        );
        check(
            &[],
            Some("farebox-key=%76k_A"),
            Some(("vk_A", Carrier::Query("farebox-key"))),
        );
        let element = |text: &str| Carrier::WebsocketProtocol(text.to_owned());
        check(
            &[(WEBSOCKET_PROTOCOL, "token, vk_A")],
            None,
            Some(("vk_A", element("vk_A"))),
        );
        check(
            &[
                (WEBSOCKET_PROTOCOL, "realtime"),
                (WEBSOCKET_PROTOCOL, "openai-insecure-api-key.vk_A"),
            ],
            None,
            Some(("vk_A", element("openai-insecure-api-key.vk_A"))),
        );
        for none in [
            "Bearer sk-1",
            "vk_A",
            "Digest vk_A",
            "Basic !!",
            "Basic dms=",
            "Bearer",
        ] {
            check(&[("authorization", none)], Some("key&key=&akey=vk_A"), None);
        }
    }

    #[test]
    fn the_places_are_looked_at_in_the_contracts_order() {
        let mut pairs = vec![
            ("x-farebox-key", "vk_1"),
            ("authorization", "Bearer vk_2"),
            ("x-api-key", "vk_3"),
            ("api-key", "vk_4"),
            ("x-goog-api-key", "vk_5"),
            ("xi-api-key", "vk_6"),
            (WEBSOCKET_PROTOCOL, "token, vk_9"),
        ];
        let mut query = Some("farebox-key=vk_8&key=vk_7");
        for expected in [
            "vk_1", "vk_2", "vk_3", "vk_4", "vk_5", "vk_6", "vk_7", "vk_8", "vk_9",
        ] {
            let all = headers(&pairs);
            assert_eq!(find_presented(&all, query).unwrap().value, expected);
            match expected {
                "vk_7" => query = Some("farebox-key=vk_8"),
                "vk_8" => query = None,
                _ => {
                    pairs.remove(0);
                }
            }
        }
    }

    #[test]
    fn a_provider_credential_ahead_does_not_hide_a_key() {
        let all = headers(&[("authorization", "Bearer sk-live"), ("x-api-key", "vk_A")]);
        assert_eq!(find_presented(&all, None).unwrap().value, "vk_A");
    }

    #[test]
    fn a_presented_key_does_not_show_itself() {
        let all = headers(&[(WEBSOCKET_PROTOCOL, "vk_SECRET")]);
        let shown = format!("{:?}", find_presented(&all, None));
        assert!(!shown.contains("SECRET"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_request_panics(value in "[ -~]{0,60}", query in ".{0,60}") {
            for name in ["authorization", WEBSOCKET_PROTOCOL, FAREBOX_KEY] {
                let all = headers(&[(name, &value)]);
                if let Some(found) = find_presented(&all, Some(&query)) {
                    prop_assert!(found.value.starts_with("vk_"));
                }
            }
        }
    }
}
