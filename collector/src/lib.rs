//! The collector: placeholder until its rooms land.
