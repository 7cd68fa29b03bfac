//! Real calls of three tenants through real sockets, plain and TLS, as their SDKs would make them.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::api::{Api, path_segment};
use crate::connection::Connection;
use crate::data_dir::DataDir;
use crate::failure::{Failure, Outcome};

/// Whose traffic it is.
pub(super) const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
/// Rounds of the five calls that each tenant makes.
const ROUNDS: usize = 2;
/// Longest wait until the proxy knows a key that was just issued.
const KNOWN_WAIT: Duration = Duration::from_secs(10);
const KNOWN_PAUSE: Duration = Duration::from_millis(10);
/// Largest answer read whole.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What a tenant asks for.
struct Habits {
    tenant: &'static str,
    openai: &'static str,
    service_tier: Option<&'static str>,
    anthropic: &'static str,
    listen_query: &'static str,
    audio_frames: usize,
    is_tls: bool,
}

const HABITS: [Habits; 3] = [
    Habits {
        tenant: "acme",
        openai: "gpt-6-sol",
        service_tier: None,
        anthropic: "claude-opus-5-5",
        listen_query: "model=nova-3&multichannel=true",
        audio_frames: 41_493,
        is_tls: false,
    },
    Habits {
        tenant: "globex",
        openai: "gpt-5-mini",
        service_tier: Some("flex"),
        anthropic: "claude-sonnet-5-5",
        listen_query: "model=nova-3&language=multi",
        audio_frames: 12_345,
        is_tls: true,
    },
    Habits {
        tenant: "initech",
        openai: "gpt-4o-mini",
        service_tier: None,
        anthropic: "claude-haiku-4-5",
        listen_query: "model=nova-3",
        audio_frames: 8_001,
        is_tls: true,
    },
];

/// One call that was answered.
pub(super) struct Call {
    /// Whose it was.
    pub(super) tenant: &'static str,
    /// The id in the answer.
    pub(super) response_id: String,
    /// `x-farebox-event`.
    pub(super) event_id: String,
}

/// Makes tenants and keys, then the calls.
pub(super) fn run(
    api: &Api,
    connection: &Connection,
    data_dir: &DataDir,
    stop: &CancellationToken,
) -> Outcome<Vec<Call>> {
    let mut calls = Vec::new();
    for habits in &HABITS {
        let caller = Caller::new(api, connection, data_dir, habits)?;
        for round in 0..ROUNDS {
            if stop.is_cancelled() {
                return Err(Failure::No("stopped".to_owned()));
            }
            calls.push(caller.chat(round)?);
            calls.push(caller.chat_stream(round)?);
            calls.push(caller.message(round)?);
            calls.push(caller.message_stream(round)?);
            calls.push(caller.listen(round)?);
        }
        caller.refusals()?;
    }
    Ok(calls)
}

/// What anybody can try while the demo stays up.
pub(super) fn print_curl(connection: &Connection, data_dir: &DataDir) {
    let key_file = data_dir.join(&key_file_name(TENANTS[0]));
    let proxy = connection.proxy_url.as_deref().unwrap_or_default();
    println!("\nCall it yourself, as {}:\n", TENANTS[0]);
    println!("  KEY=$(cat {})", key_file.display());
    println!("  curl {proxy}/openai/v1/chat/completions -H \"authorization: Bearer $KEY\" \\");
    println!(
        "    -d '{{\"model\":\"gpt-6-sol\",\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'"
    );
    println!("  curl {proxy}/anthropic/v1/messages -H \"x-api-key: $KEY\" \\");
    println!(
        "    -d '{{\"model\":\"claude-opus-5-5\",\"max_tokens\":64,\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'"
    );
    println!("  head -c 96000 /dev/zero | curl '{proxy}/deepgram/v1/listen?model=nova-3' \\");
    println!("    -H \"authorization: Token $KEY\" --data-binary @-");
    println!(
        "  farebox events --data-dir {} --tenant {}\n",
        data_dir.path().display(),
        TENANTS[0]
    );
}

fn key_file_name(tenant: &str) -> String {
    format!("{tenant}.key")
}

/// One tenant's client, with its key and its way to the proxy.
struct Caller<'a> {
    habits: &'a Habits,
    agent: Agent,
    base: String,
    key: String,
}

impl<'a> Caller<'a> {
    fn new(
        api: &Api,
        connection: &Connection,
        data_dir: &DataDir,
        habits: &'a Habits,
    ) -> Outcome<Self> {
        let tenant = habits.tenant;
        match api.get(&format!("/api/v1/tenants/{}", path_segment(tenant)), &[]) {
            Ok(_) => {}
            Err(Failure::No(_)) => {
                api.post("/api/v1/tenants", &json!({"tenant_id": tenant}))?;
            }
            Err(failure) => return Err(failure),
        }
        let issued = api.post(
            "/api/v1/keys",
            &json!({"name": "demo", "tenant_id": tenant}),
        )?;
        let key = text(&issued, "/secret")?;
        data_dir.write_private(&key_file_name(tenant), format!("{key}\n").as_bytes())?;
        let (base, ca_file) = match (
            habits.is_tls,
            &connection.proxy_tls_url,
            &connection.proxy_url,
        ) {
            (true, Some(url), _) => (url.clone(), connection.ca_file.as_deref()),
            (_, _, Some(url)) => (url.clone(), None),
            _ => return Err(Failure::Missing("the proxy has no listener".to_owned())),
        };
        println!(
            "{tenant}  {}… over {base}",
            key.get(..8).unwrap_or_default()
        );
        let caller = Self {
            habits,
            agent: agent(ca_file)?,
            base,
            key,
        };
        caller.wait_until_known()?;
        Ok(caller)
    }

