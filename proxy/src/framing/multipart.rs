//! Multipart forms, in whatever pieces they come: small text fields are kept, of files only how long
//! they are and how they begin. An upload of any size takes the same memory.
//!
//! The boundary is read off the body itself: the first line is one (RFC 2046 allows a preamble before
//! it; no client of these APIs sends one). Line ends are CRLF as the RFC has them.

use memchr::memmem;

/// Two hyphens and a boundary of one character; white space behind it is none of it.
const DELIMITER_BYTES_MIN: usize = 3;
/// Longest first line, and so longest delimiter: two hyphens and a boundary of 70 characters.
const DELIMITER_BYTES_MAX: usize = 72;
/// Longest block of headers of a part; a form with a longer one is not read.
const HEADERS_BYTES_MAX: usize = 8 * 1024;
/// Most characters of a field's name that are written again.
const NAME_CHARS_MAX: usize = 256;
/// Most bytes kept of a text field.
pub const FIELD_BYTES_MAX: usize = 4 * 1024;
/// Most bytes kept of a file's beginning.
pub const FILE_HEAD_BYTES_MAX: usize = 4 * 1024;
/// Most parts kept; later ones are passed over.
pub const PARTS_MAX: usize = 64;
/// The header that tells a kept file's length, where its content was left out.
const LENGTH_HEADER: &str = "x-whole-length";

/// One part of a form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The field's name.
    pub name: String,
    /// It has a file name.
    pub is_file: bool,
    /// What it holds, or how that begins.
    pub head: Vec<u8>,
    /// How much it holds.
    pub len: u64,
}

impl Part {
    /// The text of a field that was kept whole.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        let is_whole = self.len == self.head.len() as u64;
        (is_whole && !self.is_file)
            .then(|| std::str::from_utf8(&self.head).ok())
            .flatten()
    }
}

/// The parts of a form that is whole, or was put together by [`Form::written`].
#[must_use]
pub fn parts(body: &[u8]) -> Vec<Part> {
    let mut form = Form::default();
    form.push(body);
    form.finish()
}

/// Whether a body begins like a form.
#[must_use]
pub fn begins(body: &[u8]) -> bool {
    body.starts_with(b"--")
}

/// Reads a form as it comes.
#[derive(Debug, Default)]
pub struct Form {
    state: State,
    /// `CRLF--boundary`.
    delimiter: Vec<u8>,
    /// What cannot be told yet.
    rest: Vec<u8>,
    parts: Vec<Part>,
    part: Part,
    /// The length that a kept file says it had.
    whole_len: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the end of the first line.
    #[default]
    Start,
    /// Behind a delimiter: the end of its line, or `--`.
    Delimited,
    /// Inside a part's headers.
    Headers,
    /// Inside a part's content.
    Content,
    /// Past the last part, or no form at all.
    Over,
}

impl Form {
    /// Takes a piece.
    pub fn push(&mut self, piece: &[u8]) {
        if self.state == State::Over {
            return;
        }
        if self.state == State::Content && self.rest.is_empty() {
            // Nearly all of a large upload: looked through where it lies.
            if let Some(end) = self.take_content(piece) {
                self.rest.extend_from_slice(&piece[end..]);
            }
        } else {
            self.rest.extend_from_slice(piece);
        }
        while self.step() {}
    }

    /// The parts that were there, the last one perhaps cut off.
    #[must_use]
    pub fn finish(mut self) -> Vec<Part> {
        if self.state == State::Content {
            let rest = std::mem::take(&mut self.rest);
            self.keep(&rest);
            self.end_part();
        }
        self.parts
    }

    /// The form again with the same boundary, of its files only the beginnings.
    #[must_use]
    pub fn written(mut self) -> Vec<u8> {
        let delimiter = std::mem::take(&mut self.delimiter);
        let mut out = Vec::new();
        for part in self.finish() {
            // No field that anyone knows has a longer name, and headers have a bound.
            let name: String = part.name.chars().take(NAME_CHARS_MAX).collect();
            let name = name.replace(['"', '\r', '\n', '\\'], "_");
            let file = if part.is_file { "; filename=\"\"" } else { "" };
            let head = format!(
                "\r\ncontent-disposition: form-data; name=\"{name}\"{file}\r\n\
                 {LENGTH_HEADER}: {}\r\n\r\n",
                part.len
            );
            out.extend_from_slice(&delimiter);
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(&part.head);
        }
        out.extend_from_slice(&delimiter);
        out.extend_from_slice(b"--\r\n");
        // The first delimiter has no line end before it.
        out.drain(..out.len().min(2));
        out
    }

