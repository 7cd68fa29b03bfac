//! The ledger against a real Postgres: migrations, intake, sums, and who sees what.

mod allowances;
mod claims;
mod encrypted;
mod faults;
mod intake;
mod merging;
mod periods;
mod prices;
mod schema;
mod sums;
mod support;
mod visibility;
