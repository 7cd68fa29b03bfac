//! Whether one record can be booked at all, and its digest.
//!
//! Pure: no database, no clock. What this lets through may still be refused by a constraint, and is
//! then found by halving the batch; what it refuses would be refused for ever.

use std::collections::BTreeMap;

use farebox_pricing::event::{Event, SCHEMA};
use farebox_pricing::id;
use farebox_pricing::money::Usd;
use farebox_pricing::usage::{Usage, is_bookable};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{record, row};
use crate::store::copy::Fields;

/// Most bytes of one record.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;
/// Longest reason a receipt gives.
const REASON_CHARS_MAX: usize = 200;
/// First and end of the years whose events are kept, as milliseconds: 2000-01-01 and 2100-01-01.
const STARTED_AT_MIN: i64 = 946_684_800_000;
const STARTED_AT_END: i64 = 4_102_444_800_000;

/// A record that can be booked.
#[derive(Debug)]
pub struct Checked {
    /// The event, without what the fields below hold. It is large, and a record changes hands often.
    pub event: Box<Event>,
    /// SHA-256 over what is compared when the same id comes again.
    pub digest: [u8; 32],
    /// The proxy's figure; never booked.
    pub claimed_usd: Option<Usd>,
    /// The record's place in its spool.
    pub place: Place,
    /// SHA-256 over the record as spooled, by the proxy.
    pub content_sha256: Option<[u8; 32]>,
    /// What the proxy says, as the fields of its row.
    pub(crate) content: Fields,
    /// Fields that this version does not know, kept as they came.
    pub further: Option<String>,
}

/// Where a record stands in the spool it came from; compared by nobody, since a record that was
/// written again after a failed sync has another place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The proxy.
    pub node: Option<String>,
    /// Its process start.
    pub epoch: Option<i64>,
    /// The settlement's number.
    pub seq: Option<i64>,
}

/// A record that can never be booked.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    /// The id, where one could be read.
    pub event_id: Option<Uuid>,
    /// Why.
    pub reason: String,
}

/// Reads and checks one record.
pub fn check(raw: &str) -> Result<Checked, Refused> {
    if raw.len() > RECORD_BYTES_MAX {
        return Err(Refused::new(lenient_id(raw), "the record is too large"));
    }
    let (event, evidence) =
        record::read(raw).map_err(|error| Refused::new(lenient_id(raw), &error.to_string()))?;
    checked(raw, event, evidence)
}

/// Reads and checks the record that a text begins with, and says what is behind it. Nothing: no record
/// stands there, or none that can be told from what follows.
pub(super) fn check_first(text: &str) -> Option<(Result<Checked, Refused>, &str)> {
    let (event, evidence, end) = record::read_first(text)?;
    let (raw, behind) = text.split_at_checked(end)?;
    let read = if raw.len() > RECORD_BYTES_MAX {
        Err(Refused::new(
            Some(event.event_id),
            "the record is too large",
        ))
    } else {
        checked(raw, event, evidence)
    };
    Some((read, behind))
}

impl Refused {
    fn new(event_id: Option<Uuid>, reason: &str) -> Self {
        Self {
            event_id,
            reason: reason.chars().take(REASON_CHARS_MAX).collect(),
        }
    }
}

fn checked(raw: &str, mut event: Box<Event>, evidence: Option<&str>) -> Result<Checked, Refused> {
    let event_id = Some(event.event_id);
    let refuse = Refused::new;
    check_event(&event).map_err(|reason| refuse(event_id, &reason))?;
    sanitise(&mut event);

    let claimed_usd = event.claimed_usd.take();
    let content_sha256 = match event.content_sha256.take() {
        None => None,
        Some(hex) => Some(
            parse_sha256(&hex)
                .ok_or_else(|| refuse(event_id, "content_sha256 is no SHA-256 in hex"))?,
        ),
    };
    let bigint = |value: Option<u64>, name: &str| {
        value
            .map(i64::try_from)
            .transpose()
            .map_err(|_| refuse(event_id, &format!("{name} is too large")))
    };
    let place = Place {
        epoch: bigint(event.epoch.take(), "epoch")?,
        seq: bigint(event.seq.take(), "seq")?,
        node: event.node.take(),
    };
    let further = if event.schema > SCHEMA {
        further_fields(raw)
    } else {
        None
    };
    let content = match (evidence, event.evidence.take()) {
        (None, Some(read)) => {
            let printed = serde_json::to_string(&read)
                .map_err(|error| refuse(event_id, &error.to_string()))?;
            row::content(&event, Some(&printed))
        }
        (evidence, _) => row::content(&event, evidence),
    };
    Ok(Checked {
        digest: row::digest(&event, &content),
        event,
        claimed_usd,
        place,
        content_sha256,
        content,
        further,
    })
}

