//! Who is calling: the virtual key a request presents, and the row it belongs to.
//!
//! A key that was verified before costs one SHA-256 and one look-up, and allocates nothing. A cold
//! one is checked by its tail first, so that only a key of this deployment ever reaches argon2,
//! which runs on threads of its own. No key is logged or kept; what stays is a digest.

use std::net::IpAddr;
use std::sync::Arc;

use farebox_pricing::key;
use farebox_pricing::time::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::config::Secret;
use crate::directory::{Directory, KeyRow, unix_millis};
use crate::failure::{Code, Refusal};

mod presented;
mod verify;

pub use presented::{
    CREDENTIAL_HEADERS, CREDENTIAL_QUERY, Carrier, Presented, WEBSOCKET_PROTOCOL,
    WEBSOCKET_PROTOCOL_START, find_presented, is_credential_protocol,
};
use verify::Verifiers;

/// The scope that lets a key call providers.
pub const SCOPE_PROXY: &str = "proxy";
/// Seconds after which a caller may try again when too many keys are being verified.
const BUSY_RETRY_SECONDS: u64 = 1;

/// What is known of a presented value without waiting.
#[derive(Debug)]
pub enum Lookup {
    /// Verified before, and good now.
    Known(Arc<KeyRow>),
    /// Not good, whatever argon2 would say.
    Refused(Refusal),
    /// [`Identity::verify`] has to say.
    Cold,
}

/// A key that a request showed, as it is found again: enough to know it by, and no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown {
    prefix: Box<str>,
    digest: [u8; 32],
}

impl Shown {
    /// `None` where the value has not the shape of a key.
    #[must_use]
    pub fn of(presented: &Presented<'_>) -> Option<Self> {
        Some(Self {
            prefix: key::prefix(&presented.value)?.into(),
            digest: digest(&presented.value),
        })
    }

    /// The prefix by which its row is found.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether this is the key of a row, verified before, and good now. Whatever else there is to say of it,
    /// [`Identity::authenticate`] says.
    #[must_use]
    pub fn is_good_for(&self, row: &KeyRow, peer: IpAddr, now: impl FnOnce() -> Timestamp) -> bool {
        row.remembered.is(&self.digest) && refusal_of(row, peer, now).is_none()
    }
}

/// A secret of the keys' tails is shorter than a secret may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySecretTooShort;

impl std::fmt::Display for KeySecretTooShort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "a key secret has fewer than {} bytes",
            key::SECRET_BYTES_MIN
        )
    }
}

impl std::error::Error for KeySecretTooShort {}

/// Finds the row a key belongs to. One for the process; every worker uses it.
pub struct Identity {
    directory: Arc<Directory>,
    secrets: Vec<key::Secret>,
    verifiers: Verifiers,
}

impl Identity {
    /// Over the directory, with the secrets of the tails; starts the verifying threads.
    pub fn new(directory: Arc<Directory>, secrets: &[Secret]) -> Result<Self, KeySecretTooShort> {
        let secrets: Option<Vec<key::Secret>> = secrets
            .iter()
            .map(|secret| key::Secret::new(secret.expose().as_bytes()))
            .collect();
        Ok(Self {
            directory,
            secrets: secrets.ok_or(KeySecretTooShort)?,
            verifiers: Verifiers::start(),
        })
    }

    /// The row of a presented key, at once for a key that was verified before.
    pub async fn authenticate(
        &self,
        presented: &Presented<'_>,
        peer: IpAddr,
    ) -> Result<Arc<KeyRow>, Refusal> {
        let now = Timestamp::from_millis(unix_millis());
        match self.lookup(&presented.value, peer, now) {
            Lookup::Known(row) => Ok(row),
            Lookup::Refused(refusal) => Err(refusal),
            Lookup::Cold => self.verify(&presented.value, peer, now).await,
        }
    }

