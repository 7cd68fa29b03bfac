//! Records on their way: the JSON array a batch becomes, and the receipts that come back.

use std::borrow::Cow;
use std::io::Write;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::config::ShipCompression;
use crate::metrics::ShipOutcome;
use crate::spool::{Position, Requeued, Spooled};

/// Most records the collector takes at once.
pub(super) const RECORDS_MAX: usize = 1_000;
/// Most bytes of records in one batch: with what is added to each, it stays below the collector's
/// 8 MiB.
pub(super) const BYTES_MAX: usize = 7 * 1024 * 1024;
/// Bytes that [`body`] adds to a record, about.
const ADDED_BYTES: usize = 256;

/// Where a record comes from, to be acknowledged there.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Spool(Position),
    Requeue(Box<Requeued>),
}

/// A record to be shipped.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) source: Source,
    pub(super) event_id: Uuid,
    /// When it was first appended, in milliseconds since 1970.
    pub(super) appended_ms: u64,
    epoch: u64,
    seq: u64,
    payload: Vec<u8>,
}

impl From<Spooled> for Record {
    fn from(spooled: Spooled) -> Self {
        Self {
            source: Source::Spool(spooled.position),
            event_id: spooled.event_id,
            appended_ms: spooled.appended_ms,
            epoch: spooled.epoch,
            seq: spooled.seq,
            payload: spooled.payload,
        }
    }
}

impl From<Requeued> for Record {
    fn from(requeued: Requeued) -> Self {
        let record = &requeued.record;
        Self {
            event_id: record.event_id,
            appended_ms: record.appended_ms,
            epoch: record.epoch,
            seq: record.seq,
            payload: record.record.clone().into_bytes(),
            source: Source::Requeue(Box::new(requeued)),
        }
    }
}

/// The batch as the collector reads it. Each record is its spooled bytes with its place in the
/// spool added behind its own members, so that the collector can check what it was made of.
pub(super) fn body(records: &[Record], node: &str) -> Bytes {
    let node = serde_json::Value::from(node).to_string();
    let size: usize = records
        .iter()
        .map(|record| record.payload.len() + ADDED_BYTES)
        .sum();
    let mut body = Vec::with_capacity(size + 2);
    body.push(b'[');
    for (place, record) in records.iter().enumerate() {
        if place > 0 {
            body.push(b',');
        }
        append(&mut body, record, &node);
    }
    body.push(b']');
    body.into()
}

fn append(body: &mut Vec<u8>, record: &Record, node: &str) {
    // What is no object goes out as it is; the collector says so, and it is set aside.
    let Some(open) = record.payload.trim_ascii_end().strip_suffix(b"}") else {
        body.extend_from_slice(&record.payload);
        return;
    };
    body.extend_from_slice(open);
    let comma = if open.trim_ascii() == b"{" { "" } else { "," };
    let written = write!(
        body,
        "{comma}\"node\":{node},\"epoch\":{},\"seq\":{},\"content_sha256\":\"{:x}\"}}",
        record.epoch,
        record.seq,
        Sha256::digest(&record.payload),
    );
    written.expect("writing into a vector does not fail");
}

/// How a batch is compressed on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// Fast, and most of what there is to win: records repeat each other's names.
const ZSTD_LEVEL: i32 = 1;
/// A body this short is sent as it is.
const PACKED_BYTES_MIN: usize = 1_024;

impl Packing {
    /// By the configuration; a collector on this machine is nearer than any compression is fast.
    pub(super) fn choose(asked: ShipCompression, host: &str) -> Self {
        let is_here = || {
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        };
        match asked {
            ShipCompression::None => Self::Plain,
            ShipCompression::Gzip => Self::Gzip,
            ShipCompression::Zstd => Self::Zstd,
            ShipCompression::Auto if is_here() => Self::Plain,
            ShipCompression::Auto => Self::Zstd,
        }
    }

    /// The body as it is sent, with its `content-encoding`; plain where packing fails or is no use.
    pub(super) fn pack(self, body: Bytes) -> (Bytes, Option<&'static str>) {
        if body.len() < PACKED_BYTES_MIN {
            return (body, None);
        }
        let packed = match self {
            Self::Plain => return (body, None),
            Self::Gzip => gzip(&body).map(|packed| (packed, "gzip")),
            Self::Zstd => zstd::encode_all(&body[..], ZSTD_LEVEL).map(|packed| (packed, "zstd")),
        };
        match packed {
            Ok((packed, encoding)) => (packed.into(), Some(encoding)),
            Err(error) => {
                tracing::warn!(%error, "a batch is sent uncompressed");
                (body, None)
            }
        }
    }
}

fn gzip(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body)?;
    encoder.finish()
}

/// What the collector says of one record.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Receipt {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_id: Option<Uuid>,
    outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

