//! The opening handshake (RFC 6455 section 4): checked, sent up with our credential, and handed down
//! only when the upstream has switched.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use farebox_pricing::event::Transport;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Version};
use percent_encoding::percent_decode_str;

use super::protocols::{KeyProtocol, Offer};
use super::relay::Relay;
use crate::Worker;
use crate::answer::Answer;
use crate::body::RequestBody;
use crate::failure::{Code, Refusal};
use crate::framing::websocket::inflate::Extensions;
use crate::headers::{self, Credentials};
use crate::observe::AnswerBody;
use crate::provider::{Credential, Endpoint};
use crate::request;
use crate::settle::Call;
use crate::upstream::{Incoming, SendFailure, Shaken};

/// Bytes of the nonce in `sec-websocket-key`.
const NONCE_BYTES: usize = 16;
/// How virtual keys begin.
const OWN_KEY: &str = "vk_";
/// The protocol's only version.
const VERSION: &str = "13";

/// A caller's handshake that can be sent up.
pub struct Handshake(());

impl Handshake {
    /// Tells whether a request asks for a WebSocket, and checks that it may: a listed route must be one
    /// for sockets; of an unlisted one the policy for unknown routes decides.
    pub fn find(head: &Parts, endpoint: Option<&Endpoint>) -> Result<Option<Self>, Refusal> {
        if !has_token(&head.headers, header::UPGRADE, "websocket") {
            return Ok(None);
        }
        let refused = |why: &'static str| Refusal::from(Code::BadHandshake).with_detail(why);
        if head.version != Version::HTTP_11 || head.method != Method::GET {
            return Err(refused("It must be a GET over HTTP/1.1."));
        }
        if !has_token(&head.headers, header::CONNECTION, "upgrade") {
            return Err(refused("The connection header does not name upgrade."));
        }
        let one = |name| {
            let mut values = head.headers.get_all(name).iter();
            let first = values.next()?;
            values.next().is_none().then_some(first.as_bytes())
        };
        if one(header::SEC_WEBSOCKET_VERSION) != Some(VERSION.as_bytes()) {
            return Err(refused("The version must be 13."));
        }
        let nonce = one(header::SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key).ok());
        if nonce.is_none_or(|nonce| nonce.len() != NONCE_BYTES) {
            return Err(refused("The key must be 16 bytes in base64."));
        }
        if head.headers.contains_key(header::TRANSFER_ENCODING)
            || head
                .headers
                .get(header::CONTENT_LENGTH)
                .is_some_and(|length| length != "0")
        {
            return Err(refused("A handshake has no body."));
        }
        if endpoint.is_some_and(|endpoint| endpoint.socket.is_none()) {
            return Err(refused("This route is none for WebSockets."));
        }
        Ok(Some(Self(())))
    }
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// What came of a handshake.
pub enum Outcome {
    /// The upstream switched: hand this down, the relay runs behind it.
    Switched(Answer<AnswerBody>),
    /// It said something else, to be passed on as any answer.
    Answered(Box<Call>, Answer<Incoming>),
    /// It said nothing; the call is settled.
    Failed(Box<Call>, Code),
}

