//! Things that vendors keep for a tenant: how answers name what a call made, how requests name what
//! they work on. Both names meet in one form, so that they can be compared as texts.
//!
//! An id stands for itself. A resource's name keeps its last two parts: `files/abc`, so that a file
//! and a cache of one name are two things.

use std::borrow::Cow;
use std::sync::LazyLock;

use farebox_pricing::event::{OBJECT_BYTES_MAX, OBJECTS_MAX};
use farebox_pricing::evidence::Evidence;
use memchr::memchr;
use memchr::memmem::Finder;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::framing::quotes::{Beginnings, Letters, any_text};
use crate::provider::{Class, Endpoint, Keeps};
use crate::providers::facts;

/// Most things that one body may name.
pub const NAMED_MAX: usize = 256;
/// The query parameter of a socket that listens to another one's session.
const SIDEBAND_PARAMETER: &str = "call_id=";
/// Members at a body's top, and of its tools, whose texts name things. `conversation` may be an object
/// with an `id`.
const NAMING: [&str; 12] = [
    "previous_response_id",
    "previous_interaction_id",
    "conversation",
    "conversation_id",
    "thread_id",
    "input_file_id",
    "training_file",
    "validation_file",
    "cachedContent",
    "cached_content",
    "transcript_ids",
    "vector_store_ids",
];
/// Members anywhere in what a model is given.
const NAMING_ANYWHERE: [&str; 5] = [
    "file_id",
    "file_ids",
    "fileUri",
    "file_uri",
    "vector_store_ids",
];
/// Members that hold somebody's own JSON: what looks like a name there is none.
const OWN_JSON: [&str; 9] = [
    "args",
    "arguments",
    "functionResponse",
    "function_response",
    "metadata",
    "output",
    "parameters",
    "schema",
    "input_schema",
];

/// A letter of a name may be written as an escape; this is how one begins.
static ESCAPED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\\u00"));

/// Whether a body may name anything: looked for in every body, so in one pass over its quotes.
fn may_name(body: &[u8]) -> bool {
    const FIRST: Letters = Letters::of(b"cfiptv");
    const AT_TOP: Beginnings<12> = Beginnings::of(NAMING);
    const ANYWHERE: Beginnings<5> = Beginnings::of(NAMING_ANYWHERE);
    let begins_name = |text: &[u8]| {
        let is_there =
            |name: &&str| text.get(name.len()) == Some(&b'"') && text.starts_with(name.as_bytes());
        (AT_TOP.hold(text) || ANYWHERE.hold(text))
            && NAMING.iter().chain(&NAMING_ANYWHERE).any(is_there)
    };
    any_text(body, FIRST, begins_name) || has_escaped_letter(body)
}

fn has_escaped_letter(body: &[u8]) -> bool {
    // Few short bodies hold an escape at all, and this search takes longer to set up.
    let Some(rest) = memchr(b'\\', body).and_then(|first| body.get(first..)) else {
        return false;
    };
    let is_letter = |at: usize| matches!(rest.get(at + ESCAPED.needle().len()), Some(b'4'..=b'7'));
    ESCAPED.find_iter(rest).any(is_letter)
}

/// Whether a call makes its answer itself. A call on something kept, and a socket that listens to
/// another one's session, tell what another call made.
#[must_use]
pub fn is_original(endpoint: &Endpoint, query: Option<&str>) -> bool {
    let is_sideband = endpoint.socket.is_some()
        && query.is_some_and(|query| {
            let mut pairs = query.split('&');
            pairs.any(|pair| pair.starts_with(SIDEBAND_PARAMETER))
        });
    endpoint.class != Class::State && !is_sideband
}

/// What an answer says is the caller's from now on.
#[must_use]
pub fn made(endpoint: &Endpoint, evidence: &Evidence) -> Vec<String> {
    let is_refused = facts::status(evidence).is_none_or(|status| status >= 400);
    let is_kept = match endpoint.keeps {
        Keeps::Stores => evidence.request.is_set("store"),
        // Vendors that keep answers do so unless told otherwise.
        _ => !evidence.request.contains_key("store") || evidence.request.is_set("store"),
    };
    if !endpoint.names_things() || is_refused || !is_kept {
        return Vec::new();
    }
    let names = match endpoint.made {
        [] => &["id"],
        made => made,
    };
    names
        .iter()
        .filter_map(|name| {
            let header = || evidence.headers.get(*name).map(String::as_str);
            evidence.response_text(name).or_else(header)
        })
        .filter_map(|name| Some(normal(name).into_owned()).filter(|name| is_name(name)))
        .take(OBJECTS_MAX)
        .collect()
}

