//! The spool's two threads and the lock on its directory, from start to close.

use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::identity::Epoch;
use super::{Position, Shared, sync, upkeep};

/// The threads, and the lock on the directory; the last handle's drop ends them.
pub(super) struct Threads {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Running {
    sync: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    lock: File,
}

impl Threads {
    /// Starts them; the lock is held until they are closed.
    pub(super) fn start(shared: &Arc<Shared>, lock: File) -> io::Result<Self> {
        let of_sync = Arc::clone(shared);
        let sync = Builder::new()
            .name("spool-sync".into())
            .spawn(move || sync::run(&of_sync))?;
        let of_upkeep = Arc::clone(shared);
        let upkeep = Builder::new()
            .name("spool-upkeep".into())
            .spawn(move || upkeep::run(&of_upkeep))?;
        // Set once here; whoever appended before this is found by the threads' first look.
        let _ = shared.sync_thread.set(sync.thread().clone());
        let _ = shared.upkeep_thread.set(upkeep.thread().clone());
        let running = Mutex::new(Some(Running { sync, upkeep, lock }));
        Ok(Self {
            shared: Arc::clone(shared),
            running,
        })
    }

    /// Ends them, everything synced; once.
    pub(super) fn close(&self) -> io::Result<()> {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(Running { sync, upkeep, lock }) = running else {
            return Ok(());
        };
        let shared = &self.shared;
        shared.lock().is_closed = true;
        // Upkeep first: it appends copies of open calls, which are still to be synced.
        for (thread, is_stopping) in [
            (upkeep, &shared.is_upkeep_stopping),
            (sync, &shared.is_sync_stopping),
        ] {
            is_stopping.store(true, Ordering::Release);
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("spool: a thread of it panicked");
            }
        }
        let is_synced = !shared.lock().has_unsynced;
        let mut noted = Position::START;
        upkeep::note_acknowledged(shared, &mut noted);
        if is_synced {
            Epoch {
                is_closed: true,
                ..shared.epoch.clone()
            }
            .write(&shared.directory)?;
        }
        drop(lock);
        if is_synced {
            Ok(())
        } else {
            Err(io::Error::other("the last records could not be synced"))
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "spool: not closed in order");
        }
    }
}
