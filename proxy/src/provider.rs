//! What a provider is, all of them, and which of its endpoints a call is for.
//!
//! Providers are plain statics with function pointers, filled in by one file each under
//! `providers/`. Nothing outside that folder branches on a vendor's name. Paths are compared as
//! they came, byte by byte: what does not match as it stands is an unknown route, never a guess.

use farebox_pricing::event::EndpointKind;
use farebox_pricing::evidence::Evidence;
use farebox_pricing::usage::{UsageDraft, UsageSource};
use http::Method;

use crate::amend::Splice;
use crate::framing::Frame;
use crate::providers::{
    anthropic, assemblyai, azure, bedrock, cartesia, cerebras, cohere, deepgram, deepseek,
    elevenlabs, fireworks, gemini, groq, mistral, moonshot, openai, openrouter, perplexity,
    together, vertex, voyage, xai,
};
use crate::socket::Socket;

/// Every built-in upstream.
pub static ALL: &[&Provider] = &[
    &openai::PROVIDER,
    &azure::PROVIDER,
    &anthropic::PROVIDER,
    &gemini::PROVIDER,
    &vertex::PROVIDER,
    &bedrock::PROVIDER,
    &deepgram::PROVIDER,
    &groq::PROVIDER,
    &mistral::PROVIDER,
    &deepseek::PROVIDER,
    &xai::PROVIDER,
    &together::PROVIDER,
    &fireworks::PROVIDER,
    &openrouter::PROVIDER,
    &perplexity::PROVIDER,
    &cerebras::PROVIDER,
    &moonshot::PROVIDER,
    &cohere::PROVIDER,
    &voyage::PROVIDER,
    &elevenlabs::PROVIDER,
    &assemblyai::PROVIDER,
    &cartesia::PROVIDER,
];

/// The built-in provider of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Provider> {
    ALL.iter().copied().find(|provider| provider.name == name)
}

/// The provider whose dialect a configured upstream speaks.
#[must_use]
pub fn dialect(name: &str) -> Option<&'static Provider> {
    find(name)
}

/// A vendor: where it is, how it is paid for, what it serves and how it says no.
#[derive(Debug)]
pub struct Provider {
    /// The name in paths, configuration and events.
    pub name: &'static str,
    /// Where it lives, without a trailing slash; empty where that is the operator's own and must be
    /// configured.
    pub base_url: &'static str,
    /// How its credential goes into a request.
    pub credential: Credential,
    /// The environment variable that holds the operator's credential.
    pub credential_env: &'static str,
    /// What it serves; the first match wins.
    pub endpoints: &'static [Endpoint],
    /// Whether streams are asked for usage when nothing is configured.
    pub stream_usage_default: StreamUsage,
    /// The header of its answers that names the request.
    pub request_id_header: &'static str,
    /// The content type of [`Provider::error_body`].
    pub error_content_type: &'static str,
    /// An error of ours in its shape, so that its own client raises its usual error.
    pub error_body: fn(&ErrorText<'_>) -> Vec<u8>,
    /// What is written into a running event stream that we cut, at an event boundary.
    pub cut_event: fn(&ErrorText<'_>) -> Option<Vec<u8>>,
}

/// How a provider credential travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// `authorization: Bearer <credential>`.
    Bearer,
    /// `authorization: Token <credential>`.
    Token,
    /// The named header holds the bare credential.
    Header(&'static str),
}

/// Whether chat streams that do not ask for usage are made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamUsage {
    /// Splice the option in, and take away again what it adds.
    Ask,
    /// Leave the request as it is.
    Untouched,
}

/// An error of ours, before it has a vendor's shape.
#[derive(Clone, Copy, Debug)]
pub struct ErrorText<'a> {
    /// The HTTP status it goes out with (for a cut: the one it would have had).
    pub status: u16,
    /// Our stable code.
    pub code: &'a str,
    /// What a person reads.
    pub message: &'a str,
    /// An id to quote, where the shape has room for one.
    pub request_id: Option<&'a str>,
}

/// Who may reach an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Costs money.
    Metered,
    /// Costs nothing.
    Free,
    /// Works on something kept by the vendor; only for the tenant that made it.
    State,
    /// Hands out a way around the meter.
    Escape,
}

/// What an endpoint does with things kept by the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Nothing.
    Nothing,
    /// The answer's `id` names something new that belongs to the caller's tenant.
    Creates,
    /// The first `{…}` of the path names something that must belong to the caller's tenant.
    Item,
    /// Lists what every tenant made.
    List,
}

/// The method of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// GET, and the handshake of a WebSocket.
    Get,
    /// POST.
    Post,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl Verb {
    fn is(self, method: &Method) -> bool {
        match self {
            Self::Get => *method == Method::GET,
            Self::Post => *method == Method::POST,
            Self::Patch => *method == Method::PATCH,
            Self::Delete => *method == Method::DELETE,
        }
    }
}

