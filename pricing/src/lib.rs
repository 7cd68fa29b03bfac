//! The vocabulary every other crate speaks, and the arithmetic of money.
//!
//! A pure library: no files, network, clock, async or floats. [`event::Event`] is what a call
//! becomes; [`evidence::Evidence`] is what was seen on the wire; [`usage::Line`] is what is
//! charged; [`rate_card::RateCard`] is a provider's prices as data; [`price::price_event`] makes
//! charges of the two, and [`money`] is how much. [`key`] is the form of a virtual key, and
//! [`vault`] seals what a provider takes for one.

pub mod event;
pub mod evidence;
pub mod id;
pub mod json;
pub mod key;
pub mod money;
pub mod output_maximum;
pub mod price;
pub mod rate_card;
pub mod time;
pub mod usage;
pub mod vault;
