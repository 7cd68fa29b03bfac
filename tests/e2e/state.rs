//! Things that vendors keep: whose they are, on every proxy; lists and tokens; one charge for a result
//! that is fetched many times.

use farebox_tests::beside::Beside;
use farebox_tests::shelf::Shelf;
use farebox_tests::stack::{Key, Stack};
use farebox_tests::wire::{Message, Request};
use serde_json::{Value, json};

use crate::{Result, text};

/// A stack whose vendors keep things, and keys of two tenants.
struct World {
    stack: Stack,
    shelf: Shelf,
    acme: Key,
    globex: Key,
}

impl World {
    async fn new(further: &[(&str, &str)]) -> Result<Self> {
        let shelf = Shelf::start().await?;
        let url = shelf.url();
        let upstreams = ["openai", "anthropic", "gemini", "assemblyai", "vertex"];
        let mut settings: Vec<(String, String)> = Vec::new();
        for upstream in upstreams {
            settings.push((format!("upstreams.{upstream}.base_url"), url.clone()));
            settings.push((
                format!("upstreams.{upstream}.credential_env"),
                "REPLAY_CREDENTIAL".to_owned(),
            ));
        }
        let borrowed = settings.iter().map(|(key, value)| (&**key, &**value));
        let all: Vec<(&str, &str)> = borrowed.chain(further.iter().copied()).collect();
        let stack = Stack::with(&all).await?;
        let acme = stack.issue(&["--tenant", "acme"])?;
        let globex = stack.issue(&["--tenant", "globex"])?;
        stack.known(&acme).await?;
        stack.known(&globex).await?;
        Ok(Self {
            stack,
            shelf,
            acme,
            globex,
        })
    }

    async fn ask(&self, key: &Key, call: &str) -> Result<Message> {
        self.stack.send(&request(key, call, "")).await
    }
}

/// `GET /openai/v1/files/x`, as the tenant of a key.
fn request(key: &Key, call: &str, body: &str) -> Request {
    let (method, path) = call.split_once(' ').unwrap_or(("GET", call));
    let request = match method {
        "POST" => Request::post(path, body).with("content-type", "application/json"),
        "GET" => Request::get(path),
        method => Request::with_method(method, path),
    };
    request.bearer(&key.secret)
}

fn error_code(answer: &Message) -> String {
    answer
        .header("x-farebox-error")
        .unwrap_or_default()
        .to_owned()
}

/// What a vendor answers a creation with, and what may be done with the thing.
struct Made {
    create: &'static str,
    answer: Value,
    then: &'static [&'static str],
}

fn made() -> Vec<Made> {
    vec![
        Made {
            create: "POST /openai/v1/files",
            answer: json!({"id": "file-a", "object": "file"}),
            then: &[
                "GET /openai/v1/files/file-a",
                "GET /openai/v1/files/file-a/content",
                "DELETE /openai/v1/files/file-a",
            ],
        },
        Made {
            create: "POST /openai/v1/batches",
            answer: json!({"id": "batch_a", "object": "batch", "status": "validating"}),
            then: &[
                "GET /openai/v1/batches/batch_a",
                "POST /openai/v1/batches/batch_a/cancel",
            ],
        },
        Made {
            create: "POST /openai/v1/responses",
            answer: json!({"id": "resp_a", "object": "response", "status": "queued", "background": true}),
            then: &[
                "GET /openai/v1/responses/resp_a",
                "GET /openai/v1/responses/resp_a/input_items",
            ],
        },
        Made {
            create: "POST /openai/v1/vector_stores",
            answer: json!({"id": "vs_a", "object": "vector_store"}),
            then: &["GET /openai/v1/vector_stores/vs_a"],
        },
        Made {
            create: "POST /openai/v1/videos",
            answer: json!({"id": "video_a", "object": "video", "status": "queued"}),
            then: &["GET /openai/v1/videos/video_a/content"],
        },
        Made {
            create: "POST /anthropic/v1/messages/batches",
            answer: json!({"id": "msgbatch_a", "processing_status": "in_progress"}),
            then: &["GET /anthropic/v1/messages/batches/msgbatch_a"],
        },
        Made {
            create: "POST /gemini/upload/v1beta/files",
            answer: json!({"file": {"name": "files/a"}}),
            then: &["GET /gemini/v1beta/files/a"],
        },
        Made {
            create: "POST /gemini/v1beta/cachedContents",
            answer: json!({"name": "cachedContents/a", "model": "models/gemini-2.5-flash",
                           "usageMetadata": {"totalTokenCount": 5000},
                           "createTime": "2026-11-22T10:00:00Z", "expireTime": "2026-11-22T11:00:00Z"}),
            then: &["DELETE /gemini/v1beta/cachedContents/a"],
        },
        Made {
            create: "POST /assemblyai/v2/transcript",
            answer: json!({"id": "transcript-a", "status": "queued"}),
            then: &["GET /assemblyai/v2/transcript/transcript-a/srt"],
        },
    ]
}

