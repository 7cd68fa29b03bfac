//! Takes the usage that we asked for out of a chat stream again.
//!
//! An event leaves when its last byte is in; whatever is not taken out leaves byte for byte, in
//! order. Two things are taken out: the whole event whose `choices` is empty and whose `usage` is
//! an object, and in any other event the top-level member `usage`. An event that is no JSON object,
//! or spreads one over several `data` lines, keeps its bytes.

use std::ops::Range;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memchr2;
use memchr::memmem::{Finder, FinderRev};

use crate::framing::json::pick;
use crate::framing::sse::data_of;

/// Longest event held back for its end; a larger one passes as it is.
pub const STRIP_EVENT_BYTES_MAX: usize = 256 * 1024;
/// Room kept between events.
const KEPT_BYTES: usize = 4 * 1024;

static NAME: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));
static NULL_MEMBER: LazyLock<FinderRev<'static>> =
    LazyLock::new(|| FinderRev::new(b",\"usage\":null"));

/// Takes out of a stream of events exactly what the amendment added.
#[derive(Debug, Default)]
pub struct UsageStripper {
    /// The beginning of the unfinished event.
    held: Vec<u8>,
    /// The unfinished line has bytes.
    is_in_line: bool,
    /// The unfinished event is over the bound: it passes as it is.
    is_passing: bool,
    after_cr: AfterCr,
}

/// What an LF at the beginning of the next piece belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum AfterCr {
    /// Nothing: the piece before did not end in CR.
    #[default]
    No,
    /// A line of the unfinished event.
    Line,
    /// An event that has left.
    Kept,
    /// An event that was taken out.
    Dropped,
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Drop,
    Cut(Range<usize>),
}

impl UsageStripper {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a piece and hands on what may leave: at most one piece, shared with the one taken
    /// where nothing in it changed.
    pub fn push(&mut self, piece: Bytes, out: &mut Vec<Bytes>) {
        // Bytes of `piece` before `from` are in `changed` or were taken out.
        let mut changed: Vec<u8> = Vec::new();
        let mut from = 0;
        // Where the unfinished event begins in `piece`.
        let mut start = 0;
        let mut at = 0;
        if piece.first() == Some(&b'\n') {
            match self.after_cr {
                AfterCr::No => {}
                AfterCr::Line => at = 1,
                AfterCr::Kept => (at, start) = (1, 1),
                AfterCr::Dropped => (at, start, from) = (1, 1, 1),
            }
        }
        if !piece.is_empty() {
            self.after_cr = AfterCr::No;
        }
        while let Some(found) = memchr2(b'\n', b'\r', &piece[at..]) {
            let is_blank = found == 0 && !self.is_in_line;
            let mut end = at + found + 1;
            let is_cr = piece[end - 1] == b'\r';
            let mut is_open_cr = false;
            if is_cr {
                match piece.get(end) {
                    Some(b'\n') => end += 1,
                    Some(_) => {}
                    None => is_open_cr = true,
                }
            }
            self.is_in_line = false;
            at = end;
            if !is_blank {
                if is_open_cr {
                    self.after_cr = AfterCr::Line;
                }
                continue;
            }
            let is_dropped = self.end_event(&piece, start..end, &mut from, &mut changed);
            start = end;
            if is_open_cr {
                self.after_cr = if is_dropped {
                    AfterCr::Dropped
                } else {
                    AfterCr::Kept
                };
            }
        }
        self.is_in_line |= at < piece.len();

        if !self.is_passing && self.held.len() + (piece.len() - start) > STRIP_EVENT_BYTES_MAX {
            self.is_passing = true;
            changed.append(&mut self.held);
            self.held = Vec::new();
        }
        let end = if self.is_passing { piece.len() } else { start };
        self.held.extend_from_slice(&piece[end..]);
        if changed.is_empty() {
            if from < end {
                out.push(piece.slice(from..end));
            }
        } else {
            changed.extend_from_slice(&piece[from..end]);
            out.push(changed.into());
        }
    }

    /// Ends the stream: what was held back leaves.
    pub fn finish(&mut self, out: &mut Vec<Bytes>) {
        let mut held = std::mem::take(&mut self.held);
        match verdict(&held) {
            Verdict::Keep => {}
            Verdict::Drop => held.clear(),
            Verdict::Cut(range) => drop(held.drain(range)),
        }
        if !held.is_empty() {
            out.push(held.into());
        }
    }

