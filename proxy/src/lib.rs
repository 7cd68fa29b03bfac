//! The proxy: placeholder until its rooms land.