    /// One step through what is held; `false` when more must come first.
    fn step(&mut self) -> bool {
        match self.state {
            State::Start => self.start(),
            State::Delimited => self.delimited(),
            State::Headers => self.headers(),
            State::Content => {
                let held = std::mem::take(&mut self.rest);
                match self.take_content(&held) {
                    Some(end) => {
                        self.rest = held;
                        self.rest.drain(..end);
                        self.state != State::Content
                    }
                    None => false,
                }
            }
            State::Over => {
                self.rest = Vec::new();
                false
            }
        }
    }

    fn start(&mut self) -> bool {
        let line_end = memmem::find(&self.rest, b"\r\n");
        // The carriage return may have come alone.
        let line_bytes = line_end.unwrap_or(self.rest.len().saturating_sub(1));
        let is_over = !b"--".starts_with(&self.rest[..self.rest.len().min(2)])
            || line_bytes > DELIMITER_BYTES_MAX;
        if is_over {
            self.state = State::Over;
            return true;
        }
        let Some(end) = line_end else {
            return false;
        };
        let delimiter = self.rest[..end].trim_ascii_end();
        if delimiter.len() < DELIMITER_BYTES_MIN {
            self.state = State::Over;
            return true;
        }
        self.delimiter = [b"\r\n", delimiter].concat();
        self.rest.drain(..end);
        self.state = State::Delimited;
        true
    }

    fn delimited(&mut self) -> bool {
        if self.rest.len() < 2 {
            return false;
        }
        if self.rest.starts_with(b"--") {
            self.state = State::Over;
            return true;
        }
        // Spaces may stand between a delimiter and the end of its line.
        let Some(end) = self.find_bounded(b"\r\n", DELIMITER_BYTES_MAX) else {
            return self.state == State::Over;
        };
        // One line end stays: headers end at an empty line, also where there are none.
        self.rest.drain(..end);
        self.state = State::Headers;
        true
    }

    fn headers(&mut self) -> bool {
        let Some(end) = self.find_bounded(b"\r\n\r\n", HEADERS_BYTES_MAX) else {
            return self.state == State::Over;
        };
        (self.part, self.whole_len) = part_of(&self.rest[..end]);
        self.rest.drain(..end + 4);
        self.state = State::Content;
        true
    }

    /// Where a text stands in what is held; beyond the bound the form is given up.
    fn find_bounded(&mut self, text: &[u8], bound: usize) -> Option<usize> {
        let found = memmem::find(&self.rest, text);
        let passed = found.unwrap_or(self.rest.len().saturating_sub(text.len() - 1));
        if passed > bound {
            self.state = State::Over;
            return None;
        }
        found
    }

    /// Takes the content of a part; where it ends in what is looked at, or how much of that is taken.
    /// `None` when all of it is.
    fn take_content(&mut self, bytes: &[u8]) -> Option<usize> {
        if let Some(end) = memmem::find(bytes, &self.delimiter) {
            self.keep(&bytes[..end]);
            self.end_part();
            self.state = State::Delimited;
            return Some(end + self.delimiter.len());
        }
        // The delimiter may have begun.
        let from = bytes.len().saturating_sub(self.delimiter.len() - 1);
        let begun = (from..bytes.len()).find(|at| self.delimiter.starts_with(&bytes[*at..]));
        self.keep(&bytes[..begun.unwrap_or(bytes.len())]);
        begun
    }

    fn keep(&mut self, content: &[u8]) {
        let bound = if self.part.is_file {
            FILE_HEAD_BYTES_MAX
        } else {
            FIELD_BYTES_MAX
        };
        let room = bound.saturating_sub(self.part.head.len());
        self.part
            .head
            .extend_from_slice(&content[..content.len().min(room)]);
        self.part.len = self.part.len.saturating_add(content.len() as u64);
    }

    fn end_part(&mut self) {
        let mut part = std::mem::take(&mut self.part);
        part.len = part.len.max(self.whole_len.take().unwrap_or(0));
        if self.parts.len() < PARTS_MAX {
            part.head.shrink_to_fit();
            self.parts.push(part);
        }
    }
}

/// A part before its content, from its headers, and the length it says it had.
fn part_of(headers: &[u8]) -> (Part, Option<u64>) {
    let mut part = Part::default();
    let mut whole_len = None;
    for line in String::from_utf8_lossy(headers).split("\r\n") {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name == LENGTH_HEADER {
            whole_len = value.trim().parse().ok();
        }
        if name.trim().eq_ignore_ascii_case("content-disposition") {
            for (name, value) in parameters(value) {
                match name.to_ascii_lowercase().as_str() {
                    "name" => part.name = value,
                    "filename" | "filename*" => part.is_file = true,
                    _ => {}
                }
            }
        }
    }
    (part, whole_len)
}

