//! argon2 on threads of its own, so that no runtime thread ever computes it.
//!
//! At most one verification runs for each prefix; others with the same value share its result,
//! others with another value wait their turn. Every wait and queue is bounded, and at the bound
//! the caller is told to come back.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use tokio::sync::watch;

use crate::directory::{KeyRow, SecretHash};

/// Threads that verify. One a core would take the workers' time in a flood.
const THREADS: usize = 1;
/// Verifications that wait for a thread; at about a millisecond each this is a quarter second.
const QUEUE_MAX: usize = 256;
/// Times a value waits for another value of its prefix.
const TURNS_MAX: usize = 4;
/// Longest wait for a result.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Memory one verification may take, in KiB; a hash that asks for more is not verified.
const MEMORY_KIB_MAX: u32 = 64 * 1024;
/// Passes one verification may make.
const PASSES_MAX: u32 = 16;

/// Too many keys are being verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// The threads and what they are at.
pub(super) struct Verifiers {
    queue: mpsc::SyncSender<Job>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    running: Mutex<HashMap<String, Running>>,
    verified: AtomicU64,
}

struct Running {
    digest: [u8; 32],
    outcome: watch::Receiver<Option<bool>>,
}

struct Job {
    presented: String,
    digest: [u8; 32],
    row: Arc<KeyRow>,
    outcome: watch::Sender<Option<bool>>,
    shared: Arc<Shared>,
    is_free: bool,
}

impl Job {
    /// Says the result. The prefix is free before anybody hears of it, and the value remembered
    /// before the prefix is free: so nobody waits for a verification that is over, and nobody
    /// repeats it.
    fn end(mut self, outcome: bool) {
        if outcome {
            self.row.remembered.remember(self.digest);
        }
        self.free_prefix();
        // Nobody waits when every caller went away.
        let _ = self.outcome.send(Some(outcome));
    }

    fn free_prefix(&mut self) {
        if !std::mem::replace(&mut self.is_free, true) {
            self.shared.running().remove(&self.row.prefix);
        }
    }
}