    fn chat(&self, round: usize) -> Outcome<Call> {
        let answer = self.post_json(
            "/openai/v1/chat/completions",
            "authorization",
            &self.chat_body(round, false),
        )?;
        let event_id = event_id(&answer)?;
        let body = whole(answer)?;
        self.made("openai chat", event_id, text(&body, "/id")?)
    }

    fn chat_stream(&self, round: usize) -> Outcome<Call> {
        let answer = self.post_json(
            "/openai/v1/chat/completions",
            "authorization",
            &self.chat_body(round, true),
        )?;
        let event_id = event_id(&answer)?;
        let events = data_of_events(answer)?;
        if events.last().map(String::as_str) != Some("[DONE]") {
            return Err(Failure::No(
                "the chat stream did not end with [DONE]".to_owned(),
            ));
        }
        if events.iter().any(|event| event.contains("\"usage\"")) {
            return Err(Failure::No(
                "the caller did not ask for usage and saw some".to_owned(),
            ));
        }
        let first: Value = parsed(events.first().map(String::as_str).unwrap_or_default())?;
        self.made("openai chat stream", event_id, text(&first, "/id")?)
    }

    fn message(&self, round: usize) -> Outcome<Call> {
        let answer = self.post_json(
            "/anthropic/v1/messages",
            "x-api-key",
            &self.message_body(round, false),
        )?;
        let event_id = event_id(&answer)?;
        let body = whole(answer)?;
        self.made("anthropic message", event_id, text(&body, "/id")?)
    }

    fn message_stream(&self, round: usize) -> Outcome<Call> {
        let answer = self.post_json(
            "/anthropic/v1/messages",
            "x-api-key",
            &self.message_body(round, true),
        )?;
        let event_id = event_id(&answer)?;
        let events = data_of_events(answer)?;
        let first: Value = parsed(events.first().map(String::as_str).unwrap_or_default())?;
        self.made(
            "anthropic message stream",
            event_id,
            text(&first, "/message/id")?,
        )
    }

    fn listen(&self, round: usize) -> Outcome<Call> {
        let url = format!(
            "{}/deepgram/v1/listen?{}",
            self.base, self.habits.listen_query
        );
        let answer = self
            .agent
            .post(url)
            .header("authorization", format!("Token {}", self.key))
            .header("content-type", "audio/wav")
            .send(wav(self.habits.audio_frames + round));
        let answer = answered(answer)?;
        let event_id = event_id(&answer)?;
        let body = whole(answer)?;
        self.made(
            "deepgram listen",
            event_id,
            text(&body, "/metadata/request_id")?,
        )
    }

    /// Waits until the proxy has heard of the key. What it asks is refused either way, so nothing is
    /// booked for it.
    fn wait_until_known(&self) -> Outcome {
        let end = Instant::now() + KNOWN_WAIT;
        while self.refusal(&self.key, Some("someone-else"))?.0 == 401 {
            if Instant::now() >= end {
                return Err(Failure::No(
                    "the proxy does not learn of a new key".to_owned(),
                ));
            }
            std::thread::sleep(KNOWN_PAUSE);
        }
        Ok(())
    }

    /// A wrong key and a foreign tenant go no further than the proxy.
    fn refusals(&self) -> Outcome {
        let mut wrong = self.key.clone();
        let last = if wrong.pop() == Some('A') { 'B' } else { 'A' };
        wrong.push(last);
        for (key, tenant, expected) in [
            (wrong.as_str(), None, (401, "invalid_key")),
            (
                self.key.as_str(),
                Some("someone-else"),
                (403, "tenant_conflict"),
            ),
        ] {
            let (status, code) = self.refusal(key, tenant)?;
            if (status, code.as_str()) != expected {
                return Err(Failure::No(format!(
                    "expected {} {}, got {status} {code}",
                    expected.0, expected.1
                )));
            }
            println!("  refused as it should be   {status} {code}");
        }
        Ok(())
    }

    /// Status and code of a call that should be refused.
    fn refusal(&self, key: &str, tenant: Option<&str>) -> Outcome<(u16, String)> {
        let mut request = self
            .agent
            .post(format!("{}/openai/v1/chat/completions", self.base))
            .header("authorization", format!("Bearer {key}"));
        if let Some(tenant) = tenant {
            request = request.header("x-farebox-tenant", tenant);
        }
        let answer = request
            .send(self.chat_body(0, false).to_string())
            .map_err(|error| Failure::missing(&self.base, error))?;
        let code = answer
            .headers()
            .get("x-farebox-error")
            .and_then(|code| code.to_str().ok());
        Ok((
            answer.status().as_u16(),
            code.unwrap_or("without a code").to_owned(),
        ))
    }

