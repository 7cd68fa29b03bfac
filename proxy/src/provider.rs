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

mod bookable;
pub(crate) mod running;
pub(crate) mod unread;

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
    /// As [`Self::Creates`], where the request says `store`.
    Stores,
    /// The first `{…}` of the path names something that must belong to the caller's tenant.
    Item,
    /// A member of the request's body does.
    Told(&'static str),
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
    /// As in a request line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

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
    /// Facts or headers of its answer that name what is the caller's from now on, where that is not
    /// the `id` of what was created.
    pub made: &'static [&'static str],
    /// Whether its usage is read. Where it is not, the draft says so: `missing`, never zero.
    pub is_read: bool,
    /// Makes a streaming request ask for its usage.
    pub amend_request: Option<AmendRequest>,
    /// Whether a request with this query may be made to.
    pub amends_when: fn(Option<&str>) -> bool,
    /// Keeps the facts of a request that can decide its price.
    pub request_facts: fn(&mut Evidence, &Asked<'_>),
    /// Looks at one event of a stream without parsing it.
    pub glance: fn(&[u8]) -> Glance,
    /// Whether most events of its streams differ in texts alone, and a glance costs more than finding
    /// that out.
    pub is_steady: bool,
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
        made: &[],
        is_read: false,
        amend_request: None,
        amends_when: |_| true,
        request_facts: |_, _| {},
        glance: |_| Glance::Dull,
        is_steady: false,
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

    /// What [`Self::usage_of`] makes of the evidence, as far as all of it could be read and a ledger can
    /// hold it.
    #[must_use]
    pub fn draft(&self, evidence: &Evidence) -> UsageDraft {
        let draft = running::told((self.usage_of)(evidence), evidence);
        bookable::within(unread::told(draft, evidence))
    }

    /// What evidence calls it: `POST /v1/chat/completions`.
    #[must_use]
    pub fn route(&self) -> String {
        // Asked for by every call, and a formatter costs several times as much.
        [self.verb.name(), " ", self.path].concat()
    }

    /// Whether its answers name something that is the caller's from now on.
    #[must_use]
    pub fn names_things(&self) -> bool {
        !self.made.is_empty() || matches!(self.keeps, Keeps::Creates | Keeps::Stores)
    }

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
mod tests;
