//! JSON lines, in whatever pieces they come: results of batches, streams of one object a line.
//!
//! A line that lies whole in one piece is handed on as a slice of it; only what a piece leaves
//! unfinished is copied, up to a bound. Empty lines are none.

use memchr::memchr;

use super::Ended;

/// Longest line put together from several pieces, in bytes.
pub const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Room kept between lines; what a long line took beyond it is given back.
const KEPT_BYTES: usize = 64 * 1024;

/// Splits a body into its lines.
#[derive(Debug, Default)]
pub struct LinesFraming {
    /// The unfinished line.
    line: Vec<u8>,
    /// The unfinished line is over the bound and is skipped to its end.
    is_skipping: bool,
    /// Lines that were over the bound.
    skipped: u64,
}

impl LinesFraming {
    /// Takes a piece and hands on each line that it ends, without its line end.
    pub fn push(&mut self, piece: &[u8], each: &mut dyn FnMut(&[u8])) {
        let mut rest = piece;
        while let Some(end) = memchr(b'\n', rest) {
            let (head, tail) = (&rest[..end], &rest[end + 1..]);
            rest = tail;
            if self.is_skipping {
                self.is_skipping = false;
            } else if self.line.is_empty() {
                hand_on(head, each);
            } else {
                self.keep(head);
                if !std::mem::take(&mut self.is_skipping) {
                    hand_on(&self.line, each);
                }
            }
            self.line.clear();
            self.line.shrink_to(KEPT_BYTES);
        }
        if !self.is_skipping && !rest.is_empty() {
            self.keep(rest);
        }
    }

    /// Ends the body; a line without its line end is handed on as it is.
    pub fn finish(self, each: &mut dyn FnMut(&[u8])) -> Ended {
        hand_on(&self.line, each);
        Ended {
            skipped: self.skipped,
            is_broken: false,
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.line.len() + bytes.len() > LINE_BYTES_MAX {
            self.skipped += 1;
            self.is_skipping = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }
}

fn hand_on(line: &[u8], each: &mut dyn FnMut(&[u8])) {
    let line = line.trim_ascii();
    if !line.is_empty() {
        each(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> (Vec<String>, u64) {
        let mut lines = Vec::new();
        let mut framing = LinesFraming::default();
        let mut add = |line: &[u8]| lines.push(String::from_utf8_lossy(line).into_owned());
        for piece in pieces {
            framing.push(piece, &mut add);
        }
        let ended = framing.finish(&mut add);
        assert!(!ended.is_broken);
        (lines, ended.skipped)
    }

    #[test]
    fn lines_are_what_stands_between_line_ends() {
        let cases: [(&str, &[&str]); 6] = [
            ("{\"a\":1}\n{\"b\":2}\n", &["{\"a\":1}", "{\"b\":2}"]),
            ("{}\r\n\r\n \n{}\r\n", &["{}", "{}"]),
            ("{}\nno end", &["{}", "no end"]),
            ("\n\n", &[]),
            ("", &[]),
            (" {}\t", &["{}"]),
        ];
        for (text, expected) in cases {
            assert_eq!(lines(&[text.as_bytes()]).0, expected, "{text:?}");
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(lines(&single).0, expected, "{text:?} byte by byte");
        }
    }

    #[test]
    fn a_line_over_the_bound_is_skipped_and_the_next_is_read() {
        let large = "x".repeat(LINE_BYTES_MAX + 1);
        let text = format!("first\n{large}\nnext\n{large}");
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(60_000).collect();
        let expected = vec!["first".to_owned(), "next".to_owned()];
        assert_eq!(lines(&pieces), (expected, 2));
    }
}
