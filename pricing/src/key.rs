//! The virtual key: `vk_` and 32 characters of base32, the last six of which prove the rest.
//!
//! The proof is a truncated HMAC under the deployment's key secret, so that a forged key costs no
//! argon2. Nothing here prints a key or a secret, and randomness comes from the caller.

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;

/// What every key begins with.
pub const KEY_START: &str = "vk_";
/// Characters of a whole key.
pub const KEY_CHARS: usize = 35;
/// Characters of the visible prefix.
pub const PREFIX_CHARS: usize = 8;
/// Characters of the proof at the end.
pub const TAIL_CHARS: usize = 6;
/// Random bytes a new key is made of; five bits of each are used.
pub const RANDOM_BYTES: usize = KEY_CHARS - KEY_START.len() - TAIL_CHARS;
/// Fewest bytes of a key secret.
pub const SECRET_BYTES_MIN: usize = 16;

const BODY_CHARS: usize = KEY_CHARS - TAIL_CHARS;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A virtual key in the clear, of the right shape. It is shown once and kept nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct VirtualKey(String);

/// The text has not the shape of a virtual key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKey;

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not of the form vk_ and 32 characters A–Z, 2–7")
    }
}

impl std::error::Error for InvalidKey {}

impl VirtualKey {
    /// A new key from random bytes, signed with the first secret.
    #[must_use]
    pub fn generate(random: &[u8; RANDOM_BYTES], secrets: &KeySecrets) -> Self {
        let mut text = String::with_capacity(KEY_CHARS);
        text.push_str(KEY_START);
        text.extend(
            random
                .iter()
                .map(|byte| char::from(ALPHABET[usize::from(byte & 31)])),
        );
        let tail = secrets.signing().tail_of(text.as_bytes());
        text.extend(tail.map(char::from));
        Self(text)
    }

    /// Keeps a text of the right shape. Whether its tail is right is [`tail_is_valid`]'s to say.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        if has_shape(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKey)
        }
    }

    /// The key itself, for the one time it is shown, hashed or verified.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The visible prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0[..PREFIX_CHARS]
    }
}

impl fmt::Debug for VirtualKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VirtualKey(…)")
    }
}

/// The visible prefix of a text that has the shape of a key.
#[must_use]
pub fn prefix(text: &str) -> Option<&str> {
    has_shape(text).then(|| &text[..PREFIX_CHARS])
}

/// Whether the last six characters are the proof of the others under any of the secrets. Takes the
/// same time whichever character is wrong.
#[must_use]
pub fn tail_is_valid(text: &str, secrets: &[Secret]) -> bool {
    if !has_shape(text) {
        return false;
    }
    let (body, tail) = text.as_bytes().split_at(BODY_CHARS);
    let mut is_valid = false;
    for secret in secrets {
        let difference = secret
            .tail_of(body)
            .iter()
            .zip(tail)
            .fold(0, |sum, (left, right)| sum | (left ^ right));
        is_valid |= std::hint::black_box(difference) == 0;
    }
    is_valid
}

fn has_shape(text: &str) -> bool {
    text.len() == KEY_CHARS
        && text.starts_with(KEY_START)
        && text[KEY_START.len()..]
            .bytes()
            .all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
}

/// One key secret of the deployment, ready to sign and verify.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl Secret {
    /// From its bytes; `None` when there are fewer than [`SECRET_BYTES_MIN`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < SECRET_BYTES_MIN {
            return None;
        }
        Hmac::new_from_slice(bytes).ok().map(Self)
    }

    /// The proof: the first thirty bits of the HMAC in base32.
    fn tail_of(&self, body: &[u8]) -> [u8; TAIL_CHARS] {
        let mut mac = self.0.clone();
        mac.update(body);
        let digest = mac.finalize().into_bytes();
        let bits = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        std::array::from_fn(|place| ALPHABET[(bits >> (27 - 5 * place) & 31) as usize])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The deployment's key secrets: the first signs, all verify.
#[derive(Clone, Debug)]
pub struct KeySecrets(Vec<Secret>);

/// Why a list of key secrets cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidKeySecrets {
    /// There is none.
    Empty,
    /// The secret of this line, from one, is shorter than [`SECRET_BYTES_MIN`].
    TooShort(usize),
}

impl fmt::Display for InvalidKeySecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no key secret"),
            Self::TooShort(line) => write!(
                f,
                "key secret in line {line} has fewer than {SECRET_BYTES_MIN} bytes"
            ),
        }
    }
}

impl std::error::Error for InvalidKeySecrets {}

