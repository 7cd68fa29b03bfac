//! What a body is by its first byte. Some servers name no type or a wrong one, and a gateway may
//! send events under JSON's name; what an answer is read as never depends on where it was split.

use bytes::Bytes;

use super::Body;
use crate::framing::array::ArrayFraming;
use crate::framing::aws::AwsFraming;
use crate::framing::sse::SseFraming;
use crate::provider::Form;

/// Types under which no JSON comes.
const MEDIA: [&str; 3] = ["audio/", "image/", "video/"];
/// What may stand before the first byte that tells: spaces, and a byte order mark's bytes.
const SKIPPED: [u8; 7] = [b' ', b'\t', b'\r', b'\n', 0xef, 0xbb, 0xbf];

/// A type that says enough.
pub(super) fn is_media(media_type: &str) -> bool {
    MEDIA.iter().any(|start| {
        let begins = media_type.get(..start.len());
        begins.is_some_and(|begins| begins.eq_ignore_ascii_case(start))
    })
}

/// How the rest is read; `None` while nothing but space came.
pub(super) fn body(bytes: &[u8], form: Form, is_json: bool) -> Option<Body> {
    let first = *bytes.iter().find(|byte| !SKIPPED.contains(byte))?;
    Some(match first {
        // `data: event: id: retry:` or a comment; no JSON value begins so.
        b'd' | b'e' | b'i' | b'r' | b':' => Body::Events(SseFraming::default()),
        b'{' | b'[' if form == Form::Elements => Body::Elements(ArrayFraming::default()),
        b'{' | b'[' => Body::Whole(Bytes::new()),
        // The length of a message, of which none reaches its first byte.
        0 => Body::Messages(AwsFraming::default()),
        _ if is_json && form == Form::Elements => Body::Elements(ArrayFraming::default()),
        _ if is_json => Body::Whole(Bytes::new()),
        _ => Body::Unread,
    })
}
