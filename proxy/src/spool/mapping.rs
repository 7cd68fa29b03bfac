//! The memory of a segment that is being written: the only unsafe code of the spool.
//!
//! A [`Writer`] is the one writer of its mapping (it is not `Clone`, appending needs `&mut`), so two
//! appends never touch the same bytes and a read below the tail never meets a write. The mapping itself
//! is shared with the threads that sync and populate it; those only hand its addresses to the kernel.
#![expect(unsafe_code, reason = "a mapped file is written through raw pointers")]

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};

use super::record::{Draft, HEADER_BYTES, MARKER};

/// Syncing and populating work in steps of this; a kernel with larger pages only rounds further.
const PAGE_BYTES: usize = 4096;

/// A shared mapping of a whole, really allocated segment file.
pub(super) struct Mapping {
    raw: MmapRaw,
}

impl Mapping {
    /// Writes the pages of this range to the disk and waits for it.
    pub(super) fn sync(&self, from: usize, to: usize) -> io::Result<()> {
        let start = from - from % PAGE_BYTES;
        self.raw.flush_range(start, to - start)
    }

    /// Gives the whole pages of this range back to the kernel, what was written to them with them: nothing is
    /// appended there any more. Writing a page to the disk then finds nobody who might store into it meanwhile;
    /// it would take the right to store from each mapped page by itself, with an interrupt of every processor
    /// that runs this process. Best effort.
    pub(super) fn release(&self, from: usize, to: usize) {
        let (start, end) = (from - from % PAGE_BYTES, to - to % PAGE_BYTES);
        if start >= end {
            return;
        }
        // Elsewhere the advice may throw away what was written.
        #[cfg(target_os = "linux")]
        // SAFETY: of a shared mapping of a file the kernel keeps the pages with what they hold; who reads here
        // later finds it again.
        let _ = unsafe {
            self.raw
                .unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start)
        };
    }

    /// Takes the page faults of this range now, so that no append has to. Best effort.
    pub(super) fn populate(&self, from: usize, to: usize) {
        let start = from - from % PAGE_BYTES;
        let to = to.min(self.raw.len());
        if start >= to {
            return;
        }
        // Kernels before 5.14 do not know the advice; appends then take the faults themselves.
        #[cfg(target_os = "linux")]
        let _ = self
            .raw
            .advise_range(memmap2::Advice::PopulateWrite, start, to - start);
    }
}

/// Gives the file its length with blocks that are its own: a store into a sparse file on a full disk
/// would kill the process, so the full disk has to be an error here.
#[cfg(target_os = "linux")]
pub(super) fn allocate(file: &File, bytes: usize) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let length = libc::off_t::try_from(bytes).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open for the length of the call, which takes no pointers.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Gives the file its length with blocks that are its own, by writing zeros: this system has no
/// `posix_fallocate`.
#[cfg(not(target_os = "linux"))]
pub(super) fn allocate(file: &File, bytes: usize) -> io::Result<()> {
    use std::os::unix::fs::FileExt;

    let zeros = vec![0; 1 << 16];
    let mut offset = 0;
    while offset < bytes {
        let step = zeros.len().min(bytes - offset);
        file.write_all_at(&zeros[..step], offset as u64)?;
        offset += step;
    }
    Ok(())
}

/// The writing end of a segment.
pub(super) struct Writer {
    mapping: Arc<Mapping>,
    nonce: u64,
    tail: usize,
}

impl Writer {
    /// Maps `bytes` of the file, whose blocks the caller has allocated; appends begin at `tail`.
    pub(super) fn new(file: &File, bytes: usize, nonce: u64, tail: usize) -> io::Result<Self> {
        let raw = MmapOptions::new().len(bytes).map_raw(file)?;
        let mapping = Arc::new(Mapping { raw });
        Ok(Self {
            mapping,
            nonce,
            tail,
        })
    }

    /// The mapping, for syncing and populating.
    pub(super) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Where the next record will begin.
    pub(super) fn tail(&self) -> usize {
        self.tail
    }

    /// The segment's nonce.
    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Bytes left.
    pub(super) fn remaining(&self) -> usize {
        self.mapping.raw.len() - self.tail
    }

    /// Appends a record and gives its offset, or nothing when it does not fit.
    ///
    /// When this returns, the record survives the death of the process at any instant; until its last
    /// instruction, it is a gap.
    pub(super) fn append(&mut self, draft: &Draft<'_>, epoch: u64, seq: u64) -> Option<usize> {
        let bytes = draft.bytes();
        if bytes > self.remaining() {
            return None;
        }
        let offset = self.tail;
        let header = draft.header(epoch, seq, offset, self.nonce);
        // SAFETY: `offset + bytes` is within the mapping, which lives as long as `self` and is backed by
        // allocated blocks. Nothing else accesses bytes at or above the tail. The address is aligned for
        // the marker: mappings begin at a page, records at multiples of 16.
        unsafe {
            let start = self.mapping.raw.as_mut_ptr().add(offset);
            std::ptr::copy_nonoverlapping(header.as_ptr().add(4), start.add(4), HEADER_BYTES - 4);
            let mut to = start.add(HEADER_BYTES);
            for part in draft.parts().iter().filter(|part| !part.is_empty()) {
                std::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
                to = to.add(part.len());
            }
            AtomicU32::from_ptr(start.cast()).store(MARKER.to_le(), Ordering::Release);
        }
        self.tail = offset + bytes;
        Some(offset)
    }

    /// A copy of what was appended from `from` on.
    pub(super) fn copy_from(&self, from: usize) -> Vec<u8> {
        let from = from.min(self.tail);
        let mut copy = vec![0; self.tail - from];
        // SAFETY: the range lies below the tail, where no byte is written any more.
        unsafe {
            let start = self.mapping.raw.as_mut_ptr().add(from);
            std::ptr::copy_nonoverlapping(start, copy.as_mut_ptr(), copy.len());
        }
        copy
    }
}