/// What a path works on: the forms by which it may be known.
#[must_use]
pub fn named_in_path(endpoint: &Endpoint, path: &str) -> Option<Vec<String>> {
    let id = endpoint.id_in(path)?;
    let decoded = percent_decode_str(id).decode_utf8_lossy();
    if decoded.contains('/') {
        return Some(vec![normal(&decoded).into_owned()]);
    }
    let mut wanted = endpoint.path.split('/');
    let is_id = |segment: &str| segment.starts_with("{id");
    let at = wanted.clone().position(is_id);
    let at = at.or_else(|| wanted.position(|segment| segment.starts_with('{')))?;
    let collection = at
        .checked_sub(1)
        .and_then(|before| path.split('/').nth(before));
    let mut forms = vec![decoded.clone().into_owned()];
    if let Some(collection) = collection.filter(|collection| !collection.is_empty()) {
        forms.push(format!("{collection}/{decoded}"));
    }
    Some(forms)
}

/// What a member of a body names.
#[must_use]
pub fn named_in_member(body: &[u8], member: &str) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let name = body.get(member)?.as_str()?;
    Some(normal(name).into_owned())
}

/// What a body names, as far as it is JSON; `None` when that is more than [`NAMED_MAX`].
#[must_use]
pub fn named_in_body(body: &[u8]) -> Option<Vec<String>> {
    if !may_name(body) {
        return Some(Vec::new());
    }
    let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(body) else {
        return Some(Vec::new());
    };
    let mut found = Vec::new();
    for (name, value) in &members {
        let name = name.as_str();
        if NAMING.contains(&name) || NAMING_ANYWHERE.contains(&name) {
            take_names(value, &mut found);
        } else if !OWN_JSON.contains(&name) {
            walk(value, &mut found);
        }
    }
    found.sort_unstable();
    found.dedup();
    (found.len() <= NAMED_MAX).then_some(found)
}

fn walk(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
        Value::Object(members) => {
            // What a tool was called with is the model's own JSON.
            let is_tool_use = members
                .get("type")
                .and_then(Value::as_str)
                .is_some_and(|kind| kind.ends_with("tool_use") || kind.ends_with("_call"));
            for (name, member) in members {
                if NAMING_ANYWHERE.contains(&name.as_str()) {
                    take_names(member, found);
                    continue;
                }
                let is_own = OWN_JSON.contains(&name.as_str()) || (is_tool_use && name == "input");
                if !is_own {
                    walk(member, found);
                }
            }
        }
        _ => {}
    }
}

/// A text, a list of texts, or an object with an `id`.
fn take_names(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(name) if is_kept_by_the_vendor(name) => {
            found.push(normal(name).into_owned());
        }
        Value::Array(items) => {
            for item in items.iter().filter(|item| item.is_string()) {
                take_names(item, found);
            }
        }
        Value::Object(members) => {
            if let Some(id @ Value::String(_)) = members.get("id") {
                take_names(id, found);
            }
        }
        _ => {}
    }
}

/// An address that is no name of the vendor's: storage of the caller's own, a video's page.
fn is_kept_by_the_vendor(name: &str) -> bool {
    !name.is_empty() && (!name.contains("://") || name.contains("/files/"))
}

