//! A signed bundle: cards and selling rules in one file, with signatures of what they are.
//!
//! Signed are the revisions, which are the hashes of the prices, in the order of the file. So whoever
//! holds the file cannot change a price, leave one out or put one in. Signatures are Ed25519; keys
//! are written in hexadecimal. A bundle is believed by the keys that its reader trusts, never by
//! one that it brings along.

use std::fmt;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::selling::{ALL_PROVIDERS, SellingRules};
use super::{CARD_BYTES_MAX, InvalidCard, RateCard};

/// The member that tells a bundle from a card, and its value.
pub const KIND: &str = "bundle";
/// Version of the bundle's form.
pub const BUNDLE_SCHEMA: u32 = 1;
/// Largest bundle read, in bytes.
pub const BUNDLE_BYTES_MAX: usize = 2 * CARD_BYTES_MAX;
/// Most cards of one bundle.
pub const BUNDLED_MAX: usize = 256;
/// Most signatures of one bundle.
pub const SIGNATURES_MAX: usize = 16;
/// Bytes of a seed and of a public key.
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
/// What is signed begins with it, so that no other signature of the key can be taken for one of prices.
const SIGNED_HEAD: &str = "farebox price bundle 1\n";

/// What stands in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: u32,
    kind: String,
    prices: Vec<Box<RawValue>>,
    signatures: Vec<Signature>,
}

/// Who says that these are the prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    /// The public key.
    key: String,
    signature: String,
}

/// One card, or the selling rules, of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundled {
    /// The vendor; `*` for selling rules.
    pub provider: String,
    /// The revision.
    pub revision: String,
    /// The canonical form.
    pub canonical: String,
}

/// Prices with what was signed of them. Nothing is believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    prices: Vec<Bundled>,
    signatures: Vec<Signature>,
}

/// No trusted key signed exactly these prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSigned;

impl fmt::Display for NotSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no trusted key has signed these prices as they are")
    }
}

impl std::error::Error for NotSigned {}

/// A text that is no key: not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKey;

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key is 64 hexadecimal digits")
    }
}

impl std::error::Error for InvalidKey {}

/// A key that is believed: the public half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicKey([u8; KEY_BYTES]);

impl TryFrom<String> for PublicKey {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        from_hex(text.trim()).map(Self).ok_or(InvalidKey)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

/// A key that signs. Printed nowhere.
pub struct PrivateKey(Ed25519KeyPair);

impl PrivateKey {
    /// From the seed, 32 bytes of randomness in hexadecimal.
    pub fn from_seed(text: &str) -> Result<Self, InvalidKey> {
        let seed: [u8; KEY_BYTES] = from_hex(text.trim()).ok_or(InvalidKey)?;
        Ed25519KeyPair::from_seed_unchecked(&seed)
            .map(Self)
            .map_err(|_| InvalidKey)
    }

    /// The half that others trust.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let bytes = self.0.public_key().as_ref();
        PublicKey(bytes.try_into().expect("an Ed25519 key is 32 bytes"))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl Bundle {
    /// Whether a text is meant as a bundle.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        #[derive(Deserialize)]
        struct Head {
            kind: String,
        }
        serde_json::from_str::<Head>(text).is_ok_and(|head| head.kind == KIND)
    }

    /// Reads a bundle and checks each of its cards. All problems are reported together.
    pub fn from_json(text: &str) -> Result<Self, InvalidCard> {
        let one = |problem: String| InvalidCard(vec![format!("bundle: {problem}")]);
        if text.len() > BUNDLE_BYTES_MAX {
            return Err(one(format!("larger than {BUNDLE_BYTES_MAX} bytes")));
        }
        let file: File = serde_json::from_str(text).map_err(|reason| one(reason.to_string()))?;
        if file.schema != BUNDLE_SCHEMA || file.kind != KIND {
            return Err(one(format!("is none of schema {BUNDLE_SCHEMA}")));
        }
        if file.signatures.len() > SIGNATURES_MAX {
            return Err(one(format!("more than {SIGNATURES_MAX} signatures")));
        }
        let texts = file.prices.iter().map(|price| price.get());
        Ok(Self {
            prices: bundled(texts)?,
            signatures: file.signatures,
        })
    }