impl Drop for Job {
    // However a verification ends, its prefix is free again.
    fn drop(&mut self) {
        self.free_prefix();
    }
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verifiers {
    /// Starts the threads; they end when this is dropped.
    pub(super) fn start() -> Self {
        let (queue, jobs) = mpsc::sync_channel::<Job>(QUEUE_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        for number in 0..THREADS {
            let jobs = Arc::clone(&jobs);
            let thread = thread::Builder::new().name(format!("verify-{number}"));
            let started = thread.spawn(move || work(&jobs));
            if let Err(error) = started {
                tracing::error!(%error, "a verifying thread did not start");
            }
        }
        Self {
            queue,
            shared: Arc::default(),
        }
    }

    /// Whether the value is the one the row's hash was made of.
    pub(super) async fn verify(
        &self,
        presented: &str,
        digest: [u8; 32],
        row: &Arc<KeyRow>,
    ) -> Result<bool, Busy> {
        for _ in 0..TURNS_MAX {
            let Some((mut outcome, is_same)) = self.join(presented, digest, row)? else {
                return Ok(true);
            };
            let waiting = outcome.wait_for(Option::is_some);
            let ended = match tokio::time::timeout(WAIT_MAX, waiting).await {
                Ok(Ok(outcome)) => *outcome,
                Ok(Err(_)) | Err(_) => return Err(Busy),
            };
            if is_same {
                return ended.ok_or(Busy);
            }
        }
        Err(Busy)
    }

    /// Joins the verification of this prefix or begins one; `None`: the value is known by now.
    #[expect(clippy::type_complexity, reason = "read once, just above")]
    fn join(
        &self,
        presented: &str,
        digest: [u8; 32],
        row: &Arc<KeyRow>,
    ) -> Result<Option<(watch::Receiver<Option<bool>>, bool)>, Busy> {
        let mut running = self.shared.running();
        if let Some(other) = running.get(&row.prefix) {
            return Ok(Some((other.outcome.clone(), other.digest == digest)));
        }
        if row.remembered.is(&digest) {
            return Ok(None);
        }
        let (sender, outcome) = watch::channel(None);
        let entry = Running {
            digest,
            outcome: outcome.clone(),
        };
        running.insert(row.prefix.clone(), entry);
        // A job that cannot be queued is dropped, and its drop needs the lock.
        drop(running);
        let job = Job {
            presented: presented.to_owned(),
            digest,
            row: Arc::clone(row),
            outcome: sender,
            shared: Arc::clone(&self.shared),
            is_free: false,
        };
        self.queue.try_send(job).map_err(|_| Busy)?;
        Ok(Some((outcome, true)))
    }

    /// How many times argon2 ran.
    #[cfg(test)]
    pub(super) fn verified(&self) -> u64 {
        self.shared.verified.load(Ordering::Relaxed)
    }
}

fn work(jobs: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else {
            return;
        };
        let outcome = is_made_of(&job.presented, &job.row.secret_hash);
        job.shared.verified.fetch_add(1, Ordering::Relaxed);
        job.end(outcome);
    }
}

fn is_made_of(presented: &str, hash: &SecretHash) -> bool {
    let Ok(hash) = PasswordHash::new(hash.expose()) else {
        tracing::error!("a virtual key's hash cannot be read");
        return false;
    };
    let is_bounded = hash
        .params
        .get_decimal("m")
        .is_some_and(|m| m <= MEMORY_KIB_MAX)
        && hash
            .params
            .get_decimal("t")
            .is_some_and(|t| t <= PASSES_MAX);
    if !is_bounded {
        tracing::error!("a virtual key's hash asks for more work than a verification may take");
        return false;
    }
    Argon2::default()
        .verify_password(presented.as_bytes(), &hash)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::key_row;

    #[tokio::test]
    async fn a_full_queue_is_busy_and_frees_the_prefix() {
        let (queue, jobs) = mpsc::sync_channel::<Job>(1);
        let verifiers = Verifiers {
            queue,
            shared: Arc::default(),
        };
        let first = verifiers
            .join("one", [1; 32], &Arc::new(key_row("vk_AAAAA", "x")))
            .unwrap();
        assert!(first.is_some());
        let full = verifiers
            .verify("two", [2; 32], &Arc::new(key_row("vk_BBBBB", "x")))
            .await;
        assert_eq!(full, Err(Busy));
        assert_eq!(verifiers.shared.running().len(), 1);
        drop(jobs.recv().unwrap());
        assert_eq!(verifiers.shared.running().len(), 0);
        let waiting = first.unwrap().0.wait_for(Option::is_some).await.is_err();
        assert!(waiting, "whoever shared a verification that died is told");
    }

    #[tokio::test]
    async fn another_value_of_the_prefix_waits_its_turn() {
        let (queue, jobs) = mpsc::sync_channel::<Job>(8);
        let verifiers = Verifiers {
            queue,
            shared: Arc::default(),
        };
        let row = Arc::new(key_row("vk_AAAAA", "x"));
        let answer = thread::spawn(move || {
            let mut order = Vec::new();
            while order.len() < 2 {
                let job = jobs.recv().unwrap();
                order.push(job.presented.clone());
                let outcome = job.presented == "right";
                job.end(outcome);
            }
            order
        });
        let (wrong, right) = tokio::join!(
            verifiers.verify("wrong", [1; 32], &row),
            verifiers.verify("right", [2; 32], &row),
        );
        assert_eq!((wrong, right), (Ok(false), Ok(true)));
        assert_eq!(answer.join().unwrap(), ["wrong", "right"]);
    }

    #[test]
    fn a_hash_that_asks_for_too_much_is_not_computed() {
        let hash = SecretHash::new("$argon2id$v=19$m=4000000,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo");
        assert!(!is_made_of("vk_", &hash));
        assert!(!is_made_of("vk_", &SecretHash::new("plain")));
    }
}