fn check_event(event: &Event) -> Result<(), String> {
    if event.event_id.get_version_num() != 7 {
        return Err("event_id is no UUIDv7".to_owned());
    }
    let started_at = event.started_at.as_millis();
    if id_millis(event.event_id) != started_at {
        return Err("event_id and started_at name different milliseconds".to_owned());
    }
    if !(STARTED_AT_MIN..STARTED_AT_END).contains(&started_at) {
        return Err("started_at lies outside the years 2000 to 2099".to_owned());
    }
    for (name, id) in [
        ("customer_id", event.customer_id.as_deref()),
        ("plan", event.plan.as_deref()),
        ("upstream", Some(event.upstream.as_str())),
        ("provider", Some(&*event.provider)),
        ("node", event.node.as_deref()),
    ] {
        if let Some(reason) = id.and_then(|id| id::check(id).err()) {
            return Err(format!("{name}: {reason}"));
        }
    }
    if event.part == 0 || event.attempt == 0 {
        return Err("part and attempt count from 1".to_owned());
    }
    for (name, count) in [
        ("part", u64::from(event.part)),
        ("attempt", u64::from(event.attempt)),
        ("schema", u64::from(event.schema)),
        ("client_retry", u64::from(event.client_retry.unwrap_or(0))),
    ] {
        if i32::try_from(count).is_err() {
            return Err(format!("{name} is too large"));
        }
    }
    for (name, count) in [
        ("request_bytes", event.request_bytes),
        ("response_bytes", event.response_bytes),
    ] {
        if count.is_some_and(|count| i64::try_from(count).is_err()) {
            return Err(format!("{name} is too large"));
        }
    }
    let lines = event.lines.iter().map(|line| &line.usage);
    let bounds = [&event.usage_low, &event.usage_high];
    for usage in lines
        .chain([&event.usage])
        .chain(bounds.into_iter().flatten())
    {
        check_usage(usage)?;
    }
    Ok(())
}

fn check_usage(usage: &Usage) -> Result<(), String> {
    for (meter, quantity) in usage.iter() {
        if quantity.is_negative() {
            return Err(format!("{meter} is negative"));
        }
        if !is_bookable(quantity) {
            return Err(format!("{meter} is too large"));
        }
    }
    Ok(())
}

/// A UUIDv7 begins with 48 bits of Unix milliseconds.
fn id_millis(event_id: Uuid) -> i64 {
    let bytes = event_id.as_bytes();
    bytes[..6]
        .iter()
        .fold(0, |millis, byte| millis << 8 | i64::from(*byte))
}