    /// Signs cards and selling rules, which may be written in any form.
    pub fn sign<'a>(
        texts: impl IntoIterator<Item = &'a str>,
        key: &PrivateKey,
    ) -> Result<Self, InvalidCard> {
        let prices = bundled(texts)?;
        let signature = key.0.sign(signed(&prices).as_bytes());
        let signature = Signature {
            key: key.public().to_string(),
            signature: to_hex(signature.as_ref()),
        };
        Ok(Self {
            prices,
            signatures: vec![signature],
        })
    }

    /// What is in it, believed or not.
    #[must_use]
    pub fn prices(&self) -> &[Bundled] {
        &self.prices
    }

    /// The prices, once one of these keys has signed them. Where no key is trusted nothing is.
    pub fn verified(&self, trusted: &[PublicKey]) -> Result<&[Bundled], NotSigned> {
        let message = signed(&self.prices);
        let is_by = |signature: &Signature| {
            let key = PublicKey::try_from(signature.key.clone()).ok();
            let key = key.filter(|key| trusted.contains(key));
            let bytes = from_hex::<SIGNATURE_BYTES>(&signature.signature);
            key.zip(bytes).is_some_and(|(key, bytes)| {
                UnparsedPublicKey::new(&ED25519, key.0)
                    .verify(message.as_bytes(), &bytes)
                    .is_ok()
            })
        };
        match self.signatures.iter().any(is_by) {
            true => Ok(&self.prices),
            false => Err(NotSigned),
        }
    }

    /// The file.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let raw = |price: &Bundled| RawValue::from_string(price.canonical.clone());
        serde_json::to_string(&File {
            schema: BUNDLE_SCHEMA,
            kind: KIND.to_owned(),
            prices: self.prices.iter().map(raw).collect::<Result<_, _>>()?,
            signatures: self.signatures.clone(),
        })
    }
}

fn bundled<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Bundled>, InvalidCard> {
    let mut prices: Vec<Bundled> = Vec::new();
    let mut problems = Vec::new();
    for (place, text) in texts.into_iter().enumerate() {
        let read = match SellingRules::is_meant(text) {
            true => SellingRules::from_json(text).map(|rules| {
                let (revision, canonical) = (rules.revision(), rules.canonical());
                (
                    ALL_PROVIDERS.to_owned(),
                    revision.to_owned(),
                    canonical.to_owned(),
                )
            }),
            false => RateCard::from_json(text).map(|card| {
                let (revision, canonical) = (card.revision(), card.canonical());
                (
                    card.provider().to_owned(),
                    revision.to_owned(),
                    canonical.to_owned(),
                )
            }),
        };
        match read {
            Ok((provider, ..)) if prices.iter().any(|other| other.provider == provider) => {
                problems.push(format!("bundle: {provider} is in it twice"));
            }
            Ok((provider, revision, canonical)) => prices.push(Bundled {
                provider,
                revision,
                canonical,
            }),
            Err(InvalidCard(found)) => {
                let with_place = |problem| format!("bundle: prices[{place}]: {problem}");
                problems.extend(found.into_iter().map(with_place));
            }
        }
    }
    if prices.is_empty() && problems.is_empty() {
        problems.push("bundle: holds no prices".to_owned());
    }
    if prices.len() > BUNDLED_MAX {
        problems.push(format!("bundle: more than {BUNDLED_MAX} cards"));
    }
    match problems.is_empty() {
        true => Ok(prices),
        false => Err(InvalidCard(problems)),
    }
}

