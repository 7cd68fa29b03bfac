//! The usual usage object: compact, plain names, and nothing in it but counts, null and more such objects.
//! All of it is kept as it stands, so that one look says whether it is one.

use super::{EVIDENCE_DEPTH_MAX, EVIDENCE_TEXT_BYTES_MAX};
use crate::json::first_unplain;
use crate::usage::QUANTITY_DIGITS_MAX;

/// Whether a text is such an object. What else is kept as it stands, `false` says nothing of.
pub(super) fn is_counts_alone(text: &[u8]) -> bool {
    end(text) == Some(text.len())
}

/// Where the object ends with which a text begins.
fn end(text: &[u8]) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'{' => {
                depth += 1;
                if depth > EVIDENCE_DEPTH_MAX {
                    return None;
                }
                at += 1;
                if text.get(at)? != &b'}' {
                    at = name_end(text, at)?;
                    continue;
                }
            }
            b'n' => {
                at += 4;
                if text.get(at - 4..at)? != b"null" {
                    return None;
                }
            }
            _ => at = count_end(text, at)?,
        }
        while text.get(at)? == &b'}' {
            depth = depth.checked_sub(1)?;
            at += 1;
            if depth == 0 {
                return Some(at);
            }
        }
        if text.get(at)? != &b',' {
            return None;
        }
        at = name_end(text, at + 1)?;
    }
}

/// Where a whole number ends that is written as it should be.
fn count_end(text: &[u8], at: usize) -> Option<usize> {
    let digits = text.get(at..)?;
    let len = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    let is_count = match digits {
        [b'0', ..] => len == 1,
        _ => len > 0 && len <= QUANTITY_DIGITS_MAX as usize,
    };
    is_count.then_some(at + len)
}

/// Where the value of the member begins whose name stands here; `None` for a name that has to be looked at
/// or is too long.
fn name_end(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at)? != &b'"' {
        return None;
    }
    let mut end = at + 1;
    loop {
        let word = match text.get(end..)?.first_chunk() {
            Some(word) => u64::from_le_bytes(*word),
            // Zeros behind the text's end, where no name goes on.
            None => text[end..]
                .iter()
                .rfold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        if let Some(offset) = first_unplain(word) {
            end += offset;
            break;
        }
        end += 8;
    }
    let is_plain = end - at <= EVIDENCE_TEXT_BYTES_MAX + 1 && text.get(end..end + 2)? == b"\":";
    is_plain.then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Kept;
    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
    }

    #[test]
    fn usual_usage_objects_are_seen_to_be_some() {
        let longest = "x".repeat(EVIDENCE_TEXT_BYTES_MAX);
        for text in [
            "{}",
            r#"{"a":{}}"#,
            r#"{"prompt_tokens":120,"details":{"cached_tokens":0,"n":{}},"total":300,"a":null}"#,
            "{\"\u{e9}\":1,\"\u{7f}\":2,\"\":3}",
            r#"{"a":1,"a":2}"#,
            r#"{"a":999999999999999}"#,
            &format!(r#"{{"{longest}":1}}"#),
            &nested(EVIDENCE_DEPTH_MAX),
        ] {
            assert!(is_counts_alone(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn of_what_else_there_is_nothing_is_said() {
        let long = "x".repeat(EVIDENCE_TEXT_BYTES_MAX + 1);
        for text in [
            "",
            "1",
            "null",
            "{",
            "}",
            "[]",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"a":1}}"#,
            r#"{"a":1} "#,
            r#"{"a": 1}"#,
            r#"{"a":01}"#,
            r#"{"a":-1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e3}"#,
            r#"{"a":1000000000000000}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[]}"#,
            r#"{"a":true}"#,
            r#"{"a":nul}"#,
            r#"{"a":nulL}"#,
            r#"{"\"":1}"#,
            "{\"\n\":1}",
            r#"{"a":1"b":2}"#,
            r#"{"a":{"#,
            &format!(r#"{{"{long}":1}}"#),
            &nested(EVIDENCE_DEPTH_MAX + 1),
        ] {
            assert!(!is_counts_alone(text.as_bytes()), "{text}");
        }
    }

    fn object() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("{}".to_owned()),
            "[0-9]{1,4}",
            "[1-9][0-9]{13,15}",
            "-?[0-9]\\.[0-9]|\"[a-z\"]{0,2}\"|\\[1\\]|true",
        ];
        let object = leaf.prop_recursive(7, 40, 5, |inner| {
            let name = prop_oneof!["[a-c_\u{e9} ]{0,20}", "[a\\\\]{62,65}", "[a\n\"]{0,3}"];
            prop::collection::vec((name, inner), 0..5).prop_map(|members| {
                let members: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            })
        });
        (object, any::<prop::sample::Index>(), "[{}:,\"0 n]?").prop_map(|(mut object, at, more)| {
            let at = at.index(object.len() + 1);
            if object.is_char_boundary(at) {
                object.insert_str(at, &more);
            }
            object
        })
    }

    proptest! {
        #[test]
        fn what_is_kept_as_it_stands_is_kept_so_the_slow_way(text in object()) {
            if is_counts_alone(text.as_bytes()) {
                let kept = Kept::in_bounds(&text).expect("an object of counts");
                prop_assert_eq!(kept.text(), &text);
                prop_assert!(kept.has_counts_alone());
            }
        }

        #[test]
        fn no_text_is_its_end(text in "[{}:,\"0 n]{0,24}") {
            let _ = is_counts_alone(text.as_bytes());
        }
    }
}
