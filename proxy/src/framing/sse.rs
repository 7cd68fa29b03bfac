//! Server-sent events, in whatever pieces they come.
//!
//! Lines end in CR, LF or CRLF, an event at an empty line. An event that lies whole in one piece is
//! handed on as a slice of it; only what a piece leaves unfinished is copied, up to a bound. A long
//! line of JSON (an image, a whole response) loses its bulk as it comes instead.

use memchr::memchr2;

use super::prune::Pruner;

/// Longest event put together from several pieces, in bytes of data.
pub const SSE_EVENT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Longest unfinished line held as it is.
const LINE_BYTES_MAX: usize = 256 * 1024;
/// Room kept between events; what a large event took beyond it is given back.
const KEPT_BYTES: usize = 4 * 1024;

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Splits a stream into the data of its events.
#[derive(Debug, Default)]
pub struct SseFraming {
    /// The unfinished line.
    line: Vec<u8>,
    /// The unfinished line is a long one of data and goes in here, without its bulk; `line` has one
    /// byte for it.
    long: Option<Box<Pruner>>,
    /// Data of the unfinished event, its lines joined by line feeds.
    data: Vec<u8>,
    /// A data line was seen since the last event.
    has_data: bool,
    /// The last byte seen was a CR: an LF that follows belongs to it.
    is_after_cr: bool,
    /// Past the place where a byte order mark may stand.
    is_started: bool,
    /// The unfinished event is over the bound and is skipped to its end.
    is_skipping: bool,
    /// Events that were over the bound.
    skipped: u64,
}

impl SseFraming {
    /// Takes a piece and hands on the data of each event that it ends.
    pub fn push(&mut self, piece: &[u8], each: &mut dyn FnMut(&[u8])) {
        // The data line of an event that so far lies in this piece alone.
        let mut whole: Option<&[u8]> = None;
        let mut rest = piece;
        while !rest.is_empty() {
            if self.is_after_cr {
                self.is_after_cr = false;
                if let [b'\n', after @ ..] = rest {
                    rest = after;
                    continue;
                }
            }
            // The empty line behind an event needs no search.
            let end = match rest {
                [b'\n' | b'\r', ..] => Some(0),
                _ => memchr2(b'\n', b'\r', rest),
            };
            let Some(end) = end else {
                break;
            };
            self.is_after_cr = rest[end] == b'\r';
            let (head, tail) = (&rest[..end], &rest[end + 1..]);
            rest = tail;
            if self.line.is_empty() && !self.is_skipping {
                let line = self.without_mark(head);
                if line.is_empty() {
                    self.end_event(&mut whole, each);
                } else if let Some(data) = data_of(line) {
                    self.add_data(&mut whole, data);
                }
            } else {
                self.end_split_line(head, &mut whole, each);
            }
        }
        if let Some(data) = whole {
            self.data.extend_from_slice(data);
        }
        if !rest.is_empty() {
            self.keep_line(rest);
        }
        self.bound();
    }

    /// Ends the stream; an event without its empty line is handed on as it is.
    pub fn finish(mut self, each: &mut dyn FnMut(&[u8])) -> u64 {
        let mut whole = None;
        if !self.line.is_empty() {
            self.end_split_line(b"", &mut whole, each);
        }
        self.end_event(&mut whole, each);
        self.skipped
    }

