//! The whole system: the real `farebox` in its roles, a real Postgres, an upstream with a truth log.
//! One binary, one cluster, one module a subject.

mod abort;
mod attempts;
mod attribution;
mod books;
mod budgets;
mod canary;
mod cold_start;
mod conformance;
mod declared;
mod demo;
mod desync;
mod directory;
mod faults;
mod hostile;
mod ingest;
mod keys;
mod kill;
mod large;
mod limits;
mod lists;
mod matrix;
mod metrics;
mod outage;
mod prices;
mod reads;
mod reread;
mod revoke;
mod scale;
mod schema;
mod several;
mod socket_rules;
mod socket_vendors;
mod sockets;
mod spine;
mod sql;
mod ssrf;
mod state;
mod surfaces;
mod tidy;
mod times;
mod transparency;
mod vault;
mod verbs;

use farebox_tests::stack::{Key, Stack};
use farebox_tests::wire::Request;
use serde_json::Value;
use tokio::sync::OnceCell;

type Result<T = ()> = farebox_tests::Result<T>;

/// The stack of all tests that need nothing special and name tenants of their own.
async fn shared() -> Result<&'static Stack> {
    static SHARED: OnceCell<Stack> = OnceCell::const_new();
    SHARED.get_or_try_init(Stack::start).await
}

/// A stack of the test's own with one key that may name any tenant.
async fn with_key(settings: &[(&str, &str)]) -> Result<(Stack, Key)> {
    let stack = Stack::with(settings).await?;
    let key = stack.issue(&["--may-attribute", "any"])?;
    stack.known(&key).await?;
    Ok((stack, key))
}

/// A chat completion's body.
fn chat_body(is_stream: bool) -> String {
    let stream = if is_stream {
        r#""stream":true,"stream_options":{"include_usage":true},"#
    } else {
        ""
    };
    format!(r#"{{"model":"gpt-4o-mini",{stream}"messages":[{{"role":"user","content":"hello"}}]}}"#)
}

/// A chat completion, known to the upstream and, as its session, to the ledger by `id`.
fn chat(key: &Key, id: &str) -> Request {
    chat_at("/openai/v1/chat/completions", key, id)
}

fn chat_at(path: &str, key: &Key, id: &str) -> Request {
    Request::post(path, chat_body(false))
        .bearer(&key.secret)
        .with("x-replay-id", id)
        .with("x-farebox-session", id)
}

fn chat_stream(key: &Key, id: &str) -> Request {
    Request::post("/openai/v1/chat/completions", chat_body(true))
        .bearer(&key.secret)
        .with("x-replay-id", id)
        .with("x-farebox-session", id)
}

/// A name that no other test uses.
fn fresh(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::now_v7().simple())
}

/// The text of a field, whether it is a string or a number; empty when absent or null.
fn text(row: &Value, field: &str) -> String {
    match row.get(field) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A quantity of a row's usage.
fn quantity(row: &Value, meter: &str) -> String {
    row.get("usage")
        .map(|usage| text(usage, meter))
        .unwrap_or_default()
}
