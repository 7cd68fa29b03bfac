//! What is set once for the whole process; also that its memory, which holds what callers say while it
//! passes, is never written to disk as a core dump.

/// Descriptors the table is grown to at the start: a process with threads stalls for milliseconds
/// each time it doubles later.
const DESCRIPTORS_MIN: u64 = 65_536;

/// Raises the soft limit and touches a high descriptor once.
#[expect(
    unsafe_code,
    reason = "resource limits and descriptors have no safe interface in std"
)]
pub(crate) fn grow_descriptor_table() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls only read or write the struct that is passed.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return;
        }
        limit.rlim_cur = limit.rlim_max.min(1 << 20);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
    let highest = limit.rlim_cur.min(DESCRIPTORS_MIN).saturating_sub(1);
    let Ok(highest) = i32::try_from(highest) else {
        return;
    };
    // SAFETY: F_DUPFD takes the lowest free descriptor at or above `highest`, so nothing open is
    // replaced; the copy is ours alone and closed at once.
    unsafe {
        let copy = libc::fcntl(2, libc::F_DUPFD, highest);
        if copy >= 0 {
            libc::close(copy);
        }
    }
}

/// Keeps memory in small pages; call it first. A slow stream holds blocks of a few KiB that it hardly
/// touches, and where the allocator asks for huge pages all of them count: 27 KiB a stream instead of
/// 18.
#[expect(unsafe_code, reason = "prctl has no safe interface in std")]
pub fn use_small_pages() {
    #[cfg(target_os = "linux")]
    // SAFETY: takes numbers only and changes how later page faults are served.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// Lowers the limit on core dumps to nothing, for this process and for good.
#[expect(unsafe_code, reason = "resource limits have no safe interface in std")]
pub(crate) fn forbid_core_dumps() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the call only reads the struct that is passed.
    if unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) } != 0 {
        tracing::warn!("core dumps cannot be forbidden");
    }
}
