//! A JSON array that grows while it is read: each of its objects is handed on when its last byte is
//! in. A body that is one object is handed on as the only one.
//!
//! Only brackets and strings are looked at; whether an object is JSON is found out by its reader.

use memchr::memchr2;

use super::Ended;

/// Largest object put together from several pieces, in bytes.
pub const ELEMENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Room kept between objects; what a large one took beyond it is given back.
const KEPT_BYTES: usize = 4 * 1024;

/// Splits an array into its objects.
#[derive(Debug, Default)]
pub struct ArrayFraming {
    place: Place,
    /// Brackets open inside the unfinished object.
    open: u64,
    is_in_string: bool,
    /// The last byte seen was the backslash of an escape.
    is_escaped: bool,
    /// The unfinished object, as far as it came in earlier pieces.
    element: Vec<u8>,
    /// The unfinished object is over the bound and is skipped to its end.
    is_skipping: bool,
    /// Objects that were over the bound.
    skipped: u64,
    /// The last thing in the array is an object.
    is_after_object: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the first bracket.
    #[default]
    Start,
    /// Between the objects of the array.
    Between,
    /// In an object of the array.
    Inside,
    /// In the one object that is the body.
    Single,
    /// Behind the end.
    End,
    /// What came is neither an array nor an object.
    Broken,
}