    fn post_json(
        &self,
        path: &str,
        carrier: &str,
        body: &Value,
    ) -> Outcome<ureq::http::Response<ureq::Body>> {
        let credential = match carrier {
            "authorization" => format!("Bearer {}", self.key),
            _ => self.key.clone(),
        };
        answered(
            self.agent
                .post(format!("{}{path}", self.base))
                .header(carrier, credential)
                .header("content-type", "application/json")
                .send(body.to_string()),
        )
    }

    fn chat_body(&self, round: usize, is_stream: bool) -> Value {
        // Long enough to be cached in the second round.
        let question = "Where does every token go? ".repeat(4 + round * 180);
        let mut body = json!({
            "model": self.habits.openai,
            "messages": [{"role": "user", "content": question}],
        });
        if is_stream {
            body["stream"] = json!(true);
        }
        if let Some(tier) = self.habits.service_tier {
            body["service_tier"] = json!(tier);
        }
        body
    }

    fn message_body(&self, round: usize, is_stream: bool) -> Value {
        let cached = |text: &str, ttl: &str| {
            json!({
                "type": "text",
                "text": text.repeat(40 + round),
                "cache_control": {"type": "ephemeral", "ttl": ttl},
            })
        };
        let mut messages = vec![json!({"role": "user", "content": "What does a token cost?"})];
        if round > 0 {
            messages.push(json!({"role": "assistant", "content": "It depends."}));
            messages.push(json!({"role": "user", "content": "On what?"}));
        }
        json!({
            "model": self.habits.anthropic,
            "max_tokens": 256,
            "stream": is_stream,
            "system": [cached("You know prices. ", "1h"), cached("You are exact. ", "5m")],
            "messages": messages,
        })
    }

    fn made(&self, what: &str, event_id: String, response_id: String) -> Outcome<Call> {
        println!("  {what:<25} {response_id:<32} event {event_id}");
        Ok(Call {
            tenant: self.habits.tenant,
            response_id,
            event_id,
        })
    }
}

fn agent(ca_file: Option<&str>) -> Outcome<Agent> {
    let mut tls = TlsConfig::builder();
    if let Some(path) = ca_file {
        let pem = fs::read(path).map_err(|error| Failure::missing(path, error))?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|error| Failure::missing(path, error))?;
        tls = tls.root_certs(RootCerts::Specific(Arc::new(vec![certificate])));
    }
    let config = Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        .proxy(None)
        .build();
    Ok(config.into())
}

type Answered = ureq::http::Response<ureq::Body>;

fn answered(answer: Result<Answered, ureq::Error>) -> Outcome<Answered> {
    let answer = answer.map_err(|error| Failure::missing("proxy", error))?;
    let status = answer.status().as_u16();
    if status == 200 {
        return Ok(answer);
    }
    let body = whole(answer).unwrap_or(Value::Null);
    Err(Failure::No(format!("the proxy answered {status}: {body}")))
}

fn event_id(answer: &Answered) -> Outcome<String> {
    answer
        .headers()
        .get("x-farebox-event")
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
        .ok_or_else(|| Failure::No("an answer carries no x-farebox-event".to_owned()))
}

fn whole(mut answer: Answered) -> Outcome<Value> {
    let mut text = String::new();
    answer
        .body_mut()
        .as_reader()
        .take(ANSWER_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Failure::missing("proxy", error))?;
    parsed(&text)
}

fn parsed(text: &str) -> Outcome<Value> {
    serde_json::from_str(text)
        .map_err(|error| Failure::No(format!("an answer is no JSON: {error}")))
}

/// What stands behind `data: `, event by event.
fn data_of_events(mut answer: Answered) -> Outcome<Vec<String>> {
    let reader = BufReader::new(answer.body_mut().as_reader().take(ANSWER_BYTES_MAX));
    let mut events = Vec::new();
    for line in reader.lines() {
        let line = line.map_err(|error| Failure::missing("proxy", error))?;
        if let Some(data) = line.strip_prefix("data: ") {
            events.push(data.to_owned());
        }
    }
    Ok(events)
}

fn text(body: &Value, pointer: &str) -> Outcome<String> {
    body.pointer(pointer)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| Failure::No(format!("an answer has no {pointer}")))
}

/// Silence: two channels of 16 bits at 8,000 Hz.
fn wav(frames: usize) -> Vec<u8> {
    const BYTES_PER_SECOND: u32 = 32_000;
    let audio_bytes = u32::try_from(frames * 4).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(44 + frames * 4);
    bytes.extend(b"RIFF");
    bytes.extend((36 + audio_bytes).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend([1, 0, 2, 0]);
    bytes.extend(8_000u32.to_le_bytes());
    bytes.extend(BYTES_PER_SECOND.to_le_bytes());
    bytes.extend([4, 0, 16, 0]);
    bytes.extend(b"data");
    bytes.extend(audio_bytes.to_le_bytes());
    bytes.resize(44 + frames * 4, 0);
    bytes
}
