//! What a running socket must obey: lists of models, whose credentials a message carries, what a tenant
//! wants when its caller is gone, and when the spool has no room for the next part.

use std::sync::Arc;
use std::time::{Duration, Instant};

use farebox_tests::socket::{Log, Socket, SocketUpstream};
use farebox_tests::stack::{Key, PROVIDER_CREDENTIAL, Stack};
use farebox_tests::wait::{self, eventually};
use farebox_tests::wire::Connection;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;

use crate::{Result, chat, fresh, quantity, text, with_key};

const LISTEN: &str = "/deepgram/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000";
/// Bytes of a second of it.
const SECOND: usize = 32_000;

fn on<'a>(vendor: &'a str, upstream: &'a SocketUpstream) -> [(String, String); 2] {
    [
        (format!("upstreams.{vendor}.base_url"), upstream.base_url()),
        (
            format!("upstreams.{vendor}.credential_env"),
            "REPLAY_CREDENTIAL".to_owned(),
        ),
    ]
}

async fn stack(settings: &[[(String, String); 2]]) -> Result<(Stack, Key)> {
    let settings: Vec<_> = settings
        .iter()
        .flatten()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    with_key(&settings).await
}

async fn open(stack: &Stack, key: &Key, path: &str, id: &str) -> Result<Socket> {
    let headers = [
        ("x-farebox-key", key.secret.as_str()),
        ("x-farebox-session", id),
    ];
    Ok(Socket::open(stack.plain, path, &headers).await?.0)
}

/// An upstream that notes each text and how it was closed.
async fn noting() -> Result<SocketUpstream> {
    SocketUpstream::start(|mut socket: Socket, log: Log| async move {
        while let Some(message) = socket.next().await {
            log.note(message.to_string());
        }
        log.note(format!("closed {:?}", socket.closed.map(|(code, _)| code)));
        Ok(())
    })
    .await
}

fn notes(upstream: &SocketUpstream) -> Vec<String> {
    let seen = upstream.log.seen();
    seen.last()
        .map(|seen| seen.notes.clone())
        .unwrap_or_default()
}

async fn noted(upstream: &SocketUpstream, what: &str) -> Result {
    eventually(what, Duration::from_secs(10), || async {
        let notes = notes(upstream);
        wait::holds(notes.iter().any(|note| note.contains(what)), "not yet")
    })
    .await
}

#[tokio::test]
async fn a_key_or_a_tenant_for_some_models_holds_inside_a_session() -> Result {
    let upstream = noting().await?;
    let (stack, _) = stack(&[on("openai", &upstream), on("gemini", &upstream)]).await?;
    let listed = stack.issue(&[
        "--may-attribute",
        "any",
        "--allowed-model",
        "gpt-6-mini",
        "--allowed-model",
        "gemini-3.8-flash",
    ])?;
    let tenant = fresh("narrow");
    let setting = r#"allowed_models=["gpt-6-mini","gemini-3.8-flash"]"#;
    stack.done(&["tenant", "create", &tenant, "--setting", setting])?;
    let of_tenant = stack.issue(&["--tenant", &tenant])?;
    for key in [listed, of_tenant] {
        stack.known(&key).await?;
        only_listed_models_go_up(&stack, &upstream, &key).await?;
    }
    Ok(())
}

