//! Maps from names to what a card or the rules have under them.
//!
//! They are asked several times a call, with names that callers choose, and filled once, with names that the operator
//! chose: no caller can plant names that collide, so the hash need not be keyed, only quick.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// By name.
pub(super) type ByName<V> = HashMap<Box<str>, V, BuildHasherDefault<NameHasher>>;

/// Names that are compared one by one: a hash costs as much as a handful of comparisons.
const FEW_MAX: usize = 8;

/// By name, where most have few names.
#[derive(Debug)]
pub(super) enum FewByName<V> {
    /// At most [`FEW_MAX`].
    Few(Vec<(Box<str>, V)>),
    /// More.
    Many(ByName<V>),
}

impl<V> Default for FewByName<V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<V: Default> FewByName<V> {
    pub(super) fn get(&self, name: &str) -> Option<&V> {
        match self {
            Self::Few(few) => {
                let mut few = few.iter();
                few.find(|(one, _)| **one == *name).map(|(_, value)| value)
            }
            Self::Many(many) => many.get(name),
        }
    }

    /// What is under a name, made where nothing is.
    pub(super) fn at(&mut self, name: &str) -> &mut V {
        if let Self::Few(few) = self
            && few.len() == FEW_MAX
        {
            *self = Self::Many(std::mem::take(few).into_iter().collect());
        }
        match self {
            Self::Few(few) => {
                let place = few.iter().position(|(one, _)| **one == *name);
                let place = place.unwrap_or_else(|| {
                    few.push((name.into(), V::default()));
                    few.len() - 1
                });
                &mut few[place].1
            }
            Self::Many(many) => many.entry(name.into()).or_default(),
        }
    }
}

/// An odd number without a pattern in its bits: the golden ratio's.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Eight bytes at a time: mixed in and multiplied, and the product's upper half laid over its lower, so that each bit
/// of a name moves bits everywhere.
#[derive(Debug, Default)]
pub(super) struct NameHasher(u64);

impl NameHasher {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word).wrapping_mul(u128::from(MULTIPLIER));
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.0 = low ^ high.rotate_left(32);
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut word = [0, 0, 0, 0, 0, 0, 0, rest.len() as u8];
            word[..rest.len()].copy_from_slice(rest);
            self.mix(u64::from_le_bytes(word));
        }
    }

    /// Ends each text.
    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn few_names_and_many_are_found_alike() {
        let mut named: FewByName<usize> = FewByName::default();
        assert_eq!(named.get("a"), None);
        for number in 0..3 * FEW_MAX {
            for count in 1..=2 {
                *named.at(&format!("name-{number}")) += number;
                assert_eq!(
                    named.get(&format!("name-{number}")),
                    Some(&(count * number))
                );
            }
            assert_eq!(named.get("name-0"), Some(&0));
            assert_eq!(named.get("name"), None);
        }
        assert!(matches!(named, FewByName::Many(many) if many.len() == 3 * FEW_MAX));
    }

    #[test]
    fn names_that_are_alike_have_hashes_that_are_not() {
        let hash = |name: &str| BuildHasherDefault::<NameHasher>::new().hash_one(name);
        let names: Vec<String> = (0..10_000)
            .map(|number| format!("vendor/model-{number}-instruct"))
            .collect();
        let whole: HashSet<u64> = names.iter().map(|name| hash(name)).collect();
        assert_eq!(whole.len(), names.len());
        // What a map of that size goes by: as many as of random numbers, 7,500 of 16,384.
        let places: HashSet<u64> = names.iter().map(|name| hash(name) & 0x3fff).collect();
        assert!(places.len() > 7_000, "{}", places.len());
        assert_ne!(hash("a"), hash("a\0"));
    }
}
