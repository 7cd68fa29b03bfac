//! Segment files: their names, how one is made for real, how records are read back.
//!
//! The nonce and the version are part of the file's name, so that no flipped bit inside can make a whole
//! segment unreadable. Segments are read and written plainly, never through a mapping: another process that cuts a
//! file short costs records, not this process.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::record::{HEADER_BYTES, Head, Place, Record};

/// Bytes at the front of a segment, before its first record.
pub(super) const PREFIX_BYTES: usize = 64;
/// What a segment file begins with, for people; only its name is read.
const PREFIX: &[u8] = b"farebox spool segment\n";
/// How the name of every version's segments ends.
const SUFFIX: &str = ".segment";
/// The version of the layout, before [`SUFFIX`].
const VERSION: &str = ".v1";
/// The name a segment has until it is whole.
const UNFINISHED: &str = "unfinished.tmp";

/// A segment file in a spool directory.
#[derive(Clone, Debug)]
pub(super) struct SegmentFile {
    pub(super) id: u32,
    pub(super) nonce: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// A segment that is open for writing.
pub(super) struct Segment {
    pub(super) file: SegmentFile,
    pub(super) writer: File,
}

impl Segment {
    /// The place of a record at this offset of it.
    pub(super) fn place(&self, offset: usize) -> Place {
        Place {
            segment: self.file.id,
            offset,
            nonce: self.file.nonce,
        }
    }
}

/// Makes a segment: blocks allocated, on disk, in the directory for good.
///
/// It is made under another name and renamed when whole; `unfinished` keeps two makers apart.
pub(super) fn create(directory: &Path, id: u32, bytes: usize) -> io::Result<Segment> {
    let nonce = RandomState::new().build_hasher().finish();
    let path = directory.join(format!("{id:010}-{nonce:016x}{VERSION}{SUFFIX}"));
    let unfinished = directory.join(format!("{id:010}-{UNFINISHED}"));
    let made = allocate(&unfinished, bytes).and_then(|file| {
        file.write_all_at(PREFIX, 0)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        sync_directory(directory)?;
        Ok(file)
    });
    match made {
        Ok(writer) => {
            let file = SegmentFile {
                id,
                nonce,
                path,
                bytes: bytes as u64,
            };
            Ok(Segment { file, writer })
        }
        Err(error) => {
            // Neither may stay: a leftover would count against the disk.
            let _ = fs::remove_file(&unfinished);
            let _ = fs::remove_file(&path);
            Err(error)
        }
    }
}

fn allocate(path: &Path, bytes: usize) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    super::allocation::allocate(&file, bytes)?;
    Ok(file)
}

/// Makes the directory's entries durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// All whole segments, oldest first. Unfinished ones are left alone.
pub(super) fn list(directory: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)) else {
            continue;
        };
        let Some((id, nonce)) = parse_name(name) else {
            let message = format!("spool segment {name}: of another version than {VERSION}");
            return Err(io::Error::new(ErrorKind::Unsupported, message));
        };
        let bytes = match entry.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        found.push(SegmentFile {
            id,
            nonce,
            path: entry.path(),
            bytes,
        });
    }
    found.sort_by_key(|segment| segment.id);
    Ok(found)
}

/// Removes segments that never became whole.
pub(super) fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.ends_with(UNFINISHED))
        {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn parse_name(name: &str) -> Option<(u32, u64)> {
    let (id, nonce) = name.strip_suffix(VERSION)?.split_once('-')?;
    Some((id.parse().ok()?, u64::from_str_radix(nonce, 16).ok()?))
}

/// The bytes of one record, whole or not; empty when there is none.
pub(super) fn read_at(file: &File, offset: usize) -> io::Result<Vec<u8>> {
    let mut header = vec![0; HEADER_BYTES];
    if let Err(error) = file.read_exact_at(&mut header, offset as u64) {
        return if error.kind() == ErrorKind::UnexpectedEof {
            Ok(Vec::new())
        } else {
            Err(error)
        };
    }
    let Some(head) = Head::read(&header) else {
        return Ok(Vec::new());
    };
    let length = file.metadata()?.len();
    if offset as u64 + head.bytes() as u64 > length {
        return Ok(header);
    }
    header.resize(head.bytes(), 0);
    file.read_exact_at(&mut header[HEADER_BYTES..], (offset + HEADER_BYTES) as u64)?;
    Ok(header)
}

/// The bytes of one record of a segment, as [`read_at`] gives them.
pub(super) fn read_from(segment: &SegmentFile, offset: usize) -> io::Result<Vec<u8>> {
    read_at(&File::open(&segment.path)?, offset)
}

/// Checks what [`read_at`] gave.
pub(super) fn check(bytes: &[u8], offset: usize, nonce: u64) -> Option<Record<'_>> {
    Record::check(bytes, offset, nonce)
}
