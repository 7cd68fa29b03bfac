//! Events of one stream that differ in their texts alone: how two of them looked, so do the others.
//!
//! An event is known only when it is byte for byte the remembered one but for texts that differed before,
//! each the value of a member, none of them empty and none one that tells events apart. A glance goes by
//! members' names and by what their values begin with, so it would say the same of it; it costs ten times
//! more.

use std::ops::Range;

use memchr::memchr2;

/// Longest event that is remembered.
const EVENT_BYTES_MAX: usize = 1024;
/// Most texts of it that may differ.
const TEXTS_MAX: usize = 4;
/// Events of another shape until one of them takes the place of the remembered one.
const MISSES_MAX: u8 = 2;
/// Members whose texts tell events apart.
const KINDS: [&[u8]; 4] = [b"type", b"event", b"event_type", b"object"];

/// What was seen of a stream's events.
#[derive(Debug, Default)]
pub(super) struct Steady {
    /// An event that was looked at.
    event: Vec<u8>,
    /// Where its texts that may differ stand, without their quotes.
    texts: Vec<Range<usize>>,
    misses: u8,
}

impl Steady {
    /// Whether an event differs from those looked at in such texts alone.
    pub(super) fn knows(&self, data: &[u8]) -> bool {
        if self.texts.is_empty() {
            return false;
        }
        let (mut rest, mut from) = (data, 0);
        for text in &self.texts {
            let Some(tail) = rest.strip_prefix(&self.event[from..text.start]) else {
                return false;
            };
            // An empty text may be no output at all.
            let Some(end) = end_of_text(tail).filter(|end| *end > 0) else {
                return false;
            };
            (rest, from) = (&tail[end..], text.end);
        }
        *rest == self.event[from..]
    }

    /// Takes an event with output that was looked at.
    pub(super) fn learn(&mut self, data: &[u8]) {
        if data.len() > EVENT_BYTES_MAX {
            return;
        }
        if let Some(differ) = differences(&self.event, data) {
            self.texts.extend(differ);
            self.texts.sort_unstable_by_key(|text| text.start);
            self.texts.dedup();
            if self.texts.len() <= TEXTS_MAX {
                return;
            }
            self.misses = MISSES_MAX;
        }
        self.misses = self.misses.saturating_add(1);
        if self.texts.is_empty() || self.misses >= MISSES_MAX {
            self.misses = 0;
            self.texts.clear();
            self.event.clear();
            self.event.extend_from_slice(data);
        }
    }
}

/// The texts of `known` that are others in `data`; nothing when more than such texts differs.
fn differences(known: &[u8], data: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut texts = Vec::new();
    let (mut here, mut there) = (0, 0);
    let mut before = 0;
    let mut name: &[u8] = b"";
    loop {
        match (known.get(here), data.get(there)) {
            (None, None) => return Some(texts),
            (Some(b'"'), Some(b'"')) => {
                (here, there) = (here + 1, there + 1);
                let end = here + end_of_text(&known[here..])?;
                let end_there = there + end_of_text(&data[there..])?;
                let text = &known[here..end];
                let is_value = before == b':';
                if *text != data[there..end_there] {
                    if !is_value || KINDS.contains(&name) {
                        return None;
                    }
                    texts.push(here..end);
                }
                if !is_value {
                    name = text;
                }
                (here, there) = (end + 1, end_there + 1);
                before = b'"';
            }
            (Some(one), Some(other)) if one == other => {
                if !one.is_ascii_whitespace() {
                    before = *one;
                }
                (here, there) = (here + 1, there + 1);
            }
            _ => return None,
        }
    }
}