fn at_vendor(call: &str) -> String {
    let (method, path) = call.split_once(' ').unwrap_or_default();
    let path = path.trim_start_matches('/');
    let path = path.split_once('/').map_or("", |(_, path)| path);
    format!("{method} /{path}")
}

#[tokio::test]
async fn what_a_tenant_made_is_its_own_on_every_proxy() -> Result {
    let world = World::new(&[]).await?;
    let second = Beside::start(&world.stack, "second").await?;
    for thing in made() {
        world
            .shelf
            .put_json(&at_vendor(thing.create), &thing.answer);
        for call in thing.then {
            world.shelf.put_json(&at_vendor(call), &json!({"id": "x"}));
        }
        if thing.create.ends_with("/files") {
            // Made where nobody saw it: it is nobody's.
            let answer = world.ask(&world.acme, thing.then[0]).await?;
            assert_eq!(
                error_code(&answer),
                "unknown_object",
                "{} before",
                thing.then[0]
            );
        }
        let answer = world
            .stack
            .send(&request(&world.acme, thing.create, r#"{"model":"m"}"#))
            .await?;
        assert_eq!(answer.status(), 200, "{}: {}", thing.create, answer.text());
        let seen = world.shelf.asked().len();
        // At once, on the proxy that saw it and on another one.
        let elsewhere = second
            .send(&request(&world.acme, thing.then[0], ""))
            .await?;
        assert_eq!(
            elsewhere.status(),
            200,
            "{}: {}",
            thing.then[0],
            elsewhere.text()
        );
        for call in thing.then {
            let own = world.ask(&world.acme, call).await?;
            assert_eq!(own.status(), 200, "{call}: {}", own.text());
            let foreign = world.ask(&world.globex, call).await?;
            assert_eq!(foreign.status(), 404, "{call}");
            assert_eq!(error_code(&foreign), "unknown_object", "{call}");
            assert_eq!(foreign.header("x-farebox-event"), None);
            let foreign = second.send(&request(&world.globex, call, "")).await?;
            assert_eq!(
                (foreign.status(), error_code(&foreign)),
                (404, "unknown_object".into())
            );
        }
        assert_eq!(
            world.shelf.asked().len(),
            seen + 1 + thing.then.len(),
            "no foreign call went up: {}",
            thing.create
        );
    }
    // In the dialect's own words.
    let foreign = world
        .ask(
            &world.globex,
            "GET /anthropic/v1/messages/batches/msgbatch_a",
        )
        .await?;
    assert_eq!(foreign.json()["error"]["type"], "not_found_error");
    let foreign = world
        .ask(&world.globex, "GET /gemini/v1beta/files/a")
        .await?;
    assert_eq!(foreign.json()["error"]["status"], "NOT_FOUND");
    // Callers without a tenant are an owner of their own.
    let nobody = world.stack.issue(&[])?;
    world.stack.known(&nobody).await?;
    let refused = world.ask(&nobody, "GET /openai/v1/files/file-a").await?;
    assert_eq!(refused.status(), 404);
    world
        .shelf
        .put_json("POST /v1/files", &json!({"id": "file-n"}));
    world
        .shelf
        .put_json("GET /v1/files/file-n", &json!({"id": "file-n"}));
    world
        .stack
        .send(&request(&nobody, "POST /openai/v1/files", "{}"))
        .await?;
    let own = second
        .send(&request(&nobody, "GET /openai/v1/files/file-n", ""))
        .await?;
    assert_eq!(own.status(), 200, "{}", own.text());
    let foreign = world
        .ask(&world.acme, "GET /openai/v1/files/file-n")
        .await?;
    assert_eq!(foreign.status(), 404);
    Ok(())
}

#[tokio::test]
async fn lists_and_tokens_are_refused_unless_the_operator_shares_them() -> Result {
    let world = World::new(&[
        ("upstreams.gemini.shared_state", "true"),
        ("upstreams.gemini.escape_routes", "forward"),
    ])
    .await?;
    for call in [
        "GET /openai/v1/files",
        "GET /openai/v1/batches",
        "GET /openai/v1/videos",
        "GET /anthropic/v1/messages/batches",
        "GET /assemblyai/v2/transcript",
        "POST /openai/v1/realtime/calls",
        "POST /openai/v1/realtime/client_secrets",
        "POST /openai/v1/realtime/sessions",
        "POST /openai/v1/realtime/transcription_sessions",
        "POST /deepgram/v1/auth/grant",
        "POST /assemblyai/v2/realtime/token",
        "GET /assemblyai/v3/token",
    ] {
        let answer = world.ask(&world.acme, call).await?;
        assert_eq!(
            (answer.status(), error_code(&answer)),
            (403, "route_not_allowed".to_owned()),
            "{call}"
        );
    }
    assert!(world.shelf.asked().is_empty(), "none of them went up");
    for call in [
        "GET /gemini/v1beta/files",
        "GET /gemini/v1beta/files/anything",
        "POST /gemini/v1beta/auth_tokens",
    ] {
        world.shelf.put_json(&at_vendor(call), &json!({}));
        let answer = world.ask(&world.acme, call).await?;
        assert_eq!(answer.status(), 200, "{call}: {}", answer.text());
    }
    Ok(())
}

#[tokio::test]
async fn without_the_collector_an_unknown_owner_is_unavailable() -> Result {
    let mut world = World::new(&[("proxy.state_lookup_ms", "300")]).await?;
    world
        .shelf
        .put_json("POST /v1/files", &json!({"id": "file-b"}));
    world
        .shelf
        .put_json("GET /v1/files/file-b", &json!({"id": "file-b"}));
    let create = request(&world.acme, "POST /openai/v1/files", "{}");
    assert_eq!(world.stack.send(&create).await?.status(), 200);
    world.stack.collector()?.kill();
    let own = world
        .ask(&world.acme, "GET /openai/v1/files/file-b")
        .await?;
    assert_eq!(own.status(), 200, "what this proxy saw it knows");
    let foreign = world
        .ask(&world.globex, "GET /openai/v1/files/file-b")
        .await?;
    assert_eq!(foreign.status(), 404);
    let unknown = world
        .ask(&world.acme, "GET /openai/v1/files/file-c")
        .await?;
    assert_eq!(
        (unknown.status(), error_code(&unknown)),
        (503, "owner_unavailable".to_owned())
    );
    Ok(())
}

#[tokio::test]
async fn ids_inside_a_held_body_are_checked() -> Result {
    let world = World::new(&[]).await?;
    let operation = "projects/p/locations/l/publishers/google/models/veo/operations/o-1";
    let videos = "/vertex/v1/projects/p/locations/l/publishers/google/models/veo";
    world.shelf.put_json(
        "POST /v1/projects/p/locations/l/publishers/google/models/veo:predictLongRunning",
        &json!({"name": operation}),
    );
    world.shelf.put_json(
        "POST /v1/projects/p/locations/l/publishers/google/models/veo:fetchPredictOperation",
        &json!({"name": operation, "done": false}),
    );
    let start = request(
        &world.acme,
        &format!("POST {videos}:predictLongRunning"),
        "{}",
    );
    let answer = world.stack.send(&start).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let body = json!({"operationName": operation}).to_string();
    let fetch = format!("POST {videos}:fetchPredictOperation");
    for (key, status) in [(&world.acme, 200), (&world.globex, 404)] {
        let answer = world.stack.send(&request(key, &fetch, &body)).await?;
        assert_eq!(answer.status(), status, "{}", answer.text());
    }
    // A key with a list of models has its bodies held.
    let listed = world
        .stack
        .issue(&["--tenant", "globex", "--allowed-model", "gpt-4o-mini"])?;
    world.stack.known(&listed).await?;
    world.shelf.put_json(
        "POST /v1/responses",
        &json!({"id": "resp_b", "status": "completed"}),
    );
    let create = request(
        &world.acme,
        "POST /openai/v1/responses",
        r#"{"model":"gpt-4o-mini"}"#,
    );
    assert_eq!(world.stack.send(&create).await?.status(), 200);
    for (previous, status) in [("", 200), (r#","previous_response_id":"resp_b""#, 404)] {
        let body = format!(r#"{{"model":"gpt-4o-mini"{previous}}}"#);
        let call = request(&listed, "POST /openai/v1/responses", &body);
        let answer = world.stack.send(&call).await?;
        assert_eq!(answer.status(), status, "{}", answer.text());
    }
    Ok(())
}

/// A chat completion as a line of a batch's results: 10 tokens in, 2 out.
const RESULT: &str = r#"{"id":"batch_req_1","custom_id":"one","response":{"status_code":200,"body":{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-mini-2024-07-18","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}},"error":null}"#;

/// Fetched five times through two proxies.
async fn fetch_five_times(world: &World, second: &Beside, call: &str) -> Result {
    for number in 0..5 {
        let fetch = request(&world.acme, call, "");
        let answer = match number % 2 {
            0 => second.send(&fetch).await?,
            _ => world.stack.send(&fetch).await?,
        };
        assert_eq!(answer.status(), 200, "{call}: {}", answer.text());
    }
    Ok(())
}

#[tokio::test]
async fn results_fetched_five_times_by_two_proxies_are_charged_once() -> Result {
    let world = World::new(&[]).await?;
    let second = Beside::start(&world.stack, "second").await?;
    let shelf = &world.shelf;
    // A batch, asked for until it is done, and its file of results.
    let job = |status: &str| json!({"id": "batch_x", "object": "batch", "status": status});
    shelf.put_json("POST /v1/batches", &job("validating"));
    shelf.put_json("GET /v1/batches/batch_x", &job("in_progress"));
    shelf.put(
        "GET /v1/files/file-x/content",
        "application/jsonl",
        format!("{RESULT}\n{RESULT}\n"),
    );
    let create = request(
        &world.acme,
        "POST /openai/v1/batches",
        r#"{"input_file_id":""}"#,
    );
    let answer = world.stack.send(&create).await?;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(
        world
            .ask(&world.acme, "GET /openai/v1/batches/batch_x")
            .await?
            .status(),
        200
    );
    let mut done = job("completed");
    done["output_file_id"] = "file-x".into();
    shelf.put_json("GET /v1/batches/batch_x", &done);
    // The file is the tenant's from when its batch names it.
    let early = world
        .ask(&world.acme, "GET /openai/v1/files/file-x/content")
        .await?;
    assert_eq!(early.status(), 404);
    assert_eq!(
        world
            .ask(&world.acme, "GET /openai/v1/batches/batch_x")
            .await?
            .status(),
        200
    );
    fetch_five_times(&world, &second, "GET /openai/v1/files/file-x/content").await?;
    let foreign = world
        .ask(&world.globex, "GET /openai/v1/files/file-x/content")
        .await?;
    assert_eq!(foreign.status(), 404);

    // A background response.
    let response = |status: &str, usage: Value| {
        json!({"id": "resp_x", "object": "response", "status": status, "background": true,
               "model": "gpt-4o-mini-2024-07-18", "usage": usage, "output": []})
    };
    shelf.put_json("POST /v1/responses", &response("queued", Value::Null));
    let body = r#"{"model":"gpt-4o-mini","background":true,"input":"x"}"#;
    let create = request(&world.acme, "POST /openai/v1/responses", body);
    assert_eq!(world.stack.send(&create).await?.status(), 200);
    shelf.put_json(
        "GET /v1/responses/resp_x",
        &response("in_progress", Value::Null),
    );
    assert_eq!(
        world
            .ask(&world.acme, "GET /openai/v1/responses/resp_x")
            .await?
            .status(),
        200
    );
    let usage = json!({"input_tokens": 100, "input_tokens_details": {"cached_tokens": 0},
                       "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": 0},
                       "total_tokens": 110});
    shelf.put_json("GET /v1/responses/resp_x", &response("completed", usage));
    fetch_five_times(&world, &second, "GET /openai/v1/responses/resp_x").await?;

    // A transcript.
    shelf.put_json(
        "POST /v2/transcript",
        &json!({"id": "tr-x", "status": "queued"}),
    );
    let body = r#"{"audio_url":"https://example.com/a.wav","speech_model":"universal"}"#;
    let create = request(&world.acme, "POST /assemblyai/v2/transcript", body);
    assert_eq!(world.stack.send(&create).await?.status(), 200);
    shelf.put_json(
        "GET /v2/transcript/tr-x",
        &json!({"id": "tr-x", "status": "completed", "audio_duration": 60, "speech_model": "universal"}),
    );
    fetch_five_times(&world, &second, "GET /assemblyai/v2/transcript/tr-x").await?;

    for (what, fetches, pending) in [
        ("endpoint = 'batch'", "file-x", "batch_x"),
        ("endpoint = 'responses'", "resp_x", "resp_x"),
        ("endpoint = 'transcription'", "tr-x", "tr-x"),
    ] {
        let told = format!("{what} and response_id = '{fetches}' and usage_source = 'reported'");
        let rows = world.stack.rows_when(&told, 5).await?;
        let charged: Vec<&Value> = rows
            .iter()
            .filter(|row| text(row, "pricing") == "priced")
            .collect();
        assert_eq!(charged.len(), 1, "{what}: {rows:?}");
        assert_ne!(text(charged[0], "billed_usd"), "0");
        let repeats = rows.iter().filter(|row| text(row, "pricing") == "repeat");
        for repeat in repeats.clone() {
            assert_eq!(text(repeat, "repeats"), text(charged[0], "event_id"));
            assert_eq!(text(repeat, "billed_usd"), "0");
        }
        assert_eq!(repeats.count(), 4);
        let made = format!("{what} and response_id = '{pending}' and usage_source = 'pending'");
        let made = world.stack.rows_when(&made, 1).await?;
        assert_eq!(
            text(charged[0], "settles"),
            text(&made[0], "event_id"),
            "{what}"
        );
    }
    // Calls that made their answers are charged each, whatever id the server gives them.
    let usage = json!({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12});
    shelf.put_json(
        "POST /v1/chat/completions",
        &json!({"id": "chatcmpl-same", "object": "chat.completion", "model": "gpt-4o-mini",
                "choices": [], "usage": usage}),
    );
    for _ in 0..3 {
        let chat = request(
            &world.acme,
            "POST /openai/v1/chat/completions",
            r#"{"model":"gpt-4o-mini"}"#,
        );
        assert_eq!(world.stack.send(&chat).await?.status(), 200);
    }
    world
        .stack
        .rows_when("response_id = 'chatcmpl-same' and pricing = 'priced'", 3)
        .await?;
    let left = world
        .stack
        .sql()
        .await?
        .query_one("select count(*) from farebox.unpriced_usage", &[])
        .await?;
    assert_eq!(left.get::<_, i64>(0), 0);
    Ok(())
}
