//! The last good copy on disk: written beside and renamed, readable by its owner only, and proven
//! by an HMAC, so that nobody who can only write the file can grant himself a key.
//!
//! It holds hashes of keys, never keys, and provider credentials only as the vault sealed them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::cards::KeptCard;
use super::{Content, CredentialRow, Held, KeyRow, Limit, Tenant, cards};
use crate::config::Secret;

/// First word of the file; another word is another format.
const HEADING: &str = "farebox-directory-1";
/// Hexadecimal digits of the proof.
const PROOF_CHARS: usize = 64;
/// Bytes written and proven at one time.
const PIECE_BYTES: usize = 64 * 1024;
/// A larger file is not read.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The proof of a copy.
pub(super) type Proof = [u8; PROOF_CHARS / 2];

/// A copy that was read.
pub(super) struct Loaded {
    /// What it holds.
    pub(super) content: Content,
    /// When that was known to be current.
    pub(super) current_at_millis: i64,
    /// Its proof, and the secret that made it.
    pub(super) proof: Proof,
    pub(super) secret: Secret,
}

/// As it is written.
#[derive(Serialize)]
struct Written<'a> {
    current_at_millis: i64,
    tenants: &'a [Arc<Tenant>],
    keys: &'a [Arc<KeyRow>],
    limits: &'a [Arc<Limit>],
    credentials: &'a [Arc<CredentialRow>],
    #[serde(skip_serializing_if = "Option::is_none")]
    cards: Option<Vec<KeptCard>>,
}

/// As it is read.
#[derive(Deserialize)]
struct Body {
    current_at_millis: i64,
    tenants: Vec<Tenant>,
    keys: Vec<KeyRow>,
    limits: Vec<Limit>,
    #[serde(default)]
    credentials: Vec<CredentialRow>,
    #[serde(default)]
    cards: Option<Vec<KeptCard>>,
}

/// Writes on and proves what it has written.
struct Proving {
    file: File,
    mac: Hmac<Sha256>,
}

impl Write for Proving {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.mac.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes the copy. Blocking: for the background only.
pub(super) fn save(
    path: &Path,
    held: &Held,
    current_at_millis: i64,
    secrets: &[Secret],
) -> io::Result<Proof> {
    let Some(secret) = secrets.first() else {
        return Err(io::Error::other(
            "directory copy: no key secret to prove it with",
        ));
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let beside = path.with_extension("new");
    // A leftover of a crash may have other permissions.
    if let Err(error) = fs::remove_file(&beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    // The proof stands first and is known last.
    let heading = |proof: &str| format!("{HEADING} {proof}\n");
    file.write_all(heading(&"0".repeat(PROOF_CHARS)).as_bytes())?;
    // In large pieces: a proof over single words takes many times as long.
    let proving = Proving {
        file,
        mac: mac(secret),
    };
    let mut proving = BufWriter::with_capacity(PIECE_BYTES, proving);
    let written = Written {
        current_at_millis,
        tenants: &held.tenants,
        keys: &held.keys,
        limits: &held.limits,
        credentials: &held.credentials,
        cards: held.cards.as_ref().map(cards::kept),
    };
    serde_json::to_writer(&mut proving, &written)?;
    let Proving { mut file, mac } = proving.into_inner()?;
    let proof: Proof = mac.finalize().into_bytes().into();
    file.seek(SeekFrom::Start(0))?;
    file.write_all(heading(&hex(&proof)).as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()?;
    Ok(proof)
}

/// Reads the copy; `Ok(None)` when there is none. Any of the secrets may prove it.
pub(super) fn load(path: &Path, secrets: &[Secret]) -> io::Result<Option<Loaded>> {
    let bytes = match fs::metadata(path) {
        Ok(file) if file.len() > BYTES_MAX => return Err(broken("is too large")),
        Ok(_) => fs::read(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (heading, body) = bytes.split_at(end.ok_or_else(|| broken("has no heading"))?);
    let body = &body[1..];
    let heading = std::str::from_utf8(heading).map_err(|_| broken("has no heading"))?;
    let proof: Proof = heading
        .strip_prefix(HEADING)
        .and_then(|rest| rest.strip_prefix(' '))
        .and_then(unhex)
        .and_then(|proof| proof.try_into().ok())
        .ok_or_else(|| broken("has another format"))?;
    let proven = secrets.iter().find(|secret| {
        let mac = mac(secret).chain_update(body);
        mac.verify_slice(&proof).is_ok()
    });
    let secret = proven
        .ok_or_else(|| broken("fails its integrity check"))?
        .clone();
    let body: Body = serde_json::from_slice(body)?;
    let content = Content {
        tenants: body.tenants,
        keys: body.keys,
        limits: body.limits,
        credentials: body.credentials,
        cards: body.cards.map(cards::from_kept),
    };
    Ok(Some(Loaded {
        content,
        current_at_millis: body.current_at_millis,
        proof,
        secret,
    }))
}

fn broken(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("directory copy: {how}"))
}

pub(super) fn mac(secret: &Secret) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("an HMAC takes a key of any length");
    // Apart from every other use of the secret.
    mac.update(HEADING.as_bytes());
    mac
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..bytes.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::{key_row, limit};
    use super::super::{Directory, TenantStatus, WindowKind};
    use super::*;
    use farebox_pricing::id::TenantId;

    fn content() -> Content {
        let settings = serde_json::json!({"stream_usage": "ask"});
        Content {
            tenants: vec![Tenant::new(
                TenantId::new("acmé").unwrap(),
                TenantStatus::Active,
                settings,
            )],
            keys: vec![key_row("vk_ABCDE", "$argon2id$x")],
            limits: vec![limit(1, Some("acmé"), 5, WindowKind::Minute)],
            credentials: Vec::new(),
            cards: None,
        }
    }

    fn held() -> Held {
        let directory = Directory::new();
        directory.replace(content(), 1);
        directory.held()
    }

    #[test]
    fn what_was_saved_is_loaded_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.json");
        let secrets = [Secret::new("new".into()), Secret::new("old".into())];
        assert!(load(&path, &secrets).unwrap().is_none());
        save(&path, &held(), 42, &secrets[1..]).unwrap();
        save(&path, &held(), 43, &secrets[1..]).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let loaded = load(&path, &secrets).unwrap().unwrap();
        assert_eq!(loaded.current_at_millis, 43);
        let loaded = loaded.content;
        // The cards are compared where they are kept.
        let expected = Content {
            cards: loaded.cards.clone(),
            ..content()
        };
        assert_eq!(format!("{loaded:?}"), format!("{expected:?}"));
        assert_eq!(loaded.keys[0].secret_hash, content().keys[0].secret_hash);
    }

    #[test]
    fn a_changed_byte_or_another_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.json");
        let secrets = [Secret::new("one".into())];
        save(&path, &held(), 42, &secrets).unwrap();
        assert!(load(&path, &[Secret::new("two".into())]).is_err());
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(load(&path, &secrets).is_err(), "byte {at}");
        }
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert!(load(&path, &secrets).is_err());
        fs::write(&path, b"").unwrap();
        assert!(load(&path, &secrets).is_err());
    }
}