/// Postgres keeps no NUL in texts; labels are bounded, and the event says that they were changed.
fn sanitise(event: &mut Event) {
    let mut is_changed = false;
    let labels = [
        (&mut event.project, id::SCALARS_MAX),
        (&mut event.agent, id::SCALARS_MAX),
        (&mut event.revision, id::SCALARS_MAX),
        (&mut event.session_id, id::SCALARS_MAX),
        (&mut event.run_id, id::SCALARS_MAX),
        (&mut event.span_id, id::SCALARS_MAX),
        (&mut event.parent_span_id, id::SCALARS_MAX),
        (&mut event.section, id::SCALARS_MAX),
        (&mut event.credential_id, id::SCALARS_MAX),
        (&mut event.region, id::SCALARS_MAX),
        (&mut event.service_tier, id::SCALARS_MAX),
        (
            &mut event.model_requested,
            farebox_pricing::event::MODEL_BYTES_MAX,
        ),
        (&mut event.model, farebox_pricing::event::MODEL_BYTES_MAX),
        (
            &mut event.upstream_request_id,
            farebox_pricing::event::MODEL_BYTES_MAX,
        ),
        (
            &mut event.response_id,
            farebox_pricing::event::MODEL_BYTES_MAX,
        ),
    ];
    for (label, scalars_max) in labels {
        is_changed |= label
            .as_mut()
            .is_some_and(|label| sanitise_text(label, scalars_max));
    }
    if let Some(reason) = &mut event.usage_reason {
        is_changed |= sanitise_text(reason.to_mut(), id::SCALARS_MAX);
    }
    event.objects.truncate(farebox_pricing::event::OBJECTS_MAX);
    for object in &mut event.objects {
        is_changed |= sanitise_text(object, farebox_pricing::event::OBJECT_BYTES_MAX);
    }
    for line in &mut event.lines {
        is_changed |= sanitise_text(&mut line.model, farebox_pricing::event::MODEL_BYTES_MAX);
        is_changed |= replace_nul_in_map(&mut line.conditions, sanitise_nul);
    }
    is_changed |= replace_nul_in_map(&mut event.metadata, sanitise_value);
    if let Some(evidence) = &mut event.evidence {
        is_changed |= replace_nul_in_map(&mut evidence.headers, sanitise_nul);
        is_changed |= evidence.replace_nul();
    }
    event.sanitised |= is_changed;
}

/// A short text of printable ASCII, which nearly all are, is left alone without a copy.
fn sanitise_text(text: &mut String, scalars_max: usize) -> bool {
    if text.len() <= scalars_max && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return false;
    }
    let (clean, is_changed) = id::sanitise(text, scalars_max);
    if is_changed {
        *text = clean;
    }
    is_changed
}

fn sanitise_nul(text: &mut String) -> bool {
    let is_changed = text.contains('\0');
    if is_changed {
        *text = text.replace('\0', "\u{FFFD}");
    }
    is_changed
}

fn sanitise_value(value: &mut Value) -> bool {
    match value {
        Value::String(text) => sanitise_nul(text),
        Value::Array(items) => items
            .iter_mut()
            .fold(false, |changed, item| sanitise_value(item) | changed),
        Value::Object(members) => {
            let mut is_changed = members.iter_mut().fold(false, |changed, (_, member)| {
                sanitise_value(member) | changed
            });
            if members.keys().any(|name| name.contains('\0')) {
                *members = std::mem::take(members)
                    .into_iter()
                    .map(|(name, member)| (name.replace('\0', "\u{FFFD}"), member))
                    .collect();
                is_changed = true;
            }
            is_changed
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn replace_nul_in_map<V>(map: &mut BTreeMap<String, V>, sanitise: impl Fn(&mut V) -> bool) -> bool {
    let mut is_changed = map
        .values_mut()
        .fold(false, |changed, value| sanitise(value) | changed);
    if map.keys().any(|name| name.contains('\0')) {
        *map = std::mem::take(map)
            .into_iter()
            .map(|(name, value)| (name.replace('\0', "\u{FFFD}"), value))
            .collect();
        is_changed = true;
    }
    is_changed
}

/// 64 hex digits as bytes.
pub(crate) fn parse_sha256(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

/// The members of a newer proxy's record that this version has no field for.
fn further_fields(raw: &str) -> Option<String> {
    let members: BTreeMap<&str, &RawValue> = serde_json::from_str(raw).ok()?;
    let known = known_fields();
    let further: BTreeMap<&str, &RawValue> = members
        .into_iter()
        .filter(|(name, _)| !known.contains(name))
        .collect();
    if further.is_empty() {
        return None;
    }
    serde_json::to_string(&further).ok()
}

/// The names of the struct's fields, asked of its own reader.
fn known_fields() -> &'static [&'static str] {
    struct Names(Option<&'static [&'static str]>);
    impl<'de> serde::Deserializer<'de> for &mut Names {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: serde::de::Visitor<'de>>(
            self,
            _: V,
        ) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("only names are asked for"))
        }

        fn deserialize_struct<V: serde::de::Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            self.0 = Some(fields);
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }
    let mut names = Names(None);
    // The reader is refused on purpose, after it said which fields it knows.
    drop(Event::deserialize(&mut names));
    names.0.unwrap_or_default()
}

