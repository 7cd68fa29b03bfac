//! Blocks of a file's own, before anything is written to it.
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "the system call has no wrapper in what we use")
)]

use std::fs::File;
use std::io;

/// Gives the file its length with blocks that are its own, so that a full disk is an error here and not where
/// what was promised room is written.
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