/// What a cheap look at one event of a stream says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glance {
    /// Nothing to learn; counted as a frame.
    Dull,
    /// Carries generated output and nothing else to learn; counted as an output frame.
    Output,
    /// Must be parsed: usage, an error, an end.
    Telling,
}

/// What was asked, as far as it is known. The body may be absent (it was not held) or no JSON at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// After our own prefix.
    pub path: &'a str,
    /// Without the question mark and our own parameters.
    pub query: Option<&'a str>,
    /// The request's `content-type`.
    pub content_type: Option<&'a str>,
    /// The whole body, as the caller sent it.
    pub body: Option<&'a [u8]>,
}

/// What the body of an answer is, where its type says nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON value; another type is noted and not read.
    Json,
    /// Audio, images or plain text beside JSON: what is not JSON is counted and not read.
    Opaque,
    /// A JSON array that grows as its objects come; or one JSON value.
    Elements,
    /// JSON lines, whatever their type says; an error is one JSON value.
    Lines,
    /// JSON, or a plain text that is read by the line.
    JsonOrText,
}

/// Finds the splice that makes a request ask for its usage.
pub type AmendRequest = fn(&[u8]) -> Option<Splice>;

/// One kind of call.
#[derive(Debug)]
pub struct Endpoint {
    /// Its method.
    pub verb: Verb,
    /// Segments; `{name}` stands for one that is not empty and hides no slash or dots, `{name}:verb`
    /// for one that ends so, `{name+}` for one that may also be an ARN with its slashes encoded, and
    /// `v*` for a version: `v1`, `v1beta`.
    pub path: &'static str,
    /// Where it lives, when that is another host than its provider's; without a trailing slash.
    pub base_url: Option<&'static str>,
    /// What the event calls it.
    pub kind: EndpointKind,
    /// Who may reach it.
    pub class: Class,
    /// What it does with things kept by the vendor.
    pub keeps: Keeps,
    /// Whether its usage is read. Where it is not, the draft says so: `missing`, never zero.
    pub is_read: bool,
    /// Makes a streaming request ask for its usage.
    pub amend_request: Option<AmendRequest>,
    /// Keeps the facts of a request that can decide its price.
    pub request_facts: fn(&mut Evidence, &Asked<'_>),
    /// Looks at one event of a stream without parsing it.
    pub glance: fn(&[u8]) -> Glance,
    /// What the body of an answer is, where it is no event stream.
    pub form: Form,
    /// Headers of an answer that evidence keeps, in lower case.
    pub answer_headers: &'static [&'static str],
    /// Copies usage objects and facts out of one frame.
    pub collect: fn(&Frame<'_>, &mut Evidence),
    /// How its socket is read, where the route is one for WebSockets.
    pub socket: Option<&'static Socket>,
    /// Makes lines of the evidence; the only reader of quantities.
    pub usage_of: fn(&Evidence) -> UsageDraft,
}

impl Provider {
    /// The endpoint of a path (after our own prefix, without its query). Nothing is normalised.
    #[must_use]
    pub fn endpoint(&self, method: &Method, path: &str) -> Option<&'static Endpoint> {
        self.endpoints
            .iter()
            .find(|endpoint| endpoint.verb.is(method) && matches(endpoint.path, path))
    }

    /// The base URLs of endpoints that live at another host, each once.
    #[must_use]
    pub fn other_hosts(&self) -> Vec<&'static str> {
        let mut hosts: Vec<&'static str> = Vec::new();
        for base_url in self
            .endpoints
            .iter()
            .filter_map(|endpoint| endpoint.base_url)
        {
            if !hosts.contains(&base_url) {
                hosts.push(base_url);
            }
        }
        hosts
    }
}

impl Endpoint {
    /// What an endpoint is unless it says otherwise: a priced POST whose answer is not read.
    pub const DEFAULT: Self = Self {
        verb: Verb::Post,
        path: "",
        base_url: None,
        kind: EndpointKind::Other,
        class: Class::Metered,
        keeps: Keeps::Nothing,
        is_read: false,
        amend_request: None,
        request_facts: |_, _| {},
        glance: |_| Glance::Dull,
        form: Form::Json,
        answer_headers: &[],
        collect: |_, _| {},
        socket: None,
        usage_of: |_| UsageDraft {
            lines: Vec::new(),
            source: UsageSource::Missing,
            reason: Some("unknown_route"),
            low: None,
            high: None,
        },
    };

