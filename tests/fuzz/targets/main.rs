//! The targets: whatever reads bytes that come from outside. Each may be given anything, and none may
//! panic, hold more than its bound, depend on how the bytes are cut, or make a negative quantity.
//!
//! `cargo test -p farebox-fuzz` runs each for a few seconds; `make soak` for longer.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where a seed cannot be read"
)]

mod amend;
mod cards;
mod damages;
mod decoding;
mod framing;
mod heads;
mod ingest;
mod readers;
mod seeds;
mod sockets;

use farebox_fuzz::memory::Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
