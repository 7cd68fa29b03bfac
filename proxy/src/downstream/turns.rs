//! Turns at what costs a worker much at once: one step of a TLS handshake is a tenth of a millisecond
//! of computing, and hundreds of callers that connect together would keep the streams of others waiting
//! for all of theirs. Between two such steps everything else that is ready goes first.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::Semaphore;

/// The turns of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turns {
    /// Runs `costly` to its end, each of its steps in a turn of its own. Waiting for a peer takes none.
    pub(crate) async fn run<F: Future>(&self, costly: F) -> F::Output {
        let mut costly = Box::pin(costly);
        loop {
            let Ok(turn) = Arc::clone(&self.0).acquire_owned().await else {
                // Nobody closes it; were it closed, nobody would have to wait.
                return costly.await;
            };
            let polled = std::future::poll_fn(|cx| Poll::Ready(costly.as_mut().poll(cx))).await;
            // The turn ends once the worker has looked at its sockets and served what was ready.
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                drop(turn);
            });
            match polled {
                Poll::Ready(output) => return output,
                Poll::Pending => until_woken().await,
            }
        }
    }
}

/// Pending once: whoever polled before has left our waker with what it waits for.
async fn until_woken() {
    let mut was_polled = false;
    std::future::poll_fn(|_| {
        if was_polled {
            return Poll::Ready(());
        }
        was_polled = true;
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_ready_goes_between_two_costly_steps() {
        let turns = Turns::default();
        let steps = Arc::new(AtomicUsize::new(0));
        let costly: Vec<_> = (0..20)
            .map(|_| {
                let (turns, steps) = (turns.clone(), Arc::clone(&steps));
                tokio::spawn(async move {
                    turns
                        .run(async {
                            steps.fetch_add(1, Ordering::Relaxed);
                        })
                        .await;
                })
            })
            .collect();
        let mut most = 0;
        while costly.iter().any(|task| !task.is_finished()) {
            let before = steps.load(Ordering::Relaxed);
            tokio::task::yield_now().await;
            most = most.max(steps.load(Ordering::Relaxed) - before);
        }
        assert_eq!(steps.load(Ordering::Relaxed), 20);
        assert!(most <= 2, "{most} steps without a look at others");
    }

    #[tokio::test]
    async fn one_that_waits_for_its_peer_or_gives_up_keeps_nobody_waiting() {
        let turns = Turns::default();
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { turns.run(told).await }
        });
        let never = turns.run(std::future::pending::<()>());
        let gave_up = tokio::time::timeout(Duration::from_millis(1), never).await;
        assert!(gave_up.is_err());
        assert_eq!(turns.run(std::future::ready(7)).await, 7);
        tell.send(()).unwrap();
        assert!(waiting.await.unwrap().is_ok());
    }
}
