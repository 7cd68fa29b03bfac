//! The usual usage object: compact, plain names, and nothing in it but counts, null and more such objects.
//! All of it is kept as it stands, so that one look says whether it is one.

use super::{EVIDENCE_DEPTH_MAX, EVIDENCE_TEXT_BYTES_MAX};
use crate::json::name_len;
use crate::usage::QUANTITY_DIGITS_MAX;

/// Whether a text is such an object. What else is kept as it stands, `false` says nothing of.
pub(super) fn is_counts_alone(text: &[u8]) -> bool {
    behind_object(text).is_some_and(<[u8]>::is_empty)
}

/// What stands behind the object that begins here.
fn behind_object(text: &[u8]) -> Option<&[u8]> {
    let mut text = text.strip_prefix(b"{")?;
    let mut depth = 1usize;
    loop {
        text = match behind_name(text)? {
            [b'{', b'}', behind @ ..] if depth < EVIDENCE_DEPTH_MAX => behind,
            [b'{', behind @ ..] if depth < EVIDENCE_DEPTH_MAX => {
                depth += 1;
                text = behind;
                continue;
            }
            [b'n', b'u', b'l', b'l', behind @ ..] => behind,
            value => behind_count(value)?,
        };
        loop {
            let (next, behind) = text.split_first()?;
            text = behind;
            match next {
                b',' => break,
                b'}' if depth == 1 => return Some(text),
                b'}' => depth -= 1,
                _ => return None,
            }
        }
    }
}

/// A whole number that is written as it should be.
#[inline]
fn behind_count(text: &[u8]) -> Option<&[u8]> {
    let mut behind = text;
    while let [b'0'..=b'9', more @ ..] = behind {
        behind = more;
    }
    let is_count = match text.len() - behind.len() {
        1 => true,
        len => len > 0 && len <= QUANTITY_DIGITS_MAX as usize && text.first() != Some(&b'0'),
    };
    is_count.then_some(behind)
}

/// A member's name and its colon; `None` for a name that has to be looked at or is too long.
#[inline]
fn behind_name(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"\"")?;
    let len = name_len(text);
    let behind = text.get(len..)?.strip_prefix(b"\":");
    behind.filter(|_| len <= EVIDENCE_TEXT_BYTES_MAX)
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
            r#"{"a":{}}"#,
            r#"{"prompt_tokens":120,"details":{"cached_tokens":0,"n":{}},"total":300,"a":null}"#,
            "{\"\u{7f}\":2,\"\":3}",
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
            "1}",
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
