//! Exports as they leave: CSV (RFC 4180) and JSON, written row by row into pieces of a body that a slow
//! reader holds back. An answer that breaks off in the middle ends the connection, so that nobody takes
//! a part for the whole.

use axum::body::{Body, Bytes};
use tokio::sync::{Semaphore, mpsc};

use crate::csv::push_row;
use crate::error::ApiError;
use crate::records::exports::{self, Kind, Question, Shape, Sink};
use crate::store::Client;

/// Exports at one time; each holds a connection and a snapshot.
const EXPORTS_MAX: usize = 2;
/// Bytes that gather before they go out.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that wait for a slow reader.
const PIECES_WAITING: usize = 4;

static SLOTS: Semaphore = Semaphore::const_new(EXPORTS_MAX);

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// A heading line, then a line a row; null is nothing, the empty text is `""`.
    Csv,
    /// `{"items": […]}`.
    Json,
}

type Piece = Result<Bytes, ApiError>;

/// The body of an export. What fails before its first piece is an answer of its own.
pub(crate) async fn body(
    mut client: Client,
    shape: Shape,
    writing: Writing,
    question: Question,
) -> Result<Body, ApiError> {
    let slot = SLOTS.try_acquire().map_err(|_| {
        ApiError::unavailable("export_busy", "too many exports are running; try again")
    })?;
    let (pieces, mut received) = mpsc::channel::<Piece>(PIECES_WAITING);
    tokio::spawn(async move {
        let mut file = File::begin(exports::columns(shape), writing, pieces);
        let read = exports::read(&mut client, shape, &question, &mut file).await;
        match read {
            Ok(()) => file.end().await,
            // The reader is told by the broken body; the cause is in the log.
            Err(cause) => drop(file.pieces.send(Err(cause.into())).await),
        }
        drop(slot);
    });
    let first = received.recv().await.transpose()?.unwrap_or_default();
    let rest = futures_util::stream::unfold(received, |mut received| async {
        let piece = received.recv().await?;
        Some((piece.map_err(|error| error.message), received))
    });
    let first = futures_util::stream::once(async { Ok::<_, String>(first) });
    Ok(Body::from_stream(futures_util::StreamExt::chain(
        first, rest,
    )))
}

/// A file being written.
struct File {
    columns: Vec<(&'static str, Kind)>,
    writing: Writing,
    text: String,
    rows: u64,
    pieces: mpsc::Sender<Piece>,
}

impl File {
    fn begin(
        columns: Vec<(&'static str, Kind)>,
        writing: Writing,
        pieces: mpsc::Sender<Piece>,
    ) -> Self {
        let mut text = String::with_capacity(2 * PIECE_BYTES);
        match writing {
            Writing::Csv => {
                let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
                text.push_str(&names.join(","));
                text.push_str("\r\n");
            }
            Writing::Json => text.push_str("{\"items\":["),
        }
        Self {
            columns,
            writing,
            text,
            rows: 0,
            pieces,
        }
    }

    async fn send(&mut self) -> bool {
        let piece = Bytes::copy_from_slice(self.text.as_bytes());
        self.text.clear();
        self.pieces.send(Ok(piece)).await.is_ok()
    }

    async fn end(&mut self) {
        if self.writing == Writing::Json {
            self.text.push_str("]}\n");
        }
        self.send().await;
    }
}

impl Sink for File {
    fn row(&mut self, cells: &[Option<&str>]) {
        match self.writing {
            Writing::Csv => push_row(&mut self.text, cells),
            Writing::Json => {
                if self.rows > 0 {
                    self.text.push(',');
                }
                self.text.push('\n');
                json_row(&mut self.text, &self.columns, cells);
            }
        }
        self.rows += 1;
    }

    async fn hand_on(&mut self) -> bool {
        if self.text.len() < PIECE_BYTES {
            return !self.pieces.is_closed();
        }
        self.send().await
    }
}

fn json_row(text: &mut String, columns: &[(&'static str, Kind)], cells: &[Option<&str>]) {
    text.push('{');
    for (index, ((name, kind), cell)) in columns.iter().zip(cells).enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push('"');
        text.push_str(name);
        text.push_str("\":");
        match (cell, kind) {
            (None, _) => text.push_str("null"),
            (Some(cell), Kind::Raw | Kind::Charges) => text.push_str(cell),
            (Some(cell), Kind::Text) => {
                text.push_str(&serde_json::Value::from(*cell).to_string());
            }
        }
    }
    text.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_tells_null_from_empty() {
        let check = |cells: &[Option<&str>], expected: &str| {
            let mut text = String::new();
            push_row(&mut text, cells);
            assert_eq!(text, format!("{expected}\r\n"));
        };
        check(&[Some("a"), None, Some("")], r#"a,,"""#);
        check(&[Some("=1+1"), Some("-0.25")], r#""'=1+1",-0.25"#);
    }

    #[test]
    fn json_keeps_numbers_as_they_are_and_quotes_texts() {
        let columns = [("a", Kind::Text), ("b", Kind::Raw), ("c", Kind::Raw)];
        let mut text = String::new();
        json_row(
            &mut text,
            &columns,
            &[Some("x\"\n"), Some("{\"n\":1.50}"), None],
        );
        assert_eq!(text, r#"{"a":"x\"\n","b":{"n":1.50},"c":null}"#);
    }
}
