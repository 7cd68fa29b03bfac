//! Virtual keys and ingest tokens: drawing, hashing, verifying. A secret leaves this file once, to
//! the one answer that shows it, and is kept as a hash only.
//!
//! A virtual key carries 130 random bits, so the argon2 parameters are small on purpose: they slow
//! down nobody who guesses, and each proxy verifies a key once.

use std::fmt;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use farebox_pricing::key::{self, KeySecrets, RANDOM_BYTES, VirtualKey};
use sha2::{Digest, Sha256};

use crate::config::Secret;

/// What every virtual key begins with.
pub(crate) const PREFIX: &str = key::KEY_START;
/// Memory of one argon2 run, in KiB.
pub const ARGON2_MEMORY_KIB: u32 = 1_024;
/// Passes of one argon2 run.
pub const ARGON2_PASSES: u32 = 1;
/// Lanes of one argon2 run.
pub const ARGON2_LANES: u32 = 1;
/// Bytes of the hash.
const HASH_BYTES: usize = 32;
/// Bytes of the salt.
const SALT_BYTES: usize = 16;
/// What every ingest token begins with.
const TOKEN_PREFIX: &str = "fit_";
/// Random bytes of an ingest token.
const TOKEN_BYTES: usize = 32;

/// A key could not be made or hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFault(String);

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeyFault {}

fn fault(what: &str, cause: impl fmt::Display) -> KeyFault {
    KeyFault(format!("{what}: {cause}"))
}

/// Bytes of the system's randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], KeyFault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|cause| fault("the system's randomness", cause))?;
    Ok(bytes)
}

fn hasher() -> Result<Argon2<'static>, KeyFault> {
    let params = Params::new(
        ARGON2_MEMORY_KIB,
        ARGON2_PASSES,
        ARGON2_LANES,
        Some(HASH_BYTES),
    )
    .map_err(|cause| fault("argon2 parameters", cause))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// A new virtual key.
pub fn draw(secrets: &KeySecrets) -> Result<VirtualKey, KeyFault> {
    Ok(VirtualKey::generate(&random::<RANDOM_BYTES>()?, secrets))
}

/// The argon2id hash of a key in PHC form: what the database keeps of it.
pub fn hash(key: &str) -> Result<String, KeyFault> {
    let salt = SaltString::encode_b64(&random::<SALT_BYTES>()?)
        .map_err(|cause| fault("argon2 salt", cause))?;
    let hash = hasher()?
        .hash_password(key.as_bytes(), &salt)
        .map_err(|cause| fault("argon2", cause))?;
    Ok(hash.to_string())
}

/// Whether the hash is of this key. Takes a millisecond of CPU: never on a thread that serves.
#[must_use]
pub fn verify(key: &str, hash: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(hash) else {
        return false;
    };
    // The parameters stand in the hash, so one made with others is verified too.
    Argon2::default()
        .verify_password(key.as_bytes(), &parsed)
        .is_ok()
}

/// The visible prefix of a key that this deployment signed.
pub(crate) fn prefix_if_genuine(text: &str, secrets: &KeySecrets) -> Option<String> {
    if !secrets.verify(text) {
        return None;
    }
    key::prefix(text).map(str::to_owned)
}

/// A new ingest token: `fit_` and 64 hexadecimal characters.
pub fn draw_ingest_token() -> Result<Secret, KeyFault> {
    let bytes = random::<TOKEN_BYTES>()?;
    Ok(Secret::new(format!("{TOKEN_PREFIX}{}", hex(&bytes))))
}

/// SHA-256 of a token: enough for a text of 256 random bits.
#[must_use]
pub fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

/// The bytes of lower- or upper-case hexadecimal.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(nibble(*high)? << 4 | nibble(*low)?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> KeySecrets {
        KeySecrets::parse("a secret of thirty-two characters").unwrap()
    }

    #[test]
    fn a_drawn_key_is_genuine_and_its_hash_verifies_only_it() {
        let (one, other) = (draw(&secrets()).unwrap(), draw(&secrets()).unwrap());
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(
            prefix_if_genuine(one.reveal(), &secrets()).as_deref(),
            Some(one.prefix())
        );
        let kept = hash(one.reveal()).unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=1024,t=1,p=1$"), "{kept}");
        assert!(verify(one.reveal(), &kept));
        assert!(!verify(other.reveal(), &kept));
        assert!(!verify(one.reveal(), "$argon2id$nonsense"));
    }

    #[test]
    fn a_key_of_another_deployment_is_not_genuine() {
        let key = draw(&secrets()).unwrap();
        let others = KeySecrets::parse("another secret of that length").unwrap();
        assert_eq!(prefix_if_genuine(key.reveal(), &others), None);
    }

    #[test]
    fn hexadecimal_goes_there_and_back() {
        assert_eq!(hex(&[0, 15, 255]), "000fff");
        assert_eq!(unhex("000fff"), Some(vec![0, 15, 255]));
        assert_eq!(unhex("0g"), None);
        assert_eq!(unhex("012"), None);
        assert_eq!(unhex("é"), None);
    }
}
