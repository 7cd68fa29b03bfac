//! Which paths are which endpoints.

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
                !matches!(
                    endpoint.keeps,
                    Keeps::Creates | Keeps::List | Keeps::Told(_)
                ) && endpoint.path.contains('{')
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

/// What a route of the vendors' is to us: its answer is read, its socket is, or it has a class of its own.
#[derive(Debug, PartialEq, Eq)]
enum Is {
    Read,
    Socket,
    Free,
    Escape,
    Unknown,
}

fn what(provider: &str, method: &Method, path: &str) -> Is {
    let found = find(provider).and_then(|found| found.endpoint(method, path));
    match found {
        None => Is::Unknown,
        Some(endpoint) if endpoint.socket.is_some() => Is::Socket,
        Some(endpoint) if endpoint.is_read => Is::Read,
        Some(endpoint) if endpoint.class == Class::Free => Is::Free,
        Some(endpoint) if endpoint.class == Class::Escape => Is::Escape,
        Some(endpoint) => panic!("{} is none of these", endpoint.path),
    }
}

#[test]
fn every_route_that_costs_is_read() {
    let (get, post) = (Method::GET, Method::POST);
    let routes: [(&str, &Method, Is, &str); 58] = [
        (
            "openai",
            &post,
            Is::Read,
            "/v1/chat/completions /chat/completions",
        ),
        (
            "openai",
            &post,
            Is::Read,
            "/openai/deployments/d/chat/completions",
        ),
        (
            "azure",
            &post,
            Is::Read,
            "/openai/deployments/d/chat/completions",
        ),
        ("openai", &post, Is::Read, "/v1/completions /completions"),
        (
            "openai",
            &post,
            Is::Read,
            "/v1/responses /v1/responses/r/cancel",
        ),
        ("openai", &get, Is::Read, "/v1/responses/r"),
        ("openai", &post, Is::Free, "/v1/responses/input_tokens"),
        (
            "openai",
            &post,
            Is::Read,
            "/v1/responses/compact /v1/decisions",
        ),
        ("openai", &post, Is::Read, "/v1/embeddings /embeddings"),
        (
            "openai",
            &post,
            Is::Read,
            "/v1/audio/transcriptions /v1/audio/translations",
        ),
        ("openai", &post, Is::Read, "/v1/audio/speech"),
        (
            "openai",
            &post,
            Is::Read,
            "/v1/images/generations /v1/images/edits /v1/images/variations",
        ),
        ("openai", &post, Is::Read, "/v1/videos"),
        ("openai", &get, Is::Read, "/v1/videos/v"),
        (
            "openai",
            &get,
            Is::Read,
            "/v1/batches/b /v1/files/f/content",
        ),
        (
            "openai",
            &get,
            Is::Socket,
            "/v1/realtime /v1/realtime/translations /v1/responses",
        ),
        (
            "openai",
            &get,
            Is::Socket,
            "/v1/live/sessions /v1/live/sessions/s",
        ),
        (
            "openai",
            &post,
            Is::Escape,
            "/v1/realtime/calls /v1/realtime/client_secrets",
        ),
        (
            "openai",
            &post,
            Is::Escape,
            "/v1/realtime/sessions /v1/realtime/transcription_sessions",
        ),
        ("openai", &get, Is::Free, "/v1/models /v1/models/m"),
        (
            "openai",
            &post,
            Is::Read,
            "/api/chat /api/generate /api/embed",
        ),
        ("openai", &post, Is::Read, "/v1/messages /v1/rerank"),
        ("anthropic", &post, Is::Read, "/v1/messages"),
        ("anthropic", &post, Is::Free, "/v1/messages/count_tokens"),
        (
            "anthropic",
            &get,
            Is::Read,
            "/v1/messages/batches/b/results",
        ),
        (
            "bedrock",
            &post,
            Is::Read,
            "/model/m/invoke /model/m/invoke-with-response-stream",
        ),
        (
            "bedrock",
            &post,
            Is::Read,
            "/model/m/converse /model/m/converse-stream",
        ),
        (
            "gemini",
            &post,
            Is::Read,
            "/v1beta/models/m:generateContent /v1/models/m:generateContent",
        ),
        (
            "gemini",
            &post,
            Is::Read,
            "/v1beta/models/m:streamGenerateContent",
        ),
        (
            "gemini",
            &post,
            Is::Read,
            "/v1beta/models/m:embedContent /v1beta/models/m:batchEmbedContents",
        ),
        ("gemini", &post, Is::Free, "/v1beta/models/m:countTokens"),
        ("gemini", &get, Is::Free, "/v1beta/models /v1beta/models/m"),
        (
            "gemini",
            &post,
            Is::Read,
            "/v1beta/interactions /v1beta/cachedContents",
        ),
        ("gemini", &get, Is::Read, "/v1beta/interactions/i"),
        (
            "gemini",
            &get,
            Is::Socket,
            "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
        ),
        (
            "gemini",
            &get,
            Is::Socket,
            "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained",
        ),
        (
            "deepgram",
            &post,
            Is::Read,
            "/v1/listen /v1/speak /v2/speak /v1/read",
        ),
        (
            "deepgram",
            &get,
            Is::Socket,
            "/v1/listen /v2/listen /v1/speak /v2/speak /v1/agent/converse",
        ),
        ("deepgram", &post, Is::Escape, "/v1/auth/grant"),
        (
            "elevenlabs",
            &post,
            Is::Read,
            "/v1/text-to-speech/v /v1/text-to-speech/v/stream",
        ),
        (
            "elevenlabs",
            &post,
            Is::Read,
            "/v1/text-to-speech/v/with-timestamps /v1/text-to-speech/v/stream/with-timestamps",
        ),
        (
            "elevenlabs",
            &post,
            Is::Read,
            "/v1/text-to-dialogue /v1/text-to-dialogue/stream /v1/sound-generation",
        ),
        (
            "elevenlabs",
            &post,
            Is::Read,
            "/v1/music /v1/speech-to-speech/v /v1/speech-to-text",
        ),
        (
            "elevenlabs",
            &get,
            Is::Socket,
            "/v1/speech-to-text/realtime",
        ),
        (
            "elevenlabs",
            &get,
            Is::Socket,
            "/v1/text-to-speech/v/stream-input /v1/text-to-speech/v/multi-stream-input",
        ),
        ("assemblyai", &get, Is::Read, "/v2/transcript/t"),
        ("assemblyai", &get, Is::Socket, "/v3/ws /v1/ws"),
        (
            "assemblyai",
            &post,
            Is::Read,
            "/v1/transcribe /v1/transcribe/live /v1/speech /v1/chat/completions",
        ),
        (
            "cartesia",
            &post,
            Is::Read,
            "/tts/bytes /tts/sse /infill/bytes /stt",
        ),
        (
            "cartesia",
            &post,
            Is::Read,
            "/voice-changer/bytes /voice-changer/sse",
        ),
        (
            "cartesia",
            &get,
            Is::Socket,
            "/tts/websocket /stt/websocket /stt/turns/websocket",
        ),
        (
            "cohere",
            &post,
            Is::Read,
            "/v1/chat /v2/chat /v1/embed /v2/embed /v1/rerank /v2/rerank /v1/classify",
        ),
        (
            "groq",
            &post,
            Is::Read,
            "/openai/v1/chat/completions /openai/v1/audio/transcriptions",
        ),
        (
            "mistral",
            &post,
            Is::Read,
            "/v1/chat/completions /v1/ocr /v1/audio/transcriptions /v1/audio/speech",
        ),
        (
            "voyage",
            &get,
            Is::Read,
            "/v1/batches/b /v1/files/f/content",
        ),
        (
            "vertex",
            &post,
            Is::Read,
            "/v1/projects/p/locations/l/publishers/google/models/m:generateContent",
        ),
        (
            "vertex",
            &post,
            Is::Read,
            "/v1/projects/p/locations/l/publishers/anthropic/models/m:streamRawPredict",
        ),
        ("openai", &post, Is::Unknown, "/v1/organization/projects"),
    ];
    for (provider, method, expected, paths) in routes {
        for path in paths.split(' ') {
            assert_eq!(what(provider, method, path), expected, "{provider} {path}");
        }
    }
}

#[test]
fn headers_are_named_as_they_are_compared() {
    let is_lower = |name: &str| http::HeaderName::from_lowercase(name.as_bytes()).is_ok();
    for provider in ALL {
        assert!(is_lower(provider.request_id_header), "{}", provider.name);
        for endpoint in provider.endpoints {
            for name in endpoint.answer_headers {
                assert!(is_lower(name), "{}: {name}", provider.name);
            }
        }
    }
}