    /// What stands at `{id}`, else at the first `{…}`, of the endpoint's path.
    #[must_use]
    pub fn id_in<'a>(&self, path: &'a str) -> Option<&'a str> {
        let mut found = None;
        for (wanted, segment) in self.path.split('/').zip(path.split('/')) {
            let Some((name, verb)) = placeholder(wanted) else {
                continue;
            };
            let value = segment.strip_suffix(verb)?;
            if name.trim_end_matches('+') == "id" {
                return Some(value);
            }
            found.get_or_insert(value);
        }
        found
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    // Most endpoints differ in length or in a byte; only those with a placeholder need the walk.
    if pattern == path {
        return true;
    }
    if !pattern.contains(['{', '*']) {
        return false;
    }
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        let Some(segment) = segments.next() else {
            return false;
        };
        let fits = match placeholder(wanted) {
            Some((name, verb)) => segment.strip_suffix(verb).is_some_and(|value| {
                is_plain(value) || (name.ends_with('+') && is_plain_arn(value))
            }),
            None if wanted == "v*" => is_version(segment),
            None => wanted == segment,
        };
        if !fits {
            return false;
        }
    }
    segments.next().is_none()
}

/// The name of a placeholder and what its segment ends with, colon included.
fn placeholder(wanted: &str) -> Option<(&str, &str)> {
    wanted.strip_prefix('{')?.split_once('}')
}

