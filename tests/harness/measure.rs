//! What a process and its children have used, read from `/proc`.

use std::path::Path;

use crate::Result;

/// Clock ticks a second of `/proc/PID/stat`: fixed by Linux's user interface.
const TICKS_PER_SECOND: u64 = 100;

/// A process with all its descendants.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    root: u32,
}

impl Family {
    /// The family of `root`.
    #[must_use]
    pub fn of(root: u32) -> Self {
        Self { root }
    }

    /// CPU used so far, user and system, in nanoseconds: all threads of all living members, and of
    /// the dead whose parent has waited for them.
    pub fn cpu_ns(self) -> Result<u64> {
        let mut ticks = 0;
        for pid in self.members()? {
            // A member may end between the listing and the reading.
            if let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
                ticks += fields(&stat).skip(10).take(4).sum::<u64>();
            }
        }
        Ok(ticks * (1_000_000_000 / TICKS_PER_SECOND))
    }

    /// Proportional set size in bytes, so that pages shared between members count once.
    pub fn memory_bytes(self) -> Result<u64> {
        let mut kib = 0;
        for pid in self.members()? {
            if let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
                kib += kib_of(&text, "Pss:").unwrap_or_default();
            }
        }
        Ok(kib * 1024)
    }

    /// Resident set size in bytes, members added up.
    pub fn resident_bytes(self) -> Result<u64> {
        let mut kib = 0;
        for pid in self.members()? {
            if let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
                kib += kib_of(&text, "VmRSS:").unwrap_or_default();
            }
        }
        Ok(kib * 1024)
    }

    /// The most that was ever resident of the root alone, in bytes.
    pub fn peak_resident_bytes(self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.root))?;
        let kib = kib_of(&status, "VmHWM:").ok_or("the kernel does not tell the peak")?;
        Ok(kib * 1024)
    }

    fn members(self) -> Result<Vec<u32>> {
        let mut parents = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let path = entry?.path();
            if let Some((pid, parent)) = parent_of(&path) {
                parents.push((pid, parent));
            }
        }
        let mut members = vec![self.root];
        let mut next = 0;
        while let Some(&member) = members.get(next) {
            members.extend(
                parents
                    .iter()
                    .filter(|(_, parent)| *parent == member)
                    .map(|(pid, _)| *pid),
            );
            next += 1;
        }
        Ok(members)
    }
}

fn parent_of(folder: &Path) -> Option<(u32, u32)> {
    let pid = folder.file_name()?.to_str()?.parse().ok()?;
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    let parent = fields(&stat).next()?;
    Some((pid, u32::try_from(parent).ok()?))
}

/// The numbers after the state letter; the command's name before it may hold anything.
fn fields(stat: &str) -> impl Iterator<Item = u64> {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name
        .split_whitespace()
        .skip(1)
        .map(|field| field.parse().unwrap_or_default())
}

fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 3 7 7 0 -1 4194304 1 2 3 4 50 60 7 8 20 0";
        assert_eq!(fields(stat).next(), Some(3));
        assert_eq!(
            fields(stat).skip(10).take(4).collect::<Vec<_>>(),
            [50, 60, 7, 8]
        );
    }

    #[test]
    fn our_own_memory_is_not_nothing() {
        let ours = Family::of(std::process::id());
        assert!(ours.memory_bytes().unwrap() > 0);
        assert!(ours.resident_bytes().unwrap() > 0);
        assert!(ours.peak_resident_bytes().unwrap() > 0);
    }
}
