//! What both sides of the proxy share of HTTP/1.1: the socket, what is to be written to it, how a body is
//! framed, how header fields are kept.

mod chunked;
mod fields;
mod outbox;
mod transfer;
mod wire;

pub(crate) use chunked::Chunked;
pub(crate) use fields::{
    FieldError, HeadBuffer, MARKS, ends_chunked, first, keeps_alive, may_end, put_field, put_length,
};
pub(crate) use outbox::Outbox;
pub(crate) use transfer::{Piece, Transfer};
pub(crate) use wire::{Socket, Wire};