    /// The id of a key that this deployment signed, whatever has become of it.
    #[must_use]
    pub fn key_id_of(&self, presented: &str) -> Option<Uuid> {
        let row = self.row(presented).ok()?;
        row.remembered.is(&digest(presented)).then_some(row.key_id)
    }

    /// The answer without waiting, when there is one.
    #[must_use]
    pub fn lookup(&self, presented: &str, peer: IpAddr, now: Timestamp) -> Lookup {
        let row = match self.row(presented) {
            Ok(row) => row,
            Err(refusal) => return Lookup::Refused(refusal),
        };
        if !row.remembered.is(&digest(presented)) {
            return Lookup::Cold;
        }
        match refusal_of(&row, peer, || now) {
            Some(refusal) => Lookup::Refused(refusal),
            None => Lookup::Known(row),
        }
    }

    /// The answer, waiting for argon2 where the key is new to this process.
    pub async fn verify(
        &self,
        presented: &str,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<Arc<KeyRow>, Refusal> {
        let verified = self.row(presented)?;
        let digest = digest(presented);
        if !verified.remembered.is(&digest) {
            if !key::tail_is_valid(presented, &self.secrets) {
                return Err(Code::InvalidKey.into());
            }
            match self.verifiers.verify(presented, digest, &verified).await {
                Ok(true) => {}
                Ok(false) => return Err(Code::InvalidKey.into()),
                Err(verify::Busy) => return Err(busy()),
            }
        }
        // What happened to the key meanwhile counts.
        let row = self.row(presented)?;
        if row.secret_hash != verified.secret_hash {
            return Err(busy());
        }
        row.remembered.remember(digest);
        match refusal_of(&row, peer, || now) {
            Some(refusal) => Err(refusal),
            None => Ok(row),
        }
    }

    fn row(&self, presented: &str) -> Result<Arc<KeyRow>, Refusal> {
        let prefix = key::prefix(presented).ok_or(Code::InvalidKey)?;
        match self.directory.key_by_prefix(prefix) {
            Some(row) => Ok(row),
            // Without a directory nobody's key can be judged, and a 401 would make clients give up.
            None if !self.directory.is_loaded() => Err(busy()),
            None => Err(Code::InvalidKey.into()),
        }
    }
}

fn busy() -> Refusal {
    Refusal::new(Code::AuthenticationBusy).retry_after(BUSY_RETRY_SECONDS)
}

fn digest(presented: &str) -> [u8; 32] {
    Sha256::digest(presented.as_bytes()).into()
}

fn refusal_of(row: &KeyRow, peer: IpAddr, now: impl FnOnce() -> Timestamp) -> Option<Refusal> {
    if row.revoked_at.is_some() {
        return Some(Code::RevokedKey.into());
    }
    if row.expires_at.is_some_and(|expires_at| expires_at <= now()) {
        return Some(Code::ExpiredKey.into());
    }
    if !row.may_come_from(peer) {
        return Some(Code::NetworkNotAllowed.into());
    }
    if !row.has_scope(SCOPE_PROXY) {
        let refusal = Refusal::new(Code::RouteNotAllowed);
        return Some(refusal.with_detail("The virtual key lacks the scope `proxy`."));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use argon2::password_hash::{PasswordHasher, SaltString};
    use argon2::{Algorithm, Argon2, Params, Version};
    use farebox_pricing::key::{KeySecrets, RANDOM_BYTES, VirtualKey};

    use super::*;
    use crate::directory::tests::key_row;
    use crate::directory::{Change, Content, Network};

    const SECRET: &str = "a secret of thirty-two characters";
    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn now() -> Timestamp {
        Timestamp::from_millis(1_795_317_480_123)
    }

    fn issue(random: u8) -> (String, KeyRow) {
        let secrets = KeySecrets::parse(SECRET).unwrap();
        let key = VirtualKey::generate(&[random; RANDOM_BYTES], &secrets);
        let params = Params::new(64, 1, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let salt = SaltString::encode_b64(b"salt of the test").unwrap();
        let hash = argon2
            .hash_password(key.reveal().as_bytes(), &salt)
            .unwrap();
        let row = KeyRow {
            key_id: Uuid::from_u128(random.into()),
            ..key_row(key.prefix(), &hash.to_string())
        };
        (key.reveal().to_owned(), row)
    }

    fn identity(rows: Vec<KeyRow>) -> (Arc<Directory>, Identity) {
        let directory = Arc::new(Directory::new());
        directory.replace(
            Content {
                keys: rows,
                ..Content::default()
            },
            1,
        );
        let identity =
            Identity::new(Arc::clone(&directory), &[Secret::new(SECRET.into())]).unwrap();
        (directory, identity)
    }

    fn code(lookup: Lookup) -> Option<Code> {
        match lookup {
            Lookup::Refused(refusal) => Some(refusal.code),
            Lookup::Known(_) | Lookup::Cold => None,
        }
    }

    #[tokio::test]
    async fn a_key_is_cold_once_and_then_known() {
        let (key, row) = issue(1);
        let (_, identity) = identity(vec![row]);
        assert!(matches!(identity.lookup(&key, PEER, now()), Lookup::Cold));
        let row = identity.verify(&key, PEER, now()).await.unwrap();
        assert_eq!(row.key_id, Uuid::from_u128(1));
        assert!(matches!(
            identity.lookup(&key, PEER, now()),
            Lookup::Known(_)
        ));
        let mut headers = http::HeaderMap::new();
        headers.insert("x-api-key", key.parse().unwrap());
        let presented = find_presented(&headers, None).unwrap();
        assert!(identity.authenticate(&presented, PEER).await.is_ok());
        assert_eq!(identity.verifiers.verified(), 1);
    }

    #[tokio::test]
    async fn what_is_no_key_of_ours_never_reaches_argon2() {
        let (key, row) = issue(1);
        let (_, identity) = identity(vec![row]);
        let mut forged = key.clone();
        let last = if forged.ends_with('A') { "B" } else { "A" };
        forged.replace_range(34..35, last);
        for wrong in [
            forged.as_str(),
            "vk_",
            "vk_é",
            "",
            &issue(2).0,
            &key.to_lowercase(),
        ] {
            let refused = identity.verify(wrong, PEER, now()).await.unwrap_err();
            assert_eq!(refused.code, Code::InvalidKey, "{}", wrong.len());
        }
        assert_eq!(identity.verifiers.verified(), 0);
    }

    #[tokio::test]
    async fn a_right_tail_with_a_wrong_hash_is_invalid() {
        let (key, row) = issue(1);
        let other = KeyRow {
            secret_hash: issue(2).1.secret_hash,
            ..row
        };
        let (_, identity) = identity(vec![other]);
        let refused = identity.verify(&key, PEER, now()).await.unwrap_err();
        assert_eq!(refused.code, Code::InvalidKey);
        assert!(matches!(identity.lookup(&key, PEER, now()), Lookup::Cold));
    }

    #[tokio::test]
    async fn a_verified_key_is_refused_as_soon_as_its_row_says_so() {
        let (key, row) = issue(1);
        let (directory, identity) = identity(vec![row.clone()]);
        let shown = Shown {
            prefix: row.prefix.as_str().into(),
            digest: digest(&key),
        };
        let is_good = || {
            let row = directory.key_by_prefix(shown.prefix());
            row.is_some_and(|row| shown.is_good_for(&row, PEER, now))
        };
        assert!(!is_good());
        identity.verify(&key, PEER, now()).await.unwrap();
        let check = |change: KeyRow, expected: Option<Code>| {
            directory.apply(vec![Change::Key(change.key_id, Some(change))]);
            assert_eq!(is_good(), expected.is_none());
            assert_eq!(code(identity.lookup(&key, PEER, now())), expected);
        };
        check(
            KeyRow {
                revoked_at: Some(now()),
                ..row.clone()
            },
            Some(Code::RevokedKey),
        );
        check(
            KeyRow {
                expires_at: Some(now()),
                ..row.clone()
            },
            Some(Code::ExpiredKey),
        );
        let later = Timestamp::from_millis(now().as_millis() + 1);
        check(
            KeyRow {
                expires_at: Some(later),
                ..row.clone()
            },
            None,
        );
        let networks = Some(vec![Network::new("10.0.0.0/8")]);
        check(
            KeyRow {
                networks,
                ..row.clone()
            },
            Some(Code::NetworkNotAllowed),
        );
        check(
            KeyRow {
                scopes: vec!["admin".into()],
                ..row.clone()
            },
            Some(Code::RouteNotAllowed),
        );
        check(row.clone(), None);
        assert!(matches!(
            identity.lookup(&key, PEER, now()),
            Lookup::Known(_)
        ));
        directory.apply(vec![Change::Key(row.key_id, None)]);
        assert!(!is_good());
        assert_eq!(
            code(identity.lookup(&key, PEER, now())),
            Some(Code::InvalidKey)
        );
    }

    #[tokio::test]
    async fn an_empty_directory_is_not_a_wrong_key() {
        let directory = Arc::new(Directory::new());
        let identity = Identity::new(directory, &[Secret::new(SECRET.into())]).unwrap();
        let refused = identity.verify(&issue(1).0, PEER, now()).await.unwrap_err();
        assert_eq!(refused.code, Code::AuthenticationBusy);
    }

    #[tokio::test]
    async fn many_at_once_with_one_key_share_one_verification() {
        let (key, row) = issue(1);
        let (_, identity) = identity(vec![row]);
        let all = (0..200).map(|_| identity.verify(&key, PEER, now()));
        for result in futures_util::future::join_all(all).await {
            result.unwrap();
        }
        assert_eq!(identity.verifiers.verified(), 1);
    }

    #[tokio::test]
    async fn a_warm_key_among_a_hundred_thousand_is_known_within_a_millisecond() {
        const KEYS: u32 = 100_000;
        const LOOKUPS: usize = 20_000;
        const WITHIN: std::time::Duration = std::time::Duration::from_millis(1);
        let (key, row) = issue(1);
        let others = (0..KEYS).map(|number| KeyRow {
            key_id: Uuid::from_u128(1_000 + u128::from(number)),
            ..key_row(&format!("vk_{number:05}"), "hash")
        });
        let (_, identity) = identity(others.chain([row]).collect());
        identity.verify(&key, PEER, now()).await.unwrap();
        let mut took: Vec<_> = (0..LOOKUPS)
            .map(|_| {
                let started = std::time::Instant::now();
                let found = identity.lookup(&key, PEER, now());
                let took = started.elapsed();
                assert!(matches!(found, Lookup::Known(_)));
                took
            })
            .collect();
        took.sort_unstable();
        let p99 = took[LOOKUPS / 100 * 99];
        println!("p99 of a warm key among {KEYS}: {p99:?}");
        assert!(p99 < WITHIN, "{p99:?}");
    }

    /// Prints what a warm key costs: `cargo test --release -- --ignored --nocapture warm`.
    #[tokio::test]
    #[ignore = "a measurement, not a check"]
    async fn a_warm_key_costs() {
        const ROUNDS: u32 = 200_000;
        let (key, row) = issue(1);
        let (_, identity) = identity(vec![row]);
        identity.verify(&key, PEER, now()).await.unwrap();
        let started = std::time::Instant::now();
        for _ in 0..ROUNDS {
            assert!(matches!(
                identity.lookup(&key, PEER, now()),
                Lookup::Known(_)
            ));
        }
        println!("{:?} a look-up", started.elapsed() / ROUNDS);
    }

    #[test]
    fn a_short_secret_is_refused() {
        let directory = Arc::new(Directory::new());
        assert!(Identity::new(directory, &[Secret::new("short".into())]).is_err());
    }
}