    /// Decides on the event that ends at `range.end`; tells whether it was taken out.
    fn end_event(
        &mut self,
        piece: &[u8],
        range: Range<usize>,
        from: &mut usize,
        changed: &mut Vec<u8>,
    ) -> bool {
        if std::mem::take(&mut self.is_passing) {
            return false;
        }
        if self.held.is_empty() {
            let cut = match verdict(&piece[range.clone()]) {
                Verdict::Keep => return false,
                Verdict::Drop => range.clone(),
                Verdict::Cut(cut) => range.start + cut.start..range.start + cut.end,
            };
            changed.extend_from_slice(&piece[*from..cut.start]);
            *from = cut.end;
            return cut == range;
        }
        self.held.extend_from_slice(&piece[range.clone()]);
        *from = range.end;
        let verdict = verdict(&self.held);
        match &verdict {
            Verdict::Keep => changed.extend_from_slice(&self.held),
            Verdict::Drop => {}
            Verdict::Cut(cut) => {
                changed.extend_from_slice(&self.held[..cut.start]);
                changed.extend_from_slice(&self.held[cut.end..]);
            }
        }
        self.held.clear();
        self.held.shrink_to(KEPT_BYTES);
        verdict == Verdict::Drop
    }
}

fn verdict(event: &[u8]) -> Verdict {
    if NAME.find(event).is_none() {
        return Verdict::Keep;
    }
    let mut data_lines = lines(event).filter_map(|line| {
        let data = data_of(&event[line.clone()])?;
        Some(line.end - data.len()..line.end)
    });
    let Some(first) = data_lines.next() else {
        return Verdict::Keep;
    };
    let mut joined: Option<Vec<u8>> = None;
    for next in data_lines {
        let joined = joined.get_or_insert_with(|| event[first.clone()].to_vec());
        joined.push(b'\n');
        joined.extend_from_slice(&event[next]);
    }
    match joined {
        Some(joined) if is_usage_event(&joined) => Verdict::Drop,
        Some(_) => Verdict::Keep,
        None => verdict_of_data(event, first),
    }
}

fn verdict_of_data(event: &[u8], data: Range<usize>) -> Verdict {
    let text = &event[data.clone()];
    if let Some(cut) = null_at_the_end(text) {
        return Verdict::Cut(data.start + cut.start..data.start + cut.end);
    }
    if is_usage_event(text) {
        return Verdict::Drop;
    }
    match member_of(text) {
        Some(cut) => Verdict::Cut(data.start + cut.start..data.start + cut.end),
        None => Verdict::Keep,
    }
}

