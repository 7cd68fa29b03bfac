//! An answer on its way through: its head, whoever made it, and its body.
//!
//! What an HTTP/1.1 upstream says goes to most callers as it is. To make a map of its fields costs more than
//! all else that is done with a head, so they stay where they lie in the text that came, and a map is made for
//! those who need one. Fields of which something must be understood first come as a map at once.
//!
//! Holds true: a caller gets the same bytes in both forms.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode, Version, response};
use hyper::ext::ReasonPhrase;
use uuid::Uuid;

use crate::headers::{self, EVENT_HEADER, OF_THE_HOP, OWN_PREFIX, WARNING_HEADER};
use crate::http1::{self, FieldError, HeadBuffer, MARKS, put_field};

const CONNECTION: &[u8] = b"connection";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";
/// A longer name is for a map to judge.
const NAME_BYTES_MAX: usize = 256;

/// An answer.
pub struct Answer<B> {
    /// What it begins with.
    pub head: Head,
    /// What follows.
    pub body: B,
}

/// An answer's head.
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The words behind it, where they are not the usual ones.
    pub reason: Option<ReasonPhrase>,
    /// The fields.
    pub fields: Fields,
}

/// The fields of an answer.
pub enum Fields {
    /// As they came over HTTP/1.1.
    Text(FieldText),
    /// Each understood.
    Map(HeaderMap),
}

/// Fields where they lie in a head: no two of one name, none of ours, and nothing of the hop that names others.
pub struct FieldText {
    /// With names in small letters.
    head: Bytes,
    /// In the order in which they go down.
    places: Vec<Place>,
    has_hop: bool,
    marks: Marks,
}

/// Where a field lies.
struct Place {
    name: Range<usize>,
    value: Range<usize>,
}

/// What we add to an upstream's answer.
#[derive(Default)]
pub struct Marks {
    /// The call's id.
    pub event: Option<Uuid>,
    /// A limit in warning.
    pub warning: Option<HeaderValue>,
}

impl Head {
    /// The same as a library has it.
    pub(crate) fn into_parts(self) -> response::Parts {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.fields.into_map();
        if let Some(reason) = self.reason {
            response.extensions_mut().insert(reason);
        }
        response.into_parts().0
    }
}

impl From<response::Parts> for Head {
    fn from(mut parts: response::Parts) -> Self {
        Self {
            status: parts.status,
            reason: parts.extensions.remove(),
            fields: Fields::Map(parts.headers),
        }
    }
}

impl<B> From<Response<B>> for Answer<B> {
    fn from(response: Response<B>) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            head: parts.into(),
            body,
        }
    }
}

impl<B> From<Answer<B>> for Response<B> {
    fn from(answer: Answer<B>) -> Self {
        Self::from_parts(answer.head.into_parts(), answer.body)
    }
}

impl Fields {
    /// The fields of a head that was parsed.
    pub(crate) fn of(head: &[u8], parsed: &[httparse::Header<'_>]) -> Result<Self, FieldError> {
        match FieldText::of(head, parsed) {
            Some(text) => Ok(Self::Text(text)),
            None => HeadBuffer::new(head).fields(parsed).map(Self::Map),
        }
    }

    /// A field's first value.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        match self {
            Self::Text(text) => text.get(name),
            Self::Map(map) => http1::first(map, name).map(HeaderValue::as_bytes),
        }
    }

    /// A field's first value, where it is ASCII.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let value = self.get(name).filter(|value| value.is_ascii())?;
        std::str::from_utf8(value).ok()
    }

    pub(crate) fn remove(&mut self, name: &HeaderName) {
        match self {
            Self::Text(text) => {
                text.remove(name.as_str());
            }
            Self::Map(map) => {
                map.remove(name);
            }
        }
    }

    /// Takes out what belongs to the hop.
    pub(crate) fn clean(&mut self) {
        match self {
            Self::Text(text) => text.clean(),
            Self::Map(map) => headers::clean_answer(map),
        }
    }

    /// Adds what is ours.
    pub(crate) fn mark(&mut self, marks: Marks) {
        match self {
            Self::Text(text) => text.marks = marks,
            Self::Map(map) => marks.insert(map),
        }
    }

    /// Whether who sends these keeps the connection for another message.
    pub(crate) fn keeps_alive(&self, version: Version) -> bool {
        match self {
            Self::Text(text) => match text.get(header::CONNECTION.as_str()) {
                Some(value) => !value.eq_ignore_ascii_case(b"close"),
                None => version != Version::HTTP_10,
            },
            Self::Map(map) => http1::keeps_alive(version, map),
        }
    }

    /// Whether the last transfer coding is chunked; `None` where there is no coding.
    pub(crate) fn ends_chunked(&self) -> Option<bool> {
        match self {
            // It has no other.
            Self::Text(text) => text.get(header::TRANSFER_ENCODING.as_str()).map(|_| true),
            Self::Map(map) => http1::ends_chunked(map),
        }
    }

    /// Writes them, names in small letters.
    pub(crate) fn write(&self, to: &mut BytesMut, is_wanted: impl Fn(&[u8]) -> bool) {
        match self {
            Self::Text(text) => text.write(to, is_wanted),
            Self::Map(map) => {
                for (name, value) in map {
                    if is_wanted(name.as_ref()) {
                        put_field(to, name.as_ref(), value.as_bytes());
                    }
                }
            }
        }
    }

    pub(crate) fn into_map(self) -> HeaderMap {
        match self {
            Self::Text(text) => text.into_map(),
            Self::Map(map) => map,
        }
    }
}

