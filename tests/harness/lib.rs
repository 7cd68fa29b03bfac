//! What the whole-system tests and the load generator stand on: a private Postgres, the real
//! `farebox` binary in its roles, an upstream with a truth log of its own, and small raw clients.
//!
//! Nothing here knows how the product works inside; it uses what users use.

pub mod beside;
pub mod binary;
pub mod corpus;
pub mod exchange;
pub mod http2;
pub mod leftovers;
pub mod measure;
pub mod postgres;
pub mod process;
pub mod replay;
pub mod shelf;
pub mod socket;
pub mod stack;
pub mod tls;
pub mod wait;
pub mod wire;

/// Any failure of the harness, told to a person.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
/// A harness result.
pub type Result<T> = std::result::Result<T, Error>;
