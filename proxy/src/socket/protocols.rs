//! Keys in `sec-websocket-protocol`: browsers can set no other header on a handshake.
//!
//! The vendor's credential takes the place of the caller's, and what the vendor echoes is mapped back
//! to what the caller offered.

use http::header::{self, HeaderMap, HeaderValue};

use crate::headers::Credentials;
use crate::identity::is_credential_protocol;

/// Where a vendor reads a key among the subprotocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProtocol {
    /// Nowhere.
    None,
    /// In the element after one of these; the first is the one for the operator's credential.
    After(&'static [&'static str]),
    /// In the element that begins so.
    Prefix(&'static str),
}

/// The subprotocols as they go up, and how to read the answer.
#[derive(Debug, Default)]
pub(super) struct Offer {
    up: Vec<String>,
    /// What went up in another form, and how the caller offered it.
    mapped: Vec<(String, String)>,
    /// The vendor's credential is among them.
    pub(super) has_credential: bool,
}

impl Offer {
    /// Reads what the caller offered; with `credential` it takes the place of the caller's own.
    pub(super) fn new(
        headers: &HeaderMap,
        place: KeyProtocol,
        credentials: Credentials,
        credential: Option<&str>,
    ) -> Self {
        let offered: Vec<&str> = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|element| !element.is_empty())
            .collect();
        let mut offer = Self::default();
        let mut rest = offered.as_slice();
        while let Some((element, after)) = rest.split_first() {
            rest = after;
            let is_own = credentials == Credentials::KeepOwn;
            match place {
                KeyProtocol::After(names)
                    if names.iter().any(|name| element.eq_ignore_ascii_case(name))
                        && !rest.is_empty() =>
                {
                    let key = rest[0];
                    rest = &rest[1..];
                    match credential {
                        Some(credential) if !is_own && !offer.has_credential => {
                            offer.put(names[0], element);
                            offer.put(credential, key);
                            offer.has_credential = true;
                        }
                        _ if is_own && !is_credential_protocol(key) => {
                            offer.put(element, element);
                            offer.put(key, key);
                        }
                        _ => {}
                    }
                }
                KeyProtocol::Prefix(start) if element.starts_with(start) => match credential {
                    Some(credential) if !is_own && !offer.has_credential => {
                        offer.put(&format!("{start}{credential}"), element);
                        offer.has_credential = true;
                    }
                    _ if is_own && !element[start.len()..].starts_with("vk_") => {
                        offer.put(element, element);
                    }
                    _ => {}
                },
                _ if is_credential_protocol(element) => {}
                _ => offer.put(element, element),
            }
        }
        offer
    }

    fn put(&mut self, up: &str, offered: &str) {
        self.up.push(up.to_owned());
        if up != offered {
            self.mapped.push((up.to_owned(), offered.to_owned()));
        }
    }

    /// Writes them into the request as one line.
    pub(super) fn insert(&self, headers: &mut HeaderMap) {
        headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
        if self.up.is_empty() {
            return;
        }
        // A credential that is no token leaves the header out, and the vendor says so.
        if let Ok(mut value) = HeaderValue::try_from(self.up.join(", ")) {
            value.set_sensitive(self.has_credential);
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
    }

    /// Maps an echoed subprotocol back to what the caller offered.
    pub(super) fn map_back(&self, headers: &mut HeaderMap) {
        let Some(chosen) = headers
            .get(header::SEC_WEBSOCKET_PROTOCOL)
            .and_then(|value| value.to_str().ok())
        else {
            return;
        };
        let mapped = self.mapped.iter().find(|(up, _)| up == chosen.trim());
        if let Some(value) = mapped.and_then(|(_, offered)| HeaderValue::from_str(offered).ok()) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: KeyProtocol = KeyProtocol::After(&["token", "bearer"]);
    const PREFIX: KeyProtocol = KeyProtocol::Prefix("openai-insecure-api-key.");

    fn check(
        place: KeyProtocol,
        credentials: Credentials,
        offered: &'static str,
        up: Option<&str>,
        echoes: &[(&'static str, &str)],
    ) {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(offered),
        );
        let offer = Offer::new(&headers, place, credentials, Some("SECRET"));
        offer.insert(&mut headers);
        let seen = headers.get(header::SEC_WEBSOCKET_PROTOCOL);
        assert_eq!(seen.map(|value| value.to_str().unwrap()), up, "{offered}");
        assert_eq!(
            offer.has_credential,
            up.is_some_and(|up| up.contains("SECRET"))
        );
        for (chosen, expected) in echoes {
            let mut answer = HeaderMap::new();
            answer.insert(
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(chosen),
            );
            offer.map_back(&mut answer);
            assert_eq!(answer[header::SEC_WEBSOCKET_PROTOCOL], *expected);
        }
    }

    #[test]
    fn our_credential_stands_where_the_callers_stood_and_echoes_are_mapped_back() {
        let replace = Credentials::Replace;
        check(
            TOKEN,
            replace,
            "token, vk_A, x-deepgram-session-id, 1-2",
            Some("token, SECRET, x-deepgram-session-id, 1-2"),
            &[("token", "token"), ("SECRET", "vk_A")],
        );
        check(
            TOKEN,
            replace,
            "bearer, vk_A",
            Some("token, SECRET"),
            &[("token", "bearer")],
        );
        check(
            TOKEN,
            replace,
            "token, live-key",
            Some("token, SECRET"),
            &[],
        );
        check(
            PREFIX,
            replace,
            "realtime, openai-insecure-api-key.vk_A, openai-beta.realtime-v1",
            Some("realtime, openai-insecure-api-key.SECRET, openai-beta.realtime-v1"),
            &[
                ("realtime", "realtime"),
                (
                    "openai-insecure-api-key.SECRET",
                    "openai-insecure-api-key.vk_A",
                ),
            ],
        );
        check(KeyProtocol::None, replace, "chat, vk_A", Some("chat"), &[]);
        check(KeyProtocol::None, replace, "vk_A", None, &[]);
    }

    #[test]
    fn with_a_credential_of_its_own_only_a_virtual_key_is_taken_out() {
        let own = Credentials::KeepOwn;
        check(TOKEN, own, "token, live-key", Some("token, live-key"), &[]);
        check(TOKEN, own, "token, vk_A, chat", Some("chat"), &[]);
        check(
            PREFIX,
            own,
            "realtime, openai-insecure-api-key.sk-1",
            Some("realtime, openai-insecure-api-key.sk-1"),
            &[],
        );
        check(
            PREFIX,
            own,
            "realtime, openai-insecure-api-key.vk_A",
            Some("realtime"),
            &[],
        );
    }
}