async fn only_listed_models_go_up(stack: &Stack, upstream: &SocketUpstream, key: &Key) -> Result {
    let create = |model: &str| json!({"type": "response.create", "model": model, "input": []});
    let setup = |model: &str| json!({"setup": {"model": format!("models/{model}")}});
    let gemini =
        "/gemini/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
    for (path, allowed, forbidden, has_event) in [
        (
            "/openai/v1/responses",
            create("gpt-6-mini"),
            create("gpt-6-sol"),
            true,
        ),
        (
            "/openai/v1/realtime?model=gpt-6-mini",
            json!({"type": "input_audio_buffer.append", "audio": "QUJD"}),
            json!({"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}}),
            true,
        ),
        (
            gemini,
            setup("gemini-3.8-flash"),
            setup("gemini-4-argon"),
            false,
        ),
    ] {
        let id = fresh("listed");
        let mut socket = open(stack, key, path, &id).await?;
        socket.json(allowed.clone()).await?;
        noted(upstream, &allowed.to_string()).await?;
        socket.json(forbidden).await?;
        if has_event {
            let error = socket.next_json().await?;
            assert_eq!(error["type"], "error", "{error}");
            assert_eq!(error["error"]["code"], "model_not_allowed", "{error}");
        }
        assert!(socket.next().await.is_none());
        assert_eq!(socket.closed, Some((1008, "model_not_allowed".to_owned())));
        noted(upstream, "closed Some(1000)").await?;
        let notes = notes(upstream);
        assert_eq!(notes.len(), 2, "the forbidden one did not go up: {notes:?}");
        let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
        assert_eq!(text(&rows[0], "ending"), "cut", "{}", rows[0]);
    }
    // A first message that names none leaves the choice to the vendor.
    let mut socket = open(stack, key, gemini, &fresh("unnamed")).await?;
    socket.json(json!({"setup": {}})).await?;
    assert!(socket.next().await.is_none());
    assert_eq!(socket.closed, Some((1008, "model_not_allowed".to_owned())));
    Ok(())
}

#[tokio::test]
async fn a_key_in_a_message_or_a_vendors_own_parameter_does_not_go_up() -> Result {
    let upstream = noting().await?;
    let (stack, key) = stack(&[on("elevenlabs", &upstream)]).await?;
    let path = "/elevenlabs/v1/text-to-speech/voice/stream-input?model_id=eleven_flash_v2_5&single_use_token=theirs";
    let id = fresh("first");
    let mut socket = open(&stack, &key, path, &id).await?;
    let secret = key.secret.clone();
    let first =
        json!({"text": " ", "xi-api-key": secret, "authorization": format!("Bearer {secret}")});
    socket.json(first).await?;
    socket.text("{\"text\":\"hello \"}").await?;
    noted(&upstream, "{\"text\":\"hello \"}").await?;
    let seen = upstream.log.seen();
    let seen = seen.last().ok_or("nothing was seen")?;
    assert!(
        seen.path.ends_with("?model_id=eleven_flash_v2_5"),
        "{}",
        seen.path
    );
    assert_eq!(seen.header("xi-api-key"), Some(PROVIDER_CREDENTIAL));
    let message: Value = serde_json::from_str(&seen.notes[0])?;
    assert_eq!(
        message,
        json!({"text": " ", "xi-api-key": PROVIDER_CREDENTIAL})
    );
    socket.close(1000, "").await?;
    assert!(socket.next().await.is_none());
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
    assert_eq!(quantity(&rows[0], "characters"), "6", "{}", rows[0]);
    assert!(!rows[0].to_string().contains(&secret));
    Ok(())
}

#[tokio::test]
async fn a_tenants_own_credential_goes_into_messages_as_into_the_handshake() -> Result {
    const OWN: &str = "xi-tenant-vault-canary-41d7";
    let upstream = noting().await?;
    let mut stack = Stack::prepare(&[]).await?;
    for (name, value) in on("elevenlabs", &upstream) {
        stack.set(&name, &value);
    }
    let write = |name: &str, text: &str| {
        let path = stack.folder.path().join(name);
        std::fs::write(&path, text).map(|()| path.display().to_string())
    };
    let master = write(
        "master.key",
        "master-key-of-a-test-of-sockets-0123456789abcdef",
    )?;
    let secret = write("own", OWN)?;
    stack.set("credentials.master_key_file", &master);
    stack.start_collector().await?;
    stack.start_proxy().await?;
    let tenant = fresh("vault");
    let key = stack.issue(&["--tenant", &tenant])?;
    stack.known(&key).await?;
    let of = ["--upstream", "elevenlabs", "--tenant", &tenant];
    let set = ["credential", "set", "--secret-file", &secret];
    stack.done(&[&set[..], &of[..]].concat())?;
    let path =
        "/elevenlabs/v1/text-to-speech/voice/stream-input?model_id=eleven_flash_v2_5".to_owned();
    let (stack, key) = (&stack, &key);
    eventually(
        "the vault's credential",
        Duration::from_secs(10),
        || async {
            let said = async {
                let mut socket = open(stack, key, &path, &fresh("own")).await?;
                let first = json!({"text": " ", "xi-api-key": key.secret});
                socket.json(first).await?;
                noted(&upstream, "\"text\"").await?;
                socket.close(1000, "").await?;
                Result::Ok(())
            };
            said.await.map_err(|error| error.to_string())?;
            let seen = upstream.log.seen();
            let seen = seen.last().ok_or("nothing was seen")?;
            wait::holds(seen.header("xi-api-key") == Some(OWN), "not yet")?;
            let message: Value =
                serde_json::from_str(&seen.notes[0]).map_err(|error| error.to_string())?;
            assert_eq!(message, json!({"text": " ", "xi-api-key": OWN}));
            Ok(())
        },
    )
    .await
}

/// A live transcription whose vendor says its count only once it is let.
async fn slow_vendor(release: Arc<Notify>) -> Result<SocketUpstream> {
    SocketUpstream::start(move |mut socket: Socket, log: Log| {
        let release = Arc::clone(&release);
        async move {
            let mut seconds = 0;
            while let Some(message) = socket.next().await {
                match message {
                    Message::Binary(_) => {
                        seconds += 1;
                        socket.json(json!({"type": "Results", "start": seconds - 1, "duration": 0.5, "is_final": true})).await?;
                    }
                    other => {
                        log.note(other.to_string());
                        release.notified().await;
                        // Whoever closed meanwhile does not hear it.
                        let _ = socket.json(json!({"type": "Metadata", "request_id": "r", "duration": seconds, "channels": 1})).await;
                        let _ = socket.close(1000, "").await;
                    }
                }
            }
            log.note(format!("closed {:?}", socket.closed.map(|(code, _)| code)));
            Ok(())
        }
    })
    .await
}

#[tokio::test]
async fn a_callers_end_stops_the_vendor_or_hears_it_out_as_its_tenant_wants() -> Result {
    let release = Arc::new(Notify::new());
    let upstream = slow_vendor(Arc::clone(&release)).await?;
    let (stack, _) = stack(&[on("deepgram", &upstream)]).await?;
    for choice in ["drain", "cancel"] {
        let tenant = fresh(choice);
        let setting = format!("on_downstream_gone={choice}");
        stack.done(&["tenant", "create", &tenant, "--setting", &setting])?;
        let key = stack.issue(&["--tenant", &tenant])?;
        stack.known(&key).await?;
        let id = fresh("gone");
        let mut socket = open(&stack, &key, LISTEN, &id).await?;
        for _ in 0..2 {
            socket.binary(vec![0; SECOND]).await?;
            assert_eq!(socket.next_json().await?["type"], "Results");
        }
        let since = Instant::now();
        socket.hang_up();
        noted(&upstream, "CloseStream").await?;
        if choice == "drain" {
            eventually(
                "it is heard without its caller",
                Duration::from_secs(10),
                || async {
                    let metrics = stack.metrics().await.map_err(|error| error.to_string())?;
                    wait::holds(
                        metrics.contains("farebox_abandoned_answers_open 1"),
                        "not yet",
                    )
                },
            )
            .await?;
            release.notify_one();
        }
        let rows = stack.rows_when(&format!("session_id = '{id}'"), 1).await?;
        let row = &rows[0];
        assert_eq!(text(row, "ending"), "downstream_gone", "{row}");
        if choice == "drain" {
            assert_eq!(text(row, "usage_source"), "reported", "{row}");
            assert_eq!(quantity(row, "audio_seconds"), "2", "{row}");
        } else {
            let ended = Duration::from_millis(
                text(row, "duration_ms")
                    .split('.')
                    .next()
                    .unwrap_or_default()
                    .parse()?,
            );
            assert!(ended < since.elapsed() + Duration::from_secs(1), "{row}");
            // What the vendor would have said lies within the bounds.
            assert_eq!(text(row, "usage_source"), "partial", "{row}");
            assert_eq!(text(&row["usage_low"], "audio_seconds"), "1.5", "{row}");
            assert_eq!(text(&row["usage_high"], "audio_seconds"), "2", "{row}");
            release.notify_one();
            noted(&upstream, "closed Some(1000)").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_turn_that_runs_is_heard_to_its_end_without_its_caller() -> Result {
    let release = Arc::new(Notify::new());
    let released = Arc::clone(&release);
    let upstream = SocketUpstream::start(move |mut socket: Socket, log: Log| {
        let release = Arc::clone(&released);
        async move {
            while let Some(message) = socket.next().await {
                log.note(message.to_string());
                socket.json(json!({"type": "response.created", "response": {"id": "resp_1"}})).await?;
                release.notified().await;
                let usage = json!({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15});
                let response = json!({"id": "resp_1", "model": "gpt-6-mini", "status": "completed", "usage": usage});
                socket.json(json!({"type": "response.completed", "response": response})).await?;
            }
            log.note(format!("closed {:?}", socket.closed.map(|(code, _)| code)));
            Ok(())
        }
    })
    .await?;
    let (stack, _) = stack(&[on("openai", &upstream)]).await?;
    let tenant = fresh("drains");
    stack.done(&[
        "tenant",
        "create",
        &tenant,
        "--setting",
        "on_downstream_gone=drain",
    ])?;
    let key = stack.issue(&["--tenant", &tenant])?;
    stack.known(&key).await?;
    let id = fresh("turn");
    let mut socket = open(&stack, &key, "/openai/v1/responses", &id).await?;
    socket
        .json(json!({"type": "response.create", "model": "gpt-6-mini"}))
        .await?;
    assert_eq!(socket.next_json().await?["type"], "response.created");
    socket.hang_up();
    eventually(
        "it is heard without its caller",
        Duration::from_secs(10),
        || async {
            let metrics = stack.metrics().await.map_err(|error| error.to_string())?;
            wait::holds(
                metrics.contains("farebox_abandoned_answers_open 1"),
                "not yet",
            )
        },
    )
    .await?;
    release.notify_one();
    noted(&upstream, "closed Some(1000)").await?;
    let rows = stack.rows_when(&format!("session_id = '{id}'"), 2).await?;
    assert_eq!(text(&rows[0], "usage_source"), "reported", "{}", rows[0]);
    assert_eq!(quantity(&rows[0], "output_tokens"), "5");
    assert_eq!(text(&rows[1], "ending"), "downstream_gone", "{}", rows[1]);
    assert_eq!(text(&rows[1], "usage_source"), "none", "{}", rows[1]);
    Ok(())
}

/// Answers each `response.create` at once.
async fn responder() -> Result<SocketUpstream> {
    SocketUpstream::start(|mut socket: Socket, log: Log| async move {
        while socket.next().await.is_some() {
            let usage = json!({"input_tokens": 10, "output_tokens": 5, "total_tokens": 15});
            let response = json!({"model": "gpt-6-mini", "status": "completed", "usage": usage});
            socket
                .json(json!({"type": "response.completed", "response": response}))
                .await?;
        }
        log.note(format!("closed {:?}", socket.closed.map(|(code, _)| code)));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_full_spool_ends_a_session_or_lets_it_run_as_its_tenant_wants() -> Result {
    let upstream = responder().await?;
    let settings = [
        ("spool.bytes_max", "8388608".to_owned()),
        ("spool.segment_bytes", "1048576".to_owned()),
        ("upstreams.azure.base_url", upstream.base_url()),
        (
            "upstreams.azure.credential_env",
            "REPLAY_CREDENTIAL".to_owned(),
        ),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let (mut stack, key) = with_key(&settings).await?;
    for (tenant, choice) in [("strict", "refuse"), ("easy", "allow")] {
        let setting = format!("on_unrecordable={choice}");
        stack.done(&["tenant", "create", tenant, "--setting", &setting])?;
    }
    let path = "/azure/openai/v1/responses";
    let create = json!({"type": "response.create", "model": "gpt-6-mini"});
    let mut sockets = Vec::new();
    for tenant in ["strict", "easy"] {
        let headers = [
            ("x-farebox-key", key.secret.as_str()),
            ("x-farebox-session", tenant),
            ("x-farebox-tenant", tenant),
        ];
        sockets.push(Socket::open(stack.plain, path, &headers).await?.0);
    }
    stack.collector()?.kill();
    let mut connection = Connection::open(stack.plain).await?;
    for calls in 0.. {
        let call = chat(&key, &fresh("fill")).with("x-farebox-tenant", "strict");
        if connection.send(&call).await?.status() != 200 {
            break;
        }
        assert!(calls < 20_000, "the spool never filled");
    }
    let [strict, easy] = &mut sockets[..] else {
        return Err("two were opened".into());
    };
    // Each turn takes room of its own, until there is none for another.
    let mut turns = 0;
    let error = loop {
        // What is said after the end is not heard.
        let _ = strict.json(create.clone()).await;
        let event = strict.next_json().await?;
        if event["type"] != "response.completed" {
            break event;
        }
        turns += 1;
        assert!(turns < 1_000, "the session never ended");
    };
    assert_eq!(error["error"]["code"], "cannot_record", "{error}");
    assert!(strict.next().await.is_none());
    assert_eq!(strict.closed, Some((1008, "cannot_record".to_owned())));
    let mut is_counted = false;
    for _ in 0..1_000 {
        easy.json(create.clone()).await?;
        assert_eq!(easy.next_json().await?["type"], "response.completed");
        let metrics = stack.metrics().await?;
        is_counted = metrics.lines().any(|line| {
            line.starts_with("farebox_unrecorded_calls_total") && line.contains("easy")
        });
        if is_counted {
            break;
        }
    }
    assert!(is_counted, "a part without an intent is counted");
    easy.json(create).await?;
    assert_eq!(easy.next_json().await?["type"], "response.completed");
    easy.close(1000, "").await?;
    assert!(easy.next().await.is_none());

    stack.start_collector().await?;
    let rows = stack.rows_when("session_id = 'strict'", turns).await?;
    let last = rows.last().ok_or("no row")?;
    assert_eq!(text(last, "ending"), "cut", "{last}");
    assert_eq!(last["is_final"], json!(true));
    assert_eq!(text(last, "usage_source"), "reported");
    let filter = "session_id = 'easy' and part = 1";
    let rows = stack.rows_when(filter, 1).await?;
    assert_eq!(text(&rows[0], "ending"), "continues", "{}", rows[0]);
    assert_eq!(quantity(&rows[0], "output_tokens"), "5");
    Ok(())
}