/// How far it is to the quote that ends a text.
fn end_of_text(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[found] == b'"' {
            return Some(found);
        }
        at = found + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Glance;
    use crate::providers::openai::chat::glance;

    fn chunk(id: &str, content: &str, rest: &str) -> String {
        format!(
            r#"{{"id":"{id}","object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"content":"{content}"}},"finish_reason":null}}]{rest}}}"#
        )
    }

    #[test]
    fn events_that_differ_in_texts_alone_are_known() {
        let mut steady = Steady::default();
        let first = r#"{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
        for event in [first.to_owned(), chunk("c", "a", ""), chunk("c", "bc", "")] {
            assert!(!steady.knows(event.as_bytes()), "{event}");
            steady.learn(event.as_bytes());
        }
        for known in [
            "x",
            "two words",
            r#"a \"quote\" and \\"#,
            "\\u00e9\\n",
            "usage",
        ] {
            assert!(steady.knows(chunk("c", known, "").as_bytes()), "{known}");
        }
        for unknown in [
            first.to_owned(),
            chunk("c", "", ""),
            chunk("d", "a", ""),
            chunk("c", "a", r#","usage":{"prompt_tokens":1}"#),
            chunk("c", r#"a","usage":{"#, ""),
            chunk("c", r"a\", ""),
            chunk("c", "a", "").replace(r#"{"content":"a"}"#, "{}"),
            chunk("c", "a", "").replace("content", "usage"),
            r#"{"error":{"message":"x"}}"#.to_owned(),
            "[DONE]".to_owned(),
            String::new(),
        ] {
            assert!(!steady.knows(unknown.as_bytes()), "{unknown}");
        }
    }

    #[test]
    fn further_texts_may_come_to_differ() {
        let mut steady = Steady::default();
        let event = |id: &str, pad: &str| chunk(id, "a", &format!(r#","obfuscation":"{pad}""#));
        steady.learn(event("c", "1").as_bytes());
        steady.learn(event("c", "22").as_bytes());
        steady.learn(event("d", "22").as_bytes());
        assert!(steady.knows(event("e", "333").as_bytes()));
        let padded = chunk("e", "b", r#","obfuscation":"1""#);
        assert!(!steady.knows(padded.as_bytes()));
        steady.learn(padded.as_bytes());
        assert!(steady.knows(chunk("e", "cc", r#","obfuscation":"4444""#).as_bytes()));
    }

    #[test]
    fn texts_that_tell_events_apart_are_looked_at() {
        let mut steady = Steady::default();
        for kind in ["a.delta", "b.delta", "c.delta"] {
            let event = format!(r#"{{"type":"{kind}","delta":"x"}}"#);
            assert!(!steady.knows(event.as_bytes()));
            steady.learn(event.as_bytes());
        }
        for name in ["one", "two"] {
            steady.learn(format!(r#"{{"{name}":{{"delta":"x"}}}}"#).as_bytes());
        }
        assert!(!steady.knows(br#"{"usage":{"delta":"x"}}"#));
    }

    /// Whatever is changed in an event: where it is known, a glance says of it what it said before.
    #[test]
    fn what_is_known_looks_as_it_did() {
        let seeds = [
            chunk("c", "one", r#","usage":null"#),
            chunk("c", "other", r#","usage":null"#),
        ];
        let mut steady = Steady::default();
        for seed in &seeds {
            assert_eq!(glance(seed.as_bytes()), Glance::Output);
            steady.learn(seed.as_bytes());
        }
        let mut known = 0;
        for at in 0..seeds[0].len() {
            for change in [
                "",
                "\"",
                "\\",
                "{",
                "}",
                ":",
                ",",
                "1",
                "usage",
                "\"usage\":1,",
                "\"error\":1,",
            ] {
                for removed in 0..6.min(seeds[0].len() - at) {
                    let changed = [&seeds[0][..at], change, &seeds[0][at + removed..]].concat();
                    if steady.knows(changed.as_bytes()) {
                        known += 1;
                        assert_eq!(glance(changed.as_bytes()), Glance::Output, "{changed}");
                    }
                }
            }
        }
        assert!(known > 20, "{known}");
    }
}
