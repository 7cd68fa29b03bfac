//! Provider credentials at rest: each sealed under a data key of its own, which a master key wraps.
//!
//! The master keys live outside the database. What a credential is bound to (its id, tenant, upstream
//! and host) goes into the seal, so that a row moved to another tenant or host opens no more.
//! Randomness comes from the caller, and nothing here prints a key or a secret.

use std::fmt;

use hmac::{Hmac, Mac};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;
use uuid::Uuid;

/// Fewest bytes of a master key's text.
pub const MASTER_KEY_BYTES_MIN: usize = 32;
/// Bytes of a data key.
const DATA_KEY_BYTES: usize = 32;
/// Apart from every other use of the texts.
const FOR_WRAPPING: &[u8] = b"farebox vault 1 wrapping key";
const FOR_NAMING: &[u8] = b"farebox vault 1 key id";
const FOR_TEXT: &[u8] = b"farebox vault 1 credential";

/// What a credential is for; it opens for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    /// Its id, which stays when its secret is replaced.
    pub credential_id: Uuid,
    /// The tenant whose own it is; `None`: the operator's.
    pub tenant: Option<&'a str>,
    /// The configured upstream.
    pub upstream: &'a str,
    /// Host, and port where it is not the scheme's own.
    pub host: &'a str,
}

/// A sealed secret, as the database keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Which master key wraps the data key.
    pub master_key_id: String,
    /// The data key under the master key: nonce, ciphertext, tag.
    pub wrapped_key: Vec<u8>,
    /// The secret under the data key: nonce, ciphertext, tag.
    pub sealed: Vec<u8>,
}

/// Fresh random bytes of one sealing.
pub struct Randomness {
    /// The data key.
    pub data_key: [u8; DATA_KEY_BYTES],
    /// Nonce of the wrapping.
    pub wrapping: [u8; NONCE_LEN],
    /// Nonce of the secret.
    pub text: [u8; NONCE_LEN],
}

/// Why a secret does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// Its master key is not among ours.
    UnknownMasterKey,
    /// It was changed, or is bound to something else.
    Broken,
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownMasterKey => "it is sealed under a master key that is not here",
            Self::Broken => "its seal is broken, or it is bound to something else",
        })
    }
}

impl std::error::Error for Unopened {}

/// A text that cannot be master keys; it is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidMasterKeys;

impl fmt::Display for InvalidMasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "one master key a line, each of at least {MASTER_KEY_BYTES_MIN} bytes"
        )
    }
}

impl std::error::Error for InvalidMasterKeys {}

struct MasterKey {
    id: String,
    key: LessSafeKey,
}

/// The deployment's master keys: the first seals, all open.
pub struct MasterKeys(Vec<MasterKey>);

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeys({})", self.0.len())
    }
}

impl MasterKeys {
    /// One a line; blank lines and those that begin with `#` are skipped.
    pub fn parse(text: &str) -> Result<Self, InvalidMasterKeys> {
        let lines = text.lines().map(str::trim);
        let keys: Option<Vec<MasterKey>> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(MasterKey::new)
            .collect();
        let keys = keys.filter(|keys| !keys.is_empty());
        keys.map(Self).ok_or(InvalidMasterKeys)
    }

    /// Which of them seals.
    #[must_use]
    pub fn sealing_id(&self) -> &str {
        &self.sealing().id
    }

    /// Seals a secret under a new data key.
    #[must_use]
    pub fn seal(&self, binding: &Binding<'_>, secret: &str, random: &Randomness) -> Sealed {
        let master = self.sealing();
        Sealed {
            master_key_id: master.id.clone(),
            wrapped_key: encrypt(
                &master.key,
                random.wrapping,
                &wrapping_aad(binding),
                &random.data_key,
            ),
            sealed: encrypt(
                &key_of(&random.data_key),
                random.text,
                &text_aad(binding),
                secret.as_bytes(),
            ),
        }
    }

