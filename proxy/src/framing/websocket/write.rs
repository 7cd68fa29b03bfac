//! The few frames that we write ourselves: when we end a socket, or take a credential out of a message.

use super::{BINARY, CLOSE, CONTROL_BYTES_MAX, TEXT, unmask};

/// Who a frame goes to: only what goes to an upstream is masked (RFC 6455 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The caller.
    Caller,
    /// The upstream.
    Upstream,
}

/// A text message in one frame.
#[must_use]
pub fn text(to: To, payload: &[u8]) -> Vec<u8> {
    frame(to, TEXT, payload)
}

/// A binary message in one frame.
#[must_use]
pub fn binary(to: To, payload: &[u8]) -> Vec<u8> {
    frame(to, BINARY, payload)
}

/// A close with its code and a reason, which is cut to what a control frame can hold.
#[must_use]
pub fn close(to: To, code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    let room = CONTROL_BYTES_MAX - payload.len();
    payload.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(room)]);
    frame(to, CLOSE, &payload)
}

fn frame(to: To, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(0x80 | opcode);
    let mask = (to == To::Upstream).then(|| fastrand::u32(..).to_ne_bytes());
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..=125 => frame.push(mask_bit | len as u8),
        len @ 126..=0xffff => {
            frame.push(mask_bit | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(mask_bit | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(mask.as_ref().map_or(&[], <[u8; 4]>::as_slice));
    let begins = frame.len();
    frame.extend_from_slice(payload);
    unmask(&mut frame[begins..], mask, 0);
    frame
}