fn normal(name: &str) -> Cow<'_, str> {
    let mut parts = name.rsplitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(id), Some(collection), Some(_)) => Cow::Owned(format!("{collection}/{id}")),
        _ => Cow::Borrowed(name),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= OBJECT_BYTES_MAX && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::*;
    use crate::provider::ALL;

    fn endpoint(provider: &str, method: Method, path: &str) -> &'static Endpoint {
        let provider = ALL.iter().find(|known| known.name == provider).unwrap();
        provider.endpoint(&method, path).unwrap()
    }

    #[test]
    fn a_made_thing_is_found_again_by_its_path() {
        for (provider, made_at, answer, path) in [
            (
                "openai",
                "/v1/files",
                json!({"id": "file-1"}),
                "/v1/files/file-1/content",
            ),
            (
                "openai",
                "/v1/batches",
                json!({"id": "batch_1", "status": "validating"}),
                "/v1/batches/batch_1",
            ),
            (
                "openai",
                "/v1/responses",
                json!({"id": "resp_1", "status": "queued"}),
                "/v1/responses/resp_1/input_items",
            ),
            (
                "openai",
                "/v1/threads/runs",
                json!({"id": "run_1", "object": "thread.run", "thread_id": "thread_1"}),
                "/v1/threads/thread_1/messages",
            ),
            (
                "openai",
                "/v1/vector_stores",
                json!({"id": "vs_1"}),
                "/v1/vector_stores/vs_1/files",
            ),
            (
                "anthropic",
                "/v1/files",
                json!({"id": "file_1"}),
                "/v1/files/file_1",
            ),
            (
                "anthropic",
                "/v1/messages/batches",
                json!({"id": "msgbatch_1"}),
                "/v1/messages/batches/msgbatch_1/results",
            ),
            (
                "gemini",
                "/upload/v1beta/files",
                json!({"file": {"name": "files/abc"}}),
                "/v1beta/files/abc",
            ),
            (
                "gemini",
                "/v1beta/cachedContents",
                json!({"name": "cachedContents/c1"}),
                "/v1beta/cachedContents/c1",
            ),
            (
                "gemini",
                "/v1beta/models/veo:predictLongRunning",
                json!({"name": "models/veo/operations/o1"}),
                "/v1beta/models/veo/operations/o1",
            ),
            (
                "gemini",
                "/v1beta/models/m:batchGenerateContent",
                json!({"name": "batches/b1"}),
                "/v1beta/batches/b1",
            ),
            (
                "gemini",
                "/v1beta/interactions",
                json!({"id": "v1_x", "status": "completed"}),
                "/v1beta/interactions/v1_x",
            ),
            (
                "mistral",
                "/v1/batch/jobs",
                json!({"id": "j1"}),
                "/v1/batch/jobs/j1",
            ),
            (
                "mistral",
                "/v1/conversations",
                json!({"conversation_id": "conv_1"}),
                "/v1/conversations/conv_1",
            ),
            (
                "assemblyai",
                "/v2/transcript",
                json!({"id": "t1", "status": "queued"}),
                "/v2/transcript/t1/srt",
            ),
            (
                "bedrock",
                "/async-invoke",
                json!({"invocationArn": "arn:aws:bedrock:r:1:async-invoke/a1"}),
                "/async-invoke/arn%3Aaws%3Abedrock%3Ar%3A1%3Aasync-invoke%2Fa1",
            ),
            (
                "together",
                "/v1/batches",
                json!({"job": {"id": "b-1"}}),
                "/v1/batches/b-1",
            ),
            (
                "cohere",
                "/v1/embed-jobs",
                json!({"job_id": "e-1"}),
                "/v1/embed-jobs/e-1",
            ),
            (
                "xai",
                "/v1/videos/generations",
                json!({"request_id": "v-1"}),
                "/v1/videos/v-1",
            ),
            (
                "xai",
                "/v1/chat/completions",
                json!({"request_id": "d-1"}),
                "/v1/chat/deferred-completion/d-1",
            ),
            (
                "vertex",
                "/v1/projects/p/locations/l/batchPredictionJobs",
                json!({"name": "projects/p/locations/l/batchPredictionJobs/7"}),
                "/v1/projects/p/locations/l/batchPredictionJobs/7",
            ),
        ] {
            let creating = endpoint(provider, Method::POST, made_at);
            let body = answer.to_string();
            let reader = crate::reader::Reader::new(
                creating,
                Evidence::default(),
                200,
                Some("application/json"),
                None,
            );
            let mut reader = reader;
            reader.push(&bytes::Bytes::from(body));
            let made = made(creating, &reader.finish(true));
            let named = ALL
                .iter()
                .find(|known| known.name == provider)
                .unwrap()
                .endpoint(&Method::GET, path)
                .or_else(|| Some(endpoint(provider, Method::POST, path)))
                .and_then(|endpoint| named_in_path(endpoint, path))
                .unwrap();
            assert_eq!(made.len(), 1, "{provider} {made_at}: {made:?}");
            assert!(named.contains(&made[0]), "{provider}: {made:?} {named:?}");
        }
    }

    #[test]
    fn a_thing_named_as_its_collection_is_found_too() {
        let path = "/v1beta/files/files:download";
        let named = named_in_path(endpoint("gemini", Method::GET, path), path).unwrap();
        assert_eq!(named, ["files", "files/files"]);
    }

    #[test]
    fn every_call_that_makes_something_reads_its_name() {
        for provider in ALL {
            for endpoint in provider.endpoints {
                if !endpoint.names_things() || endpoint.socket.is_some() {
                    continue;
                }
                let nothing = Endpoint::DEFAULT.collect as usize;
                let is_in_headers = endpoint
                    .made
                    .iter()
                    .all(|name| endpoint.answer_headers.contains(name));
                assert!(
                    endpoint.collect as usize != nothing || is_in_headers,
                    "{} {}",
                    provider.name,
                    endpoint.path
                );
            }
        }
    }

    #[test]
    fn nothing_is_made_by_an_answer_that_refuses_or_is_not_stored() {
        let check = |path, request: &[(&'static str, bool)], status: u64, expected: usize| {
            let endpoint = endpoint("openai", Method::POST, path);
            let mut evidence = Evidence::default();
            evidence.response.insert("status", status);
            evidence.response.insert("id", "x");
            for (name, value) in request {
                evidence.request.insert(*name, *value);
            }
            assert_eq!(
                made(endpoint, &evidence).len(),
                expected,
                "{path} {request:?}"
            );
        };
        check("/v1/responses", &[], 200, 1);
        check("/v1/responses", &[], 404, 0);
        check("/v1/responses", &[("store", false)], 200, 0);
        check("/v1/chat/completions", &[], 200, 0);
        check("/v1/chat/completions", &[("store", true)], 200, 1);
    }

    #[test]
    fn bodies_name_things_outside_of_what_is_somebodys_own_json() {
        let check = |body: Value, expected: &[&str]| {
            let found = named_in_body(body.to_string().as_bytes()).unwrap();
            assert_eq!(found, expected, "{body}");
        };
        check(json!({"model": "m"}), &[]);
        check(
            json!({"previous_response_id": "resp_1", "conversation": {"id": "conv_1"},
                   "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}],
                   "tools": [{"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]}]}),
            &["conv_1", "file-1", "resp_1", "vs_1", "vs_2"],
        );
        check(
            json!({"messages": [{"content": [
                {"type": "document", "source": {"type": "file", "file_id": "file_9"}},
                {"type": "tool_use", "input": {"file_id": "mine"}}]}],
                   "tools": [{"input_schema": {"properties": {"file_id": {"type": "string"}}}}]}),
            &["file_9"],
        );
        check(
            json!({"cachedContent": "cachedContents/c", "contents": [{"parts": [
                {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc"}},
                {"fileData": {"fileUri": "gs://own/thing"}},
                {"functionCall": {"args": {"file_id": "mine"}}}]}]}),
            &["cachedContents/c", "files/abc"],
        );
        check(
            json!({"file_id": "top", "metadata": {"file_id": "mine"}}),
            &["top"],
        );
        let escaped = br#"{"previous_response\u005fid":"resp_1"}"#;
        assert_eq!(named_in_body(escaped), Some(vec!["resp_1".to_owned()]));
        let many: Vec<String> = (0..=NAMED_MAX).map(|n| format!("f{n}")).collect();
        assert_eq!(
            named_in_body(json!({"x": {"file_ids": many}}).to_string().as_bytes()),
            None
        );
        assert_eq!(named_in_body(b"\"file_id\": {"), Some(Vec::new()));
    }

    #[test]
    fn a_sideband_socket_makes_nothing_itself() {
        let socket = ALL[0]
            .endpoints
            .iter()
            .find(|endpoint| endpoint.path == "/v1/realtime")
            .unwrap();
        assert!(is_original(socket, Some("model=m")));
        assert!(!is_original(socket, Some("model=m&call_id=rtc_1")));
        assert!(!is_original(
            endpoint("openai", Method::GET, "/v1/responses/r"),
            None
        ));
    }
}