impl ArrayFraming {
    /// Takes a piece and hands on each object that it ends.
    pub fn push(&mut self, piece: &[u8], each: &mut dyn FnMut(&[u8])) {
        // Where the unfinished object goes on in this piece.
        let mut from = 0;
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            match self.place {
                Place::End | Place::Broken => return,
                Place::Start | Place::Between => {
                    from = at;
                    self.outside(byte);
                    at += 1;
                }
                Place::Inside | Place::Single => {
                    at = self.inside(piece, at);
                    if self.open == 0 {
                        self.end_element(&piece[from..at], each);
                    }
                }
            }
        }
        if matches!(self.place, Place::Inside | Place::Single) {
            self.keep(&piece[from..]);
        }
    }

    /// Ends the body; an unfinished object is dropped.
    #[must_use]
    pub fn finish(self) -> Ended {
        Ended {
            skipped: self.skipped,
            is_broken: self.place == Place::Broken,
        }
    }

    /// What ends the array here with one more object; `None` in the middle of one.
    #[must_use]
    pub fn end_with(&self, object: &[u8]) -> Option<Vec<u8>> {
        let before: &[u8] = match self.place {
            Place::Start => b"[",
            Place::Between if self.is_after_object => b",",
            Place::Between => b"",
            _ => return None,
        };
        Some([before, object, b"]"].concat())
    }

    fn outside(&mut self, byte: u8) {
        match (self.place, byte) {
            (Place::Start, b'[') => self.place = Place::Between,
            (Place::Start, b'{') => {
                self.place = Place::Single;
                self.open = 1;
            }
            (Place::Between, b'{' | b'[') => {
                self.place = Place::Inside;
                self.open = 1;
            }
            (Place::Between, b']') => self.place = Place::End,
            // A mark of the byte order may stand before it all.
            (Place::Start, 0xEF | 0xBB | 0xBF) => {}
            (Place::Between, b',') => self.is_after_object = false,
            (_, byte) if byte.is_ascii_whitespace() => {}
            _ => self.place = Place::Broken,
        }
    }

    /// Takes what may end the object, or a stretch that cannot; where the next look begins.
    fn inside(&mut self, piece: &[u8], at: usize) -> usize {
        if self.is_escaped {
            self.is_escaped = false;
            return at + 1;
        }
        if self.is_in_string {
            let Some(found) = memchr2(b'"', b'\\', &piece[at..]) else {
                return piece.len();
            };
            if piece[at + found] == b'"' {
                self.is_in_string = false;
            } else {
                self.is_escaped = true;
            }
            return at + found + 1;
        }
        match piece[at] {
            b'"' => self.is_in_string = true,
            b'{' | b'[' => self.open += 1,
            b'}' | b']' => self.open -= 1,
            _ => {}
        }
        at + 1
    }

    fn end_element(&mut self, last: &[u8], each: &mut dyn FnMut(&[u8])) {
        self.place = if self.place == Place::Single {
            Place::End
        } else {
            Place::Between
        };
        self.is_after_object = true;
        if self.element.is_empty() && !self.is_skipping {
            each(last);
            return;
        }
        self.keep(last);
        if !std::mem::take(&mut self.is_skipping) {
            each(&self.element);
        }
        self.element.clear();
        self.element.shrink_to(KEPT_BYTES);
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.is_skipping {
            return;
        }
        if self.element.len() + bytes.len() > ELEMENT_BYTES_MAX {
            self.skipped += 1;
            self.is_skipping = true;
            self.element = Vec::new();
        } else {
            self.element.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(pieces: &[&[u8]]) -> (Vec<String>, Ended) {
        let mut elements = Vec::new();
        let mut framing = ArrayFraming::default();
        for piece in pieces {
            framing.push(piece, &mut |element| {
                elements.push(String::from_utf8_lossy(element).into_owned());
            });
        }
        (elements, framing.finish())
    }

    #[test]
    fn objects_are_handed_on_when_they_end() {
        let cases: [(&str, &[&str]); 8] = [
            (
                "[{\"a\":1}\n,\r\n{\"b\":[2,{}]}\n]",
                &["{\"a\":1}", "{\"b\":[2,{}]}"],
            ),
            (r#" [{"a":"}]\"}\\"},{}]"#, &[r#"{"a":"}]\"}\\"}"#, "{}"]),
            (r#"{"error":{"code":400}} "#, &[r#"{"error":{"code":400}}"#]),
            ("\u{feff}[[1],{}]", &["[1]", "{}"]),
            ("[{}", &["{}"]),
            ("[{},{\"a\":", &["{}"]),
            ("[]{}", &[]),
            ("", &[]),
        ];
        for (text, expected) in cases {
            let (whole, ended) = elements(&[text.as_bytes()]);
            assert_eq!(whole, expected, "{text:?}");
            assert!(!ended.is_broken, "{text:?}");
            let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(elements(&single).0, expected, "{text:?} byte by byte");
        }
    }

    #[test]
    fn what_is_no_array_is_broken() {
        for text in ["<html>", "data: {}", "[1]", "[{},x]"] {
            assert!(elements(&[text.as_bytes()]).1.is_broken, "{text}");
        }
    }

    #[test]
    fn an_array_is_ended_with_an_object_where_one_may_stand() {
        for (begun, whole) in [
            ("", Some("[{}]")),
            ("[", Some("[{}]")),
            ("[{\"a\":1}", Some("[{\"a\":1},{}]")),
            ("[{\"a\":1}\n,\r\n", Some("[{\"a\":1}\n,\r\n{}]")),
            ("[{\"a\":", None),
            ("[{}]", None),
            ("{", None),
            ("<", None),
        ] {
            let mut framing = ArrayFraming::default();
            framing.push(begun.as_bytes(), &mut |_| {});
            let end = framing.end_with(b"{}");
            let ended = end.map(|end| format!("{begun}{}", String::from_utf8(end).unwrap()));
            assert_eq!(ended.as_deref(), whole, "{begun}");
        }
    }

    #[test]
    fn an_object_over_the_bound_is_skipped_and_the_next_is_read() {
        let large = "x".repeat(ELEMENT_BYTES_MAX);
        let text = format!("[{{\"a\":\"{large}\"}},{{\"b\":1}}]");
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(60_000).collect();
        let (elements, ended) = elements(&pieces);
        assert_eq!((elements, ended.skipped), (vec!["{\"b\":1}".to_owned()], 1));
    }
}
