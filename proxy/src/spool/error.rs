//! Why something was not appended, or a spool not opened.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why something was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Only the settlements of open calls still have room.
    Full,
    /// The disk refuses to sync.
    Failing,
    /// Longer than the spool takes.
    TooLarge {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        bytes_max: usize,
    },
    /// The spool has been closed.
    Closed,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the spool is full"),
            Self::Failing => f.write_str("the spool's disk is failing"),
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "{bytes} bytes are more than the spool's {bytes_max}")
            }
            Self::Closed => f.write_str("the spool is closed"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why a spool cannot be opened.
#[derive(Debug)]
pub enum SpoolError {
    /// Another process writes it.
    InUse(PathBuf),
    /// The sizes do not fit together.
    Options(String),
    /// The disk or the directory.
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where.
        directory: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(directory) => write!(
                f,
                "spool {}: another process writes it",
                directory.display()
            ),
            Self::Options(why) => write!(f, "spool: {why}"),
            Self::Io {
                doing,
                directory,
                source,
            } => {
                write!(f, "spool {}: {doing}: {source}", directory.display())
            }
        }
    }
}

impl std::error::Error for SpoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::InUse(_) | Self::Options(_) => None,
        }
    }
}
