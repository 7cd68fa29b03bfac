//! Whether what a chunk adds was generated: most servers begin with one that only says who speaks, some
//! end with an empty text, and a call of a tool is announced by its name before its arguments come. None
//! of these is a token, and a bound from below must not count them.

use memchr::memchr2;

/// Members whose texts are no output: they name what the output is, lead to where it came from, or say why
/// it ended.
const NAMES: [&[u8]; 15] = [
    b"role",
    b"id",
    b"type",
    b"name",
    b"object",
    b"status",
    b"tool_call_id",
    b"call_id",
    b"format",
    b"signature",
    b"title",
    b"url",
    b"stopReason",
    b"stop_reason",
    b"completionReason",
];

/// Whether a delta, which begins here with its brace, holds a text that is not empty.
pub(crate) fn has_output(delta: &[u8]) -> bool {
    let (mut name, mut depth, mut at): (&[u8], usize, usize) = (b"", 0, 0);
    while let Some(byte) = delta.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return false;
                }
            }
            b'"' => {
                let Some(len) = text_bytes(&delta[at..]) else {
                    return false;
                };
                let text = &delta[at..at + len];
                at += len + 1;
                let next = delta[at..].iter().find(|byte| !byte.is_ascii_whitespace());
                if next == Some(&b':') {
                    name = text;
                } else if !text.is_empty() && !NAMES.contains(&name) {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// Bytes up to the quote that ends a text; `None` where the text is cut off.
fn text_bytes(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_generated_is_output() {
        for (delta, expected) in [
            (r#"{"role":"assistant"}"#, false),
            (r#"{"role":"assistant","content":""}"#, false),
            (
                r#"{"role":"assistant","content":null,"refusal":null}"#,
                false,
            ),
            (r#"{ "content" : "" },"x":"y""#, false),
            (r"{}", false),
            (r#"{"content":"\"","role":"assistant"}"#, true),
            (r#"{"content":"","reasoning_content":"So"}"#, true),
            (
                r#"{"content":null,"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":""}}]}"#,
                false,
            ),
            (
                r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\""}}]}"#,
                true,
            ),
            (r#"{"content":[{"type":"text","text":"Hi"}]}"#, true),
            (r#"{"content":[{"type":"text","text":""}]}"#, false),
            (r#"{"audio":{"id":"a","transcript":"Hi"}}"#, true),
            // Cut off.
            (r#"{"content":"Hi"#, false),
            (r#"{"content":"\"#, false),
        ] {
            assert_eq!(has_output(delta.as_bytes()), expected, "{delta}");
        }
    }
}