/// The parameters of a header's value; a quoted one may hold anything, semicolons too.
fn parameters(value: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = value.find(';').map_or("", |at| &value[at + 1..]);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim().trim_start_matches(';').trim().to_owned();
        let after = after.trim_start();
        let (text, left) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name, text));
        rest = left.find(';').map_or("", |at| &left[at + 1..]);
    }
    found
}

fn unquoted(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (text, &quoted[at + 1..]),
            '\\' => text.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => text.push(char),
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORM: &str = "--x9\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a;b.wav\"\r\n\
        content-type: audio/wav\r\n\r\nRIFF\r\n--x8\r\n-\r\n\r\n--x9  \r\nContent-Disposition:form-data;name=model\r\n\r\n\
        whisper-1\r\n--x9\r\ncontent-disposition: form-data; name=\"a\\\"b\"\r\n\r\n\r\n--x9--\r\nepilogue";

    fn told(parts: &[Part]) -> Vec<(&str, bool, &str, u64)> {
        parts
            .iter()
            .map(|part| {
                let head = std::str::from_utf8(&part.head).unwrap();
                (part.name.as_str(), part.is_file, head, part.len)
            })
            .collect()
    }

    #[test]
    fn a_long_name_does_not_hide_the_fields_behind_it() {
        let mut body = b"--b\r\ncontent-disposition: form-data; name=\"".to_vec();
        // Each of them is three bytes once it is made UTF-8.
        body.extend(vec![0xfe; HEADERS_BYTES_MAX / 2]);
        body.extend(b"\"\r\n\r\nx\r\n--b\r\ncontent-disposition: form-data; name=model\r\n\r\nm\r\n--b--\r\n");
        let mut form = Form::default();
        form.push(&body);
        let again = parts(&form.written());
        assert_eq!(again.last().and_then(Part::text), Some("m"));
    }

    #[test]
    fn parts_are_found_however_the_bytes_are_split() {
        let expected = [
            ("file", true, "RIFF\r\n--x8\r\n-\r\n", 15),
            ("model", false, "whisper-1", 9),
            ("a\"b", false, "", 0),
        ];
        assert_eq!(told(&parts(FORM.as_bytes())), expected);
        for at in 0..FORM.len() {
            let mut form = Form::default();
            form.push(&FORM.as_bytes()[..at]);
            form.push(&FORM.as_bytes()[at..]);
            assert_eq!(told(&form.finish()), expected, "split at {at}");
        }
        let mut form = Form::default();
        FORM.as_bytes().chunks(1).for_each(|byte| form.push(byte));
        assert_eq!(told(&form.finish()), expected);
    }

    #[test]
    fn a_large_file_takes_no_room_and_the_form_can_be_told_again() {
        let mut form = Form::default();
        form.push(b"--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n");
        let piece = vec![b'-'; 64 * 1024];
        for _ in 0..256 {
            form.push(&piece);
            assert!(
                form.rest.len() < DELIMITER_BYTES_MAX
                    && form.part.head.len() <= FILE_HEAD_BYTES_MAX
            );
        }
        form.push(b"\r\n--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--");
        let written = form.written();
        assert!(written.len() < 8 * 1024);
        let parts = parts(&written);
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].len, parts[0].is_file), (256 * 64 * 1024, true));
        assert_eq!(parts[1].text(), Some("m"));
    }

    #[test]
    fn what_is_no_form_has_no_parts() {
        for body in [
            "",
            "{}",
            "--",
            "-",
            "--\r\n\r\n",
            "-- \r\r\ncontent-disposition: form-data; name=model\r\n\r\nm",
            "--x\n\n",
            "x--x\r\n",
            "--x\r\nname",
        ] {
            assert!(parts(body.as_bytes()).is_empty(), "{body:?}");
        }
        let cut = parts(b"--x\r\ncontent-disposition: form-data; name=model\r\n\r\nwhis");
        assert_eq!(told(&cut), [("model", false, "whis", 4)]);
    }

    proptest! {
        #[test]
        fn any_split_finds_the_same_and_nothing_panics(
            body in "(--x\r\n|[-x]{0,3}|\r\n|name=\"?a\"?|content-disposition: form-data; name=b\r\n\r\n|;|:){0,24}",
            at in any::<prop::sample::Index>(),
        ) {
            let at = at.index(body.len() + 1);
            let mut form = Form::default();
            form.push(&body.as_bytes()[..at]);
            form.push(&body.as_bytes()[at..]);
            prop_assert_eq!(form.finish(), parts(body.as_bytes()));
        }
    }
}
