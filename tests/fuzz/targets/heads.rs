//! What a request's head says: its route, its labels, whose key it shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use farebox_fuzz::{run, signature};
use farebox_proxy::attribution::{self, Aliases};
use farebox_proxy::config::StreamUsage;
use farebox_proxy::identity::find_presented;
use farebox_proxy::provider::ALL;
use farebox_proxy::route;
use farebox_proxy::upstream::{Origin, Upstream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::seeds::exchanges;

fn upstreams() -> route::Upstreams {
    let make = |(index, provider): (usize, &&'static farebox_proxy::provider::Provider)| {
        let upstream = Upstream {
            index,
            name: provider.name.to_owned(),
            provider,
            origin: Origin::parse("http://127.0.0.1:1", None).unwrap(),
            elsewhere: Vec::new(),
            credential: None,
            stream_usage: StreamUsage::Untouched,
            has_shared_state: false,
            forwards_escape_routes: false,
            region: None,
        };
        (provider.name.to_owned(), Arc::new(upstream))
    };
    ALL.iter().enumerate().map(make).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let key = "vk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let mut seeds: Vec<Vec<u8>> = exchanges()
        .iter()
        .map(|exchange| {
            format!(
                "/openai{}?{}\n",
                exchange.path,
                exchange.query.as_deref().unwrap_or_default()
            )
            .into_bytes()
        })
        .collect();
    seeds.extend(
        [
            format!("/t/acme/s/one/openai/v1/chat/completions?farebox-key={key}&a=%20\nx-farebox-tenant: acme\nx-farebox-metadata: {{\"a\":1}}"),
            format!("/gemini/v1beta/models/m:generateContent?key={key}\nauthorization: Basic dTp2a19B\nsec-websocket-protocol: token, {key}"),
            format!("/openai/v1/models?f%61rebox-key={key}&k%65y=%76{}&farebox%2Dtenant=acme", &key[1..]),
            format!("/openai/v1/realtime?model=m\nauthorization: Bearer {key}\nx-farebox-session: s\ntraceparent: 00-0-0-00\nx-stainless-retry-count: 2"),
        ]
        .map(String::into_bytes),
    );
    seeds
}

/// A name or value without its percent signs.
fn decoded(text: &str) -> Vec<u8> {
    let hex = |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        u8::from_str_radix(digits, 16)
            .ok()
            .filter(|_| !digits.starts_with('+'))
    };
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        match after.get(..2).filter(|_| *first == b'%').and_then(hex) {
            Some(byte) => {
                out.push(byte);
                rest = &after[2..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// The first line is the target, each further one a header.
#[test]
fn heads() {
    let upstreams = upstreams();
    let aliases = Aliases::new(&BTreeMap::new()).unwrap();
    run("heads", seeds(), |input, _| {
        let mut lines = input.split(|byte| *byte == b'\n');
        let Ok(uri) = Uri::try_from(lines.next().unwrap_or_default()) else {
            return 0;
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            let mut halves = line.splitn(2, |byte| *byte == b':');
            let (name, value) = (
                halves.next().unwrap_or_default(),
                halves.next().unwrap_or_default(),
            );
            let (name, value) = (
                HeaderName::from_bytes(name),
                HeaderValue::from_bytes(value.trim_ascii()),
            );
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        let presented = find_presented(&headers, uri.query()).map(|presented| {
            assert!(presented.value.starts_with("vk_"));
            format!("{presented:?}")
        });
        assert!(
            presented
                .as_ref()
                .is_none_or(|shown| !shown.contains("vk_")),
            "a key is printed"
        );
        let Ok(route) = route::find(&upstreams, &uri) else {
            return signature(&presented);
        };
        assert!(uri.path().ends_with(route.path) || route.path == "/");
        let query = route.query.as_deref().unwrap_or_default();
        let own = ["farebox-key", "farebox-tenant", "farebox-session"];
        for pair in query.split('&') {
            // However they are spelled: whoever reads the query decodes it.
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name), decoded(value));
            assert!(!own.iter().any(|own| own.as_bytes() == name), "{query}");
            assert!(!(name == b"key" && value.starts_with(b"vk_")), "{query}");
        }
        let endpoint = route
            .upstream
            .provider
            .endpoint(&Method::POST, route.path)
            .map(|endpoint| endpoint.path);
        let labels = attribution::read(&headers, &route, &aliases).map(|labels| {
            let texts = [
                &labels.session_id,
                &labels.customer_id,
                &labels.project,
                &labels.agent,
            ];
            assert!(
                texts
                    .into_iter()
                    .flatten()
                    .all(|text| text.chars().count() <= 128)
            );
            assert!(labels.metadata.len() <= attribution::METADATA_KEYS_MAX);
            (
                labels.named_tenants.len(),
                labels.sanitised,
                labels.metadata.len(),
            )
        });
        signature(&(presented, endpoint, labels.ok()))
    });
}