/// The id of a record that cannot be read as a whole, for its receipt.
fn lenient_id(raw: &str) -> Option<Uuid> {
    #[derive(Deserialize)]
    struct OnlyId {
        event_id: Option<Uuid>,
    }
    serde_json::from_str::<OnlyId>(raw).ok()?.event_id
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// 2026-11-22T10:00:00.123Z.
    const MILLIS: u64 = 1_795_341_600_123;

    pub(in crate::ingest) fn record() -> Value {
        let mut id = [0; 16];
        id[..6].copy_from_slice(&MILLIS.to_be_bytes()[2..]);
        (id[6], id[8]) = (0x70, 0x80);
        let id = Uuid::from_bytes(id);
        json!({
            "event_id": id, "call_id": id, "part": 1, "is_final": true, "schema": 1,
            "tenant_id": "acme", "environment": "live", "attribution": "key", "paid_by": "operator",
            "upstream": "openai", "provider": "openai", "endpoint": "chat",
            "started_at": "2026-11-22T10:00:00.123Z", "ending": "complete", "transport": "http",
            "attempt": 1, "usage_source": "reported", "pricing": "priced",
            "lines": [{"model": "m", "usage": {"input_tokens": "5"}}],
            "evidence": {"reader_version": 1},
        })
    }

    fn with(changes: Value) -> String {
        let mut record = record();
        for (name, value) in changes.as_object().unwrap() {
            record[name] = value.clone();
        }
        record.to_string()
    }

    /// Whether a text stands in the row.
    fn holds(checked: &Checked, text: &str) -> bool {
        let row = checked.content.as_bytes();
        row.windows(text.len()).any(|part| part == text.as_bytes())
    }

    #[test]
    fn what_can_never_be_booked_is_refused_with_its_reason() {
        let check_case = |changes: Value, reason: &str| {
            let refused = check(&with(changes.clone())).unwrap_err();
            assert!(refused.reason.contains(reason), "{changes}: {refused:?}");
        };
        check_case(json!({"event_id": "x"}), "UUID");
        check_case(
            json!({"event_id": "00000000-0000-4000-8000-000000000000"}),
            "UUIDv7",
        );
        check_case(
            json!({"started_at": "2026-11-22T10:00:00.124Z"}),
            "different milliseconds",
        );
        check_case(json!({"tenant_id": "a\nb"}), "control");
        check_case(json!({"customer_id": "e\u{301}"}), "normalization");
        check_case(json!({"upstream": ""}), "at least one");
        check_case(json!({"part": 0}), "from 1");
        check_case(
            json!({"usage_high": {"images": "-1"}}),
            "images is negative",
        );
        check_case(
            json!({"usage": {"images": "1000000000000000"}}),
            "images is too large",
        );
        check_case(json!({"seq": u64::MAX}), "seq is too large");
        check_case(json!({"content_sha256": "é"}), "SHA-256");
        check_case(json!({"evidence": 5}), "invalid type");
        check_case(json!({"ending": "finished"}), "unknown variant");
        let refused = check("null").unwrap_err();
        assert_eq!(refused.event_id, None);
        let long = with(json!({"section": "x".repeat(RECORD_BYTES_MAX)}));
        assert!(check(&long).unwrap_err().reason.contains("too large"));
        assert!(check(&long).unwrap_err().event_id.is_some());
    }

    #[test]
    fn place_claim_and_hash_are_not_compared() {
        let digest = |changes| check(&with(changes)).unwrap().digest;
        let plain = digest(json!({}));
        for same in [
            json!({"node": "n", "epoch": 2, "seq": 3}),
            json!({"claimed_usd": "999"}),
            json!({"content_sha256": "0".repeat(64)}),
            json!({"cost_usd": "999", "received_at": "now"}),
        ] {
            assert_eq!(digest(same.clone()), plain, "{same}");
        }
    }

    /// Every field of the event is content, but for those above.
    #[test]
    fn every_other_field_is_compared() {
        // As text: so many members are too many for the macro.
        const OTHERS: &str = r#"{
            "event_id": "01a2025a-347b-7000-8000-000000000009",
            "call_id": "01a2025a-347b-7000-8000-000000000009", "part": 2, "is_final": false,
            "schema": 2, "tenant_id": "b", "plan": "b", "customer_id": "b", "project": "b", "agent": "b",
            "revision": "b", "session_id": "b", "run_id": "b", "span_id": "b",
            "parent_span_id": "b", "section": "b", "metadata": {"a": 1}, "synthetic": true,
            "environment": "test", "attribution": "body",
            "key_id": "01a2025a-347b-7000-8000-000000000009", "credential_id": "b",
            "paid_by": "caller", "upstream": "b", "provider": "b", "endpoint": "ocr",
            "region": "b", "model_requested": "b", "model": "b", "service_tier": "b",
            "ended_at": "2026-11-22T10:00:00.124Z", "ttfb_ms": "1", "ttft_ms": "1",
            "duration_ms": "1", "overhead_ms": "1", "status": 200, "ending": "cut",
            "streaming": true, "transport": "sse", "request_bytes": 1, "response_bytes": 1,
            "request_amended": true, "attempt": 2, "client_retry": 1, "sanitised": true,
            "lines": [{"model": "m", "usage": {"input_tokens": "6"}}],
            "usage": {"input_tokens": "6"}, "usage_source": "partial", "usage_reason": "b",
            "usage_low": {"images": "1"}, "usage_high": {"images": "1"},
            "evidence": {"reader_version": 2}, "pricing": "free",
            "rate_cards": {"cost": "b", "price": null}, "upstream_request_id": "b",
            "response_id": "b", "objects": ["b"], "original": true
        }"#;
        let mut others: Value = serde_json::from_str(OTHERS).unwrap();
        let mut id = record()["event_id"].as_str().unwrap().to_owned();
        id.replace_range(35.., "9");
        others["event_id"] = id.into();
        let plain = check(&with(json!({}))).unwrap().digest;
        for name in known_fields() {
            let apart = [
                "node",
                "epoch",
                "seq",
                "claimed_usd",
                "content_sha256",
                "started_at",
            ];
            if apart.contains(name) {
                continue;
            }
            let other = others
                .get(name)
                .unwrap_or_else(|| panic!("{name} is compared or apart"));
            let other = json!({*name: other});
            assert_ne!(
                check(&with(other.clone())).unwrap().digest,
                plain,
                "{other}"
            );
        }
        let price = check(&with(json!({"rate_cards": {"cost": null, "price": "b"}})));
        let cost = check(&with(json!({"rate_cards": {"cost": "b", "price": null}})));
        assert_ne!(price.unwrap().digest, cost.unwrap().digest);
    }

    #[test]
    fn texts_are_made_to_fit() {
        let changes = json!({
            "session_id": "a\u{0}b",
            "section": "x".repeat(200),
            "metadata": {"k\u{0}": ["v\u{0}", 1]},
            "evidence": {"reader_version": 1, "headers": {"h": "\u{0}"}},
        });
        let checked = check(&with(changes)).unwrap();
        assert!(checked.event.sanitised);
        assert_eq!(checked.event.session_id.as_deref(), Some("a\u{FFFD}b"));
        assert_eq!(checked.event.section.as_ref().unwrap().len(), 128);
        assert_eq!(checked.event.metadata["k\u{FFFD}"], json!(["v\u{FFFD}", 1]));
        assert!(holds(&checked, "\"h\":\"\u{FFFD}\""));
        let plain = check(&with(json!({}))).unwrap();
        assert!(!plain.event.sanitised);
        assert!(holds(&plain, r#"{"reader_version":1}"#));
        let half = with(json!({})).replace(
            "\"reader_version\":1",
            r#""reader_version":1,"flags":["\ud800"]"#,
        );
        assert!(
            check(&half).unwrap_err().reason.contains("escape"),
            "{half}"
        );
    }

    #[test]
    fn fields_of_a_newer_proxy_are_kept() {
        let newer = check(&with(json!({"schema": 2, "mood": {"deep": [1]}}))).unwrap();
        assert_eq!(newer.further.as_deref(), Some(r#"{"mood":{"deep":[1]}}"#));
        assert_eq!(check(&with(json!({"mood": 1}))).unwrap().further, None);
    }
}
