//! Answers whose caller went away. A tenant that wants the provider's own count has them read to their
//! end, within bounds; otherwise, and past a bound, the upstream's connection is closed at once.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Observed;
use crate::Shared;
use crate::config::OnDownstreamGone;
use crate::settle::Call;

/// Answers of a process that are read to their end at one time; those of further callers are closed.
const ABANDONED_MAX: usize = 256;
/// Most bytes read of one after its caller went.
pub(crate) const ABANDONED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest time one is read after its caller went.
pub(crate) const ABANDONED_TIME_MAX: Duration = Duration::from_secs(120);

/// Places of answers that are read to their end.
pub struct Abandoned(Arc<Semaphore>);

impl Default for Abandoned {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ABANDONED_MAX)))
    }
}

/// Taken while one is read.
pub(crate) struct Place {
    shared: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// One for a call whose tenant wants its answer read to the end, unless the proxy is ending.
    pub(crate) fn of(call: &Call) -> Option<Self> {
        let is_wanted =
            call.on_downstream_gone == OnDownstreamGone::Drain && !call.worker.shared.is_draining();
        is_wanted.then(|| Self::take(&call.worker.shared)).flatten()
    }

    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let permit = Arc::clone(&shared.abandoned.0).try_acquire_owned().ok()?;
        shared.metrics.abandoned_open().inc();
        Some(Self {
            shared: Arc::clone(shared),
            _permit: permit,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.metrics.abandoned_open().dec();
    }
}

/// The caller takes no more of an answer: it is closed, or read on by a task of its own.
pub(super) fn give_up(observed: Box<Observed>) {
    if observed.is_over {
        return;
    }
    let Some(place) = Place::of(&observed.call) else {
        return;
    };
    // Without a runtime the process is ending.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(read_to_end(observed, place));
    }
}

async fn read_to_end(mut observed: Box<Observed>, _place: Place) {
    observed.call.is_abandoned = true;
    let mut time = Box::pin(tokio::time::sleep(ABANDONED_TIME_MAX));
    let mut bytes: u64 = 0;
    std::future::poll_fn(|cx| {
        if time.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            match Pin::new(&mut *observed).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => {
                    bytes += frame.data_ref().map_or(0, |chunk| chunk.len() as u64);
                    if bytes > ABANDONED_BYTES_MAX {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
            }
        }
    })
    .await;
}
