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