/// What a signature is of: one line for each, the vendor last, because only it is free text.
fn signed(prices: &[Bundled]) -> String {
    let lines = prices
        .iter()
        .map(|price| format!("{} {}\n", price.revision, price.provider.escape_default()));
    std::iter::once(SIGNED_HEAD.to_owned())
        .chain(lines)
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"{"schema":1,"kind":"price","rules":[{"rule":"all","markup":"1.2"}]}"#;

    fn key(digit: &str) -> PrivateKey {
        PrivateKey::from_seed(&digit.repeat(64)).unwrap()
    }

    fn card() -> String {
        r#"{"schema":1,"provider":"v","models":[{"model":"m","revisions":[{"rates":[
            {"meter":"input_tokens","usd":"2","per":"1000000","source":"s","checked":"2026-11-20"}]}]}]}"#
            .to_owned()
    }

    #[test]
    fn what_was_signed_is_believed_by_the_keys_that_are_trusted_alone() {
        let (ours, other) = (key("a"), key("b"));
        let text = Bundle::sign([card().as_str(), RULES], &ours)
            .unwrap()
            .to_json()
            .unwrap();
        assert!(Bundle::is_meant(&text) && !Bundle::is_meant(RULES));
        let bundle = Bundle::from_json(&text).unwrap();
        let believed = bundle.verified(&[other.public(), ours.public()]).unwrap();
        let names: Vec<&str> = believed.iter().map(|one| one.provider.as_str()).collect();
        assert_eq!(names, ["v", "*"]);
        assert_eq!(bundle.verified(&[other.public()]), Err(NotSigned));
        assert_eq!(bundle.verified(&[]), Err(NotSigned));
        let public: PublicKey = ours.public().to_string().try_into().unwrap();
        assert_eq!(public, ours.public());
        assert!(PublicKey::try_from("ab".to_owned()).is_err());
    }

    #[test]
    fn no_change_of_a_bundle_is_believed() {
        let ours = key("a");
        let signed = Bundle::sign([card().as_str(), RULES], &ours).unwrap();
        let text = signed.to_json().unwrap();
        let is_refused = |text: &str| {
            let bundle = Bundle::from_json(text).unwrap();
            assert_eq!(bundle.verified(&[ours.public()]), Err(NotSigned), "{text}");
        };
        is_refused(&text.replace(r#""usd":"2""#, r#""usd":"20""#));
        is_refused(&text.replace(r#""markup":"1.2""#, r#""markup":"12""#));
        // Another order, one left out, a signature of another key, one that is cut.
        let parts = |signatures: &[Signature], places: &[usize]| {
            let prices = places.iter().map(|place| signed.prices[*place].clone());
            let bundle = Bundle {
                prices: prices.collect(),
                signatures: signatures.to_vec(),
            };
            is_refused(&bundle.to_json().unwrap());
        };
        parts(&signed.signatures, &[1, 0]);
        parts(&signed.signatures, &[0]);
        parts(&[], &[0, 1]);
        let foreign = Bundle::sign([card().as_str(), RULES], &key("b")).unwrap();
        parts(&foreign.signatures, &[0, 1]);
        let mut under_our_name = foreign.signatures[0].clone();
        under_our_name.key = ours.public().to_string();
        parts(&[under_our_name], &[0, 1]);
        let mut cut = signed.signatures[0].clone();
        cut.signature.truncate(126);
        parts(&[cut], &[0, 1]);
    }

    #[test]
    fn the_mistakes_of_all_cards_are_told_together() {
        let bad = |prices: &str| {
            let text =
                format!(r#"{{"schema":1,"kind":"bundle","prices":[{prices}],"signatures":[]}}"#);
            Bundle::from_json(&text).unwrap_err().to_string()
        };
        let told = bad(&format!(
            "{},{}",
            card().replace("\"2\"", "2"),
            RULES.replace("1.2", "-1")
        ));
        assert!(
            told.contains("bundle: prices[0]: ") && told.contains("is a JSON number"),
            "{told}"
        );
        assert!(
            told.contains("bundle: prices[1]: ") && told.contains("negative"),
            "{told}"
        );
        assert_eq!(bad(""), "bundle: holds no prices");
        assert_eq!(bad(&[RULES, RULES].join(",")), "bundle: * is in it twice");
        assert!(Bundle::from_json(r#"{"kind":"bundle"}"#).is_err());
    }
}