/// Sends the handshake up and makes of a 101 the caller's.
pub async fn answer(
    worker: &Arc<Worker>,
    _checked: Handshake,
    offered: &HeaderMap,
    mut call: Box<Call>,
    mut handshake_up: Request<RequestBody>,
) -> Outcome {
    let place = call
        .endpoint
        .socket
        .map_or(KeyProtocol::None, |socket| socket.key_protocol);
    let credential = call
        .upstream
        .credential
        .as_ref()
        .map(|secret| secret.expose());
    let offer = Offer::new(offered, place, call.credentials, credential);
    let up = handshake_up.headers_mut();
    offer.insert(up);
    if offer.has_credential {
        up.remove(match call.provider.credential {
            Credential::Bearer | Credential::Token => header::AUTHORIZATION,
            Credential::Header(name) => header::HeaderName::from_static(name),
        });
    }
    switch(up);
    let parameters = call
        .endpoint
        .socket
        .map_or(&[][..], |socket| socket.key_query);
    strip_query(&mut handshake_up, parameters, call.credentials);

    let bound = std::time::Duration::from_millis(worker.shared.config.proxy.first_byte_timeout_ms);
    call.clock.sent = Some(std::time::Instant::now());
    let upstream = Arc::clone(&call.upstream);
    let shaken =
        tokio::time::timeout(bound, worker.pool.shake_hands(&upstream, handshake_up)).await;
    let (mut head, wire) = match shaken {
        Ok(Ok(Shaken::Switched(head, wire))) => (head, wire),
        Ok(Ok(Shaken::Answered(answer))) => {
            call.clock.head = Some(std::time::Instant::now());
            call.event.transport = Transport::Http;
            call.event.streaming = false;
            return Outcome::Answered(call, answer);
        }
        Ok(Err(SendFailure::NotWritten(_, code))) => {
            call.fail(code, false);
            return Outcome::Failed(call, code);
        }
        Ok(Err(SendFailure::Written(code))) => {
            call.fail(code, true);
            return Outcome::Failed(call, code);
        }
        // Handshakes go over HTTP/1.1, which has no such word.
        Ok(Err(SendFailure::Refused(_))) => {
            call.fail(Code::UpstreamClosed, true);
            return Outcome::Failed(call, Code::UpstreamClosed);
        }
        Ok(Err(SendFailure::TimedOut)) | Err(_) => {
            call.fail(Code::UpstreamTimeout, true);
            return Outcome::Failed(call, Code::UpstreamTimeout);
        }
    };
    call.clock.head = Some(std::time::Instant::now());
    headers::clean_answer(&mut head.headers);
    offer.map_back(&mut head.headers);
    switch(&mut head.headers);
    let extensions = Extensions::parse(
        head.headers
            .get_all(header::SEC_WEBSOCKET_EXTENSIONS)
            .iter()
            .map(|value| value.to_str().unwrap_or("?")),
    );
    request::marks(&call).insert(&mut head.headers);
    call.clock.answered = Some(std::time::Instant::now());
    let relay = Relay::new(wire, call, extensions, &head.headers);
    let body = AnswerBody::Switch(Some(Box::new(relay)));
    let head = head.into();
    Outcome::Switched(Answer { head, body })
}

/// Takes the caller's credentials out of the query: all of them where the operator's takes their place,
/// else those that are ours. The rest stays as it is.
fn strip_query<T>(request: &mut Request<T>, parameters: &[&str], credentials: Credentials) {
    let Some(query) = request.uri().query().filter(|_| !parameters.is_empty()) else {
        return;
    };
    let is_credential = |pair: &&str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decode_str(name).decode_utf8_lossy();
        let is_ours = || {
            percent_decode_str(value)
                .decode_utf8_lossy()
                .contains(OWN_KEY)
        };
        parameters.contains(&&*name) && (credentials == Credentials::Replace || is_ours())
    };
    if !query.split('&').any(|pair| is_credential(&pair)) {
        return;
    }
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !is_credential(pair))
        .collect();
    let path = request.uri().path();
    let path = match kept.as_slice() {
        [] => path.to_owned(),
        kept => format!("{path}?{}", kept.join("&")),
    };
    // It was a path and query of a valid URI, less some whole parameters.
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
}

/// Names the switch: these headers belong to the hop and are made anew on each.
fn switch(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_of_the_query() {
        let check = |credentials, uri: &str, expected: &str| {
            let mut request = Request::get(uri).body(()).unwrap();
            strip_query(&mut request, &["api_key", "token"], credentials);
            assert_eq!(request.uri(), expected, "{uri}");
        };
        let (replace, own) = (Credentials::Replace, Credentials::KeepOwn);
        check(replace, "/a?x=%20&api_key=1&token&y", "/a?x=%20&y");
        check(replace, "/a?a%70i_key=1", "/a");
        check(replace, "/a?api_keys=1", "/a?api_keys=1");
        check(replace, "/a", "/a");
        check(own, "/a?api_key=1&token=%76k_A", "/a?api_key=1");
    }
}
