//! The verbs' client of the collector's API.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::WithoutBody;
use ureq::{Agent, RequestBuilder};

use crate::args::Reach;
use crate::connection::Connection;
use crate::data_dir::DataDir;
use crate::failure::{Failure, Outcome};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer read.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of a streamed answer in memory at one time.
const STREAM_PIECE_BYTES: usize = 64 * 1024;
/// Items of one page.
const PAGE_ITEMS: usize = 500;

/// A collector and the operator's token for it.
pub(crate) struct Api {
    agent: Agent,
    base: String,
    token: String,
}

impl Api {
    /// By `--collector` and `FAREBOX_ADMIN_TOKEN`, else by `connection.json`.
    pub(crate) fn reach(reach: &Reach) -> Outcome<Self> {
        let ca = match &reach.ca_file {
            Some(path) => {
                Some(std::fs::read(path).map_err(|error| Failure::missing(path.display(), error))?)
            }
            None => None,
        };
        if let Some(base) = &reach.collector {
            let token = std::env::var("FAREBOX_ADMIN_TOKEN").map_err(|_| {
                Failure::Missing("FAREBOX_ADMIN_TOKEN holds no operator token".to_owned())
            })?;
            return Self::new(base, token, ca.as_deref());
        }
        let flag = reach.data_dir.data_dir.as_deref();
        let data_dir = DataDir::resolve(flag, "farebox")?;
        let found = match Connection::read(&data_dir)? {
            // A demo is found without being named when it is the only thing that runs.
            None if flag.is_none() => Connection::read(&DataDir::resolve(None, "farebox-demo")?)?,
            found => found,
        };
        let connection = found.ok_or_else(|| {
            Failure::Missing(format!(
                "no farebox runs on {}; start `farebox up`, or give --collector URL and FAREBOX_ADMIN_TOKEN",
                data_dir.path().display()
            ))
        })?;
        Self::new(
            &connection.collector_url,
            connection.admin_token,
            ca.as_deref(),
        )
    }

    /// A known collector.
    pub(crate) fn new(base: &str, token: String, ca: Option<&[u8]>) -> Outcome<Self> {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = ca {
            let certificate = Certificate::from_pem(pem)
                .map_err(|error| Failure::missing("certificate authority", error))?;
            tls = tls.root_certs(RootCerts::Specific(Arc::new(vec![certificate])));
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT))
            .proxy(None)
            .build();
        Ok(Self {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// A request that reads.
    fn asking(&self, path: &str, query: &[(&str, &str)]) -> RequestBuilder<WithoutBody> {
        let request = self
            .agent
            .get(format!("{}{path}", self.base))
            .header("authorization", self.bearer());
        query.iter().fold(request, |request, (name, value)| {
            request.query(*name, *value)
        })
    }

    /// One object.
    pub(crate) fn get(&self, path: &str, query: &[(&str, &str)]) -> Outcome<Value> {
        self.answer(self.asking(path, query).call())
    }

    /// An answer that is no JSON, as it came.
    pub(crate) fn text(&self, path: &str, query: &[(&str, &str)]) -> Outcome<String> {
        let bytes = self.success(self.asking(path, query).call())?;
        String::from_utf8(bytes).map_err(|error| Failure::missing(&self.base, error))
    }

    /// Items of a list, page by page, at most `limit`.
    pub(crate) fn list(
        &self,
        path: &str,
        query: &[(&str, &str)],
        limit: usize,
    ) -> Outcome<Vec<Value>> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        while items.len() < limit {
            let page_items = (limit - items.len()).min(PAGE_ITEMS).to_string();
            let mut query = query.to_vec();
            query.push(("limit", &page_items));
            if let Some(cursor) = &cursor {
                query.push(("cursor", cursor));
            }
            let mut page = self.get(path, &query)?;
            let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) else {
                return Err(Failure::missing(
                    path,
                    "the collector answered with no list",
                ));
            };
            items.extend(found);
            cursor = page
                .get("next_cursor")
                .and_then(Value::as_str)
                .map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        Ok(items)
    }

    /// An answer of any length, piece by piece, for as long as it takes.
    pub(crate) fn stream(
        &self,
        path: &str,
        query: &[(&str, &str)],
        sink: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Outcome {
        let request = self
            .asking(path, query)
            .config()
            .timeout_global(None)
            .build();
        let mut answer = request
            .call()
            .map_err(|error| Failure::missing(&self.base, error))?;
        if answer.status().as_u16() >= 400 {
            return self.answer(Ok(answer)).map(drop);
        }
        let mut reader = answer.body_mut().as_reader();
        let mut piece = vec![0; STREAM_PIECE_BYTES];
        loop {
            // A body that breaks off is an error of the reader, not its end.
            let read = reader.read(&mut piece);
            match read.map_err(|error| Failure::missing(&self.base, error))? {
                0 => return Ok(()),
                length => {
                    sink(&piece[..length]).map_err(|error| Failure::missing("the file", error))?
                }
            }
        }
    }

    /// Makes something.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        let request = self.agent.post(format!("{}{path}", self.base));
        self.answer(
            request
                .header("authorization", self.bearer())
                .header("content-type", "application/json")
                .send(body.to_string()),
        )
    }

    /// Changes something.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Outcome<Value> {
        let request = self.agent.patch(format!("{}{path}", self.base));
        self.answer(
            request
                .header("authorization", self.bearer())
                .header("content-type", "application/json")
                .send(body.to_string()),
        )
    }

    /// Ends something.
    pub(crate) fn delete(&self, path: &str) -> Outcome<Value> {
        let request = self.agent.delete(format!("{}{path}", self.base));
        self.answer(request.header("authorization", self.bearer()).call())
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }

    fn answer(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Outcome<Value> {
        let bytes = self.success(answer)?;
        Ok(serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// The body of an answer below 400, or what the error in it says.
    fn success(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Outcome<Vec<u8>> {
        let mut answer = answer.map_err(|error| Failure::missing(&self.base, error))?;
        let status = answer.status().as_u16();
        let mut text = Vec::new();
        answer
            .body_mut()
            .as_reader()
            .take(ANSWER_BYTES_MAX)
            .read_to_end(&mut text)
            .map_err(|error| Failure::missing(&self.base, error))?;
        if status < 400 {
            return Ok(text);
        }
        let body: Value = serde_json::from_slice(&text).unwrap_or(Value::Null);
        let part = |name: &str| {
            body.pointer(&format!("/error/{name}"))
                .and_then(Value::as_str)
        };
        let message = match (part("message"), part("field")) {
            (Some(message), Some(field)) => format!("{field}: {message}"),
            (Some(message), None) => message.to_owned(),
            (None, _) => format!("the collector answered {status}"),
        };
        Err(match status {
            400 => Failure::Usage(message),
            401..500 => Failure::No(message),
            _ => Failure::Missing(message),
        })
    }
}

/// A part of a path.
pub(crate) fn path_segment(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
