//! The vocabulary every other crate speaks, and the arithmetic of money.
//!
//! A pure library: no files, network, clock, async or floats. [`event::Event`] is what a call
//! becomes; [`evidence::Evidence`] is what was seen on the wire; [`usage::Line`] is what is
//! charged; [`money`] is how much.

pub mod event;
pub mod evidence;
pub mod id;
pub mod money;
pub mod time;
pub mod usage;
