//! The last good copy on disk: written beside and renamed, readable by its owner only, and proven
//! by an HMAC, so that nobody who can only write the file can grant himself a key.
//!
//! It holds hashes of keys, never keys.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::cards::KeptCard;
use super::{Content, KeyRow, Limit, Tenant, cards};
use crate::config::Secret;

/// First word of the file; another word is another format.
const HEADING: &str = "farebox-directory-1";
/// A larger file is not read.
const BYTES_MAX: u64 = 1024 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Body {
    current_at_millis: i64,
    tenants: Vec<Tenant>,
    keys: Vec<KeyRow>,
    limits: Vec<Limit>,
    #[serde(default)]
    cards: Option<Vec<KeptCard>>,
}

/// Writes the copy. Blocking: for the background only.
pub fn save(
    path: &Path,
    content: Content,
    current_at_millis: i64,
    secrets: &[Secret],
) -> io::Result<()> {
    let Some(secret) = secrets.first() else {
        return Err(io::Error::other(
            "directory copy: no key secret to prove it with",
        ));
    };
    let body = serde_json::to_vec(&Body {
        current_at_millis,
        tenants: content.tenants,
        keys: content.keys,
        limits: content.limits,
        cards: content.cards.as_ref().map(cards::kept),
    })?;
    let proof = hex(&mac(secret, &body).finalize().into_bytes());
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
    file.write_all(format!("{HEADING} {proof}\n").as_bytes())?;
    file.write_all(&body)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// Reads the copy; `Ok(None)` when there is none. Any of the secrets may prove it.
pub fn load(path: &Path, secrets: &[Secret]) -> io::Result<Option<(Content, i64)>> {
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
    let proof = heading
        .strip_prefix(HEADING)
        .and_then(|rest| rest.strip_prefix(' '))
        .and_then(unhex)
        .ok_or_else(|| broken("has another format"))?;
    let is_proven = secrets
        .iter()
        .any(|secret| mac(secret, body).verify_slice(&proof).is_ok());
    if !is_proven {
        return Err(broken("fails its integrity check"));
    }
    let body: Body = serde_json::from_slice(body)?;
    let content = Content {
        tenants: body.tenants,
        keys: body.keys,
        limits: body.limits,
        cards: body.cards.map(cards::from_kept),
    };
    Ok(Some((content, body.current_at_millis)))
}

fn broken(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("directory copy: {how}"))
}

fn mac(secret: &Secret, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes())
        .expect("an HMAC takes a key of any length");
    // Apart from every other use of the secret.
    mac.update(HEADING.as_bytes());
    mac.update(body);
    mac
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
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
    use super::super::{TenantStatus, WindowKind};
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
            cards: None,
        }
    }

    #[test]
    fn what_was_saved_is_loaded_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.json");
        let secrets = [Secret::new("new".into()), Secret::new("old".into())];
        assert!(load(&path, &secrets).unwrap().is_none());
        save(&path, content(), 42, &secrets[1..]).unwrap();
        save(&path, content(), 43, &secrets[1..]).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let (loaded, current_at) = load(&path, &secrets).unwrap().unwrap();
        assert_eq!(current_at, 43);
        assert_eq!(format!("{loaded:?}"), format!("{:?}", content()));
        assert_eq!(loaded.keys[0].secret_hash, content().keys[0].secret_hash);
    }

    #[test]
    fn a_changed_byte_or_another_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.json");
        let secrets = [Secret::new("one".into())];
        save(&path, content(), 42, &secrets).unwrap();
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
