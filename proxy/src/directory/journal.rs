//! What has changed since the last whole copy on disk, appended line by line: one change costs one
//! change there too, however large the directory is.
//!
//! Each line is proven by an HMAC over the proof before it and its own text, the first over the whole
//! copy's proof. So what is read ends at the first line that was changed, moved, left out, torn, or
//! written behind another copy; what stands before it holds.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use farebox_pricing::id::TenantId;
use hmac::Mac;
use uuid::Uuid;

use super::copy::{Proof, hex, mac, unhex};
use super::{Change, Directory};
use crate::config::Secret;

/// Lines behind one whole copy; then the next whole one is written.
const LINES_MAX: usize = 20_000;
/// Changes kept for the next append; more than that are told by a whole copy.
const WAITING_MAX: usize = 10_000;

/// What a copy on disk lacks.
#[derive(Debug, Default)]
pub(super) struct Unsaved(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// More than single entities has changed.
    is_whole: bool,
    changed: Vec<Changed>,
}

/// An entity that has changed.
#[derive(Clone, Debug)]
enum Changed {
    Tenant(TenantId),
    Key(Uuid),
    Limit(Uuid),
    Credential(Uuid),
}

impl Unsaved {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, changes: &[Change]) {
        let mut waiting = self.lock();
        if waiting.changed.len() + changes.len() > WAITING_MAX {
            waiting.is_whole = true;
            return;
        }
        waiting
            .changed
            .extend(changes.iter().map(|change| match change {
                Change::Tenant(tenant_id, _) => Changed::Tenant(tenant_id.clone()),
                Change::Key(key_id, _) => Changed::Key(*key_id),
                Change::Limit(limit_id, _) => Changed::Limit(*limit_id),
                Change::Credential(credential_id, _) => Changed::Credential(*credential_id),
            }));
    }

    pub(super) fn note_whole(&self) {
        self.lock().is_whole = true;
    }

    pub(super) fn is_whole(&self) -> bool {
        self.lock().is_whole
    }

    pub(super) fn is_empty(&self) -> bool {
        let waiting = self.lock();
        !waiting.is_whole && waiting.changed.is_empty()
    }

    /// A whole copy is about to be written: it will have everything up to now.
    pub(super) fn take_all(&self) {
        *self.lock() = Waiting::default();
    }
}

impl Directory {
    /// What has changed by single entities, as it is now.
    pub(super) fn take_unsaved(&self) -> Vec<Change> {
        let changed = std::mem::take(&mut self.unsaved.lock().changed);
        let state = self.read();
        let changes = changed.into_iter().map(|changed| match changed {
            Changed::Tenant(id) => {
                let row = state.tenants.get(&id).map(|row| (**row).clone());
                Change::Tenant(id, row)
            }
            Changed::Key(id) => Change::Key(id, state.keys.get(&id).map(|row| (**row).clone())),
            Changed::Limit(id) => {
                Change::Limit(id, state.limits.get(&id).map(|row| (**row).clone()))
            }
            Changed::Credential(id) => {
                let mut rows = state.credentials.rows();
                let row = rows.find(|row| row.credential_id == id);
                Change::Credential(id, row.map(|row| (**row).clone()))
            }
        });
        changes.collect()
    }
}

/// The file behind a whole copy.
pub(super) struct Journal {
    file: File,
    secret: Secret,
    last: Proof,
    lines: usize,
}

fn path_of(copy: &Path) -> PathBuf {
    copy.with_extension("changes")
}

fn proof_of(secret: &Secret, last: &Proof, text: &[u8]) -> Proof {
    let mac = mac(secret).chain_update(last).chain_update(text);
    mac.finalize().into_bytes().into()
}

impl Journal {
    /// An empty one behind the copy with this proof.
    pub(super) fn begin(copy: &Path, secret: &Secret, proof: Proof) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(path_of(copy))?;
        Ok(Self {
            file,
            secret: secret.clone(),
            last: proof,
            lines: 0,
        })
    }

    /// Appends changes and says when they were true.
    pub(super) fn append(&mut self, at_millis: i64, changes: &[Change]) -> io::Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let mut last = self.last;
        for change in changes {
            let text = serde_json::to_vec(&(at_millis, change))?;
            last = proof_of(&self.secret, &last, &text);
            bytes.extend_from_slice(hex(&last).as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(&text);
            bytes.push(b'\n');
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.last = last;
        self.lines += changes.len();
        Ok(())
    }

    /// It is time for a whole copy.
    pub(super) fn is_full(&self) -> bool {
        self.lines >= LINES_MAX
    }
}

