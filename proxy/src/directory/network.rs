//! Networks that a key may be used from.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A block of addresses, `10.0.0.0/8` or one address. A text that is neither holds nobody, so that
/// a mistake in a list of networks closes and never opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    text: String,
    block: Option<(IpAddr, u8)>,
}

impl Network {
    /// Reads the text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self {
            block: parse_block(text),
            text: text.to_owned(),
        }
    }

    /// Whether the address lies in the block; an IPv4 address mapped into IPv6 counts as itself.
    #[must_use]
    pub fn holds(&self, address: IpAddr) -> bool {
        let Some((base, bits)) = self.block else {
            return false;
        };
        match (base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

fn parse_block(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(u8::from_str(bits).ok()?)),
        None => (text, None),
    };
    let address = IpAddr::from_str(address).ok()?;
    let widest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(widest);
    (bits <= widest).then_some((address, bits))
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Ok(Self::new(&text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_network_holds_its_block_and_nothing_else() {
        let check = |network: &str, address: &str, expected| {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(
                Network::new(network).holds(address),
                expected,
                "{network} {address}"
            );
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.0.0.1", true);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/32", "2001:db8:1::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("::/0", "2001:db9::1", true);
        check("192.0.2.7", "192.0.2.7", true);
        check("192.0.2.7", "192.0.2.8", false);
        check("192.0.2.7/33", "192.0.2.7", false);
        check("anywhere", "192.0.2.7", false);
    }

    proptest! {
        #[test]
        fn any_text_is_a_network_that_does_not_panic(text in ".{0,24}", address: u32) {
            let _ = Network::new(&text).holds(IpAddr::from(address.to_be_bytes()));
        }

        #[test]
        fn a_block_holds_what_shares_its_bits(base: u32, bits in 0u8..=32, other: u32) {
            let network = Network::new(&format!("{}/{bits}", std::net::Ipv4Addr::from(base)));
            let shared = (base ^ other).leading_zeros() >= u32::from(bits);
            prop_assert_eq!(network.holds(IpAddr::from(other.to_be_bytes())), shared);
        }
    }
}