fn is_version(segment: &str) -> bool {
    let rest = segment.strip_prefix('v').unwrap_or_default();
    rest.starts_with(|first: char| first.is_ascii_digit())
        && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// An ARN whose parts between encoded slashes are plain.
fn is_plain_arn(segment: &str) -> bool {
    let start = segment.get(..6).unwrap_or_default();
    let is_arn = start.starts_with("arn:") || start.eq_ignore_ascii_case("arn%3A");
    is_arn
        && segment
            .split("%2F")
            .flat_map(|part| part.split("%2f"))
            .all(is_plain)
}

/// A segment that no server can read as several, or as a step upwards.
fn is_plain(segment: &str) -> bool {
    if segment.is_empty() || segment.contains('\\') {
        return false;
    }
    let bytes = segment.as_bytes();
    let mut dots = 0;
    let mut at = 0;
    let mut scalars = 0;
    while at < bytes.len() {
        let (byte, step) = match bytes.get(at..at + 3) {
            Some([b'%', high, low]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, 3),
                _ => (b'%', 1),
            },
            _ => (bytes[at], 1),
        };
        if step == 3 && matches!(byte, b'/' | b'\\' | b'%' | b'?' | b'#' | 0) {
            return false;
        }
        dots += usize::from(byte == b'.');
        scalars += 1;
        at += step;
    }
    !(dots == scalars && scalars <= 2)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(provider: &str, method: Method, path: &str) -> Option<Class> {
        find(provider)?
            .endpoint(&method, path)
            .map(|endpoint| endpoint.class)
    }

    #[test]
    fn paths_find_their_class() {
        let cases = [
            (
                "openai",
                Method::POST,
                "/v1/chat/completions",
                Some(Class::Metered),
            ),
            (
                "openai",
                Method::POST,
                "/chat/completions",
                Some(Class::Metered),
            ),
            (
                "openai",
                Method::GET,
                "/v1/models/gpt-6-sol",
                Some(Class::Free),
            ),
            ("openai", Method::GET, "/v1/files", Some(Class::State)),
            (
                "openai",
                Method::GET,
                "/v1/responses/resp_1",
                Some(Class::State),
            ),
            (
                "openai",
                Method::POST,
                "/v1/responses/compact",
                Some(Class::Metered),
            ),
            (
                "openai",
                Method::POST,
                "/v1/responses/input_tokens",
                Some(Class::Free),
            ),
            (
                "openai",
                Method::POST,
                "/v1/realtime/client_secrets",
                Some(Class::Escape),
            ),
            ("openai", Method::GET, "/v1/realtime", Some(Class::Metered)),
            ("openai", Method::GET, "/v1/organization/costs", None),
            (
                "anthropic",
                Method::POST,
                "/v1/messages",
                Some(Class::Metered),
            ),
            (
                "anthropic",
                Method::POST,
                "/v1/messages/count_tokens",
                Some(Class::Free),
            ),
            (
                "anthropic",
                Method::GET,
                "/v1/messages/batches/b1/results",
                Some(Class::State),
            ),
            ("deepgram", Method::POST, "/v1/listen", Some(Class::Metered)),
            ("deepgram", Method::GET, "/v1/listen", Some(Class::Metered)),
            (
                "deepgram",
                Method::POST,
                "/v1/auth/grant",
                Some(Class::Escape),
            ),
            ("deepgram", Method::GET, "/v1/projects/p/balances", None),
        ];
        for (provider, method, path, class) in cases {
            assert_eq!(class_of(provider, method, path), class, "{provider} {path}");
        }
    }

    #[test]
    fn nothing_is_normalised_and_nothing_hides_in_a_segment() {
        for path in [
            "//v1/chat/completions",
            "/v1/chat/completions/",
            "/v1/chat/../chat/completions",
            "/V1/chat/completions",
        ] {
            assert_eq!(class_of("openai", Method::POST, path), None, "{path}");
        }
        for path in [
            "/v1/models/",
            "/v1/models/..",
            "/v1/models/%2e.",
            "/v1/models/..%2Frealtime%2fclient_secrets",
            "/v1/models/a\\b",
            "/v1/models/a%5cb",
            "/v1/models/%252e",
        ] {
            assert_eq!(class_of("openai", Method::GET, path), None, "{path}");
        }
        assert!(class_of("openai", Method::GET, "/v1/models/ft:gpt-4o:a%20b").is_some());
        assert!(class_of("openai", Method::GET, "/v1/models/%zz%").is_some());
    }

    #[test]
    fn placeholders_may_have_a_verb_a_version_or_an_arn() {
        for (pattern, path, fits) in [
            (
                "/v*/models/{model}:generateContent",
                "/v1beta/models/gemini-3:generateContent",
                true,
            ),
            (
                "/v*/models/{model}:generateContent",
                "/v1/models/a:b:generateContent",
                true,
            ),
            (
                "/v*/models/{model}:generateContent",
                "/v1/models/:generateContent",
                false,
            ),
            (
                "/v*/models/{model}:generateContent",
                "/v1/models/..:generateContent",
                false,
            ),
            (
                "/v*/models/{model}:generateContent",
                "/v1/models/a:countTokens",
                false,
            ),
            (
                "/v*/models/{model}:generateContent",
                "/v1/models/a:generateContentX",
                false,
            ),
            (
                "/v*/models/{model}:generateContent",
                "/beta/models/a:generateContent",
                false,
            ),
            (
                "/v*/models/{model}:generateContent",
                "/v/models/a:generateContent",
                false,
            ),
            ("/v*/models", "/v1.1/models", false),
            (
                "/model/{model}/invoke",
                "/model/arn:aws:bedrock:x%2Fy/invoke",
                false,
            ),
            (
                "/model/{model+}/invoke",
                "/model/arn%3aaws%3Abedrock%3Ax%2Fy%2fz/invoke",
                true,
            ),
            (
                "/model/{model+}/invoke",
                "/model/arn:aws:bedrock:x%2F..%2Fz/invoke",
                false,
            ),
            (
                "/model/{model+}/invoke",
                "/model/arn:aws%2F%2Fz/invoke",
                false,
            ),
            ("/model/{model+}/invoke", "/model/x%2Fy/invoke", false),
            (
                "/model/{model+}/invoke",
                "/model/us.anthropic.claude-v1:0/invoke",
                true,
            ),
        ] {
            assert_eq!(matches(pattern, path), fits, "{path}");
        }
    }

    #[test]
    fn the_id_of_a_path_is_what_is_called_so_or_its_first_placeholder() {
        let id = |path: &'static str, of| {
            Endpoint {
                path,
                ..Endpoint::DEFAULT
            }
            .id_in(of)
        };
        assert_eq!(id("/v*/p/{p}/files/{id}:x", "/v1/p/7/files/f:x"), Some("f"));
        assert_eq!(id("/v*/t/{thread}/runs/{run}", "/v1/t/7/runs/r"), Some("7"));
        assert_eq!(id("/v*/t", "/v1/t"), None);
    }

    #[test]
    fn the_id_of_a_listed_path_is_found() {
        let provider = find("openai").expect("it is built in");
        let path = "/v1/batches/batch_7/cancel";
        let endpoint = provider
            .endpoint(&Method::POST, path)
            .expect("it is listed");
        assert_eq!(endpoint.keeps, Keeps::Item);
        assert_eq!(endpoint.id_in(path), Some("batch_7"));
    }

    #[test]
    fn every_item_names_its_thing_and_every_name_is_its_own() {
        for provider in ALL {
            assert!(!provider.base_url.ends_with('/'));
            for (at, endpoint) in provider.endpoints.iter().enumerate() {
                assert!(endpoint.base_url.is_none_or(|url| !url.ends_with('/')));
                assert!(endpoint.path.starts_with('/'));
                assert_eq!(
                    endpoint.keeps == Keeps::Item,
                    !matches!(endpoint.keeps, Keeps::Creates | Keeps::List)
                        && endpoint.path.contains('{')
                        && endpoint.class == Class::State,
                    "{}",
                    endpoint.path
                );
                assert!(
                    !provider.endpoints[..at]
                        .iter()
                        .any(|other| other.verb == endpoint.verb && other.path == endpoint.path),
                    "{} twice",
                    endpoint.path
                );
            }
        }
    }
}
