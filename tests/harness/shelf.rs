//! A vendor that keeps things: answers by method and path are put on it by the test, everything else
//! is not found. It writes down what it was asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;

use crate::Result;
use crate::wire::{Connection, Message};

/// An answer: status line, content type, body.
#[derive(Clone, Debug)]
struct Answer {
    status: u16,
    content_type: String,
    body: Vec<u8>,
}

/// A running vendor.
#[derive(Clone)]
pub struct Shelf {
    /// Where it listens.
    pub address: SocketAddr,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<Message>>>,
}

impl Shelf {
    /// Starts one on a free port of the present runtime.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let shelf = Self {
            address: listener.local_addr()?,
            answers: Arc::default(),
            asked: Arc::default(),
        };
        let serving = shelf.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move {
                    let _ = socket.set_nodelay(true);
                    // A caller that goes away is no matter.
                    let _ = serving.converse(Connection::new(Box::new(socket))).await;
                });
            }
        });
        Ok(shelf)
    }

    /// Where it is, as an upstream's `base_url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What `POST /v1/files` and the like are answered with from now on.
    pub fn put(&self, call: &str, content_type: &str, body: impl Into<Vec<u8>>) {
        let answer = Answer {
            status: 200,
            content_type: content_type.to_owned(),
            body: body.into(),
        };
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(call.to_owned(), answer);
    }

    /// As [`Self::put`], with JSON.
    pub fn put_json(&self, call: &str, body: &serde_json::Value) {
        self.put(call, "application/json", body.to_string());
    }

    /// Every call it saw.
    #[must_use]
    pub fn asked(&self) -> Vec<Message> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn converse(&self, mut connection: Connection) -> Result<()> {
        while let Some(request) = connection.request().await? {
            let mut words = request.start.split(' ');
            let (method, target) = (words.next(), words.next());
            let path = target.unwrap_or_default().split('?').next();
            let call = format!(
                "{} {}",
                method.unwrap_or_default(),
                path.unwrap_or_default()
            );
            self.asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(request);
            let known = self
                .answers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&call)
                .cloned();
            let answer = known.unwrap_or(Answer {
                status: 404,
                content_type: "application/json".to_owned(),
                body: br#"{"error":{"message":"the vendor has no such thing"}}"#.to_vec(),
            });
            let head = format!(
                "HTTP/1.1 {} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\n\r\n",
                answer.status,
                if answer.status == 200 {
                    "OK"
                } else {
                    "Not Found"
                },
                answer.content_type,
                answer.body.len()
            );
            connection.write(head.as_bytes()).await?;
            connection.write(&answer.body).await?;
        }
        Ok(())
    }
}