    /// The secret, for the one place that sends it.
    pub fn open(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<String, Unopened> {
        let data_key = self.unwrap_key(binding, sealed)?;
        let secret = decrypt(&key_of(&data_key), &text_aad(binding), &sealed.sealed)?;
        String::from_utf8(secret).map_err(|_| Unopened::Broken)
    }

    /// The same secret with its data key under the first master key; `None`: it is already.
    pub fn rewrap(
        &self,
        binding: &Binding<'_>,
        sealed: &Sealed,
        nonce: [u8; NONCE_LEN],
    ) -> Result<Option<Sealed>, Unopened> {
        let master = self.sealing();
        if sealed.master_key_id == master.id {
            return Ok(None);
        }
        let data_key = self.unwrap_key(binding, sealed)?;
        Ok(Some(Sealed {
            master_key_id: master.id.clone(),
            wrapped_key: encrypt(&master.key, nonce, &wrapping_aad(binding), &data_key),
            sealed: sealed.sealed.clone(),
        }))
    }

    fn unwrap_key(
        &self,
        binding: &Binding<'_>,
        sealed: &Sealed,
    ) -> Result<[u8; DATA_KEY_BYTES], Unopened> {
        let mut known = self.0.iter();
        let master = known
            .find(|master| master.id == sealed.master_key_id)
            .ok_or(Unopened::UnknownMasterKey)?;
        let key = decrypt(&master.key, &wrapping_aad(binding), &sealed.wrapped_key)?;
        key.try_into().map_err(|_| Unopened::Broken)
    }

    fn sealing(&self) -> &MasterKey {
        self.0.first().expect("made with at least one")
    }
}

impl MasterKey {
    fn new(text: &str) -> Option<Self> {
        if text.len() < MASTER_KEY_BYTES_MIN {
            return None;
        }
        let derived = |purpose: &[u8]| -> [u8; 32] {
            let mut mac = Hmac::<Sha256>::new_from_slice(text.as_bytes())
                .expect("an HMAC takes a key of any length");
            mac.update(purpose);
            mac.finalize().into_bytes().into()
        };
        let id = derived(FOR_NAMING)[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Some(Self {
            id,
            key: key_of(&derived(FOR_WRAPPING)),
        })
    }
}

fn key_of(bytes: &[u8; DATA_KEY_BYTES]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, bytes).expect("the key has AES-256's length");
    LessSafeKey::new(key)
}

fn encrypt(key: &LessSafeKey, nonce: [u8; NONCE_LEN], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let mut sealed = nonce.to_vec();
    let mut body = text.to_vec();
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(aad),
        &mut body,
    )
    .expect("a secret is far shorter than what AES-GCM takes");
    sealed.extend(body);
    sealed
}

