//! How a spool is opened.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::SpoolError;
use super::record::turn_bytes;
use super::segment::PREFIX_BYTES;

/// What a sync is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write what is staged to the segments.
    Write,
    /// Sync one of them.
    Sync,
}

/// A hook around syncs.
pub type BeforeSync = Arc<dyn Fn(Step) -> io::Result<()> + Send + Sync>;
/// Told how long each sync took.
pub type OnSync = Arc<dyn Fn(Duration) + Send + Sync>;

/// Fewest segments `bytes_max` must hold: the one written, one ahead, one kept, one being shipped.
const SEGMENTS_MIN: u64 = 4;
/// Fewest of the longest records a segment must hold.
const RECORDS_MIN: usize = 4;

/// How a spool is opened.
#[derive(Clone)]
pub struct SpoolOptions {
    /// Bytes of a segment file, allocated when it is made.
    pub segment_bytes: usize,
    /// Most bytes of all segment files.
    pub bytes_max: u64,
    /// Longest settlement, intent or checkpoint; room for one is held for each open call.
    pub settlement_bytes_max: usize,
    /// Longest time a record stays unsynced on a disk that works.
    pub sync_interval: Duration,
    /// The node's id; without one it is made once and kept in the directory.
    pub node: Option<String>,
    /// Called before each step of a sync; an error counts as that sync's failure. For tests.
    pub before_sync: Option<BeforeSync>,
    /// Told how long each sync took.
    pub on_sync: Option<OnSync>,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            bytes_max: 1 << 30,
            settlement_bytes_max: 32 << 10,
            sync_interval: Duration::from_millis(20),
            node: None,
            before_sync: None,
            on_sync: None,
        }
    }
}

/// Whether the sizes fit together.
pub(super) fn check(options: &SpoolOptions) -> Result<(), SpoolError> {
    let record = turn_bytes(options.settlement_bytes_max, options.settlement_bytes_max);
    if options.segment_bytes < RECORDS_MIN * record + PREFIX_BYTES {
        let why = format!(
            "a segment of {} bytes must hold {RECORDS_MIN} records of {record}",
            options.segment_bytes
        );
        return Err(SpoolError::Options(why));
    }
    if u32::try_from(options.segment_bytes).is_err() {
        return Err(SpoolError::Options(
            "a segment must be shorter than 4 GiB".to_owned(),
        ));
    }
    if options.bytes_max < SEGMENTS_MIN * options.segment_bytes as u64 {
        let why = format!(
            "bytes_max {} must hold {SEGMENTS_MIN} segments of {}",
            options.bytes_max, options.segment_bytes
        );
        return Err(SpoolError::Options(why));
    }
    Ok(())
}
