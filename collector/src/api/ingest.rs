//! `POST /ingest/v1/events`: reads the batch within its bounds, books it, answers with receipts.
//!
//! A node that cannot be served now is told when to come back, so that it keeps its events; nothing
//! is acknowledged before it is committed.

use std::io::Read;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::App;
use crate::error::{ApiError, ErrorBody};
use crate::ingest::body::InvalidBody;
use crate::ingest::{self, BATCH_BYTES_MAX, Outcome, Receipt, Sender};

/// Seconds after which a node is asked to send again when too many batches are in flight.
const BUSY_RETRY_AFTER_SECONDS: u32 = 1;
/// Binary logarithm of the largest zstd window: a frame may not ask for more memory than a batch.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Characters of a node's name are those of an identifier; of a header they must be ASCII as well.
const NODE: &str = "x-farebox-node";
const EPOCH: &str = "x-farebox-epoch";
const SENT_AT: &str = "x-farebox-sent-at";
const OPEN_SINCE: &str = "x-farebox-open-since";

/// The answer to a batch: one receipt a record, in their order.
#[derive(Serialize, ToSchema)]
pub(crate) struct Receipts {
    /// What became of each record.
    #[schema(value_type = Vec<ReceiptDocument>)]
    receipts: Vec<Receipt>,
}

/// What became of one record.
#[derive(Serialize, ToSchema)]
#[schema(as = Receipt)]
pub(crate) struct ReceiptDocument {
    /// The record's id, where one could be read.
    event_id: Option<Uuid>,
    /// `accepted`, `duplicate`, `rejected`, `conflict` or `retry`.
    outcome: String,
    /// Why, unless it is accepted.
    reason: Option<String>,
}

/// Takes a batch of events from a proxy.
///
/// The body is a JSON array or NDJSON, plain, gzip or zstd, of at most 1,000 records and 8 MiB
/// decompressed. An empty array only reports the node's position.
#[utoipa::path(post, path = "/ingest/v1/events", tag = "ingest", security(("bearer" = [])),
    params(
        ("x-farebox-node" = String, Header, description = "The proxy's name."),
        ("x-farebox-epoch" = i64, Header, description = "The proxy's process start."),
        ("x-farebox-sent-at" = String, Header, description = "The proxy's clock, RFC 3339."),
        ("x-farebox-open-since" = String, Header, description = "The earliest `started_at` not shipped yet, RFC 3339."),
    ),
    request_body(content = Vec<Object>, description = "Usage events."),
    responses(
        (status = 200, description = "A receipt for each record.", body = Receipts),
        (status = 400, description = "No batch.", body = ErrorBody),
        (status = 401, description = "No ingest token.", body = ErrorBody),
        (status = 413, description = "More than a batch may hold.", body = ErrorBody),
        (status = 429, description = "Too many batches are in flight; see `retry-after`.", body = ErrorBody),
        (status = 503, description = "The database is away; see `retry-after`.", body = ErrorBody),
    ))]
pub(crate) async fn ingest(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Receipts>, ApiError> {
    // Before the body is read: waiting batches would hold memory without a bound.
    let Ok(_slot) = app.ingest_slots.try_acquire() else {
        app.metrics.ingest_busy.inc();
        let mut busy = ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "ingest_busy",
            "too many batches are in flight; send this one again",
        );
        busy.retry_after = Some(BUSY_RETRY_AFTER_SECONDS);
        return Err(busy);
    };
    app.metrics.ingest_batches_open.inc();
    let receipts = take(&app, &headers, body).await;
    app.metrics.ingest_batches_open.dec();
    receipts.map(|receipts| Json(Receipts { receipts }))
}

async fn take(app: &App, headers: &HeaderMap, body: Body) -> Result<Vec<Receipt>, ApiError> {
    let sender = sender(headers)?;
    let encoding = Encoding::of(headers)?;
    let bytes = Limited::new(body, BATCH_BYTES_MAX)
        .collect()
        .await
        .map_err(|cause| {
            if cause.is::<LengthLimitError>() {
                too_large("a body has at most 8 MiB")
            } else {
                ApiError::malformed("the body did not come whole")
            }
        })?
        .to_bytes();
    let bytes = match encoding {
        Encoding::Identity => bytes,
        // Decompressing megabytes would hold up the other connections of this thread.
        _ => tokio::task::spawn_blocking(move || decompress(&bytes, encoding))
            .await
            .map_err(|cause| ApiError::internal(&cause))??,
    };
    let batch = ingest::read(&bytes, &app.cards).map_err(|invalid| match invalid {
        InvalidBody::TooMany => too_large(invalid.to_string()),
        InvalidBody::NotText | InvalidBody::NotAnArray(_) => {
            ApiError::malformed(invalid.to_string())
        }
    })?;
    let answer = ingest::ingest(&app.store, &app.cards, &sender, batch, ingest::now())
        .await
        .map_err(ApiError::from)?;
    for outcome in Outcome::ALL {
        let is_it = |receipt: &&Receipt| receipt.outcome == outcome;
        let count = answer.receipts.iter().filter(is_it).count();
        app.metrics
            .ingest_events
            .with_label_values(&[outcome.name()])
            .inc_by(count as u64);
    }
    app.metrics.price_mismatch.inc_by(answer.price_mismatches);
    if answer.price_mismatches > 0 {
        tracing::error!(
            node = sender.node,
            count = answer.price_mismatches,
            "a proxy claims other amounts than the collector booked"
        );
    }
    Ok(answer.receipts)
}

