//! The data plane.

pub mod config;
pub mod failure;