fn decrypt(key: &LessSafeKey, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unopened> {
    let (nonce, body) = sealed
        .split_first_chunk::<NONCE_LEN>()
        .ok_or(Unopened::Broken)?;
    let mut body = body.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let text = key
        .open_in_place(nonce, Aad::from(aad), &mut body)
        .map_err(|_| Unopened::Broken)?;
    Ok(text.to_vec())
}

/// A data key serves one credential.
fn wrapping_aad(binding: &Binding<'_>) -> Vec<u8> {
    [FOR_WRAPPING, binding.credential_id.as_bytes()].concat()
}

/// Each part with its length before it, so that no two bindings read the same.
fn text_aad(binding: &Binding<'_>) -> Vec<u8> {
    let mut aad = [FOR_TEXT, binding.credential_id.as_bytes()].concat();
    aad.push(u8::from(binding.tenant.is_some()));
    for part in [
        binding.tenant.unwrap_or_default(),
        binding.upstream,
        binding.host,
    ] {
        aad.extend((part.len() as u64).to_be_bytes());
        aad.extend(part.as_bytes());
    }
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an old master key of some forty characters";
    const NEW: &str = "a new master key of about forty characters";
    const SECRET: &str = "sk-provider-credential";

    fn keys(lines: &[&str]) -> MasterKeys {
        MasterKeys::parse(&lines.join("\n")).unwrap()
    }

    fn random(seed: u8) -> Randomness {
        Randomness {
            data_key: [seed; DATA_KEY_BYTES],
            wrapping: [seed; NONCE_LEN],
            text: [seed + 1; NONCE_LEN],
        }
    }

    fn binding<'a>(tenant: Option<&'a str>, host: &'a str) -> Binding<'a> {
        Binding {
            credential_id: Uuid::from_u128(7),
            tenant,
            upstream: "acme-llm",
            host,
        }
    }

    #[test]
    fn a_secret_opens_for_what_it_is_bound_to_and_for_nothing_else() {
        let keys = keys(&[OLD]);
        let own = binding(Some("acme"), "llm.example");
        let sealed = keys.seal(&own, SECRET, &random(1));
        assert_eq!(keys.open(&own, &sealed).as_deref(), Ok(SECRET));
        let other_id = Binding {
            credential_id: Uuid::from_u128(8),
            ..own
        };
        let other_upstream = Binding {
            upstream: "other",
            ..own
        };
        for other in [
            binding(Some("globex"), "llm.example"),
            binding(None, "llm.example"),
            binding(Some("acme"), "evil.example"),
            other_id,
            other_upstream,
        ] {
            assert_eq!(
                keys.open(&other, &sealed),
                Err(Unopened::Broken),
                "{other:?}"
            );
        }
    }

    #[test]
    fn no_byte_can_be_changed_and_the_secret_is_in_none() {
        let keys = keys(&[OLD]);
        let own = binding(None, "llm.example");
        let sealed = keys.seal(&own, SECRET, &random(1));
        let is_in = |bytes: &[u8]| {
            bytes
                .windows(SECRET.len())
                .any(|part| part == SECRET.as_bytes())
        };
        assert!(!is_in(&sealed.sealed) && !is_in(&sealed.wrapped_key));
        for at in 0..sealed.sealed.len() {
            let mut bad = sealed.clone();
            bad.sealed[at] ^= 1;
            assert_eq!(keys.open(&own, &bad), Err(Unopened::Broken));
        }
        for at in 0..sealed.wrapped_key.len() {
            let mut bad = sealed.clone();
            bad.wrapped_key[at] ^= 1;
            assert_eq!(keys.open(&own, &bad), Err(Unopened::Broken));
        }
        let empty = Sealed {
            sealed: Vec::new(),
            ..sealed
        };
        assert_eq!(keys.open(&own, &empty), Err(Unopened::Broken));
    }

    #[test]
    fn a_master_key_is_rotated_without_touching_the_secret() {
        let own = binding(Some("acme"), "llm.example");
        let sealed = keys(&[OLD]).seal(&own, SECRET, &random(1));
        let both = keys(&[NEW, OLD]);
        assert_eq!(both.open(&own, &sealed).as_deref(), Ok(SECRET));
        let moved = both.rewrap(&own, &sealed, [9; NONCE_LEN]).unwrap().unwrap();
        assert_eq!(moved.sealed, sealed.sealed);
        assert_eq!(both.rewrap(&own, &moved, [9; NONCE_LEN]), Ok(None));
        let new = keys(&["# the old one is gone", "", NEW]);
        assert_eq!(new.open(&own, &moved).as_deref(), Ok(SECRET));
        assert_eq!(new.open(&own, &sealed), Err(Unopened::UnknownMasterKey));
        assert_eq!(
            new.rewrap(&own, &sealed, [9; NONCE_LEN]),
            Err(Unopened::UnknownMasterKey)
        );
    }

    #[test]
    fn short_and_missing_master_keys_are_refused_and_none_shows_itself() {
        for wrong in ["", "# only a comment", "short", &format!("{OLD}\nshort")] {
            assert!(MasterKeys::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(format!("{:?}", keys(&[OLD, NEW])), "MasterKeys(2)");
    }
}