impl KeySecrets {
    /// One secret a line, as text; blank lines and those that begin with `#` are skipped.
    pub fn parse(text: &str) -> Result<Self, InvalidKeySecrets> {
        let mut secrets = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let secret =
                Secret::new(line.as_bytes()).ok_or(InvalidKeySecrets::TooShort(index + 1))?;
            secrets.push(secret);
        }
        if secrets.is_empty() {
            return Err(InvalidKeySecrets::Empty);
        }
        Ok(Self(secrets))
    }

    /// All of them, for [`tail_is_valid`].
    #[must_use]
    pub fn all(&self) -> &[Secret] {
        &self.0
    }

    /// Whether a key was made by this deployment.
    #[must_use]
    pub fn verify(&self, text: &str) -> bool {
        tail_is_valid(text, &self.0)
    }

    fn signing(&self) -> &Secret {
        // `parse` is the only way in and refuses an empty list.
        &self.0[0]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(text: &str) -> KeySecrets {
        KeySecrets::parse(text).unwrap()
    }

    const OLD: &str = "an older secret of this place";
    const NEW: &str = "a newer secret of this place";

    #[test]
    fn the_form_is_fixed() {
        let random = std::array::from_fn(|place| place as u8);
        let key = VirtualKey::generate(&random, &secrets(NEW));
        let text = key.reveal();
        assert!(text.starts_with("vk_ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
        assert_eq!((text.len(), key.prefix()), (KEY_CHARS, "vk_ABCDE"));
        assert_eq!(prefix(text), Some("vk_ABCDE"));
        assert_eq!(VirtualKey::parse(text), Ok(key.clone()));
    }

    #[test]
    fn the_tail_is_the_start_of_an_hmac() {
        // Python: base64.b32encode(hmac.new(b"a newer secret of this place", b"vk_" + b"A" * 26,
        // "sha256").digest())[:6]
        let key = VirtualKey::generate(&[0; RANDOM_BYTES], &secrets(NEW));
        assert_eq!(key.reveal(), "vk_AAAAAAAAAAAAAAAAAAAAAAAAAAMDKPP2");
    }

    #[test]
    fn the_first_secret_signs_and_all_verify() {
        let key = VirtualKey::generate(&[7; RANDOM_BYTES], &secrets(OLD));
        let both = secrets(&format!("# rotated in November\n\n{NEW}\n{OLD}\n"));
        assert_eq!(both.all().len(), 2);
        assert!(both.verify(key.reveal()));
        assert!(!secrets(NEW).verify(key.reveal()));
        let newer = VirtualKey::generate(&[7; RANDOM_BYTES], &both);
        assert!(secrets(NEW).verify(newer.reveal()));
        assert!(both.verify(newer.reveal()));
        assert!(!tail_is_valid(newer.reveal(), &[]));
    }

    #[test]
    fn other_texts_are_no_keys() {
        let good = VirtualKey::generate(&[7; RANDOM_BYTES], &secrets(NEW));
        let good = good.reveal();
        let lower = good.to_lowercase();
        let longer = format!("{good}A");
        let wide = format!("vk_{}", "é".repeat(16));
        for text in ["", "vk_", &good[1..], &good[..34], &lower, &longer, &wide] {
            assert_eq!(VirtualKey::parse(text), Err(InvalidKey), "{text:?}");
            assert_eq!(prefix(text), None);
            assert!(!secrets(NEW).verify(text));
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let secrets = secrets(NEW);
        let key = VirtualKey::generate(&[7; RANDOM_BYTES], &secrets);
        assert_eq!(format!("{key:?}"), "VirtualKey(…)");
        assert_eq!(format!("{secrets:?}"), "KeySecrets([Secret(…)])");
    }

    #[test]
    fn a_list_of_secrets_needs_one_and_long_ones() {
        let check = |text, expected| assert_eq!(KeySecrets::parse(text).err(), Some(expected));
        check("", InvalidKeySecrets::Empty);
        check("# none\n", InvalidKeySecrets::Empty);
        check(
            "a newer secret of this place\nshort\n",
            InvalidKeySecrets::TooShort(2),
        );
    }

    proptest! {
        #[test]
        fn any_other_character_breaks_the_proof(random in any::<[u8; RANDOM_BYTES]>(), place in 3..KEY_CHARS, other in 0..32usize) {
            let secrets = secrets(NEW);
            let key = VirtualKey::generate(&random, &secrets);
            prop_assert!(secrets.verify(key.reveal()));
            let mut forged = key.reveal().as_bytes().to_vec();
            forged[place] = ALPHABET[other];
            let forged = String::from_utf8(forged).unwrap();
            // One in 2^30 forgeries of the body is right by chance.
            prop_assert_eq!(secrets.verify(&forged), forged == key.reveal());
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            prop_assert_eq!(VirtualKey::parse(&text).is_ok(), prefix(&text).is_some());
        }
    }
}
