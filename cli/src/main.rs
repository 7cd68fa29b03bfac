//! The `farebox` program.

fn main() {}