fn too_large(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
}

fn sender(headers: &HeaderMap) -> Result<Sender, ApiError> {
    let text = |name: &'static str| {
        headers
            .get(name)
            .and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
            .ok_or_else(|| ApiError::invalid(name, "this header is required"))
    };
    let time = |name: &'static str| {
        text(name)?
            .parse()
            .map_err(|_| ApiError::invalid(name, "an RFC 3339 time"))
    };
    let node = text(NODE)?;
    farebox_pricing::id::check(node).map_err(|cause| ApiError::invalid(NODE, cause.to_string()))?;
    Ok(Sender {
        node: node.to_owned(),
        epoch: text(EPOCH)?
            .parse()
            .ok()
            .filter(|epoch| *epoch >= 0)
            .ok_or_else(|| ApiError::invalid(EPOCH, "a whole number from 0"))?,
        sent_at: time(SENT_AT)?,
        open_since: time(OPEN_SINCE)?,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let Some(value) = headers.get(header::CONTENT_ENCODING) else {
            return Ok(Self::Identity);
        };
        match value.to_str().unwrap_or_default().trim() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            _ => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_encoding",
                "a body is plain, gzip or zstd",
            )),
        }
    }
}

/// Stops one byte past the bound, however much the rest would become.
fn decompress(bytes: &[u8], encoding: Encoding) -> Result<Bytes, ApiError> {
    let broken = |_| ApiError::malformed("the body does not decompress");
    let limit = BATCH_BYTES_MAX as u64 + 1;
    let mut plain = Vec::new();
    match encoding {
        Encoding::Identity => plain.extend_from_slice(bytes),
        Encoding::Gzip => {
            let decoder = flate2::read::MultiGzDecoder::new(bytes);
            decoder
                .take(limit)
                .read_to_end(&mut plain)
                .map_err(broken)?;
        }
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(bytes).map_err(broken)?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG_MAX)
                .map_err(broken)?;
            decoder
                .take(limit)
                .read_to_end(&mut plain)
                .map_err(broken)?;
        }
    }
    if plain.len() > BATCH_BYTES_MAX {
        return Err(too_large("a body has at most 8 MiB when decompressed"));
    }
    Ok(plain.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn both_encodings_give_the_same_bytes() {
        let plain = br#"[{"a":1}]"#;
        assert_eq!(
            &decompress(&gzip(plain), Encoding::Gzip).unwrap()[..],
            plain
        );
        let packed = zstd::encode_all(&plain[..], 3).unwrap();
        assert_eq!(&decompress(&packed, Encoding::Zstd).unwrap()[..], plain);
    }

    #[test]
    fn a_bomb_stops_at_the_bound() {
        let check = |packed: &[u8], encoding, status: u16| {
            assert_eq!(decompress(packed, encoding).unwrap_err().status, status);
        };
        let bomb = vec![b' '; BATCH_BYTES_MAX + 1];
        check(&gzip(&bomb), Encoding::Gzip, 413);
        check(
            &zstd::encode_all(&bomb[..], 1).unwrap(),
            Encoding::Zstd,
            413,
        );
        check(b"no gzip", Encoding::Gzip, 400);
        check(b"no zstd", Encoding::Zstd, 400);
    }

    #[test]
    fn a_sender_that_says_too_little_is_refused() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (NODE, "proxy-1"),
            (EPOCH, "1795317480123"),
            (SENT_AT, "2026-11-22T03:18:00.123Z"),
            (OPEN_SINCE, "2026-11-22T03:18:00.000Z"),
        ] {
            assert!(sender(&headers).is_err());
            headers.insert(name, value.parse().unwrap());
        }
        let sent = sender(&headers).unwrap();
        assert_eq!(
            (sent.node.as_str(), sent.epoch),
            ("proxy-1", 1_795_317_480_123)
        );
        headers.insert(EPOCH, "-1".parse().unwrap());
        assert_eq!(sender(&headers).unwrap_err().field.as_deref(), Some(EPOCH));
    }
}
