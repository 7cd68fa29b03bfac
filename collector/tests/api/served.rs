//! A collector of its own over a database of its own, and how its API is asked.

use std::net::SocketAddr;
use std::sync::Arc;

use farebox_collector::{CollectorConfig, Running, Secret, run};
use farebox_pricing::key::KeySecrets;
use farebox_pricing::rate_card::bundle::{Bundle, PrivateKey, PublicKey};
use farebox_pricing::vault::MasterKeys;
use farebox_tests::wire::{Connection, Message};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Ledger, Result};

pub(crate) const AT: &str = "2026-11-22T10:00:00.123Z";
pub(crate) const OPERATOR: &str = "the operator's token";

/// A collector of its own over a database of its own.
pub(crate) struct Served {
    pub(crate) ledger: Ledger,
    pub(crate) address: SocketAddr,
    pub(crate) running: Running,
    pub(crate) shutdown: CancellationToken,
}

pub(crate) async fn start(database_url: &str) -> Result<(Running, CancellationToken)> {
    start_with(database_url, |_| {}).await
}

/// One that is told something else.
pub(crate) async fn start_with(
    database_url: &str,
    change: impl FnOnce(&mut CollectorConfig),
) -> Result<(Running, CancellationToken)> {
    let mut config = CollectorConfig {
        listen: "127.0.0.1:0".parse()?,
        database_url: Some(Secret::new(database_url)),
        admin_token: Some(Secret::new(OPERATOR)),
        key_secrets: Some(KeySecrets::parse("a key secret for tests only")?),
        master_keys: Some(Arc::new(MasterKeys::parse(
            "a master key of the tests, long enough",
        )?)),
        upstream_hosts: [("llm".to_owned(), "llm.example".to_owned())].into(),
        ..CollectorConfig::default()
    };
    change(&mut config);
    let shutdown = CancellationToken::new();
    Ok((run(config, shutdown.clone()).await?, shutdown))
}

/// Selling rules that a key signed: its public half, and the file.
pub(crate) fn bundle() -> Result<(PublicKey, String)> {
    let key = PrivateKey::from_seed(&"5e".repeat(32))?;
    let rules = r#"{"schema":1,"kind":"price","rules":[{"rule":"signed","markup":"1.5"}]}"#;
    Ok((key.public(), Bundle::sign([rules], &key)?.to_json()?))
}

impl Served {
    pub(crate) async fn new() -> Result<Self> {
        Self::trusting(Vec::new()).await
    }

    /// A collector that takes prices signed by one of these.
    pub(crate) async fn trusting(price_keys: Vec<PublicKey>) -> Result<Self> {
        let ledger = Ledger::new().await?;
        let trust = |config: &mut CollectorConfig| config.price_keys = price_keys;
        let (running, shutdown) = start_with(&ledger.url, trust).await?;
        Ok(Self {
            address: running.address(),
            ledger,
            running,
            shutdown,
        })
    }

    pub(crate) async fn stop(self) -> Result {
        self.shutdown.cancel();
        self.running.finished().await;
        self.ledger.drop_database().await
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &str,
    ) -> Result<Message> {
        send(self.address, method, path, token, &[], body.as_bytes()).await
    }

    /// As the operator; the answer must be a success.
    pub(crate) async fn done(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let text = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let answer = self.ask(method, path, Some(OPERATOR), &text).await?;
        assert!(
            (200..300).contains(&answer.status()),
            "{method} {path}: {} {}",
            answer.status(),
            answer.text()
        );
        Ok(answer.json())
    }

    /// A tenant and its key.
    pub(crate) async fn tenant(&self, tenant: &str, scope: &str) -> Result<(String, String)> {
        let path = "/api/v1/tenants";
        self.ask(
            "POST",
            path,
            Some(OPERATOR),
            &json!({"tenant_id": tenant}).to_string(),
        )
        .await?;
        let key = self
            .done(
                "POST",
                "/api/v1/keys",
                &json!({"name": "reader", "tenant": tenant, "scopes": [scope]}),
            )
            .await?;
        Ok((text(&key, "secret"), text(&key, "key_id")))
    }
}

pub(crate) async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Message> {
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n",
        body.len()
    );
    if let Some(token) = token {
        head.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut connection = Connection::open(address).await?;
    connection.write(&[head.as_bytes(), body].concat()).await?;
    connection.answer().await
}

pub(crate) fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_default().to_owned()
}