/// `,"usage":null` as the last member, or as the last but for the vendor's padding. What follows
/// it to the closing brace proves that it is a member of the outermost object, without parsing.
fn null_at_the_end(data: &[u8]) -> Option<Range<usize>> {
    let found = NULL_MEMBER.rfind(data)?;
    let end = found + NULL_MEMBER.needle().len();
    let rest = &data[end..];
    let is_last = rest == b"}"
        || rest
            .strip_prefix(br#","obfuscation":""#)
            .and_then(|rest| rest.strip_suffix(br#""}"#))
            .is_some_and(|padding| padding.iter().all(u8::is_ascii_alphanumeric));
    (is_last && data.first() == Some(&b'{')).then_some(found..end)
}

fn is_usage_event(data: &[u8]) -> bool {
    let Some(picked) = pick(data, ["choices", "usage"]) else {
        return false;
    };
    let [Some(choices), Some(usage)] = picked.members else {
        return false;
    };
    let is_empty = choices
        .get()
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inside| inside.trim_ascii().is_empty());
    is_empty && usage.get().starts_with('{') && !picked.is_repeated
}

/// Where the top-level member `usage` stands, with the one comma that goes with it.
fn member_of(data: &[u8]) -> Option<Range<usize>> {
    let picked = pick(data, ["usage"])?;
    let value = picked.members[0].filter(|_| !picked.is_repeated)?;
    let value_start = (value.get().as_ptr() as usize).checked_sub(data.as_ptr() as usize)?;
    let value_end = value_start + value.get().len();
    let before = data.get(..value_start)?.trim_ascii_end();
    let before = before.strip_suffix(b":")?.trim_ascii_end();
    let before = before.strip_suffix(NAME.needle())?;
    let key_start = before.len();
    let lead = before.trim_ascii_end();
    if lead.ends_with(b",") {
        return Some(lead.len() - 1..value_end);
    }
    let after = data.get(value_end..)?;
    let rest = after.trim_ascii_start();
    match rest.strip_prefix(b",") {
        Some(rest) => {
            let rest = rest.trim_ascii_start();
            Some(key_start..data.len() - rest.len())
        }
        None => Some(key_start..value_end),
    }
}

/// The lines of an event, without their ends.
fn lines(event: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at >= event.len() {
            return None;
        }
        let start = at;
        let end = memchr2(b'\n', b'\r', &event[start..]).map_or(event.len(), |found| start + found);
        at = end + 1;
        // The byte order mark may stand before the first line only.
        let is_marked = start == 0 && event[..end].starts_with(b"\xEF\xBB\xBF");
        Some(if is_marked {
            start + 3..end
        } else {
            start..end
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strip(pieces: &[&[u8]]) -> Vec<u8> {
        let mut stripper = UsageStripper::new();
        let mut out = Vec::new();
        for piece in pieces {
            stripper.push(Bytes::copy_from_slice(piece), &mut out);
        }
        stripper.finish(&mut out);
        out.concat()
    }

    /// Splits at every offset and byte by byte.
    fn check(amended: &str, unamended: &str) {
        let bytes = amended.as_bytes();
        for at in 0..=bytes.len() {
            let stripped = strip(&[&bytes[..at], &bytes[at..]]);
            assert_eq!(
                String::from_utf8_lossy(&stripped),
                unamended,
                "split at {at}"
            );
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(String::from_utf8_lossy(&strip(&single)), unamended);
    }

    fn check_line_ends(amended: &str, unamended: &str) {
        for end in ["\n", "\r\n", "\r"] {
            check(&amended.replace('\n', end), &unamended.replace('\n', end));
        }
    }

    #[test]
    fn takes_out_the_usage_event_and_the_null_members() {
        check_line_ends(
            concat!(
                ": hello\n\n",
                "data: {\"id\":1,\"choices\":[{\"delta\":{}}],\"usage\":null,\"obfuscation\":\"zZ9\"}\n\n",
                "data: {\"id\":1,\"choices\":[{\"delta\":{}}],\"usage\":null}\n\n",
                "data: {\"id\":1,\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n",
                "data: [DONE]\n\n",
            ),
            concat!(
                ": hello\n\n",
                "data: {\"id\":1,\"choices\":[{\"delta\":{}}],\"obfuscation\":\"zZ9\"}\n\n",
                "data: {\"id\":1,\"choices\":[{\"delta\":{}}]}\n\n",
                "data: [DONE]\n\n",
            ),
        );
    }

    #[test]
    fn takes_out_the_member_wherever_it_stands() {
        for (amended, unamended) in [
            (
                r#"{"usage":{"a":[1,{}]},"choices":[1]}"#,
                r#"{"choices":[1]}"#,
            ),
            (
                r#"{ "usage" : null , "choices":[1]}"#,
                r#"{ "choices":[1]}"#,
            ),
            (r#"{"choices":[1], "usage" : {} }"#, r#"{"choices":[1] }"#),
            (
                r#"{"choices":[] ,"usage":null,"x":{"usage":null}}"#,
                r#"{"choices":[] ,"x":{"usage":null}}"#,
            ),
            (r#"{"usage":null}"#, "{}"),
        ] {
            check_line_ends(
                &format!("event: x\ndata:{amended}\nid: 7\n\n"),
                &format!("event: x\ndata:{unamended}\nid: 7\n\n"),
            );
        }
    }

    #[test]
    fn everything_else_keeps_its_bytes() {
        for stream in [
            "",
            "\n\n\n",
            "data: {\"x\":{\"usage\":{\"a\":1}}}\n\n",
            "data: {\"choices\":[],\"x\":\"\\\"usage\\\":null\"}\n\n",
            "data: \"usage\"\n\ndata: {\"usage\":\n\n",
            "data: {\"a\":1,\"usage\":null,\"usage\":2}\n\n",
            "data: {\"choices\":[],\ndata: \"usage\":null}\n\n",
            "event: usage\n: \"usage\"\n\n",
            "data: {\"choices\":[1],\"delta\":\"unfinished",
        ] {
            check(stream, stream);
        }
    }

    #[test]
    fn a_usage_event_goes_even_in_odd_shapes() {
        for event in [
            "data: {\"choices\": [ ],\ndata: \"usage\": {}}\n\n",
            "\u{feff}data: {\"usage\":{},\"choices\":[]}\n\n",
            "data: {\"choices\":[],\"usage\":{}}",
        ] {
            check(event, "");
        }
    }

    #[test]
    fn an_event_over_the_bound_passes_as_it_is_and_the_next_is_held_again() {
        let large = format!(
            "data: {{\"choices\":[1],\"x\":\"{}\",\"usage\":null}}\n\n",
            "y".repeat(2 * STRIP_EVENT_BYTES_MAX)
        );
        let amended = format!("{large}data: {{\"choices\":[1],\"usage\":null}}\n\n");
        let expected = format!("{large}data: {{\"choices\":[1]}}\n\n");
        let pieces: Vec<&[u8]> = amended.as_bytes().chunks(1000).collect();
        assert!(strip(&pieces) == expected.as_bytes());
    }

    #[test]
    fn what_does_not_change_is_not_copied() {
        let piece = Bytes::from_static(b"data: {\"choices\":[1]}\n\ndata: x\n\n");
        let mut out = Vec::new();
        UsageStripper::new().push(piece.clone(), &mut out);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].as_ptr(), piece.as_ptr());
    }
}