/// The changes behind a copy with this proof, and when the last of them was true.
pub(super) fn read(copy: &Path, secret: &Secret, proof: Proof) -> Vec<(i64, Change)> {
    let bytes = std::fs::read(path_of(copy)).unwrap_or_default();
    let mut changes = Vec::new();
    let mut last = proof;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some((told, text)) = split(line) else {
            break;
        };
        let proven = mac(secret).chain_update(last).chain_update(text);
        if proven.verify_slice(&told).is_err() {
            break;
        }
        let Ok(change) = serde_json::from_slice(text) else {
            break;
        };
        changes.push(change);
        last = told;
    }
    changes
}

fn split(line: &[u8]) -> Option<(Proof, &[u8])> {
    let line = line.strip_suffix(b"\n")?;
    let at = line.iter().position(|byte| *byte == b' ')?;
    let proof = unhex(std::str::from_utf8(&line[..at]).ok()?)?;
    Some((proof.try_into().ok()?, &line[at + 1..]))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::tests::{key_row, limit};
    use super::super::{Content, WindowKind, copy};
    use super::*;

    fn secrets() -> [Secret; 1] {
        [Secret::new("one".into())]
    }

    fn limit_change(amount: u64) -> Change {
        let limit = limit(1, None, amount, WindowKind::Day);
        Change::Limit(limit.limit_id, Some(limit))
    }

    fn amount(directory: &Directory) -> Option<String> {
        let limit = directory.limit(Uuid::from_u128(1))?;
        Some(limit.amount.to_string())
    }

    fn source(path: &Path) -> super::super::follow::Source {
        super::super::follow::Source {
            database_url: None,
            database_listen_url: None,
            copy: path.to_owned(),
            key_secrets: secrets().to_vec(),
            first_lease: None,
        }
    }

    #[test]
    fn changes_behind_a_copy_are_read_up_to_the_first_that_is_not_proven() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("directory.json");
        let directory = Directory::new();
        directory.replace(
            Content {
                keys: vec![key_row("vk_ABCDE", "$argon2id$x")],
                ..Content::default()
            },
            1,
        );
        let [secret] = secrets();
        let proof = copy::save(&path, &directory.held(), 1, &secrets()).unwrap();
        let mut journal = Journal::begin(&path, &secret, proof).unwrap();
        directory.unsaved.take_all();
        directory.apply(vec![limit_change(1)]);
        journal.append(2, &directory.take_unsaved()).unwrap();
        directory.apply(vec![limit_change(2)]);
        let key = directory.key_by_prefix("vk_ABCDE").unwrap().key_id;
        directory.apply(vec![Change::Key(key, None)]);
        journal.append(3, &directory.take_unsaved()).unwrap();
        assert!(directory.unsaved.is_empty());

        let file = path.with_extension("changes");
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let loaded = || {
            let loaded = Directory::new();
            loaded.load_copy(&source(&path));
            (
                amount(&loaded),
                loaded.key(key).is_some(),
                loaded.current_at_millis(),
            )
        };
        assert_eq!(loaded(), (Some("2".into()), false, 3));
        let good = std::fs::read(&file).unwrap();
        let first = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        // Torn in the last line.
        std::fs::write(&file, &good[..good.len() - 3]).unwrap();
        assert_eq!(loaded(), (Some("2".into()), true, 3));
        // Without the first line, and with a byte of it changed.
        std::fs::write(&file, &good[first..]).unwrap();
        assert_eq!(loaded(), (None, true, 1));
        let mut bad = good.clone();
        bad[first - 5] ^= 1;
        std::fs::write(&file, &bad).unwrap();
        assert_eq!(loaded(), (None, true, 1));
        // Behind another copy.
        std::fs::write(&file, &good).unwrap();
        copy::save(&path, &directory.held(), 9, &secrets()).unwrap();
        assert_eq!(loaded(), (Some("2".into()), false, 9));
    }
}