impl FieldText {
    /// `None` where a map must be made.
    fn of(head: &[u8], parsed: &[httparse::Header<'_>]) -> Option<Self> {
        let mut text = head.to_vec();
        let mut places: Vec<Place> = Vec::with_capacity(parsed.len());
        let mut has_hop = false;
        for field in parsed {
            let place = Place {
                name: range(head, field.name.as_bytes()),
                value: range(head, field.value),
            };
            text.get_mut(place.name.clone())?.make_ascii_lowercase();
            let name = text.get(place.name.clone())?;
            let is_repeated = places.iter().any(|before| {
                before.name.len() == name.len() && text.get(before.name.clone()) == Some(name)
            });
            if is_repeated || name.len() > NAME_BYTES_MAX || name.starts_with(OWN_PREFIX.as_bytes())
            {
                return None;
            }
            let is = |value: &str| field.value.eq_ignore_ascii_case(value.as_bytes());
            if name == CONNECTION {
                // What else it says may name other fields.
                if !is("keep-alive") && !is("close") {
                    return None;
                }
                has_hop = true;
            } else if name == TRANSFER_ENCODING {
                if !is("chunked") {
                    return None;
                }
                has_hop = true;
            } else {
                has_hop |= OF_THE_HOP.iter().any(|other| name == other.as_bytes());
            }
            places.push(place);
        }
        Some(Self {
            head: text.into(),
            places,
            has_hop,
            marks: Marks::default(),
        })
    }

    fn part(&self, place: &Range<usize>) -> &[u8] {
        self.head.get(place.clone()).unwrap_or_default()
    }

    fn position(&self, name: &str) -> Option<usize> {
        let mut places = self.places.iter();
        places.position(|place| {
            place.name.len() == name.len() && self.part(&place.name) == name.as_bytes()
        })
    }

    fn get(&self, name: &str) -> Option<&[u8]> {
        let place = self.places.get(self.position(name)?)?;
        Some(self.part(&place.value))
    }

    /// Whether there was one. The last field takes its place, as it does in a map.
    fn remove(&mut self, name: &str) -> bool {
        let at = self.position(name);
        at.map(|at| self.places.swap_remove(at)).is_some()
    }

    /// What [`headers::clean_answer`] does.
    fn clean(&mut self) {
        if !self.has_hop {
            return;
        }
        self.remove(header::CONNECTION.as_str());
        if self.remove(header::TRANSFER_ENCODING.as_str()) {
            self.remove(header::CONTENT_LENGTH.as_str());
        }
        for name in OF_THE_HOP {
            self.remove(name);
        }
        self.has_hop = false;
    }

    fn write(&self, to: &mut BytesMut, is_wanted: impl Fn(&[u8]) -> bool) {
        for place in &self.places {
            let (name, value) = (&place.name, &place.value);
            if !is_wanted(self.part(name)) {
                continue;
            }
            // Most lines are as they would be written.
            let is_line = self.part(&(name.end..value.start)) == b": "
                && self.part(&(value.end..value.end + 2)) == b"\r\n";
            if is_line {
                to.extend_from_slice(self.part(&(name.start..value.end + 2)));
            } else {
                put_field(to, self.part(name), self.part(value));
            }
        }
        if let Some(event) = self.marks.event {
            let mut text = Uuid::encode_buffer();
            let text = event.hyphenated().encode_lower(&mut text);
            put_field(to, EVENT_HEADER.as_ref(), text.as_bytes());
        }
        if let Some(warning) = &self.marks.warning {
            put_field(to, WARNING_HEADER.as_ref(), warning.as_bytes());
        }
    }

    fn into_map(self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.places.len() + MARKS);
        for place in &self.places {
            let name = HeaderName::from_bytes(self.part(&place.name));
            let value = HeaderValue::from_maybe_shared(self.head.slice(place.value.clone()));
            // Nothing that was parsed is refused here.
            if let (Ok(name), Ok(value)) = (name, value) {
                map.append(name, value);
            }
        }
        self.marks.insert(&mut map);
        map
    }
}

impl Marks {
    /// Adds them to a map.
    pub(crate) fn insert(self, headers: &mut HeaderMap) {
        if let Some(event) = self.event {
            headers.insert(EVENT_HEADER, id_value(event));
        }
        if let Some(warning) = self.warning {
            headers.insert(WARNING_HEADER, warning);
        }
    }
}

/// An id as a field's value.
pub(crate) fn id_value(id: Uuid) -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let text = id.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).expect("a UUID is hexadecimal digits and hyphens")
}

/// Where `part` lies in `head`. An empty one may point anywhere.
fn range(head: &[u8], part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let at = part.as_ptr() as usize - head.as_ptr() as usize;
    at..at + part.len()
}

#[cfg(test)]
mod tests;
