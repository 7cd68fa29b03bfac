//! The canonical form of a card, RFC 8785, and its SHA-256: the card's revision.
//!
//! It is made from the parsed card, so that order of members, white space and the way a decimal was
//! written do not matter. Texts are in Unicode normalization form C.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::grammar::CardFile;

/// The canonical text of a card.
pub(super) fn canonical(file: &CardFile) -> Result<String, serde_json::Error> {
    of(file)
}

/// The canonical text of what is serialised as a card is.
pub(super) fn of(file: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut out = String::new();
    write(&serde_json::to_value(file)?, &mut out);
    Ok(out)
}

/// SHA-256 of a canonical text, in lower-case hex.
pub(super) fn revision(canonical: &str) -> String {
    use std::fmt::Write;
    let digest = Sha256::digest(canonical.as_bytes());
    digest
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            // RFC 8785 section 3.2.3: members by the UTF-16 code units of their names.
            let mut members: Vec<(String, &Value)> = members
                .iter()
                .map(|(name, member)| (name.nfc().collect(), member))
                .collect();
            members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
            out.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_text(name, out);
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::String(text) => write_text(&text.nfc().collect::<String>(), out),
        // The grammar's only numbers are small integers, which RFC 8785 writes as they are.
        Value::Number(number) => out.push_str(number.as_str()),
        Value::Bool(_) | Value::Null => out.push_str(&value.to_string()),
    }
}

/// serde_json escapes exactly what RFC 8785 section 3.2.2.2 escapes, in the same way.
fn write_text(text: &str, out: &mut String) {
    out.push_str(&Value::from(text).to_string());
}
