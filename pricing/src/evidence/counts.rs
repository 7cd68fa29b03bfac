//! The usual usage object: compact, plain names, and nothing in it but counts, null and more such objects.
//! All of it is kept as it stands, so that one look says whether it is one.

use super::json::Places;
use super::{EVIDENCE_DEPTH_MAX, EVIDENCE_TEXT_BYTES_MAX};
use crate::json::name_len;
use crate::usage::QUANTITY_DIGITS_MAX;

/// Most members of which the places are worth their room: a usage object has a dozen.
const MEMBERS_MAX: usize = 64;

/// Where the members of such an object stand, none where they are many; `None` where a text is no such
/// object. What else is kept as it stands, `None` says nothing of.
pub(super) fn places(text: &[u8]) -> Option<Places> {
    // Places are told in four bytes each.
    u32::try_from(text.len()).ok()?;
    let end = text.len();
    let at = |rest: &[u8]| (end - rest.len()) as u32;
    let mut places = Places::with_room();
    // The members whose objects are not over.
    let mut open = [0; EVIDENCE_DEPTH_MAX];
    let mut depth = 1usize;
    let mut text = text.strip_prefix(b"{")?;
    loop {
        let inside = text.strip_prefix(b"\"")?;
        let (name, value) = name_and_rest(inside)?;
        let number = places.members.len();
        places.add(at(inside), name);
        text = match value {
            [b'{', b'}', behind @ ..] if depth < EVIDENCE_DEPTH_MAX => behind,
            [b'{', behind @ ..] if depth < EVIDENCE_DEPTH_MAX => {
                *open.get_mut(depth)? = number;
                depth += 1;
                text = behind;
                continue;
            }
            [b'n', b'u', b'l', b'l', behind @ ..] => behind,
            value => behind_count(value)?,
        };
        places.end(number, at(text));
        loop {
            let (next, behind) = text.split_first()?;
            text = behind;
            match next {
                b',' => break,
                b'}' if depth == 1 => {
                    if places.members.len() > MEMBERS_MAX {
                        places = Places::default();
                    }
                    return text.is_empty().then_some(places);
                }
                b'}' => {
                    depth -= 1;
                    places.end(*open.get(depth)?, at(text));
                }
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

/// A member's name, and what stands behind its quote and its colon; `None` for a name that has to be looked
/// at or is too long.
#[inline]
fn name_and_rest(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, behind) = text.split_at_checked(name_len(text))?;
    let rest = behind.strip_prefix(b"\":")?;
    (name.len() <= EVIDENCE_TEXT_BYTES_MAX).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Index, Json, Kept};
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
            assert!(places(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn members_are_found_however_many_they_are() {
        for count in [1, 23, 24, 25, MEMBERS_MAX, MEMBERS_MAX + 1, 500] {
            let members = (0..count).map(|n| format!("\"m{n}\":{n}"));
            let text = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
            let kept = Kept::of(&text).expect("an object of counts");
            assert!(kept.has_counts_alone());
            let index = kept.index();
            for n in 0..count {
                let found = index.at(&[&format!("m{n}")]).and_then(Json::count);
                assert_eq!(found, Some(n as u64));
            }
            assert_eq!(index.at(&["m"]), None);
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
            assert!(places(text.as_bytes()).is_none(), "{text}");
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
        fn what_is_kept_as_it_stands_is_kept_so_the_slow_way(
            text in object(),
            paths in prop::collection::vec(prop::collection::vec("[a-c]{1,2}", 0..5), 1..9),
        ) {
            if places(text.as_bytes()).is_some() {
                let kept = Kept::in_bounds(&text).expect("an object of counts");
                prop_assert_eq!(kept.text(), &text);
                prop_assert!(kept.has_counts_alone());
                let (known, walked) = (Kept::of(&text).expect("the same"), Index::of(kept.json()));
                for path in &paths {
                    let path: Vec<_> = path.iter().map(String::as_str).collect();
                    let value = known.index().at(&path);
                    prop_assert_eq!(value, walked.at(&path));
                    prop_assert_eq!(value, kept.json().at(&path));
                }
            }
        }

        #[test]
        fn no_text_is_its_end(text in "[{}:,\"0 n]{0,24}") {
            let _ = places(text.as_bytes());
        }
    }
}
