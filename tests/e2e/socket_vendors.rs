//! Every vendor's recorded session through the real proxy: both ends say what was said, and the rows are
//! what its parts are.

use std::path::{Path, PathBuf};

use farebox_tests::socket::{Log, Socket, SocketUpstream};
use farebox_tests::stack::{Key, PROVIDER_CREDENTIAL, Stack};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{Result, fresh, text, with_key};

/// Vendors whose sessions are played.
const VENDORS: [&str; 8] = [
    "assemblyai",
    "cartesia",
    "deepgram",
    "elevenlabs",
    "gemini",
    "mistral",
    "openai",
    "xai",
];
/// The header by which the upstream knows what to play.
const PLAY: &str = "x-play";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sockets")
}

fn load(name: &str) -> Result<Value> {
    let path = folder().join(name).with_extension("json");
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// What of a message is said, in which kind of frame.
fn payload(message: &Value) -> Result<Message> {
    if let Some(text) = message["text"].as_str() {
        return Ok(Message::text(text));
    }
    if message["json"].is_object() {
        return Ok(Message::text(message["json"].to_string()));
    }
    if message["binary_json"].is_object() {
        return Ok(Message::binary(message["binary_json"].to_string()));
    }
    let len: usize = message["bytes"].to_string().parse()?;
    Ok(Message::binary(vec![0xaa; len]))
}

/// Plays one side of a session, in the order in which it was recorded.
async fn play(socket: &mut Socket, side: &str, session: &Value, log: Option<&Log>) -> Result {
    for message in session["messages"].as_array().into_iter().flatten() {
        let payload = payload(message)?;
        if message["from"] == side {
            match payload {
                Message::Binary(bytes) => socket.binary(bytes.to_vec()).await?,
                other => socket.text(other.to_text()?).await?,
            }
            continue;
        }
        let heard = socket.next().await.ok_or("the other side is gone")?;
        if let (Some(log), true) = (log, heard != payload) {
            log.note(heard.to_string());
        }
    }
    Ok(())
}

async fn upstream() -> Result<SocketUpstream> {
    SocketUpstream::start(|mut socket: Socket, log: Log| async move {
        let seen = log.seen();
        let name = seen.last().and_then(|seen| seen.header(PLAY));
        let session = load(name.unwrap_or_default())?;
        play(&mut socket, "upstream", &session, Some(&log)).await?;
        while socket.next().await.is_some() {}
        Ok(())
    })
    .await
}

async fn stack_for(upstream: &SocketUpstream) -> Result<(Stack, Key)> {
    let mut settings = Vec::new();
    for vendor in VENDORS {
        settings.push((format!("upstreams.{vendor}.base_url"), upstream.base_url()));
        let credential = "REPLAY_CREDENTIAL".to_owned();
        settings.push((format!("upstreams.{vendor}.credential_env"), credential));
    }
    let settings: Vec<_> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    with_key(&settings).await
}

/// Every quantity of a line, but for those that are times of the clock.
fn lines(part: &Value) -> Vec<Value> {
    let lines = part["lines"].as_array().cloned().unwrap_or_default();
    let is_exact = |line: &&Value| {
        part["source"] == "reported" || line["usage"].get("session_seconds").is_none()
    };
    lines
        .iter()
        .filter(is_exact)
        .map(|line| json!([line["model"], line["usage"]]))
        .collect()
}

#[tokio::test]
async fn every_vendors_session_is_its_rows() -> Result {
    let upstream = upstream().await?;
    let (stack, key) = stack_for(&upstream).await?;
    let mut played = Vec::new();
    for vendor in VENDORS {
        let mut names: Vec<String> = std::fs::read_dir(folder().join(vendor))?
            .map(|entry| {
                Ok(entry?
                    .path()
                    .file_stem()
                    .unwrap_or_default()
                    .display()
                    .to_string())
            })
            .collect::<Result<_>>()?;
        names.sort();
        for name in names.iter().filter(|name| name.ends_with("_plain")) {
            let name = format!("{vendor}/{name}");
            let session = load(&name)?;
            let query = session["query"].as_str().map(|query| format!("?{query}"));
            let path = session["path"].as_str().unwrap_or_default();
            let path = format!("/{vendor}{path}{}", query.unwrap_or_default());
            let id = fresh("session");
            let headers = [
                ("x-farebox-key", key.secret.as_str()),
                ("x-farebox-session", &id),
                (PLAY, &name),
            ];
            let (mut socket, _) = Socket::open(stack.plain, &path, &headers).await?;
            play(&mut socket, "caller", &session, None)
                .await
                .map_err(|error| format!("{name}: {error}"))?;
            socket.close(1000, "").await?;
            while socket.next().await.is_some() {}
            played.push((name, id, session));
        }
    }
    assert!(played.len() > 25, "{} sessions", played.len());
    for (name, id, session) in &played {
        let parts = session["parts"].as_array().cloned().unwrap_or_default();
        let rows = stack
            .rows_when(&format!("session_id = '{id}'"), parts.len())
            .await
            .map_err(|error| format!("{name}: {error}"))?;
        for (part, row) in parts.iter().zip(&rows) {
            assert_eq!(row["usage_source"], part["source"], "{name}: {row}");
            let row_lines = json!({"source": part["source"], "lines": row["lines"]});
            assert_eq!(lines(&row_lines), lines(part), "{name}: {row}");
            assert_eq!(text(row, "transport"), "websocket");
        }
        let last = rows.last().ok_or("no row")?;
        assert_eq!(text(last, "ending"), "complete", "{name}: {last}");
        assert_eq!(last["is_final"], json!(true), "{name}");
    }
    // Nobody but the vendor's own key reached a vendor.
    for seen in upstream.log.seen() {
        let told = format!("{:?} {:?}", seen.headers, seen.notes);
        assert!(
            !told.contains("vk_") && !seen.path.contains("vk_"),
            "{told}"
        );
        assert!(told.contains(PROVIDER_CREDENTIAL), "{told}");
        let is_swapped =
            |note: &String| note.contains("xi-api-key") && note.contains(PROVIDER_CREDENTIAL);
        assert!(seen.notes.iter().all(is_swapped), "{told}");
    }
    Ok(())
}
