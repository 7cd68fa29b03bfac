//! What a task waits for beside its sockets and what seldom comes: whom it wakes is told once, not at each turn.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

/// Whom something wakes.
#[derive(Default)]
pub(crate) struct Waking(Option<Waker>);

impl Waking {
    /// Notes that the task of `cx` is woken from now on: whoever says so polls what wakes it. `false` where that was
    /// noted before, and need not be done again.
    pub(crate) fn is_new(&mut self, cx: &Context<'_>) -> bool {
        let noted = self.0.as_ref();
        let is_new = !noted.is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_new {
            self.0 = Some(cx.waker().clone());
        }
        is_new
    }
}

/// A timer that serves one deadline after the other: armed by the first wait for one, and moved when it
/// runs out before the present deadline, or would after it.
#[derive(Default)]
pub(crate) struct Bound {
    timer: Option<Pin<Box<Sleep>>>,
    waking: Waking,
}

impl Bound {
    /// Ready once `deadline` is over.
    pub(crate) fn poll_over(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        let is_new = self.waking.is_new(cx);
        if timer.deadline() > deadline.into() {
            timer.as_mut().reset(deadline.into());
        } else if !is_new && !timer.is_elapsed() {
            return Poll::Pending;
        }
        // A task that has used up its turn would be sent away without having told the timer whom to wake.
        while Pin::new(&mut unconstrained(timer.as_mut()))
            .poll(cx)
            .is_ready()
        {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline.into());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::task::coop;

    use super::*;

    /// Uses up what the task may do in this turn.
    fn exhaust(cx: &mut Context<'_>) {
        while coop::has_budget_remaining() {
            if let Poll::Ready(used) = coop::poll_proceed(cx) {
                used.made_progress();
            }
        }
    }

    async fn wait(bound: &mut Bound, millis: u64, is_exhausted: bool) -> Duration {
        let began = Instant::now();
        let deadline = began + Duration::from_millis(millis);
        let mut is_first = true;
        let over = poll_fn(|cx| {
            if std::mem::take(&mut is_first) && is_exhausted {
                exhaust(cx);
            }
            bound.poll_over(deadline, cx)
        });
        let over = tokio::time::timeout(Duration::from_secs(20), over);
        over.await.expect("nobody was woken");
        began.elapsed()
    }

    #[tokio::test]
    async fn one_timer_serves_later_and_earlier_deadlines() {
        let mut bound = Bound::default();
        for millis in [5, 40, 10, 1, 30] {
            assert!(wait(&mut bound, millis, false).await >= Duration::from_millis(millis));
        }
    }

    #[tokio::test]
    async fn a_task_that_has_used_up_its_turn_is_woken_too() {
        let mut bound = Bound::default();
        for _ in 0..3 {
            assert!(wait(&mut bound, 20, true).await < Duration::from_secs(10));
        }
    }

    #[tokio::test]
    async fn the_task_that_waits_now_is_woken_not_the_one_before() {
        let mut bound = Bound::default();
        let first = Instant::now() + Duration::from_millis(200);
        let is_waiting = poll_fn(|cx| Poll::Ready(bound.poll_over(first, cx).is_pending()));
        assert!(is_waiting.await);
        let other = tokio::spawn(async move {
            let later = first + Duration::from_millis(20);
            poll_fn(|cx| bound.poll_over(later, cx)).await;
        });
        let other = tokio::time::timeout(Duration::from_secs(20), other);
        other.await.expect("nobody was woken").unwrap();
    }
}