    fn without_mark<'a>(&mut self, line: &'a [u8]) -> &'a [u8] {
        if self.is_started {
            return line;
        }
        self.is_started = true;
        line.strip_prefix(BOM).unwrap_or(line)
    }

    fn add_data<'a>(&mut self, whole: &mut Option<&'a [u8]>, data: &'a [u8]) {
        if !self.has_data {
            self.has_data = true;
            *whole = Some(data);
            return;
        }
        if let Some(first) = whole.take() {
            self.data.extend_from_slice(first);
        }
        self.data.push(b'\n');
        self.data.extend_from_slice(data);
        self.bound();
    }

    fn end_split_line<'a>(
        &mut self,
        head: &[u8],
        whole: &mut Option<&'a [u8]>,
        each: &mut dyn FnMut(&[u8]),
    ) {
        if self.is_skipping {
            // Only an empty line ends what is skipped; `line` tells whether this one is empty.
            let is_empty = self.line.is_empty() && head.is_empty();
            self.line.clear();
            if is_empty {
                self.is_skipping = false;
            }
            return;
        }
        if let Some(mut pruner) = self.long.take() {
            self.line.clear();
            pruner.push(head);
            match pruner.finish() {
                Some(data) => {
                    self.has_data = true;
                    self.data = data;
                }
                None => self.skipped += 1,
            }
            return;
        }
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(head);
        let content = self.without_mark(&line);
        if content.is_empty() {
            self.end_event(whole, each);
        } else if let Some(data) = data_of(content) {
            if let Some(first) = whole.take() {
                self.data.extend_from_slice(first);
            }
            if self.has_data {
                self.data.push(b'\n');
            }
            self.has_data = true;
            self.data.extend_from_slice(data);
            self.bound();
        }
        line.clear();
        line.shrink_to(KEPT_BYTES);
        self.line = line;
    }

    fn end_event(&mut self, whole: &mut Option<&[u8]>, each: &mut dyn FnMut(&[u8])) {
        if !self.has_data {
            return;
        }
        self.has_data = false;
        match whole.take() {
            Some(data) => each(data),
            None => each(&self.data),
        }
        self.data.clear();
        self.data.shrink_to(KEPT_BYTES);
    }

    fn keep_line(&mut self, rest: &[u8]) {
        if self.is_skipping {
            // One byte stands for "this line is not empty".
            self.line.clear();
            self.line.push(b'x');
            return;
        }
        if let Some(pruner) = &mut self.long {
            pruner.push(rest);
            return;
        }
        self.line.extend_from_slice(rest);
        if self.line.len() > LINE_BYTES_MAX
            && !self.has_data
            && let Some(data) = data_of(&self.line)
        {
            let mut pruner = Box::<Pruner>::default();
            pruner.push(data);
            self.long = Some(pruner);
            self.line = vec![b'x'];
        }
    }

    fn bound(&mut self) {
        if self.line.len() + self.data.len() <= SSE_EVENT_BYTES_MAX {
            return;
        }
        self.skipped += 1;
        self.is_skipping = true;
        self.has_data = false;
        self.data = Vec::new();
        let is_in_line = !self.line.is_empty();
        self.line = Vec::new();
        if is_in_line {
            self.line.push(b'x');
        }
    }
}

/// The value of a `data` line.
pub(crate) fn data_of(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"data")?;
    match rest {
        [] => Some(rest),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_of_json_loses_its_bulk() {
        let large = "x".repeat(2 * SSE_EVENT_BYTES_MAX);
        let stream =
            format!("data: {{\"b64\":\"{large}\",\"usage\":{{\"n\":1}}}}\r\n\r\ndata: next\n\n");
        let pieces: Vec<&[u8]> = stream.as_bytes().chunks(60_000).collect();
        let expected = [r#"{"b64":null,"usage":{"n":1}}"#, "next"].map(str::to_owned);
        assert_eq!(events(&pieces), (expected.into(), 0));
    }

    fn events(pieces: &[&[u8]]) -> (Vec<String>, u64) {
        let mut events = Vec::new();
        let mut framing = SseFraming::default();
        for piece in pieces {
            framing.push(piece, &mut |data| {
                events.push(String::from_utf8_lossy(data).into_owned());
            });
        }
        let skipped = framing.finish(&mut |data| {
            events.push(String::from_utf8_lossy(data).into_owned());
        });
        (events, skipped)
    }

    #[test]
    fn events_are_what_the_standard_says() {
        let cases: [(&str, &[&str]); 10] = [
            ("data: a\n\ndata:b\n\n", &["a", "b"]),
            ("data: a\ndata: b\ndata\n\n", &["a\nb\n"]),
            ("data: a\r\ndata: b\r\n\r\n", &["a\nb"]),
            ("\n\n: x\nevent: y\nid: 1\nretry: 5\n\n", &[]),
            ("data:  a \r\n\r\ndata: b\r\r", &[" a ", "b"]),
            ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["a"]),
            ("database: a\n\ndata : b\n\n", &[]),
            ("data: a", &["a"]),
            ("data\n\n", &[""]),
            ("", &[]),
        ];
        for (stream, expected) in cases {
            assert_eq!(events(&[stream.as_bytes()]).0, expected, "{stream:?}");
            let single: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
            assert_eq!(events(&single).0, expected, "{stream:?} byte by byte");
        }
    }

    #[test]
    fn an_event_over_the_bound_is_skipped_and_the_next_is_read() {
        let large = "x".repeat(2 * SSE_EVENT_BYTES_MAX);
        for stream in [
            format!("data: a\ndata: {large}y\nevent: z\n\ndata: next\n\n"),
            format!("data: a\r\ndata: {large}\r\ndata: y\r\n\r\ndata: next\r\n\r\n"),
            format!(": {large}\n\ndata: next\n\n"),
        ] {
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(60_000).collect();
            let (events, skipped) = events(&pieces);
            assert_eq!((events, skipped), (vec!["next".to_owned()], 1));
        }
    }
}