impl Receipt {
    /// A word that a newer collector may have is read as `retry`: nothing is lost by it.
    pub(super) fn outcome(&self) -> ShipOutcome {
        match self.outcome.as_str() {
            "accepted" => ShipOutcome::Accepted,
            "duplicate" => ShipOutcome::Duplicate,
            "rejected" => ShipOutcome::Rejected,
            "conflict" => ShipOutcome::Conflict,
            _ => ShipOutcome::Retry,
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The receipts of an answer, when there is one for each record.
pub(super) fn receipts(answer: &[u8], records: usize) -> Result<Vec<Receipt>, Cow<'static, str>> {
    #[derive(Deserialize)]
    struct Answer {
        receipts: Vec<Receipt>,
    }
    let answer: Answer = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    let count = answer.receipts.len();
    if count != records {
        return Err(format!("{count} receipts for {records} records").into());
    }
    Ok(answer.receipts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Any place in a spool; there is no other way to one.
    fn position() -> Position {
        static POSITION: std::sync::OnceLock<Position> = std::sync::OnceLock::new();
        *POSITION.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let options = crate::spool::SpoolOptions::default();
            let (spool, _) = crate::spool::Spool::open(folder.path(), options).unwrap();
            spool.append_unrecorded(Uuid::now_v7(), b"{}").unwrap()
        })
    }

    fn record(payload: &[u8], seq: u64) -> Record {
        Record {
            source: Source::Spool(position()),
            event_id: Uuid::from_u128(1),
            appended_ms: 1,
            epoch: 3,
            seq,
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn each_record_keeps_its_bytes_and_gets_its_place() {
        let first = br#"{"cost":0.10,"text":"}"}"#;
        let body = body(&[record(first, 7), record(b"{}", 8)], "no\"de");
        let text = std::str::from_utf8(&body).unwrap();
        assert!(
            text.starts_with(r#"[{"cost":0.10,"text":"}","node":"no\"de","epoch":3,"seq":7,"#),
            "{text}"
        );
        let parsed: Vec<Value> = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            parsed[0]["content_sha256"],
            format!("{:x}", Sha256::digest(first))
        );
        assert_eq!(parsed[1]["seq"], 8);
    }

    #[test]
    fn batches_are_packed_where_the_collector_is_elsewhere() {
        let check = |asked, host, expected| assert_eq!(Packing::choose(asked, host), expected);
        use ShipCompression::{Auto, Gzip, None, Zstd};
        check(Auto, "127.0.0.1", Packing::Plain);
        check(Auto, "[::1]", Packing::Plain);
        check(Auto, "localhost", Packing::Plain);
        check(Auto, "collector.example", Packing::Zstd);
        check(None, "collector.example", Packing::Plain);
        check(Gzip, "127.0.0.1", Packing::Gzip);
        check(Zstd, "127.0.0.1", Packing::Zstd);
        let body = Bytes::from(vec![b' '; PACKED_BYTES_MIN]);
        let (packed, encoding) = Packing::Zstd.pack(body.clone());
        assert_eq!(encoding, Some("zstd"));
        assert_eq!(zstd::decode_all(&packed[..]).unwrap(), body);
        let (packed, encoding) = Packing::Gzip.pack(body.clone());
        assert_eq!(encoding, Some("gzip"));
        let mut plain = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(&packed[..]), &mut plain).unwrap();
        assert_eq!(plain, body);
        assert_eq!(
            Packing::Zstd.pack(Bytes::from_static(b"[]")),
            (Bytes::from_static(b"[]"), Option::None)
        );
    }

    #[test]
    fn no_records_are_an_empty_array() {
        assert_eq!(&body(&[], "node")[..], b"[]");
    }

    #[test]
    fn an_answer_that_does_not_match_the_batch_is_none() {
        let answer =
            br#"{"receipts":[{"event_id":null,"outcome":"accepted"},{"outcome":"later"}]}"#;
        let receipts_of = |records| receipts(answer, records);
        let read = receipts_of(2).unwrap();
        assert_eq!(read[0].outcome(), ShipOutcome::Accepted);
        assert_eq!(read[1].outcome(), ShipOutcome::Retry);
        assert!(receipts_of(1).is_err());
        assert!(receipts(b"<html>", 0).is_err());
    }

    proptest! {
        #[test]
        fn any_object_stays_readable_with_its_members(members in proptest::collection::btree_map("[a-m]{1,4}", "\\PC{0,8}", 0..5), space in "[ \n]{0,2}") {
            let payload = serde_json::to_string(&members).unwrap() + &space;
            let body = body(&[record(payload.as_bytes(), 1)], "node");
            let parsed: Vec<Value> = serde_json::from_slice(&body).unwrap();
            for (name, value) in &members {
                prop_assert_eq!(&parsed[0][name], value.as_str());
            }
            prop_assert_eq!(&parsed[0]["node"], "node");
            let digest = format!("{:x}", Sha256::digest(payload.as_bytes()));
            prop_assert_eq!(&parsed[0]["content_sha256"], digest.as_str());
        }
    }
}
